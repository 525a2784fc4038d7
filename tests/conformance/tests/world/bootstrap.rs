//! An Envoy configuration with one HTTP filter under test.

use std::{net::SocketAddr, path::Path, time::Duration};

use serde_json::{Value, json};

use super::Plugin;

/// The clusters beside `backend`, and where each one listens; `None` has no endpoint.
pub(crate) type Clusters<'a> = &'a [(&'a str, Option<SocketAddr>)];

/// After this time a VM that has died comes back: the interval below, and half of it for Envoy's jitter.
pub(crate) const RELOADED: Duration = Duration::from_millis(3200);

/// One listener, `ingress`, that sends everything through `filter` to the cluster `backend`.
pub(crate) fn bootstrap(filter: &Value, clusters: Clusters<'_>) -> String {
    let clusters: Vec<Value> = clusters.iter().map(|(name, address)| cluster(name, *address)).collect();
    json!({
        "static_resources": { "listeners": [listener(filter)], "clusters": clusters },
    })
    .to_string()
}

/// `envoy.filters.http.wasm` with the plugin.
pub(crate) fn wasm(plugin: &Plugin, file: &Path) -> Value {
    json!({
        "name": "envoy.filters.http.wasm",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": plugin.module,
                "root_id": plugin.root_id,
                "allow_on_headers_stop_iteration": plugin.stop_iteration,
                "failure_policy": "FAIL_RELOAD",
                // Counted from the start of the VM, so a slow machine needs more than the usual second.
                "reload_config": { "backoff": { "base_interval": "2s" } },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": plugin.configuration.to_string(),
                },
                "vm_config": {
                    "vm_id": plugin.module,
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": { "local": { "filename": file } },
                },
            },
        },
    })
}

fn listener(filter: &Value) -> Value {
    let route = json!({
        "name": "the-route",
        "match": { "prefix": "/" },
        "route": { "cluster": "backend", "timeout": "3s" },
        "metadata": { "filter_metadata": { "probe": { "key": "of the route" } } },
    });
    json!({
        "name": "ingress",
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "ingress",
                "http_protocol_options": { "enable_trailers": true },
                "upgrade_configs": [{ "upgrade_type": "websocket" }],
                "stream_idle_timeout": "3s",
                // How long Envoy waits before it closes a connection whose stream was cut.
                "delayed_close_timeout": "0.05s",
                "access_log": [access_log()],
                "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
                "http_filters": [filter, {
                    "name": "envoy.filters.http.router",
                    "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
                }],
            },
        }] }],
    })
}

/// A line a request on standard output: why the response is what it is.
fn access_log() -> Value {
    json!({
        "name": "envoy.access_loggers.stdout",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": { "text_format_source": {
                "inline_string": "%RESPONSE_CODE_DETAILS%\n",
            } },
        },
    })
}

fn cluster(name: &str, address: Option<SocketAddr>) -> Value {
    let endpoints: Vec<Value> = address
        .into_iter()
        .map(|address| {
            json!({ "endpoint": { "address": { "socket_address": {
                "address": address.ip().to_string(), "port_value": address.port(),
            } } } })
        })
        .collect();
    let protocol = match name {
        // gRPC needs HTTP/2.
        "ext_proc" => json!({ "http2_protocol_options": {} }),
        _ => json!({ "http_protocol_options": { "enable_trailers": true } }),
    };
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": protocol,
        } },
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] },
    })
}
