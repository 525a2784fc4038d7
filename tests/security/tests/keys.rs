//! Throw-away keys by name, and every way of signing with them, right or wrong.
//!
//! All but RSA is ring's work: what signs here is not what verifies in the filter.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
    },
};
use rsa::{
    BigUint, Pkcs1v15Sign, Pss, RsaPrivateKey, RsaPublicKey,
    pkcs1::EncodeRsaPublicKey as _,
    pkcs8::{EncodePublicKey as _, LineEnding},
    rand_core::OsRng,
    sha2::{Digest, Sha256, Sha384, Sha512},
    traits::{PrivateKeyParts as _, PublicKeyParts as _},
};
use serde_json::{Value, json};

use crate::bytes::{base64url, hex};

/// A key pair, or a secret.
pub(crate) enum Key {
    Rsa(Box<RsaPrivateKey>),
    /// With its curve, as JWK has it.
    Ec(&'static str, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Secret(Vec<u8>),
}

/// The order of P-256 (FIPS 186-4 D.1.2.3).
pub(crate) const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

impl Key {
    pub(crate) fn rsa(bits: usize, exponent: u32) -> Self {
        let made = RsaPrivateKey::new_with_exp(&mut OsRng, bits, &BigUint::from(exponent));
        Self::Rsa(Box::new(made.unwrap()))
    }

    pub(crate) fn p256() -> Self {
        Self::ec("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub(crate) fn p384() -> Self {
        Self::ec("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn ec(curve: &'static str, algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Ec(curve, EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    pub(crate) fn ed25519() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    pub(crate) fn secret(bytes: usize) -> Self {
        let mut secret = vec![0; bytes];
        SystemRandom::new().fill(&mut secret).unwrap();
        Self::Secret(secret)
    }

    /// What it signs with unless told otherwise.
    pub(crate) fn usual_algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec("P-384", _) => "ES384",
            Self::Ec(..) => "ES256",
            Self::Ed25519(_) => "EdDSA",
            Self::Secret(_) => "HS256",
        }
    }

    /// The key as a JWK (RFC 7517) without `kid`, `alg` and `use`; of a pair only the public half.
    pub(crate) fn jwk(&self) -> Value {
        match self {
            Self::Rsa(key) => json!({
                "kty": "RSA", "n": base64url(key.n().to_bytes_be()), "e": base64url(key.e().to_bytes_be()),
            }),
            Self::Ec(curve, pair) => {
                let (x, y) = coordinates(pair.public_key().as_ref());
                json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)})
            }
            Self::Ed25519(pair) => json!({
                "kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key()),
            }),
            Self::Secret(secret) => json!({"kty": "oct", "k": base64url(secret)}),
        }
    }

    /// The JWS signature of a text (RFC 7518 section 3, RFC 8037).
    pub(crate) fn sign(&self, algorithm: &str, text: &[u8]) -> Vec<u8> {
        match (self, algorithm) {
            (Self::Rsa(key), "RS256") => pkcs1::<Sha256>(key, Pkcs1v15Sign::new::<Sha256>(), text),
            (Self::Rsa(key), "RS384") => pkcs1::<Sha384>(key, Pkcs1v15Sign::new::<Sha384>(), text),
            (Self::Rsa(key), "RS512") => pkcs1::<Sha512>(key, Pkcs1v15Sign::new::<Sha512>(), text),
            (Self::Rsa(key), "PS256") => pss(key, Pss::new::<Sha256>(), &Sha256::digest(text)),
            (Self::Rsa(key), "PS384") => pss(key, Pss::new::<Sha384>(), &Sha384::digest(text)),
            (Self::Rsa(key), "PS512") => pss(key, Pss::new::<Sha512>(), &Sha512::digest(text)),
            (Self::Ec(_, pair), "ES256" | "ES384") => {
                pair.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec()
            }
            (Self::Ed25519(pair), "EdDSA") => pair.sign(text).as_ref().to_vec(),
            (Self::Secret(secret), _) => hmac(algorithm, secret, text),
            _ => panic!("a key of another type than `{algorithm}` needs"),
        }
    }

    /// PSS with SHA-256, and a salt that is not as long as the hash (RFC 7518 section 3.5).
    pub(crate) fn sign_pss_with_salt(&self, salt: usize, text: &[u8]) -> Vec<u8> {
        pss(self.rsa_key(), Pss::new_with_salt::<Sha256>(salt), &Sha256::digest(text))
    }

    /// What the RSA private key makes of a padded block, whatever is in it.
    pub(crate) fn raw_rsa(&self, block: &[u8]) -> Vec<u8> {
        let key = self.rsa_key();
        left_padded(&BigUint::from_bytes_be(block).modpow(key.d(), key.n()), key.size())
    }

    /// Bytes of the modulus.
    pub(crate) fn rsa_size(&self) -> usize {
        self.rsa_key().size()
    }

    /// The public key as attackers use it for a secret (CVE-2015-9235 and its many followers).
    pub(crate) fn as_secret(&self, form: &str) -> Vec<u8> {
        let public = || RsaPublicKey::from(self.rsa_key());
        match form {
            "spki_pem" => public().to_public_key_pem(LineEnding::LF).unwrap().into_bytes(),
            "spki_pem_nonl" => {
                public().to_public_key_pem(LineEnding::LF).unwrap().trim_end().as_bytes().to_vec()
            }
            "pkcs1_pem" => public().to_pkcs1_pem(LineEnding::LF).unwrap().into_bytes(),
            "spki_der" => public().to_public_key_der().unwrap().as_bytes().to_vec(),
            "n_text" => self.jwk()["n"].as_str().unwrap().as_bytes().to_vec(),
            "n" => public().n().to_bytes_be(),
            "jwk_json" => self.jwk().to_string().into_bytes(),
            "x" => crate::bytes::decoded(self.jwk()["x"].as_str().unwrap()),
            other => panic!("`{other}` is no form of a key"),
        }
    }

    /// An X.509 certificate of an RSA key, signed by itself, as `x5c` has it (RFC 7515 section 4.1.6).
    pub(crate) fn certificate(&self) -> String {
        let algorithm = hex("300d06092a864886f70d01010b0500");
        let name = element(
            0x30,
            &[&element(0x31, &[&element(0x30, &[&hex("0603550403"), &element(0x0c, &[b"evil"])])])],
        );
        let dates = ["260101000000Z", "360101000000Z"].map(|date| element(0x17, &[date.as_bytes()]));
        let start = hex("a003020102020101");
        let key = self.as_secret("spki_der");
        let contents =
            element(0x30, &[&start, &algorithm, &name, &element(0x30, &[&dates.concat()]), &name, &key]);
        let signature = element(3, &[&[0], &self.sign("RS256", &contents)]);
        STANDARD.encode(element(0x30, &[&contents, &algorithm, &signature]))
    }

    fn rsa_key(&self) -> &RsaPrivateKey {
        match self {
            Self::Rsa(key) => key,
            _ => panic!("not an RSA key"),
        }
    }
}

/// A DER element of these contents.
fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let header = match (high, low) {
        (0, ..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [header, contents].concat()
}

/// HMAC with the hash of this algorithm (RFC 7518 section 3.2).
pub(crate) fn hmac(algorithm: &str, secret: &[u8], text: &[u8]) -> Vec<u8> {
    let hash = match algorithm {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        other => panic!("`{other}` is no HMAC"),
    };
    hmac::sign(&hmac::Key::new(hash, secret), text).as_ref().to_vec()
}

fn pkcs1<D: Digest>(key: &RsaPrivateKey, padding: Pkcs1v15Sign, text: &[u8]) -> Vec<u8> {
    key.sign(padding, &D::digest(text)).unwrap()
}

fn pss(key: &RsaPrivateKey, padding: Pss, digest: &[u8]) -> Vec<u8> {
    key.sign_with_rng(&mut OsRng, padding, digest).unwrap()
}

/// x and y of an uncompressed point (SEC 1 section 2.3.3).
fn coordinates(point: &[u8]) -> (&[u8], &[u8]) {
    let (_, both) = point.split_first().unwrap();
    both.split_at(both.len() / 2)
}

/// A number in so many bytes, the most significant first.
pub(crate) fn left_padded(number: &BigUint, size: usize) -> Vec<u8> {
    let digits = number.to_bytes_be();
    let mut bytes = vec![0; size.checked_sub(digits.len()).unwrap()];
    bytes.extend(digits);
    bytes
}

/// Keys by name.
#[derive(Default)]
pub(crate) struct Keys(BTreeMap<String, Key>);

impl Keys {
    pub(crate) fn with(mut self, name: &str, key: Key) -> Self {
        self.0.insert(name.to_owned(), key);
        self
    }

    pub(crate) fn named(&self, name: &str) -> &Key {
        self.0.get(name).unwrap_or_else(|| panic!("there is no key `{name}`"))
    }

    /// The published half under its name, with these members on top.
    pub(crate) fn published(&self, name: &str, members: &Value) -> Value {
        let mut jwk = self.named(name).jwk();
        let all = jwk.as_object_mut().unwrap();
        all.insert("kid".to_owned(), name.into());
        all.extend(members.as_object().unwrap().clone());
        jwk
    }
}
