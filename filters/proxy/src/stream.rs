//! One request: pausing, buffering, callouts, resuming, local replies.
//!
//! Envoy's rules that shape this (tried on 1.40): without `allow_on_headers_stop_iteration`, no body arrives
//! while the headers are held; with it, bodies keep coming and must be held too. A body ends at the end of the
//! stream or at trailers. A local reply sent from here passes through this filter's own response phases.

use std::{cell::RefCell, rc::Rc, time::Duration};

use enforcer_core::{
    cx::{Callout, CalloutError, CalloutReply, Cx, FetchKey, Messages, Wishes},
    edits::{Edits, HeaderEdit},
    fault::{self, Detail, Fault},
    filter::{Body, BodyMode, CallSummary, Event, Filter, Next, Response, Step, Until},
    host::{Host, Level},
    identity::{self, Identity},
};

use crate::{
    foreign,
    hostcalls::{self, Buffer, Direction, Map},
    worker::{Caller, Worker, dispatch_http, not_sent},
};

/// What the shell knows of one request.
pub(crate) struct Stream<F: Filter> {
    context_id: u32,
    exchange: F::Exchange,
    messages: Messages,
    next: Next,
    request: Side,
    response: Side,
    /// Who acts last: edits go to this direction.
    direction: Direction,
    wait: Option<Wait>,
    /// The detail of our own answer, once we gave one.
    answered: Option<Detail>,
}

/// One direction's body.
#[derive(Debug, Default)]
struct Side {
    /// Bytes seen at the last call: when buffering, all so far.
    size: usize,
    /// The body is complete.
    ended: bool,
    /// The filter has been told so.
    told: bool,
    /// Trailers have come, and were held back by a wait.
    trailers: bool,
    /// A limit that came with a hold; the buffered body is then handed over once.
    hold: Option<usize>,
    /// An upgraded connection (WebSocket): its bytes are never held back.
    upgraded: bool,
}

/// Why a request is paused.
struct Wait {
    deadline: Duration,
    on: Awaited,
}

enum Awaited {
    Fetch(FetchKey),
    Calls { answers: Vec<Option<Result<CalloutReply, CalloutError>>>, until: Until },
}

/// What Envoy is to do with the message in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    Pause,
}

/// A filter whose calls all fail at once may call again, but not for ever.
const MAX_STEPS: usize = 16;

impl<F: Filter> Stream<F> {
    pub(crate) fn new(context_id: u32) -> Self {
        Self {
            context_id,
            exchange: F::Exchange::default(),
            messages: Messages::default(),
            next: Next::default(),
            request: Side::default(),
            response: Side::default(),
            direction: Direction::Request,
            wait: None,
            answered: None,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.wait.as_ref().map(|wait| wait.deadline)
    }

    pub(crate) fn waits_for(&self) -> Option<FetchKey> {
        match self.wait.as_ref()?.on {
            Awaited::Fetch(key) => Some(key),
            Awaited::Calls { .. } => None,
        }
    }

    /// What the filter's last word needs.
    pub(crate) fn conclude(&mut self) -> (F::Exchange, &Messages, CallSummary<'_>) {
        self.wait = None;
        let exchange = std::mem::take(&mut self.exchange);
        (exchange, &self.messages, CallSummary { answered: self.answered.as_ref() })
    }

    pub(crate) fn on_request_headers(this: &Rc<RefCell<Self>>, worker: &Rc<Worker<F>>, end: bool) -> Flow {
        this.borrow_mut().request.ended = end;
        Self::drive(this, worker, Event::RequestHead)
    }

    pub(crate) fn on_response_headers(this: &Rc<RefCell<Self>>, worker: &Rc<Worker<F>>, end: bool) -> Flow {
        let mut stream = this.borrow_mut();
        stream.direction = Direction::Response;
        stream.response.ended = end;
        let wanted = stream.next.response_head;
        stream.hide_length();
        drop(stream);
        if wanted { Self::drive(this, worker, Event::ResponseHead) } else { Flow::Continue }
    }

    pub(crate) fn on_body(
        this: &Rc<RefCell<Self>>,
        worker: &Rc<Worker<F>>,
        direction: Direction,
        size: usize,
        end: bool,
    ) -> Flow {
        let mut stream = this.borrow_mut();
        stream.direction = direction;
        let waits = stream.wait.is_some();
        let mode = stream.mode(direction);
        let side = stream.side(direction);
        side.size = size;
        side.ended |= end;
        if waits {
            return Flow::Pause;
        }
        match mode {
            BodyMode::Skip => Flow::Continue,
            BodyMode::Observe => {
                side.told |= end;
                drop(stream);
                Self::drive(this, worker, body_event(direction, Body { size, end }))
            }
            BodyMode::Buffer(_) | BodyMode::Rewrite(_) if side.told || side.upgraded => Flow::Continue,
            BodyMode::Buffer(limit) | BodyMode::Rewrite(limit) if size > limit => {
                drop(stream);
                Self::refuse_size(this, worker, direction);
                Flow::Pause
            }
            BodyMode::Buffer(_) | BodyMode::Rewrite(_) if !end => Flow::Pause,
            BodyMode::Buffer(_) | BodyMode::Rewrite(_) => {
                drop(stream);
                Self::hand_over(this, worker, direction)
            }
        }
    }

    pub(crate) fn on_trailers(
        this: &Rc<RefCell<Self>>,
        worker: &Rc<Worker<F>>,
        direction: Direction,
    ) -> Flow {
        let mut stream = this.borrow_mut();
        stream.direction = direction;
        let waits = stream.wait.is_some();
        let side = stream.side(direction);
        // Trailers end a body whose last piece did not say so.
        side.ended = true;
        side.trailers = true;
        drop(stream);
        if waits { Flow::Pause } else { Self::finish(this, worker, direction) }
    }

    /// Ends the body, if the filter has not been told yet, then shows the trailers.
    fn finish(this: &Rc<RefCell<Self>>, worker: &Rc<Worker<F>>, direction: Direction) -> Flow {
        let mut stream = this.borrow_mut();
        let mode = stream.mode(direction);
        let wanted = match direction {
            Direction::Request => stream.next.request_trailers,
            Direction::Response => stream.next.response_trailers,
        };
        let side = stream.side(direction);
        let untold = !std::mem::replace(&mut side.told, true);
        drop(stream);
        let flow = match mode {
            BodyMode::Observe if untold => {
                Self::drive(this, worker, body_event(direction, Body { size: 0, end: true }))
            }
            BodyMode::Buffer(_) | BodyMode::Rewrite(_) if untold => Self::hand_over(this, worker, direction),
            _ => Flow::Continue,
        };
        match (flow, wanted, direction) {
            (Flow::Continue, true, Direction::Request) => Self::drive(this, worker, Event::RequestTrailers),
            (Flow::Continue, true, Direction::Response) => Self::drive(this, worker, Event::ResponseTrailers),
            (flow, ..) => flow,
        }
    }

    /// One of the request's own calls is answered.
    pub(crate) fn answered(
        this: &Rc<RefCell<Self>>,
        worker: &Rc<Worker<F>>,
        index: usize,
        answer: Result<CalloutReply, CalloutError>,
    ) {
        let mut stream = this.borrow_mut();
        let Some(Wait { on: Awaited::Calls { answers, until }, .. }) = &mut stream.wait else { return };
        if let Some(slot) = answers.get_mut(index) {
            *slot = Some(answer);
        }
        if !complete(answers, *until) {
            return;
        }
        let answers = std::mem::take(answers);
        drop(stream);
        Self::resume(this, worker, Event::Callouts(&answers));
    }

    /// Ends the wait and goes on where the request was paused.
    pub(crate) fn resume(this: &Rc<RefCell<Self>>, worker: &Rc<Worker<F>>, event: Event<'_>) {
        let mut stream = this.borrow_mut();
        stream.wait = None;
        let (context_id, direction) = (stream.context_id, stream.direction);
        drop(stream);
        if hostcalls::set_effective_context(context_id).is_err() {
            return;
        }
        if Self::drive(this, worker, event) == Flow::Continue
            && Self::catch_up(this, worker, direction) == Flow::Continue
        {
            // The stream has ended meanwhile, or Envoy would take the call.
            let _ = hostcalls::continue_stream(direction);
        }
        let _ = hostcalls::set_effective_context(worker.root_id());
    }

    /// A body that arrived while the headers were held has been kept back; the filter may want it now.
    fn catch_up(this: &Rc<RefCell<Self>>, worker: &Rc<Worker<F>>, direction: Direction) -> Flow {
        let mut stream = this.borrow_mut();
        let side = stream.side(direction);
        let (size, end, trailers) = (side.size, side.ended, side.trailers);
        drop(stream);
        if size == 0 && !trailers {
            return Flow::Continue;
        }
        match Self::on_body(this, worker, direction, size, end && !trailers) {
            Flow::Continue if trailers => Self::finish(this, worker, direction),
            // What buffers the rest is released by its last piece.
            flow => flow,
        }
    }

    /// Gives the filter the buffered body.
    fn hand_over(this: &Rc<RefCell<Self>>, worker: &Rc<Worker<F>>, direction: Direction) -> Flow {
        let mut stream = this.borrow_mut();
        let side = stream.side(direction);
        side.told = true;
        side.hold = None;
        let size = side.size;
        drop(stream);
        Self::drive(this, worker, body_event(direction, Body { size, end: true }))
    }

    /// Tells the filter, and carries out its steps until one of them ends the turn.
    fn drive(this: &Rc<RefCell<Self>>, worker: &Rc<Worker<F>>, event: Event<'_>) -> Flow {
        let mut step = this.borrow_mut().tell(worker, event);
        for _ in 0..MAX_STEPS {
            match step {
                Step::Continue(edits) => {
                    this.borrow_mut().apply(worker, edits);
                    return Flow::Continue;
                }
                Step::Respond(response) => {
                    Self::answer(this, response);
                    return Flow::Pause;
                }
                Step::Abort(detail) => {
                    this.borrow_mut().abort(worker, detail);
                    return Flow::Pause;
                }
                Step::Hold { limit, head } => {
                    let held = this.borrow_mut().hold(worker, limit, head);
                    match held {
                        Held::Flow(flow) => return flow,
                        Held::Nothing(event) => step = this.borrow_mut().tell(worker, event),
                    }
                }
                Step::Wait { on, deadline } => {
                    let deadline = worker.host.monotonic().saturating_add(deadline);
                    this.borrow_mut().wait = Some(Wait { deadline, on: Awaited::Fetch(on) });
                    worker.wait(this);
                    return Flow::Pause;
                }
                Step::Await { calls, until, deadline } => {
                    let answers = Self::call(this, worker, calls);
                    if !complete(&answers, until) {
                        let deadline = worker.host.monotonic().saturating_add(deadline);
                        let on = Awaited::Calls { answers, until };
                        this.borrow_mut().wait = Some(Wait { deadline, on });
                        worker.wait(this);
                        return Flow::Pause;
                    }
                    step = this.borrow_mut().tell(worker, Event::Callouts(&answers));
                }
            }
        }
        worker.host.log(Level::Error, format_args!("{}: no decision after {MAX_STEPS} steps", F::NAME));
        let fault = Fault::new(fault::UNCLASSIFIED, "No decision was reached", "enforcer_undecided");
        Self::answer(this, fault.respond(fault::Dialect::default()));
        Flow::Pause
    }

    /// Sends the calls; those that cannot be sent are answered already.
    fn call(
        this: &Rc<RefCell<Self>>,
        worker: &Rc<Worker<F>>,
        calls: Vec<Callout>,
    ) -> Vec<Option<Result<CalloutReply, CalloutError>>> {
        let send = |(index, call)| match dispatch(&call) {
            Ok(token) => {
                worker.expect(token, Caller::Request(Rc::downgrade(this), index));
                None
            }
            Err(error) => Some(Err(error)),
        };
        calls.into_iter().enumerate().map(send).collect()
    }

    fn tell(&mut self, worker: &Worker<F>, event: Event<'_>) -> Step {
        worker.tell(&mut self.exchange, &self.messages, event)
    }

    fn apply(&mut self, worker: &Worker<F>, edits: Edits) {
        if let Some(identity) = &edits.identity {
            publish(identity);
        }
        let (map, buffer) = match self.direction {
            Direction::Request => (Map::RequestHeaders, Buffer::RequestBody),
            Direction::Response => (Map::ResponseHeaders, Buffer::ResponseBody),
        };
        for change in &edits.headers {
            let done = match change {
                HeaderEdit::Remove(name) => hostcalls::remove_header(map, name),
                HeaderEdit::Set(name, value) => hostcalls::set_header(map, name, value),
            };
            self.report(worker, "a header could not be changed", done);
        }
        if let Some(body) = edits.body {
            let size = self.side(self.direction).size;
            self.report(worker, "the body could not be replaced", hostcalls::set_buffer(buffer, size, &body));
        }
        if let Some(next) = edits.next {
            self.next = next;
            self.hide_length();
            let buffers = |mode| matches!(mode, BodyMode::Buffer(_) | BodyMode::Rewrite(_));
            if buffers(next.request_body) || buffers(next.response_body) {
                self.note_upgrade(worker);
            }
        }
    }

    /// Removes `content-length` from a message whose body may be replaced, while its headers can change.
    fn hide_length(&mut self) {
        let map = match self.direction {
            Direction::Request => Map::RequestHeaders,
            Direction::Response => Map::ResponseHeaders,
        };
        if matches!(self.mode(self.direction), BodyMode::Rewrite(_)) && self.side(self.direction).size == 0 {
            // Not there, or too late for it: Envoy says which to nobody who could help.
            let _ = hostcalls::remove_header(map, "content-length");
        }
    }

    /// Marks a connection that is about to be upgraded: what follows is no body.
    fn note_upgrade(&mut self, worker: &Worker<F>) {
        let mut wishes = Wishes::default();
        let headers = Cx::new(&worker.host, &self.messages, &mut wishes).request_headers();
        let upgraded = headers.get("upgrade").is_some() || headers.get(":method") == Some(b"CONNECT");
        self.request.upgraded |= upgraded;
        self.response.upgraded |= upgraded;
    }

    fn report(&self, worker: &Worker<F>, what: &str, done: hostcalls::Result<()>) {
        if let Err(status) = done {
            worker.host.log(Level::Error, format_args!("{}: {what}: {status}", F::NAME));
        }
    }

    fn hold(&mut self, worker: &Worker<F>, limit: usize, head: bool) -> Held {
        self.note_upgrade(worker);
        let direction = self.direction;
        let side = self.side(direction);
        if side.ended || side.upgraded {
            // Nothing to wait for: no body at all, or one that must not be held.
            side.told = true;
            return Held::Nothing(body_event(direction, Body { size: 0, end: true }));
        }
        side.hold = Some(limit);
        Held::Flow(if head { Flow::Pause } else { Flow::Continue })
    }

    /// The body is larger than the filter takes. A response's headers are out already, so it can only be cut.
    fn refuse_size(this: &Rc<RefCell<Self>>, worker: &Worker<F>, direction: Direction) {
        const DETAIL: &str = "enforcer_body_too_large";
        match direction {
            Direction::Request => {
                let fault = Fault::new(fault::PAYLOAD_TOO_LARGE, "The body is too large", DETAIL);
                Self::answer(this, fault.respond(fault::Dialect::default()));
            }
            Direction::Response => this.borrow_mut().abort(worker, Detail::new(DETAIL)),
        }
    }

    fn abort(&mut self, worker: &Worker<F>, detail: Detail) {
        worker.host.log(Level::Warn, format_args!("{}: stream cut: {detail}", F::NAME));
        self.answered = Some(detail);
        // A stream that has gone needs no cutting.
        let _ = hostcalls::close_stream(self.direction);
    }

    fn answer(this: &Rc<RefCell<Self>>, response: Response) {
        if let Some(identity) = &response.identity {
            publish(identity);
        }
        let Response { status, headers, body, detail, .. } = response;
        // The stream has gone: nobody is left to be told.
        let _ = hostcalls::send_local_response(status, &headers, &body, detail.as_str());
        let mut stream = this.borrow_mut();
        stream.answered = Some(detail);
        stream.request.told = true;
    }

    fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    /// How the body in this direction is wanted: held bodies count as buffered.
    fn mode(&mut self, direction: Direction) -> BodyMode {
        let asked = match direction {
            Direction::Request => self.next.request_body,
            Direction::Response => self.next.response_body,
        };
        match self.side(direction).hold {
            Some(limit) => asked.max(BodyMode::Buffer(limit)),
            None => asked,
        }
    }
}

fn publish(identity: &Identity) {
    // Envoy refuses only what was declared read-only, and nobody declares it.
    let _ = hostcalls::set_property(identity::PROPERTY, &identity.encode());
}

fn dispatch(call: &Callout) -> Result<u32, CalloutError> {
    match call {
        Callout::Http(call) => dispatch_http(call),
        Callout::Grpc(call) => {
            let service = foreign::grpc_service(&call.cluster).ok_or(CalloutError::NotSent)?;
            hostcalls::dispatch_grpc(&service, &call.service, &call.method, &call.message, call.timeout)
                .map_err(not_sent)
        }
    }
}

fn complete(answers: &[Option<Result<CalloutReply, CalloutError>>], until: Until) -> bool {
    answers.iter().all(Option::is_some)
        || until == Until::Any && answers.iter().any(|answer| matches!(answer, Some(Ok(_))))
}

fn body_event(direction: Direction, body: Body) -> Event<'static> {
    match direction {
        Direction::Request => Event::RequestBody(body),
        Direction::Response => Event::ResponseBody(body),
    }
}

enum Held {
    Flow(Flow),
    /// There is nothing to hold: the filter is told at once.
    Nothing(Event<'static>),
}
