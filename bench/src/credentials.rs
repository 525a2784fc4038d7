//! Rows of every credential beside the token, of many revoked tokens, and of limits behind auth.

use enforcer_testbed::{Alg, Certified, Keys, hmac};
use serde_json::{Value, json};

use crate::{
    Result,
    filters::{limit_of_users, noop, plugin},
    gateway::{Adapter, auth_configuration, with_auth, with_clusters, with_filters, with_tls},
    load::Requests,
    rows::{Id, Modules, Row, TEN},
    services::{INTROSPECTION, LIMITS, REVOCATIONS, Services},
    tokens::Issuer,
};

/// A token that says nothing.
const OPAQUE: &str = "8ffa6b3a1f9c4fd09a6f6ac30c5f2c61";
/// An API key, and what its hash is keyed with.
pub const API_KEY: &str = "5f3c9a7e1b2d4c6f8091a2b3c4d5e6f7";
const HASH_KEY: &str = "0123456789abcdef0123456789abcdef";
/// Where it is sent.
pub const API_KEY_HEADER: &str = "x-api-key";
/// `htpasswd -B` of alice's password `wonderland`, and both as she sends them.
const HTPASSWD: &str = "alice:$2y$05$abcdefghijklmnopqrstuuA0vov2GDneHB3.8.cv9UF9g.RdvScIW";
const PASSWORD: &str = "Basic YWxpY2U6d29uZGVybGFuZA==";

/// The configuration of one listed key.
pub fn listed_key() -> Value {
    let hash = hexadecimal(&hmac(Alg::HS256, HASH_KEY.as_bytes(), API_KEY.as_bytes()));
    json!({
        "schemes": [{"name": "key", "sources": [{"header": API_KEY_HEADER}]}],
        "listed": {"hash_key": HASH_KEY, "keys": {"inline": [
            {"hash": hash, "consumer": "acme", "application": "shop", "tier": "Gold"},
        ]}},
    })
}

/// All of them; the services must outlast the run.
pub fn rows(
    adapter: &Adapter,
    issuer: &Issuer,
    modules: Modules<'_>,
    services: &Services,
) -> Result<Vec<Row>> {
    let ten = with_clusters(&adapter.build(TEN, &issuer.jwks(&[Alg::RS256]))?, services.clusters())?;
    let auth = auth_configuration(&ten)?;
    let certified = Keys::shared()?.certified()?;
    let requests = Requests { paths: TEN.paths(), credential: None, certificate: None };
    let row = |id, label, bootstrap, requests, protects| Row {
        id,
        label,
        bootstrap,
        requests,
        protects,
        beside: None,
    };
    let sent = |name: &'static str, value: &str| Requests {
        credential: Some((name, value.to_owned())),
        ..requests.clone()
    };
    let bearer = |token: &str| sent("authorization", &format!("Bearer {token}"));
    let known = issuer.token(Alg::RS256)?;
    let shown = Requests { certificate: Some(certified.clone()), ..requests.clone() };
    let of = |security: Value, set: &Value| with_auth(&with_auth(&ten, &secured(&auth, &security))?, set);
    let behind_auth = |other| {
        let auth = plugin("auth", &adapter.module, "auth", &auth);
        with_filters(&ten, [auth, other])
    };
    Ok(vec![
        row(Id::Opaque, "auth, known opaque token", with_auth(&ten, &opaque())?, bearer(OPAQUE), true),
        row(
            Id::ApiKey,
            "auth, API key",
            of(json!([{"api_keys": ["key"]}]), &json!({"api_keys": listed_key()}))?,
            sent(API_KEY_HEADER, API_KEY),
            true,
        ),
        row(
            Id::Basic,
            "auth, known password",
            of(json!([{"basic": true}]), &json!({"basic": {"htpasswd": HTPASSWD}}))?,
            sent("authorization", PASSWORD),
            true,
        ),
        row(
            Id::PlainTls,
            "Envoy alone, TLS with client certificates",
            with_tls(&with_filters(&ten, [])?, &certified)?,
            shown.clone(),
            false,
        ),
        row(
            Id::Certificate,
            "auth, client certificate",
            with_tls(&of(json!([{"certificate": true}]), &known_certificate(&certified))?, &certified)?,
            shown,
            true,
        ),
        row(
            Id::Revoked,
            "auth, known token, 1,000,000 others revoked",
            with_auth(&ten, &revocation())?,
            bearer(&known),
            true,
        ),
        row(
            Id::AuthNoop,
            "auth, known token, and a Wasm filter that does nothing",
            behind_auth(noop(modules.noop))?,
            bearer(&known),
            true,
        ),
        row(
            Id::AuthLimit,
            "auth, known token, and ratelimit by user",
            behind_auth(limit_of_users(modules.ratelimit, &json!({})))?,
            bearer(&known),
            true,
        ),
        row(
            Id::LeasedLimit,
            "auth, known token, and ratelimit by user, shared by leases",
            behind_auth(limit_of_users(
                modules.ratelimit,
                &json!({"service": {"cluster": LIMITS, "timeout": "5s"}}),
            ))?,
            bearer(&known),
            true,
        ),
    ])
}

/// The APIs of a configuration, whose operations ask for something else.
fn secured(auth: &Value, security: &Value) -> Value {
    let mut apis = auth.get("apis").cloned().unwrap_or_default();
    for api in apis.as_array_mut().into_iter().flatten() {
        let operations = api.get_mut("operations").and_then(Value::as_array_mut);
        for operation in operations.into_iter().flatten().filter_map(Value::as_object_mut) {
            operation.insert("security".to_owned(), security.clone());
        }
    }
    json!({"apis": apis})
}

fn opaque() -> Value {
    let asked = json!({
        "cluster": INTROSPECTION,
        "url": "http://idp.example.com/introspect",
        "client": {"bearer": "bench"},
        "max_age": "1h",
    });
    json!({"issuers": [{"issuer": crate::gateway::ISSUER, "jwks": {"introspection": asked}}]})
}

fn known_certificate(certified: &Certified) -> Value {
    let sha256 = hexadecimal(&certified.fingerprint());
    json!({"client_certificates": {"known": [{"sha256": sha256, "consumer": "acme", "tier": "Gold"}]}})
}

/// Requests wait until the list is there: none is measured without it.
fn revocation() -> Value {
    let list = json!({"cluster": REVOCATIONS, "url": "http://portal.example.com/revoked", "timeout": "30s"});
    json!({"revocation": {"list": list}})
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
