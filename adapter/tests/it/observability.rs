//! envoy-examples/observability before real tools: what Envoy exports, what Prometheus makes of it.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use enforcer_testbed::{EchoBackend, Envoy, EnvoyBinary, Process, RawClient, Request, ReservedPort};
use serde_json::Value;

use crate::{envoy::module, folder::Folder};

const PATIENCE: Duration = Duration::from_secs(20);

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-examples/observability").join(name);
    fs::read_to_string(path).unwrap()
}

/// The example's gateway with one good call and one that is refused; its page of metrics is complete.
fn gateway(backend: &EchoBackend, collector: &EchoBackend) -> Option<(Folder, Envoy)> {
    let (binary, module) = (EnvoyBinary::find_or_skip().unwrap()?, module()?);
    let settings = example("enforcer.yaml").replace("127.0.0.1:4318", &collector.address().to_string());
    let settings = format!(
        "{settings}listeners: [{{address: 127.0.0.1, port: 0}}]\ndefaults: {{modules: {}, admin: {{port: 0}}}}\n",
        module.display()
    );
    let folder = Folder::new(&[("enforcer.yaml", &settings), ("keys.json", &example("keys.json"))]);
    folder.write("pets.yaml", example("pets.yaml").replace("127.0.0.1:3000", &backend.address().to_string()));
    let output = folder.run(&["build", "pets.yaml", "-t", "envoy", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let envoy = binary.options(folder.file("out/envoy.yaml")).concurrency(1).start().unwrap();
    let mut connection = envoy.client("enforcer_0").unwrap().connect().unwrap();
    let mut status = |path: &str| connection.send(&Request::get(path)).unwrap().status;
    assert_eq!((status("/pets/v1/pets"), status("/pets/v1/pets/7")), (200, 401));
    wait_for("the histograms", || page(&envoy).contains("enforcer_duration_ms_count"));
    Some((folder, envoy))
}

fn page(envoy: &Envoy) -> String {
    envoy.admin_get("/stats/prometheus").unwrap()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The queries of the dashboard, as Grafana would send them.
fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&example("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let queries = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let text = |query: &Value| query["expr"].as_str().unwrap().to_owned();
    queries.map(text).map(|expr| expr.replace("$__rate_interval", "5m").replace("$api", ".*")).collect()
}

/// Names that a text takes from Envoy: not those that rules record, which have colons.
fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let ours = words.filter(|word| word.starts_with("enforcer_") || word.starts_with("envoy_"));
    ours.map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboard_name_metrics_that_there_are() {
    let (backend, collector) = (EchoBackend::start().unwrap(), EchoBackend::start().unwrap());
    let Some((_folder, envoy)) = gateway(&backend, &collector) else { return };
    let there = metric_names(&page(&envoy));
    let mut named = metric_names(&dashboard_queries().join("\n"));
    // Comments and the names of alerts are no metrics.
    named.extend(example("rules.yaml").lines().filter(|line| !line.contains("name:")).flat_map(metric_names));
    let missing: Vec<&String> = named.difference(&there).collect();
    assert!(named.len() > 8 && missing.is_empty(), "Envoy exports no {missing:?}");
}

#[test]
fn rules_do_what_they_should() {
    let check = |folder: &Folder, arguments: &[&str]| {
        let output = Command::new("promtool").args(arguments).current_dir(folder.path()).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {arguments:?}: {said}");
    };
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("skipped: there is no promtool (Debian's package `prometheus`)");
        return;
    }
    let queries = dashboard_queries();
    let rules = queries.iter().enumerate().map(|(index, expr)| {
        format!("  - record: query:{index}\n    expr: {}\n", Value::from(expr.as_str()))
    });
    let queries = format!("groups:\n- name: dashboard\n  rules:\n{}", rules.collect::<String>());
    let folder = Folder::new(&[("dashboard-rules.yaml", &queries)]);
    for name in ["rules.yaml", "rules-test.yaml", "prometheus.yml"] {
        folder.write(name, example(name));
    }
    check(&folder, &["check", "config", "prometheus.yml"]);
    check(&folder, &["check", "rules", "rules.yaml", "dashboard-rules.yaml"]);
    check(&folder, &["test", "rules", "rules-test.yaml"]);
}

/// A real Prometheus scrapes a real Envoy.
#[test]
fn prometheus_reads_the_labels() {
    if Command::new("prometheus").arg("--version").output().is_err() {
        println!("skipped: there is no prometheus (Debian's package `prometheus`)");
        return;
    }
    let (backend, collector) = (EchoBackend::start().unwrap(), EchoBackend::start().unwrap());
    let Some((folder, envoy)) = gateway(&backend, &collector) else { return };
    let port = ReservedPort::new().unwrap();
    let config = example("prometheus.yml")
        .replace("127.0.0.1:9901", &envoy.admin().to_string())
        .replace("scrape_interval: 15s", "scrape_interval: 1s");
    folder.write("prometheus.yml", config);
    folder.write("rules.yaml", example("rules.yaml"));
    let mut command = Command::new("prometheus");
    command.current_dir(folder.path()).args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
    command.arg(format!("--web.listen-address={}", port.address()));
    let _prometheus = Process::spawn(&mut command).unwrap();
    let client = RawClient::new(port.address());
    let query = Request::get("/api/v1/query?query=enforcer_requests_total").header("host", "localhost");
    let mut answer = Value::Null;
    wait_for("Prometheus to have scraped", || {
        let response = client.send(&query);
        answer = response.ok().and_then(|found| serde_json::from_str(&found.text()).ok()).unwrap_or_default();
        answer["data"]["result"].as_array().is_some_and(|found| found.len() == 2)
    });
    let series = answer["data"]["result"].as_array().unwrap();
    let refused = series.iter().find(|one| one["metric"]["fault"] == "AUTH").unwrap();
    assert_eq!(refused["metric"]["operation"], "getPet");
    assert_eq!((&refused["metric"]["api"], &refused["value"][1]), (&"pets".into(), &"1".into()));
}
