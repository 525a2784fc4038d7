//! A gateway as Envoy configuration.
//!
//! Names and defaults are those that people who run Envoy expect; where there is a choice, the hardened one of
//! Envoy's edge best practices is taken. Everything is a JSON value in the order in which it is written.

mod bootstrap;
mod clusters;
mod cors;
mod filters;
mod listeners;
pub(crate) mod native;
pub(crate) mod pretty;
mod routes;

pub use bootstrap::{Files, envoy, envoy_filters, envoy_xds, stats_tags};
pub use clusters::{all_clusters, service_clusters};
pub use filters::{AUTH_FILTER, AUTH_MODULE, Single, http_filters, modules, single};

use enforcer_core::units::Span;
use serde_json::{Value, json};

/// How long a backend may take for its whole response, as in Choreo Connect.
pub const DEFAULT_TIMEOUT: Span = Span::from_secs(60);

/// Envoy's JSON form of a duration: seconds with a suffix `s`, three digits behind the point where needed.
fn duration(span: Span) -> String {
    let millis = span.duration().as_millis();
    match millis.checked_rem(1_000) {
        Some(0) | None => format!("{}s", millis.checked_div(1_000).unwrap_or(0)),
        Some(rest) => format!("{}.{rest:03}s", millis.checked_div(1_000).unwrap_or(0)),
    }
}

/// A typed extension configuration: `@type` first, then its fields.
fn typed(kind: &str, fields: Value) -> Value {
    let mut map = serde_json::Map::new();
    map.insert("@type".to_owned(), json!(format!("type.googleapis.com/{kind}")));
    if let Value::Object(fields) = fields {
        map.extend(fields);
    }
    Value::Object(map)
}

fn socket_address(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}
