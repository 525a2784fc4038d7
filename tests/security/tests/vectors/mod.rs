//! Public vectors, checked both ways: by the host's function and in Rust. Both must give the same verdict.
//!
//! The host is played by ring, whose arithmetic is that of BoringSSL, which Envoy has too: nothing of it is in the filter.

mod cookbook;
mod host;
mod wycheproof;

use std::{fs, path::PathBuf};

use enforcer_auth::{
    config::Algorithm,
    jwk::{Checked, Find, Key, KeySet, Origin},
    token::{Form, Jws},
};
use serde_json::{Value, json};

/// The folder of public test data, if there is one at hand.
pub(crate) fn corpora() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("ENFORCER_CORPORA").filter(|folder| !folder.is_empty()) else {
        println!("skipped: ENFORCER_CORPORA is not set");
        return None;
    };
    let folder = PathBuf::from(folder);
    assert!(folder.is_dir(), "ENFORCER_CORPORA is `{}`, which is no folder", folder.display());
    Some(folder)
}

fn json_file(path: &PathBuf) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

/// A set of one key, or the set that it is.
fn key_set(written: &Value, allowed: Option<&[Algorithm]>) -> Result<KeySet, String> {
    let set = if written.get("keys").is_some() { written.clone() } else { json!({"keys": [written]}) };
    KeySet::read(set.to_string().as_bytes(), Origin::Inline, allowed)
}

/// Whether a JWS is signed by one of these keys, as a token would have to be; its payload may be anything.
fn accepts(keys: &KeySet, jws: &str) -> bool {
    let Ok(jws) = Jws::parse(jws, Form::Strict) else { return false };
    let Some(algorithm) = Algorithm::of_name(&jws.header.alg) else { return false };
    match keys.find(jws.header.kid.as_deref(), algorithm) {
        Find::Keys(keys) => {
            keys.iter().any(|key| verifies(key, algorithm, jws.signed.as_bytes(), &jws.signature))
        }
        Find::WrongAlgorithm | Find::Ambiguous | Find::Unknown => false,
    }
}

/// The verdict on a signature, both ways.
fn verifies(key: &Key, algorithm: Algorithm, text: &[u8], signature: &[u8]) -> bool {
    let host = host::boringssl();
    let (in_rust, checked) = key.verify(algorithm, &host, false, text, signature);
    assert_eq!(checked, Checked::InRust);
    let (by_host, checked) = key.verify(algorithm, &host, true, text, signature);
    let expected = if host::checks(algorithm) { Checked::ByHost } else { Checked::InRust };
    assert_eq!(checked, expected, "{algorithm:?}");
    assert_eq!(in_rust, by_host, "{algorithm:?}: Rust says {in_rust}, the host {by_host}");
    in_rust
}
