//! Keys by name, `rsa-1` or `ed-2`: made when first asked for, the same for a whole run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use enforcer_testbed::{Alg, Certified, Keys, base64url};
use serde_json::{Map, Value, json};

use crate::Error;

/// A key pair out of the ring.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) keys: Arc<Keys>,
    /// What it signs with unless told otherwise.
    pub(crate) alg: Alg,
}

impl Key {
    /// Looks up `rsa-N`, `ec-N`, `p384-N`, `ed-N` or `oct-N`.
    pub(crate) fn named(name: &str) -> Result<Self, Error> {
        let unknown = || {
            Error::Case(format!(
                "`{name}` is no key: write `rsa-1`, `ec-1`, `p384-1`, `ed-1`, `oct-1`, `rsa-2`, ..."
            ))
        };
        let (kind, number) = name.split_once('-').ok_or_else(unknown)?;
        let alg = match kind {
            "rsa" => Alg::RS256,
            "ec" => Alg::ES256,
            "p384" => Alg::ES384,
            "ed" => Alg::EdDSA,
            "oct" => Alg::HS256,
            _ => return Err(unknown()),
        };
        Ok(Self { keys: pair(number.parse().map_err(|_| unknown())?)?, alg })
    }

    /// The public key (RFC 7517); of `oct` the secret.
    pub(crate) fn jwk(&self) -> Value {
        self.keys.jwk(self.alg)
    }

    /// The key in other forms, by the name of the form.
    pub(crate) fn in_form(&self, form: &str) -> Option<Result<Value, Error>> {
        let pem = match form {
            "jwk" => return Some(Ok(self.jwk())),
            "pem" => self.keys.public_pem(self.alg),
            "private_pem" => self.keys.private_pem(self.alg),
            "rsa_pem" => self.keys.rsa_pem(),
            "certificate" => self.keys.certificate_pem(self.alg, 2099),
            "expired_certificate" => self.keys.certificate_pem(self.alg, 2021),
            "client_certificate" | "one_line" | "percent_encoded" | "fingerprint" | "thumbprint" => {
                self.keys.certified().map(|certified| of_certificate(form, &certified))
            }
            _ => return None,
        };
        Some(pem.map(Value::String).map_err(Error::from))
    }

    /// Whether its signatures are made and checked with one secret.
    pub(crate) fn is_symmetric(&self) -> bool {
        matches!(self.alg, Alg::HS256 | Alg::HS384 | Alg::HS512)
    }
}

/// The certificate that a client with this key shows: as PEM, in one line, percent-encoded, or its SHA-256 in
/// hexadecimal or base64url.
fn of_certificate(form: &str, certified: &Certified) -> String {
    let bytes = certified.fingerprint();
    match form {
        "one_line" => certified.pem().replace('\n', ""),
        "percent_encoded" => certified
            .pem()
            .bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect(),
        "fingerprint" => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        "thumbprint" => base64url(bytes),
        _ => certified.pem(),
    }
}

fn pair(number: u32) -> Result<Arc<Keys>, Error> {
    static RING: Mutex<BTreeMap<u32, Arc<Keys>>> = Mutex::new(BTreeMap::new());
    // Held while a key is made, so that two hosts never make two of one number.
    let mut ring = RING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(keys) = ring.get(&number) {
        return Ok(Arc::clone(keys));
    }
    let keys = if number == 1 { Keys::shared()? } else { Arc::new(Keys::generate(number)?) };
    ring.insert(number, Arc::clone(&keys));
    Ok(keys)
}

/// A key set (RFC 7517 section 5) from its entries: the name of a key, or an object. An object with `key` is that
/// key with the other members set (`null`: removed); any other object goes in as it is.
pub(crate) fn key_set(entries: &[Value]) -> Result<Value, Error> {
    let keys = entries.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "keys": keys }))
}

fn entry(entry: &Value) -> Result<Value, Error> {
    let jwk = |name: &str| Key::named(name).map(|key| key.jwk());
    match entry {
        Value::String(name) => jwk(name),
        Value::Object(members) => match members.get("key").and_then(Value::as_str) {
            Some(name) => Ok(changed(jwk(name)?, members)),
            None => Ok(entry.clone()),
        },
        other => Ok(other.clone()),
    }
}

fn changed(mut jwk: Value, changes: &Map<String, Value>) -> Value {
    if let Some(members) = jwk.as_object_mut() {
        members.extend(changes.clone());
        members.retain(|name, value| name != "key" && !value.is_null());
    }
    jwk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_names_changes_or_anything() {
        let set = key_set(&[
            json!("ec-1"),
            json!({ "key": "rsa-1", "kid": "other", "use": null }),
            json!({ "kty": "oct" }),
            json!(5),
        ])
        .unwrap();
        assert_eq!((&set["keys"][0]["kid"], &set["keys"][0]["kty"]), (&json!("ec-1"), &json!("EC")));
        assert_eq!((&set["keys"][1]["kid"], set["keys"][1].get("use")), (&json!("other"), None));
        assert_eq!((&set["keys"][2], &set["keys"][3]), (&json!({ "kty": "oct" }), &json!(5)));
        assert!(key_set(&[json!("dsa-1")]).unwrap_err().to_string().contains("`dsa-1`"));
    }
}
