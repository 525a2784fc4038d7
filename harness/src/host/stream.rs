//! One request and its response as the filter manager and Envoy's wasm filter see it.

use std::{collections::BTreeMap, time::Duration};

use super::{abi::Side, headers::HeaderMap, reply::LocalReply, value::Value};

/// A stream. Which of its parts the module may touch at a moment is recorded beside them, as Envoy does with pointers.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) request: Half,
    pub(crate) response: Half,
    /// `proxy_on_context_create` has run, or would have if the VM were alive.
    pub(crate) created: bool,
    /// The VM died and the client was told so: the response no longer passes through the module.
    pub(crate) failure_replied: bool,
    /// A local reply that waits until the request callback has returned.
    pub(crate) prepared: Option<LocalReply>,
    /// Response headers have left for the client.
    pub(crate) response_sent: bool,
    /// The stream is being torn down: nothing can be continued or answered.
    pub(crate) closing: bool,
    /// `proxy_on_log` runs: header maps are read-only, and all there.
    pub(crate) logging: bool,
    /// The last headers or body callback had end_of_stream.
    pub(crate) end_of_stream: bool,
    pub(crate) head_request: bool,
    pub(crate) grpc_request: bool,
    pub(crate) code: Option<u16>,
    pub(crate) details: Option<String>,
    pub(crate) filter_state: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) attributes: Value,
    /// Wall clock at the first byte.
    pub(crate) started: Duration,
    /// Wall clock when it was over: known in the log phase.
    pub(crate) ended: Option<Duration>,
    /// Wall clock when the first piece went to the backend, and when the last came from it.
    pub(crate) upstream_sent: Option<Duration>,
    pub(crate) upstream_last: Option<Duration>,
    pub(crate) route_cache_clears: u32,
    pub(crate) instructions: u64,
}

/// One direction of a stream.
#[derive(Debug, Default)]
pub(crate) struct Half {
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) headers_visible: bool,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) trailers_visible: bool,
    /// The data of the running body callback.
    pub(crate) chunk: Vec<u8>,
    pub(crate) chunk_visible: bool,
    /// Data that waits; present but empty if only the end of the stream waits.
    pub(crate) buffered: Option<Vec<u8>>,
    /// The module asked for buffering: it sees all that waits, not the chunk.
    pub(crate) buffering: bool,
    /// What is buffered may exceed the limit: it only slows the sender down.
    pub(crate) streaming: bool,
    /// Body bytes received from the client, or sent to it.
    pub(crate) bytes: usize,

    pub(crate) iteration: Iteration,
    /// After a full stop the filter itself has not seen the data yet.
    pub(crate) from_current: bool,
    pub(crate) headers_continued: bool,
    /// The filter has seen the end of the message.
    pub(crate) end_seen: bool,
    /// The message has arrived completely.
    pub(crate) complete: bool,
    /// A callback of this direction runs.
    pub(crate) calling: bool,
    /// A local reply was sent from a callback of this direction: nothing goes on.
    pub(crate) aborted: bool,
}

/// How far the message may travel (`ActiveStreamFilterBase::IterationState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Iteration {
    #[default]
    Continue,
    /// Stopped, but the filter still sees the following pieces.
    StopSingle,
    StopAllBuffer,
    StopAllWatermark,
}

impl Stream {
    pub(crate) fn new(attributes: Value, started: Duration) -> Self {
        Self {
            request: Half { streaming: true, ..Half::default() },
            response: Half { streaming: true, ..Half::default() },
            created: false,
            failure_replied: false,
            prepared: None,
            response_sent: false,
            closing: false,
            logging: false,
            end_of_stream: false,
            head_request: false,
            grpc_request: false,
            code: None,
            details: None,
            filter_state: BTreeMap::new(),
            attributes,
            started,
            ended: None,
            upstream_sent: None,
            upstream_last: None,
            route_cache_clears: 0,
            instructions: 0,
        }
    }

    pub(crate) fn half(&self, side: Side) -> &Half {
        match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        }
    }

    pub(crate) fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    /// Whether pieces of this direction can still go on (`canContinue`).
    pub(crate) fn can_continue(&self, side: Side) -> bool {
        match side {
            Side::Request => !self.closing && !self.request.aborted && !self.response.complete,
            Side::Response => !self.closing && !self.response.aborted,
        }
    }
}

impl Half {
    pub(crate) fn stopped_all(&self) -> bool {
        matches!(self.iteration, Iteration::StopAllBuffer | Iteration::StopAllWatermark)
    }

    /// The body that the module sees and may change; `None` where it sees nothing.
    pub(crate) fn body_mut(&mut self) -> Option<&mut Vec<u8>> {
        if self.buffering {
            self.buffered.as_mut()
        } else if self.chunk_visible {
            Some(&mut self.chunk)
        } else {
            None
        }
    }

    pub(crate) fn body(&self) -> &[u8] {
        match (&self.buffered, self.buffering) {
            (Some(buffered), true) => buffered,
            _ if self.chunk_visible => &self.chunk,
            _ => &[],
        }
    }
}
