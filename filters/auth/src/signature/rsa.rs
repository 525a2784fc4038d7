//! RSA signatures (RFC 8017 section 8), over public keys alone: nothing here is secret, so nothing takes care to
//! hide how long it takes.

use enforcer_core::host::Hash;

use super::{digest, hash, size};
use crate::config::Algorithm;
use power::Modulus;

mod power;

/// What `e` must be, big endian: 65537, as good as every key has it.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// An RSA key of 2048 to 4096 bits with exponent 65537.
#[derive(Debug)]
pub struct PublicKey {
    modulus: Modulus,
    bits: usize,
}

impl PublicKey {
    /// Of modulus and exponent, big endian, without leading zeros.
    pub fn new(n: &[u8], e: &[u8]) -> Option<Self> {
        let spare = n.first()?.leading_zeros();
        let bits = n.len().checked_mul(8)?.checked_sub(usize::try_from(spare).ok()?)?;
        if !(2048..=4096).contains(&bits) || e != EXPONENT {
            return None;
        }
        Some(Self { modulus: Modulus::new(n)?, bits })
    }

    /// Bytes of a signature.
    pub fn size(&self) -> usize {
        self.bits.div_ceil(8)
    }

    /// By RS* or PS*.
    pub fn verify(&self, algorithm: Algorithm, text: &[u8], signature: &[u8]) -> bool {
        use Algorithm::{PS256, PS384, PS512};
        if signature.len() != self.size() {
            return false;
        }
        let Some(encoded) = self.modulus.power_65537(signature) else { return false };
        let hash = hash(algorithm);
        let digest = digest(hash, text);
        match algorithm {
            PS256 | PS384 | PS512 => is_pss(&encoded, self.bits, hash, &digest).unwrap_or(false),
            _ => encoded == pkcs1(hash, &digest, encoded.len()),
        }
    }
}

/// EMSA-PKCS1-v1_5 (section 9.2). There is one encoding of a digest, so it is made and compared: a parser could
/// be talked into more than one.
fn pkcs1(hash: Hash, digest: &[u8], length: usize) -> Vec<u8> {
    // SEQUENCE { SEQUENCE { OBJECT IDENTIFIER, NULL }, OCTET STRING }, up to the digest itself.
    let (whole, kind, rest) = match hash {
        Hash::Sha256 => (0x31, 1, 0x20),
        Hash::Sha384 => (0x41, 2, 0x30),
        Hash::Sha512 => (0x51, 3, 0x40),
    };
    let info = [
        0x30, whole, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, kind, 0x05,
        0x00, 0x04, rest,
    ];
    let padding = length.saturating_sub(info.len()).saturating_sub(digest.len()).saturating_sub(3);
    [&[0, 1], &vec![0xff; padding][..], &[0], &info, digest].concat()
}

/// EMSA-PSS (section 9.1.2) with MGF1 of the same hash and a salt of its size (RFC 7518 section 3.5).
/// `None` is no as well.
fn is_pss(encoded: &[u8], bits: usize, hash: Hash, digest: &[u8]) -> Option<bool> {
    // One bit less than the modulus has: the numbers are less than it.
    let bits = bits.checked_sub(1)?;
    let (zero, encoded) = encoded.split_at_checked(encoded.len().checked_sub(bits.div_ceil(8))?)?;
    let (trailer, encoded) = encoded.split_last()?;
    let (masked, seed) = encoded.split_at_checked(encoded.len().checked_sub(size(hash))?)?;
    let used =
        0xff_u8.checked_shr(u32::try_from(bits.div_ceil(8).checked_mul(8)?.checked_sub(bits)?).ok()?)?;
    if zero.iter().any(|byte| *byte != 0) || *trailer != 0xbc || *masked.first()? & !used != 0 {
        return Some(false);
    }
    let mut block: Vec<u8> = masked.iter().zip(mask(hash, seed)).map(|(byte, mask)| byte ^ mask).collect();
    *block.first_mut()? &= used;
    let (padding, salt) = block.split_at_checked(block.len().checked_sub(size(hash))?)?;
    let (one, zeros) = padding.split_last()?;
    let expected = super::digest(hash, &[&[0; 8], digest, salt].concat());
    Some(*one == 1 && zeros.iter().all(|byte| *byte == 0) && expected == seed)
}

/// MGF1 (appendix B.2.1).
fn mask(hash: Hash, seed: &[u8]) -> impl Iterator<Item = u8> {
    (0_u32..).flat_map(move |counter| digest(hash, &[seed, &counter.to_be_bytes()].concat()))
}
