//! Outputs: as text, before Envoy's own eyes, and in use.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use enforcer_testbed::{EchoBackend, EnvoyBinary, Issuer, Process, Request};
use insta::assert_snapshot;

use crate::{cli::PETS, folder::Folder};

/// Everything that an output can contain at once.
const SETTINGS: &str = r#"
listeners:
- port: 8080
- address: "::"
  port: 8443
  tls: {certificate: tls.crt, key: tls.key, client_ca: ca.crt, client_certificate: accept}
issuers:
- issuer: https://idp.example.com
  jwks: https://idp.example.com/oauth2/jwks
  audiences: [https://api.example.com]
  refresh: 10m
  claim_headers: [{claim: sub, header: x-user}]
  claims: [plan]
- issuer: https://login.example.com:8443/t
  jwks: keys.json
  algorithms: [ES256]
  leeway: 30s
auth: {errors: problem, scopes: any, realm: pets, token_cache: 1MiB}
tiers:
  Anonymous: {quota: {requests: 100, per: 1d}, burst: {requests: 5, per: 1s}}
limits:
  headers: {on_allowed: true}
  policies:
  - {name: plan, level: subscription, key: [subscription], tier: Bronze, tier_from: {claim: plan}}
  - {name: strangers, callers: anonymous, key: [client_ip], tier: Anonymous}
  blocked: [{name: office, when: [{part: client_ip, is: {cidr: 192.0.2.0/24}}]}]
cors: {allow_origins: ["https://*.example.com", "https://app.example.org"], max_age: 1h, allow_credentials: true}
defaults: {timeout: 1500ms, host: api.example.com, ca_file: roots.pem, modules: modules, access_log: /dev/stdout, admin: {port: 9000}}
"#;

pub(crate) const KEYS: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "1",
 "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

/// Several servers by name, at another base path than the gateway's.
const STORE: &str = r#"
openapi: 3.0.3
info: {title: Store, version: v2}
servers: [{url: https://store.example.com/}]
x-wso2-basePath: /store/v2
x-wso2-production-endpoints: {urls: ["https://a.example.com:8443/api", "https://b.example.com:8443/api"]}
x-wso2-cors: {corsConfigurationEnabled: false}
x-wso2-disable-security: true
x-wso2-throttling-tier: 10KPerMin
paths:
  /orders/*: {get: {}, post: {x-wso2-disable-security: false}}
"#;

/// At the root of the gateway and at a path of the backend, and the other way round.
const ROOT: &str = "openapi: 3.0.3\ninfo: {title: Root, version: '1'}\nservers: [{url: 'http://[::1]:81/deep'}]\nx-wso2-basePath: /\n\
                    x-wso2-production-endpoints: {urls: ['http://[::1]:81/deep']}\npaths: {/a: {get: {security: []}}}\n";
const DEEP: &str = "openapi: 3.0.3\ninfo: {title: Deep, version: '1'}\nservers: [{url: 'https://10.0.0.7'}]\nx-wso2-basePath: /a.b/c\n\
                    paths: {/a: {get: {security: []}}}\n";

fn everything() -> Folder {
    Folder::new(&[
        ("pets.yaml", PETS),
        ("store.yaml", STORE),
        ("root.yaml", ROOT),
        ("deep.yaml", DEEP),
        ("enforcer.yaml", SETTINGS),
        ("keys.json", KEYS),
    ])
}

fn build(folder: &Folder, target: &str) {
    let output = folder.run(&[
        "build",
        "pets.yaml",
        "store.yaml",
        "root.yaml",
        "deep.yaml",
        "-t",
        target,
        "-o",
        "out",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn outputs_say_what_they_should() {
    let folder = everything();
    build(&folder, "envoy");
    assert_snapshot!(folder.read("out/envoy.yaml"));
    build(&folder, "envoy-filters");
    assert_snapshot!(folder.read("out/http_filters.yaml"));
    assert_snapshot!(folder.read("out/clusters.yaml"));
    build(&folder, "envoy-xds");
    let read = |name: &str| {
        folder.read(&format!("out/{name}")).replace(&*folder.path().to_string_lossy(), "[folder]")
    };
    for name in ["cds.yaml", "ecds.yaml", "lds.yaml", "rds.yaml", "envoy.yaml"] {
        insta::with_settings!({snapshot_suffix => name.replace('.', "_")}, { assert_snapshot!("xds", read(name)) });
    }
}

/// The module, if it has been built: `make wasm`.
pub(crate) fn module() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/wasm32-wasip1/wasm/auth.wasm");
    let named = std::env::var_os("ENFORCER_AUTH_WASM").map(PathBuf::from);
    let path = named.unwrap_or(beside);
    if !path.is_file() {
        println!("skipped: `{}` has not been built", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn envoy_accepts_every_output() {
    let (Some(envoy), Some(module)) = (EnvoyBinary::find_or_skip().unwrap(), module()) else { return };
    let folder = everything();
    let certificate = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=x",
        ])
        .args(["-keyout", "tls.key", "-out", "tls.crt"])
        .current_dir(folder.path())
        .output();
    if !certificate.is_ok_and(|output| output.status.success()) {
        println!("skipped: openssl, which makes the certificates, is not there");
        return;
    }
    // Files are named relative to where Envoy runs.
    let here = |name: &str| folder.file(name).display().to_string();
    let settings = SETTINGS
        .replace("tls.crt", &here("tls.crt"))
        .replace("tls.key", &here("tls.key"))
        .replace("ca.crt", &here("tls.crt"))
        .replace("roots.pem", &here("tls.crt"))
        .replace("modules: modules", &format!("modules: {}", module.display()));
    folder.write("enforcer.yaml", settings);
    build(&folder, "envoy");
    envoy.validate(folder.file("out/envoy.yaml")).unwrap();
    build(&folder, "envoy-xds");
    envoy.validate(folder.file("out/envoy.yaml")).unwrap();
    build(&folder, "envoy-filters");
    let fragment = |name: &str, depth: usize| -> String {
        let text = folder.read(&format!("out/{name}"));
        text.lines().map(|line| format!("{}{line}\n", " ".repeat(depth))).collect()
    };
    let host = format!(
        "static_resources:\n  listeners:\n  - name: own\n    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    \
         filter_chains:\n    - filters:\n      - name: http\n        typed_config:\n          \
         '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n          \
         stat_prefix: own\n          route_config: {{virtual_hosts: []}}\n          http_filters:\n{}          \
         - name: router\n            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}\n  \
         clusters:\n{}",
        fragment("http_filters.yaml", 10),
        fragment("clusters.yaml", 2)
    );
    envoy.validate(host).unwrap();
}

/// Issuer by discovery, `--watch`, a scope that changes and an API that appears, under load, without a failed
/// request.
#[test]
fn changes_take_effect_while_requests_flow() {
    let (Some(envoy), Some(module)) = (EnvoyBinary::find_or_skip().unwrap(), module()) else { return };
    let backend = EchoBackend::start().unwrap();
    let issuer = Issuer::start().unwrap();
    let folder = Folder::new(&[]);
    let definition = |scope: &str| {
        PETS.replace("127.0.0.1:9000", &backend.address().to_string())
            .replace("read:pets\"]", &format!("{scope}\"]"))
    };
    folder.write("pets.yaml", definition("read:pets"));
    folder.write("enforcer.yaml", settings(&issuer.url(), &module));
    let build = ["build", "pets.yaml", "-t", "envoy-xds", "-o", "out", "--watch"];
    let watching = Process::spawn(&mut folder.command(&build)).unwrap();
    let said =
        |mark, text: &str| watching.stderr().wait_for(mark, |line| line.contains(text), PATIENCE).unwrap();
    said(0, "watching for changes");

    let envoy = envoy.options(folder.file("out/envoy.yaml")).start().unwrap();
    wait_for("the listener", || envoy.listeners().unwrap().contains_key("enforcer_0"));
    let client = envoy.client("enforcer_0").unwrap();
    let token = issuer.token().claim("scope", "read:pets").sign().unwrap();
    let mut connection = client.connect().unwrap();
    let mut status = |path: &str| connection.send(&Request::get(path).bearer(&token)).unwrap().status;
    wait_for("the first good answer", || status("/v1/pets") == 200);

    folder.write("pets.yaml", definition("admin:pets"));
    let mut answers = Vec::new();
    wait_for("the new scope to be asked for", || {
        answers.push(status("/v1/pets"));
        answers.last() == Some(&403)
    });
    assert!(answers.iter().all(|answer| matches!(answer, 200 | 403)), "{answers:?}");

    // A mistake is reported, and what was built before stays.
    let mark = watching.stderr().mark();
    folder.write("pets.yaml", "openapi: 3.1.0\n");
    said(mark, "nothing is written");
    assert_eq!(status("/v1/pets"), 403);
    // So are settings that are away, or empty, while somebody replaces them.
    let mark = watching.stderr().mark();
    std::fs::rename(folder.file("enforcer.yaml"), folder.file("moved.yaml")).unwrap();
    said(mark, "nothing is written");
    let mark = watching.stderr().mark();
    folder.write("enforcer.yaml", "");
    said(mark, "`enforcer.yaml` is empty");
    assert_eq!(status("/v1/pets"), 403);
    std::fs::rename(folder.file("moved.yaml"), folder.file("enforcer.yaml")).unwrap();
    folder.write("pets.yaml", definition("read:pets"));
    wait_for("the old scope to be enough again", || status("/v1/pets") == 200);
}

const PATIENCE: Duration = Duration::from_secs(20);

fn settings(issuer: &str, module: &Path) -> String {
    format!(
        "issuers: [{{issuer: '{issuer}'}}]\nlisteners: [{{address: 127.0.0.1, port: 0}}]\n\
         defaults: {{modules: {}, admin: {{port: 0}}}}\n",
        module.display()
    )
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
