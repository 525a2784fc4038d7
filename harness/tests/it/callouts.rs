use std::time::Duration;

use enforcer_harness::{Paused, Request, Upstream, Vm};

use crate::sdk::{builder, trace};

const CALL: &str = "request_headers pause\nrequest_headers call idp 500\ncall_response headers call\n\
                    call_response body call\ncall_response resume-request";

#[test]
fn a_callout_is_answered_and_the_request_goes_on() {
    let script = format!("{CALL}\ncall_response headers request :path\ncall_response property request/path");
    let mut envoy =
        builder(&script).cluster("idp", Upstream::reply(200, &[("x", "y")], "ok")).start().unwrap();
    envoy.upstream("idp").set(Upstream::reply(200, &[("x", "y")], "ok"));
    let handle = envoy.start_request(Request::get("/a"));
    assert!(trace(&envoy).contains(&"call_response 2 2 0".to_owned()));
    assert!(envoy.logged(r#"body Some("ok")"#));
    let call = &envoy.upstream("idp").calls()[0];
    assert_eq!((call.method().as_str(), call.path().as_str()), ("GET", "/called"));
    assert_eq!(call.headers.text("x-envoy-internal").as_deref(), Some("true"));
    assert_eq!(call.timeout, Some(Duration::from_millis(500)));
    // Reading the request's headers after it was resumed is an error that the SDK panics on. The request is on its way
    // by then; the dead VM refuses its response.
    let out = envoy.poll(handle);
    assert_eq!((out.status(), out.details()), (503, "wasm_fail_stream"));
    assert!(out.backend().unwrap().complete);
}

/// The callout's response as the module sees it.
fn seen(upstream: Upstream, wait: Duration) -> Vec<String> {
    let mut envoy = builder(CALL).cluster("idp", upstream).start().unwrap();
    let handle = envoy.start_request(Request::get("/"));
    envoy.advance(wait);
    assert_eq!(envoy.poll(handle).status(), 200);
    trace(&envoy)[1..4].to_vec()
}

#[test]
fn failures_have_the_shapes_that_envoy_gives_them() {
    assert_eq!(
        seen(Upstream::down(), Duration::ZERO),
        [
            "call_response 3 98 0",
            "headers :status=503 content-length=98 content-type=text/plain",
            r#"body Some("upstream connect error or disconnect/reset before headers. reset reason: remote connection failure")"#,
        ]
    );
    assert_eq!(
        seen(Upstream::disconnect(), Duration::ZERO)[1],
        "headers :status=503 content-length=95 content-type=text/plain"
    );
    let timeout = seen(Upstream::hang(), Duration::from_millis(500));
    assert_eq!(
        timeout[1..],
        [
            "headers :status=504 content-length=24 content-type=text/plain",
            r#"body Some("upstream request timeout")"#
        ]
    );
    assert_eq!(seen(Upstream::reset(), Duration::ZERO)[0], "call_response 0 0 0");
}

#[test]
fn a_slow_answer_races_the_timeout() {
    let slow = |millis| Upstream::status(204).after(Duration::from_millis(millis));
    assert_eq!(seen(slow(499), Duration::from_secs(1))[1], "headers :status=204");
    assert!(seen(slow(501), Duration::from_secs(1))[1].starts_with("headers :status=504"));
}

#[test]
fn calls_that_cannot_be_made_fail_at_once() {
    let script = "request_headers call nobody 500\nrequest_headers call empty 500";
    let mut envoy = builder(script).cluster("empty", Upstream::no_healthy_host()).start().unwrap();
    let out = envoy.request(Request::get("/"));
    assert_eq!(out.status(), 200);
    assert!(
        envoy.logged("call: BadArgument") && envoy.logged("call: InternalFailure"),
        "{:?}",
        trace(&envoy)
    );
}

#[test]
fn a_paused_request_waits_for_ever_without_a_timeout() {
    let mut envoy = builder("request_headers pause\nrequest_headers call idp 0")
        .cluster("idp", Upstream::hang())
        .start()
        .unwrap();
    let handle = envoy.start_request(Request::get("/"));
    envoy.advance(Duration::from_secs(3600));
    assert_eq!(envoy.poll(handle).paused(), Some(Paused::Request));
}

#[test]
fn the_answer_comes_even_if_the_stream_is_gone() {
    let mut envoy = builder("request_headers pause\nrequest_headers call idp 500\nconfigure count started")
        .cluster("idp", Upstream::status(200).after(Duration::from_millis(100)))
        .start()
        .unwrap();
    let handle = envoy.start_request(Request::get("/"));
    envoy.disconnect(handle);
    envoy.advance(Duration::from_secs(1));
    // The SDK drops it: the context that asked no longer exists. The VM must survive.
    assert_eq!(envoy.failure(Vm::Worker(0)), None);
    assert_eq!(trace(&envoy), ["request_headers true", "log", "done"]);
}

#[test]
fn a_tick_can_call_and_hears_the_answer_in_the_root_context() {
    let mut envoy = builder("configure tick 1000\ntick call idp 100")
        .cluster("idp", Upstream::status(200))
        .start()
        .unwrap();
    envoy.advance(Duration::from_secs(1));
    assert_eq!(envoy.upstream("idp").calls().len(), 2);
    assert_eq!(trace(&envoy), ["tick", "root call_response 1 0 0", "tick", "root call_response 1 0 0"]);
}

#[test]
fn the_canarys_calls_are_accepted_and_go_nowhere() {
    let envoy = builder("configure call idp 100").cluster("idp", Upstream::status(200)).start().unwrap();
    let answered: Vec<_> = envoy
        .logs()
        .into_iter()
        .filter(|line| line.text.starts_with("root call"))
        .map(|line| line.vm)
        .collect();
    assert_eq!(answered, [Vm::Main, Vm::Worker(0)]);
}

#[test]
fn an_upstream_can_decide_by_path_and_change_its_mind() {
    let mut envoy = builder(CALL)
        .cluster(
            "idp",
            Upstream::by(
                |call| if call.path() == "/called" { Upstream::status(201) } else { Upstream::down() },
            ),
        )
        .start()
        .unwrap();
    envoy.request(Request::get("/"));
    assert!(envoy.logged("headers :status=201"));
    envoy.upstream("idp").set(Upstream::status(500));
    envoy.request(Request::get("/"));
    assert!(envoy.logged("headers :status=500"));
}

const GRPC: &str =
    "request_headers pause\nrequest_headers grpc \\n\\u{7}\\n\\u{5}rpcsv 300\ngrpc_response resume-request";

fn grpc_script() -> String {
    GRPC.replace("\\u{5}", "\u{5}")
}

#[test]
fn a_grpc_call_takes_a_serialised_service() {
    let mut envoy = builder(&grpc_script()).cluster("rpcsv", Upstream::grpc("answer")).start().unwrap();
    assert_eq!(envoy.request(Request::get("/")).status(), 200);
    assert!(envoy.logged("grpc_response 0 6"), "{:?}", trace(&envoy));
    let call = &envoy.upstream("rpcsv").calls()[0];
    assert_eq!((call.path().as_str(), call.body.as_slice()), ("/test.Service/Call", &b"message"[..]));
}

#[test]
fn grpc_failures_have_a_status() {
    for (upstream, wait, expected) in [
        (Upstream::grpc_error(7, "no"), 0, "grpc_response 7 0"),
        (Upstream::down(), 0, "grpc_response 14 0"),
        (Upstream::hang(), 300, "grpc_response 14 0"),
    ] {
        let mut envoy = builder(&grpc_script()).cluster("rpcsv", upstream).start().unwrap();
        envoy.start_request(Request::get("/"));
        envoy.advance(Duration::from_millis(wait));
        assert!(envoy.logged(expected), "{expected}: {:?}", trace(&envoy));
    }
}

#[test]
fn an_unknown_cluster_of_a_serialised_service_fails_at_once() {
    let mut envoy = builder(&grpc_script().replace("request_headers pause\n", "")).start().unwrap();
    assert_eq!(envoy.request(Request::get("/")).status(), 200);
    assert!(envoy.logged("grpc: InternalFailure"));
}

#[test]
#[should_panic(expected = "the gRPC upstream `analytics` is not a serialised `GrpcService`")]
fn a_bare_grpc_cluster_name_fails_the_test() {
    let mut envoy = builder("request_headers grpc analytics 300")
        .cluster("analytics", Upstream::grpc(""))
        .start()
        .unwrap();
    envoy.request(Request::get("/"));
}

#[test]
#[should_panic(expected = "never comes to rest")]
fn a_module_that_calls_again_on_every_answer_fails_the_test() {
    let script = "request_headers call idp 500\ncall_response call idp 500\nrequest_headers pause";
    let mut envoy = builder(script)
        .log_level(enforcer_harness::Level::Error)
        .cluster("idp", Upstream::status(500))
        .start()
        .unwrap();
    envoy.request(Request::get("/"));
}
