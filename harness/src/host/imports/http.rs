//! Header maps, bodies, and what becomes of the stream.

use wasmtime::{Error, Linker};

use super::{Call, Refusal, Reply, fatal, give, host_calls, invalid_memory, read, read_text, write_u32};
use crate::host::{
    abi::{BufferType, MapType, Side, Status},
    headers::HeaderMap,
    pairs,
    reply::LocalReply,
    slots::MapKind,
    state::{Deferred, HostState},
    stream::Stream,
};

pub(super) fn register(linker: &mut Linker<HostState>) -> Result<(), Error> {
    host_calls! { linker:
        "proxy_get_header_map_value" => get_value(map: u32, name: u32, name_len: u32, ptr_out: u32, len_out: u32);
        "proxy_add_header_map_value" => add_value(map: u32, name: u32, name_len: u32, value: u32, value_len: u32);
        "proxy_replace_header_map_value" => set_value(map: u32, name: u32, name_len: u32, value: u32, value_len: u32);
        "proxy_remove_header_map_value" => remove_value(map: u32, name: u32, name_len: u32);
        "proxy_get_header_map_pairs" => get_pairs(map: u32, ptr_out: u32, len_out: u32);
        "proxy_set_header_map_pairs" => set_pairs(map: u32, ptr: u32, len: u32);
        "proxy_get_header_map_size" => get_size(map: u32, size_out: u32);
        "proxy_get_buffer_bytes" => get_buffer(buffer: u32, start: u32, max: u32, ptr_out: u32, len_out: u32);
        "proxy_get_buffer_status" => get_buffer_status(buffer: u32, len_out: u32, flags_out: u32);
        "proxy_set_buffer_bytes" => set_buffer(buffer: u32, start: u32, drop: u32, data: u32, data_len: u32);
        "proxy_continue_stream" => continue_stream(kind: u32);
        "proxy_close_stream" => close_stream(kind: u32);
        "proxy_send_local_response" => send_local_response(code: u32, details: u32, details_len: u32, body: u32,
            body_len: u32, headers: u32, headers_len: u32, grpc_status: u32);
    }
    Ok(())
}

fn map_type(map: u32) -> Result<MapType, Refusal> {
    MapType::from_wire(map).ok_or_else(|| Status::BadArgument.into())
}

/// `Context::getConstMap`: the map that may be read now.
fn readable(state: &HostState, map: MapType) -> Option<&HeaderMap> {
    match map {
        MapType::HttpCallResponseHeaders => return state.call_response_headers(),
        MapType::HttpCallResponseTrailers => {
            return state
                .root
                .http_response
                .as_ref()
                .map(|r| &r.trailers)
                .filter(|trailers| !trailers.is_empty());
        }
        MapType::GrpcReceiveInitialMetadata | MapType::GrpcReceiveTrailingMetadata => return None,
        _ => {}
    }
    let stream = state.stream()?;
    let half = stream.half(side(map)?);
    match map {
        MapType::RequestHeaders | MapType::ResponseHeaders => {
            half.headers.as_ref().filter(|_| half.headers_visible || stream.logging)
        }
        // The access log is not given the request's trailers.
        MapType::RequestTrailers if stream.logging => None,
        _ => half.trailers.as_ref().filter(|_| half.trailers_visible || stream.logging),
    }
}

/// `Context::getMap`: the map that may be changed now. Asking for trailers in the last body callback makes some.
fn writable(state: &mut HostState, map: MapType) -> Result<&mut HeaderMap, Refusal> {
    let unavailable = || Refusal::Status(Status::BadArgument);
    let side = side(map).ok_or_else(unavailable)?;
    let stream = state.stream_mut().ok_or_else(unavailable)?;
    let end_of_stream = stream.end_of_stream;
    let half = stream.half_mut(side);
    let headers = matches!(map, MapType::RequestHeaders | MapType::ResponseHeaders);
    if !headers && half.trailers.is_none() && half.chunk_visible && end_of_stream {
        half.trailers = Some(HeaderMap::new());
        half.trailers_visible = true;
    }
    let (map, visible) = match headers {
        true => (&mut half.headers, half.headers_visible),
        false => (&mut half.trailers, half.trailers_visible),
    };
    map.as_mut().filter(|_| visible).ok_or_else(unavailable)
}

fn side(map: MapType) -> Option<Side> {
    match map {
        MapType::RequestHeaders | MapType::RequestTrailers => Some(Side::Request),
        MapType::ResponseHeaders | MapType::ResponseTrailers => Some(Side::Response),
        _ => None,
    }
}

fn kind(map: MapType) -> MapKind {
    match map {
        MapType::RequestHeaders => MapKind::Request,
        MapType::RequestTrailers => MapKind::RequestTrailers,
        MapType::ResponseHeaders | MapType::HttpCallResponseHeaders => MapKind::Response,
        _ => MapKind::ResponseTrailers,
    }
}

/// Changes a map. With ABI 0.2.1 any change of request headers makes Envoy choose the route again.
fn change(call: &mut Call<'_>, map: MapType, f: impl FnOnce(&mut HeaderMap)) -> Reply {
    f(writable(call.data_mut(), map)?);
    if map == MapType::RequestHeaders
        && let Some(stream) = call.data_mut().stream_mut()
    {
        clear_route_cache(stream);
    }
    Ok(())
}

pub(super) fn clear_route_cache(stream: &mut Stream) {
    stream.route_cache_clears = stream.route_cache_clears.saturating_add(1);
}

fn get_value(call: &mut Call<'_>, map: u32, name: u32, name_len: u32, ptr_out: u32, len_out: u32) -> Reply {
    let map = map_type(map)?;
    let name = read_text(call, name, name_len)?;
    let state = call.data();
    let logging = state.stream().is_some_and(|stream| stream.logging);
    let absent = if logging { Status::NotFound } else { Status::BadArgument };
    let name = kind(map).canonical(&name);
    let value = readable(state, map).ok_or(absent)?.get(&name).ok_or(Status::NotFound)?.to_vec();
    give(call, &value, ptr_out, len_out)
}

fn add_value(call: &mut Call<'_>, map: u32, name: u32, name_len: u32, value: u32, value_len: u32) -> Reply {
    let map = map_type(map)?;
    let (name, value) = (read_text(call, name, name_len)?, read(call, value, value_len)?);
    change(call, map, |headers| headers.append(kind(map), &name, &value))
}

fn set_value(call: &mut Call<'_>, map: u32, name: u32, name_len: u32, value: u32, value_len: u32) -> Reply {
    let map = map_type(map)?;
    let (name, value) = (read_text(call, name, name_len)?, read(call, value, value_len)?);
    change(call, map, |headers| headers.set(&kind(map).canonical(&name), value))
}

fn remove_value(call: &mut Call<'_>, map: u32, name: u32, name_len: u32) -> Reply {
    let map = map_type(map)?;
    let name = read_text(call, name, name_len)?;
    change(call, map, |headers| headers.remove(&kind(map).canonical(&name)))
}

/// Where there is no map to read there are no pairs, and no error either.
fn get_pairs(call: &mut Call<'_>, map: u32, ptr_out: u32, len_out: u32) -> Reply {
    let map = map_type(map)?;
    let headers = readable(call.data(), map).filter(|headers| !headers.is_empty());
    let bytes = headers.map(|headers| pairs::encode(headers.iter())).unwrap_or_default();
    give(call, &bytes, ptr_out, len_out)
}

fn set_pairs(call: &mut Call<'_>, map: u32, ptr: u32, len: u32) -> Reply {
    let map = map_type(map)?;
    let pairs = pairs::decode(&read(call, ptr, len)?);
    change(call, map, |headers| *headers = to_headers(kind(map), &pairs))
}

pub(super) fn to_headers(kind: MapKind, pairs: &pairs::Pairs) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(kind, &String::from_utf8_lossy(name), value);
    }
    headers
}

fn get_size(call: &mut Call<'_>, map: u32, size_out: u32) -> Reply {
    let map = map_type(map)?;
    let size = writable(call.data_mut(), map)?.byte_size();
    write_u32(call, size_out, u32::try_from(size).unwrap_or(u32::MAX))
}

/// `Context::getBuffer`: empty where Envoy has a buffer object without contents, an error where it has none.
fn buffer(state: &mut HostState, kind: u32) -> Result<&[u8], Refusal> {
    let context = state.context();
    let last = state.last_buffer.filter(|(owner, _)| *owner == context).map(|(_, kind)| kind);
    let kind = match BufferType::from_wire(kind).ok_or(Status::BadArgument)? {
        BufferType::CallData => match last {
            Some(last) => last,
            None => return Ok(&[]),
        },
        kind => kind,
    };
    if kind == BufferType::PluginConfiguration && !state.root.configuring
        || kind == BufferType::HttpCallResponseBody && state.root.http_response.is_none()
    {
        return Err(Status::NotFound.into());
    }
    state.last_buffer = Some((context, kind));
    let stream = state.stream();
    Ok(match kind {
        BufferType::RequestBody => stream.map_or(&[], |stream| stream.request.body()),
        BufferType::ResponseBody => stream.map_or(&[], |stream| stream.response.body()),
        BufferType::Network | BufferType::CallData => &[],
        BufferType::HttpCallResponseBody => {
            state.root.http_response.as_ref().map_or(&[], |response| &response.body)
        }
        BufferType::GrpcReceive => state.root.grpc_message.as_deref().unwrap_or_default(),
        BufferType::VmConfiguration => &state.plugin.vm_configuration,
        BufferType::PluginConfiguration => &state.plugin.configuration,
    })
}

fn get_buffer(call: &mut Call<'_>, kind: u32, start: u32, max: u32, ptr_out: u32, len_out: u32) -> Reply {
    let bytes = buffer(call.data_mut(), kind)?;
    let start = usize::try_from(start).map_err(invalid_memory)?;
    let max = usize::try_from(max).map_err(invalid_memory)?;
    let rest = bytes.get(start..).unwrap_or_default();
    let part = rest.get(..max).unwrap_or(rest).to_vec();
    give(call, &part, ptr_out, len_out)
}

fn get_buffer_status(call: &mut Call<'_>, kind: u32, len_out: u32, flags_out: u32) -> Reply {
    let len = u32::try_from(buffer(call.data_mut(), kind)?.len()).unwrap_or(u32::MAX);
    write_u32(call, len_out, len)?;
    write_u32(call, flags_out, 0)
}

/// `Buffer::copyFrom`: replaces a prefix, or appends; only bodies can be changed.
fn set_buffer(call: &mut Call<'_>, kind: u32, start: u32, drop: u32, data: u32, data_len: u32) -> Reply {
    buffer(call.data_mut(), kind)?;
    let data = read(call, data, data_len)?;
    let start = usize::try_from(start).map_err(invalid_memory)?;
    let drop = usize::try_from(drop).map_err(invalid_memory)?;
    let body = match (BufferType::from_wire(kind), call.data_mut().stream_mut()) {
        (Some(BufferType::RequestBody), Some(stream)) => stream.request.body_mut(),
        (Some(BufferType::ResponseBody), Some(stream)) => stream.response.body_mut(),
        _ => None,
    };
    let body = body.ok_or(Status::BadArgument)?;
    if start == 0 {
        let rest = body.split_off(drop.min(body.len()));
        *body = [data, rest].concat();
    } else if start >= body.len() {
        body.extend_from_slice(&data);
    } else {
        return Err(Status::BadArgument.into());
    }
    Ok(())
}

fn continue_stream(call: &mut Call<'_>, kind: u32) -> Reply {
    let side = stream_side(kind)?;
    let state = call.data_mut();
    let id = state.context();
    if let Some(stream) = state.streams.get_mut(&id) {
        // Whichever side continues, it is the request that the module can no longer see.
        stream.request.headers_visible = false;
        stream.request.chunk_visible = false;
        stream.request.trailers_visible = false;
        state.deferred.push_back(Deferred::Continue(id, side));
    }
    Ok(())
}

fn close_stream(call: &mut Call<'_>, kind: u32) -> Reply {
    stream_side(kind)?;
    forbid_at_the_end(call, "proxy_close_stream")?;
    let state = call.data_mut();
    let id = state.context();
    if let Some(stream) = state.streams.get_mut(&id) {
        stream.details.get_or_insert_with(|| "wasm_close_stream".to_owned());
        state.deferred.push_back(Deferred::Reset(id));
    }
    Ok(())
}

/// Envoy crashes, or logs the request twice, when a stream is answered or cut from `proxy_on_log` on.
fn forbid_at_the_end(call: &mut Call<'_>, name: &str) -> Reply {
    match call.data().stream() {
        Some(stream) if stream.closing => {
            Err(fatal(call, format!("`{name}` for a stream that is over: Envoy does not survive it")))
        }
        _ => Ok(()),
    }
}

/// Streams of an HTTP filter are 0 and 1; 2 and 3 are those of network filters.
fn stream_side(kind: u32) -> Result<Side, Refusal> {
    match kind {
        0 => Ok(Side::Request),
        1 => Ok(Side::Response),
        3 => Err(Status::Unimplemented.into()),
        _ => Err(Status::BadArgument.into()),
    }
}

#[expect(clippy::too_many_arguments, reason = "the ABI has them")]
fn send_local_response(
    call: &mut Call<'_>,
    code: u32,
    details: u32,
    details_len: u32,
    body: u32,
    body_len: u32,
    headers: u32,
    headers_len: u32,
    grpc_status: u32,
) -> Reply {
    let details = read_text(call, details, details_len)?;
    let body = read(call, body, body_len)?;
    let headers = pairs::decode(&read(call, headers, headers_len)?);
    let reply = LocalReply {
        code: u16::try_from(code).unwrap_or(u16::MAX),
        body,
        headers: headers
            .into_iter()
            .map(|(n, v)| (String::from_utf8_lossy(&n).to_ascii_lowercase(), v))
            .collect(),
        grpc_status: (grpc_status <= 16).then_some(grpc_status),
        // Details are one word in access logs.
        details: details.replace(|c: char| c.is_ascii_whitespace(), "_"),
    };
    forbid_at_the_end(call, "proxy_send_local_response")?;
    let state = call.data_mut();
    let id = state.context();
    if state.streams.contains_key(&id) {
        state.deferred.push_back(Deferred::Reply(id, reply));
    }
    state.stop_iteration = true;
    Ok(())
}
