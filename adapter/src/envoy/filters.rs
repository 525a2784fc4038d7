//! The HTTP filters, in the order in which a request passes them.

use serde_json::{Value, json};

use super::{native, pretty, typed};
use crate::{gateway::Gateway, settings::Packing};

/// Name of the auth filter among the HTTP filters.
pub const AUTH_FILTER: &str = "enforcer.auth";

/// The module that has the auth filter alone.
pub const AUTH_MODULE: &str = "auth";

/// The file that one filter is discovered in.
const ALONE: &str = "ecds.yaml";

/// One of our filters: a module, and its configuration.
struct Plugin {
    /// Among the HTTP filters.
    name: &'static str,
    root_id: &'static str,
    /// The module's file, without `.wasm`.
    module: &'static str,
    /// The file that it is discovered in beside others.
    file: &'static str,
    configuration: Value,
}

/// What runs outside Envoy: one module, which is the bundle where there are several filters.
#[derive(Debug)]
pub struct Single {
    /// The module's file, without `.wasm`.
    pub module: &'static str,
    pub root_id: &'static str,
    pub configuration: Value,
}

/// All our filters as one.
pub fn single(gateway: &Gateway) -> Option<Single> {
    let plugin = packed(gateway, Packing::Bundle).into_iter().next()?;
    let Plugin { module, root_id, configuration, .. } = plugin;
    Some(Single { module, root_id, configuration })
}

fn plugins(gateway: &Gateway) -> Vec<Plugin> {
    packed(gateway, gateway.settings.defaults.filters)
}

/// Our filters, in the order in which a request passes them. Analytics is last: what it sees of a request is what
/// goes to the backend, and its last word comes in any case.
fn packed(gateway: &Gateway, packing: Packing) -> Vec<Plugin> {
    let auth = Plugin {
        name: AUTH_FILTER,
        root_id: "auth",
        module: AUTH_MODULE,
        file: "ecds-auth.yaml",
        configuration: serde_json::to_value(&gateway.auth).unwrap_or_default(),
    };
    let ratelimit = gateway.ratelimit.as_ref().map(|ratelimit| Plugin {
        name: "enforcer.ratelimit",
        root_id: "ratelimit",
        module: "ratelimit",
        file: "ecds-ratelimit.yaml",
        configuration: serde_json::to_value(ratelimit).unwrap_or_default(),
    });
    let analytics = gateway.analytics.as_ref().map(|analytics| Plugin {
        name: "enforcer.analytics",
        root_id: "analytics",
        module: "analytics",
        file: "ecds-analytics.yaml",
        configuration: serde_json::to_value(analytics).unwrap_or_default(),
    });
    let all: Vec<Plugin> = [Some(auth), ratelimit, analytics].into_iter().flatten().collect();
    match packing {
        Packing::Bundle if all.len() > 1 => {
            let members = all.into_iter().map(|plugin| (plugin.root_id.to_owned(), plugin.configuration));
            let configuration = Value::Object(members.collect());
            let (name, module) = ("enforcer.bundle", "bundle");
            vec![Plugin { name, root_id: "enforcer", module, file: ALONE, configuration }]
        }
        Packing::Bundle | Packing::Separate => all,
    }
}

/// The modules that Envoy needs, as it sees them.
pub fn modules(gateway: &Gateway) -> Vec<String> {
    plugins(gateway).iter().map(|plugin| gateway.module(plugin.module)).collect()
}

/// What goes before `router` in an Envoy that somebody else configures.
pub fn http_filters(gateway: &Gateway) -> Vec<Value> {
    let filters = plugins(gateway).into_iter().map(|plugin| http_filter(gateway, &plugin));
    filters.chain(native_limits(gateway)).collect()
}

fn http_filter(gateway: &Gateway, plugin: &Plugin) -> Value {
    json!({"name": plugin.name, "typed_config": wasm(gateway, plugin)})
}

/// Our filters, each with the file that it is discovered in: Envoy refuses a file with several.
pub(super) fn discovered(gateway: &Gateway) -> Vec<(&'static str, Value)> {
    let plugins = plugins(gateway);
    let alone = plugins.len() == 1;
    let resource = |plugin: &Plugin| (file(plugin, alone), http_filter(gateway, plugin));
    plugins.iter().map(resource).collect()
}

fn file(plugin: &Plugin, alone: bool) -> &'static str {
    if alone { ALONE } else { plugin.file }
}

/// Envoy's own filters, behind ours: they count by what the auth filter knows.
fn native_limits(gateway: &Gateway) -> Vec<Value> {
    gateway.native_limits.as_ref().map(native::http_filters).unwrap_or_default()
}

/// The whole chain of our own listeners, with everything in it.
pub(super) fn chain(gateway: &Gateway) -> Vec<Value> {
    around(http_filters(gateway))
}

/// The same, our filters' configuration being resources of their own. They can then change without the
/// listener, which would leave connections that are open with the old one until they are drained.
pub(super) fn discovered_chain(gateway: &Gateway, source: impl Fn(&str) -> Value) -> Vec<Value> {
    let plugins = plugins(gateway);
    let alone = plugins.len() == 1;
    let discovered = |plugin: &Plugin| {
        json!({
            "name": plugin.name,
            "config_discovery": {
                "config_source": source(file(plugin, alone)),
                "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
            },
        })
    };
    around(plugins.iter().map(discovered).chain(native_limits(gateway)).collect())
}

fn around(ours: Vec<Value>) -> Vec<Value> {
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
    [cors].into_iter().chain(ours).chain([router]).collect()
}

fn wasm(gateway: &Gateway, plugin: &Plugin) -> Value {
    let config = json!({
        "name": plugin.name,
        "root_id": plugin.root_id,
        // One namespace of shared data for all filters.
        "vm_config": {
            "vm_id": "enforcer",
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": gateway.module(plugin.module)}},
        },
        // A worker whose VM has failed refuses requests and gets a new one after a second.
        "failure_policy": "FAIL_RELOAD",
        "reload_config": {"backoff": {"base_interval": "1s"}},
        "configuration":
            typed("google.protobuf.StringValue", json!({"value": pretty::json(&plugin.configuration)})),
    });
    typed("envoy.extensions.filters.http.wasm.v3.Wasm", json!({"config": config}))
}
