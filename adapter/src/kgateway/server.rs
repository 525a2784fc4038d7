//! The server that runs the filters, with everything around it.

use serde_json::{Map, Value, json};

use super::NAME;
use crate::{
    envoy::{pretty, single},
    gateway::Gateway,
    settings::Kgateway,
};

/// Where Envoy calls, and where metrics and health are.
pub(super) const PORT: u16 = 9000;
const ADMIN_PORT: u16 = 9001;

/// Where the image has the modules.
const MODULES: &str = "/usr/lib/enforcer";

/// Where what they are compiled to is kept, for a container that starts again.
const CACHE: &str = "/var/cache/enforcer";

/// ServiceAccount, Secret, Deployment, Service, PodDisruptionBudget.
pub(super) fn server(gateway: &Gateway, settings: &Kgateway) -> Vec<Value> {
    let configuration = pretty::json(&configuration(gateway));
    let labels = json!({"app.kubernetes.io/name": NAME});
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": NAME},
            "automountServiceAccountToken": false,
        }),
        // No ConfigMap: it can hold shared secrets, private keys and the hashes of passwords.
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": NAME},
            "stringData": {"enforcer.json": configuration},
        }),
        deployment(gateway, settings, &labels),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {
                "selector": labels,
                // What makes kgateway speak HTTP/2 to it.
                "ports": [{"name": "grpc", "port": PORT, "targetPort": "grpc", "appProtocol": "kubernetes.io/h2c"}],
            },
        }),
        json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": NAME},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
        }),
    ]
}

/// `enforcer.json` of `enforcer-extproc`.
fn configuration(gateway: &Gateway) -> Value {
    let filters: Map<String, Value> = single(gateway)
        .map(|filter| {
            let module = format!("{MODULES}/{}.wasm", filter.module);
            let filter =
                json!({"module": module, "root_id": filter.root_id, "configuration": filter.configuration});
            (NAME.to_owned(), filter)
        })
        .into_iter()
        .collect();
    let ca_file = gateway.settings.defaults.ca_file.as_ref();
    let clusters: Map<String, Value> = gateway
        .services()
        .map(|(name, url)| {
            let mut cluster = json!({"url": url.origin()});
            if let (Some(file), Some(fields)) = (ca_file, cluster.as_object_mut()) {
                fields.insert("ca_file".to_owned(), json!(file));
            }
            (name.clone(), cluster)
        })
        .collect();
    json!({"filters": filters, "clusters": clusters})
}

/// Limits that no service counts are each replica's own: then there is one.
fn replicas(gateway: &Gateway) -> u32 {
    if gateway.ratelimit.is_some() && gateway.limit_server.is_none() { 1 } else { 2 }
}

fn deployment(gateway: &Gateway, settings: &Kgateway, labels: &Value) -> Value {
    let image = settings.image.clone();
    let image = image.unwrap_or_else(|| format!("enforcer-extproc:{}", env!("CARGO_PKG_VERSION")));
    let container = json!({
        "name": NAME,
        "image": image,
        "args": ["--config", "/etc/enforcer", "--cache", CACHE],
        "ports": [{"name": "grpc", "containerPort": PORT}, {"name": "admin", "containerPort": ADMIN_PORT}],
        // The first start compiles the modules: seconds, and many where processors are scarce. Then, ready is what
        // answers where Envoy calls; alive is what answers at all, or it were killed while it drains.
        "startupProbe": {"grpc": {"port": PORT}, "periodSeconds": 1, "failureThreshold": 120},
        "readinessProbe": {"grpc": {"port": PORT}, "periodSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "admin"}, "periodSeconds": 5},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "configuration", "mountPath": "/etc/enforcer", "readOnly": true},
            {"name": "cache", "mountPath": CACHE},
        ],
    });
    let pod = json!({
        "serviceAccountName": NAME,
        "automountServiceAccountToken": false,
        // Longer than the server waits for requests under way.
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "configuration", "secret": {"secretName": NAME, "defaultMode": 0o440}},
            {"name": "cache", "emptyDir": {"sizeLimit": "128Mi"}},
        ],
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": replicas(gateway),
            "selector": {"matchLabels": labels},
            // A new configuration needs no new pod: the server sees it.
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    })
}
