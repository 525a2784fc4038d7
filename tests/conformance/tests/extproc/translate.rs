//! Between the host's frames and ext_proc's messages.

use enforcer_harness::{HeaderMap, host::Frame};
use envoy_types::pb::envoy::{
    config::core::v3::{
        HeaderMap as ProtoHeaders, HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
    },
    service::ext_proc::v3::{
        BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, ImmediateResponse,
        ProcessingResponse, StreamedBodyResponse, TrailersResponse, body_mutation::Mutation,
        processing_request::Request, processing_response::Response,
    },
    r#type::v3::HttpStatus,
};

/// The direction of a message, and its next piece.
pub(super) enum Piece {
    OfRequest(Frame),
    OfResponse(Frame),
}

/// What Envoy sends.
pub(super) fn piece(message: Request) -> Option<Piece> {
    Some(match message {
        Request::RequestHeaders(head) => Piece::OfRequest(headers(head.headers, head.end_of_stream)),
        Request::ResponseHeaders(head) => Piece::OfResponse(headers(head.headers, head.end_of_stream)),
        Request::RequestBody(body) => {
            Piece::OfRequest(Frame::Data { data: body.body, end_of_stream: body.end_of_stream })
        }
        Request::ResponseBody(body) => {
            Piece::OfResponse(Frame::Data { data: body.body, end_of_stream: body.end_of_stream })
        }
        Request::RequestTrailers(end) => Piece::OfRequest(Frame::Trailers(decode(end.trailers))),
        Request::ResponseTrailers(end) => Piece::OfResponse(Frame::Trailers(decode(end.trailers))),
        #[expect(unreachable_patterns, reason = "later versions of the protocol may send more")]
        _ => return None,
    })
}

fn headers(headers: Option<ProtoHeaders>, end_of_stream: bool) -> Frame {
    Frame::Headers { headers: decode(headers), end_of_stream }
}

fn decode(headers: Option<ProtoHeaders>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for header in headers.unwrap_or_default().headers {
        let value = if header.raw_value.is_empty() { header.value.into_bytes() } else { header.raw_value };
        map.add(&header.key, value);
    }
    map
}

/// What Envoy is told about a piece of the request. `before` are the headers or trailers as they came.
pub(super) fn of_request(frame: Frame, before: &HeaderMap) -> ProcessingResponse {
    respond(match frame {
        Frame::Headers { headers, .. } => Response::RequestHeaders(head(before, &headers)),
        Frame::Data { data, end_of_stream } => Response::RequestBody(body(data, end_of_stream)),
        Frame::Trailers(trailers) => Response::RequestTrailers(end(before, &trailers)),
    })
}

/// [`of_request`], for the response.
pub(super) fn of_response(frame: Frame, before: &HeaderMap) -> ProcessingResponse {
    respond(match frame {
        Frame::Headers { headers, .. } => Response::ResponseHeaders(head(before, &headers)),
        Frame::Data { data, end_of_stream } => Response::ResponseBody(body(data, end_of_stream)),
        Frame::Trailers(trailers) => Response::ResponseTrailers(end(before, &trailers)),
    })
}

/// An answer in the backend's place.
pub(super) fn immediate(headers: &HeaderMap, body: Vec<u8>, details: String) -> ProcessingResponse {
    let code = headers.text(":status").and_then(|status| status.parse().ok()).unwrap_or(500);
    let own: HeaderMap = headers.iter().filter(|(name, _)| !name.starts_with(':')).collect();
    respond(Response::ImmediateResponse(ImmediateResponse {
        status: Some(HttpStatus { code }),
        headers: Some(changes(&HeaderMap::new(), &own)),
        body,
        grpc_status: None,
        details,
    }))
}

fn respond(response: Response) -> ProcessingResponse {
    ProcessingResponse { response: Some(response), ..ProcessingResponse::default() }
}

fn head(before: &HeaderMap, after: &HeaderMap) -> HeadersResponse {
    let header_mutation = Some(changes(before, after));
    HeadersResponse { response: Some(CommonResponse { header_mutation, ..CommonResponse::default() }) }
}

fn body(body: Vec<u8>, end_of_stream: bool) -> BodyResponse {
    let streamed = StreamedBodyResponse { body, end_of_stream, ..StreamedBodyResponse::default() };
    let body_mutation = Some(BodyMutation { mutation: Some(Mutation::StreamedResponse(streamed)) });
    BodyResponse { response: Some(CommonResponse { body_mutation, ..CommonResponse::default() }) }
}

fn end(before: &HeaderMap, after: &HeaderMap) -> TrailersResponse {
    TrailersResponse { header_mutation: Some(changes(before, after)) }
}

fn changes(before: &HeaderMap, after: &HeaderMap) -> HeaderMutation {
    let values = |map: &HeaderMap, name: &str| map.all(name).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut mutation = HeaderMutation::default();
    for (name, _) in before.iter().filter(|(name, _)| after.get(name).is_none()) {
        mutation.remove_headers.push(name.to_owned());
    }
    let mut seen = Vec::new();
    for (name, _) in after.iter() {
        if seen.contains(&name) || values(before, name) == values(after, name) {
            continue;
        }
        seen.push(name);
        for (index, value) in values(after, name).into_iter().enumerate() {
            let action = match index {
                0 => HeaderAppendAction::OverwriteIfExistsOrAdd,
                _ => HeaderAppendAction::AppendIfExistsOrAdd,
            };
            mutation.set_headers.push(HeaderValueOption {
                header: Some(HeaderValue {
                    key: name.to_owned(),
                    raw_value: value,
                    ..HeaderValue::default()
                }),
                append_action: action.into(),
                ..HeaderValueOption::default()
            });
        }
    }
    mutation
}
