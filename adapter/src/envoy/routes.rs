//! Virtual hosts and routes: one route for each API, never one for each operation, because Envoy looks at
//! routes one after the other, and a tree of base paths where there are many. Which operation a request means, the
//! auth filter decides.

use std::collections::BTreeMap;

use enforcer_auth::key_type::CLUSTER_HEADER;
use serde_json::{Map, Value, json};

use super::{cors, duration, typed};
use crate::{
    gateway::Gateway,
    model::{Api, Backend},
};
use enforcer_core::units::Span;

/// Name of the route configuration.
pub(super) const ROUTES: &str = "enforcer_routes";

/// Routes of a virtual host that are listed for Envoy to go through. A list is what people expect, and costs no more
/// than the tree until about here.
const MOST_LISTED: usize = 16;

pub(super) fn route_configuration(gateway: &Gateway) -> Value {
    json!({
        "name": ROUTES,
        "virtual_hosts": virtual_hosts(gateway),
        // Clients need not learn what Envoy knows about the backend.
        "response_headers_to_remove": ["x-envoy-upstream-service-time"],
    })
}

/// One virtual host for each set of hosts with the same APIs. Envoy chooses one by name and looks no further,
/// and so does the auth filter.
fn virtual_hosts(gateway: &Gateway) -> Vec<Value> {
    let mut by_host: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, api) in gateway.model.apis.iter().enumerate() {
        if api.hosts.is_empty() {
            by_host.entry("*").or_default().push(index);
        }
        for host in &api.hosts {
            by_host.entry(host).or_default().push(index);
        }
    }
    let mut by_apis: BTreeMap<Vec<usize>, Vec<&str>> = BTreeMap::new();
    for (host, apis) in by_host {
        by_apis.entry(apis).or_default().push(host);
    }
    let mut hosts: Vec<Value> =
        by_apis.iter().map(|(apis, domains)| virtual_host(gateway, apis, domains)).collect();
    hosts.sort_by_key(|host| host.get("name").map(Value::to_string));
    hosts
}

fn virtual_host(gateway: &Gateway, apis: &[usize], domains: &[&str]) -> Value {
    let name = match domains.first() {
        Some(&"*") | None => "any".to_owned(),
        Some(first) => first.replace('*', "any"),
    };
    let mut routes: Vec<(&Api, Value)> = apis
        .iter()
        .filter_map(|index| {
            let api = gateway.model.apis.get(*index)?;
            let (cluster, backend) = gateway.backends.get(*index)?;
            let sandbox = gateway.sandboxes.get(*index).and_then(Option::as_ref);
            // The first match counts, and the sandbox's matches less.
            let sandbox = sandbox.map(|(cluster, backend)| sandbox_route(api, cluster, backend));
            let usual = route(api, cluster, backend);
            let usual = if sandbox.is_some() { without_choice(usual) } else { usual };
            Some(sandbox.into_iter().chain([usual]).map(move |route| (api, route)))
        })
        .flatten()
        .collect();
    // The first match counts: the longest base path must come first.
    routes.sort_by(|(a, _), (b, _)| {
        b.base_path.len().cmp(&a.base_path.len()).then_with(|| a.base_path.cmp(&b.base_path))
    });
    if routes.len() > MOST_LISTED {
        return json!({"name": name, "domains": domains, "matcher": tree(&routes)});
    }
    let routes: Vec<Value> = routes.into_iter().map(|(_, route)| route).collect();
    json!({"name": name, "domains": domains, "routes": routes})
}

/// The same routes, found by the longest base path that the request's path begins with
/// (`config.route.v3.VirtualHost.matcher`).
fn tree(routes: &[(&Api, Value)]) -> Value {
    let mut by_path: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (api, route) in routes {
        by_path.entry(&api.base_path).or_default().push(route);
    }
    let entries: Map<String, Value> = by_path
        .keys()
        .map(|path| {
            // `/a/bc` begins with `/a/b`, but belongs to `/a`: the tree looks no further, so the entry must.
            let found: Vec<&Value> =
                around(path).filter_map(|path| by_path.get(path)).flatten().copied().collect();
            let action = match found.as_slice() {
                [route] => typed("envoy.config.route.v3.Route", (*route).clone()),
                routes => typed("envoy.config.route.v3.RouteList", json!({ "routes": routes })),
            };
            ((*path).to_owned(), json!({"action": {"name": "route", "typed_config": action}}))
        })
        .collect();
    let input = json!({ "header_name": ":path" });
    json!({"matcher_tree": {
        "input": {
            "name": "path",
            "typed_config": typed("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", input),
        },
        "prefix_match_map": { "map": entries },
    }})
}

/// A base path and those that hold it, the longest first: `/a/b`, `/a`, `/`.
fn around(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| parent(path))
}

fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        end => path.get(..end),
    }
}

fn route(api: &Api, cluster: &str, backend: &Backend) -> Value {
    let path = if api.base_path == "/" {
        json!({"prefix": "/"})
    } else {
        json!({"path_separated_prefix": api.base_path})
    };
    let mut action =
        json!({"cluster": cluster, "timeout": duration(api.timeout.unwrap_or(Span::from_secs(0)))});
    let mut route = json!({"name": api.name, "match": path});
    let (Some(fields), Some(map)) = (action.as_object_mut(), route.as_object_mut()) else { return route };
    fields.extend(rewrite(&api.base_path, backend.base_path()));
    // Backends are chosen by name as well: they get their own, and the client's in `x-forwarded-host`.
    match backend.servers.as_slice() {
        [server] => fields.insert("host_rewrite_literal".to_owned(), json!(server.authority())),
        _ => fields.insert("auto_host_rewrite".to_owned(), json!(true)),
    };
    fields.insert("append_x_forwarded_host".to_owned(), json!(true));
    map.insert("route".to_owned(), action);
    if let Some(policy) = &api.cors {
        map.insert(
            "typed_per_filter_config".to_owned(),
            json!({"envoy.filters.http.cors": cors::policy(policy)}),
        );
    }
    route
}

/// For the keys that the auth filter has found to be for the sandbox. It removes the header from every request, so that
/// no client can take this route.
fn sandbox_route(api: &Api, cluster: &str, backend: &Backend) -> Value {
    let mut route = without_choice(route(api, cluster, backend));
    let chosen = json!([{"name": CLUSTER_HEADER, "string_match": {"exact": cluster}}]);
    if let Some(found) = route.get_mut("match").and_then(Value::as_object_mut) {
        found.insert("headers".to_owned(), chosen);
    }
    if let Some(map) = route.as_object_mut() {
        map.insert("name".to_owned(), json!(format!("{} sandbox", api.name)));
    }
    route
}

/// The backend need not know how it was chosen.
fn without_choice(mut route: Value) -> Value {
    if let Some(map) = route.as_object_mut() {
        map.insert("request_headers_to_remove".to_owned(), json!([CLUSTER_HEADER]));
    }
    route
}

/// From the gateway's base path to the backend's.
fn rewrite(gateway: &str, backend: &str) -> Option<(String, Value)> {
    match (gateway, backend) {
        (from, to) if from == to => None,
        ("/", to) => Some(("prefix_rewrite".to_owned(), json!(format!("{to}/")))),
        // `prefix_rewrite: /` would leave two slashes: `/a/pets` to `//pets`.
        (from, "/") => {
            let pattern = format!("^{}/?", escape(from));
            Some(("regex_rewrite".to_owned(), json!({"pattern": {"regex": pattern}, "substitution": "/"})))
        }
        (_, to) => Some(("prefix_rewrite".to_owned(), json!(to))),
    }
}

/// Text as an RE2 pattern that matches just it.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() && !matches!(c, '/' | '-' | '_' | '~' | ':') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
