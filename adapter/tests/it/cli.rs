//! What the command says of settings and calls, word by word.

use insta::assert_snapshot;

use crate::folder::Folder;

/// A definition with everything that others lack in these tests.
pub(crate) const PETS: &str = include_str!("pets.yaml");
pub(crate) const ISSUER: &str = "issuers: [{issuer: https://idp.example.com, jwks: https://idp.example.com/jwks}]\n\
                      defaults: {modules: /opt/enforcer}\n";

/// A definition around these lines.
pub(crate) fn api(rest: &str) -> String {
    format!("openapi: 3.0.3\ninfo: {{title: T, version: '1'}}\n{rest}")
}

pub(crate) fn check(definition: &str) -> String {
    Folder::new(&[("api.yaml", definition), ("enforcer.yaml", ISSUER)]).transcript(&["check", "api.yaml"])
}

pub(crate) fn check_with(settings: &str) -> String {
    Folder::new(&[("api.yaml", PETS), ("enforcer.yaml", settings)]).transcript(&["check", "api.yaml"])
}

#[test]
fn a_good_definition_passes() {
    assert_snapshot!(check(PETS), @"
    exit code 0
    pet-store 1.0.0: 5 operations at */v1 -> http://127.0.0.1:9000/v1
    ");
}

/// A file name for a case.
pub(crate) fn insta_name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[test]
fn limits_that_cannot_hold() {
    for mistake in [
        "tiers: {Mine: {quota: {requests: 0, per: 1m}}}",
        "tiers: {Mine: {quota: {requests: 5, per: 0s}}}",
        "tiers: {Mine: {quota: {request: 5, per: 1s}}}",
        "limits: {policies: [{name: a, key: [client_ip], tier: Glod}]}",
        "limits: {policies: [{name: a b, key: [client_ip], tier: Gold}]}",
        "limits: {policies: [{name: a, key: [{claim: plan}], tier: Gold, tier_from: {claim: tier}}]}",
        "limits: {blocked: [{name: a, when: [{part: client_ip, is: {cidr: 10.0.0.0/33}}]}]}",
        "limits: {max_keys: 4000000000}",
        "limits: {policies: [{name: a, key: [client_ip], tier: Gold, shared: true}]}",
        "limits: {service: {url: 'ratelimit:8081'}}",
        "limits: {service: {url: 'http://ratelimit:8081', timeout: 0s}}",
    ] {
        insta::allow_duplicates! {
            insta::with_settings!({snapshot_suffix => insta_name(mistake)}, {
                assert_snapshot!("limit", check_with(&format!("{ISSUER}{mistake}\n")));
            });
        }
    }
}

#[test]
fn limits_that_envoy_itself_has_not() {
    assert_snapshot!(check_with(&format!(
        "{ISSUER}tiers:\n  Bursty: {{quota: {{requests: 5, per: 1m}}, burst: {{requests: 1, per: 1s}}}}\n  \
         Bytes: {{bandwidth: {{bytes: 1MiB, per: 1d}}}}\n  Soft: {{quota: {{requests: 5, per: 1m}}, stop_on_quota: false}}\n  \
         Large: {{quota: {{requests: 5000000000, per: 1d}}}}\n  Unused: {{burst: {{requests: 1, per: 10s}}}}\n\
         limits:\n  native: true\n  algorithm: window\n  metrics: true\n  headers: {{x_rate_limit: true}}\n  policies:\n  \
         - {{name: a, key: [user, {{query: a}}, {{cookie: b}}, {{header: \"x'y\"}}], tier: Bursty}}\n  \
         - {{name: b, key: [client_ip], callers: anonymous, tier: Bytes}}\n  \
         - {{name: c, key: [client_ip], mode: shadow, tier: Soft}}\n  \
         - {{name: d, key: [client_ip], tier: Large, tier_from: caller}}\n  \
         blocked: [{{name: office, when: [{{part: client_ip, is: {{cidr: 192.0.2.0/24}}}}]}}]\nmode: shadow\n"
    )));
    let service = "limits: {native: true, service: {url: 'http://ratelimit:8081'LEASES}, policies: [\
                   {name: a, key: [user], tier: Gold, shared: true}]}";
    assert_snapshot!(check_with(&format!("{ISSUER}{}\n", service.replace("LEASES", ", leases: true"))));
    assert_eq!(
        check_with(&format!("{ISSUER}{}\n", service.replace("LEASES", ", on_failure: open"))),
        check(PETS)
    );
    assert_eq!(
        check_with(&format!(
            "{ISSUER}limits: {{native: true, policies: [{{name: a, key: [user], tier: Gold}}]}}\n"
        )),
        check(PETS)
    );
}

#[test]
fn settings_that_are_missing_or_wrong() {
    assert_snapshot!(Folder::new(&[("api.yaml", PETS)]).transcript(&["check", "api.yaml"]));
    assert_snapshot!(check_with("issuers: [\n"));
    assert_snapshot!(check_with(
        "isuers: []\nkeys: {}\nissuers: [{issuer: a, leeway: 5 parsecs}]\ndefaults: {timeout: fast}\nmode: loud\n"
    ));
    assert_snapshot!(check_with(
        "listeners:\n- {address: localhost, port: 80}\n- {port: 80, tls: {certificate: a, key: b, client_certificate: require}}\n\
         issuers:\n- issuer: https://a.example.com\n  jwks: https://a.example.com/jwks\n  claim_headers: [{claim: sub, header: X User}]\n\
         auth: {token_sources: [{query: access_token}, {header: {name: 'a b'}}]}\ncors: {allow_origins: ['*'], allow_credentials: true}\n\
         defaults: {host: 'a b', backend: localhost:3000}\n"
    ));
    // Mistakes that the filter finds are shown in this file, also when it is not known yet where the keys are.
    for mistake in [
        "issuers:\n- issuer: https://a.example.com\n  leeway: 3650d\n",
        "issuers: [{issuer: https://a.example.com}]\nauth:\n  token_sources: [{cookie: a}, {header: {name: 'a b'}}]\n",
        "issuers: [{issuer: https://a.example.com}]\nauth:\n  verification_budget: 0\n",
    ] {
        assert_snapshot!(check_with(mistake));
    }
    assert_snapshot!(Folder::new(&[("api.yaml", PETS)]).transcript(&[
        "check",
        "api.yaml",
        "-c",
        "absent.yaml"
    ]));
}

#[test]
fn a_listener_on_the_port_of_the_admin_interface() {
    assert_snapshot!(check_with(&format!(
        "{ISSUER}listeners: [{{port: 9901}}, {{address: 192.0.2.1, port: 9901}}]\n"
    )));
}

#[test]
fn issuers_that_cannot_be_used() {
    let folder = Folder::new(&[
        ("api.yaml", PETS),
        ("empty.json", r#"{"keys": []}"#),
        ("text.json", "hello"),
        ("other.json", "{}"),
        ("private.json", r#"{"keys": [{"kty": "EC", "d": "AA"}]}"#),
        ("private.pem", "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n"),
        ("short.json", r#"{"keys": [{"kty": "oct", "alg": "HS256", "k": "AAAA"}]}"#),
        (
            "enforcer.yaml",
            "issuers:\n- issuer: urn:enforcer:development\n  jwks: empty.json\n- {issuer: a, jwks: absent.json}\n\
             - {issuer: b, jwks: empty.json}\n- {issuer: c, jwks: text.json}\n- {issuer: d, jwks: other.json}\n\
             - {issuer: e, jwks: private.json}\n- {issuer: f, jwks: 'http://f.example.com/jwks'}\n\
             - {issuer: g, jwks: 'ftp://f.example.com/jwks'}\n- {issuer: h, jwks: 'https://h.example.com/jwks'}\n\
             - {issuer: h, jwks: 'https://h.example.com/jwks'}\n\
             - {issuer: i, jwks: private.pem}\n- {issuer: j, jwks: short.json}\n",
        ),
    ]);
    assert_snapshot!(folder.transcript(&["check", "api.yaml"]));
}

#[test]
fn issuers_that_deserve_a_word() {
    let secret =
        r#"{"keys": [{"kty": "oct", "alg": "HS256", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}"#;
    let folder = Folder::new(&[
        ("api.yaml", PETS),
        ("secret.json", secret),
        (
            "enforcer.yaml",
            "issuers:\n- {issuer: a, jwks: secret.json}\n- issuer: https://b.example.com\n  require_exp: false\n\
             auth:\n  token_sources: [{query: access_token}]\n",
        ),
    ]);
    assert_snapshot!(folder.transcript(&["check", "api.yaml"]));
}

/// What would silently not hold.
#[test]
fn apis_that_do_not_exist() {
    assert_snapshot!(check_with(&format!(
        "{ISSUER}auth: {{opa: {{url: 'https://opa.example.com/v1/data/allow', apis: [Pet Store]}}, life_cycles: {{pets: blocked}}}}\n\
         analytics: {{metrics: {{}}, sampling: {{apis: [{{api: pets, rate: 0.5}}]}}}}\n"
    )));
}

#[test]
fn issuers_that_cannot_be_asked() {
    let folder = Folder::new(&[("api.yaml", PETS)]);
    let build = ["build", "api.yaml", "-t", "envoy", "-o", "out"];
    folder.write("enforcer.yaml", "issuers: [{issuer: 'http://idp.example.com'}, {issuer: 'urn:x'}]\n");
    assert_snapshot!(folder.transcript(&build));
    // Nothing listens on port 1.
    folder.write("enforcer.yaml", "issuers: [{issuer: 'http://127.0.0.1:1'}]\n");
    assert_snapshot!(folder.transcript(&build));
    assert_eq!(folder.names(), ["api.yaml", "enforcer.yaml"]);
}

#[test]
fn findings_as_json_lines() {
    let folder =
        Folder::new(&[("api.yaml", "openapi: 3.1.0\ninfo: {title: x}\n"), ("enforcer.yaml", ISSUER)]);
    assert_snapshot!(folder.transcript(&["--format", "json", "check", "api.yaml"]));
    assert_snapshot!(folder.transcript(&["-q", "check", "api.yaml", "--format", "json"]));
}

#[test]
fn nothing_is_written_when_anything_is_wrong() {
    let folder =
        Folder::new(&[("good.yaml", PETS), ("bad.yaml", "openapi: 3.1.0\n"), ("enforcer.yaml", ISSUER)]);
    let output = folder.run(&["build", "good.yaml", "bad.yaml", "-t", "envoy", "-o", "out"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!folder.file("out").exists());
}

#[test]
fn folders_that_cannot_be_written() {
    let folder = Folder::new(&[("api.yaml", PETS), ("enforcer.yaml", ISSUER), ("out", "a file")]);
    assert_snapshot!(folder.transcript(&["build", "api.yaml", "-t", "envoy", "-o", "out"]));
}

#[test]
fn modules_that_are_not_where_they_should_be() {
    let folder = Folder::new(&[("api.yaml", PETS), ("enforcer.yaml", ISSUER.split_once('\n').unwrap().0)]);
    let transcript = folder.transcript(&["build", "api.yaml", "-t", "envoy", "-o", "out"]);
    assert_snapshot!(transcript.replace(&*crate::folder::beside_enforcer(), "[beside]"));
    assert!(!folder.file("out").exists());
}

#[test]
fn building_again_changes_nothing() {
    let folder = Folder::new(&[("api.yaml", PETS), ("enforcer.yaml", ISSUER)]);
    let build = ["build", "api.yaml", "-t", "envoy-xds", "-o", "out"];
    assert_snapshot!(folder.transcript(&build));
    assert_snapshot!(folder.transcript(&build));
}

#[test]
fn what_was_attached_leaves_no_trace() {
    let envoy = include_str!("../../../envoy-examples/existing-envoy/envoy.yaml");
    let folder = Folder::new(&[("api.yaml", PETS), ("enforcer.yaml", ISSUER)]);
    for text in [envoy.to_owned(), format!("\u{feff}{envoy}"), envoy.replace('\n', "\r\n")] {
        folder.write("envoy.yaml", &text);
        for attach in [
            &["attach", "envoy.yaml", "api.yaml", "--listener", "public", "-o", "new.yaml"][..],
            &["attach", "--remove", "new.yaml", "-o", "new.yaml"],
        ] {
            let output = folder.run(attach);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(folder.read("new.yaml"), text);
    }
}

#[test]
fn calls_that_are_wrong() {
    let folder = Folder::new(&[]);
    assert_snapshot!(folder.transcript(&["check"]));
    assert_snapshot!(folder.transcript(&["build", "a.yaml", "-t", "nginx", "-o", "out"]));
    assert_snapshot!(folder.transcript(&["token", "--ttl", "5 parsecs"]));
    assert_snapshot!(folder.transcript(&["token", "--ttl", "0s"]));
    assert_snapshot!(folder.transcript(&["token", "--claim", "a"]));
    assert_snapshot!(folder.transcript(&["--help"]));
}

#[test]
fn init_starts_a_gateway_that_passes_check() {
    let folder = Folder::new(&[]);
    assert_snapshot!(folder.transcript(&["init"]));
    assert_eq!(folder.names(), ["enforcer.yaml", "openapi.yaml"]);
    assert_snapshot!(folder.read("enforcer.yaml"));
    assert_snapshot!(folder.transcript(&["check", "openapi.yaml"]));
    assert_snapshot!(folder.transcript(&["init"]));
}

#[test]
fn init_takes_over_what_a_definition_says() {
    let definition = api(
        "servers: [{url: https://x.example.com}]\npaths: {/a: {get: {security: [{key: []}]}}}\ncomponents:\n  securitySchemes:\n    \
         key: {type: apiKey, name: X-Key, in: header}\n    \
         oidc: {type: openIdConnect, openIdConnectUrl: 'https://login.example.com/t/.well-known/openid-configuration'}\n",
    );
    let folder = Folder::new(&[("api.yaml", &definition)]);
    assert!(folder.run(&["init", "api.yaml"]).status.success());
    assert_snapshot!(folder.read("enforcer.yaml"));
    assert!(folder.run(&["check", "api.yaml"]).status.success());
    let strange = definition
        .replace("'https://login.example.com/t/", "\"https://x.example.com\\nauth: {default: open}\\n#/");
    let strange = strange.replace("openid-configuration'", "openid-configuration\"");
    let folder = Folder::new(&[("api.yaml", &strange)]);
    assert!(folder.run(&["init", "api.yaml"]).status.success());
    assert!(!folder.read("enforcer.yaml").contains("open}"), "{}", folder.read("enforcer.yaml"));
    assert_snapshot!(Folder::new(&[]).transcript(&["init", "absent.yaml"]));
    assert_snapshot!(Folder::new(&[]).transcript(&["init", "http://127.0.0.1:1/api.yaml"]));
}

#[test]
fn tokens_are_for_the_owner_and_for_development() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new(&[("api.yaml", PETS)]);
    let first = folder.run(&[
        "token",
        "--scope",
        "read:pets",
        "--scope",
        "write:pets",
        "--claim",
        "tenant=7",
        "--ttl",
        "5m",
    ]);
    let token = String::from_utf8(first.stdout).unwrap();
    let part = |number: usize| -> serde_json::Value {
        use jwt_simple::reexports::ct_codecs::{Base64UrlSafeNoPadding, Decoder as _};
        let part = token.trim().split('.').nth(number).unwrap();
        serde_json::from_slice(&Base64UrlSafeNoPadding::decode_to_vec(part, None).unwrap()).unwrap()
    };
    let claims = part(1);
    assert_eq!(claims["iss"], "urn:enforcer:development");
    assert_eq!(claims["scope"], "read:pets write:pets");
    assert_eq!(claims["tenant"], 7);
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
    let jwks: serde_json::Value = serde_json::from_str(&folder.read(".enforcer/jwks.json")).unwrap();
    assert_eq!(jwks["keys"][0]["kid"], part(0)["kid"]);
    assert!(jwks["keys"][0].get("d").is_none());
    let mode = std::fs::metadata(folder.file(".enforcer/key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(folder.read(".enforcer/.gitignore"), "*\n");
    // The key is made once.
    let jwks = folder.read(".enforcer/jwks.json");
    assert!(folder.run(&["token"]).status.success());
    assert_eq!(folder.read(".enforcer/jwks.json"), jwks);

    folder
        .write("enforcer.yaml", "issuers: [{issuer: urn:enforcer:development, jwks: .enforcer/jwks.json}]\n");
    assert_snapshot!(folder.transcript(&["check", "api.yaml"]));
    assert!(folder.run(&["check", "--development", "api.yaml"]).status.success());
    folder.write(".enforcer/key.pem", "garbage");
    assert_snapshot!(folder.transcript(&["token"]));
}

#[test]
fn schemas_are_printed_by_name() {
    let folder = Folder::new(&[]);
    assert_snapshot!(folder.transcript(&["schema"]));
    assert_snapshot!(folder.transcript(&["schema", "limits"]));
    assert!(folder.transcript(&["schema", "enforcer.yaml"]).contains("\"listeners\""));
}
