//! The HTTP filters, in the order in which a request passes them.

use serde_json::{Value, json};

use super::{pretty, typed};
use crate::gateway::Gateway;

/// Name of the auth filter among the HTTP filters.
pub const AUTH_FILTER: &str = "enforcer.auth";

/// What goes before `router` in an Envoy that somebody else configures.
pub fn http_filters(gateway: &Gateway) -> Vec<Value> {
    vec![auth(gateway)]
}

/// The whole chain of our own listeners, with everything in it.
pub(super) fn chain(gateway: &Gateway) -> Vec<Value> {
    around(auth(gateway))
}

/// The same, the auth filter's configuration being a resource of its own. It can then change without the
/// listener, which would leave connections that are open with the old one until they are drained.
pub(super) fn discovered_chain(config_source: &Value) -> Vec<Value> {
    let auth = json!({
        "name": AUTH_FILTER,
        "config_discovery": {
            "config_source": config_source,
            "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
        },
    });
    around(auth)
}

fn auth(gateway: &Gateway) -> Value {
    json!({"name": AUTH_FILTER, "typed_config": auth_plugin(gateway)})
}

fn around(auth: Value) -> Vec<Value> {
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
    vec![cors, auth, router]
}

/// The auth module and its configuration.
pub(super) fn auth_plugin(gateway: &Gateway) -> Value {
    let configuration = serde_json::to_value(&gateway.auth).unwrap_or_default();
    let config = json!({
        "name": AUTH_FILTER,
        "root_id": "auth",
        // One namespace of shared data for all filters.
        "vm_config": {
            "vm_id": "enforcer",
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": gateway.module}},
        },
        // A worker whose VM has failed refuses requests and gets a new one after a second.
        "failure_policy": "FAIL_RELOAD",
        "reload_config": {"backoff": {"base_interval": "1s"}},
        "configuration": typed("google.protobuf.StringValue", json!({"value": pretty::json(&configuration)})),
    });
    typed("envoy.extensions.filters.http.wasm.v3.Wasm", json!({"config": config}))
}
