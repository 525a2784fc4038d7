//! Counts the bytes of every response as they stream past, and ends where the body ends: at the last piece or
//! at trailers.

use enforcer_core::{
    config::ConfigError,
    cx::Cx,
    edits::Edits,
    filter::{Body, BodyMode, CallSummary, Capabilities, Event, Filter, Needs, Next, Step},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug)]
pub(crate) struct Counter;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {}

/// One response.
#[derive(Debug, Default)]
pub(crate) struct Count {
    bytes: u64,
    ended: bool,
}

impl Filter for Counter {
    const NAME: &'static str = "counter";
    type Config = Config;
    type Exchange = Count;

    fn new(_config: Config, _capabilities: Capabilities) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn needs(&self) -> Needs {
        Needs { response: true, ..Needs::default() }
    }

    fn on_event(&mut self, count: &mut Count, event: Event<'_>, cx: &mut Cx<'_>) -> Step {
        match event {
            Event::RequestHead => Step::Continue(Edits::next(Next {
                response_body: BodyMode::Observe,
                response_trailers: true,
                ..Next::default()
            })),
            Event::ResponseBody(Body { size, end }) => {
                count.bytes = count.bytes.saturating_add(size as u64);
                count.ended |= end;
                Step::proceed()
            }
            Event::ResponseTrailers => {
                cx.host.count("conformance.counter.trailers", 1);
                Step::proceed()
            }
            _ => Step::proceed(),
        }
    }

    fn on_log(&mut self, count: Count, _call: &CallSummary<'_>, cx: &mut Cx<'_>) {
        cx.host.count("conformance.counter.responses", 1);
        cx.host.count("conformance.counter.bytes", count.bytes);
        if count.ended {
            cx.host.count("conformance.counter.ended", 1);
        }
    }
}
