//! Redirects that Envoy follows by itself (`internal_redirect_policy`): the filters run twice for one request. The
//! adapter never asks for it; whose Envoy does it all the same is served as far as that is safe.

#![cfg(test)]

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use enforcer_testbed::{Alg, EchoBackend, Envoy, EnvoyBinary, Keys, Received, Reply, Request, Response};
use serde_json::{Value, json};

const ISSUER: &str = "https://idp.example.com";

/// An Envoy whose backend for `/from` redirects, and the backend for everything else.
struct Gateway {
    envoy: Envoy,
    from: EchoBackend,
    backend: EchoBackend,
    keys: std::sync::Arc<Keys>,
}

fn configuration(keys: &Keys) -> [(&'static str, Value); 2] {
    let token = json!([{"jwt": {}}]);
    let auth = json!({
        "issuers": [{"issuer": ISSUER, "jwks": {"inline": keys.jwks()}, "claim_headers": [{"claim": "sub", "header": "x-user"}]}],
        "basic": {"htpasswd": "bob:{SHA}tiY7sUhYKUwI5L3866kDY+ENcrQ=\n"},
        "backend_token": {"keys": [{"kid": "k", "private_key": keys.private_pem(Alg::ES256).unwrap()}]},
        "apis": [
            {"name": "Docs", "base_path": "/docs", "security": token, "operations": [
                {"path": "/from"}, {"path": "/to"}, {"path": "/open", "security": []},
                {"path": "/scoped", "security": [{"jwt": {"scopes": {"all_of": ["read"]}}}]},
                {"path": "/password/from", "security": [{"basic": true}]},
                {"path": "/password/to", "security": [{"basic": true}]},
            ]},
            {"name": "Other", "base_path": "/other", "security": token},
            {"name": "Two", "base_path": "/two", "clusters": {"production": "backend", "sandbox": "backend"}},
        ],
    });
    let ratelimit = json!({
        "identified": true,
        "tiers": {"Three": {"quota": {"requests": 3, "per": "1h"}}},
        "policies": [{"name": "user", "key": ["user"], "tier": "Unlimited", "tier_from": "caller"},
                     {"name": "case", "key": [{"header": "x-case"}], "tier": "Three"}],
    });
    [("auth", auth), ("ratelimit", ratelimit)]
}

fn wasm(name: &str, configuration: &Value) -> Value {
    let target = env::var("CARGO_TARGET_DIR").map_or_else(|_| "../target".into(), PathBuf::from);
    let file = target.join("wasm32-wasip1/wasm").join(name).with_extension("wasm").canonicalize();
    let root_id = if name == "bundle" { "enforcer" } else { name };
    json!({"name": format!("enforcer.{name}"), "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "root_id": root_id,
            "vm_config": {
                "vm_id": "enforcer",
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": file.expect("no modules; run `make wasm`")}},
            },
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": configuration.to_string(),
            },
        },
    }})
}

impl Gateway {
    fn start(binary: &EnvoyBinary, bundled: bool) -> Self {
        let (from, backend) = (EchoBackend::start().unwrap(), EchoBackend::start().unwrap());
        let keys = Keys::shared().unwrap();
        let parts = configuration(&keys);
        let mut filters: Vec<Value> = match bundled {
            true => vec![wasm(
                "bundle",
                &Value::Object(parts.into_iter().map(|(n, c)| (n.to_owned(), c)).collect()),
            )],
            false => parts.iter().map(|(name, configuration)| wasm(name, configuration)).collect(),
        };
        filters.push(json!({"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        }}));
        let route = |prefix: &str, cluster: &str| {
            json!({"match": {"prefix": prefix}, "request_headers_to_remove": ["x-wso2-cluster-header"], "route": {
                "cluster": cluster, "internal_redirect_policy": {"max_internal_redirects": 2},
            }})
        };
        let routes = [
            route("/docs/from", "from"),
            route("/docs/password/from", "from"),
            route("/two/from", "from"),
            route("/", "backend"),
        ];
        let cluster = |name: &str, backend: &EchoBackend| {
            let address =
                json!({"socket_address": {"address": "127.0.0.1", "port_value": backend.address().port()}});
            let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": address}}]}]);
            json!({"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}})
        };
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "redirects",
            "http_filters": filters,
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "access_log": [{"name": "stdout", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                "log_format": {"text_format_source": {
                    "inline_string": "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %FILTER_STATE(wasm.enforcer:PLAIN)%\n",
                }},
            }}],
        });
        let config = json!({"static_resources": {
            "listeners": [{
                "name": "redirects",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
            }],
            "clusters": [cluster("from", &from), cluster("backend", &backend)],
        }});
        let envoy = binary.options(config.to_string()).concurrency(1).start().unwrap();
        Self { envoy, from, backend, keys }
    }

    fn token(&self, scope: &str) -> String {
        let token = self.keys.token().claim("iss", ISSUER).claim("sub", "alice").claim("scope", scope);
        token.sign().unwrap()
    }

    /// Sends a request whose first backend redirects it, and says what the second received, if it got that far.
    fn follow(&self, request: &Request, to: &str) -> (Response, Option<Received>) {
        self.backend.clear();
        self.from.answer(Reply::status(302).header("location", to).body(""));
        let answer = self.envoy.client("redirects").unwrap().send(request).unwrap();
        (answer, self.backend.received().pop())
    }
}

fn check(binary: &EnvoyBinary, bundled: bool) {
    let gateway = Gateway::start(binary, bundled);
    let host = "http://localhost";
    let by_token = |scope: &str, case: &str| {
        Request::get("/docs/from").bearer(&gateway.token(scope)).header("x-case", case)
    };
    let status = |request: &Request, to: &str| gateway.follow(request, &format!("{host}{to}")).0.status;

    // The caller is known though the token stayed behind, and the backend is told once more who it is.
    let (answer, received) = gateway.follow(&by_token("", "caller"), &format!("{host}/docs/to"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = received.unwrap();
    assert_eq!((&*received.path, received.headers.contains("authorization")), ("/docs/to", false));
    assert_eq!(received.headers.get("x-user"), Some(&b"alice"[..]));
    assert!(received.headers.contains("x-jwt-assertion"));
    let log = gateway.envoy.access_log();
    let published = || {
        let line = log.since(0).into_iter().find(|line| line.starts_with("200 via_upstream"));
        line.is_some_and(|line| {
            line.contains(r#""subject":"alice""#) && line.contains(r#""template":"/docs/to""#)
        })
    };
    let begin = std::time::Instant::now();
    while !published() {
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", log.since(0));
        std::thread::sleep(Duration::from_millis(20));
    }

    // What asks for more, or is another API's, has to be shown a credential; so has one with a choice of backends.
    assert_eq!(status(&by_token("", "more"), "/docs/scoped"), 401);
    assert_eq!(status(&by_token("read", "more"), "/docs/scoped"), 200);
    assert_eq!(status(&by_token("read", "more"), "/docs/password/to"), 401);
    assert_eq!(status(&by_token("", "other"), "/other/x"), 401);
    assert_eq!(status(&by_token("", "other"), "/docs/open"), 200);
    assert_eq!(status(&by_token("", "other"), "/nowhere"), 404);
    let choice = Request::get("/two/from").bearer(&gateway.token("")).header("x-case", "choice");
    assert_eq!(status(&choice, "/two/to"), 401);
    let password = Request::get("/docs/password/from").header("authorization", "Basic Ym9iOndvbmRlcmxhbmQ=");
    let password = password.header("x-case", "password");
    assert_eq!(status(&password, "/docs/password/to"), 200);
    assert_eq!(status(&password, "/docs/to"), 401);

    // Three requests an hour are three, though each comes twice.
    let limited = by_token("", "limited");
    let answers: Vec<u16> = (0..4).map(|_| status(&limited, "/docs/to")).collect();
    assert_eq!(answers, [200, 200, 200, 429]);

    // What a client writes makes no second leg of its first.
    let forged = |request: Request| request.header("x-envoy-original-url", "http://localhost/docs/from");
    let client = gateway.envoy.client("redirects").unwrap();
    assert_eq!(client.send(&forged(Request::get("/docs/to"))).unwrap().status, 401);
    let counted = forged(Request::get("/docs/to").bearer(&gateway.token("")).header("x-case", "forged"));
    let answers: Vec<u16> = (0..4).map(|_| client.send(&counted).unwrap().status).collect();
    assert_eq!(answers, [200, 200, 200, 429]);
}

#[test]
fn are_followed_by_the_newest_envoy() {
    let Some(binary) = EnvoyBinary::find_or_skip().unwrap() else { return };
    check(&binary, true);
    check(&binary, false);
}

#[test]
fn are_followed_by_the_oldest_envoy() {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/envoy-1.36.4/envoy");
    let path = env::var_os("ENVOY_OLDER").map_or(installed, PathBuf::from);
    match EnvoyBinary::at(path) {
        Ok(binary) => check(&binary, true),
        Err(error) => println!("skipped: {error}"),
    }
}
