//! Key sets (RFC 7517): which public keys an issuer signs with.

use enforcer_core::host::{Hash, Host};
use jwt_simple::algorithms::{ECDSAP256PublicKeyLike, ES256PublicKey, RS256PublicKey, RSAPublicKeyLike};
use serde::Deserialize;
use serde_json::Value;

use crate::{config::Algorithm, signature, token::decode};

/// The usable keys of an issuer.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// A public key, pinned to the one algorithm that it is used with.
#[derive(Debug)]
pub struct Key {
    kid: Option<String>,
    public: Public,
    /// Subject public key info in DER, for the host's verification.
    spki: Vec<u8>,
}

#[derive(Debug)]
enum Public {
    Rs256(Box<RS256PublicKey>),
    Es256(Box<ES256PublicKey>),
}

/// How a signature was checked; counted, so that an operator sees which way is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    ByHost,
    InRust,
}

impl Checked {
    /// The counter of this way.
    pub fn metric(self) -> &'static str {
        match self {
            Self::ByHost => "enforcer.auth.verify.host",
            Self::InRust => "enforcer.auth.verify.rust",
        }
    }
}

/// A key as a JWK has it. Members of other key types are ignored.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a key set. Keys of other types and uses are passed over, as RFC 7517 section 5 asks;
    /// a set without a usable key is an error, because it could verify nothing.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let set: Set = serde_json::from_slice(json)
            .map_err(|error| format!("not a key set `{{\"keys\": [...]}}`: {error}"))?;
        let mut keys: Vec<Key> = Vec::new();
        let mut last_problem = None;
        for (index, jwk) in set.keys.into_iter().enumerate() {
            match serde_json::from_value(jwk).map_err(|error| error.to_string()).and_then(Key::read) {
                Ok(key) if keys.iter().any(|other| other.is_twin_of(&key)) => {
                    let kid = key.kid.unwrap_or_default();
                    return Err(format!("keys[{index}]: another key has the `kid` `{kid}` already"));
                }
                Ok(key) => keys.push(key),
                Err(problem) => last_problem = Some(format!("keys[{index}]: {problem}")),
            }
        }
        if keys.is_empty() {
            let problem = last_problem.unwrap_or_else(|| "`keys` is empty".to_owned());
            return Err(format!("no usable key: {problem}"));
        }
        Ok(Self { keys })
    }

    /// The key for a token. Without a `kid`, only a set with a single key of that algorithm says which.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithm() == algorithm);
        match kid {
            Some(kid) => fitting.find(|key| key.kid.as_deref() == Some(kid)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }
}

impl Key {
    fn read(jwk: Jwk) -> Result<Self, String> {
        if jwk.r#use.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("`use` is not `sig`".to_owned());
        }
        if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err("`key_ops` does not allow `verify`".to_owned());
        }
        let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Self::rsa(&jwk)?,
            ("EC", Some("P-256")) => Self::p256(&jwk)?,
            (kty, crv) => {
                return Err(format!("key type `{kty}` {} is not supported", crv.unwrap_or_default()));
            }
        };
        let alg = key.algorithm().name();
        match jwk.alg.as_deref() {
            Some(other) if other != alg => Err(format!("`alg` is `{other}`; {alg} is supported")),
            _ => Ok(Self { kid: jwk.kid, ..key }),
        }
    }

    fn rsa(jwk: &Jwk) -> Result<Self, String> {
        let (n, e) = (member(&jwk.n, "n")?, member(&jwk.e, "e")?);
        let key = RS256PublicKey::from_components(&n, &e)
            .map_err(|_| "not an RSA key of 2048 to 4096 bits with exponent 65537".to_owned())?;
        let spki = key.to_der().map_err(|error| error.to_string())?;
        Ok(Self { kid: None, public: Public::Rs256(Box::new(key)), spki })
    }

    fn p256(jwk: &Jwk) -> Result<Self, String> {
        const UNCOMPRESSED: u8 = 4;
        let (x, y) = (member(&jwk.x, "x")?, member(&jwk.y, "y")?);
        if x.len() != 32 || y.len() != 32 {
            return Err("`x` and `y` of a P-256 key have 32 bytes each".to_owned());
        }
        let key = ES256PublicKey::from_bytes(&[&[UNCOMPRESSED][..], &x, &y].concat())
            .map_err(|_| "not a point on P-256".to_owned())?;
        let spki = key.public_key().to_der().map_err(|error| error.to_string())?;
        Ok(Self { kid: None, public: Public::Es256(Box::new(key)), spki })
    }

    fn algorithm(&self) -> Algorithm {
        match self.public {
            Public::Rs256(_) => Algorithm::RS256,
            Public::Es256(_) => Algorithm::ES256,
        }
    }

    /// A token could mean either. Keys without a `kid` are never meant by name.
    fn is_twin_of(&self, other: &Self) -> bool {
        self.kid.is_some() && self.kid == other.kid && self.algorithm() == other.algorithm()
    }

    /// Checks a signature: by the host where it can (ten to forty times faster), else in here.
    /// Both give the same verdict.
    pub fn verify(&self, host: &dyn Host, by_host: bool, text: &[u8], signature: &[u8]) -> (bool, Checked) {
        if by_host && let Some(verdict) = self.verify_by_host(host, text, signature) {
            return (verdict, Checked::ByHost);
        }
        let verdict = match &self.public {
            Public::Rs256(key) => signature::rs256(key.public_key(), text, signature),
            Public::Es256(key) => signature::es256(key.public_key(), text, signature),
        };
        (verdict, Checked::InRust)
    }

    fn verify_by_host(&self, host: &dyn Host, text: &[u8], signature: &[u8]) -> Option<bool> {
        match self.public {
            Public::Rs256(_) => host.verify_signature(Hash::Sha256, &self.spki, signature, text),
            Public::Es256(_) => match signature::ecdsa_der(signature, 32) {
                Some(der) => host.verify_signature(Hash::Sha256, &self.spki, &der, text),
                None => Some(false),
            },
        }
    }
}

impl Algorithm {
    /// The name in `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
        }
    }
}

fn member(value: &Option<String>, name: &str) -> Result<Vec<u8>, String> {
    let text = value.as_deref().ok_or_else(|| format!("`{name}` is missing"))?;
    decode(text).map_err(|_| format!("`{name}` is not base64url without padding"))
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use enforcer_core::native::NativeHost;
    use jwt_simple::{
        algorithms::{ECDSAP256KeyPairLike, ES256KeyPair},
        claims::Claims,
    };
    use serde_json::json;

    use super::*;

    /// From RFC 7515 appendix A.3.
    fn p256() -> Value {
        json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        })
    }

    /// From RFC 7515 appendix A.2.
    fn rsa() -> Value {
        json!({
            "kty": "RSA", "e": "AQAB",
            "n": concat!(
                "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR",
                "T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB",
                "dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia",
                "GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
            ),
        })
    }

    fn with(mut jwk: Value, members: &Value) -> Value {
        jwk.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        jwk
    }

    fn parse(keys: &[Value]) -> Result<KeySet, String> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn refused(keys: &[Value]) -> String {
        parse(keys).unwrap_err()
    }

    #[test]
    fn reads_the_keys_of_the_rfc() {
        let set = parse(&[with(p256(), &json!({"kid": "1"})), with(rsa(), &json!({"kid": "2"}))]).unwrap();
        assert!(set.find(Some("1"), Algorithm::ES256).is_some());
        assert!(set.find(Some("2"), Algorithm::RS256).is_some());
        assert!(set.find(Some("2"), Algorithm::ES256).is_none(), "a key has one algorithm");
        assert!(set.find(Some("3"), Algorithm::ES256).is_none());
    }

    #[test]
    fn without_a_kid_only_a_single_key_will_do() {
        let one = parse(&[with(p256(), &json!({"kid": "1"})), rsa()]).unwrap();
        assert!(one.find(None, Algorithm::ES256).is_some());
        let two = parse(&[with(p256(), &json!({"kid": "1"})), with(p256(), &json!({"kid": "2"}))]).unwrap();
        assert!(two.find(None, Algorithm::ES256).is_none());
    }

    #[test]
    fn passes_over_what_it_cannot_use() {
        let others = [
            json!({"kty": "oct", "k": "c2VjcmV0"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
            with(p256(), &json!({"use": "enc"})),
            with(p256(), &json!({"key_ops": ["sign"]})),
            with(p256(), &json!({"alg": "ES384"})),
            with(rsa(), &json!({"alg": "PS256"})),
            json!("not a key"),
        ];
        let all: Vec<_> = others.iter().cloned().chain([p256()]).collect();
        assert_eq!(parse(&all).unwrap().keys.len(), 1);
        for other in others {
            assert!(refused(&[other]).starts_with("no usable key: keys[0]: "));
        }
    }

    #[test]
    fn refuses_weak_and_broken_keys() {
        let problem = |jwk| refused(&[jwk]);
        assert!(problem(with(rsa(), &json!({"n": "AQAB"}))).contains("2048 to 4096 bits"));
        assert!(problem(with(rsa(), &json!({"e": "Aw"}))).contains("65537"));
        assert!(problem(with(p256(), &json!({"x": "AQ"}))).contains("32 bytes"));
        assert!(problem(with(p256(), &json!({"y": p256()["x"]}))).contains("not a point"));
        assert!(
            problem(with(p256(), &json!({"x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU="})))
                .contains("padding")
        );
        assert!(problem(json!({"kty": "RSA", "e": "AQAB"})).contains("`n` is missing"));
        assert!(refused(&[]).contains("`keys` is empty"));
        assert!(KeySet::parse(b"[]").unwrap_err().contains("not a key set"));
    }

    #[test]
    fn two_keys_of_one_name_are_refused() {
        let twins = [with(p256(), &json!({"kid": "a"})), with(p256(), &json!({"kid": "a"}))];
        assert_eq!(refused(&twins), "keys[1]: another key has the `kid` `a` already");
        assert!(parse(&[with(p256(), &json!({"kid": "a"})), with(rsa(), &json!({"kid": "a"}))]).is_ok());
        assert!(parse(&[p256(), p256()]).unwrap().find(None, Algorithm::ES256).is_none());
    }

    #[test]
    fn a_signature_fits_its_key_and_text_alone() {
        let pair = ES256KeyPair::generate();
        let token = pair.sign(Claims::create(coarsetime())).unwrap();
        let (text, signature) = token.rsplit_once('.').unwrap();
        let signature = decode(signature).unwrap();
        let set = KeySet::parse(format!("{{\"keys\":[{}]}}", pair.public_key().to_jwk()).as_bytes()).unwrap();
        let host = NativeHost::new();
        let verify =
            |text: &str, signature: &[u8]| set.keys[0].verify(&host, false, text.as_bytes(), signature);
        assert_eq!(verify(text, &signature), (true, Checked::InRust));
        assert_eq!(verify(text.get(1..).unwrap(), &signature), (false, Checked::InRust));
        assert_eq!(verify(text, &signature[1..]), (false, Checked::InRust));
        assert_eq!(verify(text, &[0; 64]), (false, Checked::InRust));
        assert_eq!(verify(text, &[]), (false, Checked::InRust));
    }

    fn coarsetime() -> jwt_simple::prelude::Duration {
        jwt_simple::prelude::Duration::from_hours(1)
    }

    #[test]
    fn the_host_is_asked_in_its_own_form_and_believed() {
        let set = parse(&[p256()]).unwrap();
        let host = NativeHost::new().with_verifier(|hash, key, signature, text| {
            assert_eq!((hash, key[0], key.len(), signature[0]), (Hash::Sha256, 0x30, 91, 0x30));
            text == b"good"
        });
        let verify = |text: &[u8], signature: &[u8]| set.keys[0].verify(&host, true, text, signature);
        assert_eq!(verify(b"good", &[1; 64]), (true, Checked::ByHost));
        assert_eq!(verify(b"bad", &[1; 64]), (false, Checked::ByHost));
        assert_eq!(verify(b"good", &[1; 63]), (false, Checked::ByHost), "never shown to the host");
    }
}
