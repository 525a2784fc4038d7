//! Replaces the request's body by the same text in upper case, between brackets: longer than it was, so that a
//! host which keeps the old length is found out.

use enforcer_core::{
    config::ConfigError,
    cx::Cx,
    edits::Edits,
    filter::{Body, BodyMode, Capabilities, Event, Filter, Needs, Next, Step},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug)]
pub(crate) struct Replace {
    config: Config,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Largest body, in bytes.
    limit: usize,
    /// Hold the headers until the body is there, and announce its new size to the backend in `x-replaced`.
    /// Needs `allow_on_headers_stop_iteration`.
    #[serde(default)]
    hold_head: bool,
}

impl Filter for Replace {
    const NAME: &'static str = "replace";
    type Config = Config;
    type Exchange = ();

    fn new(config: Config, _capabilities: Capabilities) -> Result<Self, ConfigError> {
        Ok(Self { config })
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn on_event(&mut self, _exchange: &mut (), event: Event<'_>, cx: &mut Cx<'_>) -> Step {
        match event {
            Event::RequestHead if self.config.hold_head => {
                Step::Hold { limit: self.config.limit, head: true }
            }
            Event::RequestHead => Step::Continue(Edits::next(Next {
                request_body: BodyMode::Rewrite(self.config.limit),
                ..Next::default()
            })),
            // Nothing to replace; to a request that has no body at all Envoy lets nobody add one.
            Event::RequestBody(Body { size: 0, .. }) => Step::proceed(),
            Event::RequestBody(Body { size, .. }) => {
                let mut body = b"[".to_vec();
                body.extend(cx.request_body(size).to_ascii_uppercase());
                body.push(b']');
                let edits = if self.config.hold_head {
                    Edits::default().set("x-replaced", body.len().to_string()).remove("content-length")
                } else {
                    Edits::default()
                };
                Step::Continue(Edits { body: Some(body), ..edits })
            }
            _ => Step::proceed(),
        }
    }
}
