//! Two filters as one: less memory, one header map, and the identity handed on without leaving the VM.
//!
//! Requests pass the first filter, then the second; responses the other way round, as in Envoy. The second
//! sees the request as the first left it. Longer chains nest: `Chain<A, Chain<B, C>>`.

use crate::{
    config::ConfigError,
    cx::{Cx, Messages, Wishes},
    edits::Edits,
    filter::{Background, Body, CallSummary, Capabilities, Event, Filter, Needs, Next, Step},
};

/// `A`, then `B`.
#[derive(Debug)]
pub struct Chain<A, B> {
    first: A,
    second: B,
}

/// What both filters remember of a request, and how far it has come.
#[derive(Debug, Default)]
pub struct ChainExchange<X, Y> {
    first: X,
    second: Y,
    first_next: Next,
    second_next: Next,
    /// The message event being handled, and who has it, while a filter waits.
    waiting: Option<(Phase, Turn)>,
    /// What the filter before the waiting one has decided already.
    decided: Edits,
    /// The request as the second filter sees it, when the first changed it.
    view: Option<Messages>,
}

/// A message event, without borrowed parts, so that it can be handed on after a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    RequestHead,
    RequestBody(Body),
    RequestTrailers,
    ResponseHead,
    ResponseBody(Body),
    ResponseTrailers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Second,
}

impl Phase {
    fn of(event: &Event<'_>) -> Option<Self> {
        Some(match event {
            Event::RequestHead => Self::RequestHead,
            Event::RequestBody(body) => Self::RequestBody(*body),
            Event::RequestTrailers => Self::RequestTrailers,
            Event::ResponseHead => Self::ResponseHead,
            Event::ResponseBody(body) => Self::ResponseBody(*body),
            Event::ResponseTrailers => Self::ResponseTrailers,
            Event::Callouts(_) | Event::Woken | Event::Deadline => return None,
        })
    }

    fn event(self) -> Event<'static> {
        match self {
            Self::RequestHead => Event::RequestHead,
            Self::RequestBody(body) => Event::RequestBody(body),
            Self::RequestTrailers => Event::RequestTrailers,
            Self::ResponseHead => Event::ResponseHead,
            Self::ResponseBody(body) => Event::ResponseBody(body),
            Self::ResponseTrailers => Event::ResponseTrailers,
        }
    }

    fn is_request(self) -> bool {
        matches!(self, Self::RequestHead | Self::RequestBody(_) | Self::RequestTrailers)
    }

    /// Whoever has the event second.
    fn after(self, turn: Turn) -> Option<Turn> {
        match (self.is_request(), turn) {
            (true, Turn::First) => Some(Turn::Second),
            (false, Turn::Second) => Some(Turn::First),
            _ => None,
        }
    }

    fn opener(self) -> Turn {
        if self.is_request() { Turn::First } else { Turn::Second }
    }

    fn wanted(self, next: Next) -> bool {
        match self {
            Self::RequestHead => true,
            Self::RequestBody(_) => next.request_body != crate::filter::BodyMode::Skip,
            Self::RequestTrailers => next.request_trailers,
            Self::ResponseHead => next.response_head,
            Self::ResponseBody(_) => next.response_body != crate::filter::BodyMode::Skip,
            Self::ResponseTrailers => next.response_trailers,
        }
    }
}

impl<A: Filter, B: Filter> Filter for Chain<A, B> {
    const NAME: &'static str = "chain";
    /// The configurations in order: `[{...}, {...}]`.
    type Config = (A::Config, B::Config);
    type Exchange = ChainExchange<A::Exchange, B::Exchange>;

    fn new((first, second): Self::Config, capabilities: Capabilities) -> Result<Self, ConfigError> {
        Ok(Self {
            first: A::new(first, capabilities).map_err(|error| error.under("[0]"))?,
            second: B::new(second, capabilities).map_err(|error| error.under("[1]"))?,
        })
    }

    fn needs(&self) -> Needs {
        let (mut first, second) = (self.first.needs(), self.second.needs());
        first.clusters.extend(second.clusters);
        first.attributes.extend(second.attributes);
        first.response |= second.response;
        first
    }

    fn on_event(&mut self, exchange: &mut Self::Exchange, event: Event<'_>, cx: &mut Cx<'_>) -> Step {
        let (phase, turn) = match Phase::of(&event) {
            Some(phase) => (phase, phase.opener()),
            None => match exchange.waiting.take() {
                Some(waiting) => waiting,
                None => return Step::proceed(),
            },
        };
        self.run(exchange, event, phase, turn, cx)
    }

    fn on_log(&mut self, exchange: Self::Exchange, call: &CallSummary<'_>, cx: &mut Cx<'_>) {
        self.first.on_log(exchange.first, call, cx);
        self.second.on_log(exchange.second, call, cx);
    }

    fn on_background(&mut self, event: Background<'_>, cx: &mut Cx<'_>) {
        match event {
            Background::Tick => {
                self.first.on_background(Background::Tick, cx);
                self.second.on_background(Background::Tick, cx);
            }
            Background::Fetched(key, reply) => {
                self.first.on_background(Background::Fetched(key, reply), cx);
                self.second.on_background(Background::Fetched(key, reply), cx);
            }
        }
    }
}

impl<A: Filter, B: Filter> Chain<A, B> {
    /// Hands `event` to whose turn it is, then the phase to the other one, until somebody stops.
    fn run(
        &mut self,
        exchange: &mut ChainExchange<A::Exchange, B::Exchange>,
        event: Event<'_>,
        phase: Phase,
        turn: Turn,
        cx: &mut Cx<'_>,
    ) -> Step {
        // A wait ends with an event that is not the phase's own: whoever waited wants it in any case.
        let resumed = Phase::of(&event).is_none();
        let mut event = event;
        let mut turn = turn;
        let mut first_of_phase = true;
        loop {
            let next = if turn == Turn::First { exchange.first_next } else { exchange.second_next };
            if (resumed && first_of_phase) || phase.wanted(next) {
                match self.turn(exchange, event, turn, cx) {
                    Step::Continue(edits) => exchange.accept(edits, phase, turn, cx),
                    step @ (Step::Await { .. } | Step::Wait { .. } | Step::Hold { .. }) => {
                        exchange.waiting = Some((phase, turn));
                        return step;
                    }
                    step @ (Step::Respond(_) | Step::Abort(_)) => return step,
                }
            }
            let Some(other) = phase.after(turn) else { break };
            (event, turn, first_of_phase) = (phase.event(), other, false);
        }
        let mut edits = std::mem::take(&mut exchange.decided);
        edits.next = Some(exchange.first_next.join(exchange.second_next));
        Step::Continue(edits)
    }

    fn turn(
        &mut self,
        exchange: &mut ChainExchange<A::Exchange, B::Exchange>,
        event: Event<'_>,
        turn: Turn,
        cx: &mut Cx<'_>,
    ) -> Step {
        match (turn, &exchange.view) {
            (Turn::First, _) => self.first.on_event(&mut exchange.first, event, cx),
            (Turn::Second, None) => self.second.on_event(&mut exchange.second, event, cx),
            (Turn::Second, Some(view)) => {
                let mut wishes = Wishes::default();
                let step =
                    self.second.on_event(&mut exchange.second, event, &mut cx.viewing(view, &mut wishes));
                cx.wish(wishes);
                step
            }
        }
    }
}

impl<X, Y> ChainExchange<X, Y> {
    /// Notes what one filter decided, and shows it to the one that follows.
    fn accept(&mut self, edits: Edits, phase: Phase, turn: Turn, cx: &Cx<'_>) {
        let wanted = if turn == Turn::First { &mut self.first_next } else { &mut self.second_next };
        if let Some(next) = edits.next {
            *wanted = next;
        }
        let changes = !edits.headers.is_empty() || edits.identity.is_some() || edits.body.is_some();
        if turn == Turn::First && phase.is_request() && changes {
            let mut view = self.view.take().unwrap_or_else(|| cx.request_view());
            view.amend(&edits);
            self.view = Some(view);
        }
        let decided = std::mem::take(&mut self.decided);
        self.decided = decided.then(edits);
    }
}
