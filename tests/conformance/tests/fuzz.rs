//! No sequence of events that Envoy may send, and nothing that a client or an upstream may say, makes a module trap:
//! a trap costs every request that is paused in the VM.
//!
//! This covers above all the SDK's dispatcher, which cannot be replaced (`filters/proxy/README.md`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use enforcer_harness::{
    HeaderMap, Module, Value,
    host::{Event, Frame, GrpcCallResult, HttpCallResult, HttpResponse, StreamId, Worker},
};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use serde_json::json;

use crate::world::{
    Plugin,
    bare::{self, Outdoors},
};

#[test]
fn the_counter_never_traps() {
    never_traps(&Plugin::filter("counter", json!({})));
}

#[test]
fn replacing_never_traps() {
    never_traps(&Plugin::filter("replace", json!({ "limit": 40 })));
    never_traps(&Plugin::filter("replace", json!({ "limit": 40, "hold_head": true })).stop_iteration());
}

#[test]
fn a_shared_fetch_never_traps() {
    let fetching = |cluster| json!({ "cluster": cluster, "path": "/", "deadline_ms": 50, "once": true });
    for cluster in ["side", "empty", "no_such_cluster"] {
        never_traps(&Plugin::filter("shared-fetch", fetching(cluster)));
    }
    let chain = json!([fetching("side"), { "limit": 40 }]);
    never_traps(&Plugin::filter("wait-then-replace", chain.clone()));
    never_traps(&Plugin::filter("wait-then-replace", chain).stop_iteration());
}

#[test]
fn a_caller_never_traps() {
    for at in ["request_head", "request_body", "response_head", "response_body"] {
        let clusters = json!(["side", "empty", "slow", "no_such_cluster"]);
        let calling = json!({
            "clusters": clusters, "grpc": ["side", "down"], "deadline_ms": 50, "any": true, "at": at,
        });
        never_traps(&Plugin::filter("caller", calling.clone()));
        never_traps(&Plugin::filter("caller", calling).stop_iteration());
    }
}

#[test]
fn auth_never_traps() {
    let configuration = json!({
        "issuers": [{
            "issuer": ISSUER,
            "jwks": { "remote": { "cluster": "side", "url": "https://idp.example.com/jwks" } },
            "audiences": ["a"],
            "claim_headers": [{ "claim": "sub", "header": "x-sub" }],
        }],
        "apis": [{ "name": "a", "operations": [{ "path": "/a/{b}" }, { "path": "/open", "security": [] }] }],
    });
    never_traps(&Plugin::new("auth", "auth", configuration));
}

const ISSUER: &str = "https://idp.example.com";

/// Something that happens. Streams and calls are chosen from those that are there.
#[derive(Clone, Debug)]
enum Happening {
    Open { headers: Vec<(String, Vec<u8>)>, end: bool },
    RequestData { stream: usize, size: usize, end: bool },
    RequestTrailers { stream: usize, trailers: Vec<(String, Vec<u8>)> },
    ResponseHeaders { stream: usize, status: u16, headers: Vec<(String, Vec<u8>)>, end: bool },
    ResponseData { stream: usize, size: usize, end: bool },
    ResponseTrailers { stream: usize, trailers: Vec<(String, Vec<u8>)> },
    ClientGone { stream: usize },
    HttpAnswer { call: usize, answer: Option<(u16, Vec<u8>)> },
    GrpcAnswer { call: usize, answer: Result<Vec<u8>, u32> },
    Time { milliseconds: u64 },
    Tick,
}

fn happening() -> impl Strategy<Value = Happening> {
    let stream = 0..6_usize;
    let size = 0..60_usize;
    prop_oneof![
        4 => (request(), any::<bool>()).prop_map(|(headers, end)| Happening::Open { headers, end }),
        6 => (stream.clone(), size.clone(), any::<bool>())
            .prop_map(|(stream, size, end)| Happening::RequestData { stream, size, end }),
        1 => (stream.clone(), headers()).prop_map(|(stream, trailers)| Happening::RequestTrailers { stream, trailers }),
        4 => (stream.clone(), 100..600_u16, headers(), any::<bool>())
            .prop_map(|(stream, status, headers, end)| Happening::ResponseHeaders { stream, status, headers, end }),
        4 => (stream.clone(), size, any::<bool>())
            .prop_map(|(stream, size, end)| Happening::ResponseData { stream, size, end }),
        1 => (stream.clone(), headers())
            .prop_map(|(stream, trailers)| Happening::ResponseTrailers { stream, trailers }),
        2 => stream.prop_map(|stream| Happening::ClientGone { stream }),
        4 => (0..6_usize, answer()).prop_map(|(call, answer)| Happening::HttpAnswer { call, answer }),
        2 => (0..6_usize, grpc_answer()).prop_map(|(call, answer)| Happening::GrpcAnswer { call, answer }),
        2 => (0..100_u64).prop_map(|milliseconds| Happening::Time { milliseconds }),
        3 => Just(Happening::Tick),
    ]
}

fn request() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let path = prop_oneof![Just("/a/b".to_owned()), Just("/open".to_owned()), "/[ -~]{0,20}"];
    (path, headers(), proptest::option::of(token()), 0..8_u8).prop_map(|(path, mut headers, token, kind)| {
        headers.push((":path".into(), path.into_bytes()));
        headers.push((":method".into(), if kind == 0 { b"CONNECT" } else { &b"POST"[..] }.to_vec()));
        headers.push((":authority".into(), b"a".to_vec()));
        headers.extend(token.map(|token| ("authorization".into(), token)));
        if kind == 1 {
            headers.push(("upgrade".into(), b"websocket".to_vec()));
        }
        headers
    })
}

/// What Envoy's codecs let through: any byte but NUL, CR and LF.
fn headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![
        Just("authorization".to_owned()),
        Just("content-length".to_owned()),
        Just("content-type".to_owned()),
        Just("x-fetched".to_owned()),
        "[a-z0-9!#$%&'*+.^_`|~-]{1,12}",
    ];
    let value = vec((1..=255_u8).prop_filter("ends a line", |byte| !b"\r\n".contains(byte)), 0..40);
    vec((name, value), 0..5)
}

/// Nearly tokens: the closer to a real one, the deeper it gets.
fn token() -> impl Strategy<Value = Vec<u8>> {
    let json = prop_oneof![
        Just(json!({ "alg": "ES256", "kid": "k", "typ": "JWT" }).to_string()),
        Just(json!({ "iss": ISSUER, "exp": 1_800_000_000, "aud": ["a"], "sub": "s" }).to_string()),
        Just(json!({ "iss": ISSUER, "exp": -1e300, "nbf": {}, "aud": [1, [[]]] }).to_string()),
        "[\\[\\]{}:,\"a-z0-9 ]{0,30}",
    ];
    let part = prop_oneof![
        3 => json.prop_map(|json| base64url(json.as_bytes())),
        1 => vec(any::<u8>(), 0..70).prop_map(|bytes| base64url(&bytes)),
        1 => "[ -~]{0,10}",
    ];
    ("(Bearer|bearer|Basic)? ?", vec(part, 0..5))
        .prop_map(|(scheme, parts)| format!("{scheme}{}", parts.join(".")).into_bytes())
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().chain([&0, &0]).take(3).fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        for place in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(word >> (18 - 6 * place) & 63) as usize]));
        }
    }
    out
}

fn answer() -> impl Strategy<Value = Option<(u16, Vec<u8>)>> {
    let key = json!({ "kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256",
        "x": "dWz2KkQAnuLDohwwxNmy2dwTE6P2edrJq0kqNNDbO8o", "y": "UZpPr5o8nN_9XrlnfMnp9W8odvSLWwGVaInGt4Da-kc" });
    let body = prop_oneof![
        Just(json!({ "keys": [key] }).to_string().into_bytes()),
        Just(json!({ "keys": [{}, 1, { "kty": "RSA", "n": "AQAB", "e": "" }, { "kty": "EC", "x": "", "y": "" }] })
            .to_string()
            .into_bytes()),
        vec(any::<u8>(), 0..50),
    ];
    proptest::option::weighted(0.8, (prop_oneof![3 => Just(200), 1 => 100..600_u16], body))
}

fn grpc_answer() -> impl Strategy<Value = Result<Vec<u8>, u32>> {
    prop_oneof![vec(any::<u8>(), 0..20).prop_map(Ok), (1..17_u32).prop_map(Err)]
}

fn never_traps(plugin: &Plugin) {
    let module = Module::from_file(plugin.file()).unwrap();
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() });
    runner
        .run(&vec(happening(), 1..80), |happenings| {
            let mut envoy = Envoy::start(&module, plugin);
            for happening in happenings {
                envoy.happen(happening);
                prop_assert_eq!(envoy.worker.failure(), None);
                prop_assert_eq!(envoy.worker.fatal(), None);
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{} {}: {error}", plugin.root_id, plugin.configuration));
}

/// The part of Envoy around the worker: keeps happenings to what Envoy would do.
struct Envoy {
    worker: Worker,
    outdoors: Arc<Outdoors>,
    streams: BTreeMap<StreamId, Exchange>,
    http_calls: Vec<u32>,
    grpc_calls: Vec<u32>,
    ticks: bool,
}

/// How far both directions of a stream are.
#[derive(Default)]
struct Exchange {
    request_ended: bool,
    reached_upstream: bool,
    response: Progress,
}

#[derive(Default, PartialEq)]
enum Progress {
    #[default]
    NotBegun,
    Begun,
    /// By the upstream, or because a local reply has taken its place.
    Ended,
}

impl Envoy {
    fn start(module: &Module, plugin: &Plugin) -> Self {
        let (worker, outdoors) = bare::start(module, plugin);
        let mut envoy = Self {
            worker,
            outdoors,
            streams: BTreeMap::new(),
            http_calls: Vec::new(),
            grpc_calls: Vec::new(),
            ticks: false,
        };
        envoy.take_events();
        envoy
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Open { headers, end } => {
                let stream = self.worker.open_stream(Value::Map(Vec::new()));
                self.streams.insert(stream, Exchange { request_ended: end, ..Exchange::default() });
                self.worker.request_headers(stream, HeaderMap::from_iter(headers), end);
            }
            Happening::RequestData { stream, size, end } => self.request_data(stream, size, end),
            Happening::RequestTrailers { stream, trailers } => {
                if let Some(stream) = self.sending(stream) {
                    self.exchange(stream).request_ended = true;
                    self.worker.request_trailers(stream, HeaderMap::from_iter(trailers));
                }
            }
            Happening::ResponseHeaders { stream, status, headers, end } => {
                if let Some(stream) = self.answering(stream, &Progress::NotBegun) {
                    self.exchange(stream).response = if end { Progress::Ended } else { Progress::Begun };
                    let mut map = HeaderMap::from_iter([(":status", status.to_string())]);
                    headers.iter().for_each(|(name, value)| map.add(name, value));
                    self.worker.response_headers(stream, map, end);
                }
            }
            Happening::ResponseData { stream, size, end } => {
                if let Some(stream) = self.answering(stream, &Progress::Begun) {
                    if end {
                        self.exchange(stream).response = Progress::Ended;
                    }
                    self.worker.response_data(stream, vec![0xff; size], end);
                }
            }
            Happening::ResponseTrailers { stream, trailers } => {
                if let Some(stream) = self.answering(stream, &Progress::Begun) {
                    self.exchange(stream).response = Progress::Ended;
                    self.worker.response_trailers(stream, HeaderMap::from_iter(trailers));
                }
            }
            Happening::ClientGone { stream } => {
                if let Some(stream) = self.pick(stream, |_| true) {
                    self.worker.client_gone(stream);
                }
            }
            Happening::HttpAnswer { call, answer } if call < self.http_calls.len() => {
                let token = self.http_calls.swap_remove(call);
                let result = answer.map_or(HttpCallResult::Reset, |(status, body)| {
                    let headers = HeaderMap::from_iter([(":status", status.to_string())]);
                    HttpCallResult::Response(HttpResponse { headers, body, trailers: HeaderMap::new() })
                });
                self.worker.http_call_done(token, result);
            }
            Happening::GrpcAnswer { call, answer } if call < self.grpc_calls.len() => {
                let token = self.grpc_calls.swap_remove(call);
                let failed = |status| GrpcCallResult::Failed { status, message: String::new() };
                self.worker.grpc_call_done(token, answer.map_or_else(failed, GrpcCallResult::Message));
            }
            Happening::HttpAnswer { .. } | Happening::GrpcAnswer { .. } => {}
            Happening::Time { milliseconds } => self.outdoors.pass(Duration::from_millis(milliseconds)),
            Happening::Tick if self.ticks => self.worker.tick(),
            Happening::Tick => {}
        }
        self.take_events();
    }

    fn request_data(&mut self, stream: usize, size: usize, end: bool) {
        if let Some(stream) = self.sending(stream).filter(|stream| self.worker.wants_request_data(*stream)) {
            self.exchange(stream).request_ended = end;
            self.worker.request_data(stream, vec![b'x'; size], end);
        }
    }

    fn take_events(&mut self) {
        for event in self.worker.take_events() {
            match event {
                Event::ToUpstream(stream, _) => self.exchange(stream).reached_upstream = true,
                Event::ToClient(stream, Frame::Headers { .. }) => {
                    let exchange = self.exchange(stream);
                    if exchange.response == Progress::NotBegun {
                        exchange.response = Progress::Ended;
                    }
                }
                Event::Ended(stream, _) => drop(self.streams.remove(&stream)),
                Event::HttpCall(call) => self.http_calls.push(call.token),
                Event::GrpcCall(call) => self.grpc_calls.push(call.token),
                Event::CancelGrpcCall { token } => self.grpc_calls.retain(|other| *other != token),
                Event::TickPeriod(period) => self.ticks = !period.is_zero(),
                Event::ToClient(..) | Event::ResetClient(_) | Event::QueueReady { .. } => {}
            }
        }
    }

    fn exchange(&mut self, stream: StreamId) -> &mut Exchange {
        self.streams.entry(stream).or_default()
    }

    /// One of the streams that are as they should be.
    fn pick(&self, index: usize, fit: impl Fn(&Exchange) -> bool) -> Option<StreamId> {
        let fitting: Vec<_> = self.streams.iter().filter(|(_, exchange)| fit(exchange)).collect();
        fitting.get(index % fitting.len().max(1)).map(|(stream, _)| **stream)
    }

    fn sending(&self, index: usize) -> Option<StreamId> {
        self.pick(index, |exchange| !exchange.request_ended && exchange.response != Progress::Ended)
    }

    fn answering(&self, index: usize, progress: &Progress) -> Option<StreamId> {
        self.pick(index, |exchange| exchange.reached_upstream && exchange.response == *progress)
    }
}
