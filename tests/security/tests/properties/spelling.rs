//! A token has one spelling, and a signature fits that one alone.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use enforcer_auth::{
    config::Algorithm,
    json,
    jwk::{Find, KeySet, Origin},
    token::{Form, Jws, Token, decode},
};
use enforcer_core::native::NativeHost;
use proptest::{collection::vec, prelude::*};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

use crate::values::{members, object, value};

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

proptest! {
    #[test]
    fn base64url_is_read_back(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(decode(&encode(&bytes)), Ok(bytes));
    }

    #[test]
    fn base64url_has_one_spelling(text in "[A-Za-z0-9_=+/-]{0,12}|\\PC{0,12}") {
        if let Ok(bytes) = decode(&text) {
            prop_assert_eq!(encode(bytes), text);
        }
    }

    #[test]
    fn anything_may_be_said_to_be_a_token(text in "\\PC*|[A-Za-z0-9_.=-]*", longest in 0_usize..100) {
        let _ = Jws::parse(&text, Form::Strict);
        if Token::parse(&text, longest, Form::Strict).is_ok() {
            prop_assert!(text.len() <= longest);
        }
    }

    #[test]
    fn any_bytes_may_be_header_and_payload(header in vec(any::<u8>(), 0..60), payload in vec(any::<u8>(), 0..60)) {
        let text = format!("{}.{}.", encode(&header), encode(&payload));
        if let Ok(jws) = Jws::parse(&text, Form::Strict) {
            prop_assert_eq!(jws.payload, payload);
        }
    }

    #[test]
    fn a_header_is_an_object_with_a_text_for_alg_and_nothing_critical(
        header in members(&["alg", "kid", "typ", "crit", "jwk", "b64"])
    ) {
        let text = format!("{}.e30.", encode(Value::Object(header.clone()).to_string()));
        let is_text = |name: &str| header.get(name).is_some_and(Value::is_string);
        let may_be_text = |name: &str| header.get(name).is_none_or(|value| value.is_string() || value.is_null());
        let good = is_text("alg") && may_be_text("kid") && may_be_text("typ") && !header.contains_key("crit");
        prop_assert_eq!(Jws::parse(&text, Form::Strict).is_ok(), good);
    }

    #[test]
    fn objects_are_read_as_serde_json_reads_them(members in object(value())) {
        let text = Value::Object(members).to_string();
        let read: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(json::object(text.as_bytes()).map(Value::Object), Some(read));
    }

    #[test]
    fn a_name_twice_is_no_object(members in object(value()), again in value(), at in any::<prop::sample::Index>()) {
        prop_assume!(!members.is_empty());
        let (name, _) = members.iter().nth(at.index(members.len())).unwrap();
        let text = Value::Object(members.clone()).to_string();
        let twice = format!("{},{}:{again}}}", text.strip_suffix('}').unwrap(), Value::from(name.as_str()));
        prop_assert_eq!(json::object(twice.as_bytes()), None);
        let inside = format!("{{\"a\":[{twice}]}}");
        prop_assert_eq!(json::object(inside.as_bytes()), None);
    }
}

/// What is done to a token.
#[derive(Clone, Debug)]
enum Change {
    Replace(u8),
    Insert(u8),
    Remove,
    Truncate,
    /// Changed with its neighbour.
    Swap,
}

fn change() -> impl Strategy<Value = Change> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b".-_=+/AQgw09az".to_vec())];
    prop_oneof![
        byte.clone().prop_map(Change::Replace),
        byte.prop_map(Change::Insert),
        Just(Change::Remove),
        Just(Change::Truncate),
        Just(Change::Swap),
    ]
}

fn changed(text: &str, at: usize, change: &Change) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    match change {
        Change::Replace(byte) => bytes[at] = *byte,
        Change::Insert(byte) => bytes.insert(at, *byte),
        Change::Remove => drop(bytes.remove(at)),
        Change::Truncate => bytes.truncate(at),
        Change::Swap => bytes.swap(at, (at + 1) % text.len()),
    }
    bytes
}

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// A key set and a signer of its one key.
fn signer(alg: &str) -> (KeySet, Sign) {
    let random = SystemRandom::new();
    let (jwk, sign): (Value, Sign) = match alg {
        "ES256" => {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            let pair =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
            let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
            let jwk = json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)});
            (jwk, Box::new(move |text| pair.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec()))
        }
        "EdDSA" => {
            let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
            let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key())});
            (jwk, Box::new(move |text| pair.sign(text).as_ref().to_vec()))
        }
        _ => {
            let secret = [7; 32];
            let jwk = json!({"kty": "oct", "alg": alg, "k": encode(secret)});
            (
                jwk,
                Box::new(move |text| {
                    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), text).as_ref().to_vec()
                }),
            )
        }
    };
    let set = json!({"keys": [jwk]}).to_string();
    (KeySet::read(set.as_bytes(), Origin::Inline, None).unwrap(), sign)
}

fn verifies(keys: &KeySet, text: &[u8]) -> bool {
    let Some(jws) = std::str::from_utf8(text).ok().and_then(|text| Jws::parse(text, Form::Strict).ok())
    else {
        return false;
    };
    let Some(algorithm) = Algorithm::of_name(&jws.header.alg) else { return false };
    let Find::Keys(keys) = keys.find(None, algorithm) else { return false };
    keys.iter()
        .any(|key| key.verify(algorithm, &NativeHost::new(), false, jws.signed.as_bytes(), &jws.signature).0)
}

#[test]
fn no_change_to_a_signed_token_verifies() {
    for alg in ["ES256", "EdDSA", "HS256"] {
        let (keys, sign) = signer(alg);
        let inputs = (object(value()), any::<prop::sample::Index>(), change());
        proptest!(ProptestConfig::with_cases(500), |((claims, at, change) in inputs)| {
            let header = encode(json!({"alg": alg}).to_string());
            let signed = format!("{header}.{}", encode(Value::Object(claims).to_string()));
            let token = format!("{signed}.{}", encode(sign(signed.as_bytes())));
            prop_assert!(verifies(&keys, token.as_bytes()));
            let other = changed(&token, at.index(token.len()), &change);
            prop_assert_eq!(verifies(&keys, &other), other == token.as_bytes(), "{}", String::from_utf8_lossy(&other));
        });
    }
}
