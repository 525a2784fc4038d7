//! What a worker tells its embedder, and what the embedder tells it.

use std::{collections::BTreeMap, time::Duration};

use super::{headers::HeaderMap, shared::Owner};

/// A stream's number; also its context id in the module.
pub type StreamId = u32;

/// Something for the embedder to do. Collected with [`super::Worker::take_events`] after each call.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The request goes on to the upstream.
    ToUpstream(StreamId, Frame),
    /// The response goes on to the client.
    ToClient(StreamId, Frame),
    /// The exchange with the client is cut: after response headers there is no other way to refuse.
    ResetClient(StreamId),
    /// The stream is over and its context deleted. An upstream request that is still open must be dropped.
    Ended(StreamId, Box<Ended>),
    /// Send an HTTP request; answer with [`super::Worker::http_call_done`].
    HttpCall(HttpCall),
    /// Send a unary gRPC request; answer with [`super::Worker::grpc_call_done`].
    GrpcCall(GrpcCall),
    /// Nobody waits for this gRPC call any more.
    CancelGrpcCall { token: u32 },
    /// A queue has a new item: tell the worker that owns it with [`super::Worker::queue_ready`].
    QueueReady { owner: Owner, queue: u32 },
    /// The root context wants [`super::Worker::tick`] every period from now on; zero ends it.
    TickPeriod(Duration),
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    Headers { headers: HeaderMap, end_of_stream: bool },
    Data { data: Vec<u8>, end_of_stream: bool },
    Trailers(HeaderMap),
}

/// What is known of a stream once it is over: what an access log could print.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ended {
    /// `%RESPONSE_CODE%`; 0 if no response was sent.
    pub code: u16,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: String,
    /// Filter state by key, such as `wasm.enforcer`.
    pub filter_state: BTreeMap<String, Vec<u8>>,
    /// How often the module made Envoy choose the route again.
    pub route_cache_clears: u32,
    /// WebAssembly instructions spent on this stream; 0 unless the module was loaded metered.
    pub instructions: u64,
}

/// `proxy_http_call`.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpCall {
    pub token: u32,
    pub cluster: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
    /// `None` waits for ever.
    pub timeout: Option<Duration>,
}

/// `proxy_grpc_call`.
#[derive(Debug, Clone, PartialEq)]
pub struct GrpcCall {
    pub token: u32,
    pub cluster: String,
    /// Full service name, such as `envoy.service.ratelimit.v3.RateLimitService`.
    pub service: String,
    pub method: String,
    pub initial_metadata: HeaderMap,
    pub message: Vec<u8>,
    /// `None` waits for ever.
    pub timeout: Option<Duration>,
}

/// How an HTTP call ended.
#[derive(Debug, Clone, PartialEq)]
pub enum HttpCallResult {
    /// A response, from the upstream or made by the host (503 for a refused connection, 504 for a timeout).
    Response(HttpResponse),
    /// The stream was reset: the module sees no headers at all.
    Reset,
}

/// A whole HTTP response.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HttpResponse {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
}

/// How a gRPC call ended.
#[derive(Debug, Clone, PartialEq)]
pub enum GrpcCallResult {
    Message(Vec<u8>),
    Failed { status: u32, message: String },
}
