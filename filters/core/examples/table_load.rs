//! What 10,000 operations cost: reading their configuration, building the table, finding one of them.
//!
//! `cargo run --release -p enforcer-core --example table_load`, or for the cost inside a VM
//! `cargo build --profile wasm --target wasm32-wasip1 -p enforcer-core --example table_load` and any WASI runtime.

use std::{
    error::Error,
    hint::black_box,
    time::{Duration, Instant},
};

use enforcer_core::{
    config,
    path::CanonicalPath,
    table::{ApiEntry, Found, OperationEntry, Table},
};
use serde::{Deserialize, Serialize};

const APIS: usize = 100;
const RESOURCES: usize = 25;
const RUNS: usize = 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    apis: Vec<Api>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Api {
    name: String,
    hosts: Vec<String>,
    base_path: String,
    operations: Vec<Operation>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    id: String,
    path: String,
    methods: Vec<String>,
    security: Vec<Requirement>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    scopes: Vec<String>,
}

/// APIs with four operations for each resource, as a CRUD service has them.
fn example() -> Config {
    let operation = |method: &str, resource: usize, below: &str| Operation {
        id: format!("{}Resource{resource}", method.to_lowercase()),
        path: format!("/accounts/{{accountId}}/resource{resource}{below}"),
        methods: vec![method.to_owned()],
        security: vec![Requirement { scopes: vec![format!("resource{resource}:{method}")] }],
    };
    let api = |number: usize| Api {
        name: format!("API {number}"),
        hosts: vec![format!("api{}.example.com", number % 10)],
        base_path: format!("/service{number}/v1"),
        operations: (0..RESOURCES)
            .flat_map(|resource| {
                [("GET", ""), ("POST", ""), ("GET", "/{id}"), ("DELETE", "/{id}")]
                    .map(|(method, below)| operation(method, resource, below))
            })
            .collect(),
    };
    Config { apis: (0..APIS).map(api).collect() }
}

fn build(config: &Config) -> Result<Table, config::ConfigError> {
    Table::build(config.apis.iter().map(|api| {
        ApiEntry {
            hosts: &api.hosts,
            base_path: &api.base_path,
            operations: api
                .operations
                .iter()
                .map(|operation| OperationEntry { path: &operation.path, methods: &operation.methods })
                .collect(),
        }
    }))
}

/// The best of some runs: what the code costs, without what else the machine is doing.
fn best<T>(mut run: impl FnMut() -> T) -> Duration {
    let timed = |_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed()
    };
    (0..RUNS).map(timed).min().unwrap_or_default()
}

fn main() -> Result<(), Box<dyn Error>> {
    let json = serde_json::to_vec(&example())?;
    let config: Config = config::parse(&json)?;
    let table = build(&config)?;
    let operations: usize = config.apis.iter().map(|api| api.operations.len()).sum();
    println!("{operations} operations in {} APIs, {} KiB of JSON", config.apis.len(), json.len() >> 10);

    let both = best(|| config::parse::<Config>(&json).map(|config| build(&config).is_ok()));
    println!("parse and build: {both:?}, of which build: {:?}", best(|| build(&config).is_ok()));

    let requests = [
        ("first API", "api0.example.com", "/service0/v1/accounts/42/resource0/7"),
        ("last API", "api9.example.com:443", "/service99/v1/accounts/42/resource24/7?verbose=true"),
        ("escaped", "api9.example.com", "/service99/v1/accounts/caf%c3%a9/resource%324/a%2fb"),
        ("unknown", "api9.example.com", "/service99/v1/accounts/42/other/7"),
    ];
    for (name, host, raw) in requests {
        let look = || CanonicalPath::parse(raw.as_bytes()).map(|path| table.find(host, &path, "GET"));
        let found = matches!(look(), Ok(Found::Operation { .. }));
        // A thousand in so many microseconds is one in so many nanoseconds.
        let thousand = best(|| (0..1_000).filter(|_| black_box(look()).is_ok()).count());
        println!("find, {name}: {} ns (operation: {found})", thousand.as_micros());
    }
    Ok(())
}
