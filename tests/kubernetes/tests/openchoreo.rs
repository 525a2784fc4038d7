//! envoy-examples/openchoreo: the trait, rendered as OpenChoreo does it.

use std::{fs, path::Path, time::Duration};

use cel::{Context, Program, Value as Cel, extractors::Arguments};
use enforcer_adapter::kgateway::Release;
use enforcer_auth::config::AuthConfig;
use enforcer_bundle::Bundle;
use enforcer_core::{
    config,
    filter::{Capabilities, Filter as _},
};
use enforcer_kubernetes_tests::{Definitions, V2_3, V2_4, build, kind, plural, resources, yaml};
use kube_cel::apply_defaults;
use serde_json::{Value, from_value, json};

fn read(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy-examples/openchoreo");
    fs::read_to_string(folder.join(file)).unwrap()
}

fn the<'a>(resources: &'a [Value], of: &str) -> &'a Value {
    resources.iter().find(|resource| kind(resource) == of).unwrap()
}

/// What the trait creates for the endpoint `http` of the component `pets`.
fn created(parameters: &Value, environment: &Value) -> Vec<Value> {
    let spec = &yaml(&read("trait.yaml"))["spec"];
    let complete = |section: &str, given: &Value| {
        let schema = &spec[section]["openAPIV3Schema"];
        // The second time in what the first has added.
        let complete = apply_defaults(schema, &apply_defaults(schema, given));
        let problems: Vec<_> = jsonschema::validator_for(schema)
            .unwrap()
            .iter_errors(&complete)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(problems, Vec::<String>::new(), "{section}");
        complete
    };
    let mut context = Context::default();
    context.add_variable("parameters", complete("parameters", parameters)).unwrap();
    context.add_variable("environmentConfigs", complete("environmentConfigs", environment)).unwrap();
    let labels = json!({"openchoreo.dev/component": "pets"});
    let metadata = json!({"componentName": "pets", "namespace": "dp-acme-dev", "labels": labels});
    context.add_variable("metadata", metadata).unwrap();
    // The platform's add a hash.
    for function in ["oc_dns_label", "oc_generate_name"] {
        context.add_function(function, |Arguments(parts): Arguments| -> String {
            let text = |part: &Cel| part.json().unwrap().as_str().unwrap().to_owned();
            parts.iter().map(text).collect::<Vec<_>>().join("-")
        });
    }
    let creates = spec["creates"].as_array().unwrap();
    creates.iter().map(|create| rendered(&create["template"], &context)).collect()
}

fn rendered(template: &Value, context: &Context<'_>) -> Value {
    match template {
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (name.clone(), rendered(field, context))).collect()
        }
        Value::Array(items) => items.iter().map(|item| rendered(item, context)).collect(),
        Value::String(text) => string(text, context),
        other => other.clone(),
    }
}

/// An expression alone is its value; within text, strings are put in as they are, everything else as JSON.
fn string(text: &str, context: &Context<'_>) -> Value {
    let Some((before, rest)) = text.split_once("${") else { return json!(text) };
    let length = expression(rest);
    let value = Program::compile(&rest[..length]).unwrap().execute(context).unwrap().json().unwrap();
    let after = &rest[length + 1..];
    if before.trim().is_empty() && after.trim().is_empty() {
        return value;
    }
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let after = string(after, context);
    json!(format!("{before}{value}{}", after.as_str().map_or_else(|| after.to_string(), str::to_owned)))
}

/// How long an expression is: up to its closing brace, those in quotes not counted.
fn expression(text: &str) -> usize {
    let (mut depth, mut quote) = (0, None);
    for (index, byte) in text.bytes().enumerate() {
        match (byte, quote) {
            (b'\'' | b'"', None) => quote = Some(byte),
            (_, Some(open)) if open == byte => quote = None,
            (b'{', None) => depth += 1,
            (b'}', None) if depth == 0 => return index,
            (b'}', None) => depth -= 1,
            _ => {}
        }
    }
    panic!("no end: {text}")
}

/// What `enforcer build -t kgateway` writes for the server.
fn written() -> Value {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../envoy-examples/kgateway");
    let resources = build(&example.join("petstore.yaml"), &example.join("enforcer.yaml"), Release::V2_3);
    serde_json::from_str(the(&resources, "Secret")["stringData"]["enforcer.json"].as_str().unwrap()).unwrap()
}

/// A server's configuration without what is the filters' own, and which clusters there are.
fn shape(whole: &Value) -> Value {
    let mut whole = whole.clone();
    whole["clusters"] = json!({});
    whole["filters"]["enforcer"]["configuration"] = json!({});
    whole
}

/// The server takes it.
fn configuration(resources: &[Value]) -> Value {
    let text = the(resources, "ConfigMap")["data"]["enforcer.json"].as_str().unwrap();
    let whole: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(shape(&whole), shape(&written()), "the server knows other fields");
    let own = whole["filters"]["enforcer"]["configuration"].clone();
    Bundle::new(config::parse(own.to_string().as_bytes()).unwrap(), Capabilities::default()).unwrap();
    own
}

#[test]
fn an_endpoint_gets_what_it_asks_for() {
    let all = json!({
        "endpointName": "http",
        "auth": {"scopes": ["read:pets", "\"}], \"security\": ["]},
        "rateLimit": {"enabled": true, "requests": 5, "per": "1h"},
        "analytics": {"enabled": true},
    });
    let idp =
        json!({"issuer": "https://acme.example/t", "server": "https://acme.example", "jwksPath": "/keys"});
    let resources = created(&all, &json!({"identityProvider": idp}));
    let own = configuration(&resources);
    assert_eq!(
        own["auth"],
        json!({
            "issuers": [{
                "issuer": "https://acme.example/t",
                "jwks": {"remote": {"cluster": "idp", "url": "https://acme.example/keys"}},
            }],
            "apis": [{"name": "pets", "security": [{"jwt": {"scopes": {"all_of": ["read:pets", "\"}], \"security\": ["]}}}]}],
        })
    );
    assert_eq!(own["ratelimit"]["tiers"], json!({"Endpoint": {"quota": {"requests": 5, "per": "1h"}}}));
    assert_eq!(
        own["ratelimit"]["policies"],
        json!([{"name": "endpoint", "key": ["user"], "tier": "Endpoint"}])
    );
    assert_eq!(own["analytics"]["sinks"], json!([{"access_log": {}}]));

    let open =
        configuration(&created(&json!({"endpointName": "http", "auth": {"enabled": false}}), &json!({})));
    assert_eq!(open["auth"], json!({"issuers": [], "apis": [{"name": "pets", "security": []}]}));
    assert_eq!(
        open["ratelimit"]["policies"],
        json!([{"name": "endpoint", "key": [{"constant": "all"}], "tier": "Unlimited"}])
    );
    assert_eq!(open["analytics"]["sinks"], json!([]));
}

/// Names and labels that belong together, and definitions that are kept.
#[test]
fn the_parts_fit_together() {
    let resources = created(&json!({"endpointName": "http"}), &json!({}));
    let auth: AuthConfig = from_value(configuration(&resources)["auth"].clone()).unwrap();
    let patience = &the(&resources, "GatewayExtension")["spec"]["extProc"]["messageTimeout"];
    assert!(
        patience == "10s" && auth.patience() < Duration::from_secs(8),
        "Envoy gives up before the filters do"
    );
    for resource in &resources {
        assert_eq!(resource["metadata"]["name"], "pets-http-enforcer");
        assert_eq!(resource["metadata"]["namespace"], "dp-acme-dev");
        assert_eq!(resource["metadata"]["labels"]["openchoreo.dev/component"], "pets");
    }
    let (deployment, service) = (&the(&resources, "Deployment")["spec"], &the(&resources, "Service")["spec"]);
    let labels = &deployment["template"]["metadata"]["labels"];
    assert_eq!((&deployment["selector"]["matchLabels"], &service["selector"]), (labels, labels));
    assert!(labels.as_object().unwrap().keys().all(|name| !name.contains("openchoreo")));
    assert_eq!(deployment["template"]["spec"]["volumes"][1]["configMap"]["name"], "pets-http-enforcer");
    let targets = the(&resources, "TrafficPolicy")["spec"]["targetRefs"].as_array().unwrap().clone();
    let names: Vec<_> = targets.iter().map(|target| target["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["pets-http", "pets-http-internal"]);
    for release in [V2_3, V2_4] {
        let Some(definitions) = Definitions::of(release) else { return };
        let checked = definitions.check(&resources);
        assert!(
            checked.into_iter().eq(["GatewayExtension", "TrafficPolicy"].map(|kind| (kind.to_owned(), 1)))
        );
    }
}

/// What the platform's agent may do by OpenChoreo's own role is enough, but for one kind.
#[test]
fn the_role_has_what_the_agent_lacks() {
    let given = ["apps/deployments", "/configmaps", "/services", "gateway.kgateway.dev/trafficpolicies"];
    let role = resources(&read("rbac.yaml"));
    let rules = the(&role, "ClusterRole")["rules"].as_array().unwrap();
    let granted = rules.iter().flat_map(|rule| {
        let group = rule["apiGroups"][0].as_str().unwrap();
        rule["resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(move |name| format!("{group}/{}", name.as_str().unwrap()))
    });
    let granted: Vec<String> = granted.chain(given.map(str::to_owned)).collect();
    for resource in created(&json!({"endpointName": "http"}), &json!({})) {
        let version = resource["apiVersion"].as_str().unwrap();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let plural = plural(kind(&resource));
        assert!(granted.contains(&format!("{group}/{plural}")), "{group}/{plural}");
    }
    let binding = the(&role, "ClusterRoleBinding");
    assert_eq!(binding["roleRef"]["name"], the(&role, "ClusterRole")["metadata"]["name"]);
}

/// The files that the README shows.
#[test]
fn the_readme_shows_what_the_trait_takes() {
    let readme = read("README.md");
    let blocks: Vec<Value> =
        readme.split("```yaml\n").skip(1).map(|rest| yaml(rest.split("```").next().unwrap())).collect();
    let [component, environment] = blocks.as_slice() else { panic!("there are two") };
    let own = &component["spec"]["traits"][0];
    let named = yaml(&read("trait.yaml"));
    assert_eq!((&own["kind"], &own["name"]), (&named["kind"], &named["metadata"]["name"]));
    let resources = created(&own["parameters"], environment);
    assert_eq!(configuration(&resources)["ratelimit"]["tiers"]["Endpoint"]["quota"]["requests"], 100);
    let pod = &the(&resources, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], environment["image"]);
    for parameter in ["endpointName", "auth.enabled", "auth.scopes", "rateLimit.enabled", "analytics.enabled"]
    {
        assert!(readme.contains(&format!("| `{parameter}` |")), "{parameter}");
    }
}
