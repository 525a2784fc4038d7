//! What stands in the auth filter's place in the rows that ours is compared with.

use std::path::Path;

use serde_json::{Value, json};

use crate::gateway::{ISSUER, SCOPE};

/// Name of the query parameter that carries tokens in the rows where each request has another one.
pub const PARAMETER: &str = "access_token";
const CLAIMS: &str = "claims";

/// Envoy's own check of tokens, in `authorization` or in the query.
#[derive(Clone, Copy, Debug, Default)]
pub struct JwtAuthn {
    /// Remembers tokens that were verified.
    pub cache: bool,
    /// Tells later filters what the token claims.
    pub metadata: bool,
    /// Takes the token from [`PARAMETER`].
    pub query: bool,
}

impl JwtAuthn {
    /// As an HTTP filter.
    pub fn filter(self, keys: &Value) -> Value {
        let mut provider = json!({
            "issuer": ISSUER,
            "local_jwks": {"inline_string": keys.to_string()},
        });
        let options = [
            (self.cache, "jwt_cache_config", json!({"jwt_cache_size": 1_000})),
            (self.metadata, "payload_in_metadata", json!(CLAIMS)),
            (!self.query, "from_headers", json!([{"name": "authorization", "value_prefix": "Bearer "}])),
            (self.query, "from_params", json!([PARAMETER])),
        ];
        if let Some(fields) = provider.as_object_mut() {
            let wanted = options.into_iter().filter(|(wanted, ..)| *wanted);
            fields.extend(wanted.map(|(_, name, value)| (name.to_owned(), value)));
        }
        json!({
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
                "providers": {"idp": provider},
                "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "idp"}}],
            },
        })
    }
}

/// Envoy's own check of scopes, as far as it has one: whether the claim's text holds the scope's.
pub fn rbac() -> Value {
    let scope = json!({
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": CLAIMS}, {"key": "scope"}],
        "value": {"string_match": {"contains": SCOPE}},
    });
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"policies": {"read": {"permissions": [{"any": true}], "principals": [{"metadata": scope}]}}},
        },
    })
}

/// A Wasm filter that is configured with nothing.
pub fn noop(module: &Path) -> Value {
    plugin("noop", module, "", &json!({}))
}

/// Limits alone: each of so many policies counts the client's address, and none is ever used up.
pub fn limits(module: &Path, policies: usize) -> Value {
    let policies: Vec<Value> = (0..policies)
        .map(|n| json!({"name": format!("p{n}"), "key": ["client_ip"], "tier": "Endless"}))
        .collect();
    plugin("ratelimit", module, "ratelimit", &json!({"tiers": endless(), "policies": policies}))
}

/// A limit of each user whom another module has found, and further members.
pub fn limit_of_users(module: &Path, members: &Value) -> Value {
    let shared = members.get("service").is_some();
    let policy = json!({"name": "user", "key": ["user"], "tier": "Endless", "shared": shared});
    let mut configuration = json!({"identified": true, "tiers": endless(), "policies": [policy]});
    if let (Some(all), Some(members)) = (configuration.as_object_mut(), members.as_object()) {
        all.extend(members.clone());
    }
    plugin("ratelimit", module, "ratelimit", &configuration)
}

/// The bundle: this for `auth`, and perhaps a limit of each user.
pub fn bundle(module: &Path, auth: &Value, limited: bool) -> Value {
    let policy = json!({"name": "user", "key": ["user"], "tier": "Endless"});
    let mut configuration = json!({"auth": auth});
    if let (true, Some(members)) = (limited, configuration.as_object_mut()) {
        members.insert("ratelimit".to_owned(), json!({"tiers": endless(), "policies": [policy]}));
    }
    plugin("enforcer", module, "enforcer", &configuration)
}

fn endless() -> Value {
    json!({"Endless": {"quota": {"requests": ENDLESS, "per": "1s"}}})
}

/// More than any load generator sends in a second.
const ENDLESS: u32 = 100_000_000;

/// Envoy's own limit of each client's address.
pub fn local_ratelimit() -> Value {
    let bucket = json!({"max_tokens": ENDLESS, "tokens_per_fill": ENDLESS, "fill_interval": "1s"});
    let always = json!({"default_value": {"numerator": 100}});
    json!({
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "bench",
            "token_bucket": bucket,
            "filter_enabled": always,
            "filter_enforced": always,
            "max_dynamic_descriptors": 100_000,
            "descriptors": [{"entries": [{"key": "remote_address"}], "token_bucket": bucket}],
            "rate_limits": [{"actions": [{"remote_address": {}}]}],
        },
    })
}

/// A Wasm filter.
pub fn plugin(name: &str, module: &Path, root_id: &str, configuration: &Value) -> Value {
    let configuration = configuration.to_string();
    json!({
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": name,
                "root_id": root_id,
                "vm_config": {
                    "vm_id": name,
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": module}},
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": configuration,
                },
            },
        },
    })
}

/// Envoy asks a server by gRPC.
pub fn ext_authz(cluster: &str) -> Value {
    json!({
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": cluster}, "timeout": "5s"},
        },
    })
}

/// Envoy's own access log by OTLP over HTTP, which says what our events say as far as it knows it.
pub fn otlp_access_log(cluster: &str) -> Value {
    const FIELDS: [(&str, &str); 16] = [
        ("requestTimestamp", "%START_TIME%"),
        ("correlationId", "%REQ(X-REQUEST-ID)%"),
        ("apiMethod", "%REQ(:METHOD)%"),
        ("path", "%REQ(:PATH)%"),
        ("destination", "%UPSTREAM_HOST%"),
        ("userAgent", "%REQ(USER-AGENT)%"),
        ("userIp", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
        ("proxyResponseCode", "%RESPONSE_CODE%"),
        ("responseLatency", "%DURATION%"),
        ("backendLatency", "%RESPONSE_DURATION%"),
        ("details", "%RESPONSE_CODE_DETAILS%"),
        ("responseFlags", "%RESPONSE_FLAGS%"),
        ("requestBytes", "%BYTES_RECEIVED%"),
        ("responseBytes", "%BYTES_SENT%"),
        ("protocol", "%PROTOCOL%"),
        ("tlsVersion", "%DOWNSTREAM_TLS_VERSION%"),
    ];
    /// About a hundred records.
    const BATCH: u32 = 64 << 10;
    let attribute = |(key, value)| json!({"key": key, "value": {"string_value": value}});
    json!({
        "name": "envoy.access_loggers.open_telemetry",
        "typed_config": {
            "@type":
                "type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
            "log_name": "requests",
            "http_service": {
                "http_uri": {"uri": format!("http://{cluster}/v1/logs"), "cluster": cluster, "timeout": "10s"},
            },
            "buffer_size_bytes": BATCH,
            "attributes": {"values": FIELDS.map(attribute)},
        },
    })
}
