//! One fetch for all who need it: requests wait for a value that the background gets, and whoever asked first
//! may go away without taking the others along.

use std::time::Duration;

use enforcer_core::{
    config::ConfigError,
    cx::{Cx, FetchKey, HttpCall},
    edits::Edits,
    fault::Detail,
    filter::{Background, Capabilities, Event, Filter, Needs, Response, Step},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug)]
pub(crate) struct SharedFetch {
    config: Config,
    wanted: bool,
    value: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    cluster: String,
    path: String,
    /// How long a request waits, in milliseconds.
    deadline_ms: u64,
    /// Whoever waited takes the value away: the next request waits again.
    #[serde(default)]
    once: bool,
}

const KEY: FetchKey = FetchKey { filter: SharedFetch::NAME, id: 0 };

impl Filter for SharedFetch {
    const NAME: &'static str = "shared-fetch";
    type Config = Config;
    type Exchange = ();

    fn new(config: Config, _capabilities: Capabilities) -> Result<Self, ConfigError> {
        Ok(Self { config, wanted: false, value: None })
    }

    fn needs(&self) -> Needs {
        Needs { clusters: vec![self.config.cluster.clone()], ..Needs::default() }
    }

    fn on_event(&mut self, _exchange: &mut (), event: Event<'_>, cx: &mut Cx<'_>) -> Step {
        let value = if self.config.once { self.value.take() } else { self.value.clone() };
        match (event, value) {
            (_, Some(value)) => Step::Continue(Edits::default().set("x-fetched", value)),
            (Event::RequestHead, None) => {
                self.wanted = true;
                cx.schedule(Duration::ZERO);
                Step::Wait { on: KEY, deadline: Duration::from_millis(self.config.deadline_ms) }
            }
            (Event::Deadline, None) => respond(504, "conformance_deadline"),
            (_, None) => respond(503, "conformance_fetch_failed"),
        }
    }

    fn on_background(&mut self, event: Background<'_>, cx: &mut Cx<'_>) {
        match event {
            Background::Tick if self.wanted => {
                self.wanted = false;
                cx.fetch(KEY, self.call());
            }
            Background::Tick => {}
            Background::Fetched(key, reply) if key == KEY => {
                self.value = reply.ok().map(|reply| String::from_utf8_lossy(&reply.body).trim().to_owned());
                cx.wake(KEY);
            }
            Background::Fetched(..) | Background::Answered(..) | Background::Draining => {}
        }
    }
}

impl SharedFetch {
    fn call(&self) -> HttpCall {
        HttpCall {
            cluster: self.config.cluster.clone(),
            method: "GET",
            authority: "conformance".to_owned(),
            path: self.config.path.clone(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: Duration::from_secs(5),
        }
    }
}

fn respond(status: u16, detail: &'static str) -> Step {
    Step::Respond(Response {
        status,
        headers: Vec::new(),
        body: Vec::new(),
        detail: Detail::new(detail),
        identity: None,
    })
}
