//! Asking an authorization server what a token is worth (RFC 7662).
//!
//! The background asks, once for each token however many requests carry it, of all workers; they wait for the answer. What
//! is answered is remembered by [`crate::verifier`]. Nothing is asked for a second after a question that failed,
//! unless the server found fault with the question alone (400 and its like).

mod board;

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
use board::{Board, Print, Seen, Times};

/// How many questions may be under way on one worker.
const MAX_FLIGHTS: usize = 256;
/// Beyond the time that an answer may take, before another worker takes whoever has asked for gone.
const SLACK: Duration = Duration::from_millis(100);
/// How often answers to other workers are looked for.
const LOOK: Duration = Duration::from_millis(2);
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
    flights: HashMap<u32, Flight>,
    by_token: HashMap<Box<[u8]>, u32>,
    /// On the monotonic clock.
    paused_until: Duration,
    board: Board,
}

/// A question that is under way.
#[derive(Debug)]
struct Flight {
    token: Box<[u8]>,
    print: Print,
    /// Another worker has asked.
    elsewhere: bool,
}

/// What another worker was answered.
#[derive(Debug)]
pub struct Overheard {
    pub token: Box<[u8]>,
    pub answer: Answer,
    /// How old the answer is.
    pub age: Duration,
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
        let times = Times {
            active: config.max_age.duration(),
            inactive: config.refused_for.duration(),
            failed: PAUSE,
        };
        let server = [config.cluster.as_str(), &config.url, &authorization(&config.client)];
        Ok(Self {
            board: Board::new(first.filter, &server, times),
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
        let print = self.board.print(token);
        let elsewhere = match self.board.look(cx.host, &print, self.due(cx)) {
            Seen::Ours => false,
            // What is known is taken over by the background, too.
            Seen::Asked | Seen::Answered(..) => true,
        };
        self.flights.insert(id, Flight { token: token.as_bytes().into(), print, elsewhere });
        self.by_token.insert(token.as_bytes().into(), id);
        match elsewhere {
            true => cx.schedule(LOOK),
            false => self.send(id, token, cx),
        }
        id
    }

    /// When whoever asks now must have been answered.
    fn due(&self, cx: &Cx<'_>) -> Duration {
        cx.host.monotonic().saturating_add(self.call.timeout).saturating_add(SLACK)
    }

    fn send(&self, id: u32, token: &str, cx: &mut Cx<'_>) {
        let body = format!("token={}&token_type_hint=access_token", form_encoded(token));
        cx.fetch(FetchKey { id, ..self.first }, HttpCall { body: body.into_bytes(), ..self.call.clone() });
        cx.host.count("enforcer.auth.introspection.asked", 1);
    }

    /// What other workers were answered, about tokens that requests of this one wait for. Who has asked and is gone is
    /// followed by this one.
    pub fn on_tick(&mut self, cx: &mut Cx<'_>) -> Vec<Overheard> {
        let (due, mut overheard, mut waiting) = (self.due(cx), Vec::new(), false);
        let elsewhere = self.flights.iter().filter(|(_, flight)| flight.elsewhere);
        let ids: Vec<u32> = elsewhere.map(|(id, _)| *id).collect();
        for id in ids {
            let Some(flight) = self.flights.get_mut(&id) else { continue };
            match self.board.look(cx.host, &flight.print, due) {
                Seen::Asked => waiting = true,
                Seen::Ours => {
                    flight.elsewhere = false;
                    let token = String::from_utf8_lossy(&flight.token).into_owned();
                    self.send(id, &token, cx);
                }
                Seen::Answered(answer, age) => {
                    cx.host.count("enforcer.auth.introspection.shared", 1);
                    let Some(Flight { token, .. }) = self.land(id, cx) else { continue };
                    overheard.push(Overheard { token, answer, age });
                }
            }
        }
        if waiting {
            cx.schedule(LOOK);
        }
        overheard
    }

    /// A question is no longer under way: those who wait for it go on.
    fn land(&mut self, id: u32, cx: &mut Cx<'_>) -> Option<Flight> {
        let flight = self.flights.remove(&id)?;
        self.by_token.remove(&flight.token);
        cx.wake(FetchKey { id, ..self.first });
        Some(flight)
    }

    /// The token that was asked about, and the answer. Those who wait for it are woken.
    pub fn answered(
        &mut self,
        id: u32,
        reply: Result<&HttpReply, CalloutError>,
        cx: &mut Cx<'_>,
    ) -> Option<(Box<[u8]>, Answer)> {
        let Flight { token, print, .. } = self.land(id, cx)?;
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
        self.board.tell(cx.host, &print, &answer);
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

/// What `authorization` says of a client: RFC 6749 section 2.3.1, and RFC 6750 section 2.1.
pub fn authorization(client: &IntrospectionClient) -> String {
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
mod tests;
