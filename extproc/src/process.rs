//! What all worker threads have in common.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use enforcer_harness::{Metrics, Shared};
use tokio::sync::mpsc::Sender;

use crate::{generation::Generation, journal::Journal, lane::News};

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) journal: Arc<dyn Journal>,
    /// What filters count.
    pub(crate) metrics: Metrics,
    pub(crate) shared: Shared,
    pub(crate) began: Instant,
    pub(crate) tally: Tally,
    /// The inbox of each worker thread.
    pub(crate) lanes: OnceLock<Vec<Sender<News>>>,
    current: Mutex<Arc<Generation>>,
    /// What is wrong with the configuration that was found last, if it was not taken.
    pub(crate) refusal: Mutex<Option<String>>,
    vms: AtomicU32,
    exchanges: AtomicU64,
}

/// What the process counts itself.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Requests that Envoy has told of.
    pub(crate) requests: AtomicU64,
    /// Requests that are over.
    pub(crate) finished: AtomicU64,
    /// Calls of Envoy that came for no filter, out of order, or were silent for too long.
    pub(crate) refused: AtomicU64,
    /// Instances that were thrown away.
    pub(crate) failures: AtomicU64,
    pub(crate) reloads: AtomicU64,
    pub(crate) reload_failures: AtomicU64,
}

impl Tally {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }
}

impl Process {
    pub(crate) fn new(journal: Arc<dyn Journal>) -> Self {
        Self {
            journal,
            metrics: Metrics::summed(),
            shared: Shared::default(),
            began: Instant::now(),
            tally: Tally::default(),
            lanes: OnceLock::new(),
            current: Mutex::default(),
            refusal: Mutex::default(),
            vms: AtomicU32::new(0),
            exchanges: AtomicU64::new(0),
        }
    }

    /// The configuration in force.
    pub(crate) fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn take(&self, generation: Arc<Generation>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = generation;
    }

    /// A number for a new instance. 0 is the canary's.
    pub(crate) fn next_vm(&self) -> u32 {
        self.vms.fetch_add(1, Relaxed).wrapping_add(1)
    }

    pub(crate) fn next_exchange(&self) -> u64 {
        self.exchanges.fetch_add(1, Relaxed)
    }

    /// Requests under way.
    pub(crate) fn open(&self) -> u64 {
        let finished = self.tally.finished.load(Relaxed);
        self.tally.requests.load(Relaxed).saturating_sub(finished)
    }
}
