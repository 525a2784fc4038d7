//! An upgraded connection (WebSocket) has no body: a filter that buffers bodies must let its bytes through at once.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use enforcer_harness::{
    HeaderMap, Module, Value,
    host::{Event, Frame},
};
use enforcer_testbed::EnvoyBinary;
use serde_json::json;

use crate::world::{Plugin, bare, bootstrap, envoy::oldest};

fn plugins() -> [Plugin; 2] {
    let buffering = |hold_head| Plugin::filter("replace", json!({ "limit": 16, "hold_head": hold_head }));
    [buffering(false), buffering(true).stop_iteration()]
}

#[test]
fn is_not_held_by_the_harness() {
    for plugin in plugins() {
        let (mut worker, _) = bare::start(&Module::from_file(plugin.file()).unwrap(), &plugin);
        let stream = worker.open_stream(Value::Map(Vec::new()));
        let headers = [
            (":method", "GET"),
            (":path", "/"),
            (":authority", "a"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
        ];
        worker.request_headers(stream, HeaderMap::from_iter(headers), false);
        worker.take_events();
        for bytes in ["first bytes", "more than the limit of the filter"] {
            worker.request_data(stream, bytes.into(), false);
            let through = Frame::Data { data: bytes.into(), end_of_stream: false };
            assert_eq!(worker.take_events(), [Event::ToUpstream(stream, through)]);
        }
    }
}

#[test]
fn is_not_held_by_envoy() {
    if let Some(binary) = EnvoyBinary::find_or_skip().unwrap() {
        check(&binary);
    }
}

#[test]
fn is_not_held_by_the_oldest_envoy() {
    if let Some(binary) = oldest() {
        check(&binary);
    }
}

fn check(binary: &EnvoyBinary) {
    for plugin in plugins() {
        let backend = shouting_backend();
        let filter = bootstrap::wasm(&plugin, &plugin.file());
        let config = bootstrap::bootstrap(&filter, &[("backend", Some(backend))]);
        let envoy = binary.options(config).start().unwrap();
        let mut client = TcpStream::connect(envoy.listener("ingress").unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        client.write_all(upgrade.as_bytes()).unwrap();
        assert!(read_head(&mut client).starts_with("HTTP/1.1 101"));
        for bytes in ["first bytes", "more than the limit of the filter"] {
            client.write_all(bytes.as_bytes()).unwrap();
            let mut echo = vec![0; bytes.len()];
            client.read_exact(&mut echo).unwrap();
            assert_eq!(String::from_utf8(echo).unwrap(), bytes.to_uppercase());
        }
    }
}

/// Accepts one connection and the upgrade on it, then sends everything back in upper case.
fn shouting_backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut stream);
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            )
            .unwrap();
        let mut bytes = [0; 1024];
        while let Ok(size @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..size].to_ascii_uppercase()).unwrap();
        }
    });
    address
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}
