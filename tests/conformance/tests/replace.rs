//! A filter that replaces the request's body: it must end on trailers too, stay below a limit, and never hold an
//! upgraded connection.

use std::time::Duration;

use enforcer_testbed::Fields;
use serde_json::json;

use crate::world::{Answer, Ask, Host, Plugin, on_every_host};

on_every_host! {
    streams_the_head: replacing(false) => replaces;
    streams_the_head_though_it_could_wait: replacing(false).stop_iteration() => replaces;
    holds_the_head: replacing(true).stop_iteration() => replaces_and_says_so;
    after_a_wait: after_waiting() => waits_and_replaces;
    after_a_wait_with_the_body_there: after_waiting().stop_iteration() => waits_and_replaces;
    in_a_chain: Plugin::filter("chain", json!([{ "limit": LIMIT }, {}])) => replaces_and_counts;
}

const LIMIT: usize = 16;

fn replacing(hold_head: bool) -> Plugin {
    Plugin::filter("replace", json!({ "limit": LIMIT, "hold_head": hold_head }))
}

fn after_waiting() -> Plugin {
    let fetch = json!({ "cluster": "side", "path": "/value", "deadline_ms": 4000, "once": true });
    Plugin::filter("wait-then-replace", json!([fetch, { "limit": LIMIT }]))
}

/// Every request waits for a fetch, while its body arrives or is held back.
fn waits_and_replaces(host: &mut dyn Host, _workers: u32) {
    let after = Duration::from_millis(100);
    let value = Answer::Reply { status: 200, headers: Fields::new(), body: b"v", trailers: None, after };
    host.answer("side", value);
    check(host, false);
    assert!(host.received("backend").iter().all(|seen| seen.headers.contains("x-fetched")));
}

fn replaces(host: &mut dyn Host, _workers: u32) {
    check(host, false);
}

fn replaces_and_says_so(host: &mut dyn Host, _workers: u32) {
    check(host, true);
}

fn replaces_and_counts(host: &mut dyn Host, _workers: u32) {
    check(host, false);
    // Every request of `check`, the refused one too: the answer to it passes the chain.
    host.counts("conformance.counter.responses", 7);
}

fn check(host: &mut dyn Host, announced: bool) {
    let end = || Fields::new().with("x-end", "1");
    let whole = b"exactly 16 bytes";
    for (ask, body) in [
        (Ask::sized("/", b"of known length"), &b"[OF KNOWN LENGTH]"[..]),
        (Ask::post("/", &[b"in ", b"many ", b"pieces"]), b"[IN MANY PIECES]"),
        (Ask { trailers: end(), ..Ask::post("/", &[b"by trailers"]) }, b"[BY TRAILERS]"),
        (Ask { trailers: end(), ..Ask::post("/", &[b"by ", b"trailers"]) }, b"[BY TRAILERS]"),
        (Ask::post("/", &[whole]), b"[EXACTLY 16 BYTES]"),
        (Ask::get("/"), b""),
    ] {
        let before = host.received("backend").len();
        let answer = host.ask(&ask);
        assert_eq!((answer.status, answer.complete), (200, true), "{ask:?}");
        let received = host.received("backend");
        let [seen] = &received[before..] else {
            panic!("the backend saw {:?} of {ask:?}", &received[before..])
        };
        assert_eq!(seen.body.escape_ascii().to_string(), body.escape_ascii().to_string());
        assert_eq!(seen.trailers.contains("x-end"), ask.trailers.contains("x-end"));
        let size = Some(body.len().to_string()).filter(|_| announced && !body.is_empty());
        assert_eq!(seen.headers.text("x-replaced"), size);
        let length = seen.headers.text("content-length").filter(|length| length != "0");
        assert!(length.is_none(), "the backend was told {length:?} of {ask:?}");
    }
    let before = host.received("backend").len();
    let answer = host.ask(&Ask::post("/", &[b"more than ", b"16 bytes"]));
    assert_eq!(answer.status, 413, "{}", answer.body.escape_ascii());
    host.settles(|host| host.details().iter().any(|details| details == "enforcer_body_too_large"));
    assert_eq!(host.received("backend").len(), before, "a refused body reached the backend");
}
