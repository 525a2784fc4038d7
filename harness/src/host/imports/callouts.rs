//! Calls to other services: `proxy_http_call`, `proxy_grpc_call`.

use std::time::Duration;

use wasmtime::{Error, Linker};

use super::{Call, Refusal, Reply, fatal, host_calls, http::to_headers, read, read_text, write_u32};
use crate::host::{
    abi::Status,
    event::{Event, GrpcCall, HttpCall},
    headers::HeaderMap,
    pairs,
    plugin::Cluster,
    protobuf::{self, Field},
    slots::MapKind,
    state::{CallKind, HostState},
};

pub(super) fn register(linker: &mut Linker<HostState>) -> Result<(), Error> {
    host_calls! { linker:
        "proxy_http_call" => http_call(cluster: u32, cluster_len: u32, headers: u32, headers_len: u32, body: u32,
            body_len: u32, trailers: u32, trailers_len: u32, timeout: u32, token_out: u32);
        "proxy_grpc_call" => grpc_call(upstream: u32, upstream_len: u32, service: u32, service_len: u32, method: u32,
            method_len: u32, metadata: u32, metadata_len: u32, message: u32, message_len: u32, timeout: u32,
            token_out: u32);
        "proxy_grpc_stream" => grpc_stream(upstream: u32, upstream_len: u32, service: u32, service_len: u32,
            method: u32, method_len: u32, metadata: u32, metadata_len: u32, token_out: u32);
        "proxy_grpc_send" => grpc_send(token: u32, message: u32, message_len: u32, end: u32);
        "proxy_grpc_cancel" => grpc_cancel(token: u32);
        "proxy_grpc_close" => grpc_cancel(token: u32);
        "proxy_get_status" => get_status(code_out: u32, ptr_out: u32, len_out: u32);
    }
    Ok(())
}

/// Zero means that the call may take for ever.
fn timeout(millis: u32) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis.into()))
}

#[expect(clippy::too_many_arguments, reason = "the ABI has them")]
fn http_call(
    call: &mut Call<'_>,
    cluster: u32,
    cluster_len: u32,
    headers: u32,
    headers_len: u32,
    body: u32,
    body_len: u32,
    trailers: u32,
    trailers_len: u32,
    millis: u32,
    token_out: u32,
) -> Reply {
    let cluster = read_text(call, cluster, cluster_len)?;
    let body = read(call, body, body_len)?;
    let mut headers = to_headers(MapKind::Request, &pairs::decode(&read(call, headers, headers_len)?));
    let trailers = to_headers(MapKind::RequestTrailers, &pairs::decode(&read(call, trailers, trailers_len)?));
    write_u32(call, token_out, 0)?;
    let reachable = call.data().environment.outside.cluster(&cluster);
    if i32::try_from(millis).is_err()
        || reachable == Cluster::Unknown
        || [":path", ":method", ":authority"].iter().any(|name| headers.get(name).is_none())
    {
        return Err(Status::BadArgument.into());
    }
    complete_headers(&mut headers, body.len(), millis);
    let state = call.data_mut();
    let token = state.root.http_calls.start(CallKind::Http);
    if reachable == Cluster::NoHealthyHost {
        state.root.http_calls.open.remove(&token);
        return Err(Status::InternalFailure.into());
    }
    let timeout = timeout(millis);
    state.events.push(Event::HttpCall(HttpCall { token, cluster, headers, body, trailers, timeout }));
    write_u32(call, token_out, token)
}

/// What Envoy's async client adds before the request leaves.
fn complete_headers(headers: &mut HeaderMap, body: usize, millis: u32) {
    if body > 0 {
        headers.set("content-length", body.to_string());
    }
    headers.set("x-envoy-internal", "true");
    if millis > 0 {
        headers.set("x-envoy-expected-rq-timeout-ms", millis.to_string());
    }
}

#[expect(clippy::too_many_arguments, reason = "the ABI has them")]
fn grpc_call(
    call: &mut Call<'_>,
    upstream: u32,
    upstream_len: u32,
    service: u32,
    service_len: u32,
    method: u32,
    method_len: u32,
    metadata: u32,
    metadata_len: u32,
    message: u32,
    message_len: u32,
    millis: u32,
    token_out: u32,
) -> Reply {
    let upstream = read(call, upstream, upstream_len)?;
    let service = read_text(call, service, service_len)?;
    let method = read_text(call, method, method_len)?;
    let initial_metadata = to_headers(MapKind::Request, &pairs::decode(&read(call, metadata, metadata_len)?));
    let message = read(call, message, message_len)?;
    let cluster = grpc_cluster(call, &upstream)?;
    let reachable = call.data().environment.outside.cluster(&cluster);
    let state = call.data_mut();
    let token = state.root.grpc_calls.start(CallKind::Grpc);
    if reachable != Cluster::Reachable {
        state.root.grpc_calls.open.remove(&token);
        return Err(Status::InternalFailure.into());
    }
    let timeout = timeout(millis);
    let grpc = GrpcCall { token, cluster, service, method, initial_metadata, message, timeout };
    state.events.push(Event::GrpcCall(grpc));
    write_u32(call, token_out, token)
}

/// The cluster of a serialised `GrpcService { envoy_grpc { cluster_name } }`.
///
/// Envoy first tries to read the upstream as that message. A bare name that happens to be a message (`analytics`) ends
/// the whole process, others are taken for a cluster name: so anything else ends the VM here, with the reason.
fn grpc_cluster(call: &mut Call<'_>, upstream: &[u8]) -> Result<String, Refusal> {
    let envoy_grpc = protobuf::parse(upstream).and_then(|fields| bytes_field(&fields, 1));
    let name = envoy_grpc.and_then(protobuf::parse).and_then(|fields| bytes_field(&fields, 1));
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        return Ok(String::from_utf8_lossy(name).into_owned());
    }
    let name = String::from_utf8_lossy(upstream);
    Err(fatal(
        call,
        format!(
            "the gRPC upstream `{name}` is not a serialised `GrpcService`: Envoy misreads such names or aborts; send \
         `envoy_grpc.cluster_name` instead"
        ),
    ))
}

fn bytes_field<'a>(fields: &[Field<'a>], wanted: u64) -> Option<&'a [u8]> {
    fields.iter().rev().find_map(|field| match field {
        Field::Bytes(number, value) if *number == wanted => Some(*value),
        _ => None,
    })
}

#[expect(clippy::too_many_arguments, reason = "the ABI has them")]
fn grpc_stream(
    call: &mut Call<'_>,
    _upstream: u32,
    _upstream_len: u32,
    _service: u32,
    _service_len: u32,
    _method: u32,
    _method_len: u32,
    _metadata: u32,
    _metadata_len: u32,
    _token_out: u32,
) -> Reply {
    Err(fatal(call, "gRPC streams are not modelled by this host; unary calls are".to_owned()))
}

/// No stream can be open, so the token is either a call's or unknown.
fn grpc_send(_: &mut Call<'_>, _token: u32, _message: u32, _message_len: u32, _end: u32) -> Reply {
    Err(Status::BadArgument.into())
}

fn grpc_cancel(call: &mut Call<'_>, token: u32) -> Reply {
    if CallKind::of(token) != Some(CallKind::Grpc) {
        return Err(Status::BadArgument.into());
    }
    let state = call.data_mut();
    if !state.root.grpc_calls.open.remove(&token) {
        return Err(Status::NotFound.into());
    }
    state.events.push(Event::CancelGrpcCall { token });
    Ok(())
}

fn get_status(call: &mut Call<'_>, code_out: u32, ptr_out: u32, len_out: u32) -> Reply {
    let (code, message) = call.data().root.status.clone();
    write_u32(call, code_out, code)?;
    super::give(call, message.as_bytes(), ptr_out, len_out)
}
