//! What the target `kgateway` writes, and envoy-examples/kgateway.

use std::{fs, path::Path};

use enforcer_adapter::kgateway::Release;
use enforcer_kubernetes_tests::{Definitions, V2_3, V2_4, build, resources};
use serde_json::{Value, json};

/// Everything that is to be had: hosts, TLS to the backend, CORS, bodies, and a policy that the rule names.
const SETTINGS: &str = r#"
kgateway: {gateway: {name: http, namespace: kgateway-system}, namespace: apis, attach: ATTACH}
issuers: [{issuer: https://idp.example.com, jwks: https://idp.example.com/oauth2/jwks}]
tiers: {Wide: {bandwidth: {bytes: 1MiB, per: 1s}}}
limits: {policies: [{name: each, key: [client_ip], tier: Wide}]}
cors: {allow_origins: ["https://*.example.com"], expose_headers: [x-request-id], max_age: 1h, allow_credentials: true}
defaults: {timeout: 1500ms, host: api.example.com, backend: "https://store.example.com:8443/api"}
"#;

/// An API server of either release takes all of it.
#[test]
fn resources_keep_the_rules() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy-examples/kgateway");
    let definition = example.join("petstore.yaml");
    for (release, definitions) in [(Release::V2_3, V2_3), (Release::V2_4, V2_4)] {
        let Some(definitions) = Definitions::of(definitions) else { return };
        let mut all = build(&definition, &example.join("enforcer.yaml"), release);
        for file in ["gateway.yaml", "httpbin.yaml", "namespace.yaml"] {
            all.extend(resources(&fs::read_to_string(example.join("cluster").join(file)).unwrap()));
        }
        let kinds = ["Backend", "Gateway", "GatewayExtension", "HTTPRoute", "TrafficPolicy"];
        assert!(definitions.check(&all).into_iter().eq(kinds.map(|kind| (kind.to_owned(), 1))));

        for attach in ["route", "rule"] {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{attach}-{release:?}.yaml"));
            // No keys are asked for here.
            let open = SETTINGS
                .replace("ATTACH", attach)
                .replace("issuers:", "auth: {schemes: {key: open}}\nissuers:");
            fs::write(&file, open).unwrap();
            let kinds = ["Backend", "BackendTLSPolicy", "GatewayExtension", "HTTPRoute", "TrafficPolicy"];
            let checked = definitions.check(&build(&definition, &file, release));
            assert!(checked.into_iter().eq(kinds.map(|kind| (kind.to_owned(), 1))), "{attach}");
        }
    }
}

/// The check itself finds what is wrong.
#[test]
fn mistakes_are_found() {
    let (Some(older), Some(newer)) = (Definitions::of(V2_3), Definitions::of(V2_4)) else { return };
    let resource = |kind: &str, spec: Value| json!({"apiVersion": "gateway.kgateway.dev/v1alpha1", "kind": kind, "metadata": {"name": "a"}, "spec": spec});
    let found = |definitions: &Definitions, kind: &str, spec: Value, part: &str| {
        let problems = definitions.problems(&resource(kind, spec)).unwrap();
        assert!(problems.iter().any(|problem| problem.contains(part)), "{part}: {problems:?}");
    };
    found(&newer, "TrafficPolicy", json!({"wasm": {}}), "wasm");
    let to = |kind: &str| json!({"targetRefs": [{"group": "", "kind": kind, "name": "a"}]});
    found(&newer, "TrafficPolicy", to("Service"), "targetRefs may only reference");
    let both = json!({"extProc": {"extensionRef": {"name": "a"}, "disable": {}}});
    found(&newer, "TrafficPolicy", both, "exactly one of the fields in [extensionRef disable]");
    let server = json!({"backendRef": {"name": "a", "port": 1}});
    let two = json!({"extProc": {"grpcService": server}, "extAuth": {"grpcService": server}});
    found(&newer, "GatewayExtension", two, "exactly one of the fields");
    let named = json!({"type": "ExtProc", "extProc": {"grpcService": server, "requestAttributes": ["a"]}});
    found(&older, "GatewayExtension", named.clone(), "requestAttributes");
    assert_eq!(newer.problems(&resource("GatewayExtension", named)), Some(Vec::new()));
    assert_eq!(newer.problems(&json!({"apiVersion": "v1", "kind": "Secret"})), None);
}
