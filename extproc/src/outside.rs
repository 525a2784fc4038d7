//! What modules see of this process: clocks, randomness, the log, the names of clusters.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use enforcer_harness::{
    Level,
    host::{Cluster, Outside},
};

use crate::journal::Journal;

/// The surroundings of the instances of one configuration.
#[derive(Debug)]
pub(crate) struct Surroundings {
    began: Instant,
    clusters: BTreeSet<String>,
    journal: Arc<dyn Journal>,
}

impl Surroundings {
    /// `began` is where the monotonic clock starts: the same for all configurations of a process.
    pub(crate) fn new(began: Instant, clusters: BTreeSet<String>, journal: Arc<dyn Journal>) -> Self {
        Self { began, clusters, journal }
    }
}

impl Outside for Surroundings {
    fn wall_clock(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn monotonic_clock(&self) -> Duration {
        self.began.elapsed()
    }

    /// Without a source of randomness the process cannot go on as if it had one: zeros would repeat ids.
    fn random(&self, out: &mut [u8]) {
        if getrandom::fill(out).is_err() {
            std::process::abort();
        }
    }

    fn log_level(&self) -> Level {
        self.journal.level()
    }

    fn log(&self, vm: u32, level: Level, line: &str) {
        self.journal.line(level, &format!("vm {vm}"), line);
    }

    fn cluster(&self, name: &str) -> Cluster {
        if self.clusters.contains(name) { Cluster::Reachable } else { Cluster::Unknown }
    }
}
