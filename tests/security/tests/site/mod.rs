//! Where requests are sent: the module in the harness, and in real Envoys.

pub(crate) mod envoy;
pub(crate) mod harness;

use std::{collections::BTreeMap, path::PathBuf};

use enforcer_testbed::EnvoyBinary;
use serde_json::Value;

/// A request as it goes over the wire, header names in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Wire {
    pub(crate) fn get(path: &str) -> Self {
        Self { method: "GET".to_owned(), path: path.to_owned(), headers: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }
}

/// A configured filter and what it fetches.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) name: String,
    pub(crate) configuration: Value,
    /// Key sets by the name of the cluster that serves them.
    pub(crate) clusters: BTreeMap<String, Value>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) grpc_status: Option<String>,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub(crate) details: String,
    /// What the backend got; `None`: nothing.
    pub(crate) reached: Option<Wire>,
}

/// A filter that runs.
pub(crate) trait Site {
    fn name(&self) -> String;

    /// Sends a request and waits for the answer. `id` is unique in this site.
    fn send(&mut self, id: &str, wire: &Wire) -> Seen;

    /// The lines that the filter has logged, at level debug; and why its VM died, if it did.
    fn log(&self) -> Vec<String>;
}

/// The module under test.
pub(crate) fn module() -> PathBuf {
    let name = "wasm32-wasip1/wasm/auth.wasm";
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    // Cargo takes a relative one from where it was started.
    [target.join(name), root.join(target).join(name)]
        .into_iter()
        .find(|path| path.is_file())
        .expect("target/wasm32-wasip1/wasm/auth.wasm is not there: run `make wasm`")
}

/// The filter on every host there is.
pub(crate) fn all(scene: &Scene) -> Vec<Box<dyn Site>> {
    let mut sites: Vec<Box<dyn Site>> = vec![
        Box::new(harness::InHarness::start(scene, true)),
        Box::new(harness::InHarness::start(scene, false)),
    ];
    let envoys = [EnvoyBinary::find_or_skip().unwrap(), older_envoy()].into_iter().flatten();
    let mut versions = Vec::new();
    for binary in envoys {
        let version = binary.version().unwrap();
        if !versions.contains(&version) {
            versions.push(version);
            sites.push(Box::new(envoy::InEnvoy::start(&binary, scene)));
        }
    }
    sites
}

/// The oldest release that we support, where `make envoy-1.36` puts it or `ENVOY_OLDER` says.
fn older_envoy() -> Option<EnvoyBinary> {
    let named = std::env::var_os("ENVOY_OLDER").filter(|path| !path.is_empty()).map(PathBuf::from);
    let installed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.tools/envoy-1.36.4/envoy");
    let path = named.or_else(|| Some(installed).filter(|path| path.is_file()));
    if path.is_none() {
        println!("not on an older Envoy: run `make envoy-1.36`, or set ENVOY_OLDER");
    }
    path.map(|path| EnvoyBinary::at(path).unwrap())
}
