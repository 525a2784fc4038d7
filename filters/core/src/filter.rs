//! The shape of every capability: a pure state machine over values.
//!
//! A [`Filter`] never touches the network, the clock or Envoy. It is told what happened ([`Event`]) and
//! answers what should happen next ([`Step`]); everything it may read is behind [`Cx`]. The shell that drives
//! it (`enforcer-proxy` inside Envoy, a test otherwise) performs the step. Edits are values that the shell
//! applies once, last, and only on [`Step::Continue`]: no filter can change a header before it has decided.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    config::ConfigError,
    cx::{Callout, CalloutError, CalloutReply, Cx, FetchKey, HttpReply},
    edits::Edits,
    fault::Detail,
    identity::Identity,
};

/// A capability that runs on every request: auth, rate limiting, analytics.
pub trait Filter: Sized + 'static {
    /// Short name, used in metrics, log lines and keys of shared data.
    const NAME: &'static str;
    /// What the user configures. `deny_unknown_fields` everywhere; see [`crate::config::parse`].
    type Config: Serialize + DeserializeOwned + JsonSchema;
    /// What the filter remembers of one request. Must be usable when only [`Filter::on_log`] ever runs:
    /// a request that an earlier filter refused reaches the later ones in the log phase alone.
    type Exchange: Default + 'static;

    /// Builds the filter from its configuration, or says what is wrong with it and where.
    fn new(config: Self::Config, capabilities: Capabilities) -> Result<Self, ConfigError>;

    /// What the filter needs around it; read by the adapter and by the ext_proc bridge.
    fn needs(&self) -> Needs;

    /// Something happened to a request; what now?
    fn on_event(&mut self, exchange: &mut Self::Exchange, event: Event<'_>, cx: &mut Cx<'_>) -> Step;

    /// The request is over, whoever answered it. Called exactly once for each request.
    fn on_log(&mut self, _exchange: Self::Exchange, _call: &CallSummary<'_>, _cx: &mut Cx<'_>) {}

    /// Work that belongs to no request. See [`Background`].
    fn on_background(&mut self, _event: Background<'_>, _cx: &mut Cx<'_>) {}
}

/// What the host was found able to do when the filter was configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Envoy's foreign function `verify_signature` gave the right answer to a known vector.
    pub verify_signature: bool,
}

/// What a filter needs around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Names of the Envoy clusters that the filter calls.
    pub clusters: Vec<String>,
    /// Envoy attributes read on the request path, dotted: `source.address`.
    pub attributes: Vec<&'static str>,
    /// Whether any response phase can be asked for.
    pub response: bool,
}

/// What happened to a request.
#[derive(Debug)]
pub enum Event<'a> {
    /// The request's headers are there: [`Cx::request_headers`].
    RequestHead,
    /// A piece of the request's body ([`BodyMode::Observe`]), or all of it; bytes: [`Cx::request_body`].
    RequestBody(Body),
    /// The request's trailers are there. Only when asked for in [`Next::request_trailers`].
    RequestTrailers,
    /// The response's headers are there: [`Cx::response_headers`].
    ResponseHead,
    /// A piece of the response's body, or all of it; bytes: [`Cx::response_body`].
    ResponseBody(Body),
    /// The response's trailers are there.
    ResponseTrailers,
    /// The calls of a [`Step::Await`] are answered, in the order of the calls. `None`: not answered yet
    /// ([`Until::Any`]).
    Callouts(&'a [Option<Result<CalloutReply, CalloutError>>]),
    /// The fetch of a [`Step::Wait`] has ended, well or badly: look again.
    Woken,
    /// The deadline of a [`Step::Await`] or [`Step::Wait`] has passed.
    Deadline,
}

/// A body event's size and position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// Bytes available now: of this piece, or of the whole body when it is buffered.
    pub size: usize,
    /// Nothing follows, except perhaps trailers.
    pub end: bool,
}

/// What to do with the request now.
#[derive(Debug)]
pub enum Step {
    /// Go on, with these changes.
    Continue(Edits),
    /// Answer in the backend's place.
    Respond(Response),
    /// Call other services and come back with [`Event::Callouts`] or [`Event::Deadline`].
    Await { calls: Vec<Callout>, until: Until, deadline: Duration },
    /// Wait for somebody else's fetch. The background dispatches it, never the request, because a callout
    /// dies with the request that made it. Comes back with [`Event::Woken`] or [`Event::Deadline`].
    Wait { on: FetchKey, deadline: Duration },
    /// Buffer the body before deciding; comes back with [`Event::RequestBody`] (or `ResponseBody`) and
    /// `end: true`. A body over `limit` bytes is treated as in [`BodyMode::Buffer`]. Ends at the end of the stream or at
    /// trailers, and never holds an upgraded connection.
    Hold {
        limit: usize,
        /// Keep the headers back too, so that nothing reaches the backend before the decision. Only where
        /// Envoy's plugin has `allow_on_headers_stop_iteration: true`: elsewhere the body would never come.
        head: bool,
    },
    /// Cut the stream: the response has started and must not go on.
    Abort(Detail),
}

impl Step {
    /// Go on and change nothing.
    pub fn proceed() -> Self {
        Self::Continue(Edits::default())
    }
}

/// When a [`Step::Await`] is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Every call has been answered or has failed.
    All,
    /// One call has succeeded, or all have failed.
    Any,
}

/// An answer that the filter gives in the backend's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What `%RESPONSE_CODE_DETAILS%` shows.
    pub detail: Detail,
    /// What is known of the caller, for those who see this request in the log phase only.
    pub identity: Option<Identity>,
}

/// Which later events of this request the filter wants. Each one costs a call, so the default is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Next {
    pub request_body: BodyMode,
    pub request_trailers: bool,
    pub response_head: bool,
    pub response_body: BodyMode,
    pub response_trailers: bool,
}

impl Next {
    /// The union of what two filters want.
    pub fn join(self, other: Self) -> Self {
        Self {
            request_body: self.request_body.max(other.request_body),
            request_trailers: self.request_trailers || other.request_trailers,
            response_head: self.response_head || other.response_head,
            response_body: self.response_body.max(other.response_body),
            response_trailers: self.response_trailers || other.response_trailers,
        }
    }
}

/// How a body reaches the filter. Ordered by how much it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum BodyMode {
    /// Not at all.
    #[default]
    Skip,
    /// Piece by piece, as it streams past.
    Observe,
    /// Whole, of at most so many bytes. A larger request is refused with 413, a larger response is cut.
    Buffer(usize),
    /// Whole, and it may be replaced: `content-length` is removed while the headers can still change.
    Rewrite(usize),
}

/// Something that concerns the filter and no single request. One instance of the filter lives on every
/// Envoy worker and one on the main thread; shared data ([`crate::store`]) is where they meet.
#[derive(Debug, Clone, Copy)]
pub enum Background<'a> {
    /// The time that [`Cx::schedule`] asked for has come. Comes once after configuration without asking.
    Tick,
    /// A [`Cx::fetch`] has ended.
    Fetched(FetchKey, Result<&'a HttpReply, CalloutError>),
    /// A [`Cx::ask`] has ended: the encoded answer.
    Answered(FetchKey, Result<&'a [u8], CalloutError>),
    /// No more requests come: the configuration has been replaced, or Envoy is ending. What is fetched now, and in
    /// answer to that, is still waited for as far as Envoy lets it; ticks no longer come.
    Draining,
}

/// What is known of a request when it is over. Envoy's own figures are attributes: [`crate::host::Host::attribute`].
#[derive(Debug, Clone, Copy, Default)]
pub struct CallSummary<'a> {
    /// The detail of the answer this module gave in the backend's place, if it did.
    pub answered: Option<&'a Detail>,
}
