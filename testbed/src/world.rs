use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;

use crate::{Config, EchoBackend, Envoy, EnvoyBinary, EnvoyOptions, Error, Issuer};

/// Everything one test needs around it: backends, issuers, an Envoy and a folder for files.
///
/// Dropping it stops Envoy first, so that nothing Envoy talks to is missing while it still serves.
#[derive(Debug)]
pub struct World {
    // Fields drop in this order.
    envoy: Option<Envoy>,
    issuers: BTreeMap<String, Issuer>,
    backends: BTreeMap<String, EchoBackend>,
    directory: TempDir,
}

impl World {
    /// An empty one.
    pub fn new() -> Result<Self, Error> {
        let directory = TempDir::with_prefix("enforcer-").map_err(Error::io("make a temporary folder"))?;
        Ok(Self { envoy: None, issuers: BTreeMap::new(), backends: BTreeMap::new(), directory })
    }

    /// A folder that goes away with the world.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The backend of that name, started when it is first asked for.
    pub fn backend(&mut self, name: &str) -> Result<&EchoBackend, Error> {
        started(&mut self.backends, name, EchoBackend::start)
    }

    /// The issuer of that name, started when it is first asked for. All issuers of a process start with the same
    /// keys; [`World::add_issuer`] takes one with keys of its own.
    pub fn issuer(&mut self, name: &str) -> Result<&Issuer, Error> {
        started(&mut self.issuers, name, Issuer::start)
    }

    /// Adds an issuer started elsewhere, in place of one of that name.
    pub fn add_issuer(&mut self, name: &str, issuer: Issuer) {
        self.issuers.insert(name.to_owned(), issuer);
    }

    /// Starts the Envoy that [`EnvoyBinary::find`] finds, in place of the one that runs.
    pub fn start_envoy(&mut self, config: impl Into<Config>) -> Result<&Envoy, Error> {
        self.start_envoy_with(&EnvoyBinary::find()?.options(config))
    }

    /// Starts an Envoy with these options, in place of the one that runs.
    pub fn start_envoy_with(&mut self, options: &EnvoyOptions) -> Result<&Envoy, Error> {
        self.envoy = None;
        Ok(self.envoy.insert(options.start()?))
    }

    /// The Envoy that runs, if one does.
    pub fn envoy(&self) -> Option<&Envoy> {
        self.envoy.as_ref()
    }
}

fn started<'a, T>(
    parts: &'a mut BTreeMap<String, T>,
    name: &str,
    start: impl FnOnce() -> Result<T, Error>,
) -> Result<&'a T, Error> {
    use std::collections::btree_map::Entry;
    match parts.entry(name.to_owned()) {
        Entry::Occupied(there) => Ok(there.into_mut()),
        Entry::Vacant(place) => Ok(place.insert(start()?)),
    }
}
