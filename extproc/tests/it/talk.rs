//! A server with a module in WebAssembly text, and a client of it.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use enforcer_extproc::{Bridge, Finished, Journal, Modules, Options, Source, Tls};
use enforcer_harness::Level;
use envoy_types::pb::envoy::{
    config::core::v3::{HeaderMap, HeaderValue},
    service::ext_proc::v3::{
        HttpBody, HttpHeaders, ProcessingRequest, ProcessingResponse, ProtocolConfiguration,
        external_processor_client::ExternalProcessorClient, processing_request::Request,
        processing_response::Response,
    },
};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

/// A module whose `proxy_on_request_headers` has this body; its third parameter says whether the request ends there.
/// A configuration of two bytes (`{}`) is taken, any other is refused.
pub(crate) fn module(on_request_headers: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 1024))
            (func (export "proxy_on_context_create") (param i32 i32))
            (func (export "proxy_on_configure") (param i32 i32) (result i32)
                (i32.eq (local.get 1) (i32.const 2)))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {on_request_headers}))"#
    );
    wat::parse_str(text).unwrap()
}

/// Lets everything pass.
pub(crate) const PASS: &str = "(i32.const 0)";

/// Does something to requests that end with their headers, and lets others pass.
pub(crate) fn if_it_ends(then: &str) -> String {
    format!("(if (local.get 2) (then {then})) (i32.const 0)")
}

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) bridge: Bridge,
    pub(crate) log: Arc<Log>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    pub(crate) fn new(on_request_headers: &str) -> Self {
        Self::start(&module(on_request_headers), None)
    }

    pub(crate) fn start(module: &[u8], tls: Option<Tls>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("m.wasm"), module).unwrap();
        configure(folder.path(), &json!({}));
        let log = Arc::new(Log::default());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = Options {
            listen: any,
            admin: any,
            workers: 1,
            source: Source::Folder(folder.path().to_owned()),
            tls,
        };
        let journal = Arc::clone(&log) as Arc<dyn Journal>;
        let bridge = Bridge::start(&options, &Modules::start(None).unwrap(), journal).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        Self { folder, bridge, log, runtime }
    }

    /// A connection whose calls have this `:authority`.
    pub(crate) fn connect(&self, authority: &str) -> Channel {
        let endpoint = Endpoint::try_from(format!("http://{}", self.bridge.address())).unwrap();
        let endpoint = endpoint.origin(format!("http://{authority}").parse().unwrap());
        self.runtime.block_on(endpoint.connect()).unwrap()
    }

    pub(crate) fn begin(&self) -> Talk<'_> {
        self.begin_as("any").unwrap()
    }

    pub(crate) fn begin_as(&self, authority: &str) -> Result<Talk<'_>, Status> {
        let mut client = ExternalProcessorClient::new(self.connect(authority));
        let (messages, stream) = mpsc::channel(1024);
        let answers = self.runtime.block_on(client.process(ReceiverStream::new(stream)))?.into_inner();
        Ok(Talk { world: self, messages, answers })
    }

    /// Waits until something is so.
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let asked = Instant::now();
        while !is_so() {
            assert!(asked.elapsed() < Duration::from_secs(20), "{what}: {:?}", self.log.lines());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

/// Writes a configuration for `m.wasm`.
pub(crate) fn configure(folder: &Path, configuration: &serde_json::Value) {
    let filter = json!({ "module": "m.wasm", "allow_on_headers_stop_iteration": true, "configuration": configuration });
    configure_all(folder, &json!({ "any": filter }));
}

/// Writes a configuration of these filters.
pub(crate) fn configure_all(folder: &Path, filters: &serde_json::Value) {
    let config = json!({
        "filters": filters,
        "limits": { "callback": "100ms", "memory": "1MiB", "silence": "3s" },
    });
    let (new, file) = (folder.join("new"), folder.join("enforcer.json"));
    fs::write(&new, config.to_string()).unwrap();
    fs::rename(new, file).unwrap();
}

/// One call of Envoy's.
pub(crate) struct Talk<'a> {
    world: &'a World,
    messages: mpsc::Sender<ProcessingRequest>,
    answers: Streaming<ProcessingResponse>,
}

impl Talk<'_> {
    pub(crate) fn say(&self, request: Request) {
        let protocol_config = Some(ProtocolConfiguration::default());
        let message =
            ProcessingRequest { request: Some(request), protocol_config, ..ProcessingRequest::default() };
        // A server that has ended the call need not hear it.
        let _ = self.messages.blocking_send(message);
    }

    /// What the server says next; `None` if it ended the call without an error.
    pub(crate) fn hear(&mut self) -> Option<Result<Response, Status>> {
        let patience = Duration::from_secs(10);
        let answer = self.world.block_on(async {
            let next = tokio::time::timeout(patience, self.answers.message());
            next.await.expect("the server says nothing")
        });
        answer.transpose().map(|answer| answer.map(|answer| answer.response.unwrap()))
    }

    /// The status of the server's own answer; 0 if the message goes on.
    pub(crate) fn verdict(&mut self) -> i32 {
        match self.hear() {
            Some(Ok(Response::ImmediateResponse(answer))) => answer.status.unwrap().code,
            Some(Ok(_)) => 0,
            other => panic!("{other:?}"),
        }
    }

    /// Envoy has nothing more to say.
    pub(crate) fn close(self) -> Streaming<ProcessingResponse> {
        self.answers
    }
}

pub(crate) fn request(end_of_stream: bool) -> Request {
    Request::RequestHeaders(headers(
        &[(":method", "GET"), (":path", "/a?token=x"), (":authority", "b")],
        end_of_stream,
    ))
}

pub(crate) fn response() -> Request {
    Request::ResponseHeaders(headers(&[(":status", "200")], false))
}

pub(crate) fn body(end_of_stream: bool) -> Request {
    Request::RequestBody(HttpBody { body: vec![7; 65536], end_of_stream, ..HttpBody::default() })
}

fn headers(pairs: &[(&str, &str)], end_of_stream: bool) -> HttpHeaders {
    let header = |(key, value): &(&str, &str)| HeaderValue {
        key: (*key).to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..HeaderValue::default()
    };
    let headers = Some(HeaderMap { headers: pairs.iter().map(header).collect() });
    HttpHeaders { headers, end_of_stream, ..HttpHeaders::default() }
}

/// The server's log, in memory.
#[derive(Debug, Default)]
pub(crate) struct Log {
    lines: Mutex<Vec<String>>,
    records: Mutex<Vec<Finished>>,
}

impl Log {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        self.lines().iter().any(|line| line.contains(text))
    }

    pub(crate) fn records(&self) -> Vec<Finished> {
        self.records.lock().unwrap().clone()
    }
}

impl Journal for Log {
    fn level(&self) -> Level {
        Level::Debug
    }

    fn line(&self, _level: Level, source: &str, line: &str) {
        self.lines.lock().unwrap().push(format!("{source}: {line}"));
    }

    fn finished(&self, request: &Finished) {
        self.records.lock().unwrap().push(request.clone());
    }
}
