//! Calls other services in the middle of a request or of its response, and passes on what they answered in
//! `x-answers`.

use std::time::Duration;

use enforcer_core::{
    config::ConfigError,
    cx::{Callout, CalloutError, CalloutReply, Cx, GrpcCall, HttpCall},
    edits::Edits,
    filter::{Capabilities, Event, Filter, Needs, Next, Step, Until},
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
    /// Call when the response comes, not the request.
    #[serde(default)]
    on_response: bool,
}

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
            Event::RequestHead if self.config.on_response => {
                Step::Continue(Edits::next(Next { response_head: true, ..Next::default() }))
            }
            Event::RequestHead | Event::ResponseHead => self.call(),
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
        if rounds.seen.len() < 2 {
            self.call()
        } else {
            Step::Continue(Edits::default().set("x-answers", rounds.seen.join("; ")))
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
