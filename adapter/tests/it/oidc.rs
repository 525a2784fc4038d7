//! Tokens of an authorization server of others' making (npm's `oidc-provider`), got through the gateway's own endpoints:
//! `make test-oidc`. `OIDC_PROVIDER` names the folder that it is installed in; elsewhere this is skipped.

use std::{
    collections::BTreeMap,
    env,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use enforcer_testbed::{
    EchoBackend, Envoy, EnvoyBinary, Process, RawClient, Request, ReservedPort, Response,
};
use serde_json::Value;

use crate::{envoy::module, folder::Folder};

const PATIENCE: Duration = Duration::from_secs(20);
/// How old keys may be that could not be refreshed: no token whose key is gone is good for longer.
const MAX_STALE: Duration = Duration::from_secs(4);
const APP: (&str, &str) = ("app", "app-secret");
const MACHINE: (&str, &str) = ("machine", "machine-secret");
/// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

const API: &str = "openapi: 3.1.0\ninfo: {title: T, version: '1'}\nsecurity: [{oauth: []}]\npaths: {/a: {get: {}}}\n\
                   components: {securitySchemes: {oauth: {type: oauth2}}}\n";

/// A gateway, and the authorization server behind and beside it. Fields drop in this order.
struct World {
    _envoy: Envoy,
    gateway: RawClient,
    issuer: RawClient,
    _provider: Process,
    _port: ReservedPort,
    _backend: EchoBackend,
}

/// `tokens`: how the gateway knows the issuer's tokens.
fn start(tokens: &str) -> Option<World> {
    let (envoy, module) = (EnvoyBinary::find_or_skip().unwrap()?, module()?);
    let Some(folder) = env::var_os("OIDC_PROVIDER") else {
        println!("skipped: `OIDC_PROVIDER` names no folder with npm's oidc-provider: see `make test-oidc`");
        return None;
    };
    let (port, backend) = (ReservedPort::new().unwrap(), EchoBackend::start().unwrap());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/oidc/provider.mjs");
    let mut node = Command::new("node");
    node.arg(script).arg(port.address().port().to_string()).arg(folder);
    let provider = Process::spawn(&mut node).unwrap();
    provider.stdout().wait_for(0, |line| line == "listening", PATIENCE).unwrap();
    let issuer = format!("http://{}", port.address());
    let settings = format!(
        "issuers:\n- issuer: {issuer}\n  typ: at+jwt\n  {}\n  endpoints: {{token: {issuer}/token, \
         authorize: {issuer}/auth, device: {issuer}/device/auth, revoke: {issuer}/token/revocation, \
         introspect: {issuer}/token/introspection, jwks: {issuer}/jwks, userinfo: {issuer}/me}}\n\
         listeners: [{{address: 127.0.0.1, port: 0}}]\n\
         defaults: {{backend: 'http://{}', modules: {}, admin: {{port: 0}}}}\n",
        tokens.replace("ISSUER", &issuer),
        backend.address(),
        module.display()
    );
    let folder = Folder::new(&[("api.yaml", API), ("enforcer.yaml", &settings)]);
    let output = folder.run(&["build", "api.yaml", "-t", "envoy", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let envoy = envoy.options(folder.file("out/envoy.yaml")).start().unwrap();
    let gateway = envoy.client("enforcer_0").unwrap();
    let issuer = RawClient::new(port.address());
    Some(World { _envoy: envoy, gateway, issuer, _provider: provider, _port: port, _backend: backend })
}

const BY_KEYS: &str = "jwks: ISSUER/jwks\n  refresh: 1s\n  cooldown: 1s\n  max_stale: 4s";
const BY_QUESTIONS: &str = "introspection: {url: ISSUER/token/introspection, max_age: 1s, \
                            client: {basic: {id: gateway, secret: gateway-secret}}}";

impl World {
    /// Sends a form to one of the gateway's endpoints, as a client of the issuer.
    fn post(&self, path: &str, (id, secret): (&str, &str), fields: &[(&str, &str)]) -> Response {
        let pairs: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let request = Request::new("POST", path)
            .header("authorization", format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(pairs.join("&"));
        self.gateway.send(&request).unwrap()
    }

    /// What the token endpoint answers, which must be good.
    fn token(&self, client: (&str, &str), fields: &[(&str, &str)]) -> Value {
        let response = self.post("/token", client, fields);
        assert_eq!(response.status, 200, "{}", response.text());
        serde_json::from_str(&response.text()).unwrap()
    }

    fn of_machine(&self, kind: &str) -> String {
        let resource = resource(kind);
        let fields = [("grant_type", "client_credentials"), ("scope", "read"), ("resource", &*resource)];
        text(&self.token(MACHINE, &fields), "access_token")
    }

    /// The status that the API answers to a caller with this token.
    fn call(&self, token: &str) -> u16 {
        self.gateway.send(&Request::get("/a").bearer(token)).unwrap().status
    }

    fn control(&self, path: &str) {
        assert_eq!(self.issuer.send(&Request::get(path)).unwrap().status, 204);
    }
}

fn resource(kind: &str) -> String {
    format!("https://api.example.com/{kind}")
}

fn text(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {answer}")).to_owned()
}

/// For a form or a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

fn header(response: &Response, name: &str) -> String {
    String::from_utf8_lossy(response.headers.get(name).unwrap_or_default()).into_owned()
}

/// A browser's way from the gateway's `/authorize` to the client's address: the code in it.
fn authorize(world: &World, resource: &str) -> String {
    let query = format!(
        "client_id=app&response_type=code&scope=openid&redirect_uri={}&code_challenge={CHALLENGE}&\
         code_challenge_method=S256&resource={}",
        encoded("http://127.0.0.1/callback"),
        encoded(resource)
    );
    let mut cookies = BTreeMap::new();
    let mut response = world.gateway.send(&Request::get(format!("/authorize?{query}"))).unwrap();
    for _ in 0..5 {
        for line in response.headers.all("set-cookie") {
            let line = String::from_utf8_lossy(line).into_owned();
            let (name, value) = line.split(';').next().and_then(|pair| pair.split_once('=')).unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let location = header(&response, "location");
        if let Some((_, rest)) = location.split_once("/callback?code=") {
            return rest.split('&').next().unwrap().to_owned();
        }
        assert!(matches!(response.status, 302 | 303), "{} {}", response.status, response.text());
        let path = location.splitn(4, '/').nth(3).unwrap_or_default();
        let jar: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::get(format!("/{path}")).header("cookie", jar.join("; "));
        response = world.issuer.send(&request).unwrap();
    }
    panic!("no code: {}", response.text())
}

#[test]
fn every_grant_and_every_algorithm() {
    let Some(world) = start(BY_KEYS) else { return };
    for algorithm in ["RS256", "ES256", "PS256", "EdDSA"] {
        let resource = resource(algorithm);
        let good = |answer: &Value, grant: &str| {
            assert_eq!(world.call(&text(answer, "access_token")), 200, "{algorithm}, {grant}");
        };
        let fields = [("grant_type", "client_credentials"), ("scope", "read"), ("resource", &*resource)];
        good(&world.token(MACHINE, &fields), "client credentials");

        let code = authorize(&world, &resource);
        let redirect = ("redirect_uri", "http://127.0.0.1/callback");
        let grant = ("grant_type", "authorization_code");
        let stolen = world.post(
            "/token",
            APP,
            &[grant, redirect, ("code", &code), ("code_verifier", &"x".repeat(43))],
        );
        assert_eq!(stolen.status, 400, "a code is nothing without its verifier");
        let code = authorize(&world, &resource);
        let answer = world.token(APP, &[grant, redirect, ("code", &code), ("code_verifier", VERIFIER)]);
        good(&answer, "authorization code");

        let refresh = text(&answer, "refresh_token");
        let fields =
            [("grant_type", "refresh_token"), ("refresh_token", &*refresh), ("resource", &*resource)];
        good(&world.token(APP, &fields), "refresh token");

        let response =
            world.post("/device", APP, &[("client_id", "app"), ("scope", "openid"), ("resource", &resource)]);
        assert_eq!(response.status, 200, "{}", response.text());
        let device: Value = serde_json::from_str(&response.text()).unwrap();
        let device_code = text(&device, "device_code");
        let fields =
            [("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", &*device_code)];
        let pending = world.post("/token", APP, &fields);
        assert!(pending.text().contains("authorization_pending"), "{}", pending.text());
        world.control(&format!("/test/approve?user_code={}", text(&device, "user_code")));
        good(&world.token(APP, &fields), "device code");
    }
    assert_eq!(
        world.post("/token", ("machine", "wrong"), &[("grant_type", "client_credentials")]).status,
        401
    );
    assert_eq!(world.gateway.send(&Request::get("/jwks")).unwrap().status, 200);
}

#[test]
fn opaque_tokens_are_good_until_they_are_revoked() {
    let Some(world) = start(BY_QUESTIONS) else { return };
    let token = world.of_machine("opaque");
    assert_eq!((world.call(&token), world.call("no-token-of-theirs")), (200, 401));
    let asked = world.post("/introspect", MACHINE, &[("token", &token)]);
    assert!(asked.text().contains("\"active\":true"), "{}", asked.text());
    assert_eq!(world.post("/revoke", MACHINE, &[("token", &token)]).status, 200);
    wait_for("the revoked token to be refused", PATIENCE, || world.call(&token) == 401);
    assert_eq!(world.call(&world.of_machine("opaque")), 200);
}

/// The new key is published, then signs, then the old one goes, while tokens are got and used.
#[test]
fn keys_change_while_requests_run() {
    let Some(world) = start(BY_KEYS) else { return };
    let old = world.of_machine("ES256");
    assert_eq!(world.call(&old), 200);
    let mut calls = 0;
    for phase in 1..=3 {
        world.control(&format!("/test/keys?phase={phase}"));
        let began = Instant::now();
        // Longer than keys stay fresh.
        while began.elapsed() < Duration::from_secs(2) {
            let token = world.of_machine("ES256");
            assert_eq!(world.call(&token), 200, "phase {phase}, call {calls}");
            calls += 1;
        }
    }
    wait_for("the token of the old key to be refused", MAX_STALE, || world.call(&old) == 401);
    println!("{calls} tokens got and used while keys changed, none refused");
}

fn wait_for(what: &str, patience: Duration, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < patience, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
