//! `analytics`: as text, and in use on a real Envoy.

use std::time::{Duration, Instant};

use enforcer_testbed::{EchoBackend, Envoy, EnvoyBinary, Issuer, Request};
use insta::assert_snapshot;
use serde_json::Value;

use crate::{cli::PETS, envoy::module, folder::Folder};

const SETTINGS: &str = r#"
issuers: [{issuer: https://idp.example.com, jwks: https://idp.example.com/jwks, claim_headers: [{claim: tier, header: x-tier}]}]
analytics:
  region: eu-1
  metrics: {consumer: {claim: tier, values: [gold]}}
  sampling: {rate: 0.5, apis: [{api: pet-store, rate: 0.25}]}
  unusual_use: {window: 1m}
  fields: {drop: [issuer], add: [{name: tenant, from: {header: x-tenant}}]}
  sinks:
  - otlp: {url: "http://collector:4318", batch: 50}
  - json: {url: "https://events.example.com/in", headers: {x-key: k}, interval: 5s}
  - ndjson: {url: "http://collector:4318/lines"}
  - log: {}
  - access_log: {}
defaults: {modules: /opt/enforcer, ca_file: /etc/ssl/ca.pem}
"#;

fn built(settings: &str, target: &str) -> Folder {
    let folder = Folder::new(&[("pets.yaml", PETS), ("enforcer.yaml", settings)]);
    let output = folder.run(&["build", "pets.yaml", "-t", target, "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

#[test]
fn outputs_say_what_they_should() {
    let bundle = built(SETTINGS, "envoy-filters");
    for name in ["http_filters.yaml", "clusters.yaml", "stats_config.yaml"] {
        insta::with_settings!({snapshot_suffix => name.replace('.', "_")}, {
            assert_snapshot!("analytics", bundle.read(&format!("out/{name}")));
        });
    }
    let separate = built(&SETTINGS.replace("defaults: {", "defaults: {filters: separate, "), "envoy-filters");
    let filters = separate.read("out/http_filters.yaml");
    let modules: Vec<&str> =
        filters.lines().filter(|line| line.contains("filename")).map(str::trim).collect();
    assert_eq!(modules, ["filename: /opt/enforcer/auth.wasm", "filename: /opt/enforcer/analytics.wasm"]);
    let envoy = built(SETTINGS, "envoy").read("out/envoy.yaml");
    assert!(envoy.contains("%FILTER_STATE(wasm.enforcer:PLAIN)% %FILTER_STATE(wasm.enforcer_event:PLAIN)%"));
    assert!(envoy.contains("stats_config:"));
    let xds = built(SETTINGS, "envoy-xds");
    assert!(xds.read("out/ecds.yaml").contains("name: enforcer.bundle"));
}

#[test]
fn mistakes_are_found_at_their_place() {
    let settings = r#"
issuers: [{issuer: https://idp.example.com, jwks: https://idp.example.com/jwks}]
analytics:
  sampling: {rate: 2}
  sinks:
  - otlp: {url: "collector:4318"}
"#;
    let folder = Folder::new(&[("pets.yaml", PETS), ("enforcer.yaml", settings)]);
    let first = folder.run(&["check", "pets.yaml"]);
    folder.write("enforcer.yaml", settings.replace("collector:4318", "http://collector:4318"));
    let second = folder.run(&["check", "pets.yaml"]);
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert_snapshot!(format!("{}{}", said(&first), said(&second)));
}

/// Events reach a collector, and metrics have their labels on Envoy's own page, whichever way filters are packed.
#[test]
fn events_arrive_and_metrics_have_labels() {
    let (Some(binary), Some(module)) = (EnvoyBinary::find_or_skip().unwrap(), module()) else { return };
    if !module.with_file_name("bundle.wasm").is_file() {
        println!("skipped: `bundle.wasm` has not been built");
        return;
    }
    let (backend, collector) = (EchoBackend::start().unwrap(), EchoBackend::start().unwrap());
    let issuer = Issuer::start().unwrap();
    for packing in ["bundle", "separate"] {
        let settings = format!(
            "issuers: [{{issuer: '{}'}}]\nlisteners: [{{address: 127.0.0.1, port: 0}}]\n\
             analytics: {{metrics: {{}}, sinks: [{{otlp: {{url: 'http://{}', interval: 50ms}}}}]}}\n\
             defaults: {{modules: {}, filters: {packing}, admin: {{port: 0}}}}\n",
            issuer.url(),
            collector.address(),
            module.display()
        );
        let folder = Folder::new(&[("enforcer.yaml", &settings)]);
        folder.write("pets.yaml", PETS.replace("127.0.0.1:9000", &backend.address().to_string()));
        let output = folder.run(&["build", "pets.yaml", "-t", "envoy", "-o", "out"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let envoy = binary.options(folder.file("out/envoy.yaml")).concurrency(1).start().unwrap();
        let client = envoy.client("enforcer_0").unwrap();
        let token = issuer.token().claim("scope", "read:pets").sign().unwrap();
        let mut connection = client.connect().unwrap();
        let mut status = |request: Request| connection.send(&request).unwrap().status;
        assert_eq!(status(Request::get("/v1/pets").bearer(&token)), 200, "{packing}");
        assert_eq!(status(Request::get("/v1/pets").bearer(&token)), 200, "{packing}");
        assert_eq!(status(Request::get("/v1/pets")), 401, "{packing}");

        collector.wait_for(1, Duration::from_secs(5)).unwrap();
        wait_for_metrics(
            &envoy,
            &[
                "enforcer_analytics_acknowledged{} 3",
                r#"enforcer_requests_total{api="pet-store",version="1.0.0",operation="listPets",method="GET",status="2xx",consumer="known",fault="none"} 2"#,
                r#"enforcer_requests_total{api="pet-store",version="1.0.0",operation="listPets",method="GET",status="4xx",consumer="anonymous",fault="AUTH"} 1"#,
                r#"enforcer_duration_ms_count{api="pet-store",version="1.0.0",operation="listPets",method="GET"} 3"#,
                r#"enforcer_backend_duration_ms_count{api="pet-store",version="1.0.0",operation="listPets",method="GET"} 2"#,
            ],
        );
        drop(envoy);
        let records: usize = collector.received().iter().map(|request| records(&request.body)).sum();
        assert_eq!(records, 3, "{packing}");
        collector.clear();
    }
}

/// What waits when the configuration is replaced, or when Envoy ends, is sent before the old one goes.
#[test]
fn a_reload_loses_no_event() {
    let (Some(binary), Some(module)) = (EnvoyBinary::find_or_skip().unwrap(), module()) else { return };
    let (backend, collector) = (EchoBackend::start().unwrap(), EchoBackend::start().unwrap());
    let settings = |region: &str| {
        format!(
            "listeners: [{{address: 127.0.0.1, port: 0}}]\nanalytics: {{region: {region}, sinks: [{{otlp: {{url: \
             'http://{}', batch: 1000, interval: 1h}}}}]}}\ndefaults: {{modules: {}, admin: {{port: 0}}}}\n\
             issuers: [{{issuer: https://idp.example.com, jwks: keys.json}}]\n",
            collector.address(),
            module.display()
        )
    };
    let folder = Folder::new(&[("keys.json", crate::envoy::KEYS), ("enforcer.yaml", &settings("a"))]);
    folder.write("pets.yaml", PETS.replace("127.0.0.1:9000", &backend.address().to_string()));
    let build = || {
        let output = folder.run(&["build", "pets.yaml", "-t", "envoy-xds", "-o", "out"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    build();
    let envoy = binary.options(folder.file("out/envoy.yaml")).concurrency(1).start().unwrap();
    let started = Instant::now();
    while !envoy.listeners().unwrap().contains_key("enforcer_0") {
        assert!(started.elapsed() < Duration::from_secs(20), "no listener");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut connection = envoy.client("enforcer_0").unwrap().connect().unwrap();
    let mut call = || assert_eq!(connection.send(&Request::get("/v1/health")).unwrap().status, 200);
    call();
    call();
    assert!(collector.received().is_empty());
    folder.write("enforcer.yaml", settings("b"));
    build();
    let received = collector.wait_for(1, Duration::from_secs(10)).unwrap();
    assert_eq!(records(&received[0].body), 2);
    call();
    drop(envoy);
    // Tried: when the process ends, its workers stop before an answer could come, and the call with them.
    println!("at the end of Envoy: {} requests", collector.received().len());
}

/// Waits until Envoy's page has these lines. It adds up histograms every five seconds.
fn wait_for_metrics(envoy: &Envoy, lines: &[&str]) {
    let started = Instant::now();
    loop {
        let page = envoy.admin_get("/stats/prometheus").unwrap();
        let ours: Vec<&str> = page.lines().filter(|line| line.starts_with("enforcer_")).collect();
        let missing: Vec<&&str> = lines.iter().filter(|line| !ours.contains(line)).collect();
        if missing.is_empty() {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "no {missing:#?} in {ours:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn records(body: &[u8]) -> usize {
    let export: Value = serde_json::from_slice(body).unwrap();
    export.pointer("/resourceLogs/0/scopeLogs/0/logRecords").and_then(Value::as_array).map_or(0, Vec::len)
}
