//! The configuration of the Envoy that runs a case file.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use enforcer_testbed::Keys;
use serde_json::{Value, json};

use super::{BACKEND, Plugin, Scene};
use crate::Error;

/// The name of the one listener.
pub(super) const LISTENER: &str = "cases";

/// One listener, the filters, and a cluster for each service. Everything that Envoy could do for the
/// filters is left out: paths are not normalised, so that the filters' own care is what is tested.
pub(super) fn bootstrap(scene: &Scene, services: &BTreeMap<String, SocketAddr>) -> Result<Value, Error> {
    let filters = scene.plugins.iter().map(|plugin| wasm_filter(&plugin.root_id, plugin));
    let mut listener = listener(LISTENER, &filters.chain([router()]).collect::<Vec<_>>());
    let chain = listener.pointer_mut("/filter_chains/0").and_then(Value::as_object_mut);
    if let (true, Some(chain)) = (scene.tls, chain) {
        chain.insert("transport_socket".to_owned(), tls()?);
    }
    let clusters: Vec<Value> =
        services.iter().map(|(name, address)| cluster(name, *address, scene.speaks_grpc(name))).collect();
    Ok(json!({
        "static_resources": { "listeners": [listener], "clusters": clusters },
    }))
}

/// A server that asks clients for a certificate and takes any, or none: what that is worth is for the filter to say.
pub(super) fn tls() -> Result<Value, Error> {
    let server = Keys::shared()?.certified()?;
    Ok(json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": false,
            "common_tls_context": {
                "tls_certificates": [{
                    "certificate_chain": { "inline_string": server.pem() },
                    "private_key": { "inline_string": server.key_pem() },
                }],
                "validation_context": { "trust_chain_verification": "ACCEPT_UNTRUSTED" },
            },
        },
    }))
}

pub(super) fn router() -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    })
}

pub(super) fn wasm_filter(name: &str, plugin: &Plugin) -> Value {
    json!({
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": name,
                "root_id": plugin.root_id,
                "failure_policy": "FAIL_RELOAD",
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": plugin.configuration.to_string(),
                },
                "vm_config": {
                    "vm_id": "enforcer",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": { "local": { "filename": plugin.wasm } },
                },
            },
        },
    })
}

pub(super) fn listener(name: &str, filters: &[Value]) -> Value {
    json!({
        "name": name,
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type":
                    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "cases",
                "normalize_path": false,
                "merge_slashes": false,
                "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
                // Hostile tokens are to reach the filters.
                "max_request_headers_kb": 1024,
                // And so is what clients say of certificates.
                "forward_client_cert_details": "ALWAYS_FORWARD_ONLY",
                "http_protocol_options": { "enable_trailers": true },
                "http_filters": filters,
                "access_log": [access_log()],
                "route_config": { "virtual_hosts": [{
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": BACKEND } }],
                }] },
            },
        }] }],
    })
}

/// What cases look at and a client does not see.
pub(super) fn access_log() -> Value {
    json!({
        "name": "envoy.access_loggers.stdout",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": { "json_format": {
                "details": "%RESPONSE_CODE_DETAILS%",
                "identity": "%FILTER_STATE(wasm.enforcer:PLAIN)%",
                "event": "%FILTER_STATE(wasm.enforcer_event:PLAIN)%",
            } },
        },
    })
}

pub(super) fn cluster(name: &str, address: SocketAddr, grpc: bool) -> Value {
    let socket = json!({ "address": address.ip().to_string(), "port_value": address.port() });
    json!({
        "name": name,
        "connect_timeout": "1s",
        "typed_extension_protocol_options": protocol(grpc),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": { "socket_address": socket } } }] }],
        },
    })
}

/// HTTP/2 for gRPC, else HTTP/1.
pub(super) fn protocol(grpc: bool) -> Value {
    let protocol = match grpc {
        true => json!({ "http2_protocol_options": {} }),
        false => json!({ "http_protocol_options": { "enable_trailers": true } }),
    };
    json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": protocol,
        },
    })
}
