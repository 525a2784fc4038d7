//! The examples of RFC 7520, RFC 8037 and RFC 7797 (ietf-jose/cookbook).

use enforcer_auth::{
    config::Algorithm,
    jwk::{Find, KeySet},
};
use serde_json::Value;

use super::{accepts, corpora, json_file, key_set, verifies};
use crate::{bytes::decoded, page};

/// Each example, and whether its compact form is a token that we would take. `None`: it has none.
const EXAMPLES: [(&str, Option<bool>, &str); 11] = [
    ("jws/4_1.rsa_v15_signature", Some(true), "RS256"),
    ("jws/4_2.rsa-pss_signature", Some(true), "PS384"),
    ("jws/4_3.ecdsa_signature", Some(false), "ES512 is not supported: refused by name"),
    ("jws/4_4.hmac-sha2_integrity_protection", Some(true), "HS256"),
    (
        "jws/4_5.signature_with_detached_content",
        Some(false),
        "HS256, payload detached: nothing to read claims from",
    ),
    ("jws/4_6.protecting_specific_header_fields", None, "HS256; JSON form only"),
    ("jws/4_7.protecting_content_only", None, "HS256; JSON form only, `alg` unprotected"),
    ("jws/4_8.multiple_signatures", None, "RS256, ES512 and HS256; JSON form only"),
    ("curve25519/jws", Some(true), "EdDSA"),
    ("rfc7797/hmac-sha2_b64_false", Some(false), "HS256, `crit` with `b64`: refused"),
    (
        "rfc7797/4.2.hmac-sha2_b64_false",
        None,
        "HS256; JSON form only, and its `sig` is that of the other example",
    ),
];

#[test]
fn cookbook() {
    let Some(corpora) = corpora() else { return };
    let mut table = "| example | compact form | what it is |\n|---|---|---|\n".to_owned();
    for (name, expected, what) in EXAMPLES {
        let example = json_file(&corpora.join(format!("jose-cookbook/{name}.json")));
        let compact = example.pointer("/output/compact").map(|compact| {
            let algorithm = Algorithm::of_name(example["input"]["alg"].as_str().unwrap());
            let keys = key_set(&public(&example["input"]["key"]), algorithm.as_slice().get(..1));
            keys.is_ok_and(|keys| accepts(&keys, compact.as_str().unwrap()))
        });
        assert_eq!(compact, expected, "{name}");
        let verdict = compact.map_or("none", |accepted| if accepted { "accepted" } else { "refused" });
        table.push_str(&format!("| {name} | {verdict} | {what} |\n"));
        if !name.starts_with("rfc7797") {
            signatures(name, &example);
        }
    }
    page::keep_true("cookbook", &table);
}

/// Every signature in an example, whatever its form: good as it is, and bad once changed.
fn signatures(name: &str, example: &Value) {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    let (keys, names) = (list(&example["input"]["key"]), list(&example["input"]["alg"]));
    for ((signing, key), alg) in list(&example["signing"]).iter().zip(&keys).zip(&names) {
        let Some(algorithm) = Algorithm::of_name(alg.as_str().unwrap()) else {
            assert_eq!(alg, "ES512", "{name}: the only algorithm that there is none of");
            assert!(
                key_set(&public(key), None).unwrap_err().contains("no usable key"),
                "{name}: a P-521 key"
            );
            continue;
        };
        let set = key_set(&public(key), Some(&[algorithm])).unwrap();
        let Find::Keys(found) = set.find(None, algorithm) else { panic!("{name}: no key for {alg}") };
        let text = signing["sig-input"].as_str().unwrap().as_bytes();
        let mut signature = decoded(signing["sig"].as_str().unwrap());
        assert!(verifies(found[0], algorithm, text, &signature), "{name}: {alg}");
        signature[7] ^= 1;
        assert!(!verifies(found[0], algorithm, text, &signature), "{name}: {alg}, changed");
    }
}

/// Without the members of RFC 7518 sections 6.2.2 and 6.3.2.
fn public(key: &Value) -> Value {
    let mut key = key.clone();
    for member in ["d", "p", "q", "dp", "dq", "qi"] {
        key.as_object_mut().unwrap().remove(member);
    }
    key
}

#[test]
fn keys_of_the_cookbook() {
    let Some(corpora) = corpora() else { return };
    let read =
        |name: &str| key_set(&json_file(&corpora.join(format!("jose-cookbook/jwk/{name}.json"))), None);
    let says = |name: &str| read(name).map(|_: KeySet| ()).unwrap_err();
    assert!(read("3_3.rsa_public_key").is_ok());
    assert!(read("3_5.symmetric_key_mac_computation").is_ok());
    assert!(says("3_1.ec_public_key").contains("no usable key"));
    assert!(says("3_6.symmetric_key_encryption").contains("no usable key"));
    for private in ["3_2.ec_private_key", "3_4.rsa_private_key"] {
        assert!(says(private).contains("private"), "{}", says(private));
    }
}
