//! A gateway as resources of Kubernetes for kgateway, whose Envoy takes no Wasm: a server that runs the filters
//! (`enforcer-extproc`), a GatewayExtension that names it, a TrafficPolicy for each API that sends requests through it.

mod patience;
mod routes;
mod server;

use enforcer_ratelimit::config::RateLimitConfig;
use serde_json::{Map, Value, json};

use crate::{
    diagnostic::Diagnostic,
    envoy::Files,
    gateway::Gateway,
    model::{Api, KeyTypes, slug},
    settings::{Attach, Kgateway},
    source::to_yaml,
};

/// The release of kgateway whose fields are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// No `requestAttributes` and no `filterStage`.
    V2_3,
    V2_4,
}

const ABOUT: &str = "# Made by `enforcer build`: change the definitions or enforcer.yaml instead.\n";

/// Name of what there is one of, and `:authority` of Envoy's calls.
const NAME: &str = "enforcer";

/// kgateway's own group.
const GROUP: &str = "gateway.kgateway.dev";
const VERSION: &str = "gateway.kgateway.dev/v1alpha1";

/// `kustomization.yaml` and what it lists.
pub fn kgateway(gateway: &Gateway, release: Release) -> Result<Files, Diagnostic> {
    let Some(settings) = &gateway.settings.kgateway else {
        return Err(Diagnostic::error("the Gateway that routes are attached to is not known").help(
            "name it in enforcer.yaml: `kgateway: {gateway: {name: http, namespace: kgateway-system}}`",
        ));
    };
    if let Some(api) = gateway.model.apis.iter().find(|api| matches!(api.key_types, KeyTypes::Both(_))) {
        return Err(Diagnostic::error("the target `kgateway` has no routes to sandboxes")
            .at(api.place.clone())
            .help("leave `x-wso2-sandbox-endpoints` out, or give the sandbox a definition of its own"));
    }
    if let Some(api) = gateway.model.apis.iter().find(|api| !routes::verifiable(&api.backend)) {
        return Err(Diagnostic::error(
            "the servers of one API have several names, and kgateway verifies one of them",
        )
        .at(api.place.clone())
        .help("name one server, whose address has all of them, or speak plain HTTP inside the cluster"));
    }
    if gateway.native_limits.is_some() {
        return Err(Diagnostic::error("kgateway's Envoy has no filter for `limits.native`")
            .help("leave out `limits.native`: the server counts then"));
    }
    let timeout = patience::message_timeout(gateway);
    if timeout > patience::LONGEST {
        let text = format!("requests may wait for {timeout} in the server, and Envoy waits an hour at most");
        return Err(Diagnostic::error(text).help("shorten the timeouts of what the filters ask"));
    }
    let names = names(&gateway.model.apis);
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": settings.namespace,
        "labels": [{"pairs": {"app.kubernetes.io/managed-by": NAME}}],
        "resources": ["server.yaml", "policies.yaml", "routes.yaml"],
    });
    Ok(vec![
        ("server.yaml", documents(&server::server(gateway, settings))),
        ("policies.yaml", documents(&policies(gateway, settings, release, &names))),
        ("routes.yaml", documents(&routes::routes(gateway, settings, &names))),
        ("kustomization.yaml", documents(&[kustomization])),
    ])
}

/// One extension for all APIs: which of them a request means, the filters decide, by host and path.
fn policies(gateway: &Gateway, settings: &Kgateway, release: Release, names: &[String]) -> Vec<Value> {
    let mut processor = json!({
        "grpcService": {"backendRef": {"name": NAME, "port": server::PORT}, "authority": NAME},
        // kgateway's default lets everything through while the server is away.
        "failOpen": false,
        "processingMode": processing_mode(gateway),
        "messageTimeout": routes::duration(patience::message_timeout(gateway)),
    });
    if let (Release::V2_4, Some(fields)) = (release, processor.as_object_mut()) {
        fields.insert("requestAttributes".to_owned(), json!(ATTRIBUTES));
        fields.insert("filterStage".to_owned(), json!({"stage": "AuthN", "predicate": "After"}));
    }
    let extension = json!({
        "apiVersion": VERSION,
        "kind": "GatewayExtension",
        "metadata": {"name": NAME},
        // Deprecated since 2.2, and what older releases ask for.
        "spec": {"type": "ExtProc", "extProc": processor},
    });
    let policy = |(api, name): (&Api, &String)| {
        let mut spec = Map::new();
        if settings.attach == Attach::Route {
            let target = json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name});
            spec.insert("targetRefs".to_owned(), json!([target]));
        }
        spec.insert("extProc".to_owned(), json!({"extensionRef": {"name": NAME}}));
        if let Some(cors) = &api.cors {
            spec.insert("cors".to_owned(), routes::cors(cors));
        }
        json!({"apiVersion": VERSION, "kind": "TrafficPolicy", "metadata": {"name": name}, "spec": spec})
    };
    [extension].into_iter().chain(gateway.model.apis.iter().zip(names).map(policy)).collect()
}

/// Bodies are sent only where a limit counts them or looks at them.
fn processing_mode(gateway: &Gateway) -> Value {
    let bodies = gateway.ratelimit.as_ref().map(RateLimitConfig::bodies).unwrap_or_default();
    let mut mode = json!({"requestHeaderMode": "SEND", "responseHeaderMode": "SEND"});
    for (side, sent) in [("request", bodies.request), ("response", bodies.response)] {
        if let (true, Some(fields)) = (sent, mode.as_object_mut()) {
            fields.insert(format!("{side}BodyMode"), json!("FULL_DUPLEX_STREAMED"));
            // Envoy insists on it in this mode.
            fields.insert(format!("{side}TrailerMode"), json!("SEND"));
        }
    }
    mode
}

/// `requestAttributes` of the extension: what the filters read that no header says.
pub const ATTRIBUTES: [&str; 6] = [
    "source.address",
    "connection.mtls",
    "connection.sha256_peer_certificate_digest",
    "connection.subject_peer_certificate",
    "connection.uri_san_peer_certificate",
    "connection.dns_san_peer_certificate",
];

/// A name for each API, as Kubernetes wants them (RFC 1123): `petstore-v1`, and with a number when it is taken.
fn names(apis: &[Api]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for api in apis {
        let text = slug(&format!("{} {}", api.name, api.version));
        let plain: String = text.chars().map(|c| if c.is_ascii() { c } else { 'x' }).take(50).collect();
        let plain = plain.trim_matches('-');
        let plain = if plain.is_empty() || plain == NAME { "api" } else { plain };
        let numbered = (2_u32..).map(|number| format!("{plain}-{number}"));
        let free = [plain.to_owned()].into_iter().chain(numbered).find(|name| !names.contains(name));
        names.extend(free);
    }
    names
}

/// Several documents in one file.
fn documents(resources: &[Value]) -> String {
    let all: Vec<String> = resources.iter().map(to_yaml).collect();
    format!("{ABOUT}{}", all.join("---\n"))
}

/// Where a route's resources lie: names only, since kustomization.yaml says the namespace.
fn parent(settings: &Kgateway) -> Value {
    let mut parent = json!({"name": settings.gateway.name});
    if let (Some(namespace), Some(fields)) = (&settings.gateway.namespace, parent.as_object_mut()) {
        fields.insert("namespace".to_owned(), json!(namespace));
    }
    parent
}
