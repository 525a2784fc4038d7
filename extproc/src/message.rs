//! Between the host's frames and ext_proc's messages.

use std::collections::{BTreeMap, HashMap, HashSet};

use enforcer_harness::{HeaderMap, Value, host::Frame};
use envoy_types::pb::{
    envoy::{
        config::core::v3::{
            HeaderMap as ProtoHeaders, HeaderValue, HeaderValueOption, Metadata,
            header_value_option::HeaderAppendAction,
        },
        service::ext_proc::v3::{
            BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, ImmediateResponse,
            ProcessingResponse, StreamedBodyResponse, TrailersResponse, body_mutation::Mutation,
            processing_request::Request, processing_response::Response,
        },
        r#type::v3::HttpStatus,
    },
    google::protobuf::{self, Struct, value::Kind},
};
use serde_json::json;

use crate::order::Side;

/// What Envoy sends: the direction, and the next piece. `None` for a message without content, or of a kind that later
/// versions of the protocol may have.
pub(crate) fn piece(message: Option<Request>) -> Option<(Side, Frame)> {
    Some(match message? {
        Request::RequestHeaders(head) => (Side::Request, headers(head.headers, head.end_of_stream)),
        Request::ResponseHeaders(head) => (Side::Response, headers(head.headers, head.end_of_stream)),
        Request::RequestBody(body) => (Side::Request, data(body.body, body.end_of_stream)),
        Request::ResponseBody(body) => (Side::Response, data(body.body, body.end_of_stream)),
        Request::RequestTrailers(end) => (Side::Request, Frame::Trailers(decode(end.trailers))),
        Request::ResponseTrailers(end) => (Side::Response, Frame::Trailers(decode(end.trailers))),
        #[expect(unreachable_patterns, reason = "later versions of the protocol may send more")]
        _ => return None,
    })
}

fn headers(headers: Option<ProtoHeaders>, end_of_stream: bool) -> Frame {
    Frame::Headers { headers: decode(headers), end_of_stream }
}

fn data(data: Vec<u8>, end_of_stream: bool) -> Frame {
    Frame::Data { data, end_of_stream }
}

fn decode(headers: Option<ProtoHeaders>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for header in headers.unwrap_or_default().headers {
        let value = if header.raw_value.is_empty() { header.value.into_bytes() } else { header.raw_value };
        map.add(&header.key, value);
    }
    map
}

/// The name under which Envoy sends attributes.
const FILTER: &str = "envoy.filters.http.ext_proc";

/// What modules can read of the stream: the attributes that Envoy was told to send (`requestAttributes`), and metadata.
pub(crate) fn attributes(sent: &HashMap<String, Struct>, metadata: Option<&Metadata>) -> Value {
    let mut groups: BTreeMap<&str, Vec<(String, Value)>> = BTreeMap::new();
    for (path, value) in sent.get(FILTER).into_iter().flat_map(|sent| &sent.fields) {
        if let Some((group, name)) = path.split_once('.') {
            groups.entry(group).or_default().push((name.to_owned(), attribute(value)));
        }
    }
    if let Some(metadata) = metadata {
        let namespaces = metadata.filter_metadata.iter();
        let members = namespaces.map(|(name, members)| (name.clone(), Value::from_json(&object(members))));
        let all = Value::Map(members.collect());
        groups.entry("metadata").or_default().push(("filter_metadata".to_owned(), all));
    }
    Value::Map(groups.into_iter().map(|(group, members)| (group.to_owned(), Value::Map(members))).collect())
}

/// The name of Envoy's route, if Envoy was told to send it.
pub(crate) fn route(sent: &HashMap<String, Struct>) -> Option<&str> {
    match &sent.get(FILTER)?.fields.get("xds.route_name")?.kind {
        Some(Kind::StringValue(name)) => Some(name),
        _ => None,
    }
}

/// Numbers lose their type on the way. All that attributes have are whole.
fn attribute(value: &protobuf::Value) -> Value {
    match &value.kind {
        #[expect(clippy::cast_possible_truncation, reason = "the fraction is zero, and the range is checked")]
        Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() < 9e15 => Value::Int(*n as i64),
        _ => Value::from_json(&plain(value)),
    }
}

fn plain(value: &protobuf::Value) -> serde_json::Value {
    match &value.kind {
        Some(Kind::NumberValue(n)) => json!(n),
        Some(Kind::StringValue(text)) => json!(text),
        Some(Kind::BoolValue(is)) => json!(is),
        Some(Kind::StructValue(members)) => object(members),
        Some(Kind::ListValue(items)) => items.values.iter().map(plain).collect(),
        Some(Kind::NullValue(_)) | None => serde_json::Value::Null,
    }
}

fn object(members: &Struct) -> serde_json::Value {
    members.fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
}

fn structure(value: serde_json::Value) -> protobuf::Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(is) => Kind::BoolValue(is),
        serde_json::Value::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(items) => {
            let values = items.into_iter().map(structure).collect();
            Kind::ListValue(protobuf::ListValue { values })
        }
        serde_json::Value::Object(members) => {
            let fields = members.into_iter().map(|(name, value)| (name, structure(value))).collect();
            Kind::StructValue(Struct { fields })
        }
    };
    protobuf::Value { kind: Some(kind) }
}

/// The namespace of dynamic metadata in which the identity goes back to Envoy, which takes it where
/// `metadata_options.receiving_namespaces` names it.
const NAMESPACE: &str = "enforcer";

/// Dynamic metadata `enforcer`, with the identity's members.
pub(crate) fn with_identity(response: ProcessingResponse, identity: serde_json::Value) -> ProcessingResponse {
    let fields = HashMap::from([(NAMESPACE.to_owned(), structure(identity))]);
    ProcessingResponse { dynamic_metadata: Some(Struct { fields }), ..response }
}

/// What Envoy is told of headers: how they differ from how they came.
pub(crate) fn of_headers(side: Side, before: &HeaderMap, after: &HeaderMap) -> ProcessingResponse {
    let response =
        common(CommonResponse { header_mutation: changes(before, after), ..CommonResponse::default() });
    respond(match side {
        Side::Request => Response::RequestHeaders(HeadersResponse { response }),
        Side::Response => Response::ResponseHeaders(HeadersResponse { response }),
    })
}

/// A piece of a body in place of those that came.
pub(crate) fn of_piece(side: Side, body: Vec<u8>, end_of_stream: bool) -> ProcessingResponse {
    let streamed = StreamedBodyResponse { body, end_of_stream, ..StreamedBodyResponse::default() };
    let body_mutation = Some(BodyMutation { mutation: Some(Mutation::StreamedResponse(streamed)) });
    let response = common(CommonResponse { body_mutation, ..CommonResponse::default() });
    respond(match side {
        Side::Request => Response::RequestBody(BodyResponse { response }),
        Side::Response => Response::ResponseBody(BodyResponse { response }),
    })
}

/// What Envoy is told of trailers.
pub(crate) fn of_trailers(side: Side, before: &HeaderMap, after: &HeaderMap) -> ProcessingResponse {
    let end = TrailersResponse { header_mutation: changes(before, after) };
    respond(match side {
        Side::Request => Response::RequestTrailers(end),
        Side::Response => Response::ResponseTrailers(end),
    })
}

/// An answer in the backend's place.
pub(crate) fn immediate(headers: &HeaderMap, body: Vec<u8>, details: String) -> ProcessingResponse {
    let code = headers.text(":status").and_then(|status| status.parse().ok()).unwrap_or(500);
    let own: HeaderMap = headers.iter().filter(|(name, _)| !name.starts_with(':')).collect();
    respond(Response::ImmediateResponse(ImmediateResponse {
        status: Some(HttpStatus { code }),
        headers: changes(&HeaderMap::new(), &own),
        body,
        grpc_status: None,
        details,
    }))
}

fn common(response: CommonResponse) -> Option<CommonResponse> {
    Some(response)
}

fn respond(response: Response) -> ProcessingResponse {
    ProcessingResponse { response: Some(response), ..ProcessingResponse::default() }
}

/// The mutation that makes one map of the other; `None` if they are alike.
pub(crate) fn changes(before: &HeaderMap, after: &HeaderMap) -> Option<HeaderMutation> {
    if before == after {
        return None;
    }
    let mut mutation = HeaderMutation::default();
    let mut seen = HashSet::new();
    for (name, _) in before.iter() {
        if seen.insert(name) && after.get(name).is_none() {
            mutation.remove_headers.push(name.to_owned());
        }
    }
    seen.clear();
    for (name, _) in after.iter() {
        if seen.insert(name) && !before.all(name).eq(after.all(name)) {
            let actions = std::iter::once(HeaderAppendAction::OverwriteIfExistsOrAdd)
                .chain(std::iter::repeat(HeaderAppendAction::AppendIfExistsOrAdd));
            mutation
                .set_headers
                .extend(after.all(name).zip(actions).map(|(value, action)| set(name, value, action)));
        }
    }
    Some(mutation)
}

fn set(name: &str, value: &[u8], action: HeaderAppendAction) -> HeaderValueOption {
    let header = HeaderValue { key: name.to_owned(), raw_value: value.to_vec(), ..HeaderValue::default() };
    HeaderValueOption {
        header: Some(header),
        append_action: action.into(),
        // An empty value is a value.
        keep_empty_value: true,
        ..HeaderValueOption::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: &[(&str, &str)], after: &[(&str, &str)]) -> Option<(Vec<String>, Vec<String>)> {
        let map = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<HeaderMap>();
        changes(&map(before), &map(after)).map(|mutation| {
            let line = |option: HeaderValueOption| {
                let header = option.header.unwrap();
                let value = String::from_utf8(header.raw_value).unwrap();
                format!("{}={value} {}", header.key, option.append_action)
            };
            (mutation.remove_headers, mutation.set_headers.into_iter().map(line).collect())
        })
    }

    #[test]
    fn only_what_changed_is_told() {
        assert_eq!(told(&[("a", "1")], &[("a", "1")]), None);
        assert_eq!(
            told(&[("a", "1"), ("b", "2"), ("b", "3"), ("c", "4")], &[("a", "1"), ("c", "5"), ("c", "6")]),
            Some((vec!["b".into()], vec!["c=5 2".into(), "c=6 0".into()]))
        );
        assert_eq!(told(&[("a", "1")], &[("a", "")]), Some((vec![], vec!["a= 2".into()])));
    }

    #[test]
    fn attributes_are_typed_and_grouped() {
        let fields = HashMap::from([
            ("source.address".to_owned(), structure(json!("192.0.2.7:1"))),
            ("connection.mtls".to_owned(), structure(json!(true))),
            ("source.port".to_owned(), structure(json!(1))),
        ]);
        let sent = HashMap::from([(FILTER.to_owned(), Struct { fields })]);
        let Value::Map(groups) = attributes(&sent, None) else { panic!() };
        let group = |name: &str| groups.iter().find(|(group, _)| group == name).unwrap().1.clone();
        assert_eq!(group("connection"), Value::Map(vec![("mtls".into(), Value::Bool(true))]));
        let Value::Map(mut source) = group("source") else { panic!() };
        source.sort_by(|(a, _), (b, _)| a.cmp(b));
        assert_eq!(source, [("address".into(), "192.0.2.7:1".into()), ("port".into(), Value::Int(1))]);
    }

    #[test]
    fn metadata_keeps_its_shape() {
        let json = json!({ "a": [1.5, null, { "b": "c" }] });
        assert_eq!(plain(&structure(json.clone())), json);
    }
}
