//! Envoy's `verify_signature`, by ring.

use enforcer_auth::config::Algorithm;
use enforcer_core::{host::Hash, native::NativeHost};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};

/// Object identifiers as they are in a subject public key info, the tag and the length before them.
const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];

/// Whether Envoy's function is for this algorithm.
pub(super) fn checks(algorithm: Algorithm) -> bool {
    matches!(algorithm.name(), "RS256" | "RS384" | "RS512" | "ES256" | "ES384")
}

pub(super) fn boringssl() -> NativeHost {
    NativeHost::new().with_verifier(|hash, spki, signature, text| {
        let (kind, key) = parts(spki);
        let has = |oid: &[u8]| kind.windows(oid.len()).any(|part| part == oid);
        let algorithm: &'static dyn VerificationAlgorithm = match hash {
            Hash::Sha256 if has(RSA) => &RSA_PKCS1_2048_8192_SHA256,
            Hash::Sha384 if has(RSA) => &RSA_PKCS1_2048_8192_SHA384,
            Hash::Sha512 if has(RSA) => &RSA_PKCS1_2048_8192_SHA512,
            Hash::Sha256 if has(P256) => &ECDSA_P256_SHA256_ASN1,
            Hash::Sha384 if has(P384) => &ECDSA_P384_SHA384_ASN1,
            other => panic!("{other:?} is not asked for such a key"),
        };
        UnparsedPublicKey::new(algorithm, key).verify(text, signature).is_ok()
    })
}

/// `SEQUENCE { SEQUENCE { what kind of key }, BIT STRING key }` (RFC 5280 section 4.1).
fn parts(spki: &[u8]) -> (&[u8], &[u8]) {
    let (all, rest) = element(spki);
    assert!(rest.is_empty());
    let (kind, rest) = element(all);
    let (key, rest) = element(rest);
    assert!(rest.is_empty() && key[0] == 0, "no unused bits");
    (kind, &key[1..])
}

/// The content of a DER element, and what is after it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, start) = match der[1] {
        0x81 => (usize::from(der[2]), 3),
        0x82 => (usize::from(der[2]) << 8 | usize::from(der[3]), 4),
        short => (usize::from(short), 2),
    };
    der[start..].split_at(length)
}
