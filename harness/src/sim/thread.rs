//! A worker thread: its VM, its requests, its timers.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    backend::BackendRequest,
    outcome::{Handle, Outcome, Paused},
    request::Request,
    timers::{Due, Timers},
    upstream::{Call, grpc_timeout, http_timeout},
    world::{Vm, World},
};
use crate::host::{
    Ended, Environment, Event, Frame, GrpcCall, HeaderMap, HttpCall, Module, Plugin, StartError, StreamId,
    Value, Worker,
};

/// How long after a load a dead VM waits for the next (`ReloadConfig.backoff.base_interval`, without its jitter).
const RELOAD_BACKOFF: Duration = Duration::from_secs(1);

/// Far more than any test needs at one moment; a module that calls again on every answer gets there.
const MAX_ANSWERS: usize = 100_000;

#[derive(Debug)]
pub(crate) struct Thread {
    vm: Vm,
    world: Arc<World>,
    module: Module,
    plugin: Arc<Plugin>,
    environment: Environment,
    reloads: bool,
    worker: Worker,
    runaway: bool,
    loaded: Duration,
    timers: Timers,
    tick_period: Duration,
    requests: u64,
    exchanges: BTreeMap<u64, Exchange>,
    /// Exchanges by stream, as long as their VM has the stream.
    streams: BTreeMap<StreamId, u64>,
}

/// A request, from its start until the test no longer asks.
#[derive(Debug, Default)]
struct Exchange {
    stream: StreamId,
    to_send: VecDeque<Frame>,
    seen: Option<BackendRequest>,
    answered: bool,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
    reset: bool,
    ended: Option<Ended>,
    orphaned: bool,
}

impl Thread {
    pub(crate) fn start(
        vm: Vm,
        module: Module,
        plugin: Arc<Plugin>,
        world: Arc<World>,
        environment: Environment,
        reloads: bool,
    ) -> Result<Self, StartError> {
        let worker = Worker::start(&module, Arc::clone(&plugin), environment.clone(), vm.number())?;
        let loaded = world.now();
        Ok(Self {
            vm,
            world,
            module,
            plugin,
            environment,
            reloads,
            worker,
            runaway: false,
            loaded,
            timers: Timers::default(),
            tick_period: Duration::ZERO,
            requests: 0,
            exchanges: BTreeMap::new(),
            streams: BTreeMap::new(),
        })
    }

    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }

    pub(crate) fn next_timer(&self) -> Option<Duration> {
        self.timers.next()
    }

    pub(crate) fn queue_ready(&mut self, queue: u32) {
        self.worker.queue_ready(queue);
    }

    /// Starts a request; [`Thread::run`] takes it on.
    pub(crate) fn begin(&mut self, request: Request) -> u64 {
        self.reload_if_due();
        let mut attributes = self.world.lock().attributes.clone();
        for (path, value) in &request.attributes {
            let path: Vec<_> = path.iter().map(String::as_str).collect();
            attributes.insert(&path, value.clone());
        }
        let request_id = self.next_request_id(&mut attributes);
        let stream = self.worker.open_stream(attributes);
        self.requests = self.requests.wrapping_add(1);
        let to_send = request.into_frames(&request_id).into();
        self.exchanges.insert(self.requests, Exchange { stream, to_send, ..Exchange::default() });
        self.streams.insert(stream, self.requests);
        self.requests
    }

    fn next_request_id(&self, attributes: &mut Value) -> String {
        let mut world = self.world.lock();
        world.requests = world.requests.wrapping_add(1);
        attributes.insert(&["connection", "id"], world.requests.into());
        let (a, b) = (world.next_random(), world.next_random());
        let id = format!("{a:016x}{b:016x}");
        let part = |from: usize, to: usize| id.get(from..to).unwrap_or_default();
        format!("{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
    }

    /// `FAIL_RELOAD`: a new VM for the next request. The old one's streams and calls are lost.
    fn reload_if_due(&mut self) {
        let now = self.world.now();
        if !self.reloads
            || self.worker.failure().is_none()
            || now.saturating_sub(self.loaded) < RELOAD_BACKOFF
        {
            return;
        }
        self.loaded = now;
        let (plugin, environment) = (Arc::clone(&self.plugin), self.environment.clone());
        if let Ok(worker) = Worker::start(&self.module, plugin, environment, self.vm.number()) {
            self.worker = worker;
            self.timers.cancel(|_| true);
            for number in std::mem::take(&mut self.streams).into_values() {
                if let Some(exchange) = self.exchanges.get_mut(&number) {
                    exchange.orphaned = true;
                    exchange.to_send.clear();
                }
            }
        }
    }

    /// Does everything that can be done without time passing.
    pub(crate) fn run(&mut self) {
        for _ in 0..MAX_ANSWERS {
            self.run_to_the_next_timer();
            match self.timers.pop(self.world.now()) {
                Some(due) => self.fire(due),
                None => return,
            }
        }
        self.runaway = true;
    }

    /// What must fail the test, whatever it asserts.
    pub(crate) fn fatal(&self) -> Option<&str> {
        const RUNAWAY: &str =
            "the module never comes to rest: it answers each event with another, and no time passes";
        self.worker.fatal().or(self.runaway.then_some(RUNAWAY))
    }

    fn run_to_the_next_timer(&mut self) {
        loop {
            let events = self.worker.take_events();
            if events.is_empty() && !self.send_next_frame() {
                return;
            }
            events.into_iter().for_each(|event| self.handle(event));
        }
    }

    /// Sends one more piece of the oldest request that has some and that Envoy would read.
    fn send_next_frame(&mut self) -> bool {
        let worker = &self.worker;
        let next = self.exchanges.values_mut().find(|exchange| {
            let headers = matches!(exchange.to_send.front(), Some(Frame::Headers { .. }));
            !exchange.to_send.is_empty() && (headers || worker.wants_request_data(exchange.stream))
        });
        let Some((stream, frame)) = next.and_then(|e| Some((e.stream, e.to_send.pop_front()?))) else {
            return false;
        };
        match frame {
            Frame::Headers { headers, end_of_stream } => {
                self.worker.request_headers(stream, headers, end_of_stream)
            }
            Frame::Data { data, end_of_stream } => self.worker.request_data(stream, data, end_of_stream),
            Frame::Trailers(trailers) => self.worker.request_trailers(stream, trailers),
        }
        true
    }

    fn fire(&mut self, due: Due) {
        match due {
            Due::HttpCall(token, result) => self.worker.http_call_done(token, result),
            Due::GrpcCall(token, result) => self.worker.grpc_call_done(token, result),
            Due::Tick => {
                self.plan_tick();
                self.worker.tick();
            }
            Due::Backend(stream, frames) => frames.into_iter().for_each(|frame| match frame {
                Frame::Headers { headers, end_of_stream } => {
                    self.worker.response_headers(stream, headers, end_of_stream);
                }
                Frame::Data { data, end_of_stream } => self.worker.response_data(stream, data, end_of_stream),
                Frame::Trailers(trailers) => self.worker.response_trailers(stream, trailers),
            }),
        }
    }

    fn plan_tick(&mut self) {
        self.timers.cancel(|due| matches!(due, Due::Tick));
        if !self.tick_period.is_zero() {
            self.timers.plan(self.world.now().saturating_add(self.tick_period), Due::Tick);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::ToUpstream(stream, frame) => self.reach_backend(stream, frame),
            Event::ToClient(stream, frame) => self.reach_client(stream, frame),
            Event::ResetClient(stream) => {
                if let Some(exchange) = self.exchange(stream) {
                    exchange.reset = true;
                }
            }
            Event::Ended(stream, ended) => {
                if let Some(exchange) = self.exchange(stream) {
                    exchange.ended = Some(*ended);
                    exchange.to_send.clear();
                }
                self.streams.remove(&stream);
            }
            Event::HttpCall(call) => self.http_call(call),
            Event::GrpcCall(call) => self.grpc_call(call),
            Event::CancelGrpcCall { token } => {
                self.timers.cancel(|due| matches!(due, Due::GrpcCall(t, _) if *t == token));
            }
            Event::QueueReady { owner, queue } => self.world.lock().queue_mail.push((owner, queue)),
            Event::TickPeriod(period) => {
                self.tick_period = period;
                self.plan_tick();
            }
        }
    }

    fn exchange(&mut self, stream: StreamId) -> Option<&mut Exchange> {
        self.exchanges.get_mut(self.streams.get(&stream)?)
    }

    fn reach_backend(&mut self, stream: StreamId, frame: Frame) {
        let backend = self.world.lock().backend.clone();
        let now = self.world.now();
        let Some(exchange) = self.exchange(stream) else { return };
        let seen = exchange.seen.get_or_insert_default();
        seen.receive(frame);
        if seen.complete && !exchange.answered {
            exchange.answered = true;
            if let Some((delay, frames)) = backend.answer(seen) {
                self.timers.plan(now.saturating_add(delay), Due::Backend(stream, frames));
            }
        }
    }

    fn reach_client(&mut self, stream: StreamId, frame: Frame) {
        let Some(exchange) = self.exchange(stream) else { return };
        match frame {
            Frame::Headers { headers, .. } => exchange.headers = headers,
            Frame::Data { data, .. } => exchange.body.extend(data),
            Frame::Trailers(trailers) => exchange.trailers = trailers,
        }
    }

    fn http_call(&mut self, call: HttpCall) {
        let (now, token, timeout) = (self.world.now(), call.token, call.timeout);
        let call = Call::of_http(call, now);
        let upstream = self.world.lock().upstreams.get(&call.cluster).cloned();
        if let Some((delay, Some(result))) = upstream.map(|upstream| upstream.http(&call)) {
            self.timers.plan(now.saturating_add(delay), Due::HttpCall(token, result));
        }
        if let Some(timeout) = timeout {
            self.timers.plan(now.saturating_add(timeout), Due::HttpCall(token, http_timeout()));
        }
        self.world.lock().calls.push(call);
    }

    fn grpc_call(&mut self, call: GrpcCall) {
        let (now, token, timeout) = (self.world.now(), call.token, call.timeout);
        let call = Call::of_grpc(call, now);
        let upstream = self.world.lock().upstreams.get(&call.cluster).cloned();
        if let Some((delay, Some(result))) = upstream.map(|upstream| upstream.grpc_result(&call)) {
            self.timers.plan(now.saturating_add(delay), Due::GrpcCall(token, result));
        }
        if let Some(timeout) = timeout {
            self.timers.plan(now.saturating_add(timeout), Due::GrpcCall(token, grpc_timeout()));
        }
        self.world.lock().calls.push(call);
    }

    /// The client goes away.
    pub(crate) fn disconnect(&mut self, number: u64) {
        if let Some(exchange) = self.exchanges.get_mut(&number)
            && exchange.ended.is_none()
        {
            exchange.reset = true;
            self.worker.client_gone(exchange.stream);
        }
    }

    pub(crate) fn outcome(&self, handle: Handle) -> Option<Outcome> {
        let exchange = self.exchanges.get(&handle.number)?;
        Some(Outcome {
            handle,
            headers: exchange.headers.clone(),
            body: exchange.body.clone(),
            trailers: exchange.trailers.clone(),
            reset: exchange.reset,
            paused: self.paused(exchange),
            backend: exchange.seen.clone(),
            ended: exchange.ended.clone().unwrap_or_default(),
        })
    }

    /// Forgets a request that has ended.
    pub(crate) fn forget(&mut self, handle: Handle) {
        if self.exchanges.get(&handle.number).is_some_and(|exchange| exchange.ended.is_some()) {
            self.exchanges.remove(&handle.number);
        }
    }

    fn paused(&self, exchange: &Exchange) -> Option<Paused> {
        if exchange.ended.is_some() {
            return None;
        }
        Some(match self.worker.paused(exchange.stream) {
            _ if exchange.orphaned => Paused::VmDied,
            (true, _) | (_, true) if self.worker.failure().is_some() => Paused::VmDied,
            (_, true) => Paused::Response,
            (true, _) => Paused::Request,
            (false, false) => Paused::Backend,
        })
    }
}
