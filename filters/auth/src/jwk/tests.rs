#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use std::slice;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use enforcer_core::{host::Hash, native::NativeHost};
use serde_json::json;

use super::{
    samples::{ed25519, oct, p256, rsa, rsa_private, with},
    *,
};
use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, RS256, RS512};

fn read_as(keys: &[Value], origin: Origin, allowed: Option<&[Algorithm]>) -> Result<KeySet, String> {
    KeySet::read(json!({ "keys": keys }).to_string().as_bytes(), origin, allowed)
}

fn read(keys: &[Value]) -> Result<KeySet, String> {
    read_as(keys, Origin::Inline, None)
}

fn refused(key: Value) -> String {
    read(&[key]).unwrap_err()
}

/// The algorithms of a key that is alone in its set.
fn algorithms(key: Value, allowed: &[Algorithm]) -> Vec<Algorithm> {
    let allowed = (!allowed.is_empty()).then_some(allowed);
    read_as(&[key], Origin::Inline, allowed).unwrap().keys.remove(0).algorithms
}

fn found(set: &KeySet, kid: Option<&str>, algorithm: Algorithm) -> String {
    match set.find(kid, algorithm) {
        Find::Keys(keys) => keys.len().to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_token_names_its_key() {
    let set =
        read(&[with(p256(), &json!({"kid": "1"})), with(rsa(), &json!({"kid": "2"})), ed25519()]).unwrap();
    assert_eq!(found(&set, Some("1"), ES256), "1");
    assert_eq!(found(&set, Some("2"), RS256), "1");
    assert_eq!(found(&set, Some("2"), PS256), "WrongAlgorithm");
    assert_eq!(found(&set, Some("2"), ES256), "WrongAlgorithm");
    assert_eq!(found(&set, Some("3"), ES256), "Unknown");
    assert_eq!(found(&set, Some("3"), EdDSA), "Unknown", "a key without a name has no other either");
    assert_eq!(found(&set, None, EdDSA), "1");
    assert_eq!(found(&set, None, ES384), "Unknown");
}

#[test]
fn without_a_kid_only_a_single_key_will_do() {
    let one = read(&[with(p256(), &json!({"kid": "1"})), rsa()]).unwrap();
    assert_eq!(found(&one, None, ES256), "1");
    let two = read(&[with(p256(), &json!({"kid": "1"})), with(p256(), &json!({"kid": "2"}))]).unwrap();
    assert_eq!(found(&two, None, ES256), "Ambiguous");
    assert_eq!(found(&read(&[p256(), p256()]).unwrap(), None, ES256), "Ambiguous");
}

#[test]
fn a_key_is_pinned_to_its_alg() {
    assert_eq!(algorithms(with(rsa(), &json!({"alg": "PS256"})), &[]), [PS256]);
    assert_eq!(algorithms(with(rsa(), &json!({"alg": "PS256"})), &[RS256, PS256]), [PS256]);
    let problem =
        read_as(&[with(rsa(), &json!({"alg": "PS256"}))], Origin::Inline, Some(&[RS256])).unwrap_err();
    assert!(problem.contains("the issuer's `algorithms` have none for this RSA key"), "{problem}");
    assert!(
        refused(with(rsa(), &json!({"alg": "ES256"}))).contains("`alg` is `ES256`, and this is a RSA key")
    );
    assert!(refused(with(p256(), &json!({"alg": "ES384"}))).contains("`alg` is `ES384`"));
    assert!(refused(with(oct(64), &json!({"alg": "RS256"}))).contains("`alg` is `RS256`"));
}

#[test]
fn a_key_without_alg_is_pinned_by_its_type_and_the_issuers_list() {
    assert_eq!(algorithms(rsa(), &[]), [RS256]);
    assert_eq!(algorithms(p256(), &[]), [ES256]);
    assert_eq!(algorithms(ed25519(), &[]), [EdDSA]);
    assert!(refused(oct(64)).contains("a symmetric key needs an `alg`"));
    assert_eq!(algorithms(rsa(), &[PS256, ES256, RS512, HS256]), [PS256, RS512]);
    assert_eq!(algorithms(oct(64), &[HS384, ES256, HS512]), [HS384, HS512]);
}

#[test]
fn secrets_are_as_long_as_the_hash() {
    assert_eq!(algorithms(with(oct(32), &json!({"alg": "HS256"})), &[]), [HS256]);
    assert!(refused(with(oct(31), &json!({"alg": "HS256"}))).contains("shorter than"));
    assert!(refused(with(oct(63), &json!({"alg": "HS512"}))).contains("shorter than"));
    assert_eq!(algorithms(oct(48), &[HS256, HS384, HS512]), [HS256, HS384]);
    assert!(read_as(&[oct(16)], Origin::Inline, Some(&[HS256])).unwrap_err().contains("shorter than"));
}

#[test]
fn secrets_keep_to_themselves() {
    let secret = with(oct(32), &json!({"alg": "HS256"}));
    let problem = read(&[rsa(), secret.clone()]).unwrap_err();
    assert!(problem.contains("symmetric keys beside others"), "{problem}");
    assert!(read_as(&[rsa(), secret.clone()], Origin::Remote, None).is_err());
    assert!(read_as(slice::from_ref(&secret), Origin::Remote, None).unwrap_err().contains("belongs inline"));
    assert!(!format!("{:?}", read(&[secret]).unwrap()).contains("7, 7"), "a secret is not shown");
}

#[test]
fn what_is_meant_for_something_else_is_passed_over() {
    let others = [
        json!({"kty": "EC", "crv": "P-521", "x": "AQ", "y": "AQ"}),
        json!({"kty": "EC", "crv": "secp256k1", "x": "AQ", "y": "AQ"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AQ"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AQ"}),
        with(p256(), &json!({"use": "enc"})),
        with(p256(), &json!({"key_ops": ["sign"]})),
        with(p256(), &json!({"key_ops": []})),
        with(p256(), &json!({"use": "sig", "key_ops": ["deriveKey"]})),
        with(p256(), &json!({"alg": "ES512"})),
        with(rsa(), &json!({"alg": "RSA-OAEP"})),
        with(rsa(), &json!({"alg": "none"})),
    ];
    let all: Vec<_> = others.iter().cloned().chain([p256()]).collect();
    let set = read(&all).unwrap();
    assert_eq!(set.keys.len(), 1);
    assert!(set.faults().is_empty());
    for other in others {
        assert!(refused(other).starts_with("no usable key: keys[0]: "));
    }
}

#[test]
fn what_a_key_is_for_may_be_said_in_full() {
    let key = with(
        p256(),
        &json!({"use": "sig", "key_ops": ["sign", "verify"], "alg": "ES256", "x5c": [], "kid": null}),
    );
    assert_eq!(algorithms(key, &[]), [ES256]);
}

#[test]
fn faulty_keys_are_refused() {
    let short = with(rsa(), &json!({"n": "AQAB"}));
    let weak = "not an RSA key of 2048 to 4096 bits with exponent 65537";
    for (key, problem) in [
        (short.clone(), weak),
        (with(rsa(), &json!({"e": "Aw"})), weak),
        (with(p256(), &json!({"x": "AQ"})), "`x` and `y` on this curve have 32 bytes each"),
        (with(p256(), &json!({"y": p256()["x"]})), "not an uncompressed point on P-256"),
        (with(ed25519(), &json!({"x": "AQ"})), "not a point on Ed25519"),
        (with(ed25519(), &json!({"x": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"})), "small order"),
        (with(ed25519(), &json!({"x": "7f________________________________________38"})), "canonical form"),
        (with(p256(), &json!({"x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU="})), "without padding"),
        (json!({"kty": "RSA", "e": "AQAB"}), "`n` is missing"),
        (json!({"kty": "EC", "x": "AQ", "y": "AQ"}), "`crv` is missing"),
        (json!({"kid": "a"}), "`kty` is missing"),
        (with(p256(), &json!({"use": 7})), "`use` is not a string"),
        (with(p256(), &json!({"key_ops": "verify"})), "`key_ops` is not an array"),
        (json!("a key"), "not an object"),
    ] {
        let message = refused(key.clone());
        assert!(message.starts_with("keys[0]: ") && message.contains(problem), "{message}");
        assert!(read(&[key.clone(), p256()]).is_err(), "a mistake in the configuration");
        let set = read_as(&[key, with(p256(), &json!({"kid": "good"}))], Origin::Remote, None).unwrap();
        assert_eq!((set.keys.len(), set.faults().len()), (1, 1), "a mistake of the issuer's");
        assert_eq!(set.faults()[0], message);
    }
    assert!(read_as(&[short], Origin::Remote, None).unwrap_err().starts_with("no usable key: keys[0]: "));
}

#[test]
fn a_private_key_is_nobodys_key() {
    for key in [rsa_private(), with(p256(), &json!({"d": "AQ"})), with(ed25519(), &json!({"d": "AQ"}))] {
        let problem = refused(key);
        assert!(
            problem.contains("`d` is there: this is a private key, known to all who can read it"),
            "{problem}"
        );
    }
    assert!(refused(with(rsa(), &json!({"use": "enc", "p": "AQ"}))).contains("`p` is there"));
}

#[test]
fn leading_zeros_of_a_modulus_do_not_count() {
    let padded = [&[0][..], &crate::token::decode(rsa()["n"].as_str().unwrap()).unwrap()].concat();
    let key = with(rsa(), &json!({"n": URL_SAFE_NO_PAD.encode(padded), "e": "AAEAAQ"}));
    assert_eq!(read(&[key]).unwrap().keys[0].spki, read(&[rsa()]).unwrap().keys[0].spki);
}

#[test]
fn two_keys_of_one_name_are_refused() {
    let named = |key| with(key, &json!({"kid": "a"}));
    assert_eq!(
        read(&[named(p256()), named(p256())]).unwrap_err(),
        "keys[1]: another key has the `kid` `a` already"
    );
    assert!(read(&[named(p256()), named(rsa())]).is_ok(), "the token's `alg` tells them apart");
    assert!(read_as(&[named(rsa()), named(rsa())], Origin::Remote, Some(&[RS256, PS256])).is_err());
    let either = [with(named(rsa()), &json!({"alg": "RS256"})), with(named(rsa()), &json!({"alg": "PS256"}))];
    assert!(read(&either).is_ok());
}

#[test]
fn what_is_no_key_set_is_refused() {
    let problem = |text: &str| KeySet::read(text.as_bytes(), Origin::Remote, None).unwrap_err();
    assert!(problem("{\"keys\":").starts_with("not JSON: EOF"));
    assert!(problem("{\"keys\":[],\"keys\":[]}").contains("a name twice"));
    assert!(problem("{\"keys\":[{\"kty\":\"RSA\",\"kty\":\"oct\"}]}").contains("a name twice"));
    assert!(problem(&format!("{{\"keys\":{}", "[".repeat(1000))).contains("recursion limit"));
    assert!(problem(&p256().to_string()).contains("`keys` is missing"));
    assert!(problem("{\"keys\":{}}").contains("`keys` is missing, or is not an array"));
    assert_eq!(problem("{\"keys\":[]}"), "there is no key in it");
    for neither in ["", "[]", "<html>", "null", "-----BEGIN"] {
        assert!(problem(neither).starts_with("neither a JSON object"), "{neither}");
    }
    assert!(KeySet::read(b"\xff", Origin::Remote, None).is_err());
}

#[test]
fn a_set_has_a_size() {
    let keys =
        |n: usize| (0..n).map(|kid| with(p256(), &json!({"kid": kid.to_string()}))).collect::<Vec<_>>();
    assert!(read(&keys(64)).is_ok());
    assert!(read(&keys(65)).unwrap_err().contains("65 keys; at most 64"));
    let long = with(p256(), &json!({"x5c": ["A".repeat(256 << 10)]}));
    assert!(refused(long).contains("at most 262144 are read"));
}

#[test]
fn keys_in_pem_have_no_names() {
    let pem = |key: &Value| {
        let spki = &read(slice::from_ref(key)).unwrap().keys[0].spki;
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(spki))
    };
    let read = |text: &str| KeySet::read(text.as_bytes(), Origin::Inline, None);
    let one = read(&pem(&p256())).unwrap();
    assert_eq!(found(&one, None, ES256), "1");
    assert_eq!(found(&one, Some("whatever"), ES256), "1");
    assert_eq!(found(&one, Some("whatever"), RS256), "Unknown");
    let six = [pem(&p256()).repeat(5), pem(&rsa()), pem(&ed25519())].concat();
    let six = read(&six).unwrap();
    assert_eq!(found(&six, None, ES256), "4", "as many as are tried");
    assert_eq!(found(&six, None, RS256), "1");
    assert_eq!(found(&six, None, EdDSA), "1");
}

#[test]
fn pem_that_is_of_no_use_is_refused() {
    let problem = |label: &str, content: &str| {
        let text = format!("-----BEGIN {label}-----\n{content}\n-----END {label}-----");
        KeySet::read(text.as_bytes(), Origin::Inline, None).unwrap_err()
    };
    for private in
        ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"]
    {
        assert_eq!(problem(private, "AAAA"), format!("there is a `{private}` in it: give public keys only"));
    }
    assert_eq!(problem("PUBLIC KEY", "?"), "PEM block 1 (`PUBLIC KEY`): not base64");
    assert!(problem("PUBLIC KEY", "AAAA").contains("not what its first line says"));
    assert!(problem("X509 CRL", "AAAA").starts_with("no usable key: PEM block 1 (`X509 CRL`): not a kind"));
}

#[test]
fn the_host_is_asked_in_its_own_form_and_believed() {
    let set = read(&[p256()]).unwrap();
    let host = NativeHost::new().with_verifier(|hash, key, signature, text| {
        assert_eq!((hash, key[0], key.len(), signature[0]), (Hash::Sha256, 0x30, 91, 0x30));
        text == b"good"
    });
    let key = &set.keys[0];
    let verify = |text: &[u8], signature: &[u8]| key.verify(ES256, &host, true, text, signature);
    assert_eq!(verify(b"good", &[1; 64]), (true, Checked::ByHost));
    assert_eq!(verify(b"bad", &[1; 64]), (false, Checked::ByHost));
    assert_eq!(verify(b"good", &[1; 63]), (false, Checked::ByHost), "never shown to the host");
    assert_eq!(verify(b"good", &[0; 64]), (false, Checked::ByHost), "never shown to the host");
}

#[test]
fn the_host_is_not_asked_what_it_cannot_tell() {
    let host = NativeHost::new().with_verifier(|hash, _, _, _| hash == Hash::Sha512);
    let verify = |key: Value, algorithm: Algorithm, by_host| {
        let set = read_as(&[key], Origin::Inline, Some(&[algorithm])).unwrap();
        let key = &set.keys[0];
        (key.verify(algorithm, &host, by_host, b"", &[1; 256]).1, key.weight(algorithm, by_host))
    };
    assert_eq!(verify(rsa(), RS512, true), (Checked::ByHost, 0));
    assert_eq!(verify(rsa(), RS512, false), (Checked::InRust, 1));
    assert_eq!(verify(rsa(), PS256, true), (Checked::InRust, 1));
    assert_eq!(verify(ed25519(), EdDSA, true), (Checked::InRust, 1));
    assert_eq!(verify(p256(), ES256, false), (Checked::InRust, 3));
    assert_eq!(verify(oct(64), HS512, true), (Checked::InRust, 0));
}

#[test]
fn a_host_without_the_function_is_done_without() {
    let set = read(&[p256()]).unwrap();
    let verdict = set.keys[0].verify(ES256, &NativeHost::new(), true, b"", &[1; 64]);
    assert_eq!(verdict, (false, Checked::InRust));
}

#[test]
fn no_signature_is_good_by_another_algorithm() {
    let host = NativeHost::new().with_verifier(|_, _, _, _| true);
    let key = &read(&[rsa()]).unwrap().keys[0];
    assert_eq!(key.verify(RS256, &host, true, b"", &[1; 256]), (true, Checked::ByHost));
    for other in [RS512, PS256, ES256, EdDSA, HS256] {
        assert_eq!(key.verify(other, &host, true, b"", &[1; 256]), (false, Checked::InRust));
    }
}
