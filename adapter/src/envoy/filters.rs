//! The HTTP filters, in the order in which a request passes them.

use serde_json::{Value, json};

use super::{pretty, typed};
use crate::gateway::Gateway;

/// What goes before `router` in an Envoy that somebody else configures: each filter with its configuration.
pub fn http_filters(gateway: &Gateway) -> Vec<Value> {
    let auth = plugin("auth", &gateway.module, serde_json::to_value(&gateway.auth));
    let limits = gateway.ratelimit.as_ref().map(serde_json::to_value);
    let limits = limits.map(|config| plugin("ratelimit", &gateway.module_of("ratelimit"), config));
    [auth].into_iter().chain(limits).collect()
}

/// The whole chain of our own listeners, with everything in it.
pub(super) fn chain(gateway: &Gateway) -> Vec<Value> {
    around(http_filters(gateway))
}

/// The same, the filters' configurations being resources of their own. They can then change without the
/// listener, which would leave connections that are open with the old one until they are drained.
pub(super) fn discovered_chain(gateway: &Gateway, config_source: &Value) -> Vec<Value> {
    let filters = http_filters(gateway).into_iter().map(|filter| {
        json!({
            "name": filter.get("name"),
            "config_discovery": {
                "config_source": config_source,
                "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
            },
        })
    });
    around(filters.collect())
}

fn around(filters: Vec<Value>) -> Vec<Value> {
    // Before auth, because browsers send preflights without credentials. Always there, so that the listener
    // stays the same when a definition gets its first policy; without one it does nothing.
    let cors = json!({
        "name": "envoy.filters.http.cors",
        "typed_config": typed("envoy.extensions.filters.http.cors.v3.Cors", json!({})),
    });
    // Not `suppress_envoy_headers`: the access log takes the path that the client asked for from one of them.
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": typed("envoy.extensions.filters.http.router.v3.Router", json!({})),
    });
    [vec![cors], filters, vec![router]].concat()
}

/// A filter: its module and configuration.
fn plugin(filter: &str, module: &str, configuration: serde_json::Result<Value>) -> Value {
    let name = format!("enforcer.{filter}");
    let configuration = pretty::json(&configuration.unwrap_or_default());
    let config = json!({
        "name": name,
        "root_id": filter,
        // One namespace of shared data for all filters.
        "vm_config": {
            "vm_id": "enforcer",
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": module}},
        },
        // A worker whose VM has failed refuses requests and gets a new one after a second.
        "failure_policy": "FAIL_RELOAD",
        "reload_config": {"backoff": {"base_interval": "1s"}},
        "configuration": typed("google.protobuf.StringValue", json!({"value": configuration})),
    });
    let config = typed("envoy.extensions.filters.http.wasm.v3.Wasm", json!({"config": config}));
    json!({"name": name, "typed_config": config})
}
