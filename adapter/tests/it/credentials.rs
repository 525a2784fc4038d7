//! What the command says of credentials, word by word.

use enforcer_testbed::{Alg, Keys};
use insta::assert_snapshot;

use crate::{
    cli::{PETS, api},
    folder::Folder,
};

const TOKENS: &str = "issuers:
- issuer: https://a.example.com
  jwks: keys.pem
  algorithms: [ES384, PS256, EdDSA]
  typ: at+jwt
  require_exp: false
  max_age: 1h
  required_claims: [{claim: sub}, {claim: tenant, one_of: [acme]}]
  revoked: [one]
- issuer: https://b.example.com
  jwks: https://b.example.com/certificates.pem
  cooldown: 30s
auth:
  token_sources: [{header: {name: X-Token, scheme: ''}}, {cookie: session}]
  max_token: 8KiB
  verification_budget: 50
defaults: {modules: /opt/enforcer, ca_file: /etc/ssl/ca.pem}
";

#[test]
fn everything_that_can_be_said_about_tokens() {
    let folder = Folder::new(&[("api.yaml", PETS)]);
    folder.write("keys.pem", Keys::shared().unwrap().public_pem(Alg::ES384).unwrap());
    folder.write("enforcer.yaml", TOKENS);
    let output = folder.run(&["build", "api.yaml", "-t", "envoy-filters", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let filters = folder.read("out/http_filters.yaml");
    let (_, configuration) = filters.split_once("issuers").unwrap();
    let (shown, _) = configuration.split_once("\"apis\"").unwrap();
    let key = shown.split("-----").nth(2).unwrap();
    assert_snapshot!(shown.replace(key, "[key]"));
    let (_, rest) = configuration.rsplit_once("\"token_sources\"").unwrap();
    assert_snapshot!(rest);
}

const CREDENTIALS: &str = "issuers:
- issuer: https://a.example.com
  introspection: {url: https://a.example.com/introspect, client: {basic: {id: gateway, secret: s}}, max_age: 30s}
keys:
  hash_key: 0123456789abcdef0123456789abcdef
  url: https://portal.example.com/keys
  refresh: 1m
  issuers: [{issuer: https://apim.example.com, jwks: apim.pem, require_exp: false}]
auth:
  basic: {htpasswd: users.htpasswd, budget: 50ms}
  client_certificates: {known: [{sha256: '0707070707070707070707070707070707070707070707070707070707070707', consumer: acme}]}
listeners: [{port: 8443, tls: {certificate: tls.crt, key: tls.key}}]
defaults: {modules: /opt/enforcer, ca_file: /etc/ssl/ca.pem}
";

#[test]
fn credentials_of_every_kind() {
    let definition = api("servers: [{url: https://x.example.com}]
paths:
  /a: {get: {security: [{key: []}]}}
  /b: {get: {security: [{key: [], id: []}, {token: [read]}]}}
  /c: {get: {security: [{old: []}, {}]}}
  /d: {get: {security: [{password: []}]}}
  /e: {get: {security: [{tls: [], token: []}]}}
components:
  securitySchemes:
    key: {type: apiKey, in: header, name: X-Key}
    id: {type: apiKey, in: cookie, name: id}
    old: {type: apiKey, in: query, name: key}
    token: {type: openIdConnect}
    password: {type: http, scheme: basic}
    tls: {type: mutualTLS}
");
    let folder = Folder::new(&[("api.yaml", &definition), ("enforcer.yaml", CREDENTIALS)]);
    folder.write("users.htpasswd", "bob:{SHA}tiY7sUhYKUwI5L3866kDY+ENcrQ=\n");
    folder.write("apim.pem", Keys::shared().unwrap().public_pem(Alg::RS256).unwrap());
    let output = folder.run(&["build", "api.yaml", "-t", "envoy-filters", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let filters = folder.read("out/http_filters.yaml");
    let (_, configuration) = filters.split_once("\"issuers\"").unwrap();
    let key = configuration.split("-----").nth(2).unwrap();
    assert_snapshot!(configuration.replace(key, "[key]"));
    assert_snapshot!(folder.transcript(&["check", "api.yaml"]));
}

const GATES: &str = "issuers:
- issuer: https://a.example.com
  jwks: https://a.example.com/jwks
auth:
  revocation: {tokens: [{jti: stolen}], list: {url: 'https://list.example.com/revoked', poll: 5s}}
  subscriptions: {applications: {remote: {url: 'https://portal.example.com/applications', refresh: 1m}}}
  life_cycles: {pet-store: prototyped}
  backend_token: {keys: [{kid: k1, file: k1.pem, certificate: k1.crt}], encoding: base64, jwks_path: /.well-known/jwks}
  opa: {url: 'http://127.0.0.1:8181/v1/data/gateway/allow', cache_key: [api, subject, {header: x-tenant}]}
defaults: {modules: /opt/enforcer, ca_file: /etc/ssl/ca.pem}
";

/// Each setting reaches the filter, with the cluster of the server that it names.
#[test]
fn what_holds_for_genuine_credentials() {
    let folder = Folder::new(&[("api.yaml", PETS), ("enforcer.yaml", GATES)]);
    let keys = Keys::shared().unwrap();
    folder.write("k1.pem", keys.private_pem(Alg::ES256).unwrap());
    folder.write("k1.crt", keys.certificate_pem(Alg::ES256, 2049).unwrap());
    let output = folder.run(&["build", "api.yaml", "-t", "envoy-filters", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let encrypted = || folder.read("out/clusters.yaml").matches("transport_socket:").count();
    let was_encrypted = encrypted();
    let filters = folder.read("out/http_filters.yaml");
    let (_, configuration) = filters.split_once("\"revocation\"").unwrap();
    let mut told = configuration.to_owned();
    for secret in configuration.split("-----").skip(2).step_by(4) {
        told = told.replace(secret, "[key]");
    }
    assert_snapshot!(told);
    folder.write(
        "enforcer.yaml",
        GATES.replace("https://list", "http://list").replace("127.0.0.1:8181", "opa.internal:8181"),
    );
    assert!(folder.transcript(&["check", "api.yaml"]).contains("list.example.com/revoked` is not https"));
    let settings = folder
        .read("enforcer.yaml")
        .replace("auth:\n", "auth:\n  plain_http: [opa.internal, list.example.com]\n");
    folder.write("enforcer.yaml", settings);
    assert!(folder.run(&["build", "api.yaml", "-t", "envoy-filters", "-o", "out"]).status.success());
    // Portal and issuer are left of the three that are spoken to by TLS.
    assert_eq!((encrypted(), was_encrypted), (2, 3));
    folder.write(
        "enforcer.yaml",
        GATES
            .replace("poll: 5s", "poll: 1ms")
            .replace("https://list", "http://list")
            .replace("pet-store", "pets")
            .replace("file: k1", "file: k2"),
    );
    assert_snapshot!(folder.transcript(&["check", "api.yaml"]));
}

#[test]
fn passwords_that_cannot_be_used() {
    let definition = api("servers: [{url: https://x.example.com}]
security: [{password: []}]
paths: {/a: {get: {}}}
components: {securitySchemes: {password: {type: http, scheme: basic}}}
");
    let folder = Folder::new(&[("api.yaml", &definition), ("enforcer.yaml", "")]);
    assert_snapshot!(folder.transcript(&["check", "api.yaml"]));
    folder.write("enforcer.yaml", "auth: {basic: {htpasswd: users.htpasswd}}\n");
    assert_snapshot!(folder.transcript(&["check", "api.yaml"]));
    folder.write("users.htpasswd", "bob:$2y$10$abcdefghijklmnopqrstuuA0vov2GDneHB3.8.cv9UF9g.RdvScIW\n");
    assert_snapshot!(folder.transcript(&["check", "api.yaml"]));
}

/// Keys alone need nobody who issues tokens.
#[test]
fn an_api_without_tokens_needs_no_issuer() {
    let definition = api("servers: [{url: https://x.example.com}]
paths: {/a: {get: {security: [{key: []}]}}}
components: {securitySchemes: {key: {type: apiKey, name: X-Key, in: header}}}
");
    let settings =
        "keys: {hash_key: 0123456789abcdef0123456789abcdef, list: []}\ndefaults: {modules: /opt/enforcer}\n";
    let folder = Folder::new(&[("api.yaml", &definition), ("enforcer.yaml", settings)]);
    assert_snapshot!(folder.transcript(&["check", "api.yaml"]));
}

/// What a listener has to do for it, and what is wrong with settings.
#[test]
fn client_certificates() {
    let definition = api("servers: [{url: https://x.example.com}]
security: [{tls: []}]
paths: {/a: {get: {}}}
components: {securitySchemes: {tls: {type: mutualTLS}}}
");
    let folder = Folder::new(&[("api.yaml", &definition), ("enforcer.yaml", "")]);
    assert_snapshot!(folder.transcript(&["check", "api.yaml"]));
    let settings = |listener: &str, certificates: &str| {
        let tls = "tls: {certificate: tls.crt, key: tls.key";
        let text = format!(
            "listeners: [{{port: 8443, {tls}{listener}}}}}]\nauth: {{client_certificates: {{{certificates}}}}}\n\
             defaults: {{modules: /opt/enforcer, ca_file: /etc/ssl/ca.pem}}\n"
        );
        folder.write("enforcer.yaml", text);
    };
    settings("", "known: [{file: acme.crt, consumer: acme}, {san: a.example.com, consumer: a}]");
    assert_snapshot!(folder.transcript(&["check", "api.yaml"]));
    let certified = Keys::shared().unwrap().certified().unwrap();
    folder.write("acme.crt", certified.pem());
    assert_snapshot!(folder.transcript(&["check", "api.yaml"]));
    for (listener, certificates, expected) in [
        ("", "known: [{file: acme.crt, consumer: acme}]", "trust_chain_verification: ACCEPT_UNTRUSTED"),
        (", client_ca: ca.pem", "known: [{san: a, consumer: a}]", "require_client_certificate: true"),
        (
            "",
            "from: {xfcc: {proxies: []}}, verified: true, known: [{san: a, consumer: a}]",
            "ALWAYS_FORWARD_ONLY",
        ),
    ] {
        settings(listener, certificates);
        let output = folder.run(&["build", "api.yaml", "-t", "envoy", "-o", "out"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let built = folder.read("out/envoy.yaml");
        assert!(built.contains(expected), "{built}");
        let fingerprint: String = certified.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(built.contains(&fingerprint), certificates.contains("acme.crt"));
    }
}
