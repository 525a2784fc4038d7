//! CORS policies, for Envoy's own filter.

use serde_json::{Map, Value, json};

use super::typed;
use crate::settings::Cors;

/// Per-route configuration of `envoy.filters.http.cors`.
pub(super) fn policy(cors: &Cors) -> Value {
    let mut policy = Map::new();
    let origins: Vec<Value> = cors.allow_origins.iter().map(|origin| matcher(origin)).collect();
    policy.insert("allow_origin_string_match".to_owned(), json!(origins));
    let mut list = |key: &str, values: &[String]| {
        if !values.is_empty() {
            policy.insert(key.to_owned(), json!(values.join(", ")));
        }
    };
    list("allow_methods", &cors.allow_methods);
    list("allow_headers", &cors.allow_headers);
    list("expose_headers", &cors.expose_headers);
    if let Some(age) = cors.max_age {
        policy.insert("max_age".to_owned(), json!(age.duration().as_secs().to_string()));
    }
    policy.insert("allow_credentials".to_owned(), json!(cors.allow_credentials));
    typed("envoy.extensions.filters.http.cors.v3.CorsPolicy", Value::Object(policy))
}

/// `*` alone is what Envoy compares with literally; elsewhere it stands for a part of a host name.
fn matcher(origin: &str) -> Value {
    if origin == "*" || !origin.contains('*') {
        return json!({"exact": origin});
    }
    let parts: Vec<String> = origin.split('*').map(super::routes::escape).collect();
    json!({"safe_regex": {"regex": parts.join("[a-zA-Z0-9.-]*")}})
}
