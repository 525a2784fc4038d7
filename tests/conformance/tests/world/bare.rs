//! The harness' host alone, one worker, driven call by call: for what no client and no upstream would do by itself.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use enforcer_harness::{
    Level, Metrics, Module, Shared,
    host::{Cluster, Environment, Outside, Plugin as HostPlugin, Worker},
};

use super::Plugin;

/// What the worker sees of the world. Time stands still unless it is moved.
#[derive(Debug, Default)]
pub(crate) struct Outdoors {
    nanoseconds: AtomicU64,
    pub(crate) log: Mutex<Vec<String>>,
}

impl Outdoors {
    pub(crate) fn pass(&self, time: Duration) {
        self.nanoseconds.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Relaxed);
    }
}

impl Outside for Outdoors {
    fn wall_clock(&self) -> Duration {
        Duration::from_secs(1_767_225_600) + self.monotonic_clock()
    }

    fn monotonic_clock(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Relaxed))
    }

    fn random(&self, out: &mut [u8]) {
        out.fill(4);
    }

    fn log_level(&self) -> Level {
        Level::Debug
    }

    fn log(&self, _vm: u32, _level: Level, line: &str) {
        self.log.lock().unwrap().push(line.to_owned());
    }

    /// The clusters of [`super::Host`], by their names.
    fn cluster(&self, name: &str) -> Cluster {
        match name {
            "side" | "slow" | "reset" | "down" => Cluster::Reachable,
            "empty" => Cluster::NoHealthyHost,
            _ => Cluster::Unknown,
        }
    }
}

/// Starts a plugin on one worker.
pub(crate) fn start(module: &Module, plugin: &Plugin) -> (Worker, Arc<Outdoors>) {
    let outdoors = Arc::new(Outdoors::default());
    let outside = Arc::clone(&outdoors) as _;
    let environment = Environment { outside, shared: Shared::default(), metrics: Metrics::default() };
    let settings = HostPlugin {
        name: plugin.module.into(),
        root_id: plugin.root_id.into(),
        vm_id: plugin.module.into(),
        configuration: plugin.configuration.to_string().into_bytes(),
        allow_on_headers_stop_iteration: plugin.stop_iteration,
        ..HostPlugin::default()
    };
    let worker = Worker::start(module, Arc::new(settings), environment, 0);
    (worker.unwrap_or_else(|error| panic!("{error}; log: {:?}", outdoors.log.lock())), outdoors)
}
