//! What a filter may read and ask for while it handles an event.

use std::{cell::OnceCell, fmt, time::Duration};

use crate::{
    edits::Edits,
    headers::HeaderMap,
    host::{Host, MapKind},
    identity::{Identity, Unreadable},
};

/// The world as a filter sees it during one call.
///
/// Reading is lazy: a header map is fetched from the host on first use and kept for the request. Wishes
/// ([`Cx::fetch`], [`Cx::ask`], [`Cx::wake`], [`Cx::schedule`]) are noted and carried out by the shell after the call.
pub struct Cx<'a> {
    pub host: &'a dyn Host,
    messages: &'a Messages,
    wishes: &'a mut Wishes,
}

impl fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("wishes", &self.wishes).finish_non_exhaustive()
    }
}

/// One request's headers, fetched when first read, and its identity once it is known.
#[derive(Debug, Default)]
pub struct Messages {
    request: OnceCell<HeaderMap>,
    response: OnceCell<HeaderMap>,
    identity: OnceCell<Result<Option<Identity>, Unreadable>>,
    /// A request body that an earlier filter of the chain has replaced.
    request_body: Option<Vec<u8>>,
}

impl Messages {
    /// A request whose headers are known already: for tests and tools.
    pub fn of_request(headers: HeaderMap) -> Self {
        Self { request: OnceCell::from(headers), ..Self::default() }
    }

    /// Takes over what an earlier filter of the chain decided, before the host has been told.
    pub(crate) fn amend(&mut self, edits: &Edits) {
        if let Some(headers) = self.request.get_mut() {
            edits.headers.iter().for_each(|edit| headers.apply(edit));
        }
        if let Some(identity) = &edits.identity {
            self.identity = OnceCell::from(Ok(Some(identity.clone())));
        }
        if let Some(body) = &edits.body {
            self.request_body = Some(body.clone());
        }
    }
}

/// What a call to a filter asked for beside its step.
#[derive(Debug, Default)]
pub struct Wishes {
    pub fetches: Vec<(FetchKey, HttpCall)>,
    pub asked: Vec<(FetchKey, GrpcCall)>,
    pub woken: Vec<FetchKey>,
    pub tick_in: Option<Duration>,
}

impl<'a> Cx<'a> {
    pub fn new(host: &'a dyn Host, messages: &'a Messages, wishes: &'a mut Wishes) -> Self {
        Self { host, messages, wishes }
    }

    /// The request's headers as the client sent them, pseudo-headers included. Readable in the request phases;
    /// later only if they were read then. Empty in the background.
    pub fn request_headers(&self) -> &'a HeaderMap {
        self.messages.request.get_or_init(|| self.host.headers(MapKind::RequestHeaders))
    }

    /// The response's headers; empty before the response phase.
    pub fn response_headers(&self) -> &'a HeaderMap {
        self.messages.response.get_or_init(|| self.host.headers(MapKind::ResponseHeaders))
    }

    /// The request's body, or the piece in hand.
    pub fn request_body(&self, size: usize) -> Vec<u8> {
        match &self.messages.request_body {
            Some(replaced) => replaced.clone(),
            None => self.host.body(MapKind::RequestHeaders, size),
        }
    }

    /// The response's body, or the piece in hand.
    pub fn response_body(&self, size: usize) -> Vec<u8> {
        self.host.body(MapKind::ResponseHeaders, size)
    }

    /// What an earlier filter learnt about the caller: of this chain, or of another module by filter state.
    /// Unreadable means that the request is refused.
    pub fn identity(&self) -> Result<Option<&'a Identity>, Unreadable> {
        let identity = self.messages.identity.get_or_init(|| {
            let published = self.host.identity();
            published.as_deref().map(Identity::decode).transpose()
        });
        identity.as_ref().map(Option::as_ref).map_err(|unreadable| *unreadable)
    }

    /// Whether Envoy runs the filters again on this request, because it follows the backend's redirect by itself
    /// (`internal_redirect_policy`). The header only says where to look: clients can send it, but not write filter state.
    pub fn is_redirected(&self) -> bool {
        self.request_headers().get("x-envoy-original-url").is_some()
            && self.host.attribute(&["filter_state", "num_internal_redirects"]).is_some()
    }

    /// A copy of the request as it stands, to be amended for the next filter of a chain.
    pub(crate) fn request_view(&self) -> Messages {
        Messages { request: OnceCell::from(self.request_headers().clone()), ..Messages::default() }
    }

    /// The same world with another request in it.
    pub(crate) fn viewing<'b>(&'b self, messages: &'b Messages, wishes: &'b mut Wishes) -> Cx<'b> {
        Cx { host: self.host, messages, wishes }
    }

    /// Takes over the wishes of a filter further down the chain.
    pub(crate) fn wish(&mut self, wishes: Wishes) {
        self.wishes.fetches.extend(wishes.fetches);
        self.wishes.asked.extend(wishes.asked);
        self.wishes.woken.extend(wishes.woken);
        if let Some(delay) = wishes.tick_in {
            self.schedule(delay);
        }
    }

    /// Asks for a fetch in the background. Several requests for one key while it runs are one fetch.
    pub fn fetch(&mut self, key: FetchKey, call: HttpCall) {
        self.wishes.fetches.push((key, call));
    }

    /// As [`Cx::fetch`], of a gRPC service. Ends in [`crate::filter::Background::Answered`].
    pub fn ask(&mut self, key: FetchKey, call: GrpcCall) {
        self.wishes.asked.push((key, call));
    }

    /// Wakes every request of this worker that waits for `key`.
    pub fn wake(&mut self, key: FetchKey) {
        self.wishes.woken.push(key);
    }

    /// Asks for a [`crate::filter::Background::Tick`] within `delay`; the earliest wish counts.
    pub fn schedule(&mut self, delay: Duration) {
        self.wishes.tick_in = Some(self.wishes.tick_in.map_or(delay, |d| d.min(delay)));
    }
}

/// Names a shared fetch: whose it is and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FetchKey {
    /// [`crate::filter::Filter::NAME`] of its owner.
    pub filter: &'static str,
    pub id: u32,
}

/// A call to another service.
#[derive(Debug, Clone)]
pub enum Callout {
    Http(HttpCall),
    Grpc(GrpcCall),
}

impl Callout {
    /// The Envoy cluster that is called.
    pub fn cluster(&self) -> &str {
        match self {
            Self::Http(call) => &call.cluster,
            Self::Grpc(call) => &call.cluster,
        }
    }
}

/// An HTTP request through an Envoy cluster.
#[derive(Debug, Clone)]
pub struct HttpCall {
    pub cluster: String,
    pub method: &'static str,
    pub authority: String,
    /// Path and query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Never zero: Envoy would wait for ever.
    pub timeout: Duration,
}

/// A unary gRPC call through an Envoy cluster.
#[derive(Debug, Clone)]
pub struct GrpcCall {
    pub cluster: String,
    pub service: String,
    pub method: String,
    /// The encoded request message.
    pub message: Vec<u8>,
    pub timeout: Duration,
}

/// A successful answer to a [`Callout`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CalloutReply {
    Http(HttpReply),
    /// The encoded response message.
    Grpc(Vec<u8>),
}

/// An HTTP answer below 500.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Why a callout gave nothing. Envoy reports its own failures as 503 and 504 that cannot be told from the
/// service's, so every 5xx counts as a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalloutError {
    /// Envoy knows no such cluster, or the call was malformed.
    NotSent,
    /// The cluster has no healthy host, or its circuit breaker is open.
    NoHealthyHost,
    /// The connection broke before the answer was complete.
    Reset,
    /// The service, or Envoy in its place, answered with this 5xx.
    Status(u16),
    /// The answer is larger than the shell reads (1 MiB).
    TooLarge,
    /// The gRPC status, when not OK.
    Grpc(u32),
}

impl fmt::Display for CalloutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent => f.write_str("envoy has no such cluster"),
            Self::NoHealthyHost => f.write_str("the cluster has no healthy host"),
            Self::Reset => f.write_str("the connection broke"),
            Self::Status(504) => f.write_str("no answer in time (504)"),
            Self::Status(status) => write!(f, "the answer was {status}"),
            Self::TooLarge => f.write_str("the answer is over 1 MiB"),
            Self::Grpc(status) => write!(f, "the answer was grpc-status {status}"),
        }
    }
}
