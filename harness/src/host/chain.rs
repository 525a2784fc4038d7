//! The HTTP filter manager with one filter in it (Envoy's `filter_manager.cc`): what stops, what waits, what goes on.

use std::mem;

use super::{
    abi::{DataStatus, HeadersStatus, Side},
    event::StreamId,
    exit::status_of,
    headers::HeaderMap,
    reply::{LocalReply, is_grpc},
    slots::MapKind,
    stream::{Half, Iteration},
    worker::Worker,
};

/// `ResponseCodeDetails` that Envoy sets by itself.
const VIA_UPSTREAM: &str = "via_upstream";
const CLIENT_GONE: &str = "downstream_remote_disconnect";
const REQUEST_TOO_LARGE: &str = "request_payload_too_large";
const RESPONSE_TOO_LARGE: &str = "response_payload_too_large";

/// Messages come in here.
impl Worker {
    /// Request headers from the client.
    pub fn request_headers(&mut self, id: StreamId, headers: HeaderMap, end_of_stream: bool) {
        if let Some(stream) = self.stream_mut(id) {
            stream.head_request = headers.get(":method") == Some(b"HEAD");
            stream.grpc_request = is_grpc(&headers);
            stream.request.headers = Some(headers.received(MapKind::Request));
            self.run_headers(id, Side::Request, end_of_stream);
        }
    }

    /// A piece of the request body. Not after [`Worker::wants_request_data`] said no.
    pub fn request_data(&mut self, id: StreamId, data: Vec<u8>, end_of_stream: bool) {
        if self.stream(id).is_some_and(|stream| !stream.response.complete && !stream.request.aborted) {
            self.receive_data(id, Side::Request, data, end_of_stream);
        }
    }

    /// Request trailers; they end the request.
    pub fn request_trailers(&mut self, id: StreamId, trailers: HeaderMap) {
        if self.stream(id).is_some_and(|stream| !stream.response.complete && !stream.request.aborted) {
            self.receive_trailers(id, Side::Request, trailers);
        }
    }

    /// Response headers from the upstream.
    pub fn response_headers(&mut self, id: StreamId, headers: HeaderMap, end_of_stream: bool) {
        self.note_backend(id);
        if let Some(stream) = self.stream_mut(id).filter(|stream| stream.response.headers.is_none()) {
            stream.details = Some(VIA_UPSTREAM.to_owned());
            stream.code = status_of(&headers);
            stream.response.headers = Some(headers.received(MapKind::Response));
            self.run_headers(id, Side::Response, end_of_stream);
        }
    }

    /// A piece of the response body.
    pub fn response_data(&mut self, id: StreamId, data: Vec<u8>, end_of_stream: bool) {
        self.note_backend(id);
        self.receive_data(id, Side::Response, data, end_of_stream);
    }

    /// Response trailers; they end the response.
    pub fn response_trailers(&mut self, id: StreamId, trailers: HeaderMap) {
        self.note_backend(id);
        self.receive_trailers(id, Side::Response, trailers);
    }

    /// The backend has sent something.
    fn note_backend(&mut self, id: StreamId) {
        let now = self.state().environment.outside.wall_clock();
        if let Some(stream) = self.stream_mut(id) {
            stream.upstream_last = Some(now);
        }
    }

    /// The client has gone away: the stream ends as it is.
    pub fn client_gone(&mut self, id: StreamId) {
        if let Some(stream) = self.stream_mut(id).filter(|stream| !stream.closing) {
            stream.details = Some(CLIENT_GONE.to_owned());
        }
        self.close(id);
    }

    /// Whether Envoy would read more of the request now: not while a stopped stream has buffered its limit.
    pub fn wants_request_data(&self, id: StreamId) -> bool {
        let limit = self.state().plugin.buffer_limit;
        self.stream(id).is_some_and(|stream| {
            let buffered = stream.request.buffered.as_ref().map_or(0, Vec::len);
            !stream.request.streaming || limit == 0 || buffered <= limit
        })
    }

    /// Which side of a stream waits for the module to continue it.
    pub fn paused(&self, id: StreamId) -> (bool, bool) {
        self.stream(id).map_or((false, false), |stream| {
            let paused = |half: &Half| half.iteration != Iteration::Continue;
            (paused(&stream.request), paused(&stream.response))
        })
    }

    pub(super) fn receive_data(&mut self, id: StreamId, side: Side, data: Vec<u8>, end_of_stream: bool) {
        if let Some(stream) = self.stream_mut(id) {
            let half = stream.half_mut(side);
            half.complete |= end_of_stream;
            if side == Side::Request {
                half.bytes = half.bytes.saturating_add(data.len());
            }
            self.run_data(id, side, data, end_of_stream, false);
        }
    }

    fn receive_trailers(&mut self, id: StreamId, side: Side, trailers: HeaderMap) {
        if let Some(stream) = self.stream_mut(id) {
            let kind = match side {
                Side::Request => MapKind::RequestTrailers,
                Side::Response => MapKind::ResponseTrailers,
            };
            let half = stream.half_mut(side);
            half.complete = true;
            half.trailers = Some(trailers.received(kind));
            self.run_trailers(id, side);
        }
    }
}

/// Pieces pass the filter here (`decodeHeaders`, `encodeData` and so on).
impl Worker {
    pub(super) fn run_headers(&mut self, id: StreamId, side: Side, end_of_stream: bool) {
        let Some(stream) = self.stream_mut(id) else { return };
        let half = stream.half_mut(side);
        half.complete |= end_of_stream;
        half.end_seen = end_of_stream;
        half.calling = true;
        let status = self.filter_headers(id, side, end_of_stream);
        if self.answered_instead(id, side) {
            return;
        }
        let Some(stream) = self.stream_mut(id) else { return };
        let half = stream.half_mut(side);
        match status {
            HeadersStatus::Continue => {
                half.headers_continued = true;
                self.forward_headers(id, side, end_of_stream);
            }
            HeadersStatus::StopIteration => half.iteration = Iteration::StopSingle,
            HeadersStatus::StopAllAndBuffer => half.iteration = Iteration::StopAllBuffer,
            HeadersStatus::StopAllAndWatermark => half.iteration = Iteration::StopAllWatermark,
        }
    }

    /// `in_place`: the data is what was buffered during a full stop, and goes back there if the filter stops again.
    fn run_data(&mut self, id: StreamId, side: Side, data: Vec<u8>, end_of_stream: bool, in_place: bool) {
        let Some(stream) = self.stream_mut(id) else { return };
        let half = stream.half_mut(side);
        if half.stopped_all() {
            half.streaming = half.iteration == Iteration::StopAllWatermark;
            self.buffer(id, side, data);
            return;
        }
        if half.end_seen {
            return;
        }
        let had_trailers = half.trailers.is_some();
        half.end_seen = end_of_stream && !had_trailers;
        half.chunk = data;
        half.calling = true;
        let status = self.filter_data(id, side, end_of_stream && !had_trailers);
        if self.answered_instead(id, side) {
            return;
        }
        let Some(stream) = self.stream_mut(id) else { return };
        let half = stream.half_mut(side);
        let data = mem::take(&mut half.chunk);
        let added_trailers = !had_trailers && half.trailers.is_some();
        match status {
            DataStatus::Continue if half.iteration == Iteration::StopSingle => {
                self.buffer(id, side, data);
                self.continue_side(id, side);
            }
            DataStatus::Continue => {
                self.forward_data(id, side, data, end_of_stream && !added_trailers);
                if added_trailers {
                    self.forward_trailers(id, side);
                }
            }
            stopped => self.stop_at_data(id, side, stopped, data, in_place),
        }
    }

    fn stop_at_data(&mut self, id: StreamId, side: Side, status: DataStatus, data: Vec<u8>, in_place: bool) {
        let Some(stream) = self.stream_mut(id) else { return };
        let half = stream.half_mut(side);
        half.iteration = Iteration::StopSingle;
        if in_place {
            half.buffered = Some(data);
        } else if status == DataStatus::StopNoBuffer {
            // The end of the message must still be told after a resume.
            if half.complete && half.trailers.is_none() {
                half.buffered.get_or_insert_default();
            }
        } else {
            half.streaming = status == DataStatus::StopAndWatermark;
            self.buffer(id, side, data);
        }
    }

    fn run_trailers(&mut self, id: StreamId, side: Side) {
        let Some(stream) = self.stream_mut(id) else { return };
        let half = stream.half_mut(side);
        if half.stopped_all() {
            return;
        }
        half.calling = true;
        let goes_on = self.filter_trailers(id, side);
        if self.answered_instead(id, side) {
            return;
        }
        let Some(stream) = self.stream_mut(id) else { return };
        let half = stream.half_mut(side);
        half.end_seen = true;
        match (goes_on, half.iteration) {
            (true, Iteration::StopSingle) => self.continue_side(id, side),
            (true, _) => self.forward_trailers(id, side),
            (false, Iteration::Continue) => half.iteration = Iteration::StopSingle,
            (false, _) => {}
        }
    }

    /// After a callback: a local reply that it sent takes the place of everything else.
    fn answered_instead(&mut self, id: StreamId, side: Side) -> bool {
        let Some(stream) = self.stream_mut(id) else { return true };
        stream.half_mut(side).calling = false;
        if side == Side::Request
            && let Some(reply) = stream.prepared.take()
        {
            self.reply_through_filter(id, reply);
            return true;
        }
        stream.half(side).aborted
    }

    /// What `proxy_continue_stream` does. In Envoy only an assertion of debug builds keeps modules from continuing what
    /// is not stopped.
    pub(super) fn continue_as_asked(&mut self, id: StreamId, side: Side) {
        let Some(stream) = self.stream(id).filter(|stream| stream.can_continue(side)) else { return };
        let half = stream.half(side);
        if half.iteration == Iteration::Continue {
            let what = match side {
                Side::Request => "request, which is not stopped: Envoy sends its trailers twice",
                Side::Response => "response, which is not stopped: Envoy crashes, or sends nothing",
            };
            self.state_mut().fatal = Some(format!("stream {id}: the module continues the {what}"));
            return;
        }
        self.continue_side(id, side);
    }

    /// `commonContinue`: the stopped side goes on from where it stopped.
    pub(super) fn continue_side(&mut self, id: StreamId, side: Side) {
        let Some(stream) = self.stream_mut(id).filter(|stream| stream.can_continue(side)) else { return };
        let half = stream.half_mut(side);
        if half.headers.is_none() {
            return;
        }
        // A continue within a continue leaves it set, so that the filter sees what follows once more. Envoy loses a
        // buffered body that way, when it is let go from the trailers.
        half.from_current |= half.stopped_all();
        half.iteration = Iteration::Continue;
        if !half.headers_continued {
            half.headers_continued = true;
            let only_headers = half.complete && half.buffered.is_none() && half.trailers.is_none();
            self.forward_headers(id, side, only_headers);
        }
        self.continue_body(id, side);
        if let Some(stream) = self.stream_mut(id) {
            stream.half_mut(side).from_current = false;
        }
    }

    fn continue_body(&mut self, id: StreamId, side: Side) {
        let Some(stream) = self.stream_mut(id) else { return };
        let half = stream.half_mut(side);
        let (from_current, has_trailers) = (half.from_current, half.trailers.is_some());
        let end_of_stream = half.complete && !has_trailers;
        if let Some(data) = half.buffered.take() {
            if from_current {
                self.run_data(id, side, data, end_of_stream, true);
            } else {
                self.forward_data(id, side, data, end_of_stream);
            }
        }
        if has_trailers && from_current {
            self.run_trailers(id, side);
        } else if has_trailers {
            self.forward_trailers(id, side);
        }
    }

    /// Keeps data until the side continues; beyond the limit Envoy answers itself, unless it can slow the sender down.
    pub(super) fn buffer(&mut self, id: StreamId, side: Side, data: Vec<u8>) {
        let limit = self.state().plugin.buffer_limit;
        let Some(stream) = self.stream_mut(id) else { return };
        let half = stream.half_mut(side);
        let buffered = half.buffered.get_or_insert_default();
        let before = buffered.len();
        buffered.extend(data);
        if limit > 0 && before <= limit && buffered.len() > limit && !half.streaming {
            let reply = match side {
                Side::Request => LocalReply::of_envoy(413, "Payload Too Large", None, REQUEST_TOO_LARGE),
                Side::Response => {
                    LocalReply::of_envoy(500, "Internal Server Error", None, RESPONSE_TOO_LARGE)
                }
            };
            self.send_local_reply(id, reply);
        }
    }
}
