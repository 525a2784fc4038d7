//! One request: pausing, buffering, callouts, resuming, local replies.
//!
//! Envoy's rules that shape this (tried on 1.40): without `allow_on_headers_stop_iteration`, no body arrives
//! while the headers are held; with it, bodies keep coming and must be held too. A body ends at the end of the
//! stream or at trailers. A local reply sent from here passes through this filter's own response phases.

use std::{cell::RefCell, rc::Rc, time::Duration};

use enforcer_core::{
    cx::{Callout, CalloutError, CalloutReply, FetchKey, Messages},
    fault::{self, Detail, Fault},
    filter::{Body, BodyMode, CallSummary, Event, Filter, Next, Step, Until},
    host::{Host, Level},
};

use crate::{
    foreign,
    hostcalls::{self, Direction},
    worker::{Call, Caller, Worker, dispatch_http, not_sent},
};

mod apply;
mod resume;

/// What the shell knows of one request.
pub(crate) struct Stream<F: Filter> {
    context_id: u32,
    exchange: F::Exchange,
    messages: Messages,
    next: Next,
    request: Side,
    response: Side,
    /// The direction of the event in hand: edits go there.
    direction: Direction,
    wait: Option<Wait>,
    /// How often calls have been sent: answers that come too late belong to an earlier round.
    round: u32,
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
    /// Something came while the filter waited for something in the other direction.
    held: bool,
    /// The headers were held, so that Envoy replays what came meanwhile when they are let go.
    replays: bool,
    /// The response began while the request waited: what is held of the request goes nowhere.
    given_up: bool,
}

/// Why a request is paused.
struct Wait {
    deadline: Duration,
    /// What is paused.
    direction: Direction,
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
            round: 0,
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

    /// Whether there may be answers under way to this request.
    pub(crate) fn has_called(&self) -> bool {
        self.round > 0
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
        // Envoy's own answer, or a backend that did not wait for the end of the request. The decision that was
        // waited for can no longer be carried out.
        stream.request.given_up |= stream.wait.take().is_some();
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
        let waits = stream.wait.is_some();
        let mode = stream.mode(direction);
        let side = stream.side(direction);
        side.size = size;
        side.ended |= end;
        if waits || side.given_up {
            side.held = true;
            return Flow::Pause;
        }
        stream.direction = direction;
        let side = stream.side(direction);
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
        let waits = stream.wait.is_some();
        let side = stream.side(direction);
        // Trailers end a body whose last piece did not say so.
        side.ended = true;
        side.trailers = true;
        if waits || side.given_up {
            side.held = true;
            return Flow::Pause;
        }
        // Envoy loses a body that is let go from the trailers of a message it replays (tried on 1.36 and 1.40).
        let later = side.replays && !side.told;
        stream.direction = direction;
        let later = later && is_buffered(stream.mode(direction));
        drop(stream);
        match Self::finish(this, worker, direction) {
            Flow::Continue if later => {
                worker.continue_later(this, direction);
                Flow::Pause
            }
            flow => flow,
        }
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
                    this.borrow_mut().wait(worker, deadline, Awaited::Fetch(on));
                    worker.wait(this);
                    return Flow::Pause;
                }
                Step::Await { calls, until, deadline } => {
                    let answers = Self::call(this, worker, calls);
                    if !complete(&answers, until) {
                        this.borrow_mut().wait(worker, deadline, Awaited::Calls { answers, until });
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
        let mut stream = this.borrow_mut();
        stream.round = stream.round.wrapping_add(1).max(1);
        let round = stream.round;
        drop(stream);
        let send = |(index, call)| match dispatch(&call) {
            Ok(token) => {
                worker.expect(token, Caller::Request(Rc::downgrade(this), Call { round, index }));
                None
            }
            Err(error) => Some(Err(error)),
        };
        calls.into_iter().enumerate().map(send).collect()
    }

    fn wait(&mut self, worker: &Worker<F>, deadline: Duration, on: Awaited) {
        let deadline = worker.host.monotonic().saturating_add(deadline);
        self.wait = Some(Wait { deadline, direction: self.direction, on });
    }

    fn tell(&mut self, worker: &Worker<F>, event: Event<'_>) -> Step {
        worker.tell(&mut self.exchange, &self.messages, event)
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

/// Sends a call and returns the token of its answer.
pub(crate) fn dispatch(call: &Callout) -> Result<u32, CalloutError> {
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

fn is_buffered(mode: BodyMode) -> bool {
    matches!(mode, BodyMode::Buffer(_) | BodyMode::Rewrite(_))
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
