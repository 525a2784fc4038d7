//! Holds what happened to what was expected.

use std::collections::BTreeMap;

use enforcer_testbed::{Fields, Received, check_signature, token_part};
use serde_json::Value;

use crate::Error;
use crate::delivered;
use crate::format::{Deliveries, Expect, Field, Last, Seen};
use crate::host::{Answered, Exchanges, tells_of_a_crash};
use crate::template::{self, Names};

/// What happened in one step.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) exchanges: Exchanges,
    /// By how much counters have grown.
    pub(crate) counters: BTreeMap<String, u64>,
    /// The same since the case began.
    pub(crate) totals: BTreeMap<String, u64>,
    pub(crate) fetches: BTreeMap<String, usize>,
    /// The key sets that the gateway has published, by their paths.
    pub(crate) key_sets: BTreeMap<String, Value>,
    /// What services received since the case began.
    pub(crate) received: BTreeMap<String, Vec<Received>>,
    pub(crate) log: Vec<String>,
}

/// A counter, or by a `*` at the end the sum of several.
fn grown(counters: &BTreeMap<String, u64>, name: &str) -> u64 {
    let Some(beginning) = name.strip_suffix('*') else {
        return counters.get(name).copied().unwrap_or(0);
    };
    counters.iter().filter(|(name, _)| name.starts_with(beginning)).map(|(_, grown)| grown).sum()
}

/// The differences, each in a line or two; none when all is as expected.
pub(crate) fn differences(
    expect: &Expect,
    observed: &Observed,
    names: &impl Names,
) -> Result<Vec<String>, Error> {
    let mut found = Differences::default();
    for answer in &observed.exchanges.answers {
        found.answer(expect, answer, names)?;
    }
    found.invariants(&observed.exchanges);
    if let Some(seen) = &expect.backend {
        found.backend(seen, observed, names)?;
    }
    for (name, expected) in &expect.counters {
        found.same(&format!("counter `{name}`"), expected, &grown(&observed.counters, name));
    }
    for (name, total) in &expect.totals {
        found.same(&format!("counter `{name}` since the case began"), total, &grown(&observed.totals, name));
    }
    for (service, count) in &expect.fetches {
        found.same(&format!("requests to `{service}`"), count, observed.fetches.get(service).unwrap_or(&0));
    }
    for (service, deliveries) in &expect.received {
        found.deliveries(
            service,
            deliveries,
            observed.received.get(service).map_or(&[], Vec::as_slice),
            names,
        )?;
    }
    for secret in &expect.secrets {
        found.secret(&template::text(secret, names)?, observed);
    }
    let lines = observed.log.join("\n    ");
    for text in &expect.log {
        if !lines.contains(&template::text(text, names)?) {
            found.0.push(format!("nothing was logged with `{text}`, only:\n    {lines}"));
        }
    }
    for text in &expect.log_absent {
        if let Some(line) = observed.log.iter().find(|line| line.contains(text)) {
            found.0.push(format!("logged with `{text}`: {line}"));
        }
    }
    Ok(found.0)
}

/// What must never be logged, whatever a case is about: crashes, and parts of the tokens it used.
pub(crate) fn forbidden_lines(log: &[String], tokens: &[String]) -> Vec<String> {
    // Shorter ones may be part of anything.
    const TELLING: usize = 24;
    let secrets: Vec<&str> =
        tokens.iter().flat_map(|token| token.split('.').skip(1)).filter(|s| s.len() >= TELLING).collect();
    let mut found = Vec::new();
    for line in log {
        if tells_of_a_crash(line) {
            found.push(format!("a virtual machine died: {line}"));
        }
        if secrets.iter().any(|secret| line.contains(secret)) {
            found.push(format!("a token was logged: {line}"));
        }
    }
    found
}

#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, expected: &T, got: &T) {
        if expected != got {
            self.0.push(format!("{what}: expected {expected:?}, got {got:?}"));
        }
    }

    /// What holds for every request: a local reply never reaches the backend, everything else does so once.
    fn invariants(&mut self, exchanges: &Exchanges) {
        let passed = exchanges.answers.iter().filter(|answer| answer.details == "via_upstream").count();
        self.same(
            "requests at the backend (those with details `via_upstream`)",
            &passed,
            &exchanges.received.len(),
        );
    }

    fn answer(&mut self, expect: &Expect, got: &Answered, names: &impl Names) -> Result<(), Error> {
        if let Some(status) = &expect.status {
            self.same("status", status, &got.status);
        }
        let body = String::from_utf8_lossy(&got.body);
        if let Some(expected) = &expect.body {
            self.same("body", &template::text(expected, names)?.as_str(), &body.as_ref());
        }
        if let Some(members) = &expect.json {
            match serde_json::from_str(&body) {
                Ok(value) => self.subset("body", &template::json(members, names)?, &value),
                Err(_) => self.0.push(format!("body: expected JSON, got {body:?}")),
            }
        }
        self.fields("header", &expect.headers, &got.headers, names)?;
        if let Some(details) = &expect.details {
            self.same("details", details, &got.details);
        }
        if let Some(members) = &expect.identity {
            let members = template::json(members, names)?;
            // A version byte precedes the JSON.
            let identity = got.identity.as_deref().and_then(|text| text.strip_prefix('1'));
            match identity.and_then(|json| serde_json::from_str(json).ok()) {
                Some(value) => self.subset("identity", &members, &value),
                None => self.0.push(format!("identity: expected {members}, got {:?}", got.identity)),
            }
        }
        if let Some(members) = &expect.event {
            let members = template::json(members, names)?;
            match got.event.as_deref().and_then(|json| serde_json::from_str(json).ok()) {
                Some(value) => self.subset("event", &members, &value),
                None => self.0.push(format!("event: expected {members}, got {:?}", got.event)),
            }
        }
        Ok(())
    }

    fn backend(&mut self, seen: &Seen, observed: &Observed, names: &impl Names) -> Result<(), Error> {
        let received = &observed.exchanges.received;
        if received.is_empty() {
            self.0.push("the backend received nothing".into());
        }
        for got in received {
            if let Some(method) = &seen.method {
                self.same("method at the backend", method, &got.method);
            }
            if let Some(path) = &seen.path {
                self.same("path at the backend", &template::text(path, names)?, &got.path);
            }
            if let Some(body) = &seen.body {
                self.same("body at the backend", &template::text(body, names)?, &latin1(&got.body));
            }
            self.fields("header at the backend", &seen.headers, &got.headers, names)?;
            for (name, claims) in &seen.tokens {
                let token = got.headers.all(name).next().map(latin1).unwrap_or_default();
                let payload = token_part(&token, 1);
                let payload = payload.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
                let what = format!("token in `{name}` at the backend");
                self.subset(&what, &template::json(claims, names)?, &payload);
            }
            for (name, path) in &seen.signed_by {
                let token = got.headers.all(name).next().map(latin1).unwrap_or_default();
                let key_set = observed.key_sets.get(path).unwrap_or(&Value::Null);
                if let Err(problem) = check_signature(key_set, &token) {
                    self.0.push(format!(
                        "token in `{name}` at the backend, by the keys of `{path}`: {problem}"
                    ));
                }
            }
            self.fields("trailer at the backend", &seen.trailers, &got.trailers, names)?;
        }
        Ok(())
    }

    fn last(
        &mut self,
        service: &str,
        expected: &Last,
        received: &[Received],
        names: &impl Names,
    ) -> Result<(), Error> {
        let Some(got) = received.last() else {
            self.0.push(format!("`{service}` received nothing"));
            return Ok(());
        };
        if let Some(path) = &expected.path {
            self.same(&format!("path at `{service}`"), &template::text(path, names)?, &got.path);
        }
        self.fields(&format!("header at `{service}`"), &expected.headers, &got.headers, names)?;
        if let Some(json) = &expected.json {
            let body = serde_json::from_slice(&got.body).unwrap_or_default();
            self.subset(&format!("body at `{service}`"), &template::json(json, names)?, &body);
        }
        Ok(())
    }

    fn deliveries(
        &mut self,
        service: &str,
        expected: &Deliveries,
        received: &[Received],
        names: &impl Names,
    ) -> Result<(), Error> {
        if let Some(last) = &expected.last {
            return self.last(service, last, received, names);
        }
        let mut events = Vec::new();
        let mut batches = Vec::new();
        for request in received {
            if let Some(path) = &expected.path {
                self.same(&format!("path at `{service}`"), &template::text(path, names)?, &request.path);
            }
            self.fields(&format!("header at `{service}`"), &expected.headers, &request.headers, names)?;
            match delivered::events(request) {
                Ok(more) => {
                    batches.push(more.len());
                    events.extend(more);
                }
                Err(problem) => self.0.push(format!("`{service}` received no events: {problem}")),
            }
        }
        if let Some(expected) = &expected.batches {
            self.same(&format!("events in each request to `{service}`"), expected, &batches);
        }
        if let Some(expected) = &expected.events {
            self.same(&format!("events at `{service}`"), &expected.len(), &events.len());
            for (number, (expected, got)) in expected.iter().zip(&events).enumerate() {
                self.subset(
                    &format!("event {number} at `{service}`"),
                    &template::json(expected, names)?,
                    got,
                );
            }
        }
        Ok(())
    }

    fn secret(&mut self, secret: &str, observed: &Observed) {
        let answers = observed.exchanges.answers.iter();
        let state = answers.flat_map(|answer| [&answer.identity, &answer.event]).flatten();
        let counters = observed.totals.keys();
        if let Some(text) =
            observed.log.iter().chain(state).chain(counters).find(|text| text.contains(secret))
        {
            self.0.push(format!("`{secret}` was told: {text}"));
        }
        // What the backend answers is its own business.
        for answer in observed.exchanges.answers.iter().filter(|answer| answer.details != "via_upstream") {
            let values = answer.headers.iter().map(|(_, value)| latin1(value));
            let mut texts = values.chain([latin1(&answer.body), answer.details.clone()]);
            if let Some(text) = texts.find(|text| text.contains(secret)) {
                self.0.push(format!("`{secret}` was answered: {text}"));
            }
        }
        for (service, requests) in &observed.received {
            let told =
                |request: &&Received| latin1(&request.body).contains(secret) || request.path.contains(secret);
            if requests.iter().any(|request| told(&request)) {
                self.0.push(format!("`{secret}` was told to `{service}`"));
            }
        }
    }

    fn fields(
        &mut self,
        what: &str,
        expected: &BTreeMap<String, Field>,
        got: &Fields,
        names: &impl Names,
    ) -> Result<(), Error> {
        for (name, field) in expected {
            let values: Vec<String> = got.all(name).map(latin1).collect();
            match field {
                Field::There(there) if *there == values.is_empty() => {
                    let wanted = if *there { "a value" } else { "none" };
                    self.0.push(format!("{what} `{name}`: expected {wanted}, got {values:?}"));
                }
                Field::There(_) => {}
                Field::Values(expected) => {
                    let expected = expected
                        .iter()
                        .map(|value| template::text(value, names))
                        .collect::<Result<Vec<_>, _>>()?;
                    self.same(&format!("{what} `{name}`"), &expected, &values);
                }
            }
        }
        Ok(())
    }

    /// Objects may have more members than expected; `null` stands for a member that is not there.
    fn subset(&mut self, what: &str, expected: &Value, got: &Value) {
        let Value::Object(members) = expected else {
            return self.same(what, expected, got);
        };
        for (name, value) in members {
            self.subset(&format!("{what}.{name}"), value, got.get(name).unwrap_or(&Value::Null));
        }
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {

    use super::*;

    struct Nothing;

    impl Names for Nothing {
        fn value(&self, _: &str) -> Result<Option<Value>, Error> {
            Ok(None)
        }
    }

    fn refused() -> Observed {
        let answer = Answered {
            status: 401,
            headers: Fields::new().with("content-type", "application/json").with("x", b"\xff"),
            body: br#"{"code":"900901","error_message":"Invalid Credentials"}"#.to_vec(),
            details: "enforcer_auth_token_missing".into(),
            identity: Some(r#"1{"api":"Pets"}"#.into()),
            event: Some(r#"{"eventType":"fault"}"#.into()),
        };
        Observed {
            exchanges: Exchanges { answers: vec![answer], received: Vec::new() },
            counters: BTreeMap::from([("enforcer.auth.refused".into(), 1)]),
            totals: BTreeMap::from([("enforcer.auth.refused".into(), 2)]),
            log: vec!["[debug] no token".into()],
            received: BTreeMap::from([("otel".into(), vec![delivery()])]),
            ..Observed::default()
        }
    }

    fn delivery() -> Received {
        Received {
            method: "POST".into(),
            path: "/v1/logs".into(),
            headers: Fields::new().with("x-key", "k"),
            body: br#"[{"a":1},{"a":2}]"#.to_vec(),
            trailers: Fields::new(),
        }
    }

    fn differences_of(expect: &str, observed: &Observed) -> Vec<String> {
        differences(&serde_saphyr::from_str(expect).unwrap(), observed, &Nothing).unwrap()
    }

    #[test]
    fn what_is_as_expected_passes() {
        let expect = r#"
            status: 401
            json: {code: "900901"}
            headers: {content-type: application/json, x: "\xff", www-authenticate: false}
            details: enforcer_auth_token_missing
            identity: {api: Pets, consumer: null}
            counters: {enforcer.auth.refused: 1, enforcer.auth.allowed: 0, enforcer.auth.*: 1, enforcer.x.*: 0}
            event: {eventType: fault, errorType: null}
            totals: {enforcer.auth.refused: 2, enforcer.auth.allowed: 0}
            received: {otel: {path: /v1/logs, headers: {x-key: k}, batches: [2], events: [{a: 1}, {a: 2, b: null}]}}
            secrets: [s3cret]
            log: [no token]
            log_absent: [eyJ]
        "#;
        assert_eq!(differences_of(expect, &refused()), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        for (expect, difference) in [
            ("status: 200", "status: expected 200, got 401"),
            ("body: x", "body: expected \"x\""),
            ("json: {code: '1'}", "body.code: expected String(\"1\"), got String(\"900901\")"),
            ("json: {code: null}", "body.code: expected Null"),
            ("headers: {x: true, y: true}", "header `y`: expected a value"),
            ("headers: {x: false}", "header `x`: expected none"),
            ("headers: {x: [a, b]}", "header `x`: expected [\"a\", \"b\"], got [\"ÿ\"]"),
            ("details: via_upstream", "details: expected"),
            ("identity: {api: Cats}", "identity.api: expected"),
            ("backend: {}", "the backend received nothing"),
            ("counters: {enforcer.auth.refused: 2}", "counter `enforcer.auth.refused`: expected 2, got 1"),
            (
                "totals: {enforcer.auth.*: 1}",
                "counter `enforcer.auth.*` since the case began: expected 1, got 2",
            ),
            ("fetches: {idp: 1}", "requests to `idp`: expected 1, got 0"),
            ("event: {eventType: response}", "event.eventType: expected"),
            ("received: {otel: {events: [{a: 1}]}}", "events at `otel`: expected 1, got 2"),
            ("received: {otel: {events: [{a: 1}, {a: 3}]}}", "event 1 at `otel`.a: expected"),
            (
                "received: {otel: {batches: [1, 1]}}",
                "events in each request to `otel`: expected [1, 1], got [2]",
            ),
            ("received: {otel: {path: /}}", "path at `otel`: expected"),
            ("received: {otel: {headers: {x-key: false}}}", "header at `otel` `x-key`: expected none"),
            ("secrets: ['\"a\":2']", "was told to `otel`"),
            ("secrets: [fault]", "was told: {"),
            ("secrets: ['900901']", "was answered: {"),
            ("log: [expired]", "nothing was logged with `expired`"),
            ("log_absent: [no token]", "logged with `no token`"),
        ] {
            let found = differences_of(expect, &refused());
            assert!(found.len() == 1 && found[0].contains(difference), "{expect}: {found:?}");
        }
    }

    #[test]
    fn a_refused_request_at_the_backend_is_always_a_difference() {
        let mut observed = refused();
        observed.exchanges.received.push(Received {
            method: "GET".into(),
            path: "/".into(),
            headers: Fields::new(),
            body: Vec::new(),
            trailers: Fields::new(),
        });
        assert!(differences_of("{}", &observed)[0].contains("expected 0, got 1"));
    }

    #[test]
    fn tokens_and_crashes_may_not_be_logged() {
        let token = format!("h.{}.s", "c".repeat(30));
        let log = ["all is well".to_owned(), format!("token {token}"), "thread panicked at x".to_owned()];
        let found = forbidden_lines(&log, &[token]);
        assert!(found.len() == 2 && found[0].contains("token was logged"), "{found:?}");
    }
}
