//! One configured filter on one Envoy worker: its waiting requests, its callouts, its background work.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::{Rc, Weak},
    time::Duration,
};

use enforcer_core::{
    cx::{Callout, CalloutError, CalloutReply, Cx, FetchKey, HttpCall, HttpReply, Messages, Wishes},
    filter::{Background, Event, Filter, Step},
    headers::HeaderMap,
    host::{Host, Level},
};

use crate::{
    host::EnvoyHost,
    hostcalls::{self, Buffer, Direction, Map},
    stream::{Stream, dispatch},
};

/// A configured filter and everything that is under way for it in this VM.
pub(crate) struct Worker<F: Filter> {
    root_id: u32,
    pub(crate) host: EnvoyHost,
    filter: RefCell<F>,
    agenda: RefCell<Agenda<F>>,
    /// No more requests come; Envoy waits for fetches that are under way.
    draining: Cell<bool>,
}

/// Whoever a callout's answer is for.
pub(crate) enum Caller<F: Filter> {
    Background(FetchKey, Kind),
    Request(Weak<RefCell<Stream<F>>>, Call),
}

/// What a call of the background speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    Grpc,
}

impl Kind {
    fn of(call: &Callout) -> Self {
        match call {
            Callout::Http(_) => Self::Http,
            Callout::Grpc(_) => Self::Grpc,
        }
    }

    fn failed(self, key: FetchKey, error: CalloutError) -> Background<'static> {
        match self {
            Self::Http => Background::Fetched(key, Err(error)),
            Self::Grpc => Background::Answered(key, Err(error)),
        }
    }
}

/// Which of a request's calls: one of a round that are awaited together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) round: u32,
    pub(crate) index: usize,
}

/// What is under way.
struct Agenda<F: Filter> {
    /// Callouts by the token that their answer will carry.
    calls: HashMap<u32, Caller<F>>,
    /// Calls that a request wished for; only a root context may make them.
    fetches: Vec<(FetchKey, Callout)>,
    /// Keys that a request wished to wake others for; they are woken from the root context too.
    woken: Vec<FetchKey>,
    /// What the next tick lets go on.
    ready: Vec<(Weak<RefCell<Stream<F>>>, Direction)>,
    waiting: Vec<Weak<RefCell<Stream<F>>>>,
    /// When the filter wants its next tick, on the monotonic clock.
    filter_tick: Option<Duration>,
    /// When Envoy will tick, as last asked for.
    envoy_tick: Option<Duration>,
}

/// Envoy cannot tick sooner.
const AT_ONCE: Duration = Duration::from_millis(1);
/// How much of a callout's answer is read: no key set or list that we fetch in one piece is larger.
const MAX_REPLY: usize = 1 << 20;

impl<F: Filter> Worker<F> {
    pub(crate) fn new(root_id: u32, filter: F) -> Self {
        let host = EnvoyHost::default();
        let agenda = Agenda {
            calls: HashMap::new(),
            fetches: Vec::new(),
            woken: Vec::new(),
            ready: Vec::new(),
            waiting: Vec::new(),
            filter_tick: Some(host.monotonic()),
            envoy_tick: None,
        };
        let worker = Self {
            root_id,
            host,
            filter: RefCell::new(filter),
            agenda: RefCell::new(agenda),
            draining: Cell::new(false),
        };
        worker.plan_tick();
        worker
    }

    /// Tells the filter what happened to a request.
    pub(crate) fn tell(&self, exchange: &mut F::Exchange, messages: &Messages, event: Event<'_>) -> Step {
        let mut wishes = Wishes::default();
        let step = match self.filter.try_borrow_mut() {
            Ok(mut filter) => {
                filter.on_event(exchange, event, &mut Cx::new(&self.host, messages, &mut wishes))
            }
            // Envoy does not call into a VM that is calling it. If it ever does, nobody gets through.
            Err(_) => Step::Abort(enforcer_core::fault::Detail::new("enforcer_reentered")),
        };
        self.note(wishes);
        step
    }

    /// Gives the filter's last word on a request.
    pub(crate) fn log(&self, stream: &Rc<RefCell<Stream<F>>>) {
        let mut wishes = Wishes::default();
        if let Ok(mut filter) = self.filter.try_borrow_mut() {
            let mut stream = stream.borrow_mut();
            let (exchange, messages, summary) = stream.conclude();
            filter.on_log(exchange, &summary, &mut Cx::new(&self.host, messages, &mut wishes));
        }
        if stream.borrow().has_called() {
            self.forget_calls(stream);
        }
        self.note(wishes);
    }

    /// The SDK drops the answers to calls of a request that is over: nobody else would remove them.
    fn forget_calls(&self, stream: &Rc<RefCell<Stream<F>>>) {
        let gone = Rc::downgrade(stream);
        self.agenda.borrow_mut().calls.retain(|_, caller| match caller {
            Caller::Background(..) => true,
            Caller::Request(other, _) => !other.ptr_eq(&gone),
        });
    }

    /// A request waits from now on.
    pub(crate) fn wait(&self, stream: &Rc<RefCell<Stream<F>>>) {
        let mut agenda = self.agenda.borrow_mut();
        agenda.waiting.retain(|other| other.strong_count() > 0);
        agenda.waiting.push(Rc::downgrade(stream));
        drop(agenda);
        self.plan_tick();
    }

    /// A message goes on with the next tick, not in the middle of what Envoy is doing with it.
    pub(crate) fn continue_later(&self, stream: &Rc<RefCell<Stream<F>>>, direction: Direction) {
        self.agenda.borrow_mut().ready.push((Rc::downgrade(stream), direction));
        self.plan_tick();
    }

    /// Notes who gets the answer to a callout.
    pub(crate) fn expect(&self, token: u32, caller: Caller<F>) {
        self.agenda.borrow_mut().calls.insert(token, caller);
    }

    /// Envoy's tick, in the root context.
    pub(crate) fn on_tick(self: &Rc<Self>) {
        // Envoy goes on ticking at the old pace until it is told another: no plan equals this one.
        self.agenda.borrow_mut().envoy_tick = Some(Duration::ZERO);
        self.dispatch_fetches();
        let ready = std::mem::take(&mut self.agenda.borrow_mut().ready);
        for (stream, direction) in ready {
            if let Some(stream) = stream.upgrade() {
                stream.borrow().continue_now(self, direction);
            }
        }
        let woken = std::mem::take(&mut self.agenda.borrow_mut().woken);
        self.wake(&woken);
        let now = self.host.monotonic();
        if self.agenda.borrow().filter_tick.is_some_and(|due| due <= now) {
            self.agenda.borrow_mut().filter_tick = None;
            self.background(Background::Tick);
        }
        for stream in self.waiting() {
            if stream.borrow().deadline().is_some_and(|deadline| deadline <= now) {
                Stream::resume(&stream, self, Event::Deadline);
            }
        }
        self.plan_tick();
    }

    /// The answer to an HTTP callout, of a request or of the background.
    pub(crate) fn on_http_answer(self: &Rc<Self>, token: u32, headers: usize, body_size: usize) {
        self.on_answer(token, || read_http(headers, body_size).map(CalloutReply::Http));
    }

    /// The answer to a gRPC callout.
    pub(crate) fn on_grpc_answer(self: &Rc<Self>, token: u32, status: u32, size: usize) {
        self.on_answer(token, || match status {
            0 => hostcalls::buffer(Buffer::GrpcReceive, size.min(MAX_REPLY))
                .map(CalloutReply::Grpc)
                .map_err(|_| CalloutError::Reset),
            status => Err(CalloutError::Grpc(status)),
        });
    }

    fn on_answer(self: &Rc<Self>, token: u32, read: impl FnOnce() -> Result<CalloutReply, CalloutError>) {
        let caller = self.agenda.borrow_mut().calls.remove(&token);
        match caller {
            Some(Caller::Background(key, kind)) => match read() {
                Ok(CalloutReply::Http(reply)) => self.background(Background::Fetched(key, Ok(&reply))),
                Ok(CalloutReply::Grpc(reply)) => self.background(Background::Answered(key, Ok(&reply))),
                Err(error) => self.background(kind.failed(key, error)),
            },
            Some(Caller::Request(stream, call)) => {
                if let Some(stream) = stream.upgrade() {
                    Stream::answered(&stream, self, call, read());
                }
            }
            // The request has gone.
            None => {}
        }
        if self.draining.get() && self.is_drained() {
            self.draining.set(false);
            // Envoy deletes this context now, or had stopped waiting for it.
            let _ = hostcalls::done();
            return;
        }
        self.plan_tick();
    }

    /// The filter's last chance to send something. False: Envoy is to wait until [`hostcalls::done`] is called.
    pub(crate) fn drain(self: &Rc<Self>) -> bool {
        self.background(Background::Draining);
        let drained = self.is_drained();
        self.draining.set(!drained);
        drained
    }

    /// Whether no fetch is under way.
    fn is_drained(&self) -> bool {
        !self.agenda.borrow().calls.values().any(|caller| matches!(caller, Caller::Background(..)))
    }

    /// Tells the filter of something that concerns no request, and wakes whom it woke.
    fn background(self: &Rc<Self>, event: Background<'_>) {
        let mut wishes = Wishes::default();
        if let Ok(mut filter) = self.filter.try_borrow_mut() {
            let nothing = Messages::default();
            filter.on_background(event, &mut Cx::new(&self.host, &nothing, &mut wishes));
        }
        let woken = std::mem::take(&mut wishes.woken);
        self.note(wishes);
        self.dispatch_fetches();
        self.wake(&woken);
    }

    fn wake(self: &Rc<Self>, keys: &[FetchKey]) {
        if keys.is_empty() {
            return;
        }
        for stream in self.waiting() {
            if stream.borrow().waits_for().is_some_and(|key| keys.contains(&key)) {
                Stream::resume(&stream, self, Event::Woken);
            }
        }
    }

    /// The requests that wait now, oldest first.
    fn waiting(&self) -> Vec<Rc<RefCell<Stream<F>>>> {
        let mut agenda = self.agenda.borrow_mut();
        agenda
            .waiting
            .retain(|stream| stream.upgrade().is_some_and(|stream| stream.borrow().deadline().is_some()));
        agenda.waiting.iter().filter_map(Weak::upgrade).collect()
    }

    fn note(&self, wishes: Wishes) {
        let Wishes { fetches, asked, woken, tick_in } = wishes;
        if tick_in.is_none() && fetches.is_empty() && asked.is_empty() && woken.is_empty() {
            return;
        }
        let mut agenda = self.agenda.borrow_mut();
        if let Some(delay) = tick_in {
            let due = self.host.monotonic().saturating_add(delay);
            agenda.filter_tick = Some(agenda.filter_tick.map_or(due, |earlier| earlier.min(due)));
        }
        agenda.fetches.extend(fetches.into_iter().map(|(key, call)| (key, Callout::Http(call))));
        agenda.fetches.extend(asked.into_iter().map(|(key, call)| (key, Callout::Grpc(call))));
        agenda.woken.extend(woken);
        drop(agenda);
        self.plan_tick();
    }

    /// Sends the fetches that were wished for. Only while Envoy calls the root context: the SDK notes a callout for
    /// the context that is being called, and the answer to a request's callout is lost with the request.
    fn dispatch_fetches(self: &Rc<Self>) {
        let fetches = std::mem::take(&mut self.agenda.borrow_mut().fetches);
        for (key, call) in fetches {
            let under_way = self
                .agenda
                .borrow()
                .calls
                .values()
                .any(|caller| matches!(caller, Caller::Background(other, _) if *other == key));
            if under_way {
                continue;
            }
            let kind = Kind::of(&call);
            match dispatch(&call) {
                Ok(token) => self.expect(token, Caller::Background(key, kind)),
                Err(error) => {
                    let cluster = call.cluster();
                    self.host.log(Level::Warn, format_args!("{}: cluster `{cluster}`: {error}", F::NAME));
                    self.background(kind.failed(key, error));
                }
            }
        }
    }

    /// Asks Envoy for the next tick that anybody needs.
    fn plan_tick(&self) {
        let now = self.host.monotonic();
        let mut agenda = self.agenda.borrow_mut();
        let deadlines =
            agenda.waiting.iter().filter_map(|stream| stream.upgrade()?.try_borrow().ok()?.deadline());
        let mut due = deadlines.chain(agenda.filter_tick).min();
        if !(agenda.fetches.is_empty() && agenda.woken.is_empty() && agenda.ready.is_empty()) {
            due = Some(now);
        }
        if due == agenda.envoy_tick {
            return;
        }
        agenda.envoy_tick = due;
        let period = due.map_or(Duration::ZERO, |due| due.saturating_sub(now).max(AT_ONCE));
        // A tick that cannot be asked for would be asked for again by the next request.
        let _ = hostcalls::set_tick_period(period);
    }

    pub(crate) fn root_id(&self) -> u32 {
        self.root_id
    }
}

/// Sends an HTTP call and returns the token of its answer.
pub(crate) fn dispatch_http(call: &HttpCall) -> Result<u32, CalloutError> {
    let mut headers = vec![(":method", call.method), (":path", &call.path), (":authority", &call.authority)];
    headers.extend(call.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    hostcalls::dispatch_http(&call.cluster, headers, &call.body, call.timeout.max(AT_ONCE)).map_err(not_sent)
}

/// Why a call was not even sent.
pub(crate) fn not_sent(status: proxy_wasm::types::Status) -> CalloutError {
    match status {
        proxy_wasm::types::Status::InternalFailure => CalloutError::NoHealthyHost,
        _ => CalloutError::NotSent,
    }
}

/// Reads an answer while Envoy has it in hand. No headers at all mean that the stream was reset.
fn read_http(headers: usize, body_size: usize) -> Result<HttpReply, CalloutError> {
    if headers == 0 {
        return Err(CalloutError::Reset);
    }
    let headers = hostcalls::headers(Map::HttpCallResponseHeaders)
        .map(HeaderMap::from_pairs)
        .map_err(|_| CalloutError::Reset)?;
    let status = headers.get_str(":status").and_then(|status| status.parse().ok()).unwrap_or(0);
    if !(100..500).contains(&status) {
        return Err(CalloutError::Status(status));
    }
    let body = match body_size {
        0 => Vec::new(),
        size if size > MAX_REPLY => return Err(CalloutError::TooLarge),
        size => hostcalls::buffer(Buffer::HttpCallResponseBody, size).map_err(|_| CalloutError::Reset)?,
    };
    Ok(HttpReply { status, headers, body })
}
