#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use enforcer_core::{
    cx::{Messages, Wishes},
    filter::Filter,
    native::NativeHost,
};

use super::*;
use crate::{
    Auth,
    config::Algorithm,
    jwk::{Find, KeySet, Origin},
};

/// Made for this test and used nowhere.
const KEYS: [&str; 2] = [
    "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgD9ccPZHnQpfMSfJj
zUxIWDXdCZKYXedxWUv/SrNe00KhRANCAARo8Iwy538KQmVbyITU+P8IiplWA8yR
9vKa83zYcFoQxHYYg20wxab5BZ0GP/2YIyW9xHlTHjnEOxM1EDXzs3mE
-----END PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWK1fp6WXntkOmLPx
ieKtf0GWgP0FJMGPXZ8RRZJ8zmOhRANCAATLQsdRFUQfiB/j+Av62NUM1T7J4p1y
an4x8oiV7dZSFs+pYb+ihemLdZ7SHxoHsxbpChkYjW7kbKXP9UYp5YF2
-----END PRIVATE KEY-----",
];

/// Of the first of them: `openssl req -x509 -key KEY -subj /CN=gateway`.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBejCCAR+gAwIBAgIUS9YDicahJRnISexNuVpAaF7ZlvEwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHZ2F0ZXdheTAeFw0yNjExMjEyMDIxMjVaFw0zNjExMTgyMDIx
MjVaMBIxEDAOBgNVBAMMB2dhdGV3YXkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AARo8Iwy538KQmVbyITU+P8IiplWA8yR9vKa83zYcFoQxHYYg20wxab5BZ0GP/2Y
IyW9xHlTHjnEOxM1EDXzs3mEo1MwUTAdBgNVHQ4EFgQUxB7UTKVuKrJt62MhUxoM
Rl1xWMUwHwYDVR0jBBgwFoAUxB7UTKVuKrJt62MhUxoMRl1xWMUwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEA7cdo3lPQbD8gSX2FlDyyuJki4hi0
l7pcc4orvdtTctgCIQDCa7ENVCE3P2sal1Y2GqzJFmuYgDtaKw6saCnH5SCSfw==
-----END CERTIFICATE-----";
/// `openssl x509 -outform DER | sha1sum`, and its digits in base64url.
const X5T: &str = "MTY3YTkwMDQ3MDk3MTcyNzJlY2EyNzAzOTEzNzg2ZDE0ZmVjMWVmYg";

fn tokens(more: &Value) -> Result<BackendTokens, ConfigError> {
    let mut config =
        json!({"keys": [{"kid": "a", "private_key": KEYS[0]}, {"kid": "b", "private_key": KEYS[1]}]});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    BackendTokens::new(serde_json::from_value(config).unwrap(), Capabilities::default())
}

fn make(
    tokens: &mut BackendTokens,
    host: &NativeHost,
    caller: &Caller,
    token: Option<(&[u8], &Value)>,
) -> String {
    let (messages, mut wishes) = (Messages::default(), Wishes::default());
    let token = token.map(|(text, claims)| (text, claims.as_object().unwrap()));
    let about = About { caller, token, api: None };
    tokens.make(about, &Cx::new(host, &messages, &mut wishes)).unwrap()
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn alice() -> Caller {
    Caller { subject: "alice".to_owned(), ..Caller::default() }
}

#[test]
fn the_key_set_verifies_what_is_signed() {
    let (mut tokens, host) = (tokens(&json!({})).unwrap(), NativeHost::new());
    let token = make(&mut tokens, &host, &alice(), None);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let keys = KeySet::read(&tokens.key_set, Origin::Remote, None).unwrap();
    let verified_by = |kid: &str| match keys.find(Some(kid), Algorithm::ES256) {
        Find::Keys(keys) => {
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            keys[0].verify(Algorithm::ES256, &host, false, signed.as_bytes(), &signature).0
        }
        _ => panic!("no key {kid}"),
    };
    assert!(verified_by("a") && !verified_by("b"), "the first key signs");
}

#[test]
fn a_certificate_is_named_as_wso2_does() {
    let with = |index: usize| {
        let key = json!({"kid": "a", "private_key": KEYS[index], "certificate": CERTIFICATE});
        tokens(&json!({"keys": [key], "encoding": "base64"}))
    };
    let (mut made, host) = (with(0).unwrap(), NativeHost::new());
    let token = make(&mut made, &host, &Caller { subject: "\u{3ff}\u{3ff}~~??>>".into(), ..alice() }, None);
    assert!(token.contains(['+', '/']) && !token.contains(['-', '_', '=']), "{token}");
    let header: Value =
        serde_json::from_slice(&STANDARD_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    assert_eq!(header, json!({"typ": "JWT", "alg": "ES256", "kid": "a", "x5t": X5T}));
    let problem = |tokens: Result<BackendTokens, ConfigError>| tokens.unwrap_err().to_string();
    assert_eq!(problem(with(1)), "keys[0].certificate: it is not of this private key");
    let none = json!({"keys": [{"kid": "a", "private_key": KEYS[0], "certificate": KEYS[0]}]});
    assert!(problem(tokens(&none)).starts_with("keys[0].certificate: no `CERTIFICATE`"));
}

#[test]
fn times_are_those_of_choreo_connect() {
    let (mut tokens, host) = (tokens(&json!({})).unwrap(), NativeHost::new());
    let first = claims(&make(&mut tokens, &host, &alice(), None));
    let issued = first["iat"].as_u64().unwrap();
    assert_eq!(first["exp"].as_u64().unwrap() - issued, 3600);
    host.advance(Duration::from_secs(3239));
    assert_eq!(claims(&make(&mut tokens, &host, &alice(), None)), first, "used again");
    host.advance(Duration::from_secs(1));
    let second = claims(&make(&mut tokens, &host, &alice(), None));
    assert_eq!(second["iat"].as_u64().unwrap() - issued, 3240);
    assert_ne!(first["jti"], second["jti"]);
}

#[test]
fn whoever_differs_gets_another_token() {
    let (mut tokens, host) = (tokens(&json!({})).unwrap(), NativeHost::new());
    let gold = Caller { tier: "Gold".to_owned(), ..alice() };
    let mut seen = std::collections::BTreeSet::new();
    for caller in [&alice(), &gold, &Caller::default()] {
        for token in [None, Some((&b"t1"[..], &json!({"a": 1}))), Some((&b"t2"[..], &json!({"a": 2})))] {
            assert!(seen.insert(make(&mut tokens, &host, caller, token)));
            assert!(!seen.insert(make(&mut tokens, &host, caller, token)), "the second time the same");
        }
    }
}

#[test]
fn claims_of_ours_are_not_overwritten() {
    let (mut tokens, host) =
        (tokens(&json!({"claims": {"a": "ours", "exp": 1}})).unwrap(), NativeHost::new());
    let theirs = json!({"a": "theirs", "iss": "x", "jti": "y", "http://wso2.org/claims/enduser": "root", "b": 1,
            "http://wso2.org/claims/subscriber": "admin", "http://wso2.org/claims/role": "clerk"});
    let made = claims(&make(&mut tokens, &host, &alice(), Some((b"t", &theirs))));
    assert_eq!(made["a"], "ours");
    assert_eq!(made["iss"], "wso2.org/products/am");
    assert_ne!(made["jti"], "y");
    assert_ne!(made["exp"], 1);
    assert_eq!(made["http://wso2.org/claims/enduser"], "alice");
    assert_eq!(made["b"], 1);
    assert_eq!(
        made["http://wso2.org/claims/subscriber"],
        Value::Null,
        "what we cannot say nobody says for us"
    );
    assert_eq!(made["http://wso2.org/claims/role"], "clerk");
}

#[test]
fn what_cannot_be_is_refused() {
    let problem = |more: Value| tokens(&more).err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(problem(json!({})), "");
    assert!(problem(json!({"ttl": "9s"})).starts_with("ttl: `9s` is less"));
    assert!(problem(json!({"jwks_path": "jwks"})).starts_with("jwks_path: not a path"));
    let key = json!({"kid": "k", "private_key": KEYS[0]});
    let auth = |path: &str| {
        let config = json!({
            "backend_token": {"keys": [key], "jwks_path": path},
            "apis": [{"name": "Pets", "base_path": "/pets", "operations": [{"path": "/{id}", "methods": ["GET"], "security": []}]}],
        });
        Auth::new(serde_json::from_value(config).unwrap(), Capabilities::default())
            .err()
            .map(|error| error.to_string())
    };
    let shadowed = auth("/pets/keys").unwrap_or_default();
    assert!(shadowed.starts_with("backend_token.jwks_path: is also an operation of `Pets`"), "{shadowed}");
    assert_eq!(auth("/keys"), None);
    for header in ["Host", "a b", ""] {
        assert!(problem(json!({"header": header})).starts_with("header: `"), "{header}");
    }
    let key = |pem: &str| problem(json!({"keys": [{"kid": "a", "private_key": pem}]}));
    assert!(key("x").starts_with("keys[0].private_key: 0 blocks"));
    assert!(key("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----").contains("in PKCS #8"));
    assert!(
        key("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----").contains("openssl pkcs8")
    );
}
