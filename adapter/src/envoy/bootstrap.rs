//! Whole files.

use enforcer_analytics::metrics;
use serde_json::{Value, json};

use super::{clusters, filters, listeners, routes, socket_address, typed};
use crate::{gateway::Gateway, source::to_yaml};

/// Files to write, in the order in which they must appear: name and text.
pub type Files = Vec<(&'static str, String)>;

const ABOUT: &str =
    "# Made by `enforcer build`. Changes belong into the API definitions and enforcer.yaml.\n";

/// `-t envoy`: one bootstrap with everything in it.
pub fn envoy(gateway: &Gateway) -> Files {
    let filters = filters::chain(gateway);
    let routes = ("route_config", routes::route_configuration(gateway));
    let mut bootstrap = common(gateway);
    set(
        &mut bootstrap,
        "static_resources",
        json!({
            "listeners": listeners::listeners(gateway, &filters, &routes),
            "clusters": clusters::all_clusters(gateway),
        }),
    );
    vec![("envoy.yaml", document(ABOUT, &bootstrap))]
}

/// `-t envoy-filters`: what an Envoy that somebody else configures needs.
pub fn envoy_filters(gateway: &Gateway) -> Files {
    let about_filters = "# HTTP filters: put them before `envoy.filters.http.router` in `http_filters` of each HTTP connection\n\
         # manager that serves the APIs. Routes and backends stay yours.\n";
    let about_clusters = match gateway.analytics {
        None => {
            "# Clusters through which the filters fetch issuers' keys: add them to `static_resources.clusters`.\n"
        }
        Some(_) => {
            "# Clusters through which the filters fetch issuers' keys and send events: add them to `static_resources.clusters`.\n"
        }
    };
    let mut files = vec![
        ("clusters.yaml", document(about_clusters, &Value::Array(clusters::service_clusters(gateway)))),
        ("http_filters.yaml", document(about_filters, &Value::Array(filters::http_filters(gateway)))),
    ];
    if let Some(stats) = stats_config(gateway) {
        let about = "# Labels of the filters' metrics: put this beside `static_resources`.\n";
        files.push(("stats_config.yaml", document(about, &json!({"stats_config": stats}))));
    }
    files
}

/// `-t envoy-xds`: a bootstrap that reads everything else from files, and again whenever they change.
///
/// `folder` is where the files are, as Envoy sees it. Clusters come before what refers to them.
pub fn envoy_xds(gateway: &Gateway, folder: &str) -> Files {
    let source = |file: &str| {
        json!({
            "resource_api_version": "V3",
            "path_config_source": {"path": format!("{folder}/{file}"), "watched_directory": {"path": folder}},
        })
    };
    let filters = filters::discovered_chain(gateway, source);
    let rds = ("rds", json!({"config_source": source("rds.yaml"), "route_config_name": routes::ROUTES}));
    let mut bootstrap = common(gateway);
    // File subscriptions want a node, though nobody asks for it.
    set(&mut bootstrap, "node", json!({"id": "enforcer", "cluster": "enforcer"}));
    set(
        &mut bootstrap,
        "dynamic_resources",
        json!({"cds_config": source("cds.yaml"), "lds_config": source("lds.yaml")}),
    );
    let ecds = filters::discovered(gateway)
        .into_iter()
        .map(|(file, filter)| (file, resources("envoy.config.core.v3.TypedExtensionConfig", vec![filter])));
    let cds = ("cds.yaml", resources("envoy.config.cluster.v3.Cluster", clusters::all_clusters(gateway)));
    let others = [
        (
            "lds.yaml",
            resources("envoy.config.listener.v3.Listener", listeners::listeners(gateway, &filters, &rds)),
        ),
        (
            "rds.yaml",
            resources("envoy.config.route.v3.RouteConfiguration", vec![routes::route_configuration(gateway)]),
        ),
        ("envoy.yaml", document(ABOUT, &bootstrap)),
    ];
    [cds].into_iter().chain(ecds).chain(others).collect()
}

fn resources(kind: &str, resources: Vec<Value>) -> String {
    let resources: Vec<Value> = resources.into_iter().map(|resource| typed(kind, resource)).collect();
    document(ABOUT, &json!({"resources": resources}))
}

/// What every bootstrap has.
fn common(gateway: &Gateway) -> Value {
    let admin = gateway.settings.defaults.admin.clone().unwrap_or_default();
    let mut bootstrap = json!({
        "admin": {"address": socket_address(&admin.address, admin.port)},
        // Connections cost memory; without a limit, anybody can take all of it.
        "overload_manager": {
            "resource_monitors": [{
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": typed(
                    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    json!({"max_active_downstream_connections": 50_000}),
                ),
            }],
        },
    });
    if let Some(stats) = stats_config(gateway) {
        set(&mut bootstrap, "stats_config", stats);
    }
    bootstrap
}

fn stats_config(gateway: &Gateway) -> Option<Value> {
    stats_tags(gateway).map(|tags| json!({"stats_tags": tags}))
}

/// What makes labels of the parts of our metrics' names; `None` without such metrics.
pub fn stats_tags(gateway: &Gateway) -> Option<Value> {
    let calls = gateway.analytics.as_ref().and_then(|analytics| analytics.metrics.as_ref());
    let limits = gateway.ratelimit.as_ref().filter(|ratelimit| ratelimit.metrics);
    let calls = calls.iter().flat_map(|_| metrics::TAGS.iter());
    let tags = calls.chain(limits.iter().flat_map(|_| enforcer_ratelimit::metrics::TAGS.iter()));
    let tags: Vec<Value> = tags.map(|(name, regex)| json!({"tag_name": name, "regex": regex})).collect();
    (!tags.is_empty()).then(|| tags.into())
}

fn document(about: &str, value: &Value) -> String {
    format!("{about}{}", to_yaml(value))
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}
