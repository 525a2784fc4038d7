//! Asking a policy decision point whether a caller may do this: an agent that has the last word on callers whose credentials
//! are good. [`opa`] and [`xacml`] are what is said to it and what it answers; all else is the same.

mod opa;
mod xacml;

use std::time::Duration;

use enforcer_core::{
    cache::{Cache, Weigh},
    config::ConfigError,
    cx::{CalloutError, CalloutReply, Cx, HttpCall},
    headers::HeaderMap,
    host::Level,
    identity::{Called, Caller},
    net,
    units::{ByteSize, Span},
};
use serde_json::{Map, Value};

use crate::{
    config::{self, Api, DecisionPart, TokenSource},
    introspection::authorization,
    json,
    refusal::DecisionProblem,
    remote::split_url,
};

/// Asks one agent, and remembers what it said.
#[derive(Debug)]
pub struct Point {
    asked: Asked,
    words: Words,
    call: HttpCall,
    known: Cache<Known>,
    /// Until when nothing is said of answers that did not come.
    silent_until: Option<Duration>,
}

/// What is configured of any agent, as [`config::Opa`] has it.
#[derive(Debug)]
struct Asked {
    cluster: String,
    url: String,
    apis: Vec<String>,
    timeout: Span,
    cache_key: Vec<DecisionPart>,
    max_age: Span,
    cache: ByteSize,
}

/// In whose words it is asked.
#[derive(Debug)]
enum Words {
    Opa(opa::Words),
    Xacml,
}

const SILENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Known(Opinion);

impl Weigh for Known {
    fn weight(&self) -> usize {
        0
    }
}

/// What the agent says.
pub type Opinion = Result<(), DecisionProblem>;

/// What is to be done about a request.
#[derive(Debug)]
pub enum Advice {
    Decided(Opinion),
    Ask(Box<HttpCall>),
}

/// A request by a known caller.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub caller: &'a Caller,
    pub called: &'a Called,
    pub api: Option<&'a Api>,
    /// The caller's token, and its claims if they are known.
    pub token: Option<&'a [u8]>,
}

impl Point {
    /// Open Policy Agent. `credentials`: where they may be; `secret`: further headers that the agent is not shown.
    pub fn opa<'c>(
        config: config::Opa,
        credentials: impl Iterator<Item = &'c TokenSource>,
        secret: impl Iterator<Item = String>,
    ) -> Result<Self, ConfigError> {
        let config::Opa { cluster, url, apis, access_key, send_token, timeout, cache_key, max_age, cache } =
            config;
        let asked = Asked { cluster, url, apis, timeout, cache_key, max_age, cache };
        let words = Words::Opa(opa::Words::new(send_token, credentials, secret));
        Self::new(asked, words, "application/json", access_key.map(|key| format!("Bearer {key}")))
    }

    /// What speaks XACML.
    pub fn xacml(config: config::Xacml) -> Result<Self, ConfigError> {
        let config::Xacml { cluster, url, apis, client, content_type, timeout, cache_key, max_age, cache } =
            config;
        let asked = Asked { cluster, url, apis, timeout, cache_key, max_age, cache };
        Self::new(asked, Words::Xacml, &content_type, client.as_ref().map(authorization))
    }

    fn new(
        asked: Asked,
        words: Words,
        content_type: &str,
        authorization: Option<String>,
    ) -> Result<Self, ConfigError> {
        let (authority, path) = split_url(&asked.url).map_err(|problem| ConfigError::at("url", problem))?;
        if asked.timeout.duration().is_zero() {
            let problem = "zero: no question could be answered; the default is `5s`";
            return Err(ConfigError::at("timeout", problem));
        }
        let mut headers = vec![("content-type".to_owned(), content_type.to_owned())];
        if matches!(words, Words::Xacml) {
            headers.push(("accept".to_owned(), content_type.to_owned()));
        }
        headers.extend(authorization.map(|value| ("authorization".to_owned(), value)));
        let call = HttpCall {
            cluster: asked.cluster.clone(),
            method: "POST",
            authority,
            path,
            headers,
            body: Vec::new(),
            timeout: asked.timeout.duration(),
        };
        Ok(Self { call, words, known: Cache::new(asked.cache.as_usize()), silent_until: None, asked })
    }

    /// `heard`: what the agent has just said of this request.
    pub fn advise(&mut self, question: Question<'_>, heard: Option<Opinion>, cx: &Cx<'_>) -> Advice {
        let apis = &self.asked.apis;
        if !apis.is_empty() && !question.api.is_some_and(|api| apis.contains(&api.name)) {
            return Advice::Decided(Ok(()));
        }
        let now = cx.host.monotonic();
        let key = (!self.asked.cache_key.is_empty()).then(|| self.key(question, cx));
        if let Some(opinion) = heard {
            if let Err(problem @ (DecisionProblem::Unavailable | DecisionProblem::Unreadable)) = opinion {
                self.complain(problem, cx);
            }
            if let (Some(key), Ok(()) | Err(DecisionProblem::Denied)) = (&key, opinion) {
                let until = now.saturating_add(self.asked.max_age.duration());
                self.known.insert(key, Known(opinion), until);
            }
            return Advice::Decided(opinion);
        }
        if let Some(Known(opinion)) = key.and_then(|key| self.known.get(&key, now)) {
            cx.host.count("enforcer.auth.decision.cached", 1);
            return Advice::Decided(*opinion);
        }
        cx.host.count("enforcer.auth.decision.asked", 1);
        let body = match &self.words {
            Words::Opa(words) => words.question(question, cx),
            Words::Xacml => xacml::question(question, cx),
        };
        let body = body.to_string().into_bytes();
        Advice::Ask(Box::new(HttpCall { body, ..self.call.clone() }))
    }

    /// Says that there was no answer, once a second.
    fn complain(&mut self, problem: DecisionProblem, cx: &Cx<'_>) {
        cx.host.count("enforcer.auth.decision.failed", 1);
        let now = cx.host.monotonic();
        if self.silent_until.is_none_or(|until| now >= until) {
            self.silent_until = Some(now.saturating_add(SILENCE));
            let what = match problem {
                DecisionProblem::Unreadable => "says neither yes nor no",
                DecisionProblem::Unavailable | DecisionProblem::Denied => "cannot be asked",
            };
            cx.host.log(Level::Warn, format_args!("auth: the policy agent at `{}` {what}", self.asked.url));
        }
    }

    /// What the agent has said, in the first of these answers.
    pub fn read(&self, answers: &[Option<Result<CalloutReply, CalloutError>>]) -> Opinion {
        let Some(Some(Ok(CalloutReply::Http(reply)))) = answers.first() else {
            return Err(DecisionProblem::Unavailable);
        };
        if reply.status != 200 {
            return Err(DecisionProblem::Unavailable);
        }
        let members = json::object(&reply.body).ok_or(DecisionProblem::Unreadable)?;
        match self.words {
            Words::Opa(_) => opa::answer(members),
            Words::Xacml => xacml::answer(members),
        }
    }

    /// The configured parts, each with its length before it.
    fn key(&self, Question { caller, called, .. }: Question<'_>, cx: &Cx<'_>) -> Vec<u8> {
        let headers = cx.request_headers();
        let mut key = Vec::with_capacity(128);
        let mut add = |part: &[u8]| {
            key.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            key.extend_from_slice(part);
        };
        for part in &self.asked.cache_key {
            match part {
                DecisionPart::Method => add(headers.get(":method").unwrap_or_default()),
                DecisionPart::Path => add(path(headers)),
                DecisionPart::Api => {
                    add(called.api.as_bytes());
                    add(called.version.as_bytes());
                }
                DecisionPart::Operation => add(called.operation.as_bytes()),
                DecisionPart::Subject => add(caller.subject.as_bytes()),
                DecisionPart::Consumer => add(caller.consumer.as_bytes()),
                DecisionPart::Application => add(caller.application.as_bytes()),
                DecisionPart::Tier => add(caller.tier.as_bytes()),
                DecisionPart::Scopes => add(caller.scopes.join(" ").as_bytes()),
                DecisionPart::ClientIp => {
                    add(net::client(cx.host).map(|client| client.to_string()).unwrap_or_default().as_bytes());
                }
                DecisionPart::Header(name) => {
                    let values: Vec<&[u8]> = headers.get_all(name).collect();
                    add(&values.join(&b"\n"[..]));
                }
            }
        }
        key
    }
}

/// A header's value as text; empty where it is not there.
fn text(headers: &HeaderMap, name: &str) -> String {
    String::from_utf8_lossy(headers.get(name).unwrap_or_default()).into_owned()
}

/// Without the query, where credentials may be.
fn path(headers: &HeaderMap) -> &[u8] {
    let target = headers.get(":path").unwrap_or_default();
    target.split(|byte| *byte == b'?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
