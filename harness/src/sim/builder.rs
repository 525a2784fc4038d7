//! How a harness is set up.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use super::{
    backend::Backend,
    harness::Harness,
    thread::Thread,
    upstream::Upstream,
    world::{Inner, LogLine, Vm, World},
};
use crate::host::{Environment, Level, Metrics, Module, Plugin, Shared, StartError, Value, Worker};

/// What Envoy does after a VM has died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    /// 503 for ever: Envoy's default.
    FailClosed,
    /// A new VM for the first request that comes a second or more after the last load.
    FailReload,
}

/// Why a harness does not start: Envoy would refuse the configuration.
#[derive(Debug, thiserror::Error)]
#[error("{vm:?}: {reason}{}", lines(.logs))]
pub struct HarnessError {
    /// The instance that failed; usually [`Vm::Canary`], which is the first.
    pub vm: Vm,
    pub reason: StartError,
    /// What had been logged until then.
    pub logs: Vec<LogLine>,
}

fn lines(logs: &[LogLine]) -> String {
    logs.iter().map(|line| format!("\n  {line}")).collect()
}

/// Everything that can be set before the module starts. Made by [`Harness::builder`].
#[derive(Debug)]
#[must_use]
pub struct Builder {
    module: Module,
    plugin: Plugin,
    workers: usize,
    policy: FailurePolicy,
    shared: Shared,
    metrics: Metrics,
    world: Inner,
}

/// 2026-01-01T00:00:00Z, the wall clock of every harness at its start.
const START_OF_WORLD: Duration = Duration::from_secs(1_767_225_600);
/// Processes are rarely as old as their machine's clock.
const START_OF_PROCESS: Duration = Duration::from_secs(3600);

impl Builder {
    pub(super) fn new(module: &Module) -> Self {
        Self {
            module: module.clone(),
            plugin: Plugin::default(),
            workers: 1,
            policy: FailurePolicy::FailClosed,
            shared: Shared::default(),
            metrics: Metrics::default(),
            world: Inner {
                wall: START_OF_WORLD,
                monotonic: START_OF_PROCESS,
                random: 0,
                level: Level::Info,
                logs: Vec::new(),
                upstreams: BTreeMap::new(),
                calls: Vec::new(),
                backend: Backend::default(),
                attributes: default_attributes(),
                requests: 0,
                queue_mail: Vec::new(),
            },
        }
    }

    /// The plugin's configuration: text, or JSON from `serde_json::json!`.
    pub fn plugin_config(mut self, configuration: impl fmt::Display) -> Self {
        self.plugin.configuration = configuration.to_string().into_bytes();
        self
    }

    /// The plugin's configuration as bytes.
    pub fn plugin_config_bytes(mut self, configuration: impl Into<Vec<u8>>) -> Self {
        self.plugin.configuration = configuration.into();
        self
    }

    /// The VM's configuration.
    pub fn vm_config(mut self, configuration: impl fmt::Display) -> Self {
        self.plugin.vm_configuration = configuration.to_string().into_bytes();
        self
    }

    /// `PluginConfig.name`.
    pub fn name(mut self, name: &str) -> Self {
        self.plugin.name = name.to_owned();
        self
    }

    /// `PluginConfig.root_id`.
    pub fn root_id(mut self, root_id: &str) -> Self {
        self.plugin.root_id = root_id.to_owned();
        self
    }

    /// `VmConfig.vm_id`.
    pub fn vm_id(mut self, vm_id: &str) -> Self {
        self.plugin.vm_id = vm_id.to_owned();
        self
    }

    /// An environment variable of the VM.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.plugin.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How many worker threads there are; 1 by default. The main thread's instance comes on top.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// A cluster for callouts.
    pub fn cluster(mut self, name: &str, upstream: Upstream) -> Self {
        self.world.upstreams.insert(name.to_owned(), upstream);
        self
    }

    /// The service behind the route.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.world.backend = backend;
        self
    }

    /// Lines below this level are dropped; [`Level::Info`] by default, as in Envoy.
    pub fn log_level(mut self, level: Level) -> Self {
        self.world.level = level;
        self
    }

    /// The wall clock at the start, since the Unix epoch; 2026-01-01 by default.
    pub fn wall_clock(mut self, since_epoch: Duration) -> Self {
        self.world.wall = since_epoch;
        self
    }

    /// Another sequence of random numbers.
    pub fn seed(mut self, seed: u64) -> Self {
        self.world.random = seed;
        self
    }

    /// `PluginConfig.allow_on_headers_stop_iteration`: bodies reach the module while it holds the headers.
    pub fn allow_on_headers_stop_iteration(mut self, allow: bool) -> Self {
        self.plugin.allow_on_headers_stop_iteration = allow;
        self
    }

    /// The listener's `per_connection_buffer_limit_bytes`; 1 MiB by default, 0 for none.
    pub fn buffer_limit(mut self, bytes: usize) -> Self {
        self.plugin.buffer_limit = bytes;
        self
    }

    /// `PluginConfig.failure_policy`.
    pub fn failure_policy(mut self, policy: FailurePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Takes a foreign function away, such as `verify_signature` in an Envoy that is too old for it.
    pub fn without_function(mut self, name: &str) -> Self {
        self.plugin.missing_functions.push(name.to_owned());
        self
    }

    /// An attribute of every request, such as `xds.route_name`; its parts are separated by dots.
    pub fn attribute(mut self, path: &str, value: impl Into<Value>) -> Self {
        let path: Vec<_> = path.split('.').collect();
        self.world.attributes.insert(&path, value.into());
        self
    }

    /// Metadata of the route, under a namespace.
    pub fn route_metadata(mut self, namespace: &str, value: &serde_json::Value) -> Self {
        let path = ["xds", "route_metadata", "filter_metadata", namespace];
        self.world.attributes.insert(&path, Value::from_json(value));
        self
    }

    /// Shared data and queues to use, so that several harnesses are one process.
    pub fn shared(mut self, shared: &Shared) -> Self {
        self.shared = shared.clone();
        self
    }

    /// Metrics to use, so that several harnesses are one process.
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = metrics.clone();
        self
    }

    /// Starts the module: in the canary, on the main thread, on each worker.
    pub fn start(self) -> Result<Harness, HarnessError> {
        let world = Arc::new(World::new(self.world));
        let plugin = Arc::new(self.plugin);
        let environment =
            Environment { outside: Arc::clone(&world) as _, shared: self.shared, metrics: self.metrics };
        let failed = |vm| {
            let world = Arc::clone(&world);
            move |reason| HarnessError { vm, reason, logs: world.lock().logs.clone() }
        };
        // The canary's calls are accepted and never end: it goes away at once.
        Worker::start(&self.module, Arc::clone(&plugin), environment.clone(), Vm::Canary.number())
            .map_err(failed(Vm::Canary))?;
        let thread = |vm| {
            let (plugin, world, environment) = (Arc::clone(&plugin), Arc::clone(&world), environment.clone());
            let reloads = self.policy == FailurePolicy::FailReload && vm != Vm::Main;
            Thread::start(vm, self.module.clone(), plugin, world, environment, reloads).map_err(failed(vm))
        };
        let main = thread(Vm::Main)?;
        let workers = (0..self.workers).map(|n| thread(Vm::Worker(n))).collect::<Result<Vec<_>, _>>()?;
        Ok(Harness::new(Arc::clone(&world), environment, main, workers))
    }
}

/// What a request from this machine over plain HTTP has.
fn default_attributes() -> Value {
    let mut attributes = Value::Map(Vec::new());
    for (path, value) in [
        ("source.address", "127.0.0.1:50000".into()),
        ("source.port", Value::Int(50000)),
        ("destination.address", "127.0.0.1:10000".into()),
        ("destination.port", Value::Int(10000)),
        ("connection.mtls", false.into()),
        ("request.protocol", "HTTP/1.1".into()),
        ("xds.cluster_name", "backend".into()),
        ("xds.route_name", "".into()),
        ("xds.virtual_host_name", "all".into()),
        ("xds.listener_direction", Value::Int(0)),
    ] {
        let path: Vec<_> = path.split('.').collect();
        attributes.insert(&path, value);
    }
    attributes
}
