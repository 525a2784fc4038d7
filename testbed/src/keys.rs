use std::fmt;
use std::sync::{Arc, OnceLock};

use p256::ecdsa::signature::Signer;
use p256::elliptic_curve::Generate;
use rsa::pkcs1v15::SigningKey as Pkcs1v15;
use rsa::pss::BlindedSigningKey as Pss;
use rsa::rand_core::{OsRng, RngCore};
use rsa::sha2::digest::Digest;
use rsa::sha2::{Sha256, Sha384, Sha512};
use rsa::signature::{RandomizedSigner, SignatureEncoding, Signer as _};
use rsa::traits::PublicKeyParts;
use rsa::{RsaPrivateKey, RsaPublicKey};
use serde_json::{Value, json};

use crate::token::base64url;
use crate::{Error, TokenBuilder};

/// Signature algorithms that tokens are minted with (RFC 7518 section 3.1, RFC 8037), by their `alg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what its name says in the RFC")]
pub enum Alg {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    /// On Ed25519.
    EdDSA,
    HS256,
    HS384,
    HS512,
}

impl Alg {
    const ALL: [(Self, &'static str); 12] = [
        (Self::RS256, "RS256"),
        (Self::RS384, "RS384"),
        (Self::RS512, "RS512"),
        (Self::PS256, "PS256"),
        (Self::PS384, "PS384"),
        (Self::PS512, "PS512"),
        (Self::ES256, "ES256"),
        (Self::ES384, "ES384"),
        (Self::EdDSA, "EdDSA"),
        (Self::HS256, "HS256"),
        (Self::HS384, "HS384"),
        (Self::HS512, "HS512"),
    ];

    /// The value of the `alg` header parameter.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(alg, _)| *alg == self).map_or("", |(_, name)| name)
    }

    /// The algorithm of this `alg`.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(alg, _)| *alg)
    }

    /// What a key id begins with.
    fn kind(self) -> &'static str {
        match self {
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => "rsa",
            Self::ES256 => "ec",
            Self::ES384 => "p384",
            Self::EdDSA => "ed",
            Self::HS256 | Self::HS384 | Self::HS512 => "oct",
        }
    }
}

/// Throw-away keys of one issuer: RSA-2048, P-256, P-384, Ed25519, and a secret of 64 bytes.
///
/// The key ids are `rsa-N`, `ec-N`, `p384-N`, `ed-N` and `oct-N` with the number the keys were made with.
pub struct Keys {
    number: u32,
    pub(crate) rsa: RsaPrivateKey,
    pub(crate) p256: p256::ecdsa::SigningKey,
    pub(crate) p384: p384::ecdsa::SigningKey,
    pub(crate) ed: ed25519_compact::KeyPair,
    secret: [u8; 64],
}

impl Keys {
    /// The keys number 1, made once per process because an RSA key takes a noticeable while.
    pub fn shared() -> Result<Arc<Self>, Error> {
        static SHARED: OnceLock<Arc<Keys>> = OnceLock::new();
        if let Some(keys) = SHARED.get() {
            return Ok(Arc::clone(keys));
        }
        let made = Arc::new(Self::generate(1)?);
        Ok(Arc::clone(SHARED.get_or_init(|| made)))
    }

    /// New keys. The number goes into the key ids only: equal ids with different keys are a case to test.
    pub fn generate(number: u32) -> Result<Self, Error> {
        let mut secret = [0; 64];
        OsRng.try_fill_bytes(&mut secret).map_err(key_error("make a secret"))?;
        Ok(Self {
            number,
            rsa: RsaPrivateKey::new(&mut OsRng, 2048).map_err(key_error("make an RSA key"))?,
            p256: p256::ecdsa::SigningKey::generate(),
            p384: p384::ecdsa::SigningKey::generate(),
            ed: ed25519_compact::KeyPair::generate(),
            secret,
        })
    }

    /// The number the keys were made with.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The id of the key that signs with this algorithm.
    pub fn kid(&self, alg: Alg) -> String {
        format!("{}-{}", alg.kind(), self.number)
    }

    /// The public key as a JWK (RFC 7517), with `kid`, `alg` and `use`; of HS* the secret itself.
    pub fn jwk(&self, alg: Alg) -> Value {
        let mut jwk = match alg {
            Alg::RS256 | Alg::RS384 | Alg::RS512 | Alg::PS256 | Alg::PS384 | Alg::PS512 => json!({
                "kty": "RSA",
                "n": base64url(self.rsa.n().to_bytes_be()),
                "e": base64url(self.rsa.e().to_bytes_be()),
            }),
            Alg::ES256 => point_jwk("P-256", self.p256.verifying_key().to_sec1_point(false).as_bytes()),
            Alg::ES384 => point_jwk("P-384", self.p384.verifying_key().to_sec1_point(false).as_bytes()),
            Alg::EdDSA => json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(*self.ed.pk) }),
            Alg::HS256 | Alg::HS384 | Alg::HS512 => json!({ "kty": "oct", "k": base64url(self.secret) }),
        };
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".into(), self.kid(alg).into());
            members.insert("alg".into(), alg.name().into());
            members.insert("use".into(), "sig".into());
        }
        jwk
    }

    /// What issuers publish most: the RSA and the P-256 key, as RS256 and ES256 keys.
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk(Alg::RS256), self.jwk(Alg::ES256)] })
    }

    pub(crate) fn rsa_public(&self) -> RsaPublicKey {
        RsaPublicKey::from(&self.rsa)
    }

    /// Signs any bytes, in the form of a JWS signature: those of ES* are R and S.
    pub fn sign(&self, alg: Alg, input: &[u8]) -> Result<Vec<u8>, Error> {
        let rsa = || self.rsa.clone();
        Ok(match alg {
            Alg::RS256 => Pkcs1v15::<Sha256>::new(rsa()).try_sign(input).map_err(key_error("sign"))?.to_vec(),
            Alg::RS384 => Pkcs1v15::<Sha384>::new(rsa()).try_sign(input).map_err(key_error("sign"))?.to_vec(),
            Alg::RS512 => Pkcs1v15::<Sha512>::new(rsa()).try_sign(input).map_err(key_error("sign"))?.to_vec(),
            Alg::PS256 => pss(&Pss::<Sha256>::new(rsa()), input)?,
            Alg::PS384 => pss(&Pss::<Sha384>::new(rsa()), input)?,
            Alg::PS512 => pss(&Pss::<Sha512>::new(rsa()), input)?,
            Alg::ES256 => {
                let signature: p256::ecdsa::Signature =
                    self.p256.try_sign(input).map_err(key_error("sign"))?;
                signature.to_vec()
            }
            Alg::ES384 => {
                let signature: p384::ecdsa::Signature =
                    self.p384.try_sign(input).map_err(key_error("sign"))?;
                signature.to_vec()
            }
            Alg::EdDSA => self.ed.sk.sign(input, None).to_vec(),
            Alg::HS256 | Alg::HS384 | Alg::HS512 => hmac(alg, &self.secret, input),
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

/// From an uncompressed point: a byte, then both coordinates (SEC 1 section 2.3.3).
fn point_jwk(curve: &str, point: &[u8]) -> Value {
    let (_, coordinates) = point.split_first().unwrap_or((&0, &[]));
    let (x, y) = coordinates.split_at_checked(coordinates.len() / 2).unwrap_or_default();
    json!({ "kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y) })
}

fn pss(key: &impl RandomizedSigner<rsa::pss::Signature>, input: &[u8]) -> Result<Vec<u8>, Error> {
    Ok(key.try_sign_with_rng(&mut OsRng, input).map_err(key_error("sign"))?.to_vec())
}

pub(crate) fn key_error<E: fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Error {
    move |reason| Error::Key { what, reason: reason.to_string() }
}

/// HMAC (RFC 2104) with any secret: the signature of a token that claims `HS256`, `HS384` or `HS512`. An algorithm
/// confusion attack takes a public key for the secret (RFC 8725 section 2.1). Of another algorithm: with SHA-256.
pub fn hmac(alg: Alg, secret: &[u8], input: &[u8]) -> Vec<u8> {
    match alg {
        Alg::HS384 => hmac_with::<Sha384>(128, secret, input),
        Alg::HS512 => hmac_with::<Sha512>(128, secret, input),
        _ => hmac_with::<Sha256>(64, secret, input),
    }
}

fn hmac_with<D: Digest>(block: usize, secret: &[u8], input: &[u8]) -> Vec<u8> {
    let mut key = if secret.len() > block { D::digest(secret).to_vec() } else { secret.to_vec() };
    key.resize(block, 0);
    let pad = |with: u8| key.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let inner = D::new().chain_update(pad(0x36)).chain_update(input).finalize();
    D::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}
