//! Bodies in the modes of ext_proc, behind a real Envoy: a filter that decides by the whole body.

use enforcer_testbed::{Fields, Reply, Request};

use crate::{
    gateway::{Door, Gateway},
    talk::World,
};

/// What a body of more bytes is refused for.
const TOO_MUCH: usize = 200_000;

/// Holds headers and bodies in both directions until the body is whole, then adds `x-size: whole` and puts
/// `whole body!` in its place, without a `content-length`, as filters must that change bodies. Requests that are too large are refused.
fn module() -> Vec<u8> {
    let on = |kind: &str, map: u32, buffer: u32, limit: &str| {
        format!(
            r#"(func (export "proxy_on_{kind}_headers") (param i32 i32 i32) (result i32)
                (drop (call $remove (i32.const {map}) (i32.const 17) (i32.const 14)))
                (i32.eqz (local.get 2)))
            (func (export "proxy_on_{kind}_body") (param i32 i32 i32) (result i32)
                (if (i32.eqz (local.get 2)) (then (return (i32.const 1))))
                {limit}
                (call $change (i32.const {map}) (i32.const {buffer})))
            (func (export "proxy_on_{kind}_trailers") (param i32 i32) (result i32)
                (call $change (i32.const {map}) (i32.const {buffer})))"#
        )
    };
    let limit = format!(
        "(if (i32.gt_u (local.get 1) (i32.const {TOO_MUCH})) (then
            (drop (call $answer (i32.const 413) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const -1)))
            (return (i32.const 1))))"
    );
    let text = format!(
        r#"(module
            (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
            (import "env" "proxy_set_buffer_bytes" (func $set (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_send_local_response"
                (func $answer (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 16)
            (data (i32.const 0) "x-sizewhole body!content-length")
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 1024))
            (func (export "proxy_on_context_create") (param i32 i32))
            (func $change (param $map i32) (param $buffer i32) (result i32)
                (drop (call $add (local.get $map) (i32.const 0) (i32.const 6) (i32.const 6) (i32.const 5)))
                (drop (call $set (local.get $buffer) (i32.const 0) (i32.const -1) (i32.const 6) (i32.const 11)))
                (i32.const 0))
            {}
            {})"#,
        on("request", 0, 0, &limit),
        on("response", 2, 1, ""),
    );
    wat::parse_str(text).unwrap()
}

fn post(size: usize) -> Request {
    Request::new("POST", "/").body(vec![b'a'; size])
}

#[test]
fn a_filter_decides_by_the_whole_body_and_changes_it() {
    let world = World::start(&module(), None);
    let server = [world.bridge.address()];
    let doors = ["FULL_DUPLEX_STREAMED"].map(|mode| Door { bodies: mode, ..Door::new(mode, &server) });
    let Some(gateway) = Gateway::start(&doors) else { return };
    for Door { name: mode, .. } in doors {
        let trailers = Fields::new().with("x-trailer", "1");
        gateway.backend.answer(Reply::status(200).body(vec![b'b'; 150_000]).chunked(trailers.clone()));
        let chunked =
            Request::new("POST", "/").chunks([vec![b'a'; 90_000], vec![b'a'; 90_000]], trailers.clone());
        for request in [post(150_000), post(1), chunked] {
            gateway.backend.clear();
            let answer = gateway.ask(mode, &request);
            let [received] = <[_; 1]>::try_from(gateway.backend.received()).unwrap();
            let text = String::from_utf8_lossy(&received.body).into_owned();
            assert_eq!(
                (text.as_str(), received.headers.text("x-size").as_deref()),
                ("whole body!", Some("whole"))
            );
            assert_eq!((answer.status, answer.text().as_str()), (200, "whole body!"), "{mode}");
            assert_eq!(answer.headers.text("x-size").as_deref(), Some("whole"));
            assert_eq!(answer.trailers, trailers, "{mode}");
        }
        gateway.backend.answer(Reply::status(204));
        assert_eq!(gateway.ask(mode, &Request::get("/")).status, 204, "no body in either direction");
        gateway.backend.clear();
        assert_eq!(gateway.ask(mode, &post(TOO_MUCH + 1)).status, 413, "{mode}");
        assert!(gateway.backend.received().is_empty(), "{mode}: refused before anything of it has passed");
    }
}

#[test]
fn modes_in_which_nothing_can_be_held_back_let_nothing_pass() {
    let world = World::start(&module(), None);
    let server = [world.bridge.address()];
    let modes = ["BUFFERED", "STREAMED", "BUFFERED_PARTIAL"];
    let doors = modes.map(|mode| Door { bodies: mode, ..Door::new(mode, &server) });
    let Some(gateway) = Gateway::start(&doors) else { return };
    for door in doors {
        assert_eq!(gateway.ask(door.name, &post(10)).status, 500, "{}", door.name);
    }
    assert!(gateway.backend.received().is_empty());
}
