//! What all threads of a harness see: clocks, logs, clusters, the backend.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    backend::Backend,
    upstream::{Behaviour, Call, Upstream},
};
use crate::host::{Cluster, Level, Outside, Owner, Value};

/// An instance of the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vm {
    /// The one of the main thread: ticks and callouts, never a request.
    Main,
    /// The one of a worker thread, from 0.
    Worker(usize),
    /// The one that only tries out the configuration.
    Canary,
}

impl Vm {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Main => u32::MAX,
            Self::Canary => u32::MAX.wrapping_sub(1),
            Self::Worker(n) => u32::try_from(n).unwrap_or_default(),
        }
    }

    fn from_number(n: u32) -> Self {
        [Self::Main, Self::Canary].into_iter().find(|vm| vm.number() == n).unwrap_or(Self::Worker(index(n)))
    }
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A line that the module or the host wrote to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub vm: Vm,
    pub level: Level,
    pub text: String,
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:?}] {:?}: {}", self.vm, self.level, self.text)
    }
}

#[derive(Debug)]
pub(crate) struct World(Mutex<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) wall: Duration,
    pub(crate) monotonic: Duration,
    pub(crate) random: u64,
    pub(crate) level: Level,
    pub(crate) logs: Vec<LogLine>,
    pub(crate) upstreams: BTreeMap<String, Upstream>,
    pub(crate) calls: Vec<Call>,
    pub(crate) backend: Backend,
    /// Attributes that every request has.
    pub(crate) attributes: Value,
    pub(crate) requests: u64,
    /// Items in queues that belong to other threads.
    pub(crate) queue_mail: Vec<(Owner, u32)>,
}

impl World {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Mutex::new(inner))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Duration {
        self.lock().monotonic
    }
}

impl Inner {
    /// The next pseudo-random number (SplitMix64): the same in every run.
    pub(crate) fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Outside for World {
    fn wall_clock(&self) -> Duration {
        self.lock().wall
    }

    fn monotonic_clock(&self) -> Duration {
        self.lock().monotonic
    }

    fn random(&self, out: &mut [u8]) {
        let mut inner = self.lock();
        for chunk in out.chunks_mut(8) {
            let bytes = inner.next_random().to_le_bytes();
            chunk.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = byte);
        }
    }

    fn log_level(&self) -> Level {
        self.lock().level
    }

    fn log(&self, vm: u32, level: Level, line: &str) {
        self.lock().logs.push(LogLine { vm: Vm::from_number(vm), level, text: line.to_owned() });
    }

    fn cluster(&self, name: &str) -> Cluster {
        match self.lock().upstreams.get(name).map(|upstream| &upstream.behaviour) {
            None => Cluster::Unknown,
            Some(Behaviour::NoHealthyHost) => Cluster::NoHealthyHost,
            Some(_) => Cluster::Reachable,
        }
    }
}
