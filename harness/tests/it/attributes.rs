use enforcer_harness::{Backend, Module, Request, Vm};
use serde_json::json;

use crate::sdk::{self, builder, start, trace};

/// The lines `property ...` of one request.
fn properties(script: &str, request: Request) -> Vec<String> {
    let mut envoy = start(script);
    envoy.set_backend(Backend::status(200).body("hello"));
    envoy.request(request);
    trace(&envoy).into_iter().filter_map(|line| Some(line.strip_prefix("property ")?.to_owned())).collect()
}

fn script(callback: &str, names: &[&str]) -> String {
    names.iter().map(|name| format!("{callback} property {name}\n")).collect()
}

#[test]
fn the_request_can_be_read_while_it_is_decided_and_in_the_log() {
    let names = [
        "request/path",
        "request/url_path",
        "request/query",
        "request/host",
        "request/method",
        "request/headers/x-a",
    ];
    let request = || Request::get("/p?x=1").host("h").header("x-a", "1").header("x-a", "2");
    let expected = [
        r#"request/path: Some("/p?x=1")"#,
        r#"request/url_path: Some("/p")"#,
        r#"request/query: Some("x=1")"#,
        r#"request/host: Some("h")"#,
        r#"request/method: Some("GET")"#,
        r#"request/headers/x-a: Some("1,2")"#,
    ];
    assert_eq!(properties(&script("request_headers", &names), request()), expected);
    assert_eq!(properties(&script("log", &names), request()), expected);
    let gone = properties(&script("response_headers", &names), request());
    assert!(gone.iter().all(|line| line.ends_with(": None")), "{gone:?}");
}

#[test]
fn the_response_has_its_code_and_details_once_it_is_there() {
    let names = ["response/code", "response/code_details", "response/headers/content-length"];
    assert_eq!(
        properties(&script("request_headers", &names), Request::get("/")),
        ["response/code: None", "response/code_details: None", "response/headers/content-length: None"]
    );
    assert_eq!(
        properties(&script("log", &names), Request::get("/"))[1..],
        [r#"response/code_details: Some("via_upstream")"#, r#"response/headers/content-length: Some("5")"#]
    );
    let code = properties("log property response/code", Request::get("/"));
    assert!(code[0].contains("\u{fffd}\\0\\0\\0\\0\\0\\0\\0"), "200 as 8 bytes: {code:?}");
}

#[test]
fn what_the_test_sets_is_there_and_the_rest_is_not() {
    let names =
        ["source/address", "xds/route_name", "metadata/filter_metadata/jwt/sub", "xds/nothing", "nothing"];
    let request = Request::get("/")
        .from("10.0.0.9:1234")
        .attribute("xds.route_name", "pets")
        .metadata("jwt", &json!({"sub": "ann"}));
    assert_eq!(
        properties(&script("request_headers", &names), request),
        [
            r#"source/address: Some("10.0.0.9:1234")"#,
            r#"xds/route_name: Some("pets")"#,
            r#"metadata/filter_metadata/jwt/sub: Some("ann")"#,
            "xds/nothing: None",
            "nothing: None",
        ]
    );
}

#[test]
fn the_plugin_and_its_route_are_configured_for_all_requests() {
    let names =
        ["plugin_name", "plugin_root_id", "plugin_vm_id", "xds/route_metadata/filter_metadata/api/id"];
    let mut envoy = builder(&script("request_headers", &names))
        .name("auth")
        .root_id("enforcer")
        .vm_id("gw")
        .route_metadata("api", &json!({"id": "pets"}))
        .start()
        .unwrap();
    envoy.request(Request::get("/"));
    assert_eq!(
        trace(&envoy)[1..5],
        [
            r#"property plugin_name: Some("auth")"#,
            r#"property plugin_root_id: Some("enforcer")"#,
            r#"property plugin_vm_id: Some("gw")"#,
            r#"property xds/route_metadata/filter_metadata/api/id: Some("pets")"#,
        ]
    );
}

#[test]
fn what_a_module_sets_is_filter_state() {
    let mut envoy =
        start("request_headers set-property k v\nlog property k\nlog property filter_state/wasm.k");
    let out = envoy.request(Request::get("/"));
    assert!(
        envoy.logged(r#"property k: Some("v")"#)
            && envoy.logged(r#"property filter_state/wasm.k: Some("v")"#)
    );
    assert_eq!(out.filter_state().get("wasm.k").unwrap(), b"v");
}

#[test]
fn instructions_are_counted_if_asked_for_and_repeat() {
    let spent = |module: &Module, rounds: u32| {
        let mut envoy = enforcer_harness::Harness::builder(module)
            .plugin_config(format!("request_headers spin {rounds}"))
            .start()
            .unwrap();
        envoy.request(Request::get("/")).instructions()
    };
    let metered = Module::metered(sdk::path()).unwrap();
    assert_eq!(spent(sdk::module(), 1000), 0);
    let (few, many) = (spent(&metered, 1000), spent(&metered, 100_000));
    assert_eq!(few, spent(&metered, 1000));
    assert!(many > few + 99_000, "{few} and {many}");
}

#[test]
fn memory_growth_can_be_seen() {
    let mut envoy = start("request_headers grow 2000000");
    let before = envoy.memory_size(Vm::Worker(0));
    envoy.request(Request::get("/"));
    let after = envoy.memory_size(Vm::Worker(0));
    assert!(after >= before + 1_000_000, "{before} to {after}: {:?}", trace(&envoy));
    assert!(envoy.memory_size(Vm::Main) <= before);
}
