//! In which order messages of a request may come. Anything else ends the call, and Envoy refuses the request.

use enforcer_harness::host::Frame;
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::processing_mode::BodySendMode;

/// The direction of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// How Envoy sends the bodies of one direction, as its first message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Bodies {
    /// Not at all.
    #[default]
    None,
    /// In pieces that are answered with other pieces, at any time.
    Duplex,
}

impl Bodies {
    /// `None` for a mode that leaves a filter no way to hold what it has been sent. In `BUFFERED` Envoy sends a body only
    /// when the headers have been answered, and lets the request pass if there is none: a filter that still holds the
    /// headers could refuse nothing any more.
    pub(crate) fn from_wire(mode: i32) -> Option<Self> {
        match BodySendMode::try_from(mode).ok()? {
            BodySendMode::None => Some(Self::None),
            BodySendMode::FullDuplexStreamed => Some(Self::Duplex),
            _ => None,
        }
    }
}

/// How far one direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Progress {
    #[default]
    Nothing,
    Headers,
    Body,
    End,
}

/// What has come of a request so far.
#[derive(Debug, Default)]
pub(crate) struct Order {
    request: Progress,
    response: Progress,
}

impl Order {
    /// Takes the next message; false if it cannot follow what came before. A response may come without a request:
    /// Envoy's own answer to one that got no further than itself.
    pub(crate) fn allows(&mut self, side: Side, frame: &Frame) -> bool {
        if side == Side::Request && self.request == Progress::Nothing && self.response != Progress::Nothing {
            return false;
        }
        let progress = match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        };
        let next = match (*progress, frame) {
            (Progress::Nothing, Frame::Headers { end_of_stream: true, .. }) => Progress::End,
            (Progress::Nothing, Frame::Headers { .. }) => Progress::Headers,
            (Progress::Headers | Progress::Body, Frame::Data { end_of_stream: true, .. })
            | (Progress::Headers | Progress::Body, Frame::Trailers(_)) => Progress::End,
            (Progress::Headers | Progress::Body, Frame::Data { .. }) => Progress::Body,
            _ => return false,
        };
        *progress = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use enforcer_harness::HeaderMap;

    use super::*;

    fn headers(end_of_stream: bool) -> Frame {
        Frame::Headers { headers: HeaderMap::new(), end_of_stream }
    }

    fn data(end_of_stream: bool) -> Frame {
        Frame::Data { data: Vec::new(), end_of_stream }
    }

    fn trailers() -> Frame {
        Frame::Trailers(HeaderMap::new())
    }

    fn allowed(frames: &[(Side, Frame)]) -> bool {
        let mut order = Order::default();
        frames.iter().all(|(side, frame)| order.allows(*side, frame))
    }

    use Side::{Request, Response};

    #[test]
    fn whole_messages_are_fine_in_either_direction() {
        let request = [(Request, headers(false)), (Request, data(false)), (Request, trailers())];
        let response = [(Response, headers(false)), (Response, data(false)), (Response, data(true))];
        assert!(allowed(&[request, response].concat()));
        assert!(allowed(&[(Request, headers(true)), (Response, headers(true))]));
        assert!(allowed(&[(Response, headers(false)), (Response, data(true))]), "Envoy's own answer");
    }

    #[test]
    fn what_cannot_follow_is_refused() {
        for wrong in [
            vec![(Request, data(true))],
            vec![(Request, trailers())],
            vec![(Request, headers(false)), (Request, headers(false))],
            vec![(Request, headers(true)), (Request, data(true))],
            vec![(Request, headers(false)), (Request, data(true)), (Request, trailers())],
            vec![(Request, headers(false)), (Response, data(false))],
            vec![(Response, headers(false)), (Request, headers(false))],
        ] {
            assert!(!allowed(&wrong), "{wrong:?}");
        }
    }

    #[test]
    fn modes_that_cannot_hold_are_not_taken() {
        assert_eq!(Bodies::from_wire(BodySendMode::FullDuplexStreamed.into()), Some(Bodies::Duplex));
        assert_eq!(Bodies::from_wire(BodySendMode::Buffered.into()), None);
        assert_eq!(Bodies::from_wire(BodySendMode::Streamed.into()), None);
        assert_eq!(Bodies::from_wire(BodySendMode::BufferedPartial.into()), None);
        assert_eq!(Bodies::from_wire(99), None);
    }
}
