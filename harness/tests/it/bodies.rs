use enforcer_harness::{Backend, Paused, Request};

use crate::sdk::{builder, start, trace};

#[test]
fn a_pause_in_the_headers_holds_bodies_back_by_default() {
    let mut envoy = start("request_headers pause");
    let out = envoy.request(Request::post("/").chunks(["abc", "def"]));
    assert_eq!(out.paused(), Some(Paused::Request));
    assert!(out.backend().is_none());
    assert_eq!(trace(&envoy), ["request_headers false"]);
}

#[test]
fn what_was_held_back_arrives_in_one_piece() {
    let mut envoy =
        builder("request_headers pause\nrequest_headers call idp 100\ncall_response resume-request")
            .cluster("idp", enforcer_harness::Upstream::status(200))
            .start()
            .unwrap();
    let out = envoy.request(Request::post("/").chunks(["abc", "def"]));
    assert_eq!(out.backend().unwrap().body_str(), "abcdef");
    assert_eq!(trace(&envoy)[..3], ["request_headers false", "call_response 1 0 0", "request_body 6 true"]);
}

#[test]
fn with_the_option_bodies_arrive_while_headers_wait_and_can_still_change() {
    let script = "request_headers pause\nrequest_body buffer\nrequest_body set request x-late 1\n";
    let mut envoy = builder(script).allow_on_headers_stop_iteration(true).start().unwrap();
    let out = envoy.request(Request::post("/").chunks(["abc", "def"]));
    let backend = out.backend().unwrap();
    assert_eq!((backend.body_str().as_str(), backend.header("x-late").as_deref()), ("abcdef", Some("1")));
    assert_eq!(
        trace(&envoy)[..5],
        [
            "request_headers false",
            "request_body 3 false",
            "request_body 6 false",
            "request_body 6 true",
            "response_headers true"
        ]
    );
}

#[test]
fn a_buffered_body_can_be_replaced() {
    let mut envoy =
        start("request_body buffer\nrequest_body set-body request whole\nresponse_body set-body response X");
    envoy.set_backend(Backend::status(200).body("hello"));
    let out = envoy.request(Request::post("/").chunks(["abc", "def"]));
    assert_eq!(out.backend().unwrap().body_str(), "whole");
    // The module is asked about the empty last piece, too.
    assert_eq!(out.body_str(), "XX");
}

#[test]
fn trailers_end_a_body_without_end_of_stream() {
    let mut envoy = start("request_body pause\nrequest_trailers set-body request whole");
    let out = envoy.request(Request::post("/").chunks(["abc", "def"]).trailer("t", "1"));
    let backend = out.backend().unwrap();
    assert_eq!((backend.body_str().as_str(), backend.trailers.len()), ("whole", 1));
    assert_eq!(
        trace(&envoy)[..4],
        ["request_headers false", "request_body 3 false", "request_body 6 false", "request_trailers 1"]
    );
}

#[test]
fn a_request_that_exceeds_the_buffer_gets_413_after_the_module_has_seen_it() {
    let mut envoy = builder("request_body buffer").buffer_limit(16_384).start().unwrap();
    let chunk = "x".repeat(10_000);
    let out = envoy.request(Request::post("/").chunks([&chunk, &chunk, &chunk]));
    assert_eq!((out.status(), out.details()), (413, "request_payload_too_large"));
    assert_eq!(out.body_str(), "Payload Too Large");
    assert!(!out.backend().unwrap().complete);
    assert_eq!(
        trace(&envoy),
        [
            "request_headers false",
            "request_body 10000 false",
            "request_body 20000 false",
            "response_headers false",
            "response_body 17 true",
            "log",
            "done",
        ]
    );
}

#[test]
fn streaming_has_no_limit() {
    let mut envoy = builder("").buffer_limit(100).start().unwrap();
    let chunk = "x".repeat(1_000);
    let out = envoy.request(Request::post("/").chunks([&chunk, &chunk]));
    assert_eq!(out.backend().unwrap().body.len(), 2_000);
}

#[test]
fn a_response_that_exceeds_the_buffer_is_cut_or_becomes_500() {
    let chunk = "x".repeat(10_000);
    let run = |script: &str, allow| {
        let mut envoy =
            builder(script).buffer_limit(16_384).allow_on_headers_stop_iteration(allow).start().unwrap();
        envoy.set_backend(Backend::status(200).chunks([&chunk, &chunk, &chunk]));
        let out = envoy.request(Request::get("/"));
        assert_eq!(out.details(), "response_payload_too_large");
        assert_eq!(
            trace(&envoy),
            ["request_headers true", "response_headers false", "response_body 10000 false", "log", "done"]
        );
        (out.status(), out.was_reset(), out.body_str())
    };
    assert_eq!(run("response_body buffer", false), (200, true, String::new()));
    let held = run("response_headers pause\nresponse_body buffer", true);
    assert_eq!(held, (500, false, "Internal Server Error".to_owned()));
}

#[test]
fn a_stopped_request_slows_the_client_down_at_the_limit() {
    let mut envoy = builder("request_headers pause").buffer_limit(1_000).start().unwrap();
    let chunk = "x".repeat(800);
    let out = envoy.request(Request::post("/").chunks([&chunk, &chunk, &chunk]));
    assert_eq!((out.status(), out.paused()), (0, Some(Paused::Request)));
}

/// A fault of Envoy that filters must work around: buffer from the headers on, or never after a full stop.
#[test]
fn a_body_that_is_buffered_after_a_full_stop_is_lost_when_trailers_let_it_go() {
    let script = "request_headers pause\nrequest_headers call idp 100\ncall_response resume-request\nrequest_body pause";
    let mut envoy = builder(script).cluster("idp", enforcer_harness::Upstream::status(200)).start().unwrap();
    let out = envoy.request(Request::post("/").chunks(["abc"]).trailer("t", "1"));
    let backend = out.backend().unwrap();
    assert_eq!((backend.body_str().as_str(), backend.trailers.len()), ("", 1));
    assert_eq!(trace(&envoy)[2..5], ["request_body 3 false", "request_trailers 1", "request_trailers 1"]);
}
