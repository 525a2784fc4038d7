use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use enforcer_testbed::{EchoBackend, Envoy, EnvoyBinary, Reply, Version};
use serde_json::{Value, json};

use super::{Scene, Seen, Site, Wire, module};

const LISTENER: &str = "attacks";
/// How long the access log may lag behind an answer.
const LOG_LIMIT: Duration = Duration::from_secs(10);
/// The cluster that requests end at.
const BACKEND: &str = "backend";
/// Names a request in the access log.
const ID: &str = "x-attack-id";

/// The module in a real Envoy. Fields drop in this order: Envoy before what it talks to.
pub(crate) struct InEnvoy {
    envoy: Envoy,
    backend: EchoBackend,
    _issuers: Vec<EchoBackend>,
    version: Version,
}

impl InEnvoy {
    pub(crate) fn start(binary: &EnvoyBinary, scene: &Scene) -> Self {
        let backend = EchoBackend::start().unwrap();
        let mut clusters = BTreeMap::from([(BACKEND, backend.address())]);
        let mut issuers = Vec::new();
        for (name, keys) in &scene.clusters {
            let issuer = EchoBackend::start().unwrap();
            issuer.answer(Reply::default().body(keys.to_string()));
            clusters.insert(name, issuer.address());
            issuers.push(issuer);
        }
        let options = binary.options(bootstrap(&scene.configuration, clusters).to_string()).concurrency(1);
        let envoy = options.component_log_level("wasm:debug").start().unwrap();
        Self { envoy, backend, _issuers: issuers, version: binary.version().unwrap() }
    }
}

impl Site for InEnvoy {
    fn name(&self) -> String {
        format!("envoy {}", self.version)
    }

    fn send(&mut self, id: &str, wire: &Wire) -> Seen {
        self.backend.clear();
        let mut bytes =
            format!("{} {} HTTP/1.1\r\nhost: gateway\r\n{ID}: {id}\r\n", wire.method, wire.path).into_bytes();
        for (name, value) in &wire.headers {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        bytes.extend(b"connection: close\r\n\r\n");
        let response = self.envoy.client(LISTENER).unwrap().send_bytes(&bytes).unwrap();
        self.envoy.check_alive().unwrap();
        // What Envoy's own HTTP parser refuses has no headers to name it by; the filter's answers are JSON.
        let by_parser = matches!(response.status, 400 | 431) && !response.text().starts_with('{');
        let line = (!by_parser).then(|| {
            let named = |line: &str| line.contains(&format!("\"{id}\""));
            self.envoy.access_log().wait_for(0, named, LOG_LIMIT).unwrap()
        });
        let line: Value = serde_json::from_str(&line.unwrap_or_default()).unwrap_or_default();
        Seen {
            status: response.status,
            grpc_status: response.headers.text("grpc-status"),
            details: line["details"].as_str().unwrap_or_default().to_owned(),
            reached: self.backend.received().into_iter().next().map(|request| {
                let headers = request.headers.iter();
                headers.fold(Wire::get(&request.path), |wire, (name, value)| wire.header(&lower(name), value))
            }),
        }
    }

    fn log(&self) -> Vec<String> {
        self.envoy.log().since(0)
    }
}

fn lower(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// One listener with Envoy's defaults: it leaves paths as they are, which the filter must stand.
fn bootstrap(configuration: &Value, clusters: BTreeMap<&str, SocketAddr>) -> Value {
    let clusters: Vec<Value> = clusters.into_iter().map(|(name, address)| cluster(name, address)).collect();
    json!({ "static_resources": {
        "listeners": [{
            "name": LISTENER,
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
            "filter_chains": [{ "filters": [connection_manager(configuration)] }],
        }],
        "clusters": clusters,
    } })
}

fn cluster(name: &str, address: SocketAddr) -> Value {
    let socket = json!({ "address": address.ip().to_string(), "port_value": address.port() });
    json!({
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": { "socket_address": socket } } }] }],
        },
    })
}

fn connection_manager(configuration: &Value) -> Value {
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "attacks",
            "http_filters": [auth(configuration), {
                "name": "envoy.filters.http.router",
                "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
            }],
            "access_log": [{
                "name": "envoy.access_loggers.stdout",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                    "log_format": { "json_format": {
                        "id": format!("%REQ({ID})%"),
                        "details": "%RESPONSE_CODE_DETAILS%",
                    } },
                },
            }],
            "route_config": { "virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": BACKEND } }],
            }] },
        },
    })
}

fn auth(configuration: &Value) -> Value {
    json!({
        "name": "auth",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "auth",
                "root_id": "auth",
                "failure_policy": "FAIL_RELOAD",
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": configuration.to_string(),
                },
                "vm_config": {
                    "vm_id": "enforcer",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": { "local": { "filename": module() } },
                },
            },
        },
    })
}
