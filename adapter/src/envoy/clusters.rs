//! Clusters: the backends of APIs, and the servers with issuers' keys.

use serde_json::{Value, json};

use super::{duration, socket_address, typed};
use crate::{
    gateway::Gateway,
    url::{Host, Scheme, Url},
};
use enforcer_core::units::Span;

const DEFAULT_CONNECT_TIMEOUT: Span = Span::from_secs(5);
const PROTOCOL: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

/// Clusters of the APIs' backends and of what the filters call.
pub fn all_clusters(gateway: &Gateway) -> Vec<Value> {
    let backends = gateway.all_backends().map(|(name, backend)| cluster(gateway, name, &backend.servers));
    let mut clusters: Vec<Value> = backends.chain(service_clusters(gateway)).collect();
    clusters.sort_by(|a, b| name_of(a).cmp(name_of(b)));
    clusters.dedup_by(|a, b| name_of(a) == name_of(b));
    clusters
}

/// Clusters that the filters fetch keys, send events and ask for hits through.
pub fn service_clusters(gateway: &Gateway) -> Vec<Value> {
    let of = |(name, url): &(String, Url)| {
        let mut cluster = cluster(gateway, name, std::slice::from_ref(url));
        if gateway.limit_server.as_ref().is_some_and(|(limits, _)| limits == name) {
            set(&mut cluster, "typed_extension_protocol_options", http2());
        }
        cluster
    };
    gateway.services().map(of).collect()
}

/// gRPC is HTTP/2, with TLS or without.
fn http2() -> Value {
    let options = json!({"explicit_http_config": {"http2_protocol_options": {}}});
    json!({PROTOCOL: typed(PROTOCOL, options)})
}

fn name_of(cluster: &Value) -> &str {
    cluster.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn cluster(gateway: &Gateway, name: &str, servers: &[Url]) -> Value {
    let literal = servers.iter().all(|server| matches!(server.host, Host::Ip(_)));
    let connect_timeout = gateway.settings.defaults.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT);
    let endpoints: Vec<Value> = servers.iter().map(endpoint).collect();
    let mut cluster = json!({
        "name": name,
        "type": if literal { "STATIC" } else { "STRICT_DNS" },
        "connect_timeout": duration(connect_timeout),
    });
    let Some(map) = cluster.as_object_mut() else { return cluster };
    if !literal {
        map.insert("dns_lookup_family".to_owned(), json!("V4_PREFERRED"));
    }
    map.insert(
        "load_assignment".to_owned(),
        json!({"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}),
    );
    if servers.iter().any(|server| server.scheme == Scheme::Https) {
        map.insert("transport_socket".to_owned(), tls(&gateway.ca_file, servers));
    }
    cluster
}

fn endpoint(server: &Url) -> Value {
    let address = match &server.host {
        Host::Name(name) => name.clone(),
        Host::Ip(ip) => ip.to_string(),
    };
    // What `auto_host_rewrite` and `auto_host_sni` take: without a port, which SNI cannot have.
    json!({"endpoint": {"address": socket_address(&address, server.port), "hostname": server.host.to_string()}})
}

/// The server must prove, with a certificate that leads to a known root, to be who it was called.
fn tls(ca_file: &str, servers: &[Url]) -> Value {
    let mut validation = json!({"trusted_ca": {"filename": ca_file}});
    let mut names: Vec<Value> = Vec::new();
    for server in servers {
        let (kind, name) = match &server.host {
            Host::Name(name) => ("DNS", name.clone()),
            Host::Ip(ip) => ("IP_ADDRESS", ip.to_string()),
        };
        let name = json!({"san_type": kind, "matcher": {"exact": name}});
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let common = |validation: &Value| {
        json!({
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "validation_context": validation,
        })
    };
    let hosts: std::collections::BTreeSet<&Host> = servers.iter().map(|server| &server.host).collect();
    let one = (hosts.len() == 1).then(|| hosts.first()).flatten();
    let context = match one {
        Some(Host::Name(sni)) => {
            set(&mut validation, "match_typed_subject_alt_names", json!(names));
            json!({"sni": sni, "common_tls_context": common(&validation)})
        }
        // Several names: each connection asks for its own endpoint's, and must be answered by that.
        _ if hosts.iter().all(|host| matches!(host, Host::Name(_))) => {
            json!({"auto_host_sni": true, "auto_sni_san_validation": true, "common_tls_context": common(&validation)})
        }
        // Addresses are not sent as SNI (RFC 6066 section 3).
        _ => {
            set(&mut validation, "match_typed_subject_alt_names", json!(names));
            json!({"common_tls_context": common(&validation)})
        }
    };
    json!({"name": "envoy.transport_sockets.tls", "typed_config": typed(TLS, context)})
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}
