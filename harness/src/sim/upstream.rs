//! The clusters that modules call.

use std::{fmt, sync::Arc, time::Duration};

use crate::host::{GrpcCall, GrpcCallResult, HeaderMap, HttpCall, HttpCallResult, HttpResponse};

/// How a cluster answers callouts. It stays so until the test sets something else.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub(crate) behaviour: Behaviour,
    delay: Duration,
}

#[derive(Clone)]
pub(crate) enum Behaviour {
    Reply(HttpResponse),
    Grpc(GrpcCallResult),
    Down,
    Hang,
    Disconnect,
    Reset,
    NoHealthyHost,
    By(Arc<dyn Fn(&Call) -> Upstream + Send + Sync>),
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(response) => f.debug_tuple("Reply").field(response).finish(),
            Self::Grpc(result) => f.debug_tuple("Grpc").field(result).finish(),
            Self::Down => f.write_str("Down"),
            Self::Hang => f.write_str("Hang"),
            Self::Disconnect => f.write_str("Disconnect"),
            Self::Reset => f.write_str("Reset"),
            Self::NoHealthyHost => f.write_str("NoHealthyHost"),
            Self::By(_) => f.write_str("By(_)"),
        }
    }
}

/// A callout that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub cluster: String,
    /// Of a gRPC call: the request headers that Envoy would make of it.
    pub headers: HeaderMap,
    /// Of a gRPC call: the message, without its length prefix.
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
    pub timeout: Option<Duration>,
    /// Monotonic clock when it was made.
    pub at: Duration,
}

impl Call {
    /// `:path`, empty if it is not there.
    pub fn path(&self) -> String {
        self.headers.text(":path").unwrap_or_default()
    }

    /// `:method`, empty if it is not there.
    pub fn method(&self) -> String {
        self.headers.text(":method").unwrap_or_default()
    }

    pub(crate) fn of_http(call: HttpCall, at: Duration) -> Self {
        let HttpCall { cluster, headers, body, trailers, timeout, .. } = call;
        Self { cluster, headers, body, trailers, timeout, at }
    }

    pub(crate) fn of_grpc(call: GrpcCall, at: Duration) -> Self {
        let mut headers = HeaderMap::from_iter([
            (":method", "POST"),
            (":path", &format!("/{}/{}", call.service, call.method)),
            (":authority", &call.cluster),
            ("content-type", "application/grpc"),
        ]);
        for (name, value) in call.initial_metadata.iter() {
            headers.add(name, value);
        }
        Self {
            cluster: call.cluster,
            headers,
            body: call.message,
            trailers: HeaderMap::new(),
            timeout: call.timeout,
            at,
        }
    }
}

impl Upstream {
    fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, delay: Duration::ZERO }
    }

    /// Answers with this status, these headers and this body.
    pub fn reply(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let mut map = HeaderMap::from_iter([(":status", status.to_string())]);
        for (name, value) in headers {
            map.add(name, value);
        }
        let body = body.as_ref().to_vec();
        Self::new(Behaviour::Reply(HttpResponse { headers: map, body, trailers: HeaderMap::new() }))
    }

    /// Answers 200 with a JSON document.
    pub fn json(document: &serde_json::Value) -> Self {
        Self::reply(200, &[("content-type", "application/json")], document.to_string())
    }

    /// Answers with this status and no body.
    pub fn status(status: u16) -> Self {
        Self::reply(status, &[], "")
    }

    /// Answers gRPC calls with a serialised message.
    pub fn grpc(message: impl AsRef<[u8]>) -> Self {
        Self::new(Behaviour::Grpc(GrpcCallResult::Message(message.as_ref().to_vec())))
    }

    /// Answers gRPC calls with a status that is not OK.
    pub fn grpc_error(status: u32, message: &str) -> Self {
        Self::new(Behaviour::Grpc(GrpcCallResult::Failed { status, message: message.to_owned() }))
    }

    /// Refuses connections: callers see Envoy's 503.
    pub fn down() -> Self {
        Self::new(Behaviour::Down)
    }

    /// Accepts requests and never answers: callers with a timeout see Envoy's 504.
    pub fn hang() -> Self {
        Self::new(Behaviour::Hang)
    }

    /// Closes the connection instead of answering: callers see Envoy's 503.
    pub fn disconnect() -> Self {
        Self::new(Behaviour::Disconnect)
    }

    /// Breaks off in the middle of its response: callers see no headers at all.
    pub fn reset() -> Self {
        Self::new(Behaviour::Reset)
    }

    /// Has no healthy host: calls fail at once with `InternalFailure`.
    pub fn no_healthy_host() -> Self {
        Self::new(Behaviour::NoHealthyHost)
    }

    /// Decides for each call, such as by its path. [`Upstream::no_healthy_host`] cannot be decided so late, and hangs.
    pub fn by(decide: impl Fn(&Call) -> Self + Send + Sync + 'static) -> Self {
        Self::new(Behaviour::By(Arc::new(decide)))
    }

    /// The same, later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Delay and end of an HTTP call; `None` never ends by itself.
    pub(crate) fn http(&self, call: &Call) -> (Duration, Option<HttpCallResult>) {
        let result = match &self.behaviour {
            Behaviour::By(decide) => {
                let (delay, result) = decide(call).http(call);
                return (self.delay.saturating_add(delay), result);
            }
            Behaviour::Reply(response) => Some(HttpCallResult::Response(response.clone())),
            Behaviour::Down => Some(of_envoy(503, REFUSED)),
            Behaviour::Disconnect => Some(of_envoy(503, CLOSED)),
            Behaviour::Reset | Behaviour::Grpc(_) => Some(HttpCallResult::Reset),
            Behaviour::Hang | Behaviour::NoHealthyHost => None,
        };
        (self.delay, result)
    }

    /// As [`Upstream::http`], for a gRPC call.
    pub(crate) fn grpc_result(&self, call: &Call) -> (Duration, Option<GrpcCallResult>) {
        let failed =
            |status, message: &str| Some(GrpcCallResult::Failed { status, message: message.to_owned() });
        let result = match &self.behaviour {
            Behaviour::By(decide) => {
                let (delay, result) = decide(call).grpc_result(call);
                return (self.delay.saturating_add(delay), result);
            }
            Behaviour::Grpc(result) => Some(result.clone()),
            // Anything but a gRPC response: Envoy maps the HTTP status.
            Behaviour::Reply(response) => match response.headers.text(":status").as_deref() {
                Some("429" | "502" | "503" | "504") => failed(UNAVAILABLE, ""),
                _ => failed(UNKNOWN, ""),
            },
            Behaviour::Down => failed(UNAVAILABLE, REFUSED),
            Behaviour::Disconnect | Behaviour::Reset => failed(UNAVAILABLE, CLOSED),
            Behaviour::Hang | Behaviour::NoHealthyHost => None,
        };
        (self.delay, result)
    }
}

const UNKNOWN: u32 = 2;
const UNAVAILABLE: u32 = 14;

const REFUSED: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure";
const CLOSED: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: connection termination";
const TIMEOUT: &str = "upstream request timeout";

/// What the caller sees when its timeout has passed.
pub(crate) fn http_timeout() -> HttpCallResult {
    of_envoy(504, TIMEOUT)
}

/// As [`http_timeout`], for gRPC.
pub(crate) fn grpc_timeout() -> GrpcCallResult {
    GrpcCallResult::Failed { status: UNAVAILABLE, message: TIMEOUT.to_owned() }
}

fn of_envoy(status: u16, body: &str) -> HttpCallResult {
    HttpCallResult::Response(HttpResponse {
        headers: HeaderMap::from_iter([
            (":status", status.to_string()),
            ("content-length", body.len().to_string()),
            ("content-type", "text/plain".to_owned()),
        ]),
        body: body.into(),
        trailers: HeaderMap::new(),
    })
}
