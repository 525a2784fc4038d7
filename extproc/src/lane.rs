//! A worker thread: an instance of each filter, the requests in them, their ticks and their calls.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use enforcer_harness::{
    HeaderMap, Level, Value,
    host::{Ended, Event, Frame, GrpcCallResult, HttpCallResult, StreamId, Worker},
};
use envoy_types::pb::envoy::service::ext_proc::v3::ProcessingResponse;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, mpsc},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};
use tonic::Status;

use crate::{
    callout::Servers,
    exchange::{Exchange, VIA_UPSTREAM},
    generation::{Generation, Loaded},
    journal::published,
    message,
    order::{Bodies, Side},
    process::{Process, Tally},
    service::Answers,
};

/// How many news may wait for a worker, of all its requests together.
pub(crate) const INBOX: usize = 1024;

/// What a worker thread is told.
#[derive(Debug)]
pub(crate) enum News {
    Open(Box<Opening>),
    /// A message of a request; the permit makes room for the next.
    Piece(u64, Side, Frame, OwnedSemaphorePermit),
    /// Envoy has closed its call, for whatever reason.
    Closed(u64),
    /// An item for the owner of a queue.
    Queue {
        vm: u32,
        queue: u32,
    },
    /// New requests go to this configuration.
    Load(Arc<Generation>),
    Stop,
}

/// A request begins.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) exchange: u64,
    pub(crate) filter: String,
    pub(crate) attributes: Value,
    /// How bodies come, of the request and of the response.
    pub(crate) modes: (Bodies, Bodies),
    pub(crate) answers: Answers,
}

/// What a call of a module has brought.
enum Brought {
    Http(HttpCallResult),
    Grpc(GrpcCallResult),
}

pub(crate) struct Lane {
    process: Arc<Process>,
    inbox: mpsc::Receiver<News>,
    generation: Arc<Generation>,
    instances: BTreeMap<u32, Instance>,
    /// The instances that new requests go to, by the names of their filters.
    current: BTreeMap<String, u32>,
    exchanges: HashMap<u64, Exchange>,
    calls: JoinSet<(u32, u32, Brought)>,
    /// Where calls run, so that a module that loops holds up none but its own thread.
    outside: Handle,
}

/// A filter in this thread.
struct Instance {
    loaded: Arc<Loaded>,
    worker: Worker,
    servers: Arc<Servers>,
    /// The exchange of each stream that has not ended.
    streams: HashMap<StreamId, u64>,
    /// How often it wants to be called, and when next.
    tick: Option<(Duration, Instant)>,
    /// Calls under way, by token.
    calls: HashMap<u32, AbortHandle>,
    /// Until when its last calls may take: it has been told that it goes.
    leaves: Option<Instant>,
}

/// How long the last calls of an instance may take.
const LAST_CALLS: Duration = Duration::from_secs(5);

impl Lane {
    pub(crate) fn new(process: Arc<Process>, inbox: mpsc::Receiver<News>, outside: Handle) -> Self {
        let generation = process.current();
        Self {
            process,
            inbox,
            generation,
            instances: BTreeMap::new(),
            current: BTreeMap::new(),
            exchanges: HashMap::new(),
            calls: JoinSet::new(),
            outside,
        }
    }

    pub(crate) async fn run(mut self) {
        self.load(self.process.current());
        loop {
            let due = self.instances.values().filter_map(|instance| Some(instance.tick?.1)).min();
            tokio::select! {
                news = self.inbox.recv() => match news {
                    Some(News::Stop) | None => return self.finish().await,
                    Some(news) => self.take(news),
                },
                Some(done) = self.calls.join_next() => {
                    // What was cancelled is nobody's any more.
                    if let Ok((vm, token, brought)) = done {
                        self.called(vm, token, brought);
                    }
                }
                () = until(due) => self.tick(),
            }
            self.retire();
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Open(opening) => self.open(*opening),
            News::Piece(exchange, side, frame, _permit) => self.piece(exchange, side, frame),
            News::Closed(exchange) => self.closed(exchange),
            News::Queue { vm, queue } => self.with(vm, |worker| worker.queue_ready(queue)),
            News::Load(generation) => self.load(generation),
            News::Stop => {}
        }
    }

    /// Starts the filters of a configuration. Requests that are in others end there.
    fn load(&mut self, generation: Arc<Generation>) {
        self.generation = generation;
        self.current.clear();
        let filters: Vec<_> = self.generation.filters().cloned().collect();
        for loaded in filters {
            self.start(&loaded);
        }
    }

    fn start(&mut self, loaded: &Arc<Loaded>) -> Option<u32> {
        let vm = self.process.next_vm();
        match loaded.start(vm, self.process.shared.clone(), self.process.metrics.clone()) {
            Ok(worker) => {
                let instance = Instance {
                    loaded: Arc::clone(loaded),
                    worker,
                    servers: Arc::clone(&self.generation.servers),
                    streams: HashMap::new(),
                    tick: None,
                    calls: HashMap::new(),
                    leaves: None,
                };
                self.instances.insert(vm, instance);
                self.current.insert(loaded.name.clone(), vm);
                self.settle(vm);
                Some(vm)
            }
            Err(error) => {
                let line = format!("filter `{}` does not start: {error}", loaded.name);
                self.process.journal.line(Level::Error, "worker", &line);
                None
            }
        }
    }

    /// The instance for a new request; one that could not be started is tried again.
    fn instance(&mut self, filter: &str) -> Option<u32> {
        match self.current.get(filter) {
            Some(vm) => Some(*vm),
            None => {
                let loaded = self.generation.filter(filter).cloned()?;
                self.start(&loaded)
            }
        }
    }

    fn open(&mut self, opening: Opening) {
        let Opening { exchange, filter, attributes, modes, answers } = opening;
        let vm = self.instance(&filter);
        match vm.and_then(|vm| Some((vm, self.instances.get_mut(&vm)?))) {
            Some((vm, instance)) => {
                let stream = instance.worker.open_stream(attributes);
                instance.streams.insert(stream, exchange);
                self.exchanges.insert(exchange, Exchange::new(vm, stream, answers, modes));
            }
            None => {
                Tally::count(&self.process.tally.finished);
                answers.fail(Status::unavailable("the filter does not start"));
            }
        }
    }

    fn piece(&mut self, number: u64, side: Side, frame: Frame) {
        let Some(exchange) = self.exchanges.get_mut(&number) else { return };
        exchange.note(side, &frame);
        let (vm, stream) = (exchange.vm, exchange.stream);
        self.with(vm, |worker| feed(worker, stream, side, frame));
    }

    /// A response whose body Envoy does not send is over with its headers, as far as the filter can know.
    fn closed(&mut self, number: u64) {
        let Some(exchange) = self.exchanges.get(&number) else { return };
        let (vm, stream, passed) = (exchange.vm, exchange.stream, exchange.response_passed());
        self.with(vm, |worker| {
            if passed {
                worker.response_data(stream, Vec::new(), true);
            }
            worker.client_gone(stream);
        });
        if let Some(exchange) = self.exchanges.remove(&number) {
            exchange.answers.end();
            Tally::count(&self.process.tally.finished);
        }
    }

    fn called(&mut self, vm: u32, token: u32, brought: Brought) {
        if let Some(instance) = self.instances.get_mut(&vm) {
            instance.calls.remove(&token);
        }
        self.with(vm, |worker| match brought {
            Brought::Http(result) => worker.http_call_done(token, result),
            Brought::Grpc(result) => worker.grpc_call_done(token, result),
        });
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        for (vm, instance) in &mut self.instances {
            if let Some((period, next)) = instance.tick.as_mut().filter(|(_, next)| *next <= now) {
                *next = now.checked_add(*period).unwrap_or(now);
                due.push(*vm);
            }
        }
        for vm in due {
            self.with(vm, Worker::tick);
        }
    }

    /// Old instances go when their last request has ended, and what they wanted to tell anybody then is told: events that
    /// wait, hits that were not needed.
    fn retire(&mut self) {
        let old = |(vm, instance): (&u32, &Instance)| {
            let old = instance.streams.is_empty() && self.current.get(&instance.loaded.name) != Some(vm);
            (old && instance.leaves.is_none()).then_some(*vm)
        };
        let old: Vec<u32> = self.instances.iter().filter_map(old).collect();
        old.into_iter().for_each(|vm| self.dismiss(vm));
        let now = Instant::now();
        self.instances.retain(|_, instance| {
            let stays = instance.leaves.is_none_or(|until| now < until && !instance.calls.is_empty());
            if !stays {
                instance.calls.values().for_each(AbortHandle::abort);
            }
            stays
        });
    }

    fn dismiss(&mut self, vm: u32) {
        self.with(vm, Worker::shut_down);
        if let Some(instance) = self.instances.get_mut(&vm) {
            instance.tick = None;
            instance.leaves = Instant::now().checked_add(LAST_CALLS);
        }
    }

    /// The server ends, and whatever is still under way.
    async fn finish(&mut self) {
        self.current.clear();
        let all: Vec<u32> = self.instances.keys().copied().collect();
        all.into_iter().for_each(|vm| self.dismiss(vm));
        let end = sleep(LAST_CALLS);
        tokio::pin!(end);
        while !self.calls.is_empty() {
            tokio::select! {
                Some(done) = self.calls.join_next() => {
                    if let Ok((vm, token, brought)) = done {
                        self.called(vm, token, brought);
                    }
                }
                () = &mut end => return,
            }
        }
    }

    /// Calls into an instance, and does what comes of it.
    fn with(&mut self, vm: u32, call: impl FnOnce(&mut Worker)) {
        if let Some(instance) = self.instances.get_mut(&vm) {
            call(&mut instance.worker);
            self.settle(vm);
        }
    }

    fn settle(&mut self, vm: u32) {
        loop {
            let Some(instance) = self.instances.get_mut(&vm) else { return };
            if let Some(reason) = instance.worker.failure().or(instance.worker.fatal()) {
                let reason = reason.to_owned();
                return self.bury(vm, &reason);
            }
            let events = instance.worker.take_events();
            if events.is_empty() {
                return;
            }
            // A response of the module's own, in place of the backend's, is known by its end.
            let own = |event: &Event| match event {
                Event::Ended(stream, ended) if ended.details != VIA_UPSTREAM => Some(*stream),
                _ => None,
            };
            let own: HashSet<StreamId> = events.iter().filter_map(own).collect();
            for event in events {
                self.handle(vm, event, &own);
            }
        }
    }

    fn handle(&mut self, vm: u32, event: Event, own: &HashSet<StreamId>) {
        match event {
            Event::ToUpstream(stream, frame) => self.goes_on(vm, stream, Side::Request, frame),
            Event::ToClient(stream, frame) if own.contains(&stream) => {
                if let Some((_, exchange)) = self.exchange(vm, stream) {
                    exchange.collect(frame);
                }
            }
            Event::ToClient(stream, frame) => self.goes_on(vm, stream, Side::Response, frame),
            Event::ResetClient(stream) => {
                if let Some((_, exchange)) = self.exchange(vm, stream) {
                    exchange.answers.fail(Status::aborted("the filter has cut the stream"));
                }
            }
            Event::Ended(stream, ended) => {
                if let Some((number, exchange)) = self.exchange(vm, stream) {
                    let answer = exchange.answered(&ended.details);
                    if let Some(answer) = answer {
                        self.say(number, answer);
                    }
                }
                let Some(instance) = self.instances.get_mut(&vm) else { return };
                let number = instance.streams.remove(&stream);
                if let Some(exchange) = number.and_then(|number| self.exchanges.get(&number)) {
                    self.process.journal.finished(&exchange.finished(&instance.loaded.name, *ended));
                }
            }
            Event::HttpCall(call) => {
                self.call(vm, call.token, |servers| async { Brought::Http(servers.http(call).await) })
            }
            Event::GrpcCall(call) => {
                self.call(vm, call.token, |servers| async { Brought::Grpc(servers.grpc(call).await) })
            }
            Event::CancelGrpcCall { token } => {
                let call = self.instances.get_mut(&vm).and_then(|instance| instance.calls.remove(&token));
                if let Some(call) = call {
                    call.abort();
                }
            }
            Event::QueueReady { owner, queue } => self.tell_owner(owner.vm, queue),
            Event::TickPeriod(period) => {
                if let Some(instance) = self.instances.get_mut(&vm) {
                    let next = Instant::now().checked_add(period);
                    instance.tick = next.filter(|_| !period.is_zero()).map(|next| (period, next));
                }
            }
        }
    }

    fn exchange(&mut self, vm: u32, stream: StreamId) -> Option<(u64, &mut Exchange)> {
        let number = *self.instances.get(&vm)?.streams.get(&stream)?;
        Some((number, self.exchanges.get_mut(&number)?))
    }

    fn goes_on(&mut self, vm: u32, stream: StreamId, side: Side, frame: Frame) {
        let headers = matches!(frame, Frame::Headers { .. });
        let Some((number, exchange)) = self.exchange(vm, stream) else { return };
        let Some(mut message) = exchange.goes_on(side, frame) else { return };
        if headers && side == Side::Request && exchange.identify() {
            let state = self.instances.get(&vm).and_then(|i| i.worker.filter_state(stream, "wasm.enforcer"));
            if let Some(identity) = state.and_then(published) {
                message = message::with_identity(message, identity);
            }
        }
        self.say(number, message);
    }

    /// Says something to Envoy. One that does not listen is cut off.
    fn say(&mut self, number: u64, message: ProcessingResponse) {
        let Some(exchange) = self.exchanges.get(&number) else { return };
        if exchange.answers.say(message) {
            return;
        }
        let (vm, stream) = (exchange.vm, exchange.stream);
        exchange.answers.fail(Status::resource_exhausted("nothing is read"));
        if let Some(instance) = self.instances.get_mut(&vm) {
            instance.worker.client_gone(stream);
        }
    }

    fn call<F>(&mut self, vm: u32, token: u32, work: impl FnOnce(Arc<Servers>) -> F)
    where
        F: Future<Output = Brought> + Send + 'static,
    {
        let Some(instance) = self.instances.get_mut(&vm) else { return };
        let work = work(Arc::clone(&instance.servers));
        let handle = self.calls.spawn_on(async move { (vm, token, work.await) }, &self.outside);
        instance.calls.insert(token, handle);
    }

    /// The owner of a queue may be in any thread.
    fn tell_owner(&self, vm: u32, queue: u32) {
        for lane in self.process.lanes.get().into_iter().flatten() {
            if lane.try_send(News::Queue { vm, queue }).is_err() {
                self.process.journal.line(
                    Level::Warn,
                    "worker",
                    "a queue's owner is too busy to be told of an item",
                );
            }
        }
    }

    /// An instance has died: its requests are refused, nobody else's, and another takes its place at once.
    fn bury(&mut self, vm: u32, reason: &str) {
        let Some(instance) = self.instances.remove(&vm) else { return };
        Tally::count(&self.process.tally.failures);
        let line =
            format!("filter `{}`: an instance has died and is replaced: {reason}", instance.loaded.name);
        self.process.journal.line(Level::Error, "worker", &line);
        instance.calls.values().for_each(AbortHandle::abort);
        for number in instance.streams.values() {
            self.refuse(*number, &instance.loaded.name);
        }
        if self.current.get(&instance.loaded.name) == Some(&vm) {
            self.current.remove(&instance.loaded.name);
            self.start(&instance.loaded);
        }
    }

    fn refuse(&mut self, number: u64, filter: &str) {
        let Some(exchange) = self.exchanges.get(&number) else { return };
        let ended = Ended { code: 500, details: FAILED.to_owned(), ..Ended::default() };
        self.process.journal.finished(&exchange.finished(filter, ended));
        let headers = HeaderMap::from_iter([(":status", "500")]);
        let answer = message::immediate(&headers, Vec::new(), FAILED.to_owned());
        if !exchange.answers.say(answer) {
            exchange.answers.fail(Status::internal(FAILED));
        }
    }
}

/// The details of requests whose instance has died; Envoy's own.
const FAILED: &str = "wasm_fail_stream";

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn feed(worker: &mut Worker, stream: StreamId, side: Side, frame: Frame) {
    match (side, frame) {
        (Side::Request, Frame::Headers { headers, end_of_stream }) => {
            worker.request_headers(stream, headers, end_of_stream);
        }
        (Side::Request, Frame::Data { data, end_of_stream }) => {
            worker.request_data(stream, data, end_of_stream);
        }
        (Side::Request, Frame::Trailers(trailers)) => worker.request_trailers(stream, trailers),
        (Side::Response, Frame::Headers { headers, end_of_stream }) => {
            worker.response_headers(stream, headers, end_of_stream);
        }
        (Side::Response, Frame::Data { data, end_of_stream }) => {
            worker.response_data(stream, data, end_of_stream);
        }
        (Side::Response, Frame::Trailers(trailers)) => worker.response_trailers(stream, trailers),
    }
}
