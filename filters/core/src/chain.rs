//! Two filters as one: less memory, one header map, and the identity handed on without leaving the VM.
//!
//! Requests pass the first filter, then the second; responses the other way round, as in Envoy. The second
//! sees the request as the first left it. Longer chains nest: `Chain<A, Chain<B, C>>`. A filter that is not
//! configured is an `Option` without one: it lets everything pass.

use std::collections::VecDeque;

use crate::{
    config::ConfigError,
    cx::{Cx, Messages, Wishes},
    edits::Edits,
    filter::{Background, Body, BodyMode, CallSummary, Capabilities, Event, Filter, Needs, Next, Step},
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
    /// Who is still to be told what, of the message in hand.
    todo: VecDeque<(Turn, Phase)>,
    /// Who answered [`Step::Await`] or [`Step::Wait`].
    waiting: Option<Turn>,
    /// Whoever opens this direction holds its head: the other one has not seen it yet.
    held: bool,
    /// What has been decided already, for when the last one has decided.
    decided: Edits,
    /// The request as the second filter sees it, when the first changed it.
    view: Option<Messages>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Second,
}

/// A message event, without borrowed parts, so that it can be told later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    RequestHead,
    RequestBody(Body),
    RequestTrailers,
    ResponseHead,
    ResponseBody(Body),
    ResponseTrailers,
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

    /// Who hears of it, in order.
    fn order(self) -> [Turn; 2] {
        match self {
            Self::RequestHead | Self::RequestBody(_) | Self::RequestTrailers => [Turn::First, Turn::Second],
            Self::ResponseHead | Self::ResponseBody(_) | Self::ResponseTrailers => {
                [Turn::Second, Turn::First]
            }
        }
    }

    /// The head of the same message, if this is its body.
    fn head(self) -> Option<Self> {
        match self {
            Self::RequestBody(_) => Some(Self::RequestHead),
            Self::ResponseBody(_) => Some(Self::ResponseHead),
            _ => None,
        }
    }

    fn wanted(self, next: Next) -> bool {
        match self {
            Self::RequestHead => true,
            Self::RequestBody(_) => next.request_body != BodyMode::Skip,
            Self::RequestTrailers => next.request_trailers,
            Self::ResponseHead => next.response_head,
            Self::ResponseBody(_) => next.response_body != BodyMode::Skip,
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
        match Phase::of(&event) {
            Some(phase) => exchange.plan(phase),
            None => {
                let Some(turn) = exchange.waiting.take() else { return Step::proceed() };
                if let Some(step) = self.tell(exchange, turn, event, cx) {
                    return step;
                }
            }
        }
        while let Some((turn, phase)) = exchange.todo.pop_front() {
            if phase.wanted(*exchange.next(turn))
                && let Some(step) = self.tell(exchange, turn, phase.event(), cx)
            {
                return step;
            }
        }
        let mut edits = std::mem::take(&mut exchange.decided);
        edits.next = Some(exchange.first_next.join(exchange.second_next));
        Step::Continue(edits)
    }

    fn on_log(&mut self, exchange: Self::Exchange, call: &CallSummary<'_>, cx: &mut Cx<'_>) {
        self.first.on_log(exchange.first, call, cx);
        match &exchange.view {
            None => self.second.on_log(exchange.second, call, cx),
            Some(view) => {
                let mut wishes = Wishes::default();
                self.second.on_log(exchange.second, call, &mut cx.viewing(view, &mut wishes));
                cx.wish(wishes);
            }
        }
    }

    fn on_background(&mut self, event: Background<'_>, cx: &mut Cx<'_>) {
        self.first.on_background(event, cx);
        self.second.on_background(event, cx);
    }
}

impl<A: Filter, B: Filter> Chain<A, B> {
    /// Of filters that are configured already.
    pub fn of(first: A, second: B) -> Self {
        Self { first, second }
    }

    /// Tells one filter. `None`: it continued, and the next one may be told.
    fn tell(
        &mut self,
        exchange: &mut ChainExchange<A::Exchange, B::Exchange>,
        turn: Turn,
        event: Event<'_>,
        cx: &mut Cx<'_>,
    ) -> Option<Step> {
        let phase = Phase::of(&event);
        let step = match (turn, &exchange.view) {
            (Turn::First, _) => self.first.on_event(&mut exchange.first, event, cx),
            (Turn::Second, None) => self.second.on_event(&mut exchange.second, event, cx),
            (Turn::Second, Some(view)) => {
                let mut wishes = Wishes::default();
                let seen = &mut cx.viewing(view, &mut wishes);
                let step = self.second.on_event(&mut exchange.second, event, seen);
                cx.wish(wishes);
                step
            }
        };
        match step {
            Step::Continue(edits) => {
                exchange.accept(edits, turn, cx);
                None
            }
            Step::Await { .. } | Step::Wait { .. } => {
                exchange.waiting = Some(turn);
                Some(step)
            }
            Step::Hold { limit, .. } => exchange.hold(turn, phase, limit).then_some(step),
            Step::Respond(ref response) => {
                if let Some(identity) = &response.identity {
                    exchange.show(&Edits { identity: Some(identity.clone()), ..Edits::default() }, cx);
                }
                Some(step)
            }
            Step::Abort(_) => Some(step),
        }
    }
}

impl<X, Y> ChainExchange<X, Y> {
    /// Notes who must hear of a message event.
    fn plan(&mut self, phase: Phase) {
        let [opener, other] = phase.order();
        self.todo.clear();
        self.todo.push_back((opener, phase));
        if let Some(head) = phase.head().filter(|_| std::mem::take(&mut self.held)) {
            self.todo.push_back((other, head));
        }
        self.todo.push_back((other, phase));
    }

    /// Notes that a filter buffers the body before it decides. False: the body is here already, and its turn
    /// to hear of it comes next.
    fn hold(&mut self, turn: Turn, phase: Option<Phase>, limit: usize) -> bool {
        let (next, request) = match phase {
            Some(Phase::ResponseHead) => (self.next(turn), false),
            _ => (self.next(turn), true),
        };
        let body = if request { &mut next.request_body } else { &mut next.response_body };
        *body = (*body).max(BodyMode::Buffer(limit));
        let here = self.todo.iter().any(|(_, phase)| phase.head().is_some());
        if !here {
            self.held = phase.is_some_and(|phase| phase.order()[0] == turn);
            self.todo.clear();
        }
        !here
    }

    fn next(&mut self, turn: Turn) -> &mut Next {
        match turn {
            Turn::First => &mut self.first_next,
            Turn::Second => &mut self.second_next,
        }
    }

    /// Notes what one filter decided, and shows it to the one behind it.
    fn accept(&mut self, edits: Edits, turn: Turn, cx: &Cx<'_>) {
        if let Some(next) = edits.next {
            *self.next(turn) = next;
        }
        let changes = !edits.headers.is_empty() || edits.identity.is_some() || edits.body.is_some();
        if turn == Turn::First && changes {
            self.show(&edits, cx);
        }
        let decided = std::mem::take(&mut self.decided);
        self.decided = decided.then(edits);
    }

    /// Shows the second filter what the first one did, in memory.
    fn show(&mut self, edits: &Edits, cx: &Cx<'_>) {
        self.view.get_or_insert_with(|| cx.request_view()).amend(edits);
    }
}

/// A filter that may be left out. Without one, every request passes and nothing is asked of the host.
impl<F: Filter> Filter for Option<F> {
    const NAME: &'static str = F::NAME;
    type Config = Option<F::Config>;
    type Exchange = F::Exchange;

    fn new(config: Self::Config, capabilities: Capabilities) -> Result<Self, ConfigError> {
        config.map(|config| F::new(config, capabilities)).transpose()
    }

    fn needs(&self) -> Needs {
        self.as_ref().map(F::needs).unwrap_or_default()
    }

    fn on_event(&mut self, exchange: &mut F::Exchange, event: Event<'_>, cx: &mut Cx<'_>) -> Step {
        match self {
            Some(filter) => filter.on_event(exchange, event, cx),
            None => Step::proceed(),
        }
    }

    fn on_log(&mut self, exchange: F::Exchange, call: &CallSummary<'_>, cx: &mut Cx<'_>) {
        if let Some(filter) = self {
            filter.on_log(exchange, call, cx);
        }
    }

    fn on_background(&mut self, event: Background<'_>, cx: &mut Cx<'_>) {
        if let Some(filter) = self {
            filter.on_background(event, cx);
        }
    }
}

#[cfg(test)]
mod tests;
