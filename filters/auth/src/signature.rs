//! Signatures, each by its own algorithm (RFC 7518 section 3, RFC 8037 section 3.1).

use std::{borrow::Cow, fmt};

use enforcer_core::host::Hash;
use jwt_simple::algorithms::{HS256Key, HS384Key, HS512Key, MACLike};
use p256::{ecdsa::signature::hazmat::PrehashVerifier, elliptic_curve::subtle::ConstantTimeEq};

use crate::{
    config::Algorithm,
    der::{self, Parts},
};

mod rsa;

/// Bytes of each of the two numbers of a point, and of a signature, on the curve.
const P256: usize = 32;
const P384: usize = 48;
/// The first byte of a point that comes with both of its numbers (SEC 1 section 2.3.3).
pub const UNCOMPRESSED: u8 = 4;

/// What a key consists of.
pub enum Material {
    Rsa(rsa::PublicKey),
    P256(Box<p256::ecdsa::VerifyingKey>),
    P384(Box<p384::ecdsa::VerifyingKey>),
    Ed25519(ed25519_compact::PublicKey),
    /// Known to the issuer and to us alone.
    Secret(Vec<u8>),
}

/// Says what kind of key it is, and never a secret.
impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Material {
    /// A public key, if it is a sound one.
    pub fn public(parts: Parts<'_>) -> Result<Self, &'static str> {
        match parts {
            Parts::Rsa { n, e } => rsa::PublicKey::new(n, e)
                .map(Self::Rsa)
                .ok_or("not an RSA key of 2048 to 4096 bits with exponent 65537"),
            Parts::P256(point) => uncompressed(point, P256)
                .and_then(|point| p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok())
                .map(|key| Self::P256(Box::new(key)))
                .ok_or("not an uncompressed point on P-256"),
            Parts::P384(point) => uncompressed(point, P384)
                .and_then(|point| p384::ecdsa::VerifyingKey::from_sec1_bytes(point).ok())
                .map(|key| Self::P384(Box::new(key)))
                .ok_or("not an uncompressed point on P-384"),
            Parts::Ed25519(point) => ed25519_compact::PublicKey::from_slice(point)
                .and_then(|key| key.validate().map(|()| Self::Ed25519(key)))
                .map_err(|_| "not a point on Ed25519 in its canonical form, or one of small order"),
        }
    }

    /// For messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RSA",
            Self::P256(_) => "P-256",
            Self::P384(_) => "P-384",
            Self::Ed25519(_) => "Ed25519",
            Self::Secret(_) => "symmetric",
        }
    }

    /// Whether the algorithm is one for such keys.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
        match self {
            Self::Rsa(_) => matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
            Self::P256(_) => algorithm == ES256,
            Self::P384(_) => algorithm == ES384,
            Self::Ed25519(_) => algorithm == EdDSA,
            Self::Secret(_) => matches!(algorithm, HS256 | HS384 | HS512),
        }
    }

    /// Whether a secret has the length that the algorithm asks for (RFC 7518 section 3.2). Public keys were
    /// measured when they were read.
    pub fn is_strong_enough(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Secret(secret) => secret.len() >= size(hash(algorithm)),
            _ => true,
        }
    }

    /// What such keys are used with where nobody says otherwise. Of secrets, somebody must.
    pub fn usual(&self) -> Option<Algorithm> {
        match self {
            Self::Rsa(_) => Some(Algorithm::RS256),
            Self::P256(_) => Some(Algorithm::ES256),
            Self::P384(_) => Some(Algorithm::ES384),
            Self::Ed25519(_) => Some(Algorithm::EdDSA),
            Self::Secret(_) => None,
        }
    }

    /// Whether `signature` is this key's on `text`, by an algorithm that [fits](Self::fits) it.
    pub fn verify(&self, algorithm: Algorithm, text: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa(key) => key.verify(algorithm, text, signature),
            Self::P256(key) => p256::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| {
                let digest = digest(Hash::Sha256, text);
                key.verify_prehash(&digest, &signature).is_ok()
            }),
            Self::P384(key) => p384::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| {
                let digest = digest(Hash::Sha384, text);
                key.verify_prehash(&digest, &signature).is_ok()
            }),
            Self::Ed25519(key) => ed25519_compact::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(text, &signature).is_ok()),
            Self::Secret(secret) => {
                let tag = match hash(algorithm) {
                    Hash::Sha256 => HS256Key::from_bytes(secret).authentication_tag(text),
                    Hash::Sha384 => HS384Key::from_bytes(secret).authentication_tag(text),
                    Hash::Sha512 => HS512Key::from_bytes(secret).authentication_tag(text),
                };
                tag.ct_eq(signature).into()
            }
        }
    }

    /// The signature as `verify_signature` takes it: DER for ECDSA. `None`: it cannot be one of this key's.
    pub fn for_host<'a>(&self, signature: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Rsa(key) => (signature.len() == key.size()).then_some(Cow::Borrowed(signature)),
            Self::P256(_) => ecdsa_der(signature, P256).map(Cow::Owned),
            Self::P384(_) => ecdsa_der(signature, P384).map(Cow::Owned),
            Self::Ed25519(_) | Self::Secret(_) => None,
        }
    }
}

/// Whether a host that has `verify_signature` can check such signatures.
pub fn is_for_host(algorithm: Algorithm) -> bool {
    use Algorithm::{ES256, ES384, RS256, RS384, RS512};
    matches!(algorithm, RS256 | RS384 | RS512 | ES256 | ES384)
}

/// The hash function of an algorithm.
pub fn hash(algorithm: Algorithm) -> Hash {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
    match algorithm {
        RS256 | PS256 | ES256 | HS256 => Hash::Sha256,
        RS384 | PS384 | ES384 | HS384 => Hash::Sha384,
        RS512 | PS512 | EdDSA | HS512 => Hash::Sha512,
    }
}

/// Bytes of a hash's output.
fn size(hash: Hash) -> usize {
    match hash {
        Hash::Sha256 => 32,
        Hash::Sha384 => 48,
        Hash::Sha512 => 64,
    }
}

fn digest(hash: Hash, text: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Sha256 => hmac_sha256::Hash::hash(text).to_vec(),
        Hash::Sha384 => hmac_sha512::sha384::Hash::hash(text).to_vec(),
        Hash::Sha512 => hmac_sha512::Hash::hash(text).to_vec(),
    }
}

fn uncompressed(point: &[u8], size: usize) -> Option<&[u8]> {
    let (form, numbers) = point.split_first()?;
    (*form == UNCOMPRESSED && numbers.len() == size.checked_mul(2)?).then_some(point)
}

/// From r and s of `size` bytes each. `None`: it is not of that form, or one of them is zero.
fn ecdsa_der(signature: &[u8], size: usize) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at_checked(size).filter(|(_, s)| s.len() == size)?;
    der::write_ecdsa(r, s)
}

#[cfg(test)]
mod tests;
