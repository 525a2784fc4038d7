//! One request as Envoy was told of it so far.

use std::time::Instant;

use enforcer_harness::{
    HeaderMap,
    host::{Ended, Frame, StreamId},
};
use envoy_types::pb::envoy::service::ext_proc::v3::ProcessingResponse;

use crate::{
    journal::Finished,
    message,
    order::{Bodies, Side},
    service::Answers,
};

/// What the host says when the response is the backend's.
pub(crate) const VIA_UPSTREAM: &str = "via_upstream";

/// A request, from Envoy's first message until it closes its call.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The instance, by its number.
    pub(crate) vm: u32,
    pub(crate) stream: StreamId,
    pub(crate) answers: Answers,
    request: Half,
    response: Half,
    /// The module's own answer, as far as it has come.
    answer: Option<(HeaderMap, Vec<u8>)>,
    identified: bool,
    began: Instant,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    bodies: Bodies,
    /// As they came, since Envoy is told of changes only.
    headers: Option<HeaderMap>,
    trailers: Option<HeaderMap>,
    /// The headers have been let go.
    passed: bool,
}

impl Exchange {
    pub(crate) fn new(vm: u32, stream: StreamId, answers: Answers, modes: (Bodies, Bodies)) -> Self {
        let half = |bodies| Half { bodies, ..Half::default() };
        Self {
            vm,
            stream,
            answers,
            request: half(modes.0),
            response: half(modes.1),
            answer: None,
            identified: false,
            began: Instant::now(),
        }
    }

    fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    /// Keeps what later changes are changes to.
    pub(crate) fn note(&mut self, side: Side, frame: &Frame) {
        let half = self.half_mut(side);
        match frame {
            Frame::Headers { headers, .. } => half.headers = Some(headers.clone()),
            Frame::Trailers(trailers) => half.trailers = Some(trailers.clone()),
            Frame::Data { .. } => {}
        }
    }

    /// A piece that goes on. `None`: Envoy has it already.
    pub(crate) fn goes_on(&mut self, side: Side, frame: Frame) -> Option<ProcessingResponse> {
        let half = self.half_mut(side);
        match frame {
            Frame::Headers { headers, .. } => {
                let before = half.headers.clone().unwrap_or_default();
                half.passed = true;
                Some(message::of_headers(side, &before, &headers))
            }
            Frame::Data { data, end_of_stream } => match half.bodies {
                Bodies::None => None,
                Bodies::Duplex => Some(message::of_piece(side, data, end_of_stream)),
            },
            Frame::Trailers(trailers) => {
                let before = half.trailers.as_ref()?;
                Some(message::of_trailers(side, before, &trailers))
            }
        }
    }

    /// The identity has not been told yet: true once.
    pub(crate) fn identify(&mut self) -> bool {
        !std::mem::replace(&mut self.identified, true)
    }

    /// Whether the response has been let go, and Envoy sends nothing more of it.
    pub(crate) fn response_passed(&self) -> bool {
        self.response.passed && self.response.bodies == Bodies::None
    }

    /// A piece of the module's own answer.
    pub(crate) fn collect(&mut self, frame: Frame) {
        let (headers, body) = self.answer.get_or_insert_default();
        match frame {
            Frame::Headers { headers: all, .. } => *headers = all,
            Frame::Data { data, .. } => body.extend(data),
            Frame::Trailers(_) => {}
        }
    }

    /// The module's own answer, if it gave one.
    pub(crate) fn answered(&mut self, details: &str) -> Option<ProcessingResponse> {
        let (headers, body) = self.answer.take()?;
        Some(message::immediate(&headers, body, details.to_owned()))
    }

    /// The record for the log.
    pub(crate) fn finished(&self, filter: &str, ended: Ended) -> Finished {
        let header =
            |name| self.request.headers.as_ref().and_then(|headers| headers.text(name)).unwrap_or_default();
        let path = header(":path");
        Finished {
            filter: filter.to_owned(),
            method: header(":method"),
            host: header(":authority"),
            path: path.split(['?', '#']).next().unwrap_or_default().to_owned(),
            request_id: header("x-request-id"),
            took: self.began.elapsed(),
            ended,
        }
    }
}
