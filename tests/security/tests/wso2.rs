//! Real API keys of WSO2 API Manager, with the certificates that verify them, from the folder that `ENFORCER_SAMPLES`
//! names.

use std::{fs, path::PathBuf};

use enforcer_auth::{Auth, config::AuthConfig};
use enforcer_core::{
    cx::{Cx, Messages, Wishes},
    filter::{Capabilities, Event, Filter, Step},
    headers::HeaderMap,
    native::NativeHost,
};
use serde_json::json;

fn samples() -> Option<PathBuf> {
    let folder = std::env::var_os("ENFORCER_SAMPLES").filter(|folder| !folder.is_empty());
    if folder.is_none() {
        println!("skipped: ENFORCER_SAMPLES is not set");
    }
    folder.map(|folder| PathBuf::from(folder).join("choreo-connect"))
}

/// The tier of the caller, or why the key was refused.
fn decide(key: &str, certificate: &str, issuer: &str, api: &serde_json::Value) -> String {
    let config = json!({
        "api_keys": {
            "schemes": [{"name": "key", "sources": [{"header": "apikey"}]}],
            "signed": [{"issuer": issuer, "require_exp": false, "jwks": {"pem": certificate}}],
        },
        "apis": [api],
    });
    let config: AuthConfig = serde_json::from_value(config).unwrap();
    let mut filter = Auth::new(config, Capabilities::default()).unwrap();
    let mut headers = HeaderMap::default();
    for (name, value) in [(":method", "GET"), (":path", "/v2/1.0.5/pets"), ("apikey", key)] {
        headers.push(name, value);
    }
    let (host, messages, mut wishes) = (NativeHost::new(), Messages::of_request(headers), Wishes::default());
    match filter.on_event(&mut (), Event::RequestHead, &mut Cx::new(&host, &messages, &mut wishes)) {
        Step::Continue(edits) => edits.identity.unwrap().caller.tier.clone(),
        Step::Respond(response) => response.detail.as_str().to_owned(),
        step => format!("{step:?}"),
    }
}

#[test]
fn real_keys_are_what_they_are() {
    let Some(folder) = samples() else { return };
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap().trim().to_owned();
    let (good, other, expired) = (
        read("jwt/MUTUAL_SSL_API_KEY.jwt"),
        read("jwt/MUTUAL_SSL_INVALID_API_KEY.jwt"),
        read("jwt/EXPIRED_API_KEY_TOKEN.jwt"),
    );
    let (new, old) = (read("certs/wso2carbon-2023.pem"), read("certs/wso2carbon-old.pem"));
    let (issuer, older) = ("https://apim:9444/oauth2/token", "https://apim:9443/oauth2/token");
    let api = json!({"name": "MutualSSL", "version": "1.0.5", "base_path": "/v2/1.0.5"});
    let next = json!({"name": "MutualSSL", "version": "1.0.6", "base_path": "/v2/1.0.5"});
    assert!(good.ends_with("=="), "with padding, as it was issued");
    assert_eq!(decide(&good, &new, issuer, &api), "Unlimited");
    assert_eq!(decide(&good, &new, issuer, &next), "enforcer_auth_api_key_api_refused");
    assert_eq!(decide(&good, &old, issuer, &api), "enforcer_auth_signature_invalid");
    assert_eq!(decide(&other, &new, issuer, &api), "enforcer_auth_signature_invalid");
    assert_eq!(decide(&expired, &old, older, &api), "enforcer_auth_token_expired");
    assert_eq!(decide(&format!("{good}sdsds"), &new, issuer, &api), "enforcer_auth_token_malformed");
}
