//! What a worker is told about its plugin and its surroundings.

use std::{fmt, sync::Arc, time::Duration};

use super::{abi::Level, metrics::Metrics, shared::Shared};

/// A plugin's configuration: the fields of Envoy's `PluginConfig` and `VmConfig` that modules can notice.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// `PluginConfig.name`.
    pub name: String,
    /// `PluginConfig.root_id`.
    pub root_id: String,
    /// `VmConfig.vm_id`: the namespace of shared data and queues.
    pub vm_id: String,
    /// `PluginConfig.configuration`, as bytes.
    pub configuration: Vec<u8>,
    /// `VmConfig.configuration`, as bytes.
    pub vm_configuration: Vec<u8>,
    /// `VmConfig.environment_variables`.
    pub environment: Vec<(String, String)>,
    /// `PluginConfig.allow_on_headers_stop_iteration`, Envoy 1.35 and later.
    pub allow_on_headers_stop_iteration: bool,
    /// The listener's `per_connection_buffer_limit_bytes`. A body that is buffered beyond it ends in 413 or 500.
    pub buffer_limit: usize,
    /// Bytes of linear memory that a VM can have; Envoy's cap is 1 GiB. Growing beyond fails in the module.
    pub memory_limit: usize,
    /// Foreign functions that this host does not have, such as `sign` before Envoy 1.37.
    pub missing_functions: Vec<String>,
}

impl Default for Plugin {
    fn default() -> Self {
        Self {
            name: "plugin".into(),
            root_id: String::new(),
            vm_id: String::new(),
            configuration: Vec::new(),
            vm_configuration: Vec::new(),
            environment: Vec::new(),
            allow_on_headers_stop_iteration: false,
            buffer_limit: 1024 * 1024,
            memory_limit: 1024 * 1024 * 1024,
            missing_functions: Vec::new(),
        }
    }
}

/// What an embedder gives to a worker's host calls. Called in the middle of a module's callback: must not block.
pub trait Outside: Send + Sync + fmt::Debug {
    /// Wall clock: time since the Unix epoch.
    fn wall_clock(&self) -> Duration;
    /// A clock that never jumps.
    fn monotonic_clock(&self) -> Duration;
    /// Fills a buffer with random bytes.
    fn random(&self, out: &mut [u8]);
    /// The level below which lines are dropped.
    fn log_level(&self) -> Level;
    /// A line that the VM with this number wrote.
    fn log(&self, vm: u32, level: Level, line: &str);
    /// Whether a call to this cluster can be tried.
    fn cluster(&self, name: &str) -> Cluster;
}

/// What a host call can know of a cluster at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cluster {
    /// No such cluster: the call is refused with `BadArgument`.
    Unknown,
    /// No healthy host, or a circuit breaker is open: the call is refused with `InternalFailure`.
    NoHealthyHost,
    /// The call is accepted; how it ends is told later.
    Reachable,
}

/// What the workers of one process have in common.
#[derive(Debug, Clone)]
pub struct Environment {
    pub outside: Arc<dyn Outside>,
    pub shared: Shared,
    pub metrics: Metrics,
}
