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
                Ok(key) if keys.iter().any(|other| other.kid == key.kid && other.same_type(&key)) => {
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

    fn same_type(&self, other: &Self) -> bool {
        self.algorithm() == other.algorithm()
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
