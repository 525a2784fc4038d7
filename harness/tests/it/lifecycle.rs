use std::time::Duration;

use enforcer_harness::{Backend, Level, Request, Vm};

use crate::sdk::{builder, start, trace};

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

#[test]
fn http1_tells_the_end_of_a_body_with_an_empty_piece_and_http2_does_not() {
    let body = |request: Request| {
        let mut envoy = start("");
        envoy.request(request.body("abc"));
        trace(&envoy).into_iter().filter(|line| line.starts_with("request_body")).collect::<Vec<_>>()
    };
    assert_eq!(body(Request::post("/")), ["request_body 3 false", "request_body 0 true"]);
    assert_eq!(body(Request::post("/").http2()), ["request_body 3 true"]);
}

#[test]
fn the_configuration_is_tried_in_a_canary_on_the_main_thread_and_on_every_worker() {
    let envoy = builder("").workers(3).vm_config("of the VM").start().unwrap();
    let who = |text: &str| {
        let lines = envoy.logs().into_iter().filter(|line| line.text.starts_with(text));
        lines.map(|line| line.vm).collect::<Vec<_>>()
    };
    let all = [Vm::Canary, Vm::Main, Vm::Worker(0), Vm::Worker(1), Vm::Worker(2)];
    assert_eq!(who("vm_start 9"), all);
    assert_eq!(who("configure 0"), all);
}

#[test]
fn a_refused_configuration_names_the_instance_and_shows_the_log() {
    let error = builder("configure pause").start().unwrap_err();
    assert_eq!(error.vm, Vm::Canary);
    let text = error.to_string();
    assert!(text.contains("`proxy_on_configure` refused") && text.contains("configure 15"), "{text}");
}

#[test]
fn requests_take_turns_or_choose_their_worker() {
    let mut envoy = builder("").workers(2).start().unwrap();
    for _ in 0..2 {
        envoy.request(Request::get("/"));
    }
    envoy.request(Request::get("/").worker(1));
    let workers: Vec<_> = envoy
        .logs()
        .into_iter()
        .filter(|line| line.text.starts_with("request_headers"))
        .map(|line| line.vm)
        .collect();
    assert_eq!(workers, [Vm::Worker(0), Vm::Worker(1), Vm::Worker(1)]);
}

#[test]
fn ticks_fire_on_every_worker_and_on_the_main_thread() {
    let mut envoy = builder("configure tick 100\n").workers(2).start().unwrap();
    envoy.advance(Duration::from_millis(250));
    let ticks: Vec<_> =
        envoy.logs().into_iter().filter(|line| line.text == "tick").map(|line| line.vm).collect();
    let round = [Vm::Main, Vm::Worker(0), Vm::Worker(1)];
    assert_eq!(ticks, [round, round].concat());
}

#[test]
fn a_tick_can_be_set_anew_and_switched_off() {
    let mut envoy = start("configure tick 100\nrequest_headers tick 0\n");
    envoy.request(Request::get("/"));
    envoy.advance(Duration::from_secs(1));
    let ticks = |vm| envoy.logs().into_iter().filter(|line| line.text == "tick" && line.vm == vm).count();
    assert_eq!((ticks(Vm::Worker(0)), ticks(Vm::Main)), (0, 10));
}

#[test]
fn the_clock_moves_only_when_the_test_says_so() {
    let mut envoy = builder("request_headers now").wall_clock(Duration::from_secs(1_000)).start().unwrap();
    envoy.request(Request::get("/"));
    envoy.advance(Duration::from_secs(60));
    envoy.request(Request::get("/"));
    envoy.set_wall_clock(Duration::from_secs(5));
    envoy.request(Request::get("/"));
    let times: Vec<_> = trace(&envoy).into_iter().filter(|line| line.starts_with("now")).collect();
    assert_eq!(times, ["now 1000", "now 1060", "now 5"]);
}

#[test]
fn environment_variables_are_the_configured_ones_only() {
    let mut envoy =
        builder("request_headers env SECRET\nrequest_headers env PATH").env("SECRET", "s3").start().unwrap();
    envoy.request(Request::get("/"));
    assert!(envoy.logged(r#"env Ok("s3")"#));
    assert!(envoy.logged("env Err(NotPresent)"));
}

#[test]
fn lines_below_the_level_are_dropped() {
    let mut envoy = builder("").log_level(Level::Warn).start().unwrap();
    envoy.request(Request::get("/"));
    assert_eq!(trace(&envoy), Vec::<String>::new());
    envoy.set_log_level(Level::Info);
    envoy.request(Request::get("/"));
    assert!(envoy.logged("request_headers true"));
}

#[test]
fn a_client_that_goes_away_ends_the_stream() {
    let mut envoy = start("request_headers pause");
    let handle = envoy.start_request(Request::get("/"));
    envoy.disconnect(handle);
    let out = envoy.poll(handle);
    assert!(out.was_reset() && out.paused().is_none());
    assert_eq!((out.status(), out.details()), (0, "downstream_remote_disconnect"));
    assert_eq!(trace(&envoy), ["request_headers true", "log", "done"]);
}

#[test]
fn the_backend_can_be_slow_or_silent() {
    let mut envoy = start("");
    envoy.set_backend(Backend::status(201).after(Duration::from_secs(2)));
    let handle = envoy.start_request(Request::get("/"));
    envoy.advance(Duration::from_secs(1));
    assert_eq!(envoy.poll(handle).status(), 0);
    envoy.advance(Duration::from_secs(1));
    assert_eq!(envoy.poll(handle).status(), 201);
    envoy.set_backend(Backend::hang());
    assert_eq!(envoy.request(Request::get("/")).paused(), Some(enforcer_harness::Paused::Backend));
}

#[test]
fn the_backend_can_decide_by_what_it_saw() {
    let mut envoy = start("request_headers set request x-user ann");
    envoy.set_backend(Backend::by(|request| {
        Backend::status(200).body(format!(
            "{} {}",
            request.path(),
            request.header("x-user").unwrap_or_default()
        ))
    }));
    assert_eq!(envoy.request(Request::get("/me")).body_str(), "/me ann");
}
