use std::fs;

use enforcer_auth::config::Jwks;
use insta::assert_snapshot;

use super::*;
use crate::{diagnostic::Diagnostics, gateway::Input};

mod generated;
mod refused;

const AWKWARD: &str = include_str!("awkward.yaml");

const DEFINITION: &str = "openapi: 3.0.3\ninfo: {title: Pets, version: '1'}\nservers: [{url: https://pets.example.com/v1}]\n\
                          paths: {/pets: {get: {operationId: listPets}}}\n";
const ISSUER: &str = "issuers: [{issuer: https://idp.example.com, jwks: http://127.0.0.1:9000/jwks}]\n\
                      defaults: {modules: /opt/enforcer, ca_file: /etc/ssl/ca.pem}\n";
/// Other clusters, and a configuration of another length.
const ISSUERS: &str = "issuers: [{issuer: https://idp.example.com, jwks: http://127.0.0.1:9000/jwks},\n\
                       {issuer: https://b.example.com, jwks: https://b.example.com/keys}]\n\
                       defaults: {modules: /opt/enforcer, ca_file: /etc/ssl/ca.pem}\n";

#[test]
fn upgrades_with_filters_of_their_own_are_protected_too() {
    let router = "name: envoy.filters.http.router\n                  typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}";
    let text = format!(
        "static_resources:\n  listeners:\n  - name: a\n    filter_chains:\n    - filters:\n      - name: http\n        typed_config:\n          \
         '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n          \
         upgrade_configs:\n          - upgrade_type: websocket\n            filters:\n            - {}\n          - upgrade_type: CONNECT\n          \
         http_filters:\n          - {}\n",
        router.replace("                  ", "              "),
        router.replace("                  ", "            "),
    );
    let attached = round_trip(&text, &[]);
    assert_eq!(attached.matches("- name: enforcer.attached.auth\n").count(), 2, "{attached}");
}

#[test]
fn who_calls_a_cluster_calls_it_by_its_new_name() {
    let taken = ["", "_2", "_3", "_4", "_5"].map(|number| format!("enforcer_issuer_127-0-0-1{number}"));
    let clusters: String = taken.iter().map(|name| format!("  - name: {name}\n")).collect();
    let text = format!(
        "static_resources:\n  clusters:\n{clusters}  - name: enforcer_limits_127-0-0-1\n  listeners:\n  - name: a\n    filter_chains:\n    - filters:\n      \
         - name: http\n        typed_config:\n          \
         '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n          \
         http_filters:\n          - name: envoy.filters.http.router\n"
    );
    let asked = "auth:\n  revocation: {list: {url: http://127.0.0.1:1/r}}\n  \
                 subscriptions: {applications: {remote: {url: http://127.0.0.1:2/a}}}\n";
    let limits = "limits:\n  native: true\n  service: {url: http://127.0.0.1:4, on_failure: open}\n  \
                  policies: [{name: a, key: [user], tier: Gold, shared: true}]\n";
    for point in ["opa: {url: http://127.0.0.1:3/p}", "xacml: {url: http://127.0.0.1:3/p}"] {
        let settings = format!("{ISSUER}{asked}  {point}\n{limits}");
        let attached = attached(&text, &settings, &[]);
        let filters = attached.split("http_filters").nth(1).unwrap();
        for name in taken.iter().map(String::as_str).chain(["enforcer_limits_127-0-0-1"]) {
            assert!(
                !filters.contains(&format!("{name}\"")) && !filters.contains(&format!("{name}\n")),
                "{filters}"
            );
        }
        assert!(filters.contains("enforcer_limits_127-0-0-1_2"), "{filters}");
        assert_eq!(detached(&attached), text);
    }
}

fn gateway(settings: &str) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let (definition, file) = (folder.path().join("pets.yaml"), folder.path().join("enforcer.yaml"));
    fs::write(&definition, DEFINITION).unwrap();
    fs::write(&file, settings).unwrap();
    let mut findings = Diagnostics::default();
    let input = Input {
        definitions: vec![definition],
        settings: Some(file),
        development: false,
        routed: false,
        online: false,
    };
    let gateway = Gateway::load(&input, &mut findings);
    gateway.unwrap_or_else(|| panic!("{:?}", findings.iter().collect::<Vec<_>>()))
}

fn try_attach(text: &str, settings: &str, listeners: &[&str]) -> Result<Outcome, Diagnostic> {
    let names: Vec<String> = listeners.iter().map(|name| (*name).to_owned()).collect();
    attach(&Source::new("envoy.yaml", text), gateway(settings), &names)
}

fn attached(text: &str, settings: &str, listeners: &[&str]) -> String {
    let outcome = try_attach(text, settings, listeners);
    outcome.unwrap_or_else(|finding| panic!("{}\n{text}", finding.to_text(false))).text
}

fn detached(text: &str) -> String {
    let outcome = detach(&Source::new("envoy.yaml", text));
    outcome.unwrap_or_else(|finding| panic!("{}\n{text}", finding.to_text(false))).text
}

/// What must hold for every configuration: additions only, nothing twice, and the way back.
fn round_trip(text: &str, listeners: &[&str]) -> String {
    let first = attached(text, ISSUER, listeners);
    assert_ne!(first, text);
    assert_eq!(attached(&first, ISSUER, listeners), first, "the second time changes something");
    let other = attached(&first, ISSUERS, listeners);
    assert_eq!(other, attached(text, ISSUERS, listeners), "what was attached earlier makes a difference");
    assert_eq!(attached(&other, ISSUER, listeners), first);
    assert_eq!(detached(&first), text);
    assert_eq!(detached(&other), text);
    assert_eq!(detached(text), text);
    first
}

/// The lines of `after` that `before` does not have; panics if one of `before` is missing or elsewhere.
fn added_lines(before: &str, after: &str) -> String {
    let mut left = before.lines().peekable();
    let mut out = String::new();
    for line in after.lines() {
        if left.peek() == Some(&line) {
            left.next();
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    assert_eq!(left.next(), None, "a line is missing or elsewhere");
    out
}

#[test]
fn adds_lines_and_changes_none() {
    let result = round_trip(AWKWARD, &["internal"]);
    assert_snapshot!(added_lines(AWKWARD, &result));
}

#[test]
fn every_filter_chain_of_a_listener() {
    let result = round_trip(AWKWARD, &["public"]);
    assert_eq!(result.matches("vm_id").count(), 2);
    let document = parse(&Source::new("envoy.yaml", result.as_str())).unwrap();
    let listeners = find::listeners(document.view());
    let names: Vec<Vec<String>> = listeners[0]
        .managers
        .iter()
        .map(|manager| {
            let filters = manager.filters.unwrap();
            filters.items().map(|filter| filter.get("name").unwrap().text().unwrap().to_owned()).collect()
        })
        .collect();
    assert_eq!(names, [vec!["lua", "enforcer.attached.auth", "last"], vec!["enforcer.attached.auth", "r"]]);
    // Between the filter before the router and the comment that is about the router.
    let lines: Vec<&str> = result.lines().map(str::trim).collect();
    let comment = lines.iter().position(|line| *line == "# Must be the last.").unwrap();
    assert_eq!(
        lines[comment + 2],
        "- typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}"
    );
    assert_eq!(lines[comment - 1], "}");
}

#[test]
fn several_listeners_and_then_one() {
    let both = round_trip(AWKWARD, &["public", "internal"]);
    assert_eq!(both.matches("vm_id").count(), 3);
    assert_eq!(attached(&both, ISSUER, &["internal"]), attached(AWKWARD, ISSUER, &["internal"]));
}

#[test]
fn a_cluster_with_our_name_is_left_alone() {
    let text = attached(AWKWARD, ISSUER, &["public"]);
    let clusters = parse(&Source::new("envoy.yaml", text.as_str())).unwrap().root.to_json();
    let names: Vec<String> = clusters["static_resources"]["clusters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cluster| cluster["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["enforcer_issuer_127-0-0-1_2", "pets", "enforcer_issuer_127-0-0-1"]);
    assert!(text.contains(r#""cluster": "enforcer_issuer_127-0-0-1_2""#), "{text}");
    let taken_too =
        AWKWARD.replace("name: pets\n    connect", "name: enforcer_issuer_127-0-0-1_2\n    connect");
    assert!(attached(&taken_too, ISSUER, &["public"]).contains("name: enforcer_issuer_127-0-0-1_3"));
}

#[test]
fn says_what_it_did() {
    let report = |outcome: Outcome| outcome.report.join("\n");
    let first = try_attach(AWKWARD, ISSUERS, &["internal", "public"]).unwrap();
    let second = try_attach(&first.text, ISSUER, &["public"]).unwrap();
    let removed = detach(&Source::new("envoy.yaml", first.text.as_str())).unwrap();
    let nothing = detach(&Source::new("envoy.yaml", AWKWARD)).unwrap();
    assert_snapshot!([first, second, removed, nothing].map(report).join("\n\n"));
}

#[test]
fn line_ends_of_windows_and_no_line_end_at_all() {
    let windows = AWKWARD.replace('\n', "\r\n");
    let result = round_trip(&windows, &["internal"]);
    assert_eq!(result.matches('\n').count(), result.matches("\r\n").count());
    round_trip(AWKWARD.trim_end(), &["internal"]);
}

/// The same configuration as JSON, in the ways in which programs write it.
#[test]
fn json_stays_json() {
    let mut value = parse(&Source::new("envoy.yaml", AWKWARD)).unwrap().root.to_json();
    value.as_object_mut().unwrap().shift_remove("shared");
    for text in [format!("{value:#}"), value.to_string(), format!("{value:#}\n")] {
        for listeners in [&["public"][..], &["internal"], &["internal", "public"]] {
            let result = round_trip(&text, listeners);
            let result: Value = serde_json::from_str(&result).unwrap();
            assert_eq!(result["node"], value["node"]);
        }
    }
    // Lines of its own, indented like those around it.
    let pretty = format!("{value:#}");
    assert_snapshot!(added_lines(&pretty, &round_trip(&pretty, &["internal"])));
}

#[test]
fn clusters_that_are_not_there_yet() {
    let (listeners, _) = AWKWARD.split_once("  clusters:\n").unwrap();
    for text in [
        listeners.to_owned(),
        format!("{listeners}  clusters: []\n"),
        format!("{listeners}  clusters: [ ]\n"),
    ] {
        let result = round_trip(&text, &["internal"]);
        assert!(result.contains("enforcer_issuer_127-0-0-1"), "{result}");
    }
    let json = |clusters: &str| {
        let mut value = parse(&Source::new("envoy.yaml", listeners)).unwrap().root.to_json();
        value.as_object_mut().unwrap().shift_remove("shared");
        let text = value.to_string();
        format!("{}{clusters}}}}}", text.strip_suffix("}}").unwrap())
    };
    for text in [json(""), json(", \"clusters\": []"), json(", \"clusters\": [ ]")] {
        let result = round_trip(&text, &["internal"]);
        serde_json::from_str::<Value>(&result).unwrap();
    }
}

/// Somebody added to what was attached, or moved it; it is still found.
#[test]
fn taken_out_from_wherever_it_is() {
    let result = attached(AWKWARD, ISSUER, &["internal"]);
    let mut value = parse(&Source::new("envoy.yaml", result.as_str())).unwrap().root.to_json();
    let original = parse(&Source::new("envoy.yaml", AWKWARD)).unwrap().root.to_json();
    let clusters = value["static_resources"]["clusters"].as_array_mut().unwrap();
    clusters.rotate_left(1);
    for text in [value.to_string(), format!("{value:#}"), crate::source::to_yaml(&value)] {
        let text = detached(&text);
        let back = parse(&Source::new("envoy.yaml", text.as_str())).unwrap().root.to_json();
        assert_eq!(back, original, "{text}");
        // JSON has no comma behind the last item.
        assert!(!text.starts_with('{') || serde_json::from_str::<Value>(&text).is_ok(), "{text}");
    }
}

#[test]
fn labels_of_metrics() {
    let settings = format!("{ISSUER}analytics: {{metrics: {{}}}}\n");
    let own =
        "stats_config:\n  # theirs\n  stats_tags:\n  - {tag_name: team, regex: '^cluster\\.((.*?)\\.)'}\n";
    let other = "stats_config: {use_all_default_tags: true}\n";
    for stats in ["", own, other] {
        let text = AWKWARD.replace("\nstatic_resources:", &format!("\n{stats}static_resources:"));
        let with = attached(&text, &settings, &["internal"]);
        let tags = parse(&Source::new("envoy.yaml", with.as_str())).unwrap().root.to_json();
        let tags = tags["stats_config"]["stats_tags"].as_array().unwrap().len();
        assert_eq!(tags, 7 + usize::from(stats == own), "{with}");
        if stats != other {
            added_lines(&text, &with);
        }
        assert_eq!(attached(&with, &settings, &["internal"]), with, "the second time changes something");
        assert_eq!(attached(&with, ISSUER, &["internal"]), attached(&text, ISSUER, &["internal"]));
        assert_eq!(detached(&with), text);
        let json = parse(&Source::new("envoy.yaml", text.as_str())).unwrap().root.to_json().to_string();
        let with = attached(&json, &settings, &["internal"]);
        serde_json::from_str::<Value>(&with).unwrap();
        assert_eq!(detached(&with), json);
    }
}

#[test]
fn every_cluster_that_is_called_keeps_its_name() {
    let settings = format!(
        "{ISSUER}auth:\n  revocation: {{list: {{url: https://portal.example.com/revoked}}}}\n  \
         opa: {{url: https://portal.example.com/v1/data/allow}}\n"
    );
    let cluster = |text: &str| {
        let value = parse(&Source::new("envoy.yaml", text)).unwrap().root.to_json();
        let clusters = value["static_resources"]["clusters"].as_array().unwrap().clone();
        let named = |name: &&Value| name["name"].as_str().is_some_and(|name| name.contains("portal"));
        clusters.iter().find(named).unwrap()["name"].as_str().unwrap().to_owned()
    };
    let usual = cluster(&attached(AWKWARD, &settings, &["internal"]));
    let taken = AWKWARD.replace("name: pets\n    connect", &format!("name: {usual}\n    connect"));
    let with = attached(&taken, &settings, &["internal"]);
    assert_eq!(with.matches(&format!("\"cluster\": \"{usual}_2\"")).count(), 2, "{with}");
}

#[test]
fn inline_keys_need_no_cluster() {
    let mut gateway = gateway(ISSUER);
    gateway.key_servers.clear();
    gateway.auth.issuers[0].jwks = Jwks::Inline(json!({"keys": []}));
    let outcome = attach(&Source::new("envoy.yaml", AWKWARD), gateway, &["internal".to_owned()]).unwrap();
    assert_eq!(outcome.report.len(), 1, "{:?}", outcome.report);
    assert_eq!(detached(&outcome.text), AWKWARD);
}
