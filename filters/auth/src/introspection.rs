//! Asking an authorization server what a token is worth (RFC 7662).
//!
//! The background asks, once for each token however many requests carry it; they wait for the answer. What is
//! answered is remembered by [`crate::verifier`]. Nothing is asked for a second after a question that failed,
//! unless the server found fault with the question alone (400 and its like).

use std::{collections::HashMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use enforcer_core::{
    config::ConfigError,
    cx::{CalloutError, Cx, FetchKey, HttpCall, HttpReply},
    host::Level,
};
use serde_json::{Map, Value};

use crate::{
    GRACE,
    config::{Introspection, IntrospectionClient},
    json,
    refusal::Refusal,
    remote::split_url,
    token::Malformed,
};

/// How many questions may be under way on one worker.
const MAX_FLIGHTS: usize = 256;
/// How long nothing is asked after a question that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks one authorization server.
#[derive(Debug)]
pub struct Asker {
    config: Introspection,
    call: HttpCall,
    /// Names the first question.
    first: FetchKey,
    asked: u32,
    flights: HashMap<u32, Box<[u8]>>,
    by_token: HashMap<Box<[u8]>, u32>,
    /// On the monotonic clock.
    paused_until: Duration,
}

/// What came of a question.
#[derive(Debug)]
pub enum Answer {
    /// The token is good, and this is what it says.
    Active(Map<String, Value>),
    Inactive,
    /// There is no answer to rely on.
    Failed,
}

impl Asker {
    /// `first` names the first question; the numbers after it name the others.
    pub fn new(first: FetchKey, config: Introspection) -> Result<Self, ConfigError> {
        let (authority, path) = split_url(&config.url).map_err(|problem| ConfigError::at("url", problem))?;
        if config.timeout.duration().is_zero() {
            return Err(ConfigError::at(
                "timeout",
                "zero: no question could be answered; the default is `5s`",
            ));
        }
        let call = HttpCall {
            cluster: config.cluster.clone(),
            method: "POST",
            authority,
            path,
            headers: vec![
                ("accept".to_owned(), "application/json".to_owned()),
                ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
                ("authorization".to_owned(), authorization(&config.client)),
            ],
            body: Vec::new(),
            timeout: config.timeout.duration(),
        };
        Ok(Self {
            config,
            call,
            first,
            asked: 0,
            flights: HashMap::new(),
            by_token: HashMap::new(),
            paused_until: Duration::ZERO,
        })
    }

    /// The longest time that a good answer is believed.
    pub fn max_age(&self) -> Duration {
        self.config.max_age.duration()
    }

    /// How long a bad answer is believed.
    pub fn refused_for(&self) -> Duration {
        self.config.refused_for.duration()
    }

    /// Asks about a token, or joins those who wait for its answer: what to wait for, and how long.
    pub fn ask(
        &mut self,
        token: &str,
        cx: &mut Cx<'_>,
        may_wait: bool,
    ) -> Result<(FetchKey, Duration), Refusal> {
        // `b64token` of RFC 6750 section 2.1: nothing else is worth a question.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if !token.bytes().all(fits) {
            return Err(Refusal::Malformed(Malformed::NotThreeParts));
        }
        let now = cx.host.monotonic();
        if !may_wait || now < self.paused_until {
            return Err(Refusal::IntrospectionUnavailable);
        }
        let id = match self.by_token.get(token.as_bytes()) {
            Some(id) => *id,
            None if self.flights.len() >= MAX_FLIGHTS => return Err(Refusal::Busy),
            None => self.start(token, cx),
        };
        let key = FetchKey { id, ..self.first };
        Ok((key, self.call.timeout.saturating_add(GRACE)))
    }

    fn start(&mut self, token: &str, cx: &mut Cx<'_>) -> u32 {
        // Numbers come again long after the questions that had them are answered.
        self.asked = self.asked.wrapping_add(1) % (1 << 24);
        let id = self.first.id.saturating_add(self.asked);
        self.flights.insert(id, token.as_bytes().into());
        self.by_token.insert(token.as_bytes().into(), id);
        let body = format!("token={}&token_type_hint=access_token", form_encoded(token));
        cx.fetch(FetchKey { id, ..self.first }, HttpCall { body: body.into_bytes(), ..self.call.clone() });
        cx.host.count("enforcer.auth.introspection.asked", 1);
        id
    }

    /// The token that was asked about, and the answer. Those who wait for it are woken.
    pub fn answered(
        &mut self,
        id: u32,
        reply: Result<&HttpReply, CalloutError>,
        cx: &mut Cx<'_>,
    ) -> Option<(Box<[u8]>, Answer)> {
        let token = self.flights.remove(&id)?;
        self.by_token.remove(&token);
        cx.wake(FetchKey { id, ..self.first });
        // What is wrong with one question must not keep the others from being asked.
        let only_this = reply.is_ok_and(|reply| matches!(reply.status, 400 | 404..=428 | 431));
        let answer = reply.map_err(|error| error.to_string()).and_then(read);
        let answer = answer.unwrap_or_else(|problem| {
            cx.host.count("enforcer.auth.introspection.failed", 1);
            if !only_this {
                self.paused_until = cx.host.monotonic().saturating_add(PAUSE);
            }
            cx.host.log(
                Level::Warn,
                format_args!("auth: no answer about a token from `{}`: {problem}", self.config.url),
            );
            Answer::Failed
        });
        Some((token, answer))
    }
}

/// RFC 7662 section 2.2.
fn read(reply: &HttpReply) -> Result<Answer, String> {
    if reply.status != 200 {
        return Err(format!("the answer was {}", reply.status));
    }
    let members = json::object(&reply.body).ok_or("the answer is not a JSON object")?;
    match members.get("active") {
        Some(Value::Bool(true)) => Ok(Answer::Active(members)),
        Some(Value::Bool(false)) => Ok(Answer::Inactive),
        _ => Err("the answer has no `active` that is true or false".to_owned()),
    }
}

/// RFC 6749 section 2.3.1, and RFC 6750 section 2.1.
fn authorization(client: &IntrospectionClient) -> String {
    match client {
        IntrospectionClient::Basic { id, secret } => {
            let credentials = format!("{}:{}", form_encoded(id), form_encoded(secret));
            format!("Basic {}", STANDARD.encode(credentials))
        }
        IntrospectionClient::Bearer(token) => format!("Bearer {token}"),
    }
}

/// `application/x-www-form-urlencoded`, of RFC 6749 appendix B.
fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._*".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use enforcer_core::{
        cx::{Messages, Wishes},
        native::NativeHost,
    };
    use serde_json::json;

    use super::*;

    fn asker() -> Asker {
        let config = json!({
            "cluster": "idp", "url": "https://idp/introspect",
            "client": {"basic": {"id": "gate way", "secret": "s:&é"}},
        });
        Asker::new(FetchKey { filter: "auth", id: 100 }, serde_json::from_value(config).unwrap()).unwrap()
    }

    fn ask(asker: &mut Asker, host: &NativeHost, token: &str) -> (Result<u32, Refusal>, Option<HttpCall>) {
        let (messages, mut wishes) = (Messages::default(), Wishes::default());
        let asked = asker.ask(token, &mut Cx::new(host, &messages, &mut wishes), true);
        (asked.map(|(key, _)| key.id), wishes.fetches.pop().map(|(_, call)| call))
    }

    fn answer(asker: &mut Asker, host: &NativeHost, id: u32, status: u16, body: &str) -> String {
        let reply = HttpReply { status, headers: [("a", "b")].into_iter().collect(), body: body.into() };
        let (messages, mut wishes) = (Messages::default(), Wishes::default());
        let answered = asker.answered(id, Ok(&reply), &mut Cx::new(host, &messages, &mut wishes));
        assert_eq!(wishes.woken.len(), usize::from(answered.is_some()));
        answered.map_or("nobody asked".to_owned(), |(token, answer)| {
            let answer = match answer {
                Answer::Active(_) => "active",
                Answer::Inactive => "inactive",
                Answer::Failed => "failed",
            };
            format!("{}: {answer}", String::from_utf8_lossy(&token))
        })
    }

    #[test]
    fn a_question_is_as_the_rfc_says() {
        let (id, call) = ask(&mut asker(), &NativeHost::new(), "a/b+c=");
        let call = call.unwrap();
        assert_eq!((id, call.method, &*call.path), (Ok(101), "POST", "/introspect"));
        assert_eq!(call.body, b"token=a%2Fb%2Bc%3D&token_type_hint=access_token");
        let sent = call.headers.iter().find(|(name, _)| name == "authorization").unwrap();
        assert_eq!(sent.1, format!("Basic {}", STANDARD.encode("gate%20way:s%3A%26%C3%A9")));
    }

    #[test]
    fn there_is_one_question_for_each_token() {
        let (mut asker, host) = (asker(), NativeHost::new());
        assert!(matches!(ask(&mut asker, &host, "a"), (Ok(101), Some(_))));
        assert!(matches!(ask(&mut asker, &host, "a"), (Ok(101), None)));
        assert!(matches!(ask(&mut asker, &host, "b"), (Ok(102), Some(_))));
        assert_eq!(answer(&mut asker, &host, 101, 200, r#"{"active": true}"#), "a: active");
        assert_eq!(answer(&mut asker, &host, 101, 200, r#"{"active": true}"#), "nobody asked");
        assert!(matches!(ask(&mut asker, &host, "a"), (Ok(103), Some(_))));
        assert_eq!(answer(&mut asker, &host, 102, 200, r#"{"active": false}"#), "b: inactive");
    }

    #[test]
    fn an_answer_that_cannot_be_relied_on_is_none() {
        for (status, body) in [
            (401, r#"{"active": true}"#),
            (302, r#"{"active": true}"#),
            (200, r#"{"active": "true"}"#),
            (200, r#"{"active": true, "active": true}"#),
            (200, "{}"),
            (200, "[]"),
            (200, ""),
        ] {
            let (mut asker, host) = (asker(), NativeHost::new());
            ask(&mut asker, &host, "a").0.unwrap();
            assert_eq!(answer(&mut asker, &host, 101, status, body), "a: failed", "{status} {body}");
            assert!(matches!(ask(&mut asker, &host, "b"), (Err(Refusal::IntrospectionUnavailable), None)));
            host.advance(PAUSE);
            assert!(matches!(ask(&mut asker, &host, "b"), (Ok(102), Some(_))));
        }
    }

    #[test]
    fn a_question_that_is_refused_stops_no_other() {
        let (mut asker, host) = (asker(), NativeHost::new());
        ask(&mut asker, &host, "a").0.unwrap();
        assert_eq!(answer(&mut asker, &host, 101, 400, r#"{"error": "invalid_request"}"#), "a: failed");
        assert!(matches!(ask(&mut asker, &host, "b"), (Ok(102), Some(_))));
    }

    #[test]
    fn a_flood_of_tokens_is_bounded() {
        let (mut asker, host) = (asker(), NativeHost::new());
        for number in 0..MAX_FLIGHTS {
            ask(&mut asker, &host, &format!("t{number}")).0.unwrap();
        }
        assert_eq!(ask(&mut asker, &host, "one-more").0, Err(Refusal::Busy));
        assert!(ask(&mut asker, &host, "t7").0.is_ok());
        assert!(matches!(ask(&mut asker, &host, "no token").0, Err(Refusal::Malformed(_))));
    }
}
