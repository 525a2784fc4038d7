//! What Envoy does not survive (docs/hosts.md) must not pass in the harness either: it fails the test, whatever the
//! test asserts.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::json;

use crate::world::{Answer, Ask, Host, Plugin, harness::HarnessHost};

#[test]
fn fails_the_test() {
    for (deed, reason) in [
        ("continue-request request_headers", "trailers twice"),
        ("continue-request response_headers", "trailers twice"),
        ("continue-response request_body", "crashes"),
        ("continue-response response_headers", "crashes"),
        ("reply log", "does not survive"),
        ("reply done", "does not survive"),
        ("close-request log", "does not survive"),
        ("close-response done", "does not survive"),
    ] {
        let plugin = Plugin::new("probe", "the-root", json!({}));
        let mut host = HarnessHost::start(&plugin).unwrap();
        host.answer(
            "backend",
            Answer::Reply {
                status: 200,
                headers: Default::default(),
                body: b"response",
                trailers: None,
                after: Default::default(),
            },
        );
        let ask = Ask::post("/", &[b"request"]).header("x-probe-do", deed);
        let panic = catch_unwind(AssertUnwindSafe(|| host.ask(&ask))).expect_err(deed);
        let message = panic.downcast_ref::<String>().map_or("", String::as_str);
        assert!(message.contains(reason), "{deed}: {message}");
    }
}
