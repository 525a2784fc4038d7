//! Ten thousand operations: what it costs a worker to be configured with them, and whether Envoy finds them.

use std::{fs, path::PathBuf, time::Duration};

use enforcer_auth::{Auth, config::AuthConfig};
use enforcer_core::{
    config,
    filter::{Capabilities, Filter as _},
};
use enforcer_harness::{Harness, Module, Vm};
use enforcer_testbed::{Alg, EnvoyBinary, LogCapture, Request, World};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

use crate::gateway;

const OPERATIONS: usize = 10_000;
/// What a CRUD service has of each resource.
const OPERATIONS_OF_A_RESOURCE: usize = 5;
/// What a worker may take to be configured.
const LIMIT: Duration = Duration::from_millis(20);
/// WebAssembly instructions that an operation may take, the same on every machine. About 19,000 are 15 ms for ten
/// thousand operations in an Envoy that is left alone.
const INSTRUCTIONS: u64 = 24_000;
const RUNS: usize = 20;
/// How long Envoy's logs may lag behind an answer.
const LOG_LIMIT: Duration = Duration::from_secs(5);

#[test]
fn load() {
    let slowest = [1, 1_000].map(configure).into_iter().max().unwrap();
    assert!(slowest <= LIMIT, "{slowest:.1?} to configure a worker, which is more than {LIMIT:?}");
}

/// Configures everything that can be with so many APIs of equal size, and says what it took.
///
/// Returns the better of Envoy's time and the harness's: Envoy's is what counts, but it is by the clock on the wall,
/// which on a busy machine shows what else is running.
fn configure(apis: usize) -> Duration {
    let mut world = World::new().unwrap();
    let (definitions, settings) = write(&mut world, apis);
    let envoy_yaml = gateway::build(definitions, settings);
    let configuration = filter_configuration(&envoy_yaml);
    let (noun, kib) = (if apis == 1 { "API" } else { "APIs" }, configuration.len() >> 10);
    println!("load: {OPERATIONS} operations in {apis} {noun}, {kib} KiB of configuration");

    let native = best(|| {
        let config: AuthConfig = config::parse(configuration.as_bytes()).unwrap();
        Auth::new(config, Capabilities::default()).unwrap()
    });
    let built = if cfg!(debug_assertions) { "not optimised" } else { "optimised" };
    println!("  natively, {built}: {native:.1?} of processor time");

    let harness = in_harness(&configuration);
    let Some(envoy) = EnvoyBinary::find_or_skip().unwrap() else { return harness };
    let wall = in_envoy(&envoy, &mut world, &envoy_yaml, apis);
    println!("  auth.wasm in Envoy: {wall:?} from call to return, the best of three VMs");
    harness.min(wall)
}

/// What `on_configure` takes of the processor's time in the harness, whose compiler is not Envoy's.
fn in_harness(configuration: &str) -> Duration {
    let mut nearly_empty: Value = serde_json::from_str(configuration).unwrap();
    nearly_empty["apis"].as_array_mut().unwrap().truncate(1);
    nearly_empty["apis"][0]["operations"].as_array_mut().unwrap().truncate(1);
    let nearly_empty = nearly_empty.to_string();

    let start = |module: &Module, configuration: &str| {
        Harness::builder(module).root_id("auth").plugin_config(configuration).start().unwrap()
    };
    let module = Module::from_file(gateway::module()).unwrap();
    // The canary, the main thread and a worker, one after the other.
    let one = |configuration: &str| best(|| start(&module, configuration)) / 3;
    let (all, instance) = (one(configuration), one(&nearly_empty));
    let configured = all.saturating_sub(instance);
    println!(
        "  auth.wasm in the harness: {configured:.1?} of processor time a VM, and {instance:.1?} to make the VM"
    );

    let module = Module::metered(gateway::module()).unwrap();
    let harness = start(&module, configuration);
    let instructions = harness.instructions(Vm::Worker(0)) / OPERATIONS as u64;
    let kib = harness.memory_size(Vm::Worker(0)) >> 10;
    println!("  {instructions} WebAssembly instructions an operation, {kib} KiB of memory");
    assert!(instructions <= INSTRUCTIONS, "{instructions} instructions, which is more than {INSTRUCTIONS}");
    configured
}

/// First, last and wrong. Returns what `on_configure` took.
fn in_envoy(binary: &EnvoyBinary, world: &mut World, envoy_yaml: &str, apis: usize) -> Duration {
    world.start_envoy_with(&binary.options(envoy_yaml).component_log_level("wasm:trace")).unwrap();
    let token = world.issuer("issuer").unwrap().token().alg(Alg::ES256);
    let resources = OPERATIONS / apis / OPERATIONS_OF_A_RESOURCE;
    let (first, last) = (0, resources - 1);
    let (first_api, last_api) = ("/service0/v1", &format!("/service{}/v1", apis - 1));
    let calls = [
        ("GET", format!("{first_api}/accounts/7/resource{first}"), "resource0:list", 200),
        (
            "DELETE",
            format!("{last_api}/accounts/7/resource{last}/a%2Fb"),
            &format!("resource{last}:delete"),
            200,
        ),
        ("DELETE", format!("{last_api}/accounts/7/resource{last}/a"), "resource0:list", 403),
        ("DELETE", format!("{last_api}/accounts/7/resource{resources}/a"), "resource0:list", 404),
        ("GET", format!("/service{apis}/v1/accounts/7/resource{first}"), "resource0:list", 404),
    ];
    let envoy = world.envoy().unwrap();
    let client = envoy.client(gateway::LISTENER).unwrap();
    for (method, path, scope, status) in &calls {
        let token = token.clone().claim("scope", *scope).sign().unwrap();
        let answer = client.send(&Request::new(*method, path).bearer(&token)).unwrap();
        assert_eq!(answer.status, *status, "{method} {path}: {}", answer.text());
    }
    for operation in [format!("list{first}"), format!("delete{last}")] {
        let identity = format!("\"operation\":\"{operation}\"");
        let shown = |line: &str| line.contains(" 200 via_upstream ") && line.contains(&identity);
        envoy.access_log().wait_for(0, shown, LOG_LIMIT).unwrap();
    }
    configured_in(envoy.log())
}

/// From the lines that Envoy writes before and after each call into a module, at log level trace.
fn configured_in(log: &LogCapture) -> Duration {
    let lines = log.since(0);
    let times = |text: &str| -> Vec<Duration> {
        lines.iter().filter(|line| line.contains(text)).map(|line| time_of_day(line)).collect()
    };
    let called = times("[host->vm] proxy_on_configure(");
    let returned = times("[host<-vm] proxy_on_configure return: 1");
    // With one worker, no two are configured at once.
    assert_eq!((called.len(), returned.len()), (3, 3), "canary, main thread and worker");
    called.iter().zip(returned).map(|(from, to)| to.saturating_sub(*from)).min().unwrap()
}

/// Of `[2026-01-31 12:34:56.789][...`.
fn time_of_day(line: &str) -> Duration {
    let time = line.get(12..24).unwrap();
    let fields: Vec<u64> = time.split([':', '.']).map(|field| field.parse().unwrap()).collect();
    Duration::from_secs(fields[0] * 3_600 + fields[1] * 60 + fields[2]) + Duration::from_millis(fields[3])
}

/// The definitions and settings of so many APIs of equal size.
fn write(world: &mut World, apis: usize) -> (Vec<PathBuf>, PathBuf) {
    let backend = world.backend("backend").unwrap().address();
    let issuer = world.issuer("issuer").unwrap();
    let (name, keys) = (issuer.name(), issuer.jwks());
    let folder = world.directory();
    let write = |name: String, content: Value| {
        let path = folder.join(name);
        fs::write(&path, content.to_string()).unwrap();
        path
    };
    let keys = write("keys.json".to_owned(), keys);
    let settings = json!({
        "listeners": [{"address": "127.0.0.1", "port": 0}],
        "issuers": [{"issuer": name, "jwks": keys}],
        "defaults": {"backend": format!("http://{backend}"), "modules": gateway::module(), "admin": {"port": 0}},
    });
    let settings = write("enforcer.yaml".to_owned(), settings);
    let resources = OPERATIONS / apis / OPERATIONS_OF_A_RESOURCE;
    let definition = |number| write(format!("api{number}.json"), definition(number, resources));
    ((0..apis).map(definition).collect(), settings)
}

fn definition(number: usize, resources: usize) -> Value {
    let operation = |what: &str, resource: usize| {
        let scope = format!("resource{resource}:{what}");
        json!({"operationId": format!("{what}{resource}"), "security": [{"oauth": [scope]}]})
    };
    let paths: Map<String, Value> = (0..resources)
        .flat_map(|resource| {
            let operation = |what| operation(what, resource);
            let all = json!({"get": operation("list"), "post": operation("create")});
            let one = json!({
                "get": operation("get"),
                "put": operation("replace"),
                "delete": operation("delete"),
            });
            let path = format!("/accounts/{{accountId}}/resource{resource}");
            [(path.clone(), all), (format!("{path}/{{id}}"), one)]
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {"title": format!("API {number}"), "version": "v1"},
        "servers": [{"url": format!("/service{number}/v1")}],
        "components": {"securitySchemes": {"oauth": {"type": "oauth2", "flows": {}}}},
        "paths": paths,
    })
}

/// The very text that Envoy hands to the filter.
fn filter_configuration(envoy_yaml: &str) -> String {
    let bootstrap: Value = serde_saphyr::from_str(envoy_yaml).unwrap();
    let filters = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
    let filters = bootstrap.pointer(filters).and_then(Value::as_array).unwrap();
    let auth = filters.iter().find(|filter| filter["name"] == "enforcer.auth").unwrap();
    auth["typed_config"]["config"]["configuration"]["value"].as_str().unwrap().to_owned()
}

/// The processor time of the best of some runs: what the code costs, without what else the machine is doing.
fn best<T>(mut run: impl FnMut() -> T) -> Duration {
    let timed = |_| {
        let before = processor_time();
        let made = run();
        let taken = processor_time().saturating_sub(before);
        drop(made);
        taken
    };
    (0..RUNS).map(timed).min().unwrap()
}

/// That this thread has used so far.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}
