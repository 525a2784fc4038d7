//! Listeners and their HTTP connection managers.

use enforcer_analytics::config::Sink;
use serde_json::{Map, Value, json};

use super::{socket_address, typed};
use crate::{
    certificates,
    gateway::Gateway,
    settings::{ClientCertificate, Listener, Tls},
};

const HTTP: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// One line a request: who called what, how it ended and why. The query is left out, because people put
/// secrets there; the last field is what the filters learnt about the caller.
const LOG_FORMAT: &str = "[%START_TIME%] %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% \"%REQ(:METHOD)% %PATH(NQ:ORIG_OR_PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %UPSTREAM_CLUSTER% %REQ(X-REQUEST-ID)% %FILTER_STATE(wasm.enforcer:PLAIN)%";

/// Where a listener's connection manager gets its routes from: `route_config` or `rds`.
pub(super) type Routes = (&'static str, Value);

pub(super) fn listeners(gateway: &Gateway, filters: &[Value], routes: &Routes) -> Vec<Value> {
    let default = [Listener::default()];
    let listeners =
        if gateway.settings.listeners.is_empty() { default.as_slice() } else { &gateway.settings.listeners };
    listeners.iter().map(|one| listener(gateway, one, filters, routes)).collect()
}

fn listener(gateway: &Gateway, listener: &Listener, filters: &[Value], routes: &Routes) -> Value {
    let manager = connection_manager(gateway, filters, routes);
    let mut chain = Map::new();
    chain.insert(
        "filters".to_owned(),
        json!([{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]),
    );
    if let Some(tls) = &listener.tls {
        let socket = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": downstream_tls(tls, certificates::are_asked_for(&gateway.auth)),
        });
        chain.insert("transport_socket".to_owned(), socket);
    }
    let same_port = gateway.settings.listeners.iter().filter(|other| other.port == listener.port).count();
    let name = match same_port {
        0 | 1 => format!("enforcer_{}", listener.port),
        _ => format!("enforcer_{}_{}", listener.address, listener.port),
    };
    json!({
        "name": name,
        "address": socket_address(&listener.address, listener.port),
        "per_connection_buffer_limit_bytes": 1 << 20,
        "filter_chains": [chain],
    })
}

fn connection_manager(gateway: &Gateway, filters: &[Value], (routes_key, routes): &Routes) -> Value {
    let mut manager = json!({
        "stat_prefix": "enforcer",
        // The client is who connects, not who a header says.
        "use_remote_address": true,
        "normalize_path": true,
        "merge_slashes": true,
        // An escaped slash is part of a segment, and the auth filter treats it so.
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "strip_any_host_port": true,
        "strip_trailing_host_dot": true,
        "common_http_protocol_options": {"idle_timeout": "300s"},
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 64 << 10,
            "initial_connection_window_size": 1 << 20,
        },
        "request_headers_timeout": "10s",
        "request_timeout": "300s",
        "stream_idle_timeout": "300s",
        // What a client sends would come before what Envoy adds, and many backends take the first.
        "early_header_mutation_extensions": [{
            "name": "envoy.http.early_header_mutation.header_mutation",
            "typed_config": typed(
                "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                json!({"mutations": [{"remove": "x-forwarded-host"}]}),
            ),
        }],
    });
    let Some(map) = manager.as_object_mut() else { return manager };
    if sets_headers(gateway) {
        // Many backends read `x_user` as `x-user`, so that a client could claim to be somebody else.
        set(map, "common_http_protocol_options", "headers_with_underscores_action", json!("DROP_HEADER"));
    }
    if let Some(details) = certificates::forwarded(&gateway.auth) {
        map.insert("forward_client_cert_details".to_owned(), json!(details));
    }
    if let Some(log) = access_log(gateway) {
        map.insert("access_log".to_owned(), json!([log]));
    }
    map.insert("http_filters".to_owned(), json!(filters));
    map.insert((*routes_key).to_owned(), routes.clone());
    typed(HTTP, manager)
}

fn sets_headers(gateway: &Gateway) -> bool {
    gateway.auth.issuers.iter().any(|issuer| !issuer.claim_headers.is_empty())
}

fn set(map: &mut Map<String, Value>, parent: &str, key: &str, value: Value) {
    if let Some(parent) = map.get_mut(parent).and_then(Value::as_object_mut) {
        parent.insert(key.to_owned(), value);
    }
}

/// The event of the request, where that is to be in the access log.
const LOG_EVENT: &str = " %FILTER_STATE(wasm.enforcer_event:PLAIN)%";

fn access_log(gateway: &Gateway) -> Option<Value> {
    let sinks = gateway.analytics.iter().flat_map(|analytics| &analytics.sinks);
    let has_event = sinks.into_iter().any(|sink| matches!(sink, Sink::AccessLog(_)));
    let event = if has_event { LOG_EVENT } else { "" };
    let format = json!({"text_format_source": {"inline_string": format!("{LOG_FORMAT}{event}\n")}});
    match gateway.settings.defaults.access_log.as_deref() {
        Some("none") => None,
        Some(path) => Some(json!({
            "name": "envoy.access_loggers.file",
            "typed_config": typed(
                "envoy.extensions.access_loggers.file.v3.FileAccessLog",
                json!({"path": path, "log_format": format}),
            ),
        })),
        None => Some(json!({
            "name": "envoy.access_loggers.stdout",
            "typed_config": typed(
                "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                json!({"log_format": format}),
            ),
        })),
    }
}

/// `asked`: clients without a CA of ours are known by their certificates.
fn downstream_tls(tls: &Tls, asked: bool) -> Value {
    let mut common = json!({
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificates": [{
            "certificate_chain": {"filename": tls.certificate},
            "private_key": {"filename": tls.key},
        }],
    });
    let Some(map) = common.as_object_mut() else { return common };
    let Some(ca) = &tls.client_ca else {
        if asked {
            // Any is accepted, and tells nothing but its fingerprint.
            let any = json!({"trust_chain_verification": "ACCEPT_UNTRUSTED"});
            map.insert("validation_context".to_owned(), any);
        }
        return typed(TLS, json!({"common_tls_context": common}));
    };
    map.insert("validation_context".to_owned(), json!({"trusted_ca": {"filename": ca}}));
    let required = tls.client_certificate != Some(ClientCertificate::Accept);
    typed(TLS, json!({"require_client_certificate": required, "common_tls_context": common}))
}
