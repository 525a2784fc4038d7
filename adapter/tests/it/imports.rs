//! `limits: {imports: [...]}`: tiers that other products wrote down.

use std::{env, path::Path};

use insta::assert_snapshot;

use crate::folder::Folder;

const API: &str = "openapi: 3.0.3\ninfo: {title: A, version: '1'}\nservers: [{url: https://x.example.com}]\nsecurity: []\n\
                   x-wso2-throttling-tier: Bronze\npaths: {/a: {get: {}}}\n";

const MICROGATEWAY: &str = "resourcePolicies:\n- 50kPerMin:\n   count: 50000\n   unitTime: 1\n   timeUnit: min\n\
                            subscriptionPolicies:\n- Bronze:\n   count: 7\n   unitTime: 2\n   timeUnit: hour\n   \
                            stopOnQuota: false\n";

const ADVANCED: &str = r#"{
  "policyName": "Partners", "type": "AdvancedThrottlePolicy", "isDeployed": false,
  "defaultLimit": {"type": "REQUESTCOUNTLIMIT", "requestCount": {"timeUnit": "min", "unitTime": 1, "requestCount": 50}},
  "conditionalGroups": [{
    "description": "crawlers of one address",
    "conditions": [
      {"type": "HEADERCONDITION", "invertCondition": false, "headerCondition": {"headerName": "User-Agent", "headerValue": "bot"}},
      {"type": "IPCONDITION", "invertCondition": true, "ipCondition": {"ipConditionType": "IPSPECIFIC", "specificIP": "10.0.0.1"}},
      {"type": "IPCONDITION", "ipCondition": {"ipConditionType": "IPRANGE", "startingIP": "10.0.0.0", "endingIP": "10.9.255.255"}},
      {"type": "QUERYPARAMETERCONDITION", "queryParameterCondition": {"parameterName": "q", "parameterValue": "^a"}}
    ],
    "limit": {"type": "BANDWIDTHLIMIT", "bandwidth": {"timeUnit": "day", "unitTime": 1, "dataAmount": 3, "dataUnit": "MB"}}
  }]
}"#;

const SUBSCRIPTION: &str = r#"{"type": "throttling policy", "data": {
  "policyName": "Burst", "defaultLimit": {"type": "REQUESTCOUNTLIMIT", "requestCount": {"timeUnit": "month", "unitTime": 1, "requestCount": 900}},
  "rateLimitCount": 5, "rateLimitTimeUnit": "sec", "stopOnQuotaReach": true
}}"#;

fn folder(imports: &str) -> Folder {
    let settings =
        format!("limits: {{imports: [{imports}]}}\ndefaults: {{modules: /opt/enforcer, ca_file: /x}}\n");
    Folder::new(&[
        ("a.yaml", API),
        ("enforcer.yaml", &settings),
        ("policies.yaml", MICROGATEWAY),
        ("partners.json", ADVANCED),
        ("burst.json", SUBSCRIPTION),
    ])
}

#[test]
fn tiers_of_others_are_read() {
    let folder = folder("policies.yaml, partners.json, burst.json");
    let output = folder.run(&["build", "a.yaml", "-t", "envoy-filters", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let filters = folder.read("out/http_filters.yaml");
    let (_, tiers) = filters.split_once("\"tiers\"").unwrap();
    let (tiers, _) = tiers.split_once("\"apis\"").unwrap();
    assert_snapshot!(tiers);
}

/// The labels of the limits' counters, beside those of calls or alone.
#[test]
fn metrics_have_labels() {
    let tags = |settings: &str| {
        let folder = folder("policies.yaml");
        let imports = folder.read("enforcer.yaml").replace("imports:", "metrics: true, imports:");
        folder.write("enforcer.yaml", format!("{imports}{settings}"));
        let output = folder.run(&["build", "a.yaml", "-t", "envoy-filters", "-o", "out"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let stats = folder.read("out/stats_config.yaml");
        let names =
            stats.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("tag_name: "));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(tags(""), ["level", "policy", "outcome"]);
    let with_calls = tags("analytics: {metrics: {}}\n");
    assert!(with_calls.starts_with(&["api".to_owned()]) && with_calls.ends_with(&["outcome".to_owned()]));
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let mistakes =
        folder("policies.yaml, others.yaml, events.json, odd.json, none.yaml, missing.json, odd.yaml");
    mistakes.write("others.yaml", MICROGATEWAY.replace("count: 7", "count: 8"));
    mistakes.write("events.json", SUBSCRIPTION.replace("REQUESTCOUNTLIMIT", "EVENTCOUNTLIMIT"));
    mistakes.write("odd.json", ADVANCED.replace("\"endingIP\"", "\"lastIP\""));
    mistakes.write("none.yaml", "policies: []\n");
    mistakes
        .write("odd.yaml", MICROGATEWAY.replace("hour", "fortnight").replace("count: 50000", "count: many"));
    assert_snapshot!(mistakes.transcript(&["check", "a.yaml"]));
}

/// What the products themselves ship.
#[test]
fn the_samples_are_read() {
    let Some(samples) = env::var_os("ENFORCER_SAMPLES") else {
        println!("skipped: ENFORCER_SAMPLES is not set");
        return;
    };
    let throttling = Path::new(&samples).join("choreo-connect/throttling");
    let check = |file: &str| {
        let path = throttling.join(file).display().to_string();
        let output = folder(&path).run(&["check", "a.yaml"]);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for file in [
        "mgw-3.2-policies.yaml",
        "advanced/5ReqPerMin.json",
        "advanced/3KbPerMin.json",
        "application/5ReqPerMin.json",
        "application/3KbPerMin.json",
    ] {
        let (read, said) = check(file);
        assert!(read, "{file}: {said}");
    }
    let (read, said) = check("subscription/5EventsPerMin.json");
    assert!(!read && said.contains("EVENTCOUNTLIMIT"), "{said}");
}
