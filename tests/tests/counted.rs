//! Events counted one by one: none is lost unnoticed. `EVENTS=200000` sends more of them than the usual 20,000.

#![cfg(test)]

use std::{
    collections::{HashMap, HashSet},
    env,
    net::TcpStream,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use enforcer_harness::{Harness, Module, Request as Get, Upstream, Vm};
use enforcer_testbed::{EchoBackend, Envoy, EnvoyBinary, Process, Received, Reply, Request, ReservedPort};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::any_value::Value as Any,
    logs::v1::{LogRecord, SeverityNumber},
};
use serde_json::{Value, json};

const CLIENTS: usize = 8;
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const PATIENCE: Duration = Duration::from_secs(60);

/// How many events a test sends: a multiple of the clients.
fn events() -> usize {
    let wanted = env::var("EVENTS").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000_usize);
    wanted.next_multiple_of(CLIENTS)
}

/// Where `make wasm` puts a module.
fn wasm(name: &str) -> PathBuf {
    let target = env::var("CARGO_TARGET_DIR").map_or_else(|_| "../target".into(), PathBuf::from);
    let wasm = target.join("wasm32-wasip1/wasm").join(format!("{name}.wasm")).canonicalize();
    wasm.expect("no modules; run `make wasm`")
}

/// Two workers that answer by themselves and tell a collector on this port; the sink is of this form.
fn gateway(form: &str, queue: &str, collector: u16) -> Option<Envoy> {
    let binary = EnvoyBinary::find_or_skip().unwrap()?;
    let wasm = wasm("analytics");
    let sink = json!({"cluster": "collector", "interval": "100ms", "queue": queue});
    let configuration = json!({"sinks": [{form: sink}]});
    let http = "type.googleapis.com/envoy.extensions.filters.http";
    let ours = json!({"name": "enforcer.analytics", "typed_config": {"@type": format!("{http}.wasm.v3.Wasm"), "config": {
        "root_id": "analytics",
        "vm_config": {"vm_id": "enforcer", "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": wasm}}},
        "configuration": {
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": configuration.to_string(),
        },
    }}});
    let router = json!({"name": "router", "typed_config": {"@type": format!("{http}.router.v3.Router")}});
    let route = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "counted",
        "http_filters": [ours, router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    });
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let endpoint = json!({"endpoint": {"address": address(collector)}});
    let config = json!({"static_resources": {
        "listeners": [{
            "name": "counted",
            "address": address(0),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }],
        "clusters": [{
            "name": "collector",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "collector", "endpoints": [{"lb_endpoints": [endpoint]}]},
        }],
    }});
    Some(binary.options(config.to_string()).concurrency(2).start().unwrap())
}

/// Sends so many requests, over several connections.
fn send(envoy: &Envoy, count: usize) {
    let client = envoy.client("counted").unwrap();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(move || {
                let mut connection = client.connect().unwrap();
                for _ in 0..count / CLIENTS {
                    let request = Request::get("/").header("traceparent", TRACE);
                    assert_eq!(connection.send(&request).unwrap().status, 200);
                }
            });
        }
    });
}

fn counter(envoy: &Envoy, name: &str) -> usize {
    let value = envoy.stats().unwrap().get(&format!("wasmcustom.enforcer.analytics.{name}")).copied();
    usize::try_from(value.unwrap_or(0)).unwrap()
}

/// Waits until everything that was taken is acknowledged or dropped.
fn wait_until_settled(envoy: &Envoy, sent: usize) {
    let started = Instant::now();
    while counter(envoy, "acknowledged").saturating_add(counter(envoy, "dropped")) < sent {
        assert!(started.elapsed() < PATIENCE, "not everything is settled");
        thread::sleep(Duration::from_millis(50));
    }
}

/// How often each event arrived, by its correlation id.
fn arrivals(received: &[Received]) -> HashMap<String, usize> {
    let mut arrivals = HashMap::new();
    for line in received.iter().flat_map(|request| request.body.split(|byte| *byte == b'\n')) {
        if let Ok(event) = serde_json::from_slice::<Value>(line) {
            let id = event["correlationId"].as_str().unwrap().to_owned();
            arrivals.entry(id).and_modify(|count: &mut usize| *count = count.saturating_add(1)).or_insert(1);
        }
    }
    arrivals
}

#[test]
fn each_event_arrives_exactly_once() {
    let collector = EchoBackend::start().unwrap();
    collector.answer(Reply::default().body(""));
    let Some(envoy) = gateway("ndjson", "64MiB", collector.address().port()) else { return };
    let sent = events();
    send(&envoy, sent);
    wait_until_settled(&envoy, sent);
    let arrivals = arrivals(&collector.received());
    assert_eq!((arrivals.len(), arrivals.values().sum::<usize>()), (sent, sent));
    assert_eq!(
        [counter(&envoy, "enqueued"), counter(&envoy, "dropped"), counter(&envoy, "lost")],
        [sent, 0, 0]
    );
}

/// The records of an export, as OpenTelemetry's own definitions read it.
fn records(received: &Received) -> Vec<LogRecord> {
    let export: ExportLogsServiceRequest = serde_json::from_slice(&received.body).unwrap();
    let scopes = export.resource_logs.into_iter().flat_map(|resource| {
        assert_eq!(resource.resource.unwrap().attributes[0].key, "service.name");
        resource.scope_logs
    });
    let records = scopes.flat_map(|scope| {
        assert_eq!(scope.scope.unwrap().name, "enforcer.analytics");
        scope.log_records
    });
    records.collect()
}

fn attribute(record: &LogRecord, name: &str) -> Any {
    let attribute = record.attributes.iter().find(|attribute| attribute.key == name).unwrap();
    attribute.value.as_ref().unwrap().value.clone().unwrap()
}

#[test]
fn opentelemetrys_own_definitions_read_each_event_exactly_once() {
    const SENT: usize = 400;
    let collector = EchoBackend::start().unwrap();
    collector.answer(Reply::default().body("{}"));
    let Some(envoy) = gateway("otlp", "8MiB", collector.address().port()) else { return };
    send(&envoy, SENT);
    wait_until_settled(&envoy, SENT);
    let records: Vec<LogRecord> = collector.received().iter().flat_map(records).collect();
    let mut ids = HashSet::new();
    for record in &records {
        assert_eq!(record.severity_number(), SeverityNumber::Info);
        assert!(record.time_unix_nano > 1_700_000_000_000_000_000, "{record:?}");
        assert_eq!((record.trace_id.len(), record.span_id.len()), (16, 8));
        assert_eq!(attribute(record, "proxyResponseCode"), Any::IntValue(200));
        assert_eq!(attribute(record, "responseCacheHit"), Any::BoolValue(false));
        assert_eq!(attribute(record, "apiMethod"), Any::StringValue("GET".into()));
        let Any::StringValue(id) = attribute(record, "correlationId") else { panic!("{record:?}") };
        ids.insert(id);
    }
    assert_eq!((records.len(), ids.len()), (SENT, SENT));
}

/// Somebody else's receiver, which prints the records that it reads. `ROTEL` is its binary.
#[test]
fn a_real_receiver_reads_each_event_exactly_once() {
    const SENT: usize = 2_000;
    let Some(rotel) = env::var_os("ROTEL") else {
        println!("skipped: ROTEL names no `rotel-agent`; `make test-observability` installs it");
        return;
    };
    let (http, grpc) = (ReservedPort::new().unwrap(), ReservedPort::new().unwrap());
    let mut command = Command::new(rotel);
    command.args(["start", "--exporter", "blackhole", "--debug-log", "logs"]);
    command.args(["--debug-log-verbosity", "detailed"]);
    command.args(["--otlp-http-endpoint", &http.address().to_string()]);
    command.args(["--otlp-grpc-endpoint", &grpc.address().to_string()]);
    let receiver = Process::spawn(&mut command).unwrap();
    let started = Instant::now();
    while TcpStream::connect(http.address()).is_err() {
        assert!(started.elapsed() < PATIENCE, "rotel does not listen");
        thread::sleep(Duration::from_millis(50));
    }
    let Some(envoy) = gateway("otlp", "8MiB", http.address().port()) else { return };
    send(&envoy, SENT);
    wait_until_settled(&envoy, SENT);
    let ids = || {
        let lines = receiver.stdout().since(0);
        let ids = lines.iter().filter_map(|line| line.split_once("-> correlationId: "));
        ids.map(|(_, id)| id.to_owned()).collect::<Vec<_>>()
    };
    let started = Instant::now();
    while ids().len() < SENT {
        assert!(started.elapsed() < PATIENCE, "rotel has read {} of {SENT}", ids().len());
        thread::sleep(Duration::from_millis(100));
    }
    let read = ids();
    assert_eq!((read.len(), read.iter().collect::<HashSet<_>>().len()), (SENT, SENT));
    assert_eq!((counter(&envoy, "acknowledged"), counter(&envoy, "dropped")), (SENT, 0));
    println!("rotel: {SENT} events sent, {} read, each once", read.len());
}

#[test]
fn what_does_not_arrive_is_counted() {
    let port = ReservedPort::new().unwrap();
    let Some(envoy) = gateway("ndjson", "256KiB", port.address().port()) else { return };
    let sent = events();
    send(&envoy, sent / 2);
    assert!(counter(&envoy, "dropped") > 0, "the queue held everything");
    let collector = EchoBackend::start_on(port.address().port()).unwrap();
    collector.answer(Reply::default().body(""));
    send(&envoy, sent / 2);
    wait_until_settled(&envoy, sent);
    let arrived: usize = arrivals(&collector.received()).values().sum();
    assert_eq!(arrived, counter(&envoy, "acknowledged"));
    assert_eq!(arrived + counter(&envoy, "dropped"), sent);
    assert!(arrived > 0);
}

/// What the queue's own estimate of events comes to in the memory of the virtual machine.
#[test]
fn ten_thousand_events_wait_in_eight_megabytes() {
    let module = Module::from_file(wasm("analytics")).unwrap();
    let configuration = json!({
        "apis": [{"name": "pets", "version": "1.0", "base_path": "/pets"}],
        "sinks": [{"otlp": {"cluster": "collector"}}],
    });
    let envoy = Harness::builder(&module).root_id("analytics").plugin_config(configuration);
    let mut envoy = envoy.cluster("collector", Upstream::hang()).start().unwrap();
    let mut ask = |count: usize| {
        for number in 0..count {
            let id = format!("8f5b4c7e-0000-4000-8000-{number:012}");
            let request = Get::get("/pets/7").header("user-agent", "curl/8.5.0").header("x-request-id", &id);
            assert_eq!(envoy.request(request).status(), 200);
        }
        envoy.memory_size(Vm::Worker(0))
    };
    let before = ask(1);
    let grown = ask(10_000).saturating_sub(before);
    assert!(grown <= 8 << 20, "{grown} bytes");
    assert_eq!(envoy.counter("enforcer.analytics.enqueued"), 10_001);
    assert_eq!(envoy.counter("enforcer.analytics.dropped"), 0);
}
