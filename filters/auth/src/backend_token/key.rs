//! Keys that sign: P-256 in the filter, RSA by Envoy's `sign`, because RSA takes the sandbox 5.6 ms.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use enforcer_core::{
    filter::Capabilities,
    host::{Hash, Host},
};
use p256::ecdsa::{self, signature::hazmat::PrehashSigner};
use serde_json::{Value, json};

use crate::{
    der::{self, Parts, Secret},
    pem::Block,
};

/// A private key.
pub(super) enum PrivateKey {
    P256(Box<ecdsa::SigningKey>),
    /// PKCS #8, and the two numbers of the public key.
    Rsa {
        pkcs8: Vec<u8>,
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

/// Says what kind of key it is, and never the key.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm())
    }
}

impl PrivateKey {
    /// Reads PKCS #8 in PEM.
    pub(super) fn read(pem: &str, capabilities: Capabilities) -> Result<Self, String> {
        let blocks = Block::all(pem)?;
        let [block] = blocks.as_slice() else {
            return Err(format!("{} blocks of PEM where one `PRIVATE KEY` should be", blocks.len()));
        };
        if block.label() != "PRIVATE KEY" {
            let label = block.label();
            return Err(format!(
                "a `{label}`, not a `PRIVATE KEY`; `openssl pkcs8 -topk8 -nocrypt` makes one of it"
            ));
        }
        let pkcs8 = block.decode().ok_or("not base64")?;
        match Secret::of_pkcs8(&pkcs8).ok_or("not a private key of P-256 or RSA in PKCS #8")? {
            Secret::P256(number) => {
                let key = ecdsa::SigningKey::from_slice(number).map_err(|_| "not a private key of P-256")?;
                Ok(Self::P256(Box::new(key)))
            }
            Secret::Rsa { .. } if !capabilities.sign => {
                Err("RSA needs Envoy 1.37 or later, whose `sign` does it: in the sandbox a signature would take 5.6 ms; \
                     give a key of P-256, for ES256"
                    .to_owned())
            }
            Secret::Rsa { n, .. } if der::trimmed(n).len() < 256 => {
                Err("an RSA key of less than 2048 bits".to_owned())
            }
            Secret::Rsa { n, e } => {
                let (n, e) = (der::trimmed(n).to_vec(), der::trimmed(e).to_vec());
                Ok(Self::Rsa { n, e, pkcs8 })
            }
        }
    }

    /// A certificate's `x5t` as WSO2 writes it: hexadecimal in base64url, where RFC 7515 section 4.1.7 has bytes. The
    /// certificate must be one of this key.
    pub(super) fn thumbprint(&self, pem: &str) -> Result<String, String> {
        let blocks = Block::all(pem)?;
        let certificate = blocks.iter().find(|block| block.label() == "CERTIFICATE");
        let der = certificate.and_then(Block::decode).ok_or("no `CERTIFICATE` in it, in PEM")?;
        let of_this = match (self, Parts::of_certificate(&der)) {
            (Self::P256(key), Ok(Parts::P256(point))) => {
                key.verifying_key().to_sec1_point(false).as_bytes() == point
            }
            (Self::Rsa { n, .. }, Ok(Parts::Rsa { n: certified, .. })) => n == certified,
            _ => false,
        };
        if !of_this {
            return Err("it is not of this private key".to_owned());
        }
        let digest = hmac_sha1_compact::Hash::hash(&der);
        let hexadecimal: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(URL_SAFE_NO_PAD.encode(hexadecimal))
    }

    /// Its `alg`.
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::Rsa { .. } => "RS256",
        }
    }

    /// As a JWS wants it (RFC 7518 section 3).
    pub(super) fn sign(&self, text: &[u8], host: &dyn Host) -> Option<Vec<u8>> {
        match self {
            Self::P256(key) => {
                let signature: ecdsa::Signature = key.sign_prehash(&hmac_sha256::Hash::hash(text)).ok()?;
                Some(signature.to_bytes().to_vec())
            }
            Self::Rsa { pkcs8, .. } => host.sign(Hash::Sha256, pkcs8, text),
        }
    }

    /// The public half (RFC 7517).
    pub(super) fn to_jwk(&self, kid: &str) -> Value {
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::P256(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                let coordinates = point.as_bytes().get(1..).unwrap_or_default();
                let (x, y) = coordinates.split_at_checked(32).unwrap_or_default();
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": number(x), "y": number(y)})
            }
            Self::Rsa { n, e, .. } => {
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": number(n), "e": number(e)})
            }
        }
    }
}
