//! Asking Open Policy Agent whether a caller may do this. Source of the question: Choreo Connect's
//! `OPADefaultRequestGenerator`; of the answer: OPA's data API, `POST /v1/data/{path}`.

use std::time::Duration;

use enforcer_core::{
    cache::{Cache, Weigh},
    config::ConfigError,
    cx::{CalloutError, CalloutReply, Cx, HttpCall},
    headers::HeaderMap,
    host::Level,
    identity::{Called, Caller},
    net,
};
use serde_json::{Map, Value, json};

use crate::{
    config::{self, Api, OpaPart, TokenSource},
    json,
    refusal::DecisionProblem,
    remote::split_url,
};

/// Asks one agent, and remembers what it said.
#[derive(Debug)]
pub struct Opa {
    config: config::Opa,
    call: HttpCall,
    /// Headers that are not shown to it, in lower case: they carry credentials.
    hidden: Vec<String>,
    known: Cache<Known>,
    /// Until when nothing is said of answers that did not come.
    silent_until: Option<Duration>,
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

impl Opa {
    /// `credentials`: where they may be; `secret`: further headers that the agent is not shown.
    pub fn new<'c>(
        config: config::Opa,
        credentials: impl Iterator<Item = &'c TokenSource>,
        secret: impl Iterator<Item = String>,
    ) -> Result<Self, ConfigError> {
        let (authority, path) = split_url(&config.url).map_err(|problem| ConfigError::at("url", problem))?;
        if config.timeout.duration().is_zero() {
            let problem = "zero: no question could be answered; the default is `5s`";
            return Err(ConfigError::at("timeout", problem));
        }
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        if let Some(key) = &config.access_key {
            headers.push(("authorization".to_owned(), format!("Bearer {key}")));
        }
        let call = HttpCall {
            cluster: config.cluster.clone(),
            method: "POST",
            authority,
            path,
            headers,
            body: Vec::new(),
            timeout: config.timeout.duration(),
        };
        let hidden = credentials.filter_map(|source| match source {
            TokenSource::Header(header) => Some(header.name.to_ascii_lowercase()),
            TokenSource::Cookie(_) => Some("cookie".to_owned()),
            TokenSource::Query(_) => None,
        });
        let usual = ["authorization".to_owned(), "proxy-authorization".to_owned()];
        let hidden = hidden.chain(usual).chain(secret).collect();
        Ok(Self { call, hidden, known: Cache::new(config.cache.as_usize()), silent_until: None, config })
    }

    /// `heard`: what the agent has just said of this request.
    pub fn advise(&mut self, question: Question<'_>, heard: Option<Opinion>, cx: &Cx<'_>) -> Advice {
        let apis = &self.config.apis;
        if !apis.is_empty() && !question.api.is_some_and(|api| apis.contains(&api.name)) {
            return Advice::Decided(Ok(()));
        }
        let now = cx.host.monotonic();
        let key = (!self.config.cache_key.is_empty()).then(|| self.key(question, cx));
        if let Some(opinion) = heard {
            if let Err(problem @ (DecisionProblem::Unavailable | DecisionProblem::Unreadable)) = opinion {
                self.complain(problem, cx);
            }
            if let (Some(key), Ok(()) | Err(DecisionProblem::Denied)) = (&key, opinion) {
                let until = now.saturating_add(self.config.max_age.duration());
                self.known.insert(key, Known(opinion), until);
            }
            return Advice::Decided(opinion);
        }
        if let Some(Known(opinion)) = key.and_then(|key| self.known.get(&key, now)) {
            cx.host.count("enforcer.auth.decision.cached", 1);
            return Advice::Decided(*opinion);
        }
        cx.host.count("enforcer.auth.decision.asked", 1);
        let body = self.input(question, cx).to_string().into_bytes();
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
            cx.host.log(Level::Warn, format_args!("auth: the policy agent at `{}` {what}", self.config.url));
        }
    }

    /// What the agent has said, in the first of these answers.
    pub fn read(answers: &[Option<Result<CalloutReply, CalloutError>>]) -> Opinion {
        let Some(Some(Ok(CalloutReply::Http(reply)))) = answers.first() else {
            return Err(DecisionProblem::Unavailable);
        };
        if reply.status != 200 {
            return Err(DecisionProblem::Unavailable);
        }
        // Without a `result`, the rule is not defined for this input, or not at all.
        match json::object(&reply.body).and_then(|mut members| members.remove("result")) {
            Some(Value::Bool(true)) => Ok(()),
            Some(Value::Bool(false)) => Err(DecisionProblem::Denied),
            _ => Err(DecisionProblem::Unreadable),
        }
    }

    fn input(&self, Question { caller, called, api, token }: Question<'_>, cx: &Cx<'_>) -> Value {
        let headers = cx.request_headers();
        let mut shown: Map<String, Value> = Map::new();
        for (name, value) in headers.iter() {
            let name = String::from_utf8_lossy(name).into_owned();
            if !name.starts_with(':') && !self.hidden.contains(&name) {
                shown.insert(name, String::from_utf8_lossy(value).into());
            }
        }
        let text = |name: &str| String::from_utf8_lossy(headers.get(name).unwrap_or_default()).into_owned();
        let client = net::client(cx.host).map(|address| address.to_string());
        let mut input = json!({
            "transportHeaders": shown,
            "requestOrigin": client.unwrap_or_default(),
            "method": text(":method"),
            "path": String::from_utf8_lossy(path(headers)),
            "apiContext": {
                "apiName": called.api,
                "apiVersion": called.version,
                "vhost": text(":authority"),
                "basePath": api.map_or("", |api| &api.base_path),
                "pathTemplate": called.template,
            },
            "caller": caller,
        });
        if let (true, Some(token), Some(members)) = (self.config.send_token, token, input.as_object_mut()) {
            let token = String::from_utf8_lossy(token);
            members.insert("authenticationContext".to_owned(), json!({"token": token, "tokenType": "JWT"}));
        }
        json!({ "input": input })
    }

    /// The configured parts, each with its length before it.
    fn key(&self, Question { caller, called, .. }: Question<'_>, cx: &Cx<'_>) -> Vec<u8> {
        let headers = cx.request_headers();
        let mut key = Vec::with_capacity(128);
        let mut add = |part: &[u8]| {
            key.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            key.extend_from_slice(part);
        };
        for part in &self.config.cache_key {
            match part {
                OpaPart::Method => add(headers.get(":method").unwrap_or_default()),
                OpaPart::Path => add(path(headers)),
                OpaPart::Api => {
                    add(called.api.as_bytes());
                    add(called.version.as_bytes());
                }
                OpaPart::Operation => add(called.operation.as_bytes()),
                OpaPart::Subject => add(caller.subject.as_bytes()),
                OpaPart::Consumer => add(caller.consumer.as_bytes()),
                OpaPart::Application => add(caller.application.as_bytes()),
                OpaPart::Tier => add(caller.tier.as_bytes()),
                OpaPart::Scopes => add(caller.scopes.join(" ").as_bytes()),
                OpaPart::ClientIp => {
                    add(net::client(cx.host).map(|client| client.to_string()).unwrap_or_default().as_bytes());
                }
                OpaPart::Header(name) => {
                    let values: Vec<&[u8]> = headers.get_all(name).collect();
                    add(&values.join(&b"\n"[..]));
                }
            }
        }
        key
    }
}

/// Without the query, where credentials may be.
fn path(headers: &HeaderMap) -> &[u8] {
    let target = headers.get(":path").unwrap_or_default();
    target.split(|byte| *byte == b'?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use std::time::Duration;

    use enforcer_core::{
        cx::{HttpReply, Messages, Wishes},
        native::NativeHost,
    };

    use super::*;

    fn opa(more: &Value) -> Result<Opa, ConfigError> {
        let mut config = json!({"cluster": "opa", "url": "http://opa:8181/v1/data/gateway/allow"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let sources = [TokenSource::Cookie("session".to_owned())];
        let secret = ["x-internal".to_owned()].into_iter();
        Opa::new(serde_json::from_value(config).unwrap(), sources.iter(), secret)
    }

    /// What is asked about a request of this subject; or the advice.
    fn advise(
        opa: &mut Opa,
        subject: &str,
        heard: Option<Opinion>,
        host: &NativeHost,
    ) -> Result<Opinion, Value> {
        let headers = [
            (":method", "GET"),
            (":path", "/pets/7?key=secret"),
            (":authority", "api.example.com"),
            ("authorization", "Bearer secret"),
            ("cookie", "session=secret"),
            ("x-internal", "secret"),
            ("x-tenant", "acme"),
        ];
        let (messages, mut wishes) = (Messages::of_request(headers.into_iter().collect()), Wishes::default());
        let caller = Caller { subject: subject.to_owned(), ..Caller::default() };
        let called =
            Called { api: "Petstore".to_owned(), template: "/pets/{id}".to_owned(), ..Called::default() };
        let question = Question { caller: &caller, called: &called, api: None, token: Some(b"a.b.c") };
        match opa.advise(question, heard, &Cx::new(host, &messages, &mut wishes)) {
            Advice::Decided(opinion) => Ok(opinion),
            Advice::Ask(call) => Err(serde_json::from_slice(&call.body).unwrap()),
        }
    }

    #[test]
    fn a_question_has_no_credentials_in_it() {
        let host = NativeHost::new().with_attribute("source.address", "192.0.2.7:80");
        let asked = advise(&mut opa(&json!({})).unwrap(), "alice", None, &host).unwrap_err();
        let expected = json!({"input": {
            "transportHeaders": {"x-tenant": "acme"},
            "requestOrigin": "192.0.2.7",
            "method": "GET",
            "path": "/pets/7",
            "apiContext": {"apiName": "Petstore", "apiVersion": "", "vhost": "api.example.com", "basePath": "", "pathTemplate": "/pets/{id}"},
            "caller": {"subject": "alice"},
        }});
        assert_eq!(asked, expected);
        let asked =
            advise(&mut opa(&json!({"send_token": true})).unwrap(), "alice", None, &host).unwrap_err();
        assert_eq!(asked["input"]["authenticationContext"], json!({"token": "a.b.c", "tokenType": "JWT"}));
    }

    #[test]
    fn an_answer_holds_for_its_key_and_its_time() {
        let (mut opa, host) = (
            opa(&json!({"cache_key": ["subject", {"header": "x-tenant"}], "max_age": "10s"})).unwrap(),
            NativeHost::new(),
        );
        assert!(advise(&mut opa, "alice", None, &host).is_err());
        assert_eq!(advise(&mut opa, "alice", Some(Ok(())), &host), Ok(Ok(())));
        assert_eq!(advise(&mut opa, "alice", None, &host), Ok(Ok(())));
        assert_eq!(
            advise(&mut opa, "bob", Some(Err(DecisionProblem::Denied)), &host),
            Ok(Err(DecisionProblem::Denied))
        );
        assert_eq!(advise(&mut opa, "bob", None, &host), Ok(Err(DecisionProblem::Denied)));
        for problem in [DecisionProblem::Unavailable, DecisionProblem::Unreadable] {
            assert_eq!(advise(&mut opa, "carol", Some(Err(problem)), &host), Ok(Err(problem)));
            assert!(advise(&mut opa, "carol", None, &host).is_err(), "no answer is not remembered");
        }
        host.advance(Duration::from_secs(10));
        assert!(advise(&mut opa, "alice", None, &host).is_err());
    }

    /// The answers are those of OPA's documentation, "Get a Document (with Input)".
    #[test]
    fn only_true_is_a_yes() {
        let read = |status: u16, body: &str| {
            let reply = HttpReply { status, headers: [("a", "b")].into_iter().collect(), body: body.into() };
            Opa::read(&[Some(Ok(CalloutReply::Http(reply)))])
        };
        assert_eq!(read(200, r#"{"result": true}"#), Ok(()));
        assert_eq!(read(200, r#"{"decision_id": "1", "result": true, "metrics": {}}"#), Ok(()));
        assert_eq!(read(200, r#"{"result": false}"#), Err(DecisionProblem::Denied));
        for other in [
            r#"{}"#,
            r#"{"result": "true"}"#,
            r#"{"result": {"allow": true}}"#,
            r#"{"result": 1}"#,
            "true",
            "",
            r#"{"result": true, "result": false}"#,
        ] {
            assert_eq!(read(200, other), Err(DecisionProblem::Unreadable), "{other}");
        }
        assert_eq!(read(404, r#"{"result": true}"#), Err(DecisionProblem::Unavailable));
        assert_eq!(Opa::read(&[Some(Err(CalloutError::Reset))]), Err(DecisionProblem::Unavailable));
        assert_eq!(Opa::read(&[None]), Err(DecisionProblem::Unavailable));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let problem = |more: Value| opa(&more).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(problem(json!({"url": "opa"})).starts_with("url: `opa` is not"));
        assert!(problem(json!({"timeout": "0s"})).starts_with("timeout: zero"));
    }
}
