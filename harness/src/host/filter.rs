//! Envoy's wasm filter (`Extensions::Common::Wasm::Context`): the module's stream callbacks, and what it may see in each.

use super::{
    abi::{DataStatus, HeadersStatus, Side},
    event::StreamId,
    reply::LocalReply,
    state::Deferred,
    stream::Stream,
    worker::{Called, Worker, count},
};

/// What Envoy answers with when the VM is dead.
const FAIL_STREAM_DETAILS: &str = "wasm_fail_stream";
const GRPC_UNAVAILABLE: u32 = 14;

impl Worker {
    pub(super) fn stream(&self, id: StreamId) -> Option<&Stream> {
        self.state().streams.get(&id)
    }

    pub(super) fn stream_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.state_mut().streams.get_mut(&id)
    }

    /// Creates the stream's context in the module, once.
    pub(super) fn create_context(&mut self, id: StreamId) {
        let root = self.state().root.id;
        let Some(stream) = self.stream_mut(id).filter(|stream| !stream.created) else { return };
        stream.created = true;
        self.enter(id, self.exports.on_context_create.clone(), (id, root));
        self.settle();
    }

    /// Whether this side of the stream goes past the module unseen.
    fn bypasses(&self, id: StreamId, side: Side) -> bool {
        self.stream(id).is_none_or(|s| !s.created || (side == Side::Response && s.failure_replied))
    }

    pub(super) fn filter_headers(&mut self, id: StreamId, side: Side, end_of_stream: bool) -> HeadersStatus {
        if side == Side::Request {
            self.create_context(id);
        }
        if self.bypasses(id, side) {
            return HeadersStatus::Continue;
        }
        let Some(stream) = self.stream_mut(id) else { return HeadersStatus::Continue };
        stream.end_of_stream = end_of_stream;
        let half = stream.half_mut(side);
        half.headers_visible = true;
        let headers = count(half.headers.as_ref().map_or(0, |headers| headers.len()));
        let callback = match side {
            Side::Request => self.exports.on_request_headers.clone(),
            Side::Response => self.exports.on_response_headers.clone(),
        };
        let called = self.enter(id, callback, (id, headers, u32::from(end_of_stream)));
        let allow_stop = self.state().plugin.allow_on_headers_stop_iteration;
        let status = match called {
            _ if self.failure().is_some() => HeadersStatus::StopAllAndWatermark,
            Called::Returned(_) if self.state().stop_iteration => HeadersStatus::StopAllAndWatermark,
            Called::Returned(status) => HeadersStatus::from_wire(status, allow_stop),
            Called::Absent | Called::Failed => HeadersStatus::Continue,
        };
        self.after_callback(id);
        if status == HeadersStatus::Continue
            && let Some(stream) = self.stream_mut(id)
        {
            stream.half_mut(side).headers_visible = false;
        }
        status
    }

    /// The data is in the half's `chunk`; what the module leaves of it, too.
    pub(super) fn filter_data(&mut self, id: StreamId, side: Side, end_of_stream: bool) -> DataStatus {
        if self.bypasses(id, side) {
            return DataStatus::Continue;
        }
        if self.stream(id).is_some_and(|stream| stream.half(side).buffering) {
            self.append_to_buffer(id, side);
        }
        let Some(stream) = self.stream_mut(id) else { return DataStatus::StopAndBuffer };
        stream.end_of_stream = end_of_stream;
        let half = stream.half_mut(side);
        half.chunk_visible = true;
        let bytes = count(half.body().len());
        let callback = match side {
            Side::Request => self.exports.on_request_body.clone(),
            Side::Response => self.exports.on_response_body.clone(),
        };
        let called = self.enter(id, callback, (id, bytes, u32::from(end_of_stream)));
        let status = match called {
            _ if self.failure().is_some() => DataStatus::StopNoBuffer,
            Called::Returned(_) if self.state().stop_iteration => DataStatus::StopNoBuffer,
            Called::Returned(status) => DataStatus::from_wire(status),
            Called::Absent | Called::Failed => DataStatus::Continue,
        };
        self.after_callback(id);
        if let Some(stream) = self.stream_mut(id) {
            let half = stream.half_mut(side);
            half.buffering = status == DataStatus::StopAndBuffer;
            half.chunk_visible = half.chunk_visible && status != DataStatus::Continue;
        }
        status
    }

    fn append_to_buffer(&mut self, id: StreamId, side: Side) {
        if let Some(stream) = self.stream_mut(id) {
            let half = stream.half_mut(side);
            half.streaming = false;
            let data = std::mem::take(&mut half.chunk);
            self.buffer(id, side, data);
        }
    }

    /// Whether the trailers go on.
    pub(super) fn filter_trailers(&mut self, id: StreamId, side: Side) -> bool {
        if self.bypasses(id, side) {
            return true;
        }
        let Some(stream) = self.stream_mut(id) else { return false };
        let half = stream.half_mut(side);
        half.trailers_visible = true;
        let trailers = count(half.trailers.as_ref().map_or(0, |trailers| trailers.len()));
        let callback = match side {
            Side::Request => self.exports.on_request_trailers.clone(),
            Side::Response => self.exports.on_response_trailers.clone(),
        };
        let called = self.enter(id, callback, (id, trailers));
        let goes_on = match called {
            _ if self.failure().is_some() => false,
            Called::Returned(status) => status == 0 && !self.state().stop_iteration,
            Called::Absent | Called::Failed => true,
        };
        self.after_callback(id);
        if goes_on && let Some(stream) = self.stream_mut(id) {
            stream.half_mut(side).trailers_visible = false;
        }
        goes_on
    }

    /// `CHECK_FAIL_HTTP` and `DeferAfterCallActions`: a dead VM is answered for, then what was deferred happens.
    fn after_callback(&mut self, id: StreamId) {
        if self.failure().is_some()
            && let Some(stream) = self.stream_mut(id).filter(|stream| !stream.failure_replied)
        {
            stream.failure_replied = true;
            let reply = LocalReply::of_envoy(503, "", Some(GRPC_UNAVAILABLE), FAIL_STREAM_DETAILS);
            self.send_local_reply(id, reply);
        }
        self.settle();
    }

    /// Does what host calls have put off until their callback returned.
    pub(super) fn settle(&mut self) {
        self.state_mut().stop_iteration = false;
        while let Some(deferred) = self.state_mut().deferred.pop_front() {
            match deferred {
                Deferred::Continue(id, side) => self.continue_as_asked(id, side),
                Deferred::Reply(id, reply) => self.send_local_reply(id, reply),
                Deferred::Reset(id) => self.reset(id),
            }
        }
    }

    /// The end of a context: log, done, delete, in Envoy's order.
    pub(super) fn finish_context(&mut self, id: StreamId) {
        self.create_context(id);
        let now = self.state().environment.outside.wall_clock();
        if let Some(stream) = self.stream_mut(id) {
            stream.logging = true;
            stream.ended = Some(now);
        }
        self.enter(id, self.exports.on_log.clone(), id);
        self.settle();
        if let Some(stream) = self.stream_mut(id) {
            stream.logging = false;
        }
        self.enter(id, self.exports.on_done.clone(), id);
        self.settle();
        self.enter(id, self.exports.on_delete.clone(), id);
        self.settle();
    }
}
