#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use enforcer_core::{
    cx::{Messages, Wishes},
    host::Level,
    native::NativeHost,
};
use jwt_simple::algorithms::ES256KeyPair;
use serde_json::{Value, json};

use super::*;
use crate::{
    jwk::samples::{oct, p256, with},
    remote::split_url,
};

/// An issuer with a remote key set, fetched as the defaults are but for these settings.
fn issuer(settings: &Value) -> Issuer {
    let mut remote = json!({"cluster": "idp", "url": "https://idp.example.com/jwks?v=1"});
    remote.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    serde_json::from_value(json!({"issuer": "https://idp.example.com", "jwks": {"remote": remote}})).unwrap()
}

/// One worker's keys, with a shell that does nothing by itself.
struct Worker {
    host: NativeHost,
    keys: Keys,
}

/// What a call wished for.
#[derive(Debug, PartialEq)]
struct Wished {
    fetches: usize,
    woken: usize,
}

impl Worker {
    fn new(host: NativeHost) -> Self {
        let keys = Keys::new(FETCH_KEY, &issuer(&json!({}))).unwrap();
        Self { host, keys }
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut Keys, &mut Cx<'_>) -> R) -> (R, Wished) {
        let mut wishes = Wishes::default();
        let messages = Messages::default();
        let result = act(&mut self.keys, &mut Cx::new(&self.host, &messages, &mut wishes));
        (result, Wished { fetches: wishes.fetches.len(), woken: wishes.woken.len() })
    }

    fn find(&mut self, kid: &str) -> &'static str {
        self.find_for(kid, Algorithm::ES256)
    }

    fn find_for(&mut self, kid: &str, algorithm: Algorithm) -> &'static str {
        self.with(|keys, cx| match keys.find(Some(kid), algorithm, cx, true) {
            Lookup::Found(_) => "found",
            Lookup::WrongAlgorithm => "wrong algorithm",
            Lookup::Unknown => "unknown",
            Lookup::Wait(..) => "wait",
            Lookup::Unavailable => "unavailable",
        })
        .0
    }

    fn tick(&mut self) -> Wished {
        self.with(Keys::on_tick).1
    }

    fn fetched(&mut self, status: u16, body: &str) -> Wished {
        self.fetched_for(status, body, "no-cache")
    }

    fn fetched_for(&mut self, status: u16, body: &str, cache_control: &str) -> Wished {
        let headers = [("cache-control", cache_control)].into_iter().collect();
        let reply = HttpReply { status, headers, body: body.into() };
        self.with(|keys, cx| keys.on_fetched(Ok(&reply), cx)).1
    }

    fn failed(&mut self) -> Wished {
        self.with(|keys, cx| keys.on_fetched(Err(CalloutError::Status(503)), cx)).1
    }

    fn advance(&self, seconds: u64) {
        self.host.advance(Duration::from_secs(seconds));
    }
}

fn key_set(kids: &[&str]) -> String {
    let key = |kid: &&str| ES256KeyPair::generate().with_key_id(kid).public_key().to_jwk();
    format!("{{\"keys\":[{}]}}", kids.iter().map(key).collect::<Vec<_>>().join(","))
}

const FETCH_KEY: FetchKey = FetchKey { filter: "auth", id: 0 };
const FETCH: Wished = Wished { fetches: 1, woken: 0 };
const WAKE: Wished = Wished { fetches: 0, woken: 1 };
const NOTHING: Wished = Wished { fetches: 0, woken: 0 };

/// A worker that has fetched its keys.
fn ready() -> Worker {
    let mut worker = Worker::new(NativeHost::new());
    worker.tick();
    worker.fetched(200, &key_set(&["a"]));
    worker
}

#[test]
fn requests_wait_for_the_first_fetch() {
    let mut worker = Worker::new(NativeHost::new());
    assert_eq!(worker.find("a"), "wait");
    assert_eq!(worker.tick(), FETCH);
    assert_eq!(worker.fetched(200, &key_set(&["a"])), WAKE);
    assert_eq!(worker.find("a"), "found");
    assert_eq!(worker.host.counter("enforcer.auth.jwks.fetched"), 1);
}

#[test]
fn one_worker_fetches_for_all() {
    let mut one = Worker::new(NativeHost::new());
    let mut two = Worker::new(one.host.sibling());
    assert_eq!(one.tick(), FETCH);
    assert_eq!(two.find("a"), "wait");
    assert_eq!(two.tick(), NOTHING);
    one.fetched(200, &key_set(&["a"]));
    assert_eq!(two.tick(), WAKE);
    assert_eq!(two.find("a"), "found");
}

#[test]
fn a_fetch_that_never_ends_is_taken_over() {
    let mut one = Worker::new(NativeHost::new());
    let mut two = Worker::new(one.host.sibling());
    assert_eq!(one.tick(), FETCH);
    two.advance(5);
    assert_eq!(two.tick(), NOTHING);
    two.advance(2);
    assert_eq!(two.tick(), FETCH);
}

#[test]
fn keys_are_refreshed_and_used_meanwhile() {
    let mut worker = ready();
    worker.advance(262);
    assert_eq!(worker.tick(), NOTHING);
    worker.advance(38);
    assert_eq!(worker.tick(), FETCH);
    assert_eq!(worker.find("a"), "found");
}

#[test]
fn an_answer_may_ask_for_an_earlier_refresh() {
    for (cache_control, too_early, due) in [
        ("public, max-age=60", 52, 60),
        ("Max-Age=\"80\"", 70, 80),
        ("max-age=0", 8, 10),
        ("max-age=86400", 262, 300),
        ("max-age=soon", 262, 300),
        ("no-store", 262, 300),
    ] {
        let mut worker = ready();
        worker.advance(300);
        worker.tick();
        worker.fetched_for(200, &key_set(&["a"]), cache_control);
        worker.advance(too_early);
        assert_eq!(worker.tick(), NOTHING, "{cache_control}");
        worker.advance(due - too_early);
        assert_eq!(worker.tick(), FETCH, "{cache_control}");
    }
}

#[test]
fn a_token_of_another_algorithm_fetches_nothing() {
    let mut worker = ready();
    worker.advance(10);
    assert_eq!(worker.find_for("a", Algorithm::RS256), "wrong algorithm");
    assert_eq!(worker.tick(), NOTHING);
}

#[test]
fn faults_of_single_keys_are_told_once() {
    let mut worker = Worker::new(NativeHost::new());
    let faulty = with(p256(), &json!({"kid": "leaked", "d": "AQ"}));
    let set = |kid: &str| json!({"keys": [with(p256(), &json!({"kid": kid})), faulty]}).to_string();
    for (body, lines) in [(set("a"), 1), (set("a"), 1), (set("b"), 2)] {
        worker.advance(300);
        assert_eq!(worker.tick(), FETCH);
        worker.fetched(200, &body);
        assert_eq!(worker.host.lines().len(), lines);
    }
    let (level, line) = worker.host.lines().pop().unwrap();
    assert_eq!(level, Level::Warn);
    assert!(
        line.starts_with(concat!(
            "auth: issuer `https://idp.example.com`: a key from `https://idp.example.com/jwks?v=1` is not used: ",
            "keys[1]: `d` is there",
        )),
        "{line}"
    );
    assert_eq!(worker.find("b"), "found");
}

#[test]
fn keys_that_cannot_be_refreshed_are_trusted_up_to_max_stale() {
    let mut worker = ready();
    worker.advance(300);
    worker.tick();
    worker.failed();
    worker.advance(3299);
    assert_eq!(worker.find("a"), "found");
    assert!(worker.keys.generation(&worker.host).is_some());
    worker.advance(1);
    assert_eq!(worker.find("a"), "wait");
    assert_eq!(worker.keys.generation(&worker.host), None);
    worker.tick();
    worker.failed();
    assert_eq!(worker.find("a"), "unavailable");
}

#[test]
fn an_unknown_key_is_looked_for_once_in_a_while() {
    let mut worker = ready();
    assert_eq!(worker.find("b"), "unknown");
    worker.advance(10);
    assert_eq!(worker.find("b"), "wait");
    assert_eq!(worker.tick(), FETCH);
    assert_eq!(worker.fetched(200, &key_set(&["a", "b"])), WAKE);
    assert_eq!(worker.find("b"), "found");
    assert_eq!(worker.find("c"), "unknown");
    assert_eq!(worker.tick(), NOTHING);
}

#[test]
fn other_keys_are_another_generation() {
    let mut worker = Worker::new(NativeHost::new());
    worker.tick();
    let set = key_set(&["a"]);
    worker.fetched(200, &set);
    let first = worker.keys.generation(&worker.host);
    worker.advance(300);
    worker.tick();
    worker.fetched(200, &set);
    assert_eq!(worker.keys.generation(&worker.host), first);
    worker.advance(300);
    worker.tick();
    worker.fetched(200, &key_set(&["a"]));
    assert_ne!(worker.keys.generation(&worker.host), first);
}

#[test]
fn failures_are_retried_ever_later_and_nobody_waits_for_them() {
    let mut worker = Worker::new(NativeHost::new());
    worker.find("a");
    assert_eq!(worker.tick(), FETCH);
    assert_eq!(worker.failed(), WAKE);
    assert_eq!(worker.find("a"), "unavailable");
    assert_eq!(worker.tick(), NOTHING);
    worker.advance(2);
    assert_eq!(worker.tick(), FETCH);
    worker.failed();
    worker.advance(1);
    assert_eq!(worker.tick(), NOTHING);
    worker.advance(2);
    assert_eq!(worker.tick(), FETCH);
}

#[test]
fn what_is_no_key_set_leaves_the_old_one_in_use() {
    let twins =
        json!({"keys": [with(p256(), &json!({"kid": "b"})), with(p256(), &json!({"kid": "b"}))]}).to_string();
    let secret = json!({"keys": [with(oct(32), &json!({"kid": "b", "alg": "HS256"}))]}).to_string();
    let long = " ".repeat((256 << 10) + 1);
    for (status, body) in [
        (200, "<html>"),
        (200, "{\"keys\":[]}"),
        (200, &twins),
        (200, &secret),
        (200, &long),
        (200, ""),
        (302, ""),
        (404, "{}"),
    ] {
        let mut worker = ready();
        worker.advance(300);
        assert_eq!(worker.tick(), FETCH);
        worker.fetched(status, body);
        assert_eq!(worker.find("a"), "found", "{status} {body}");
        assert_eq!(worker.host.counter("enforcer.auth.jwks.failed"), 1);
        let (_, line) = worker.host.lines().pop().unwrap();
        assert!(line.contains("keys not fetched from `https://idp.example.com/jwks?v=1`"), "{line}");
    }
}

#[test]
fn times_without_sense_are_refused() {
    let problem = |field: &str, value: &str| Keys::new(FETCH_KEY, &issuer(&json!({field: value}))).err();
    assert!(problem("timeout", "0s").unwrap().contains("no fetch could succeed"));
    assert!(problem("refresh", "10ms").unwrap().contains("the least is `1s`"));
    assert!(problem("max_stale", "1m").unwrap().contains("times without any"));
    assert_eq!(problem("refresh", "1s"), None);
}

#[test]
fn nobody_waits_for_an_unknown_key_while_fetches_fail() {
    let mut worker = ready();
    worker.advance(300);
    worker.tick();
    for _ in 0..5 {
        worker.failed();
    }
    worker.advance(11);
    assert_eq!(worker.find("b"), "unknown");
}

#[test]
fn urls_are_taken_apart() {
    let split = |url| split_url(url).map(|(authority, path)| format!("{authority} {path}"));
    assert_eq!(split("https://a.com/b?c=/d"), Ok("a.com /b?c=/d".into()));
    assert_eq!(split("http://a.com:8080"), Ok("a.com:8080 /".into()));
    assert_eq!(split("https://a.com?x"), Ok("a.com /?x".into()));
    for bad in ["a.com/b", "ftp://a.com", "https:///b", "https://u:p@a.com", "https://a.com/#f"] {
        assert!(split(bad).unwrap_err().contains(bad));
    }
}
