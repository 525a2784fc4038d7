//! What cannot be attached to, and what is said about it.

use insta::assert_snapshot;

use super::{AWKWARD, ISSUER, round_trip, try_attach};

fn refused(text: &str, listeners: &[&str]) -> String {
    match try_attach(text, ISSUER, listeners) {
        Ok(outcome) => panic!("accepted: {}", outcome.text),
        Err(finding) => finding.to_text(false),
    }
}

fn all(findings: &[String]) -> String {
    findings.join("\n")
}

/// A configuration with these filters at two listeners.
fn two(a: &str, b: &str) -> String {
    let manager = "\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let listener = |name: &str, filters: &str| {
        format!(
            "  - name: {name}\n    filter_chains:\n    - filters:\n      - typed_config:\n          {manager}\n          {filters}\n"
        )
    };
    format!("static_resources:\n  listeners:\n{}{}", listener("a", a), listener("b", b))
}

const ROUTER: &str = "{name: envoy.filters.http.router}";

#[test]
fn listeners_that_are_unclear() {
    let filters = format!("http_filters: [{ROUTER}]");
    let unnamed = two(&filters, &filters).replace("- name: a\n    ", "- ").replace("- name: b\n    ", "- ");
    assert_snapshot!(all(&[
        refused(AWKWARD, &[]),
        refused(AWKWARD, &["publik"]),
        // It is there, but speaks no HTTP.
        refused(AWKWARD, &["tcp"]),
        refused(&unnamed, &[]),
    ]));
}

#[test]
fn listeners_that_are_elsewhere() {
    assert_snapshot!(all(&[
        refused("dynamic_resources:\n  lds_config: {path_config_source: {path: lds.yaml}}\n", &[]),
        refused("resources:\n- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n", &[]),
        refused("", &[]),
    ]));
}

#[test]
fn no_router() {
    assert_snapshot!(all(&[
        refused(&two("http_filters: [{name: lua}]", "stat_prefix: b"), &["a"]),
        refused(&two("http_filters: [{name: lua}]", "stat_prefix: b"), &["b"]),
    ]));
}

#[test]
fn a_filter_that_is_there_by_hand() {
    let named = format!("http_filters: [{{name: enforcer.auth, typed_config: {{config: {{}}}}}}, {ROUTER}]");
    let vm = "typed_config: {config: {vm_config: {vm_id: enforcer}}}";
    let unnamed = format!("http_filters: [{{name: jwt, {vm}}}, {ROUTER}]");
    assert_snapshot!(all(&[
        refused(&two(&named, "stat_prefix: b"), &["a"]),
        refused(&two(&unnamed, "stat_prefix: b"), &["a"]),
    ]));
    // Another listener's is none of our business.
    round_trip(&two(&unnamed, &format!("http_filters: [{ROUTER}]")), &["b"]);
}

#[test]
fn filters_that_an_alias_shares() {
    let shared = two(&format!("http_filters: &filters [{ROUTER}]"), "http_filters: *filters");
    let merged = two(&format!("<<: &manager {{http_filters: [{ROUTER}]}}"), "<<: *manager");
    assert_snapshot!(all(&[refused(&shared, &["a"]), refused(&shared, &["b"]), refused(&merged, &["b"])]));
    // Both want them: one text, two listeners.
    let result = round_trip(&shared, &["a", "b"]);
    assert_eq!(result.matches("vm_id").count(), 1);
}

#[test]
fn a_router_that_an_alias_stands_for() {
    let dashes = |router: &str| format!("http_filters:\n          - {router}");
    let block = two(&dashes(&format!("&router {ROUTER}")), &dashes("*router"));
    for listeners in [&["a"][..], &["b"], &["a", "b"]] {
        round_trip(&block, listeners);
    }
    // In flow style nothing shows where the alias stands, and an anchor would move to what is put before it.
    let flow = two(&format!("http_filters: [&router {ROUTER}]"), "http_filters: [*router]");
    assert_snapshot!(all(&[refused(&flow, &["a"]), refused(&flow, &["b"])]));
}

#[test]
fn clusters_without_a_value() {
    let text =
        AWKWARD.split_inclusive('\n').take_while(|line| *line != "  # The animals.\n").collect::<String>();
    assert_snapshot!(refused(&text, &["internal"]));
}

#[test]
fn a_file_that_is_no_configuration() {
    let twice = "static_resources: {}\nstatic_resources: {}\n";
    assert_snapshot!(all(&[refused("a: [1\n", &[]), refused(twice, &[])]));
}

#[test]
fn names_in_any_style() {
    let camel = two(&format!("httpFilters: [{ROUTER}]"), "stat_prefix: b")
        .replace("static_resources", "staticResources")
        .replace("filter_chains", "filterChains")
        .replace("typed_config", "typedConfig");
    round_trip(&camel, &["a"]);
}
