//! Requests that wait for one fetch: whoever asked first may go away, the fetch may fail, and it may take too long.

use std::time::Duration;

use enforcer_testbed::Fields;
use serde_json::json;

use crate::world::{Answer, Ask, Host, Plugin, on_every_host};

on_every_host! {
    outlives_its_first_requester: fetching(4000) => outlives;
    fails_for_all_and_is_tried_again: fetching(4000) => fails;
    is_not_waited_for_longer_than_the_deadline: fetching(200) => is_late;
}

fn fetching(deadline_ms: u64) -> Plugin {
    Plugin::filter("shared-fetch", json!({ "cluster": "side", "path": "/value", "deadline_ms": deadline_ms }))
}

fn side(status: u16, body: &'static [u8], after: Duration) -> Answer {
    Answer::Reply { status, headers: Fields::new(), body, trailers: None, after }
}

const WAITERS: usize = 20;

/// The values that reached the backend, one for each request.
fn fetched(host: &mut dyn Host) -> Vec<Option<String>> {
    host.received("backend").iter().map(|seen| seen.headers.text("x-fetched")).collect()
}

fn outlives(host: &mut dyn Host, workers: u32) {
    host.answer("side", side(200, b"the value", Duration::from_millis(700)));
    let first = host.begin(&Ask::get("/first"));
    host.wait_for("side", 1);
    let others: Vec<_> = (0..WAITERS).map(|_| host.begin(&Ask::get("/other"))).collect();
    host.pass(Duration::from_millis(100));
    host.abandon(first);
    for other in others {
        assert_eq!(host.finish(other).status, 200);
    }
    let fetched = fetched(host);
    assert_eq!(fetched.len(), WAITERS, "{fetched:?}");
    assert!(fetched.iter().all(|value| value.as_deref() == Some("the value")), "{fetched:?}");
    // This filter shares within a worker.
    assert_eq!(host.received("side").len(), workers as usize);
}

fn fails(host: &mut dyn Host, workers: u32) {
    host.answer("side", side(500, b"", Duration::from_millis(300)));
    let all: Vec<_> = (0..WAITERS).map(|_| host.begin(&Ask::get("/"))).collect();
    for request in all {
        assert_eq!(host.finish(request).status, 503);
    }
    host.settles(|host| host.details().len() == WAITERS);
    assert!(
        host.details().iter().all(|details| details == "conformance_fetch_failed"),
        "{:?}",
        host.details()
    );
    assert_eq!(host.received("side").len(), workers as usize);

    host.answer("side", Answer::Close);
    assert_eq!(host.ask(&Ask::get("/")).status, 503);

    host.answer("side", side(200, b"at last", Duration::ZERO));
    assert_eq!(host.ask(&Ask::get("/")).status, 200);
    assert_eq!(fetched(host), [Some("at last".to_owned())]);
}

fn is_late(host: &mut dyn Host, workers: u32) {
    host.answer("side", side(200, b"late", Duration::from_millis(800)));
    let all: Vec<_> = (0..WAITERS).map(|_| host.begin(&Ask::get("/"))).collect();
    for request in all {
        assert_eq!(host.finish(request).status, 504);
    }
    host.settles(|host| host.details().len() == WAITERS);
    assert!(host.details().iter().all(|details| details == "conformance_deadline"), "{:?}", host.details());
    assert!(host.received("backend").is_empty());

    // The fetch goes on without them, and serves whoever comes later.
    host.pass(Duration::from_millis(900));
    for _ in 0..workers {
        assert_eq!(host.ask(&Ask::get("/")).status, 200);
    }
    assert!(fetched(host).iter().all(|value| value.as_deref() == Some("late")));
    assert_eq!(host.received("side").len(), workers as usize);
}
