//! `proxy_get_property`: attributes by path.

use std::time::Duration;

use super::{
    abi::{Side, Status},
    headers::HeaderMap,
    reply::grpc_status,
    state::HostState,
    stream::Stream,
    value::Value,
};

/// Filter state that modules write has this prefix.
pub(crate) const FILTER_STATE_PREFIX: &[u8] = b"wasm.";

/// A property's bytes. The path's parts are separated by NULs.
pub(crate) fn get(state: &HostState, path: &[u8]) -> Result<Vec<u8>, Status> {
    let mut parts = path.strip_suffix(b"\0").unwrap_or(path).split(|b| *b == 0);
    let first = parts.next().filter(|_| !path.is_empty()).ok_or(Status::SerializationFailure)?;
    let rest: Vec<&[u8]> = parts.collect();
    let value = match state.stream() {
        Some(stream) => of_stream(stream, first, &rest)?.or_else(|| of_plugin(state, first)),
        None => of_plugin(state, first),
    };
    let value = match value {
        Some(value) => value,
        None => state.stream().and_then(|stream| written(stream, first)).ok_or(Status::NotFound)?,
    };
    value.encode().ok_or(Status::SerializationFailure)
}

fn of_plugin(state: &HostState, name: &[u8]) -> Option<Value> {
    match name {
        b"plugin_name" => Some(state.plugin.name.as_str().into()),
        b"plugin_root_id" => Some(state.plugin.root_id.as_str().into()),
        b"plugin_vm_id" => Some(state.plugin.vm_id.as_str().into()),
        b"connection_id" => state.stream()?.attributes.member(b"connection")?.member(b"id").cloned(),
        _ => None,
    }
}

/// What any module wrote with `proxy_set_property` under this bare name.
fn written(stream: &Stream, name: &[u8]) -> Option<Value> {
    let key = [FILTER_STATE_PREFIX, name].concat();
    stream.filter_state.get(&key).map(|value| Value::Bytes(value.clone()))
}

/// Attributes of the stream. An error ends the look-up; `None` lets it go on with the plugin's own names.
fn of_stream(stream: &Stream, first: &[u8], rest: &[&[u8]]) -> Result<Option<Value>, Status> {
    let found = match (first, rest) {
        (b"request", [name, rest @ ..]) => request(stream, name, rest),
        (b"response", [name, rest @ ..]) => response(stream, name, rest),
        // Filter state as a whole has objects that are not serialisable.
        (b"filter_state", []) => return Err(Status::SerializationFailure),
        (b"filter_state", [key]) => stream.filter_state.get(*key).map(|value| Value::Bytes(value.clone())),
        (
            b"filter_state" | b"metadata" | b"connection" | b"source" | b"destination" | b"upstream" | b"xds",
            rest,
        ) => stream.attributes.member(first).and_then(|value| descend(value, rest)),
        _ => return Ok(None),
    };
    found.map(Some).ok_or(Status::NotFound)
}

fn descend(value: &Value, path: &[&[u8]]) -> Option<Value> {
    path.iter().try_fold(value, |value, part| value.member(part)).cloned()
}

/// The headers that attributes read: what the module may see now, or everything in the log phase.
fn visible(stream: &Stream, side: Side) -> Option<&HeaderMap> {
    let half = stream.half(side);
    half.headers.as_ref().filter(|_| half.headers_visible || stream.logging)
}

fn request(stream: &Stream, name: &[u8], rest: &[&[u8]]) -> Option<Value> {
    let headers = visible(stream, Side::Request);
    let header = |name: &str| headers.and_then(|headers| headers.joined(name)).map(Value::Bytes);
    let path = || headers?.get(":path");
    let bytes = || i64::try_from(stream.request.bytes).unwrap_or(i64::MAX);
    match name {
        b"headers" => map_member(headers, rest),
        b"path" => header(":path"),
        b"url_path" => Some(path()?.split(|b| *b == b'?').next().unwrap_or_default().into()),
        b"query" => {
            let query = path()?.splitn(2, |b| *b == b'?').nth(1).unwrap_or_default();
            Some(query.split(|b| *b == b'#').next().unwrap_or_default().into())
        }
        b"host" => header(":authority"),
        b"scheme" => header(":scheme"),
        b"method" => header(":method"),
        b"referer" => header("referer"),
        b"useragent" => header("user-agent"),
        b"id" => header("x-request-id"),
        b"time" => nanos(stream.started),
        b"duration" => nanos(stream.ended?.saturating_sub(stream.started)),
        b"size" => {
            let declared = headers.and_then(|h| h.text("content-length")).and_then(|n| n.parse().ok());
            Some(Value::Int(declared.unwrap_or_else(bytes)))
        }
        b"total_size" => {
            let headers = headers.map_or(0, HeaderMap::byte_size);
            Some(Value::Int(bytes().saturating_add(i64::try_from(headers).unwrap_or(i64::MAX))))
        }
        _ => stream.attributes.member(b"request").and_then(|value| descend(value.member(name)?, rest)),
    }
}

fn response(stream: &Stream, name: &[u8], rest: &[&[u8]]) -> Option<Value> {
    let trailers = || {
        let half = &stream.response;
        half.trailers.as_ref().filter(|_| half.trailers_visible || stream.logging)
    };
    let bytes = |more: usize| {
        Value::Int(i64::try_from(stream.response.bytes.saturating_add(more)).unwrap_or(i64::MAX))
    };
    match name {
        b"code" => stream.code.map(|code| Value::Int(code.into())),
        b"code_details" => stream.details.as_deref().map(Value::from),
        b"headers" => map_member(visible(stream, Side::Response), rest),
        b"trailers" => map_member(trailers(), rest),
        b"size" => Some(bytes(0)),
        b"total_size" => {
            let maps = [visible(stream, Side::Response), trailers()];
            Some(bytes(
                maps.into_iter().flatten().fold(0, |sum: usize, map| sum.saturating_add(map.byte_size())),
            ))
        }
        b"flags" => Some(Value::Int(0)),
        b"backend_latency" => {
            let (sent, last) = (stream.upstream_sent?, stream.upstream_last?);
            nanos(last.saturating_sub(sent))
        }
        b"grpc_status" => {
            let maps = [trailers(), visible(stream, Side::Response)].into_iter().flatten();
            let sent = maps.filter_map(|map| map.text("grpc-status")).find_map(|status| status.parse().ok());
            sent.or_else(|| stream.code.map(|code| grpc_status(code).into())).map(Value::Int)
        }
        _ => None,
    }
}

fn nanos(time: Duration) -> Option<Value> {
    i64::try_from(time.as_nanos()).ok().map(Value::Int)
}

/// A map that the module may not see now is there, but empty.
fn map_member(headers: Option<&HeaderMap>, rest: &[&[u8]]) -> Option<Value> {
    match rest {
        [] => {
            let entries = headers.into_iter().flat_map(HeaderMap::iter);
            Some(Value::Map(entries.map(|(name, value)| (name.to_owned(), value.into())).collect()))
        }
        [name] => headers?.joined(std::str::from_utf8(name).ok()?).map(Value::Bytes),
        _ => None,
    }
}
