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
pub fn wasm(module: &Path) -> Value {
    json!({
        "name": "noop",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "noop",
                "vm_config": {
                    "vm_id": "noop",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": module}},
                },
                "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "{}"},
            },
        },
    })
}
