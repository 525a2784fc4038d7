use enforcer_harness::{Backend, Request};

use crate::sdk::{start, trace};

#[test]
fn a_single_read_gives_the_first_value_and_the_map_gives_all() {
    let mut envoy = start("request_headers headers request x-api-key\nrequest_headers headers request");
    envoy.request(Request::get("/").header("X-Api-Key", "a").header("x-api-key", "b"));
    assert!(envoy.logged(r#"header x-api-key: Some("a")"#));
    assert!(envoy.logged("x-api-key=a x-api-key=b"));
}

#[test]
fn authorization_has_one_slot() {
    let mut envoy = start("request_headers headers request authorization");
    let out = envoy.request(Request::get("/").bearer("a").bearer("b"));
    assert!(envoy.logged(r#"header authorization: Some("Bearer a,Bearer b")"#));
    assert_eq!(out.backend().unwrap().header("authorization").unwrap(), "Bearer a,Bearer b");
}

#[test]
fn the_connection_manager_adds_its_headers_after_the_clients() {
    let mut envoy = start("request_headers headers request");
    envoy.request(Request::get("/p").host("h").header("x-a", "1"));
    let expected =
        "headers :authority=h :path=/p :method=GET :scheme=http x-a=1 x-forwarded-proto=http x-request-id=";
    assert!(envoy.logged(expected), "{:?}", trace(&envoy));
}

#[test]
fn changes_reach_the_backend_and_the_client() {
    let mut envoy = start(
        "request_headers set request x-set 1\nrequest_headers add request x-a 2\nrequest_headers remove request x-gone\n\
         response_headers set response x-r 1\nresponse_headers remove response server",
    );
    envoy.set_backend(Backend::status(200).header("server", "me"));
    let out = envoy.request(Request::get("/").header("x-gone", "1").header("x-a", "1").header("x-set", "0"));
    let backend = out.backend().unwrap();
    assert_eq!(backend.headers.get("x-gone"), None);
    assert_eq!(backend.headers.all("x-a").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(backend.headers.all("x-set").collect::<Vec<_>>(), [b"1"]);
    assert_eq!((out.header("x-r").as_deref(), out.header("server")), (Some("1"), None));
}

#[test]
fn bytes_that_are_not_text_pass_untouched() {
    let mut envoy = start("");
    let out = envoy.request(Request::get("/").header("x-odd", [0xc3, 0x28, 0xff]));
    assert_eq!(out.backend().unwrap().headers.get("x-odd"), Some(&[0xc3, 0x28, 0xff][..]));
}

#[test]
fn every_change_of_a_request_header_clears_the_route_cache() {
    let mut envoy = start(
        "request_headers set request a 1\nrequest_headers add request a 1\nrequest_headers remove request a\n\
         response_headers set response a 1",
    );
    assert_eq!(envoy.request(Request::get("/")).route_cache_clears(), 3);
}

#[test]
fn host_is_the_authority() {
    let mut envoy = start("request_headers headers request host\nrequest_headers set request host other");
    let out = envoy.request(Request::get("/").host("h"));
    assert!(envoy.logged(r#"header host: Some("h")"#));
    assert_eq!(out.backend().unwrap().header(":authority").unwrap(), "other");
}

/// The SDK panics on the status that the host returns, so that the VM dies: seen on Envoy, too.
#[test]
fn request_headers_cannot_be_read_in_the_response_phase() {
    let mut envoy = start("response_headers headers request :path");
    let out = envoy.request(Request::get("/"));
    assert_eq!((out.status(), out.details()), (503, "wasm_fail_stream"));
    assert!(envoy.logged("panicked"), "{:?}", trace(&envoy));
}

#[test]
fn what_nothing_works_without_must_stay() {
    let refused = |script: &str| {
        let out = start(script).request(Request::get("/"));
        (out.status(), out.body_str(), out.details().to_owned())
    };
    let text = |status, body: &str, details: &str| (status, body.to_owned(), details.to_owned());
    assert_eq!(refused("request_headers remove request :path"), text(404, "", "route_not_found"));
    assert_eq!(
        refused("request_headers remove request :method"),
        text(
            503,
            "missing required header: :method",
            "filter_removed_required_request_headers{missing_required_header:_:method}"
        )
    );
    assert_eq!(
        refused("response_headers remove response :status"),
        text(
            502,
            "missing required header: :status",
            "filter_removed_required_response_headers{missing_required_header:_:status}"
        )
    );
}
