use std::fmt;
use std::sync::{Arc, OnceLock};

use p256::ecdsa::signature::Signer;
use p256::elliptic_curve::Generate;
use rsa::pkcs1v15::SigningKey as Pkcs1v15;
use rsa::pkcs8::{EncodePublicKey, LineEnding};
use rsa::pss::BlindedSigningKey as Pss;
use rsa::rand_core::OsRng;
use rsa::sha2::digest::Digest;
use rsa::sha2::{Sha256, Sha512};
use rsa::signature::{RandomizedSigner, SignatureEncoding, Signer as _};
use rsa::traits::PublicKeyParts;
use rsa::{RsaPrivateKey, RsaPublicKey};
use serde_json::{Value, json};

use crate::token::base64url;
use crate::{Error, TokenBuilder};

/// Signature algorithms of RFC 7518 section 3.1 that tokens are minted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alg {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
}

impl Alg {
    /// The value of the `alg` header parameter.
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::ES256 => "ES256",
        }
    }
}

/// A throw-away RSA-2048 and P-256 key pair of one issuer.
///
/// The key ids are `rsa-N` and `ec-N` with the number the pairs were made with.
pub struct Keys {
    number: u32,
    rsa: RsaPrivateKey,
    ec: p256::ecdsa::SigningKey,
}

impl Keys {
    /// The pairs number 1, made once per process because an RSA key takes a noticeable while.
    pub fn shared() -> Result<Arc<Self>, Error> {
        static SHARED: OnceLock<Arc<Keys>> = OnceLock::new();
        if let Some(keys) = SHARED.get() {
            return Ok(Arc::clone(keys));
        }
        let made = Arc::new(Self::generate(1)?);
        Ok(Arc::clone(SHARED.get_or_init(|| made)))
    }

    /// New pairs. The number goes into the key ids only: equal ids with different keys are a case to test.
    pub fn generate(number: u32) -> Result<Self, Error> {
        let rsa = RsaPrivateKey::new(&mut OsRng, 2048).map_err(key_error("make an RSA key"))?;
        let ec = p256::ecdsa::SigningKey::generate();
        Ok(Self { number, rsa, ec })
    }

    /// The number the pairs were made with.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The id of the key that signs with this algorithm.
    pub fn kid(&self, alg: Alg) -> String {
        match alg {
            Alg::RS256 | Alg::RS512 | Alg::PS256 => format!("rsa-{}", self.number),
            Alg::ES256 => format!("ec-{}", self.number),
        }
    }

    /// The public key as a JWK (RFC 7517), with `kid`, `alg` and `use`.
    pub fn jwk(&self, alg: Alg) -> Value {
        let mut jwk = match alg {
            Alg::RS256 | Alg::RS512 | Alg::PS256 => json!({
                "kty": "RSA",
                "n": base64url(self.rsa.n().to_bytes_be()),
                "e": base64url(self.rsa.e().to_bytes_be()),
            }),
            Alg::ES256 => {
                let point = self.ec.verifying_key().to_sec1_point(false);
                json!({
                    "kty": "EC",
                    "crv": "P-256",
                    "x": base64url(point.x().map(|x| x.to_vec()).unwrap_or_default()),
                    "y": base64url(point.y().map(|y| y.to_vec()).unwrap_or_default()),
                })
            }
        };
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".into(), self.kid(alg).into());
            members.insert("alg".into(), alg.name().into());
            members.insert("use".into(), "sig".into());
        }
        jwk
    }

    /// Both public keys, as RS256 and ES256 keys.
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk(Alg::RS256), self.jwk(Alg::ES256)] })
    }

    /// The RSA public key as SubjectPublicKeyInfo in PEM. Also what an algorithm confusion attack takes as the
    /// secret of [`hs256`] (RFC 8725 section 2.1).
    pub fn rsa_public_pem(&self) -> Result<String, Error> {
        RsaPublicKey::from(&self.rsa)
            .to_public_key_pem(LineEnding::LF)
            .map_err(key_error("encode an RSA public key"))
    }

    /// Signs any bytes, in the form of a JWS signature: ES256 is the 64 bytes of R and S.
    pub fn sign(&self, alg: Alg, input: &[u8]) -> Result<Vec<u8>, Error> {
        let rsa = || self.rsa.clone();
        Ok(match alg {
            Alg::RS256 => Pkcs1v15::<Sha256>::new(rsa()).try_sign(input).map_err(key_error("sign"))?.to_vec(),
            Alg::RS512 => Pkcs1v15::<Sha512>::new(rsa()).try_sign(input).map_err(key_error("sign"))?.to_vec(),
            Alg::PS256 => Pss::<Sha256>::new(rsa())
                .try_sign_with_rng(&mut OsRng, input)
                .map_err(key_error("sign"))?
                .to_vec(),
            Alg::ES256 => {
                let signature: p256::ecdsa::Signature = self.ec.try_sign(input).map_err(key_error("sign"))?;
                signature.to_vec()
            }
        })
    }

    /// A token without an issuer, signed with these keys.
    pub fn token(self: &Arc<Self>) -> TokenBuilder {
        TokenBuilder::new(Arc::clone(self))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("number", &self.number).finish_non_exhaustive()
    }
}

fn key_error<E: fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Error {
    move |reason| Error::Key { what, reason: reason.to_string() }
}

/// HMAC-SHA-256 (RFC 2104): the signature of a token that claims `HS256`.
pub fn hs256(secret: &[u8], input: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 64;
    let mut key = if secret.len() > BLOCK { Sha256::digest(secret).to_vec() } else { secret.to_vec() };
    key.resize(BLOCK, 0);
    let pad = |with: u8| key.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(input).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}
