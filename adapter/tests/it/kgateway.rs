//! The target `kgateway`: as text, and against the definitions of the resources.

use std::{
    fs,
    path::{Path, PathBuf},
};

use enforcer_adapter::source::{Source, parse};
use insta::assert_snapshot;
use regex_lite::Regex;
use serde_json::{Value, json};

use crate::{cli::PETS, folder::Folder};

/// At another base path than the gateway's, by TLS.
const STORE: &str = "openapi: 3.0.3\ninfo: {title: Store, version: v2}\nservers: [{url: 'https://store.example.com:8443/api'}]\n\
                     x-wso2-basePath: /store/v2\npaths: {/orders: {get: {}}}\n";

const SETTINGS: &str = r#"
kgateway: {gateway: {name: http, namespace: kgateway-system}, namespace: apis, image: registry.example.com/enforcer-extproc:1}
issuers: [{issuer: https://idp.example.com, jwks: https://idp.example.com/oauth2/jwks}]
limits: {policies: [{name: each, key: [user], tier: Bronze}]}
cors: {allow_origins: ["https://*.example.com"], max_age: 1h, allow_credentials: true}
defaults: {timeout: 1500ms, host: api.example.com}
"#;

fn folder(settings: &str) -> Folder {
    Folder::new(&[("pets.yaml", PETS), ("store.yaml", STORE), ("enforcer.yaml", settings)])
}

/// The files of a target, and the resources in them.
fn build(folder: &Folder, target: &str) -> Vec<Value> {
    let output = folder.run(&["build", "pets.yaml", "store.yaml", "-t", target, "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = ["server.yaml", "policies.yaml", "routes.yaml"];
    names.iter().flat_map(|name| resources(&folder.path().join("out").join(name))).collect()
}

fn resources(file: &Path) -> Vec<Value> {
    fs::read_to_string(file).unwrap().split("---\n").map(yaml).collect()
}

fn yaml(text: &str) -> Value {
    parse(&Source::new("test", text)).unwrap().root.to_json()
}

#[test]
fn everything_is_written() {
    let folder = folder(SETTINGS);
    build(&folder, "kgateway");
    for name in ["kustomization.yaml", "server.yaml", "policies.yaml", "routes.yaml"] {
        let text = fs::read_to_string(folder.path().join("out").join(name)).unwrap();
        assert_snapshot!(format!("kgateway@{}", name.replace('.', "_")), text);
    }
}

#[test]
fn every_route_has_a_policy_that_fails_closed() {
    let resources = build(&folder(SETTINGS), "kgateway@2.3");
    let of =
        |kind: &str| resources.iter().filter(move |resource| resource["kind"] == kind).collect::<Vec<_>>();
    let routes: Vec<_> = of("HTTPRoute").iter().map(|route| route["metadata"]["name"].clone()).collect();
    let targets: Vec<_> =
        of("TrafficPolicy").iter().map(|policy| policy["spec"]["targetRefs"][0]["name"].clone()).collect();
    assert_eq!((routes.len(), &routes), (2, &targets));
    let extension = &of("GatewayExtension")[0]["spec"];
    assert_eq!((&extension["type"], &extension["extProc"]["failOpen"]), (&json!("ExtProc"), &json!(false)));
    assert!(extension["extProc"].get("requestAttributes").is_none(), "2.3 has no such field");
}

#[test]
fn bodies_are_sent_where_a_limit_counts_them() {
    let mode = |tier: &str| {
        let settings = format!("{SETTINGS}tiers: {{Own: {tier}}}\n").replace("tier: Bronze", "tier: Own");
        let resources = build(&folder(&settings), "kgateway");
        let extension = resources.iter().find(|resource| resource["kind"] == "GatewayExtension").unwrap();
        extension["spec"]["extProc"]["processingMode"].clone()
    };
    let heads = json!({"requestHeaderMode": "SEND", "responseHeaderMode": "SEND"});
    assert_eq!(mode("{quota: {requests: 1, per: 1m}}"), heads);
    let counted = mode("{bandwidth: {bytes: 1MiB, of: request, per: 1h}}");
    assert_eq!(
        (&counted["requestBodyMode"], counted.get("responseBodyMode")),
        (&json!("FULL_DUPLEX_STREAMED"), None)
    );
    let read = mode("{cost: {units: 9, from: {json: [usage.total_tokens]}, per: 1h}}");
    assert_eq!((&read["responseTrailerMode"], read.get("requestBodyMode")), (&json!("SEND"), None));
}

#[test]
fn envoy_waits_as_long_as_the_filters_do() {
    let timeout = |more: &str| {
        let resources = build(&folder(&format!("{SETTINGS}{more}")), "kgateway");
        let extension = resources.iter().find(|resource| resource["kind"] == "GatewayExtension").unwrap();
        extension["spec"]["extProc"]["messageTimeout"].clone()
    };
    assert_eq!(timeout(""), "8s", "5 s for keys, and what the server itself may take");
    let opa = "auth: {opa: {url: 'https://opa.example.com/v1/data/a', timeout: 40s}}\n";
    assert_eq!(timeout(opa), "48s");
}

#[test]
fn what_it_cannot_write_is_said() {
    let build = |settings: &str, definition: &str, target: &str| {
        let folder = Folder::new(&[("a.yaml", definition), ("enforcer.yaml", settings)]);
        let output = folder.run(&["--format", "json", "build", "a.yaml", "-t", target, "-o", "out"]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let run = |settings: &str, definition: &str| {
        let (code, said) = build(settings, definition, "kgateway");
        assert_eq!(code, Some(1), "{said}");
        said
    };
    let open = "openapi: 3.0.3\ninfo: {title: A, version: '1'}\nservers: [{url: 'http://a'}]\npaths: {/a: {get: {security: []}}}\n";
    let settings = "issuers: [{issuer: https://idp.example.com, jwks: https://idp.example.com/jwks}]\n";
    assert!(run(settings, open).contains("the Gateway that routes are attached to is not known"));
    let named = format!("{settings}kgateway: {{gateway: {{name: http}}}}\n");
    let sandboxed = format!(
        "{open}x-wso2-sandbox-endpoints: {{urls: ['http://b']}}\nx-wso2-production-endpoints: {{urls: ['http://a']}}\n"
    );
    assert!(run(&named, &sandboxed).contains("no routes to sandboxes"));
    let native = format!(
        "{named}limits: {{native: true, policies: [{{name: all, key: [{{constant: a}}], tier: Bronze}}]}}\n"
    );
    assert!(run(&native, open).contains("no filter for `limits.native`"));
    let patient =
        format!("{named}auth: {{opa: {{url: 'https://opa.example.com/v1/data/a', timeout: 1h}}}}\n");
    assert!(run(&patient, open).contains("Envoy waits an hour at most"));
    let several = format!(
        "{open}x-wso2-production-endpoints: {{urls: ['https://a.example.com', 'https://b.example.com']}}\n"
    );
    assert!(run(&named, &several).contains("kgateway verifies one of them"));
    for server in ["https://my_service.example.com", "https://[2001:db8::1]"] {
        let server = open.replace("http://a", server);
        assert!(run(&named, &server).contains("a BackendTLSPolicy cannot verify `"), "{server}");
    }
    let cors = format!("{named}cors: {{allow_origins: ['*'], allow_methods: [PROPFIND]}}\n");
    assert!(run(&cors, open).contains("knows no method `PROPFIND`"));
    let roots = format!("{named}defaults: {{ca_file: /etc/internal/ca.pem}}\n");
    assert!(run(&roots, open).contains("there is no `/etc/internal/ca.pem` in the server's pod"));
    let address = format!("{named}limits: {{policies: [{{name: each, key: [client_ip], tier: Bronze}}]}}\n");
    let (code, said) = build(&address, open, "kgateway@2.3");
    assert!(code == Some(1) && said.contains("by which the limit `each` counts"), "{said}");
    assert_eq!(build(&address, open, "kgateway@2.4").0, Some(0));
    let shown = format!(
        "{named}auth: {{client_certificates: {{known: [{{sha256: {}, consumer: a}}]}}}}\n",
        "ab".repeat(32)
    );
    let mutual = open
        .replace("openapi: 3.0.3", "openapi: 3.1.0\ncomponents: {securitySchemes: {m: {type: mutualTLS}}}")
        .replace("security: []", "security: [{m: []}]");
    let said = build(&shown, &mutual, "kgateway@2.3").1;
    assert!(said.contains("does not tell the server the client's certificate"), "{said}");
}

#[test]
fn a_rule_may_name_its_policy() {
    let settings = SETTINGS.replace("namespace: apis,", "namespace: apis, attach: rule,");
    let resources = build(&folder(&settings), "kgateway");
    let of =
        |kind: &str| resources.iter().filter(move |resource| resource["kind"] == kind).collect::<Vec<_>>();
    for (route, policy) in of("HTTPRoute").iter().zip(of("TrafficPolicy")) {
        let filter = &route["spec"]["rules"][0]["filters"][0];
        let named = json!({
            "type": "ExtensionRef",
            "extensionRef": {
                "group": "gateway.kgateway.dev",
                "kind": "TrafficPolicy",
                "name": policy["metadata"]["name"],
            },
        });
        assert_eq!((filter, policy["spec"].get("targetRefs")), (&named, None));
    }
    let rewritten = &of("HTTPRoute")[1]["spec"]["rules"][0]["filters"];
    assert_eq!((rewritten[1]["type"].as_str(), of("TrafficPolicy").len()), (Some("URLRewrite"), 2));
}

/// The folder with the definitions of resources, if it is there.
fn definitions() -> Option<PathBuf> {
    let folder = std::env::var_os("ENFORCER_CRDS").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: ENFORCER_CRDS is not set");
    }
    folder
}

/// The schema of a kind, as a release of kgateway has it, or Gateway API.
fn schema(folder: &Path, release: &str, kind: &str) -> Option<Value> {
    let plural = match kind {
        "Backend" => "gateway.kgateway.dev_backends",
        "GatewayExtension" => "gateway.kgateway.dev_gatewayextensions",
        "TrafficPolicy" => "gateway.kgateway.dev_trafficpolicies",
        "Gateway" => "gateway.networking.k8s.io_gateways",
        "HTTPRoute" => "gateway.networking.k8s.io_httproutes",
        "BackendTLSPolicy" => "gateway.networking.k8s.io_backendtlspolicies",
        _ => return None,
    };
    let of = if plural.contains("kgateway") { release } else { "gateway-api-v1.6.1-standard" };
    let text = fs::read_to_string(folder.join(of).join(format!("{plural}.yaml"))).unwrap();
    Some(yaml(&text)["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone())
}

#[test]
fn resources_are_those_that_kgateway_defines() {
    let Some(definitions) = definitions() else { return };
    let releases =
        [("kgateway@2.3", "kgateway-v2.3.0"), ("kgateway@2.4", "kgateway-v2.4-branchpoint-e1653486")];
    for (target, release) in releases {
        let check = |resources: &[Value]| {
            let mut checked = 0;
            for resource in resources {
                if let Some(schema) = schema(&definitions, release, resource["kind"].as_str().unwrap()) {
                    let mut problems = Vec::new();
                    validate(&schema, resource, "", &mut problems);
                    assert_eq!(problems, Vec::<String>::new(), "{target}: {resource}");
                    checked += 1;
                }
            }
            checked
        };
        assert_eq!(
            check(&build(&folder(SETTINGS), target)),
            8,
            "an extension, and of each API a route, a policy, a backend; one of them is verified"
        );
        let rules = SETTINGS.replace("namespace: apis,", "namespace: apis, attach: rule,");
        assert_eq!(check(&build(&folder(&rules), target)), 8);
    }
    let cluster =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-examples/kgateway/cluster/gateway.yaml");
    let gateway = &resources(&cluster)[0];
    let mut problems = Vec::new();
    validate(&schema(&definitions, "", "Gateway").unwrap(), gateway, "", &mut problems);
    assert_eq!(problems, Vec::<String>::new(), "{gateway}");
    let newer = build(&folder(SETTINGS), "kgateway@2.4");
    let extension = newer.iter().find(|resource| resource["kind"] == "GatewayExtension").unwrap();
    let older = schema(&definitions, "kgateway-v2.3.0", "GatewayExtension").unwrap();
    validate(&older, extension, "", &mut problems);
    assert_eq!(problems.len(), 2, "2.3 knows neither attributes nor stages: {problems:?}");
    let policy =
        json!({"apiVersion": "gateway.kgateway.dev/v1alpha1", "kind": "TrafficPolicy", "spec": {"wasm": {}}});
    problems.clear();
    validate(&schema(&definitions, "kgateway-v2.3.0", "TrafficPolicy").unwrap(), &policy, "", &mut problems);
    assert_eq!(problems, [".spec: unknown field `wasm`"]);
}

/// What an API server checks by a structural schema; rules in CEL are not.
fn validate(schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
    let mut wrong = |problem: String| problems.push(format!("{path}: {problem}"));
    let is = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("number") => value.is_number(),
        _ => true,
    };
    if !is {
        return wrong(format!("`{value}` is no {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        wrong(format!("`{value}` is none of {}", schema["enum"]));
    }
    let least = |name: &str| schema[name].as_u64().unwrap_or(0);
    let most = |name: &str| schema[name].as_u64().unwrap_or(u64::MAX);
    let within = |count: usize, low: &str, high: &str| {
        let count = u64::try_from(count).unwrap();
        least(low) <= count && count <= most(high)
    };
    match value {
        Value::String(text) => {
            if !within(text.chars().count(), "minLength", "maxLength") {
                wrong(format!("`{text}` is too short or too long"));
            }
            if schema["pattern"].as_str().is_some_and(|pattern| !Regex::new(pattern).unwrap().is_match(text))
            {
                wrong(format!("`{text}` does not match {}", schema["pattern"]));
            }
        }
        Value::Number(number) => {
            let number = number.as_u64().unwrap();
            if number < least("minimum") || number > most("maximum") {
                wrong(format!("`{number}` is out of range"));
            }
        }
        Value::Array(items) => {
            if !within(items.len(), "minItems", "maxItems") {
                wrong("too few or too many items".to_owned());
            }
            for (index, item) in items.iter().enumerate() {
                validate(&schema["items"], item, &format!("{path}[{index}]"), problems);
            }
        }
        Value::Object(fields) => {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !fields.contains_key(name) {
                    wrong(format!("`{name}` is missing"));
                }
            }
            // Of metadata the schemas say nothing.
            let Some(known) = schema["properties"].as_object().filter(|_| path != ".metadata") else {
                return;
            };
            for (name, field) in fields {
                match known.get(name) {
                    Some(schema) => validate(schema, field, &format!("{path}.{name}"), problems),
                    None => problems.push(format!("{path}: unknown field `{name}`")),
                }
            }
        }
        _ => {}
    }
}
