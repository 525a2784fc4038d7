use std::time::Duration;

use enforcer_harness::{Backend, FailurePolicy, Paused, Request, Vm};

use crate::sdk::{builder, start, trace};

#[test]
fn a_trap_kills_the_vm_of_that_worker_only() {
    let mut envoy = builder("request_body panic").workers(2).start().unwrap();
    let out = envoy.request(Request::post("/").body("x").worker(0));
    assert_eq!((out.status(), out.body(), out.details()), (503, &b""[..], "wasm_fail_stream"));
    assert!(envoy.failure(Vm::Worker(0)).unwrap().contains("unreachable"));
    assert_eq!(envoy.request(Request::get("/").worker(0)).status(), 503);
    assert_eq!(envoy.request(Request::get("/").worker(1)).status(), 200);
    envoy.advance(Duration::from_secs(60));
    assert_eq!(envoy.request(Request::get("/").worker(0)).status(), 503, "the default policy never recovers");
    assert!(envoy.logged("function `proxy_on_request_body` failed"));
}

#[test]
fn a_dead_vm_refuses_grpc_callers_in_their_own_way() {
    let mut envoy = start("request_headers panic");
    let out = envoy.request(Request::post("/").header("content-type", "application/grpc"));
    assert_eq!((out.status(), out.header("grpc-status").as_deref()), (200, Some("14")));
}

#[test]
fn a_trap_in_the_response_phase_replaces_or_cuts_the_response() {
    let run = |script| {
        let mut envoy = start(script);
        envoy.set_backend(Backend::status(200).body("hello"));
        let out = envoy.request(Request::get("/"));
        assert_eq!(out.details(), "wasm_fail_stream");
        (out.status(), out.was_reset())
    };
    assert_eq!(run("response_headers panic"), (503, false));
    assert_eq!(run("response_body panic"), (200, true));
}

#[test]
fn a_trap_in_the_log_harms_the_next_request() {
    let mut envoy = start("log panic");
    assert_eq!(envoy.request(Request::get("/")).status(), 200);
    assert_eq!(envoy.request(Request::get("/")).status(), 503);
}

#[test]
fn reload_waits_a_second_since_the_last_load() {
    let mut envoy = builder("request_body panic").failure_policy(FailurePolicy::FailReload).start().unwrap();
    envoy.advance(Duration::from_secs(5));
    let starts = |envoy: &enforcer_harness::Harness| {
        envoy.logs().iter().filter(|line| line.vm == Vm::Worker(0) && line.text == "vm_start 0").count()
    };
    assert_eq!(envoy.request(Request::post("/").body("x")).status(), 503);
    assert_eq!(envoy.request(Request::get("/")).status(), 200);
    assert_eq!(starts(&envoy), 2);
    assert_eq!(envoy.request(Request::post("/").body("x")).status(), 503);
    envoy.advance(Duration::from_millis(999));
    assert_eq!(envoy.request(Request::get("/")).status(), 503);
    envoy.advance(Duration::from_millis(1));
    assert_eq!(envoy.request(Request::get("/")).status(), 200);
    assert_eq!(starts(&envoy), 3);
}

#[test]
fn streams_that_were_paused_in_the_dead_vm_hang() {
    let script = "request_headers pause\nrequest_body panic";
    let mut envoy = builder(script)
        .allow_on_headers_stop_iteration(true)
        .failure_policy(FailurePolicy::FailReload)
        .start()
        .unwrap();
    let paused = envoy.start_request(Request::get("/"));
    assert_eq!(envoy.poll(paused).paused(), Some(Paused::Request));
    assert_eq!(envoy.request(Request::post("/").body("x")).status(), 503);
    assert_eq!(envoy.poll(paused).paused(), Some(Paused::VmDied));
    envoy.advance(Duration::from_secs(2));
    envoy.request(Request::get("/"));
    assert_eq!(envoy.poll(paused).paused(), Some(Paused::VmDied));
}

#[test]
fn a_trap_at_the_start_refuses_the_configuration() {
    let error = builder("configure panic").start().unwrap_err();
    assert!(error.to_string().contains("function `proxy_on_configure` failed"), "{error}");
}

#[test]
fn a_trap_in_a_tick_ends_the_ticks() {
    let mut envoy = start("configure tick 100\ntick panic");
    envoy.advance(Duration::from_secs(1));
    assert_eq!(trace(&envoy).iter().filter(|line| *line == "tick").count(), 2, "one on each thread");
}
