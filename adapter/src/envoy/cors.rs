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

/// `*` alone is what Envoy compares with literally; before a name it stands for one label or more.
fn matcher(origin: &str) -> Value {
    match origin.split_once("*.") {
        Some((scheme, name)) => {
            let name = super::routes::escape(name);
            json!({"safe_regex": {"regex": format!("{scheme}[a-z0-9._-]+\\.{name}")}})
        }
        None => json!({"exact": origin}),
    }
}
