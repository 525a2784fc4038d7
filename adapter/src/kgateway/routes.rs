//! HTTPRoutes and the backends that they lead to.

use enforcer_core::units::Span;
use serde_json::{Map, Value, json};

use super::{GROUP, VERSION, parent};
use crate::{
    gateway::Gateway,
    model::{Api, Backend},
    settings::{Attach, Cors, Kgateway},
    url::{Host, Scheme, Url},
};

/// A route and a backend for each API, and how the backend is verified where it is spoken to by TLS.
pub(super) fn routes(gateway: &Gateway, settings: &Kgateway, names: &[String]) -> Vec<Value> {
    gateway.model.apis.iter().zip(names).flat_map(|(api, name)| of_api(api, name, settings)).collect()
}

fn of_api(api: &Api, name: &str, settings: &Kgateway) -> Vec<Value> {
    let hosts: Vec<Value> = api
        .backend
        .servers
        .iter()
        .map(|server| json!({"host": server.host.to_string(), "port": server.port}))
        .collect();
    let backend = json!({
        "apiVersion": VERSION,
        "kind": "Backend",
        "metadata": {"name": name},
        "spec": {"type": "Static", "static": {"hosts": hosts}},
    });
    [Some(route(api, name, settings)), Some(backend), tls(&api.backend, name)].into_iter().flatten().collect()
}

fn route(api: &Api, name: &str, settings: &Kgateway) -> Value {
    let mut rule = json!({
        "matches": [{"path": {"type": "PathPrefix", "value": api.base_path}}],
        "backendRefs": [{"group": GROUP, "kind": "Backend", "name": name}],
    });
    let filters = filters(api, name, settings.attach);
    if let Some(fields) = rule.as_object_mut() {
        if !filters.is_empty() {
            fields.insert("filters".to_owned(), json!(filters));
        }
        // `0s` is no limit, here as in Envoy.
        let timeout = duration(api.timeout.unwrap_or_default());
        fields.insert("timeouts".to_owned(), json!({"request": timeout}));
    }
    let mut spec = json!({"parentRefs": [parent(settings)], "rules": [rule]});
    if let (false, Some(fields)) = (api.hosts.is_empty(), spec.as_object_mut()) {
        fields.insert("hostnames".to_owned(), json!(api.hosts));
    }
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// The policy, where the rule is what names it, and the way to the backend.
fn filters(api: &Api, name: &str, attach: Attach) -> Vec<Value> {
    let policy = json!({"group": GROUP, "kind": "TrafficPolicy", "name": name});
    let policy = (attach == Attach::Rule).then(|| json!({"type": "ExtensionRef", "extensionRef": policy}));
    let rewrite = rewrite(api);
    let rewrite = (!rewrite.is_empty()).then(|| json!({"type": "URLRewrite", "urlRewrite": rewrite}));
    policy.into_iter().chain(rewrite).collect()
}

/// From the gateway's base path to the backend's, and to the backend's name where it has one. The filters come before
/// it, and see what the client sent.
fn rewrite(api: &Api) -> Map<String, Value> {
    let mut rewrite = Map::new();
    if let [server] = api.backend.servers.as_slice()
        && let Host::Name(host) = &server.host
    {
        rewrite.insert("hostname".to_owned(), json!(host));
    }
    let to = api.backend.base_path();
    if to != api.base_path {
        let path = json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": to});
        rewrite.insert("path".to_owned(), path);
    }
    rewrite
}

/// Whether a BackendTLSPolicy, which has one name, is enough for all its servers.
pub(super) fn verifiable(backend: &Backend) -> bool {
    let same = |pair: &[Url]| matches!(pair, [a, b] if a.scheme != Scheme::Https || a.host == b.host);
    backend.servers.windows(2).all(same)
}

/// The system's roots, of the proxy's image.
fn tls(backend: &Backend, name: &str) -> Option<Value> {
    let server = backend.servers.first().filter(|server| server.scheme == Scheme::Https)?;
    Some(json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "BackendTLSPolicy",
        "metadata": {"name": name},
        "spec": {
            "targetRefs": [{"group": GROUP, "kind": "Backend", "name": name}],
            "validation": {"hostname": server.host.to_string(), "wellKnownCACertificates": "System"},
        },
    }))
}

/// A TrafficPolicy's `cors`, which answers preflights before the filters see them.
pub(super) fn cors(cors: &Cors) -> Value {
    let mut policy = json!({
        "allowOrigins": cors.allow_origins,
        "allowMethods": cors.allow_methods,
        "allowHeaders": cors.allow_headers,
        "allowCredentials": cors.allow_credentials,
    });
    if let Some(fields) = policy.as_object_mut() {
        if !cors.expose_headers.is_empty() {
            fields.insert("exposeHeaders".to_owned(), json!(cors.expose_headers));
        }
        if let Some(age) = cors.max_age {
            fields.insert("maxAge".to_owned(), json!(age.duration().as_secs()));
        }
    }
    policy
}

/// A duration as Gateway API writes it (GEP-2257): at most five digits before a unit.
pub(super) fn duration(span: Span) -> String {
    let millis = span.duration().as_millis();
    let (seconds, rest) = (millis.checked_div(1_000).unwrap_or(0), millis.checked_rem(1_000).unwrap_or(0));
    let (hours, seconds) = (seconds.checked_div(3_600).unwrap_or(0), seconds.checked_rem(3_600).unwrap_or(0));
    let parts = [(hours, "h"), (seconds, "s"), (rest, "ms")];
    let text: String = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_few_digits_a_unit() {
        assert_eq!(duration(Span::from_secs(0)), "0s");
        assert_eq!(duration(Span::from_millis(60_500)), "60s500ms");
        assert_eq!(duration(Span::from_secs(100_000)), "27h2800s");
    }
}
