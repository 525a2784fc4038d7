//! The harness itself.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    backend::Backend,
    builder::Builder,
    outcome::{Handle, Outcome},
    request::Request,
    thread::Thread,
    upstream::{Call, Upstream},
    world::{LogLine, Vm, World},
};
use crate::host::{Environment, Level, Metrics, Module, Shared};

/// An Envoy with one plugin, as far as the plugin can tell.
///
/// Nothing happens between calls: time passes only with [`Harness::advance`], and each call runs until nothing more
/// can happen at that time.
#[derive(Debug)]
pub struct Harness {
    world: Arc<World>,
    environment: Environment,
    main: Thread,
    workers: Vec<Thread>,
    turn: usize,
}

impl Harness {
    /// A harness for a module; say what the world looks like, then [`Builder::start`].
    pub fn builder(module: &Module) -> Builder {
        Builder::new(module)
    }

    pub(super) fn new(
        world: Arc<World>,
        environment: Environment,
        main: Thread,
        workers: Vec<Thread>,
    ) -> Self {
        let mut harness = Self { world, environment, main, workers, turn: 0 };
        harness.run();
        harness
    }

    /// Sends a request and runs until it has ended or nothing more can happen now: see [`Outcome::paused`].
    pub fn request(&mut self, request: Request) -> Outcome {
        let handle = self.start_request(request);
        let outcome = self.poll(handle);
        if let Some(worker) = self.workers.get_mut(handle.worker) {
            worker.forget(handle);
        }
        outcome
    }

    /// Sends a request and leaves it where it gets to.
    pub fn start_request(&mut self, request: Request) -> Handle {
        let worker = request.worker.unwrap_or(self.turn).checked_rem(self.workers.len()).unwrap_or(0);
        self.turn = worker.wrapping_add(1);
        let number = self.workers.get_mut(worker).map_or(0, |thread| thread.begin(request));
        self.run();
        Handle { worker, number }
    }

    /// What has become of a request. One that [`Harness::request`] saw to its end is forgotten, and looks unanswered.
    pub fn poll(&self, handle: Handle) -> Outcome {
        self.workers.get(handle.worker).and_then(|worker| worker.outcome(handle)).unwrap_or_else(|| Outcome {
            handle,
            headers: crate::host::HeaderMap::new(),
            body: Vec::new(),
            trailers: crate::host::HeaderMap::new(),
            reset: false,
            paused: None,
            backend: None,
            ended: crate::host::Ended::default(),
        })
    }

    /// The client closes its connection.
    pub fn disconnect(&mut self, handle: Handle) {
        if let Some(worker) = self.workers.get_mut(handle.worker) {
            worker.disconnect(handle.number);
        }
        self.run();
    }

    /// Lets time pass on both clocks. Ticks, answers and timeouts happen at their time, the main thread's first.
    pub fn advance(&mut self, by: Duration) {
        let end = self.world.now().saturating_add(by);
        self.run();
        while let Some(next) = self.next_timer().filter(|next| *next <= end) {
            self.move_clocks(next);
            self.run();
        }
        self.move_clocks(end);
        self.run();
    }

    fn next_timer(&self) -> Option<Duration> {
        std::iter::once(&self.main).chain(&self.workers).filter_map(Thread::next_timer).min()
    }

    fn move_clocks(&self, to: Duration) {
        let mut world = self.world.lock();
        let by = to.saturating_sub(world.monotonic);
        world.monotonic = world.monotonic.saturating_add(by);
        world.wall = world.wall.saturating_add(by);
    }

    /// Sets the wall clock, since the Unix epoch; the monotonic clock does not notice.
    pub fn set_wall_clock(&mut self, since_epoch: Duration) {
        self.world.lock().wall = since_epoch;
    }

    /// The wall clock, since the Unix epoch.
    pub fn wall_clock(&self) -> Duration {
        self.world.lock().wall
    }

    /// A cluster for callouts, to change it or to see what was called. It need not exist before.
    pub fn upstream(&mut self, name: &str) -> UpstreamHandle<'_> {
        UpstreamHandle { world: &self.world, name: name.to_owned() }
    }

    /// Changes the service behind the route.
    pub fn set_backend(&mut self, backend: Backend) {
        self.world.lock().backend = backend;
    }

    /// Runs a closure for each worker, each on a thread of its own, all at once. For races.
    pub fn on_all_workers(&mut self, f: impl Fn(&mut WorkerThread<'_>) + Sync) {
        std::thread::scope(|scope| {
            for (index, thread) in self.workers.iter_mut().enumerate() {
                let f = &f;
                scope.spawn(move || f(&mut WorkerThread { index, thread }));
            }
        });
        self.run();
    }

    /// A counter's value, without Envoy's prefix `wasmcustom.`.
    pub fn counter(&self, name: &str) -> u64 {
        self.environment.metrics.counter(name)
    }

    /// All counters.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.environment.metrics.counters()
    }

    /// All metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.environment.metrics
    }

    /// The shared data of the process.
    pub fn shared(&self) -> &Shared {
        &self.environment.shared
    }

    /// What was logged, in order.
    pub fn logs(&self) -> Vec<LogLine> {
        self.world.lock().logs.clone()
    }

    /// Whether some line contains this text.
    pub fn logged(&self, text: &str) -> bool {
        self.world.lock().logs.iter().any(|line| line.text.contains(text))
    }

    /// Changes the level below which lines are dropped.
    pub fn set_log_level(&mut self, level: Level) {
        self.world.lock().level = level;
    }

    /// Bytes of linear memory of a VM; 0 for one that does not exist.
    pub fn memory_size(&self, vm: Vm) -> usize {
        self.thread(vm).map_or(0, |thread| thread.worker().memory_size())
    }

    /// WebAssembly instructions of a VM since its start; 0 unless the module was loaded with [`Module::metered`].
    pub fn instructions(&self, vm: Vm) -> u64 {
        self.thread(vm).map_or(0, |thread| thread.worker().instructions())
    }

    /// Why a VM died, if it did.
    pub fn failure(&self, vm: Vm) -> Option<String> {
        self.thread(vm)?.worker().failure().map(str::to_owned)
    }

    fn thread(&self, vm: Vm) -> Option<&Thread> {
        match vm {
            Vm::Main => Some(&self.main),
            Vm::Worker(n) => self.workers.get(n),
            Vm::Canary => None,
        }
    }

    /// Runs all threads until none has anything to do now.
    fn run(&mut self) {
        loop {
            self.main.run();
            self.workers.iter_mut().for_each(Thread::run);
            self.stop_where_envoy_would_die();
            let mail = std::mem::take(&mut self.world.lock().queue_mail);
            if mail.is_empty() {
                return;
            }
            for (owner, queue) in mail {
                let all = std::iter::once((Vm::Main, &mut self.main));
                let mut all = all.chain(self.workers.iter_mut().enumerate().map(|(n, t)| (Vm::Worker(n), t)));
                if let Some((_, thread)) = all.find(|(vm, _)| vm.number() == owner.vm) {
                    thread.queue_ready(queue);
                }
            }
        }
    }

    #[expect(
        clippy::panic,
        reason = "what would take the Envoy process down must fail the test, whatever it asserts"
    )]
    fn stop_where_envoy_would_die(&self) {
        for thread in std::iter::once(&self.main).chain(&self.workers) {
            if let Some(reason) = thread.fatal() {
                panic!("{reason}");
            }
        }
    }
}

/// A cluster of a harness.
#[derive(Debug)]
pub struct UpstreamHandle<'a> {
    world: &'a World,
    name: String,
}

impl UpstreamHandle<'_> {
    /// Changes how it answers calls from now on.
    pub fn set(&self, upstream: Upstream) {
        self.world.lock().upstreams.insert(self.name.clone(), upstream);
    }

    /// The calls that were made to it, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.world.lock().calls.iter().filter(|call| call.cluster == self.name).cloned().collect()
    }
}

/// One worker, on a thread of its own.
#[derive(Debug)]
pub struct WorkerThread<'a> {
    index: usize,
    thread: &'a mut Thread,
}

impl WorkerThread<'_> {
    /// The worker's number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Sends a request to this worker, whatever the request says, and runs it as far as it gets.
    pub fn request(&mut self, request: Request) -> Option<Outcome> {
        let handle = Handle { worker: self.index, number: self.thread.begin(request) };
        self.thread.run();
        let outcome = self.thread.outcome(handle);
        self.thread.forget(handle);
        outcome
    }
}
