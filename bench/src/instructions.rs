//! WebAssembly instructions of one request: the same on every machine, so a test can hold them.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use enforcer_harness::{Harness, Module, Request, Upstream, Vm};
use enforcer_testbed::{Alg, Keys};
use serde_json::{Value, json};

use crate::{
    Result,
    credentials::{API_KEY, API_KEY_HEADER, listed_key},
    gateway::{ISSUER, SCOPE},
    load::HEADERS,
    tokens::claims,
};

/// Instructions by kind of request.
pub type Instructions = BTreeMap<String, u64>;

/// Caches, tables and ids of metrics are filled by then.
const WARM_UP: usize = 4;
/// Events of one batch.
const BATCH: u64 = 100;
/// What Envoy adds to the client's headers.
const ADDED: [(&str, &str); 4] = [
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-proto", "http"),
    ("x-envoy-internal", "true"),
    ("x-request-id", "c8a1f0de-4e6b-4d0c-9d6c-5b0a7d2f9e31"),
];

/// Measures the modules in a folder.
pub fn measure(modules: &Path) -> Result<Instructions> {
    let mut measured = Instructions::new();
    measure_auth(&modules.join("auth.wasm"), &mut measured)?;
    measure_analytics(&modules.join("analytics.wasm"), &mut measured)?;
    Ok(measured)
}

/// The host checks RS256 and ES256, so that checking them costs no instructions.
fn measure_auth(auth: &Path, measured: &mut Instructions) -> Result<()> {
    let module = Module::metered(auth)?;
    let keys = Keys::shared()?;
    for (name, algorithm, cache, open) in [
        ("operation without a token", Alg::RS256, true, true),
        ("known token", Alg::RS256, true, false),
        ("new token, RS256", Alg::RS256, false, false),
        ("new token, ES256", Alg::ES256, false, false),
        ("new token, EdDSA (pure Rust)", Alg::EdDSA, false, false),
        ("new token, PS256 (pure Rust)", Alg::PS256, false, false),
    ] {
        let security = if open { json!([]) } else { json!([{"jwt": {"scopes": {"all_of": [SCOPE]}}}]) };
        let configuration = configuration(&keys.jwk(algorithm), cache, &security);
        let mut envoy = Harness::builder(&module).root_id("auth").plugin_config(configuration).start()?;
        let now = UNIX_EPOCH.checked_add(envoy.wall_clock()).ok_or("the harness's clock is out of range")?;
        let token =
            claims(keys.token().alg(algorithm), 0).at(now).expires_in(Duration::from_secs(3600)).sign()?;
        measured.insert(name.to_owned(), instructions(&mut envoy, &request().bearer(&token))?);
    }
    let with_keys = configuration(&keys.jwk(Alg::RS256), true, &json!([{"api_keys": ["key"]}]));
    let with_keys = with(with_keys, &json!({"api_keys": listed_key()}));
    let mut envoy = Harness::builder(&module).root_id("auth").plugin_config(with_keys).start()?;
    let asked = instructions(&mut envoy, &request().header(API_KEY_HEADER, API_KEY))?;
    measured.insert("listed API key".to_owned(), asked);
    Ok(())
}

/// Those of a request that has been made before.
fn instructions(envoy: &mut Harness, request: &Request) -> Result<u64> {
    (0..WARM_UP).for_each(|_| drop(envoy.request(request.clone())));
    let outcome = envoy.request(request.clone());
    match outcome.status() {
        200 => Ok(outcome.instructions()),
        status => Err(format!("answered with {status}").into()),
    }
}

/// Requests of which an event or a count is made: each has its part of a batch, and of what runs between requests.
fn measure_analytics(analytics: &Path, measured: &mut Instructions) -> Result<()> {
    let module = Module::metered(analytics)?;
    let otlp = json!({"sinks": [{"otlp": {"cluster": "collector", "batch": BATCH}}]});
    for (name, set) in [("metrics", json!({"metrics": {}})), ("event by OTLP", otlp)] {
        let configuration = with(api(&json!({})), &set);
        let envoy = Harness::builder(&module).root_id("analytics").plugin_config(configuration);
        let mut envoy = envoy.cluster("collector", Upstream::reply(200, &[], "{}")).start()?;
        let mut batch = || {
            for _ in 0..BATCH {
                drop(envoy.request(request()));
            }
            envoy.advance(Duration::from_secs(2));
            envoy.instructions(Vm::Worker(0))
        };
        let warm = batch();
        let spent = batch().saturating_sub(warm);
        measured.insert(name.to_owned(), spent.div_euclid(BATCH));
    }
    Ok(())
}

fn request() -> Request {
    HEADERS
        .iter()
        .chain(&ADDED)
        .fold(Request::get("/service0/v1/resource3/7f3a91c2").host("127.0.0.1"), |request, (name, value)| {
            request.header(name, value)
        })
}

/// Ten operations that ask for a scope, as the adapter configures them.
fn configuration(key: &Value, cache: bool, security: &Value) -> Value {
    with(
        api(&json!({"security": security})),
        &json!({
            "issuers": [{"issuer": ISSUER, "jwks": {"inline": {"keys": [key]}}}],
            "token_cache": if cache { "4MiB" } else { "0B" },
            "verification_budget": 1_000_000,
        }),
    )
}

/// Ten operations of one API, each with these members too.
fn api(members: &Value) -> Value {
    let operations = (0..5).flat_map(|resource| {
        let operation = |id: &str, path: String| {
            let operation = json!({"id": format!("{id}{resource}"), "path": path, "methods": ["GET"]});
            with(operation, members)
        };
        let list = format!("/resource{resource}");
        [operation("get", format!("{list}/{{id}}")), operation("list", list)]
    });
    let operations: Vec<Value> = operations.collect();
    json!({"apis": [{
        "name": "Service 0",
        "version": "v1",
        "base_path": "/service0/v1",
        "operations": operations,
    }]})
}

/// An object with further members.
fn with(mut object: Value, members: &Value) -> Value {
    if let (Some(object), Some(members)) = (object.as_object_mut(), members.as_object()) {
        object.extend(members.clone());
    }
    object
}
