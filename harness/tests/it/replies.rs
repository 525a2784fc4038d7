use enforcer_harness::{Backend, HeaderMap, Request, Upstream};

use crate::sdk::{builder, start, trace};

#[test]
fn a_local_reply_passes_the_modules_own_response_callbacks() {
    let mut envoy = start(
        "request_headers reply 401 denied www-authenticate=Bearer\nresponse_headers set response x-cors 1",
    );
    let out = envoy.request(Request::get("/"));
    assert_eq!((out.status(), out.body_str().as_str(), out.details()), (401, "denied", ""));
    assert_eq!(out.header("x-cors").as_deref(), Some("1"));
    assert_eq!(out.header("content-type").as_deref(), Some("text/plain"));
    assert!(out.backend().is_none());
    assert_eq!(
        trace(&envoy),
        ["request_headers true", "response_headers false", "response_body 6 true", "log", "done"]
    );
}

/// In the response phase of a local reply from the request headers, the request headers are still there.
#[test]
fn request_headers_stay_visible_to_the_local_reply() {
    let mut envoy = start("request_headers reply 401 denied\nresponse_headers headers request :path");
    envoy.request(Request::get("/pets"));
    assert!(envoy.logged(r#"header :path: Some("/pets")"#));
}

#[test]
fn a_grpc_caller_gets_a_status_in_the_headers() {
    let mut envoy = start("request_headers reply 401 den%ied");
    let out = envoy.request(Request::post("/a").header("content-type", "application/grpc+proto"));
    let expected = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "16"),
        ("grpc-message", "den%25ied"),
    ];
    assert_eq!(*out.headers(), HeaderMap::from_iter(expected));
    assert_eq!(trace(&envoy), ["request_headers true", "response_headers true", "log", "done"]);
}

#[test]
fn a_head_request_gets_the_length_without_the_body() {
    let mut envoy = start("request_headers reply 401 denied");
    let out = envoy.request(Request::new("HEAD", "/"));
    assert_eq!((out.header("content-length").as_deref(), out.body()), (Some("6"), &b""[..]));
}

#[test]
fn a_reply_from_the_body_leaves_the_backend_with_half_a_request() {
    let mut envoy = start("request_body reply 422 bad");
    let out = envoy.request(Request::post("/").body("abc"));
    assert_eq!(out.status(), 422);
    assert!(!out.backend().unwrap().complete);
    let script = "request_headers pause\nrequest_body reply 422 bad";
    let mut envoy = builder(script).allow_on_headers_stop_iteration(true).start().unwrap();
    let out = envoy.request(Request::post("/").body("abc"));
    assert_eq!((out.status(), out.backend()), (422, None));
}

#[test]
fn a_reply_from_the_response_headers_replaces_the_response_unseen() {
    let mut envoy = start("response_headers reply 502 broken");
    envoy.set_backend(Backend::status(200).body("hello"));
    let out = envoy.request(Request::get("/"));
    assert_eq!((out.status(), out.body_str().as_str()), (502, "broken"));
    assert_eq!(trace(&envoy), ["request_headers true", "response_headers false", "log", "done"]);
}

#[test]
fn a_reply_after_the_response_headers_cuts_the_client_off() {
    let mut envoy = start("response_body reply 500 late");
    envoy.set_backend(Backend::status(200).body("hello"));
    let out = envoy.request(Request::get("/"));
    assert_eq!((out.status(), out.was_reset(), out.body()), (200, true, &b""[..]));
}

#[test]
fn a_reply_from_a_callout_replaces_a_response_that_waits() {
    let mut envoy =
        builder("response_headers pause\nresponse_headers call idp 100\ncall_response reply 500 replaced")
            .cluster("idp", Upstream::status(200))
            .start()
            .unwrap();
    envoy.set_backend(Backend::status(200).body("hello"));
    let out = envoy.request(Request::get("/"));
    assert_eq!((out.status(), out.body_str().as_str()), (500, "replaced"));
    assert_eq!(
        trace(&envoy),
        ["request_headers true", "response_headers false", "call_response 1 0 0", "log", "done"]
    );
}

#[test]
fn a_closed_stream_gets_no_response() {
    let mut envoy = start("request_headers reset");
    let out = envoy.request(Request::get("/"));
    assert_eq!((out.status(), out.was_reset(), out.details()), (0, true, "wasm_close_stream"));
}
