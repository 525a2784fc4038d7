use base64::Engine as _;
use base64::alphabet;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{NO_PAD, URL_SAFE_NO_PAD};
use p256::ecdsa::signature::Verifier as _;
use rsa::sha2::Sha256;
use rsa::signature::Verifier as _;
use rsa::{BigUint, RsaPublicKey};
use serde_json::Value;

/// The alphabet of RFC 4648 section 4, without padding: WSO2's `base64`.
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, NO_PAD);

/// One part of a token, in base64url or, as WSO2 can be told to write it, in base64; without padding either way.
pub fn token_part(token: &str, index: usize) -> Option<Vec<u8>> {
    let part = token.split('.').nth(index)?;
    URL_SAFE_NO_PAD.decode(part).or_else(|_| BASE64.decode(part)).ok()
}

/// Whether the key that a token names is in a set, says that it signs, and has signed this token: ES256 or RS256. What is
/// wrong, if not. None of our own filters has a part in it.
pub fn check_signature(key_set: &Value, token: &str) -> Result<(), String> {
    let header: Value = token_part(token, 0)
        .and_then(|header| serde_json::from_slice(&header).ok())
        .ok_or("the token has no header")?;
    let member = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| format!("no `{name}`"))
    };
    let (kid, alg) = (member(&header, "kid")?, member(&header, "alg")?);
    let keys = key_set.get("keys").and_then(Value::as_array).ok_or("there are no keys in the set")?;
    let key = keys.iter().find(|key| member(key, "kid").as_ref() == Ok(&kid));
    let key = key.ok_or_else(|| format!("the set has no key `{kid}`"))?;
    if member(key, "use")? != "sig" || member(key, "alg")? != alg {
        return Err(format!("the key `{kid}` is for something else"));
    }
    let (signed, _) = token.rsplit_once('.').ok_or("the token has no signature")?;
    let signature = token_part(token, 2).ok_or("the signature is not base64")?;
    let number = |name: &str| {
        URL_SAFE_NO_PAD.decode(member(key, name)?).map_err(|_| format!("`{name}` is not base64url"))
    };
    let good = match (&*member(key, "kty")?, &*alg) {
        ("EC", "ES256") => {
            let point = [&[4][..], &number("x")?, &number("y")?].concat();
            let key =
                p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).map_err(|error| error.to_string())?;
            let signature =
                p256::ecdsa::Signature::from_slice(&signature).map_err(|error| error.to_string())?;
            key.verify(signed.as_bytes(), &signature).is_ok()
        }
        ("RSA", "RS256") => {
            let (n, e) = (BigUint::from_bytes_be(&number("n")?), BigUint::from_bytes_be(&number("e")?));
            let key = RsaPublicKey::new(n, e).map_err(|error| error.to_string())?;
            let signature =
                rsa::pkcs1v15::Signature::try_from(&*signature).map_err(|error| error.to_string())?;
            rsa::pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(signed.as_bytes(), &signature).is_ok()
        }
        (kind, _) => return Err(format!("a key of `{kind}` for `{alg}`")),
    };
    if good { Ok(()) } else { Err("the signature does not fit".to_owned()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Alg, Keys};

    #[test]
    fn a_signature_is_of_its_key_alone() {
        let (keys, others) = (Keys::shared().unwrap(), Keys::generate(1).unwrap());
        for alg in [Alg::ES256, Alg::RS256] {
            let token = keys.token().alg(alg).sign().unwrap();
            assert_eq!(check_signature(&keys.jwks(), &token), Ok(()));
            assert!(check_signature(&json!({"keys": [others.jwk(alg)]}), &token).is_err());
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let other = keys.token().alg(alg).claim("a", 1).sign().unwrap();
            let mixed = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
            assert!(
                mixed != format!("{signed}.{signature}") && check_signature(&keys.jwks(), &mixed).is_err()
            );
        }
    }
}
