use enforcer_core::{
    cx::{Messages, Wishes},
    headers::HeaderMap,
    native::NativeHost,
    units::{ByteSize, Span},
};
use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::config::Fields;

struct Rig {
    host: NativeHost,
    sender: Sender,
    sent: Vec<HttpCall>,
}

fn sink(json: Value) -> HttpSink {
    serde_json::from_value(json).unwrap()
}

fn key() -> FetchKey {
    FetchKey { filter: "analytics", id: 0 }
}

impl Rig {
    fn new(form: Form, config: Value) -> Self {
        let sender = Sender::new(key(), form, sink(config)).unwrap();
        Self { host: NativeHost::new(), sender, sent: Vec::new() }
    }

    fn push(&mut self, count: usize) {
        for number in 0..count {
            let event = Rc::new(Event { id: number.to_string().into(), ..Event::default() });
            assert_eq!(self.sender.push(event, 100, self.host.monotonic()), 0);
        }
    }

    /// How many events the next batch has; 0: none goes now.
    fn send(&mut self) -> usize {
        self.flush(false)
    }

    fn flush(&mut self, flush: bool) -> usize {
        let (messages, mut wishes) = (Messages::default(), Wishes::default());
        let renderer = Renderer { fields: Fields::default(), region: String::new() };
        let now = self.host.monotonic();
        self.sender.send(&renderer, now, flush, &mut Cx::new(&self.host, &messages, &mut wishes));
        let Some((sent, call)) = wishes.fetches.pop() else { return 0 };
        assert_eq!(sent, key());
        let value: Value = serde_json::from_slice(&call.body).unwrap();
        self.sent.push(call);
        let records = value.pointer("/resourceLogs/0/scopeLogs/0/logRecords").unwrap_or(&value);
        records.as_array().unwrap().len()
    }

    fn answer(&mut self, status: u16, headers: &[(&str, &str)], body: &str) -> (u64, u64) {
        let headers: HeaderMap = headers.iter().copied().collect();
        let reply = HttpReply { status, headers, body: body.into() };
        let settled = self.sender.answered(Ok(&reply), self.host.monotonic(), &self.host);
        (settled.acknowledged, settled.dropped)
    }

    fn fail(&mut self) {
        let failed = Err(CalloutError::Status(503));
        assert_eq!(self.sender.answered(failed, self.host.monotonic(), &self.host), Settled::default());
    }
}

#[test]
fn a_batch_goes_when_it_is_full_or_old() {
    let mut rig = Rig::new(Form::Otlp, json!({"cluster": "otel", "batch": 3}));
    rig.push(2);
    assert_eq!(rig.send(), 0);
    rig.push(1);
    assert_eq!(rig.send(), 3);
    assert_eq!(rig.answer(200, &[], "{}"), (3, 0));
    rig.push(1);
    assert_eq!(rig.send(), 0);
    rig.host.advance(Duration::from_secs(1));
    assert_eq!(rig.send(), 1);
    let call = &rig.sent[1];
    assert_eq!((call.method, call.path.as_str(), call.authority.as_str()), ("POST", "/v1/logs", "otel"));
    assert!(call.headers.contains(&("content-type".into(), "application/json".into())));
}

#[test]
fn one_batch_is_under_way_at_a_time() {
    let mut rig = Rig::new(Form::Array, json!({"cluster": "c", "batch": 2, "headers": {"X-Key": "k"}}));
    rig.push(5);
    assert_eq!(rig.send(), 2);
    assert_eq!((rig.send(), rig.flush(true)), (0, 0));
    assert_eq!(rig.answer(204, &[], ""), (2, 0));
    assert_eq!(rig.send(), 2);
    assert_eq!(rig.answer(200, &[], "not JSON"), (2, 0));
    assert_eq!((rig.send(), rig.flush(true)), (0, 1));
    assert!(rig.sent[0].headers.contains(&("x-key".into(), "k".into())));
}

#[test]
fn a_sink_that_is_down_is_asked_less_and_less_often() {
    let mut rig = Rig::new(Form::Otlp, json!({"cluster": "c", "batch": 1}));
    rig.push(1);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        assert_eq!(rig.send(), 1);
        rig.fail();
        assert_eq!(rig.send(), 0);
        let pause = rig.sender.due().unwrap() - rig.host.monotonic();
        rig.host.advance(pause);
        pauses.push(pause);
    }
    for (pause, whole) in pauses.iter().zip([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]) {
        let whole = Duration::from_millis(whole);
        assert!((whole / 2..=whole).contains(pause), "{pauses:?}");
    }
    assert_eq!(rig.send(), 1);
    assert_eq!(rig.answer(200, &[], ""), (1, 0));
    assert_eq!(rig.host.counter("enforcer.analytics.retries"), 9);
    // One line a breakdown, not one a try.
    assert_eq!(rig.host.lines().len(), 1);
}

#[test]
fn retry_after_is_honoured_within_reason() {
    for (value, least, most) in [("7", 7, 7), ("100000", 300, 300), ("Fri, 31 Dec 2027 23:59:59 GMT", 0, 1)] {
        let mut rig = Rig::new(Form::Otlp, json!({"cluster": "c", "batch": 1}));
        rig.push(1);
        rig.send();
        assert_eq!(rig.answer(429, &[("retry-after", value)], ""), (0, 0));
        let pause = rig.sender.due().unwrap() - rig.host.monotonic();
        assert!((least..=most).contains(&pause.as_secs()), "{value}: {pause:?}");
    }
}

#[test]
fn a_batch_that_is_too_large_is_split_until_it_fits() {
    let mut rig = Rig::new(Form::Array, json!({"cluster": "c", "batch": 8}));
    rig.push(9);
    let mut arrived = 0;
    let (mut dropped, mut calls) = (0, 0);
    while calls < 20 {
        let size = rig.flush(calls > 10);
        if size == 0 && calls > 10 {
            break;
        }
        calls += 1;
        if size == 0 {
            continue;
        }
        let (a, d) = if size > 2 { rig.answer(413, &[], "") } else { rig.answer(200, &[], "") };
        arrived += a;
        dropped += d;
    }
    assert_eq!((arrived, dropped), (9, 0));
    assert_eq!(rig.host.counter("enforcer.analytics.split"), 2);
}

#[test]
fn one_event_that_is_too_large_is_dropped() {
    let mut rig = Rig::new(Form::Array, json!({"cluster": "c", "batch": 1}));
    rig.push(1);
    rig.send();
    assert_eq!(rig.answer(413, &[], ""), (0, 1));
    assert_eq!(rig.host.counter("enforcer.analytics.dropped.refused"), 1);
}

#[test]
fn what_will_never_succeed_is_dropped_and_counted() {
    for status in [301, 302, 400, 401, 403, 404] {
        let mut rig = Rig::new(Form::Otlp, json!({"cluster": "c", "batch": 2}));
        rig.push(2);
        rig.send();
        assert_eq!(rig.answer(status, &[("location", "http://elsewhere/")], ""), (0, 2), "{status}");
        assert_eq!(rig.sender.waiting(), 0);
    }
}

#[test]
fn what_a_collector_rejects_is_not_acknowledged() {
    for (body, expected) in [
        (r#"{"partialSuccess":{"rejectedLogRecords":"1"}}"#, (1, 1)),
        (r#"{"partialSuccess":{"rejectedLogRecords":99}}"#, (0, 2)),
        (r#"{"partialSuccess":{"errorMessage":"all is well"}}"#, (2, 0)),
        ("<html>", (2, 0)),
        ("", (2, 0)),
    ] {
        let mut rig = Rig::new(Form::Otlp, json!({"cluster": "c", "batch": 2}));
        rig.push(2);
        rig.send();
        assert_eq!(rig.answer(200, &[], body), expected, "{body}");
    }
}

#[test]
fn the_oldest_is_dropped_while_the_sink_is_gone() {
    let mut rig = Rig::new(Form::Otlp, json!({"cluster": "c", "batch": 1, "queue": "300B"}));
    rig.push(3);
    rig.send();
    rig.fail();
    let event = Rc::new(Event { id: "last".into(), ..Event::default() });
    assert_eq!(rig.sender.push(event, 100, rig.host.monotonic()), 1);
    assert_eq!(rig.sender.waiting(), 3);
    rig.host.advance(Duration::from_secs(60));
    rig.send();
    assert!(String::from_utf8_lossy(&rig.sent[1].body).contains("\"stringValue\":\"1\""));
}

#[test]
fn mistakes_are_named() {
    for (config, problem) in [
        (json!({"cluster": ""}), "cluster: name the Envoy cluster"),
        (json!({"cluster": "c", "batch": 0}), "batch: a batch has at least one event"),
        (json!({"cluster": "c", "headers": {":path": "/"}}), "headers: `:path` is no name of a header"),
        (json!({"cluster": "c", "headers": {"a b": "/"}}), "headers: `a b` is no name of a header"),
        (json!({"cluster": "c", "headers": {"a": "b\r\nc: d"}}), "headers: `a` has a line break"),
    ] {
        let error = Sender::new(key(), Form::Otlp, sink(config)).unwrap_err().to_string();
        assert!(error.starts_with(problem), "{error}");
    }
    let plain = sink(json!({"cluster": "c"}));
    assert_eq!((plain.queue, plain.interval), (ByteSize::from_bytes(8 << 20), Span::from_secs(1)));
}
