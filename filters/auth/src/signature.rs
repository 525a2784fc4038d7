//! Signatures in Rust, for hosts that cannot check them, and the one conversion that those who can need.

use jwt_simple::algorithms::{P256PublicKey, RSAPublicKey};
use p256::ecdsa::signature::Verifier as _;
use superboring::{hash::MessageDigest, pkey::PKey, rsa::Padding, sign::Verifier};

/// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 section 3.3).
pub fn rs256(key: &RSAPublicKey, text: &[u8], signature: &[u8]) -> bool {
    let verify = || {
        let key = PKey::from_rsa(key.as_ref().clone())?;
        let mut verifier = Verifier::new(MessageDigest::sha256(), &key)?;
        verifier.set_rsa_padding(Padding::PKCS1)?;
        verifier.update(text)?;
        verifier.verify(signature)
    };
    verify().unwrap_or(false)
}

/// ECDSA on P-256 with SHA-256; the signature is r and s of 32 bytes each (RFC 7518 section 3.4).
pub fn es256(key: &P256PublicKey, text: &[u8], signature: &[u8]) -> bool {
    p256::ecdsa::Signature::from_slice(signature)
        .is_ok_and(|signature| key.as_ref().verify(text, &signature).is_ok())
}

/// An ECDSA signature in DER (`SEQUENCE { r INTEGER, s INTEGER }`), which is what hosts take, from r and s of
/// `size` bytes each. `None`: it is not of that form.
pub fn ecdsa_der(signature: &[u8], size: usize) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at_checked(size).filter(|(_, s)| s.len() == size)?;
    let (r, s) = (integer(r)?, integer(s)?);
    let length = u8::try_from(r.len().checked_add(s.len())?).ok().filter(|length| *length < 0x80)?;
    Some([&[0x30, length][..], &r, &s].concat())
}

/// A positive INTEGER in DER: no leading zeros, but one where the first bit would make it negative.
fn integer(bytes: &[u8]) -> Option<Vec<u8>> {
    let first = bytes.iter().position(|byte| *byte != 0)?;
    let digits = bytes.get(first..)?;
    let pad: &[u8] = if digits.first()? & 0x80 == 0 { &[] } else { &[0] };
    let length = u8::try_from(digits.len().checked_add(pad.len())?).ok()?;
    Some([&[0x02, length][..], pad, digits].concat())
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn der_is_minimal() {
        let mut raw = [0_u8; 64];
        raw[31] = 0x7f;
        raw[32] = 0x80;
        let der = ecdsa_der(&raw, 32).unwrap();
        assert_eq!(der[..5], [0x30, 38, 0x02, 1, 0x7f]);
        assert_eq!(der[5..9], [0x02, 33, 0, 0x80]);
        assert_eq!(p256::ecdsa::Signature::from_der(&der).unwrap().to_bytes()[..], raw);
    }

    #[test]
    fn zero_and_odd_sizes_are_no_signatures() {
        assert_eq!(ecdsa_der(&[0; 64], 32), None);
        assert_eq!(ecdsa_der(&[1; 63], 32), None);
        assert_eq!(ecdsa_der(&[1; 65], 32), None);
        assert_eq!(ecdsa_der(&[], 32), None);
    }
}
