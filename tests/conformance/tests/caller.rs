//! A filter that calls several services at once and waits for all, for one, or until it is too late.

use std::time::Duration;

use enforcer_testbed::Fields;
use serde_json::{Value, json};

use crate::world::{Answer, Ask, Host, Plugin, on_every_host};

on_every_host! {
    gets_every_kind_of_answer: calling(json!({ "clusters": EVERY })) => every_kind;
    gets_them_in_a_body: calling(json!({ "clusters": EVERY, "at": "request_body" })) => in_the_request;
    gets_them_in_a_body_whose_head_is_held:
        calling(json!({ "clusters": EVERY, "at": "request_body" })).stop_iteration() => in_the_request;
    gets_them_for_a_response: calling(json!({ "clusters": EVERY, "at": "response_head" })) => for_the_response;
    gets_them_in_the_body_of_a_response:
        calling(json!({ "clusters": EVERY, "at": "response_body" })) => in_the_response;
    goes_on_with_one_answer: calling(json!({ "clusters": ["slow", "side"], "any": true })) => one_is_enough;
    goes_on_when_none_is_left: calling(json!({ "clusters": ["reset", "down"], "any": true })) => none_is_left;
    goes_on_at_the_deadline: calling(json!({ "clusters": ["slow", "side"], "deadline_ms": 200 })) => too_late;
    knows_that_grpc_fails: calling(json!({ "clusters": [], "grpc": ["side", "empty", "no_such_cluster"] })) => grpc;
}

/// The upstream `slow` answers after 600 ms, below the timeout of the calls.
const EVERY: [&str; 6] = ["side", "slow", "reset", "down", "empty", "no_such_cluster"];
fn expected(host: &dyn Host) -> String {
    let empty = if host.has_empty_clusters() { "no host" } else { "not sent" };
    let round = format!("200,201,failed 503,failed 503,{empty},not sent");
    format!("{round}; {round}")
}

fn calling(mut configuration: Value) -> Plugin {
    if configuration.get("deadline_ms").is_none() {
        configuration["deadline_ms"] = json!(3000);
    }
    Plugin::filter("caller", configuration)
}

fn set(host: &mut dyn Host) {
    let reply =
        |status, after| Answer::Reply { status, headers: Fields::new(), body: b"", trailers: None, after };
    host.answer("side", reply(200, Duration::ZERO));
    host.answer("slow", reply(201, Duration::from_millis(600)));
    host.answer("reset", Answer::Close);
}

/// What the backend was told of the answers to both rounds.
fn answers(host: &mut dyn Host) -> String {
    set(host);
    // With a body and trailers, which arrive while the request waits.
    let ask = Ask::post("/", &[b"body"]).trailer("x-end", "1");
    assert_eq!(host.ask(&ask).status, 200);
    let received = host.received("backend");
    let [seen] = received.as_slice() else { panic!("{received:?}") };
    assert_eq!((seen.body.as_slice(), seen.trailers.text("x-end").as_deref()), (&b"body"[..], Some("1")));
    seen.headers.text("x-answers").unwrap_or_default()
}

fn every_kind(host: &mut dyn Host, _workers: u32) {
    assert_eq!(answers(host), expected(host));
}

/// Each way in which a body can come, replaced by the answers.
fn in_the_request(host: &mut dyn Host, _workers: u32) {
    set(host);
    for ask in [
        Ask::sized("/", b"body"),
        Ask::post("/", &[b"bo", b"dy"]),
        Ask::post("/", &[b"bo", b"dy"]).trailer("x-end", "1"),
    ] {
        assert_eq!(host.ask(&ask).status, 200);
        let received = host.received("backend");
        let seen = received.last().unwrap();
        assert_eq!(seen.body.escape_ascii().to_string(), expected(host), "{ask:?}");
        assert_eq!(seen.trailers.contains("x-end"), ask.trailers.contains("x-end"));
    }
    assert_eq!(host.received("backend").len(), 3);
}

fn for_the_response(host: &mut dyn Host, _workers: u32) {
    set(host);
    let answer = host.ask(&Ask::get("/"));
    assert_eq!(answer.headers.text("x-answers"), Some(expected(host)));
    assert!(answer.complete);
}

fn in_the_response(host: &mut dyn Host, _workers: u32) {
    set(host);
    for trailers in [None, Some(Fields::new().with("x-end", "1"))] {
        let headers = Fields::new();
        let after = Duration::ZERO;
        let reply = Answer::Reply { status: 200, headers, body: b"body", trailers: trailers.clone(), after };
        host.answer("backend", reply);
        let answer = host.ask(&Ask::get("/"));
        assert_eq!(answer.body.escape_ascii().to_string(), expected(host));
        assert_eq!((answer.complete, answer.trailers.contains("x-end")), (true, trailers.is_some()));
    }
}

fn one_is_enough(host: &mut dyn Host, _workers: u32) {
    assert_eq!(answers(host), "-,200; -,200");
}

fn none_is_left(host: &mut dyn Host, _workers: u32) {
    assert_eq!(answers(host), "failed 503,failed 503; failed 503,failed 503");
}

/// The slow answer to the first round comes while the second one waits, and is not taken for its own.
fn too_late(host: &mut dyn Host, _workers: u32) {
    assert_eq!(answers(host), "deadline; deadline");
    host.pass(Duration::from_secs(1));
    assert_eq!(host.ask(&Ask::get("/")).status, 200);
}

fn grpc(host: &mut dyn Host, _workers: u32) {
    let none = "grpc failed,no host,no host";
    assert_eq!(answers(host), format!("{none}; {none}"));
}
