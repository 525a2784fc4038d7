//! A real Envoy whose listeners ask servers of ours before they let requests through to a backend.

use std::net::SocketAddr;

use enforcer_testbed::{EchoBackend, Envoy, EnvoyBinary, LogCapture, RawClient, Request, Response};
use serde_json::{Value, json};

/// A listener.
pub(crate) struct Door<'a> {
    pub(crate) name: &'a str,
    /// Asked in turn.
    pub(crate) servers: &'a [SocketAddr],
    /// Of Envoy's calls.
    pub(crate) authority: &'a str,
    /// Mode of both bodies.
    pub(crate) bodies: &'a str,
    /// `transport_socket` towards the servers.
    pub(crate) tls: Option<Value>,
}

impl<'a> Door<'a> {
    pub(crate) fn new(name: &'a str, servers: &'a [SocketAddr]) -> Self {
        Self { name, servers, authority: "any", bodies: "NONE", tls: None }
    }
}

pub(crate) struct Gateway {
    envoy: Envoy,
    pub(crate) backend: EchoBackend,
}

impl Gateway {
    /// `None` where there is no Envoy.
    pub(crate) fn start(doors: &[Door<'_>]) -> Option<Self> {
        let binary = EnvoyBinary::find_or_skip().unwrap()?;
        let backend = EchoBackend::start().unwrap();
        let mut clusters = vec![cluster("backend", &[backend.address()], None, false)];
        clusters.extend(doors.iter().map(|door| cluster(door.name, door.servers, door.tls.as_ref(), true)));
        let listeners: Vec<Value> = doors.iter().map(listener).collect();
        let config = json!({ "static_resources": { "listeners": listeners, "clusters": clusters } });
        let envoy = binary.options(config.to_string()).concurrency(1).start().unwrap();
        Some(Self { envoy, backend })
    }

    /// A line for each request: `subject`, as Envoy was told it.
    pub(crate) fn access_log(&self) -> &LogCapture {
        self.envoy.access_log()
    }

    pub(crate) fn client(&self, door: &str) -> RawClient {
        self.envoy.client(door).unwrap()
    }

    pub(crate) fn ask(&self, door: &str, request: &Request) -> Response {
        self.client(door).send(request).unwrap()
    }
}

fn listener(door: &Door<'_>) -> Value {
    // Envoy insists on trailers in the one mode. In the others they are left out, as they are by default.
    let trailers = if door.bodies == "FULL_DUPLEX_STREAMED" { "SEND" } else { "DEFAULT" };
    let processor = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        "grpc_service": { "envoy_grpc": { "cluster_name": door.name, "authority": door.authority } },
        "message_timeout": "5s",
        "request_attributes": ["xds.route_name"],
        "metadata_options": { "receiving_namespaces": { "untyped": ["enforcer"] } },
        "processing_mode": {
            "request_header_mode": "SEND", "response_header_mode": "SEND",
            "request_body_mode": door.bodies, "response_body_mode": door.bodies,
            "request_trailer_mode": trailers, "response_trailer_mode": trailers,
        },
    });
    let log = json!({
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        "log_format": { "json_format": { "subject": "%DYNAMIC_METADATA(enforcer:subject)%" } },
    });
    let router = json!({ "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" });
    json!({
        "name": door.name,
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type":
                    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": door.name,
                "http_protocol_options": { "enable_trailers": true },
                "http_filters": [
                    { "name": "envoy.filters.http.ext_proc", "typed_config": processor },
                    { "name": "envoy.filters.http.router", "typed_config": router },
                ],
                "access_log": [{ "name": "envoy.access_loggers.stdout", "typed_config": log }],
                "route_config": { "virtual_hosts": [{
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{ "name": door.name, "match": { "prefix": "/" }, "route": { "cluster": "backend" } }],
                }] },
            },
        }] }],
    })
}

fn cluster(name: &str, addresses: &[SocketAddr], tls: Option<&Value>, http2: bool) -> Value {
    let endpoint = |address: &SocketAddr| {
        let socket = json!({ "address": address.ip().to_string(), "port_value": address.port() });
        json!({ "endpoint": { "address": { "socket_address": socket } } })
    };
    let endpoints: Vec<Value> = addresses.iter().map(endpoint).collect();
    let protocol = match http2 {
        true => json!({ "http2_protocol_options": {} }),
        false => json!({ "http_protocol_options": { "enable_trailers": true } }),
    };
    let mut cluster = json!({
        "name": name,
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": protocol,
            },
        },
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] },
    });
    if let Some(tls) = tls {
        cluster["transport_socket"] = tls.clone();
    }
    cluster
}
