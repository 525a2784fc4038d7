#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use enforcer_core::{
    cx::{HttpCall, Messages, Wishes},
    headers::HeaderMap,
    host::Host,
    native::NativeHost,
};
use serde_json::{Value, json};

use super::*;

const FETCH: FetchKey = FetchKey { filter: "auth", id: 7 };

/// One worker.
struct Worker {
    revocation: Revocation,
    host: NativeHost,
}

impl Worker {
    fn new(host: NativeHost, more: &Value) -> Self {
        let mut list = json!({"cluster": "idp", "url": "https://idp/revoked?x=1"});
        list.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let config = serde_json::from_value(json!({"list": list})).unwrap();
        Self { revocation: Revocation::new(FETCH, config).unwrap(), host }
    }

    fn sibling(&self, more: &Value) -> Self {
        Self::new(self.host.sibling(), more)
    }

    /// One tick: what is fetched, and when the next tick is due.
    fn tick(&mut self) -> (Option<HttpCall>, Duration) {
        let (messages, mut wishes) = (Messages::default(), Wishes::default());
        self.revocation.on_tick(&mut Cx::new(&self.host, &messages, &mut wishes));
        (wishes.fetches.pop().map(|(_, call)| call), wishes.tick_in.unwrap())
    }

    /// Ticks for so long, or until something is fetched.
    fn run(&mut self, time: Duration) -> Option<HttpCall> {
        let end = self.host.monotonic().saturating_add(time);
        while self.host.monotonic() <= end {
            let (call, delay) = self.tick();
            if call.is_some() {
                return call;
            }
            self.host.advance(delay.max(Duration::from_millis(1)));
        }
        None
    }

    /// What is fetched is answered so.
    fn answer(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let reply = HttpReply { status, headers: headers.iter().copied().collect(), body: body.to_vec() };
        let (messages, mut wishes) = (Messages::default(), Wishes::default());
        self.revocation.on_fetched(Ok(&reply), &mut Cx::new(&self.host, &messages, &mut wishes));
    }

    fn check(&mut self, id: &str) -> Standing {
        let (messages, mut wishes) = (Messages::of_request(HeaderMap::default()), Wishes::default());
        let prints = Fingerprints::of(Some(id), b"header.payload");
        self.revocation.check(prints, &mut Cx::new(&self.host, &messages, &mut wishes), false)
    }

    fn is_revoked(&mut self, id: &str) -> bool {
        self.check(id) == Standing::Refused(Refusal::Revoked)
    }
}

const SECOND: Duration = Duration::from_secs(1);
const COMPACT: (&str, &str) = ("content-type", "application/octet-stream");

fn compact(ids: impl Iterator<Item = u32>) -> Vec<u8> {
    ids.flat_map(|id| {
        let print = Fingerprint::of(format!("t{id}").as_bytes()).to_bytes();
        print.into_iter().chain([0xff; 4])
    })
    .collect()
}

#[test]
fn a_whole_list_replaces_the_one_before() {
    let mut worker = Worker::new(NativeHost::new(), &json!({}));
    assert_eq!(worker.check("a"), Standing::Refused(Refusal::RevocationUnavailable));
    let call = worker.run(SECOND).unwrap();
    assert_eq!(call.path, "/revoked?x=1");
    worker.answer(200, &[("etag", "\"1\"")], br#"{"revoked": [{"jti": "a"}, {"jti": "b"}]}"#);
    assert!(worker.is_revoked("a") && worker.check("c") == Standing::Good);
    let call = worker.run(SECOND * 11).unwrap();
    assert!(call.headers.contains(&("if-none-match".to_owned(), "\"1\"".to_owned())));
    worker.answer(200, &[], br#"{"revoked": [{"jti": "c"}]}"#);
    assert!(worker.is_revoked("c") && worker.check("a") == Standing::Good);
}

#[test]
fn pages_are_read_to_the_end_and_then_followed() {
    let mut worker = Worker::new(NativeHost::new(), &json!({}));
    let mut sibling = worker.sibling(&json!({}));
    worker.run(SECOND).unwrap();
    worker.answer(200, &[COMPACT, ("next-cursor", "p1")], &compact(0..30_000));
    assert_eq!(worker.check("x"), Standing::Refused(Refusal::RevocationUnavailable), "there is more");
    let call = worker.run(SECOND).unwrap();
    assert_eq!(call.path, "/revoked?x=1&cursor=p1");
    worker.answer(200, &[COMPACT, ("next-cursor", "p2")], &compact(30_000..60_000));
    worker.run(SECOND).unwrap();
    worker.answer(200, &[COMPACT, ("next-cursor", "p2")], &[]);
    assert_eq!(worker.check("x"), Standing::Good);
    assert!((0..60_000).step_by(997).all(|id| worker.is_revoked(&format!("t{id}"))));
    assert!(sibling.run(SECOND).is_none(), "one worker fetches for all");
    assert!(sibling.is_revoked("t59999") && sibling.check("x") == Standing::Good);
    let call = worker.run(SECOND * 11).unwrap();
    assert_eq!(call.path, "/revoked?x=1&cursor=p2");
    worker.answer(200, &[COMPACT, ("next-cursor", "p3")], &compact(60_000..60_001));
    assert!(worker.is_revoked("t60000") && worker.is_revoked("t1"));
}

#[test]
fn a_page_that_leads_to_itself_is_the_last() {
    let mut worker = Worker::new(NativeHost::new(), &json!({}));
    for _ in 0..3 {
        worker.run(SECOND * 11).unwrap();
        worker.answer(200, &[COMPACT, ("next-cursor", "p1")], &compact(0..3));
    }
    assert!(worker.is_revoked("t2") && worker.check("x") == Standing::Good);
    let held: usize =
        worker.host.shared_data().iter().filter(|(key, _)| key.contains('#')).map(|(_, v)| v.len()).sum();
    assert_eq!(held, 8 + 3 * 12, "taken over once");
}

#[test]
fn a_cursor_that_is_gone_means_all_over_again() {
    let mut worker = Worker::new(NativeHost::new(), &json!({}));
    worker.run(SECOND).unwrap();
    worker.answer(200, &[COMPACT, ("next-cursor", "p1")], &compact(0..3));
    worker.run(SECOND).unwrap();
    worker.answer(204, &[], &[]);
    worker.run(SECOND * 11).unwrap();
    worker.answer(410, &[], &[]);
    assert!(worker.is_revoked("t1") && worker.check("x") == Standing::Good, "what was known still counts");
    assert_eq!(worker.run(SECOND).unwrap().path, "/revoked?x=1");
    worker.answer(200, &[COMPACT, ("next-cursor", "q1")], &compact(2..4));
    worker.run(SECOND).unwrap();
    worker.answer(304, &[], &[]);
    assert!(worker.is_revoked("t3") && worker.check("t1") == Standing::Good);
}

#[test]
fn a_list_survives_its_worker() {
    let mut worker = Worker::new(NativeHost::new(), &json!({}));
    worker.run(SECOND).unwrap();
    worker.answer(200, &[], br#"{"revoked": [{"jti": "a"}]}"#);
    let mut reloaded = worker.sibling(&json!({}));
    drop(worker);
    assert!(reloaded.tick().0.is_none(), "nothing is fetched anew");
    assert!(reloaded.is_revoked("a") && reloaded.check("b") == Standing::Good);
}

#[test]
fn a_server_that_fails_is_asked_ever_less_but_no_less_than_one_that_answers() {
    for (status, headers, body) in [
        (200, vec![], &b"<html>"[..]),
        (200, vec![COMPACT], b"eleven byte"),
        (200, vec![COMPACT, ("next-cursor", "a b")], b""),
        (500, vec![], b""),
        (302, vec![], b""),
        (304, vec![], b""),
        (410, vec![], b""),
    ] {
        let mut worker = Worker::new(NativeHost::new(), &json!({}));
        for least in [0, 1, 2, 4, 8, 10, 10, 10, 10] {
            let before = worker.host.monotonic();
            worker.run(SECOND * 100).unwrap();
            let paused = worker.host.monotonic().saturating_sub(before).as_secs();
            assert!((least..=least * 5 / 4 + 1).contains(&paused), "{status}: {paused} s, not {least} s");
            worker.answer(status, &headers, body);
        }
        assert_eq!(worker.check("a"), Standing::Refused(Refusal::RevocationUnavailable));
        assert_eq!(worker.host.counter("enforcer.auth.revocation.failed"), 9);
    }
}

#[test]
fn what_is_old_counts_until_it_is_too_old() {
    for (policy, expected) in
        [("refuse", Standing::Refused(Refusal::RevocationUnavailable)), ("allow", Standing::Good)]
    {
        let mut worker = Worker::new(NativeHost::new(), &json!({"max_stale": "1m", "unavailable": policy}));
        worker.run(SECOND).unwrap();
        worker.answer(200, &[], br#"{"revoked": [{"jti": "a"}]}"#);
        worker.host.advance(SECOND * 59);
        assert_eq!(worker.check("b"), Standing::Good);
        assert_eq!(worker.host.counter("enforcer.auth.revocation.unchecked"), 0);
        worker.host.advance(SECOND);
        assert_eq!(worker.check("b"), expected);
        assert!(worker.is_revoked("a"), "in any case");
        assert_eq!(worker.host.counter("enforcer.auth.revocation.unchecked"), u64::from(policy == "allow"));
    }
}

#[test]
fn a_server_that_holds_its_answers_back_is_asked_at_once() {
    let mut worker = Worker::new(NativeHost::new(), &json!({"wait": "30s"}));
    let call = worker.run(SECOND).unwrap();
    assert!(call.headers.contains(&("prefer".to_owned(), "wait=30".to_owned())));
    assert_eq!(call.timeout, SECOND * 35);
    worker.host.advance(SECOND * 30);
    worker.answer(200, &[("etag", "\"1\"")], br#"{"revoked": []}"#);
    assert!(worker.tick().0.is_some());
    worker.answer(304, &[], b"");
    assert!(worker.tick().0.is_none(), "it did not wait, and is given a second");
}

#[test]
fn an_answer_that_comes_too_late_is_nobodys() {
    let mut worker = Worker::new(NativeHost::new(), &json!({}));
    worker.run(SECOND).unwrap();
    worker.host.advance(SECOND * 7);
    let mut sibling = worker.sibling(&json!({}));
    assert!(sibling.run(SECOND).is_some());
    worker.answer(200, &[], br#"{"revoked": [{"jti": "late"}]}"#);
    sibling.answer(200, &[], br#"{"revoked": [{"jti": "a"}]}"#);
    worker.tick();
    assert!(worker.is_revoked("a") && !worker.is_revoked("late"));
}

#[test]
fn what_cannot_be_is_refused() {
    let problem = |field: &str, value: Value| {
        let mut list = json!({"cluster": "idp", "url": "https://idp/revoked"});
        list[field] = value;
        let config = serde_json::from_value(json!({"list": list})).unwrap();
        Revocation::new(FETCH, config).unwrap_err().to_string()
    };
    assert!(problem("url", json!("idp/revoked")).starts_with("list.url: `idp/revoked` is not"));
    assert!(problem("timeout", json!("0s")).starts_with("list.timeout: zero"));
    assert!(problem("poll", json!("10ms")).starts_with("list.poll: `10ms` is less"));
    assert!(problem("max_stale", json!("10s")).starts_with("list.max_stale: `10s` is not more"));
    let config = serde_json::from_value(json!({"tokens": [{"jti": "a"}, {"signed": "b"}]})).unwrap();
    assert!(Revocation::new(FETCH, config).unwrap_err().to_string().starts_with("tokens[1].signed: not 64"));
}

/// A million tokens, in pages of the largest size there is.
#[cfg(not(target_arch = "wasm32"))]
#[test]
fn a_million_tokens_stall_nobody() {
    let mut worker = Worker::new(NativeHost::new(), &json!({}));
    let mut sibling = worker.sibling(&json!({}));
    let page = (1 << 20) / 12;
    let timed = |work: &mut dyn FnMut()| {
        let start = std::time::Instant::now();
        work();
        start.elapsed()
    };
    // The middle one of equal pieces of work: a busy machine interrupts some of them.
    let middle = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let mut pages = Vec::new();
    let mut chunks = Vec::new();
    for number in 0_u32..12 {
        worker.run(SECOND).unwrap();
        let body = compact(number * page..(number + 1) * page);
        let cursor = format!("p{number}");
        pages.push(timed(&mut || worker.answer(200, &[COMPACT, ("next-cursor", &cursor)], &body)));
    }
    worker.run(SECOND).unwrap();
    worker.answer(304, &[], &[]);
    for _ in 0..64 {
        worker.tick();
        chunks.push(timed(&mut || drop(sibling.tick())));
    }
    assert!(sibling.is_revoked("t1000000") && sibling.check("x") == Standing::Good);
    let table = &sibling.revocation.listed.as_ref().unwrap().1;
    assert!(table.len() > 1_000_000 && table.memory() < 24 << 20);
    // Unoptimised builds are far slower.
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 2_000 } else { 20 });
    let longest = middle(pages).max(middle(chunks));
    assert!(longest < limit, "{longest:?}");
}
