//! A filter that watches a response stream past: every byte once, and the end of it, however it ends.

use std::time::Duration;

use enforcer_testbed::Fields;
use serde_json::json;

use crate::world::{Answer, Ask, Host, Plugin, on_every_host};

on_every_host! {
    counts_every_byte: Plugin::filter("counter", json!({})) => bodies;
}

/// More than Envoy reads at once.
static LARGE: [u8; 300_000] = [b'x'; 300_000];

fn bodies(host: &mut dyn Host, _workers: u32) {
    let reply = |status, body, trailers| Answer::Reply {
        status,
        headers: Fields::new(),
        body,
        trailers,
        after: Duration::ZERO,
    };
    let bodies: [(u16, &'static [u8], Option<Fields>); 5] = [
        (200, b"of known length", None),
        (200, b"ended by trailers", Some(Fields::new().with("x-end", "1"))),
        (200, &LARGE, None),
        (200, &LARGE, Some(Fields::new().with("x-end", "1"))),
        (204, b"", None),
    ];
    let (mut bytes, mut ended, mut trailers) = (0, 0, 0);
    for (requests, (status, body, with)) in (1..).zip(bodies) {
        let has_trailers = with.is_some();
        host.answer("backend", reply(status, body, with));
        let seen = host.ask(&Ask::get("/"));
        assert_eq!((seen.status, seen.complete), (status, true));
        assert!(seen.body == body, "{} bytes came of {}", seen.body.len(), body.len());
        assert_eq!(seen.trailers.contains("x-end"), has_trailers);

        bytes += body.len() as u64;
        // An answer without a body has no body that could end.
        ended += u64::from(!body.is_empty());
        trailers += u64::from(has_trailers);
        host.counts("conformance.counter.responses", requests);
        host.counts("conformance.counter.bytes", bytes);
        host.counts("conformance.counter.ended", ended);
        host.counts("conformance.counter.trailers", trailers);
    }
}
