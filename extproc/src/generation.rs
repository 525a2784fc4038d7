//! A configuration in force: its modules compiled, its clusters known, tried once before any request meets it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use enforcer_core::config::{self, ConfigError};
use enforcer_harness::{
    Level, Metrics, Module, Shared,
    host::{self, Cache, Environment, Outside, Plugin, StartError, Worker},
};

use crate::{
    callout::Servers,
    config::{Config, EVERYTHING_ELSE, Filter, Limits},
    journal::Journal,
    outside::Surroundings,
    process::Process,
};

/// The file in the configuration's folder.
const FILE: &str = "enforcer.json";

/// Between two heartbeats of modules.
const BEAT: Duration = Duration::from_millis(10);

/// A configuration that was tried and found good.
#[derive(Debug, Default)]
pub struct Generation {
    filters: BTreeMap<String, Arc<Loaded>>,
    pub(crate) servers: Arc<Servers>,
    pub(crate) limits: Limits,
}

/// A filter that is ready to be started.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Its name in the configuration.
    pub(crate) name: String,
    module: Arc<Module>,
    plugin: Arc<Plugin>,
    outside: Arc<dyn Outside>,
}

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read `{}`: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Config { path: PathBuf, source: ConfigError },
    #[error("filters: there is none: give at least `*`")]
    NoFilter,
    #[error("filters[\"{name}\"]: `{}`: {source}", module.display())]
    Module { name: String, module: PathBuf, source: host::LoadError },
    #[error("filters[\"{name}\"]: {source}")]
    Start { name: String, source: StartError },
    #[error("clusters[\"{name}\"]: {problem}")]
    Cluster { name: String, problem: String },
    #[error("cannot {what}: {source}")]
    Surroundings { what: &'static str, source: io::Error },
}

impl Config {
    /// Reads `enforcer.json` in a folder.
    pub fn read(folder: &Path) -> Result<Self, LoadError> {
        let path = folder.join(FILE);
        let text = std::fs::read(&path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
        config::parse(&text).map_err(|source| LoadError::Config { path, source })
    }
}

impl Generation {
    /// Compiles what is new, and starts every filter once, as Envoy's main thread does, with nothing that lasts.
    /// Paths begin at `folder`. Needs a Tokio runtime.
    pub(crate) fn new(
        config: &Config,
        folder: &Path,
        modules: &Modules,
        process: &Process,
    ) -> Result<Self, LoadError> {
        if config.filters.is_empty() {
            return Err(LoadError::NoFilter);
        }
        let servers = Servers::new(&config.clusters, folder)
            .map_err(|(name, problem)| LoadError::Cluster { name, problem })?;
        let names = config.clusters.keys().cloned().collect();
        let journal = Arc::clone(&process.journal);
        let outside: Arc<dyn Outside> = Arc::new(Surroundings::new(process.began, names, journal));
        let mut filters = BTreeMap::new();
        for (name, filter) in &config.filters {
            let module =
                modules.get(&folder.join(&filter.module), &config.limits, name, &*process.journal)?;
            let plugin = Arc::new(plugin(name, filter, &config.limits));
            let loaded =
                Arc::new(Loaded { name: name.clone(), module, plugin, outside: Arc::clone(&outside) });
            let canary = loaded.start(0, Shared::default(), Metrics::default());
            canary.map_err(|source| LoadError::Start { name: name.clone(), source })?;
            filters.insert(name.clone(), loaded);
        }
        Ok(Self { filters, servers: Arc::new(servers), limits: config.limits.clone() })
    }

    /// The filter of a name.
    pub(crate) fn filter(&self, name: &str) -> Option<&Arc<Loaded>> {
        self.filters.get(name)
    }

    /// The name of the filter for a call: that of its `:authority`, else that of Envoy's route, else the one for all.
    pub(crate) fn name(&self, authority: &str, route: Option<&str>) -> Option<&str> {
        let names = [Some(authority), route, Some(EVERYTHING_ELSE)];
        let found = names.into_iter().flatten().find_map(|name| self.filter(name));
        found.map(|filter| filter.name.as_str())
    }

    pub(crate) fn filters(&self) -> impl Iterator<Item = &Arc<Loaded>> {
        self.filters.values()
    }
}

fn plugin(name: &str, filter: &Filter, limits: &Limits) -> Plugin {
    Plugin {
        name: name.to_owned(),
        root_id: filter.root_id.clone(),
        // One namespace of shared data for all filters, as in the clusters that `enforcer build` makes.
        vm_id: "enforcer".to_owned(),
        configuration: filter.bytes(),
        allow_on_headers_stop_iteration: filter.allow_on_headers_stop_iteration,
        buffer_limit: limits.buffer.as_usize(),
        memory_limit: limits.memory.as_usize(),
        ..Plugin::default()
    }
}

impl Loaded {
    pub(crate) fn start(&self, vm: u32, shared: Shared, metrics: Metrics) -> Result<Worker, StartError> {
        let environment = Environment { outside: Arc::clone(&self.outside), shared, metrics };
        Worker::start(&self.module, Arc::clone(&self.plugin), environment, vm)
    }
}

/// Compiled modules, each compiled once, and the heartbeat that keeps them from hanging a thread.
#[derive(Debug)]
pub struct Modules {
    known: Mutex<Vec<Compiled>>,
    /// Those that earlier processes have compiled.
    cache: Option<Cache>,
}

#[derive(Debug)]
struct Compiled {
    bytes: Vec<u8>,
    beats: u64,
    module: Arc<Module>,
}

impl Modules {
    /// Begins to beat, as long as somebody has it.
    pub fn start(cache: Option<Cache>) -> io::Result<Arc<Self>> {
        let modules = Arc::new(Self { known: Mutex::default(), cache });
        let weak = Arc::downgrade(&modules);
        thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
            while let Some(modules) = weak.upgrade() {
                modules.all().iter().for_each(|known| known.module.beat());
                drop(modules);
                thread::sleep(BEAT);
            }
        })?;
        Ok(modules)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Compiled>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(
        &self,
        path: &Path,
        limits: &Limits,
        name: &str,
        journal: &dyn Journal,
    ) -> Result<Arc<Module>, LoadError> {
        let bytes =
            std::fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        let beats = limits.callback.duration().as_millis().div_ceil(BEAT.as_millis()).max(1);
        let beats = u64::try_from(beats).unwrap_or(u64::MAX);
        let same = |known: &&Compiled| known.beats == beats && known.bytes == bytes;
        if let Some(known) = self.all().iter().find(same) {
            return Ok(Arc::clone(&known.module));
        }
        // Not under the lock: the heart goes on beating meanwhile.
        let module = self.load(&bytes, beats, journal).map_err(|source| LoadError::Module {
            name: name.to_owned(),
            module: path.to_owned(),
            source,
        })?;
        let module = Arc::new(module);
        self.all().push(Compiled { bytes, beats, module: Arc::clone(&module) });
        Ok(module)
    }

    fn load(&self, bytes: &[u8], beats: u64, journal: &dyn Journal) -> Result<Module, host::LoadError> {
        let Some(cache) = &self.cache else { return Module::guarded(bytes, beats) };
        if let Some(module) = cache.get(bytes, beats) {
            return Ok(module);
        }
        let module = Module::guarded(bytes, beats)?;
        // The next start takes longer then, and nothing else.
        if let Err(error) = cache.put(bytes, &module) {
            journal.line(Level::Warn, "cache", &format!("a compiled module cannot be kept: {error}"));
        }
        Ok(module)
    }

    /// Forgets what neither a configuration nor an instance uses any more.
    pub(crate) fn prune(&self) {
        self.all().retain(|known| Arc::strong_count(&known.module) > 1);
    }
}
