//! Calls other services in the middle of a request or of its response, and passes on what they answered: in the
//! header `x-answers`, or as the body.

use std::time::Duration;

use enforcer_core::{
    config::ConfigError,
    cx::{Callout, CalloutError, CalloutReply, Cx, GrpcCall, HttpCall},
    edits::Edits,
    filter::{BodyMode, Capabilities, Event, Filter, Needs, Next, Step, Until},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug)]
pub(crate) struct Caller {
    config: Config,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Clusters that are called over HTTP.
    clusters: Vec<String>,
    /// Clusters that are called over gRPC, after those.
    #[serde(default)]
    grpc: Vec<String>,
    /// Go on with the first success.
    #[serde(default)]
    any: bool,
    deadline_ms: u64,
    #[serde(default)]
    at: Place,
}

/// Where the calls are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Place {
    #[default]
    RequestHead,
    RequestBody,
    ResponseHead,
    ResponseBody,
}

/// Largest body that is replaced.
const LIMIT: usize = 1000;

/// One request: which round of calls is under way, of two.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    seen: Vec<String>,
}

impl Filter for Caller {
    const NAME: &'static str = "caller";
    type Config = Config;
    type Exchange = Rounds;

    fn new(config: Config, _capabilities: Capabilities) -> Result<Self, ConfigError> {
        Ok(Self { config })
    }

    fn needs(&self) -> Needs {
        let Config { clusters, grpc, .. } = &self.config;
        Needs { clusters: clusters.iter().chain(grpc).cloned().collect(), response: true, ..Needs::default() }
    }

    fn on_event(&mut self, rounds: &mut Rounds, event: Event<'_>, _cx: &mut Cx<'_>) -> Step {
        match event {
            Event::RequestHead if self.config.at != Place::RequestHead => {
                Step::Continue(Edits::next(self.wanted()))
            }
            Event::RequestHead | Event::ResponseHead | Event::RequestBody(_) | Event::ResponseBody(_) => {
                self.call()
            }
            // A second round at once, while answers to the first may still be under way.
            Event::Callouts(answers) => {
                rounds.seen.push(answers.iter().map(show).collect::<Vec<_>>().join(","));
                self.next(rounds)
            }
            Event::Deadline => {
                rounds.seen.push("deadline".to_owned());
                self.next(rounds)
            }
            _ => Step::proceed(),
        }
    }
}

impl Caller {
    fn next(&self, rounds: &Rounds) -> Step {
        let answers = rounds.seen.join("; ");
        if rounds.seen.len() < 2 {
            return self.call();
        }
        Step::Continue(match self.config.at {
            Place::RequestHead | Place::ResponseHead => Edits::default().set("x-answers", answers),
            Place::RequestBody | Place::ResponseBody => {
                Edits { body: Some(answers.into_bytes()), ..Edits::default() }
            }
        })
    }

    fn wanted(&self) -> Next {
        let none = Next::default();
        match self.config.at {
            Place::RequestHead => none,
            Place::RequestBody => Next { request_body: BodyMode::Rewrite(LIMIT), ..none },
            Place::ResponseHead => Next { response_head: true, ..none },
            Place::ResponseBody => Next { response_body: BodyMode::Rewrite(LIMIT), ..none },
        }
    }

    fn call(&self) -> Step {
        let timeout = Duration::from_secs(1);
        let http = self.config.clusters.iter().map(|cluster| {
            Callout::Http(HttpCall {
                cluster: cluster.clone(),
                method: "GET",
                authority: "conformance".to_owned(),
                path: "/called".to_owned(),
                headers: Vec::new(),
                body: Vec::new(),
                timeout,
            })
        });
        let grpc = self.config.grpc.iter().map(|cluster| {
            Callout::Grpc(GrpcCall {
                cluster: cluster.clone(),
                service: "conformance.Conformance".to_owned(),
                method: "Ask".to_owned(),
                message: Vec::new(),
                timeout,
            })
        });
        Step::Await {
            calls: http.chain(grpc).collect(),
            until: if self.config.any { Until::Any } else { Until::All },
            deadline: Duration::from_millis(self.config.deadline_ms),
        }
    }
}

fn show(answer: &Option<Result<CalloutReply, CalloutError>>) -> String {
    match answer {
        None => "-".to_owned(),
        Some(Ok(CalloutReply::Http(reply))) => reply.status.to_string(),
        Some(Ok(CalloutReply::Grpc(_))) => "grpc".to_owned(),
        Some(Err(CalloutError::Status(status))) => format!("failed {status}"),
        Some(Err(CalloutError::Grpc(_))) => "grpc failed".to_owned(),
        Some(Err(CalloutError::NotSent)) => "not sent".to_owned(),
        Some(Err(CalloutError::NoHealthyHost)) => "no host".to_owned(),
        Some(Err(CalloutError::Reset)) => "reset".to_owned(),
        Some(Err(CalloutError::TooLarge)) => "too large".to_owned(),
    }
}
