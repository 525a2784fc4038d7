//! The HTTP filter manager with one filter in it (Envoy's `filter_manager.cc`): what stops, what waits, what goes on.

use std::mem;

use super::{
    abi::{DataStatus, HeadersStatus, Side},
    event::{Ended, Event, Frame, StreamId},
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
        if let Some(stream) = self.stream_mut(id).filter(|stream| stream.response.headers.is_none()) {
            stream.details = Some(VIA_UPSTREAM.to_owned());
            stream.code = status_of(&headers);
            stream.response.headers = Some(headers.received(MapKind::Response));
            self.run_headers(id, Side::Response, end_of_stream);
        }
    }

    /// A piece of the response body.
    pub fn response_data(&mut self, id: StreamId, data: Vec<u8>, end_of_stream: bool) {
        self.receive_data(id, Side::Response, data, end_of_stream);
    }

    /// Response trailers; they end the response.
    pub fn response_trailers(&mut self, id: StreamId, trailers: HeaderMap) {
        self.receive_trailers(id, Side::Response, trailers);
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

    fn receive_data(&mut self, id: StreamId, side: Side, data: Vec<u8>, end_of_stream: bool) {
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
    fn run_headers(&mut self, id: StreamId, side: Side, end_of_stream: bool) {
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

    /// `commonContinue`: the stopped side goes on from where it stopped.
    pub(super) fn continue_side(&mut self, id: StreamId, side: Side) {
        let Some(stream) = self.stream_mut(id).filter(|stream| stream.can_continue(side)) else { return };
        let half = stream.half_mut(side);
        if half.headers.is_none() {
            return;
        }
        half.from_current = half.stopped_all();
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

/// Pieces leave here.
impl Worker {
    fn forward_headers(&mut self, id: StreamId, side: Side, end_of_stream: bool) {
        let Some(stream) = self.stream_mut(id) else { return };
        let Some(headers) = stream.half(side).headers.clone() else { return };
        if let Some(refusal) = refusal(side, &headers) {
            return self.send_local_reply(id, refusal);
        }
        if side == Side::Response {
            stream.code = status_of(&headers);
            stream.response_sent = true;
        }
        self.emit(id, side, Frame::Headers { headers, end_of_stream });
    }

    fn forward_data(&mut self, id: StreamId, side: Side, data: Vec<u8>, end_of_stream: bool) {
        if let (Side::Response, Some(stream)) = (side, self.stream_mut(id)) {
            stream.response.bytes = stream.response.bytes.saturating_add(data.len());
        }
        if !data.is_empty() || end_of_stream {
            self.emit(id, side, Frame::Data { data, end_of_stream });
        }
    }

    fn forward_trailers(&mut self, id: StreamId, side: Side) {
        if let Some(trailers) = self.stream(id).and_then(|stream| stream.half(side).trailers.clone()) {
            self.emit(id, side, Frame::Trailers(trailers));
        }
    }

    /// The end of the response is the end of the stream.
    fn emit(&mut self, id: StreamId, side: Side, frame: Frame) {
        let ends = match &frame {
            Frame::Headers { end_of_stream, .. } | Frame::Data { end_of_stream, .. } => *end_of_stream,
            Frame::Trailers(_) => true,
        };
        self.state_mut().events.push(match side {
            Side::Request => Event::ToUpstream(id, frame),
            Side::Response => Event::ToClient(id, frame),
        });
        if side == Side::Response && ends {
            self.close(id);
        }
    }

    pub(super) fn send_local_reply(&mut self, id: StreamId, reply: LocalReply) {
        let Some(stream) = self.stream_mut(id).filter(|stream| !stream.closing) else { return };
        let deciding = stream.request.calling;
        if deciding {
            stream.request.aborted = true;
        } else if stream.response.calling {
            stream.response.aborted = true;
        }
        stream.details = Some(reply.details.clone());
        if stream.response.headers.is_some() && stream.response_sent {
            // The client has the headers of another response: all that is left is to cut it off.
            self.reset(id);
        } else if stream.response.headers.is_some() {
            self.reply_past_filter(id, reply);
        } else if deciding {
            stream.prepared = Some(reply);
        } else {
            self.reply_through_filter(id, reply);
        }
    }

    /// The usual way: a local reply passes the response callbacks like any response.
    fn reply_through_filter(&mut self, id: StreamId, reply: LocalReply) {
        let Some(stream) = self.stream_mut(id) else { return };
        let head_request = stream.head_request;
        stream.code = Some(reply.code);
        let (headers, body) = reply.build(stream.grpc_request);
        stream.response.headers = Some(headers);
        let only_headers = body.is_empty() || head_request;
        self.run_headers(id, Side::Response, only_headers);
        if !only_headers {
            self.receive_data(id, Side::Response, body, true);
        }
    }

    /// The filter is in the middle of another response: the reply goes to the client directly.
    fn reply_past_filter(&mut self, id: StreamId, reply: LocalReply) {
        let Some(stream) = self.stream_mut(id) else { return };
        let head_request = stream.head_request;
        let (headers, body) = reply.build(stream.grpc_request);
        stream.response.complete = true;
        stream.response.headers = Some(headers);
        let only_headers = body.is_empty() || head_request;
        self.forward_headers(id, Side::Response, only_headers);
        if !only_headers {
            self.forward_data(id, Side::Response, body, true);
        }
    }

    pub(super) fn reset(&mut self, id: StreamId) {
        if self.stream(id).is_some_and(|stream| !stream.closing) {
            self.state_mut().events.push(Event::ResetClient(id));
            self.close(id);
        }
    }

    fn close(&mut self, id: StreamId) {
        let Some(stream) = self.stream_mut(id).filter(|stream| !stream.closing) else { return };
        stream.closing = true;
        self.finish_context(id);
        if let Some(stream) = self.state_mut().streams.remove(&id) {
            let ended = Ended {
                code: if stream.response_sent { stream.code.unwrap_or(0) } else { 0 },
                details: stream.details.unwrap_or_default(),
                filter_state: stream
                    .filter_state
                    .into_iter()
                    .map(|(key, value)| (String::from_utf8_lossy(&key).into_owned(), value))
                    .collect(),
                route_cache_clears: stream.route_cache_clears,
                instructions: stream.instructions,
            };
            self.state_mut().events.push(Event::Ended(id, Box::new(ended)));
        }
    }
}

/// What Envoy answers when the module has removed a header that nothing works without.
fn refusal(side: Side, headers: &HeaderMap) -> Option<LocalReply> {
    let missing = |name| headers.get(name).is_none();
    match side {
        Side::Request if missing(":path") => Some(LocalReply::of_envoy(404, "", None, "route_not_found")),
        Side::Request if missing(":method") => Some(LocalReply::of_envoy(
            503,
            "missing required header: :method",
            None,
            "filter_removed_required_request_headers{missing_required_header:_:method}",
        )),
        Side::Response if missing(":status") => Some(LocalReply::of_envoy(
            502,
            "missing required header: :status",
            None,
            "filter_removed_required_response_headers{missing_required_header:_:status}",
        )),
        _ => None,
    }
}

fn status_of(headers: &HeaderMap) -> Option<u16> {
    headers.text(":status")?.parse().ok()
}
