//! Signatures as an attacker sends them: made by nobody, bent from good ones, or made with the right key in a wrong
//! form, which shows how strict a verifier is where no attacker's own key could.

use rsa::{
    BigUint,
    sha2::{Digest, Sha256, Sha512},
};
use serde::Deserialize;

use crate::{
    bytes::hex,
    keys::{Key, P256_ORDER, left_padded},
};

/// One way to come by a signature.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Forgery {
    /// No bytes.
    Empty,
    OneByte,
    /// As many zeros as a good one has bytes, or as many bytes of ones.
    Zeros,
    Ones,
    FirstBit,
    LastBit,
    /// The last eight bytes cut off.
    Cut,
    /// Sixteen zeros after it.
    ZerosAfter,
    /// A zero before it: the same number.
    ZeroBefore,
    /// Bytes in the opposite order.
    Reversed,
    /// Twice in a row.
    Twice,
    /// R and S of ECDSA changed with each other.
    Swapped,
    /// The ECDSA signature as a DER structure, which is what most other protocols send.
    Der,
    /// The other signature that fits as well: S replaced by the order less S. Not wrong (RFC 7518 section 3.4
    /// does not ask for the lower of the two), but another text for the same token.
    HighS,
    /// Of ECDSA.
    RZero,
    SZero,
    /// R and S both the order of the curve.
    Order,
    /// R and S both one.
    RAndSOne,
    /// Of Ed25519: the group's order added to S (RFC 8032 section 5.1.7).
    SPlusOrder,
    /// Of Ed25519: R the neutral element and S zero.
    Neutral,
    /// A good PKCS#1 v1.5 signature less what says which hash it is of.
    HashAlone,
    /// The same without the NULL that RFC 8017 section 9.2 puts into the name of the hash.
    NoNull,
    /// The name of SHA-512 before a SHA-256.
    OtherHashName,
    /// Eight bytes of padding, the hash, and garbage to fill up (CVE-2006-4339).
    GarbageAfter,
    /// Padding of block type 2, which is for encryption.
    BlockType2,
    /// The smallest number whose cube begins as a signature should; fits a key of exponent 3 that nobody has the
    /// private half of (CVE-2006-4339).
    CubeRoot,
    /// PSS with no salt, and with a longer one than the hash (RFC 7518 section 3.5: the same length).
    PssNoSalt,
    PssLongSalt,
}

/// `SEQUENCE { SEQUENCE { OID sha256, NULL }, OCTET STRING (32 bytes) }` up to the hash (RFC 8017 section 9.2).
const SHA256_NAME: &str = "3031300d060960864801650304020105000420";
const SHA256_NAME_WITHOUT_NULL: &str = "302f300b0609608648016503040201" /* no 0500 */;
const SHA512_NAME: &str = "3051300d060960864801650304020305000440";

/// The signature of a text that this forgery yields. `genuine` is the key's own.
pub(crate) fn forge(how: Forgery, key: &Key, text: &[u8], mut genuine: Vec<u8>) -> Vec<u8> {
    let size = genuine.len();
    let halves = |r: Vec<u8>, s: Vec<u8>| [r, s].concat();
    match how {
        Forgery::Empty => Vec::new(),
        Forgery::OneByte => vec![1],
        Forgery::Zeros => vec![0; size],
        Forgery::Ones => vec![0xff; size],
        Forgery::FirstBit => {
            genuine[0] ^= 1;
            genuine
        }
        Forgery::LastBit => {
            genuine[size - 1] ^= 0x80;
            genuine
        }
        Forgery::Cut => genuine[..size - 8].to_vec(),
        Forgery::ZerosAfter => [genuine, vec![0; 16]].concat(),
        Forgery::ZeroBefore => [vec![0], genuine].concat(),
        Forgery::Reversed => genuine.into_iter().rev().collect(),
        Forgery::Twice => [genuine.clone(), genuine].concat(),
        Forgery::Swapped => halves(genuine[size / 2..].to_vec(), genuine[..size / 2].to_vec()),
        Forgery::Der => der(&genuine),
        Forgery::HighS => {
            let s = BigUint::from_bytes_be(&genuine[32..]);
            halves(genuine[..32].to_vec(), left_padded(&(p256_order() - s), 32))
        }
        Forgery::RZero => halves(vec![0; size / 2], genuine[size / 2..].to_vec()),
        Forgery::SZero => halves(genuine[..size / 2].to_vec(), vec![0; size / 2]),
        Forgery::Order => halves(hex(P256_ORDER), hex(P256_ORDER)),
        Forgery::RAndSOne => {
            let one = left_padded(&BigUint::from(1_u32), size / 2);
            halves(one.clone(), one)
        }
        Forgery::SPlusOrder => {
            let s = BigUint::from_bytes_le(&genuine[32..]) + ed25519_order();
            let mut s = s.to_bytes_le();
            s.resize(32, 0);
            halves(genuine[..32].to_vec(), s)
        }
        Forgery::Neutral => halves([vec![1], vec![0; 31]].concat(), vec![0; 32]),
        Forgery::HashAlone => block(key, 1, "", &Sha256::digest(text), 0),
        Forgery::NoNull => {
            let name = format!("{SHA256_NAME_WITHOUT_NULL}0420");
            block(key, 1, &name, &Sha256::digest(text), 0)
        }
        Forgery::OtherHashName => block(key, 1, SHA512_NAME, &Sha512::digest(text), 0),
        Forgery::GarbageAfter => {
            let filled = key.rsa_size() - 3 - 8 - SHA256_NAME.len() / 2 - 32;
            block(key, 1, SHA256_NAME, &Sha256::digest(text), filled)
        }
        Forgery::BlockType2 => block(key, 2, SHA256_NAME, &Sha256::digest(text), 0),
        Forgery::CubeRoot => cube_root(key.rsa_size(), text),
        Forgery::PssNoSalt => key.sign_pss_with_salt(0, text),
        Forgery::PssLongSalt => key.sign_pss_with_salt(64, text),
    }
}

/// What the private key makes of `00 type ff... 00 name hash` with so many bytes of garbage after it.
fn block(key: &Key, kind: u8, name: &str, hash: &[u8], garbage: usize) -> Vec<u8> {
    let content = [hex(name), hash.to_vec(), vec![0xaa; garbage]].concat();
    let padding = vec![0xff; key.rsa_size() - 3 - content.len()];
    key.raw_rsa(&[vec![0, kind], padding, vec![0], content].concat())
}

fn cube_root(size: usize, text: &[u8]) -> Vec<u8> {
    let start =
        [vec![0, 1], vec![0xff; 8], vec![0], hex(SHA256_NAME), Sha256::digest(text).to_vec()].concat();
    let filled = [start.clone(), vec![0xff; size - start.len()]].concat();
    let goal = BigUint::from_bytes_be(&filled);
    let (mut low, mut high) = (BigUint::from(0_u32), BigUint::from(1_u32) << (size * 8 / 3 + 1));
    while low < high {
        let middle = (&low + &high + 1_u32) >> 1;
        if &middle * &middle * &middle <= goal {
            low = middle;
        } else {
            high = middle - 1_u32;
        }
    }
    left_padded(&low, size)
}

fn p256_order() -> BigUint {
    BigUint::from_bytes_be(&hex(P256_ORDER))
}

/// 2^252 + 27742317777372353535851937790883648493 (RFC 8032 section 5.1).
fn ed25519_order() -> BigUint {
    BigUint::parse_bytes(b"27742317777372353535851937790883648493", 10).unwrap()
        + (BigUint::from(1_u32) << 252)
}

/// `SEQUENCE { INTEGER r, INTEGER s }`.
fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |half: &[u8]| {
        let mut digits = BigUint::from_bytes_be(half).to_bytes_be();
        if digits[0] >= 0x80 {
            digits.insert(0, 0);
        }
        [vec![2, u8::try_from(digits.len()).unwrap()], digits].concat()
    };
    let (r, s) = signature.split_at(signature.len() / 2);
    let both = [integer(r), integer(s)].concat();
    [vec![0x30, u8::try_from(both.len()).unwrap()], both].concat()
}
