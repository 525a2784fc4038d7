use enforcer_harness::{Backend, Request};

use crate::sdk::{start, trace};

#[test]
fn a_request_passes_every_callback_in_order() {
    let mut envoy = start("");
    envoy.set_backend(Backend::status(200).body("hello").trailer("t", "1"));
    let out = envoy.request(Request::post("/pets?x=1").body("abc").trailer("a", "b"));
    assert_eq!((out.status(), out.body_str().as_str(), out.details()), (200, "hello", "via_upstream"));
    assert_eq!(
        trace(&envoy),
        [
            "request_headers false",
            "request_body 3 false",
            "request_trailers 1",
            "response_headers false",
            "response_body 5 false",
            "response_trailers 1",
            "log",
            "done",
        ]
    );
}
