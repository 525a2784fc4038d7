//! Hostile clients, for `MINUTES`: the server ends as small as it was, with nothing open, and serves on.
//!
//! The real binary, so that its memory is its own. Without `MINUTES`, a second of it.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use envoy_types::pb::envoy::{
    config::core::v3::{HeaderMap, HeaderValue},
    extensions::filters::http::ext_proc::v3::processing_mode::BodySendMode,
    service::ext_proc::v3::{
        HttpBody, HttpHeaders, ProcessingRequest, ProtocolConfiguration,
        external_processor_client::ExternalProcessorClient, processing_request::Request,
    },
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::binary::Server;

/// Requests that end with their headers trap, those of one header loop, others grow until they cannot, or pass.
const MODULE: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.eq (local.get 1) (i32.const 1)) (then (loop (br 0))))
        (if (i32.eq (local.get 1) (i32.const 2)) (then
            (loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable))
        (if (local.get 2) (then unreachable))
        (i32.const 0)))"#;

/// By how much memory may differ: what allocators keep.
const SLACK: u64 = 24 << 20;

#[test]
fn hostile_clients_leave_nothing_behind() {
    let minutes = std::env::var("MINUTES").ok().and_then(|minutes| minutes.parse::<u64>().ok());
    let time = minutes.map_or(Duration::from_secs(1), |minutes| Duration::from_secs(60 * minutes));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m.wasm"), wat::parse_str(MODULE).unwrap()).unwrap();
    let config = json!({
        "filters": { "*": { "module": "m.wasm", "configuration": {} } },
        "limits": { "callback": "20ms", "memory": "4MiB", "silence": "2s" },
    });
    fs::write(folder.path().join("enforcer.json"), config.to_string()).unwrap();
    let server = Server::start(folder.path(), &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // Once round before it is measured, so that everything has been allocated that stays.
    runtime.block_on(attack(server.address, Duration::from_millis(500).max(time / 4)));
    server.wait_until_idle();
    let before = server.memory();
    runtime.block_on(attack(server.address, time));
    server.wait_until_idle();
    let after = server.memory();
    let (requests, failures) = (server.count("requests_total"), server.count("instance_failures_total"));
    println!(
        "soak: {requests} requests, {failures} instances thrown away, {} -> {} MiB",
        before >> 20,
        after >> 20
    );
    assert!(failures > 0, "nothing failed");
    assert!(after < before + SLACK, "memory grew from {before} to {after} bytes");
    let good = runtime.block_on(async {
        let mut client = client(server.address).await;
        let messages = tokio_stream::iter([headers(3, false)]);
        client.process(messages).await.unwrap().into_inner().message().await
    });
    assert!(good.unwrap().is_some(), "it serves on");
}

async fn client(address: SocketAddr) -> ExternalProcessorClient<Channel> {
    ExternalProcessorClient::connect(format!("http://{address}")).await.unwrap()
}

/// Every kind of hostility, one after the other and eight at once.
async fn attack(address: SocketAddr, time: Duration) {
    let began = Instant::now();
    let mut attackers = tokio::task::JoinSet::new();
    for number in 0..8_usize {
        let mut client = client(address).await;
        attackers.spawn(async move {
            for kind in (0..8).cycle().skip(number) {
                if began.elapsed() >= time {
                    break;
                }
                once(&mut client, kind).await;
            }
        });
    }
    while let Some(ended) = attackers.join_next().await {
        ended.unwrap();
    }
}

async fn once(client: &mut ExternalProcessorClient<Channel>, kind: usize) {
    let (messages, stream) = mpsc::channel(64);
    // Room for all of them, so nobody waits.
    let say = |message| drop(messages.try_send(message));
    match kind {
        // A trap, a loop, memory without end.
        0 => say(headers(3, true)),
        1 => say(headers(1, false)),
        2 => say(headers(2, false)),
        // Out of order, and without content.
        3 => [body(), headers(3, false)].into_iter().for_each(say),
        4 => say(ProcessingRequest::default()),
        // Bodies that nobody reads, a request that never goes on, a good one.
        5 => std::iter::once(headers(3, false)).chain((0..60).map(|_| body())).for_each(say),
        _ => say(headers(3, false)),
    }
    let Ok(answers) = client.process(ReceiverStream::new(stream)).await else { return };
    let mut answers = answers.into_inner();
    if kind != 5 {
        // Whatever is said, and however long it takes: then the call is cancelled.
        let _ = tokio::time::timeout(Duration::from_millis(200), answers.message()).await;
    }
    drop((answers, messages));
}

fn headers(count: usize, end_of_stream: bool) -> ProcessingRequest {
    let header =
        |index| HeaderValue { key: format!("x-{index}"), raw_value: b"1".to_vec(), ..HeaderValue::default() };
    let pseudo =
        |key: &str| HeaderValue { key: key.into(), raw_value: b"/".to_vec(), ..HeaderValue::default() };
    let mut all: Vec<HeaderValue> = (2..count).map(header).collect();
    all.extend([pseudo(":path"), pseudo(":method")].into_iter().take(count));
    let headers = Some(HeaderMap { headers: all });
    message(Request::RequestHeaders(HttpHeaders { headers, end_of_stream, ..HttpHeaders::default() }))
}

fn body() -> ProcessingRequest {
    message(Request::RequestBody(HttpBody { body: vec![7; 65536], ..HttpBody::default() }))
}

fn message(request: Request) -> ProcessingRequest {
    let mode = BodySendMode::FullDuplexStreamed.into();
    let protocol_config = Some(ProtocolConfiguration {
        request_body_mode: mode,
        response_body_mode: mode,
        ..Default::default()
    });
    ProcessingRequest { request: Some(request), protocol_config, ..ProcessingRequest::default() }
}
