//! Which filter a call is for, and what Envoy is told of the caller.

use std::time::Duration;

use enforcer_testbed::Request;
use serde_json::json;

use crate::{
    gateway::{Door, Gateway},
    talk::{PASS, World, configure_all, module},
};

/// Publishes an identity, as auth.wasm does, and answers nothing itself.
fn known() -> Vec<u8> {
    let text = r#"(module
        (import "env" "proxy_set_property" (func $publish (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "enforcer1{\22subject\22:\22alice\22}")
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (func (export "proxy_on_context_create") (param i32 i32))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $publish (i32.const 0) (i32.const 8) (i32.const 8) (i32.const 20))))"#;
    wat::parse_str(text).unwrap()
}

#[test]
fn the_authority_chooses_the_filter_and_the_route_where_it_does_not() {
    let world = World::new(PASS);
    let folder = world.folder.path();
    // Requests that end with their headers trap.
    std::fs::write(folder.join("other.wasm"), module("unreachable")).unwrap();
    let filter = |module: &str| json!({ "module": module, "configuration": {} });
    configure_all(folder, &json!({ "any": filter("m.wasm"), "trap": filter("other.wasm") }));
    world.until("it is taken", || world.log.has("the new configuration is in force"));
    let server = [world.bridge.address()];
    let door = |name, authority| Door { authority, ..Door::new(name, &server) };
    let Some(gateway) = Gateway::start(&[
        door("any", "unnamed"),
        door("trap", "unknown"),
        door("elsewhere", "trap"),
        door("nowhere", "unset"),
    ]) else {
        return;
    };
    let status = |door: &str| gateway.ask(door, &Request::get("/")).status;
    assert_eq!(status("any"), 200, "by the route");
    assert_eq!((status("trap"), status("elsewhere")), (500, 500), "by the route, by the authority");
    assert_eq!(status("nowhere"), 500);
    let filters: Vec<String> = world.log.records().into_iter().map(|record| record.filter).collect();
    assert_eq!(filters, ["any", "trap", "trap"], "and none for the last");
}

#[test]
fn envoy_is_told_who_calls_where_it_takes_that() {
    let world = World::start(&known(), None);
    let server = [world.bridge.address()];
    let Some(gateway) = Gateway::start(&[Door::new("any", &server)]) else { return };
    assert_eq!(gateway.ask("any", &Request::get("/")).status, 200);
    let line = gateway.access_log().wait_for(0, |_| true, Duration::from_secs(10)).unwrap();
    assert_eq!(line, r#"{"subject":"alice"}"#);
}
