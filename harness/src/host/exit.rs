//! The way out of the filter chain: pieces that go on, local replies, the end of a stream.

use super::{
    abi::Side,
    event::{Ended, Event, Frame, StreamId},
    headers::HeaderMap,
    reply::LocalReply,
    worker::Worker,
};

/// Pieces that go on, to the upstream or the client.
impl Worker {
    pub(super) fn forward_headers(&mut self, id: StreamId, side: Side, end_of_stream: bool) {
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

    pub(super) fn forward_data(&mut self, id: StreamId, side: Side, data: Vec<u8>, end_of_stream: bool) {
        if let (Side::Response, Some(stream)) = (side, self.stream_mut(id)) {
            stream.response.bytes = stream.response.bytes.saturating_add(data.len());
        }
        if !data.is_empty() || end_of_stream {
            self.emit(id, side, Frame::Data { data, end_of_stream });
        }
    }

    pub(super) fn forward_trailers(&mut self, id: StreamId, side: Side) {
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
        if side == Side::Request {
            let now = self.state().environment.outside.wall_clock();
            if let Some(stream) = self.stream_mut(id) {
                stream.upstream_sent.get_or_insert(now);
            }
        }
        self.state_mut().events.push(match side {
            Side::Request => Event::ToUpstream(id, frame),
            Side::Response => Event::ToClient(id, frame),
        });
        if side == Side::Response && ends {
            self.close(id);
        }
    }
}

/// Local replies and the end.
impl Worker {
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
    pub(super) fn reply_through_filter(&mut self, id: StreamId, reply: LocalReply) {
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

    pub(super) fn close(&mut self, id: StreamId) {
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

pub(super) fn status_of(headers: &HeaderMap) -> Option<u16> {
    headers.text(":status")?.parse().ok()
}
