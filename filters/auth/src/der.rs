//! As much DER (X.690 section 10) as public keys need: subject public key info (RFC 5280 section 4.1.2.7),
//! bare RSA keys (RFC 8017 appendix A.1.1), and the key of a certificate.

use std::fmt;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`, which holds a certificate's version.
const VERSION: u8 = 0xa0;

/// 1.2.840.113549.1.1.1 with the NULL parameters that RFC 3279 section 2.3.1 asks for.
const RSA_ENCRYPTION: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// 1.2.840.10045.2.1 with 1.2.840.10045.3.1.7.
const EC_P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];
/// 1.2.840.10045.2.1 with 1.3.132.0.34.
const EC_P384: &[u8] =
    &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// 1.3.101.112, without parameters (RFC 8410 section 3).
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

/// What a public key consists of, in the bytes that it came in: nothing about it has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts<'a> {
    /// Modulus and exponent, big endian, without leading zeros.
    Rsa {
        n: &'a [u8],
        e: &'a [u8],
    },
    /// A point in SEC 1 form.
    P256(&'a [u8]),
    P384(&'a [u8]),
    Ed25519(&'a [u8]),
}

/// Why there is no key in a piece of DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKey {
    /// It is not what it should be, or not in DER.
    Malformed,
    /// It is a key of an algorithm that is not supported.
    Unsupported,
}

impl<'a> Parts<'a> {
    /// Reads a subject public key info.
    pub fn of_spki(der: &'a [u8]) -> Result<Self, NoKey> {
        let (algorithm, key) = spki(der).ok_or(NoKey::Malformed)?;
        match algorithm {
            RSA_ENCRYPTION => Self::of_rsa(key),
            EC_P256 => Ok(Self::P256(key)),
            EC_P384 => Ok(Self::P384(key)),
            ED25519 => Ok(Self::Ed25519(key)),
            _ => Err(NoKey::Unsupported),
        }
    }

    /// Reads a bare RSA key: `SEQUENCE { n INTEGER, e INTEGER }`.
    pub fn of_rsa(der: &'a [u8]) -> Result<Self, NoKey> {
        let numbers = || {
            let mut key = sole(der, SEQUENCE)?;
            let n = positive(take(&mut key, INTEGER)?)?;
            let e = positive(sole(key, INTEGER)?)?;
            Some(Self::Rsa { n, e })
        };
        numbers().ok_or(NoKey::Malformed)
    }

    /// Reads the key of an X.509 certificate (RFC 5280 section 4.1). Nothing else in it is looked at.
    pub fn of_certificate(der: &'a [u8]) -> Result<Self, NoKey> {
        certified(der).ok_or(NoKey::Malformed).and_then(Self::of_spki)
    }

    /// Writes a subject public key info.
    pub fn to_spki(self) -> Vec<u8> {
        let rsa;
        let (algorithm, key) = match self {
            Self::Rsa { n, e } => {
                rsa = write(SEQUENCE, &[&write_integer(n), &write_integer(e)]);
                (RSA_ENCRYPTION, &rsa[..])
            }
            Self::P256(point) => (EC_P256, point),
            Self::P384(point) => (EC_P384, point),
            Self::Ed25519(point) => (ED25519, point),
        };
        write(SEQUENCE, &[&write(SEQUENCE, &[algorithm]), &write(BIT_STRING, &[&[0], key])])
    }
}

/// An ECDSA signature (RFC 3279 section 2.2.3) of two numbers in big endian. `None`: one of them is zero.
pub fn write_ecdsa(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    let is_zero = |number: &[u8]| number.iter().all(|byte| *byte == 0);
    if is_zero(r) || is_zero(s) {
        return None;
    }
    Some(write(SEQUENCE, &[&write_integer(r), &write_integer(s)]))
}

/// What matters of a private key.
pub enum Secret<'a> {
    /// The number, in 32 bytes.
    P256(&'a [u8]),
    /// The public half, as in [`Parts`].
    Rsa { n: &'a [u8], e: &'a [u8] },
}

/// Never the key.
impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl<'a> Secret<'a> {
    /// Reads PKCS #8 (RFC 5958 section 2) of P-256 (RFC 5915 section 3) or RSA (RFC 8017 appendix A.1.2).
    pub fn of_pkcs8(der: &'a [u8]) -> Option<Self> {
        let mut info = sole(der, SEQUENCE)?;
        take(&mut info, INTEGER)?;
        let algorithm = take(&mut info, SEQUENCE)?;
        let mut key = sole(take(&mut info, OCTET_STRING)?, SEQUENCE)?;
        take(&mut key, INTEGER)?;
        match algorithm {
            EC_P256 => take(&mut key, OCTET_STRING).map(Self::P256),
            RSA_ENCRYPTION => {
                let n = positive(take(&mut key, INTEGER)?)?;
                let e = positive(take(&mut key, INTEGER)?)?;
                Some(Self::Rsa { n, e })
            }
            _ => None,
        }
    }
}

/// A number in big endian without its leading zeros.
pub fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Algorithm with parameters, and key.
fn spki(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut info = sole(der, SEQUENCE)?;
    let algorithm = take(&mut info, SEQUENCE)?;
    let (unused_bits, key) = sole(info, BIT_STRING)?.split_first()?;
    (*unused_bits == 0).then_some((algorithm, key))
}

/// The subject public key info of a certificate.
fn certified(der: &[u8]) -> Option<&[u8]> {
    let mut certificate = sole(der, SEQUENCE)?;
    let mut signed = take(&mut certificate, SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        take(&mut signed, VERSION)?;
    }
    // The serial number; then signature algorithm, issuer, validity and subject.
    take(&mut signed, INTEGER)?;
    for _ in 0..4 {
        take(&mut signed, SEQUENCE)?;
    }
    let from_key_on = signed;
    take(&mut signed, SEQUENCE)?;
    from_key_on.get(..from_key_on.len().checked_sub(signed.len())?)
}

/// Takes the next element, which must have this tag, and returns its content.
fn take<'a>(der: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, rest) = der.split_first()?;
    let (length, rest) = take_length(rest)?;
    let (content, rest) = rest.split_at_checked(length)?;
    *der = rest;
    (*found == tag).then_some(content)
}

/// The content of the only element.
fn sole(mut der: &[u8], tag: u8) -> Option<&[u8]> {
    let content = take(&mut der, tag)?;
    der.is_empty().then_some(content)
}

/// A length in as few bytes as it can be written, up to 64 KiB.
fn take_length(der: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest, least) = match first {
        0..=0x7f => (usize::from(*first), rest, 0),
        0x81 => {
            let (length, rest) = rest.split_first()?;
            (usize::from(*length), rest, 0x80)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest, 0x100)
        }
        _ => return None,
    };
    (length >= least).then_some((length, rest))
}

/// The digits of a positive INTEGER.
fn positive(content: &[u8]) -> Option<&[u8]> {
    match content {
        [0, rest @ ..] => rest.first().is_some_and(|first| *first >= 0x80).then_some(rest),
        [1..=0x7f, ..] => Some(content),
        _ => None,
    }
}

/// A positive INTEGER: a zero in front where the first bit would make it negative.
fn write_integer(number: &[u8]) -> Vec<u8> {
    let digits = trimmed(number);
    let sign: &[u8] = if digits.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
    write(INTEGER, &[sign, digits])
}

fn write(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let content = contents.concat();
    // Nothing here is longer than an RSA key of 4096 bits.
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let head: &[u8] = match (high, low) {
        (0, 0..=0x7f) => &[tag, low],
        (0, _) => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [head, &content].concat()
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    /// A certificate with a P-256 key that expired in 2020, by OpenSSL.
    const CERTIFICATE: &str = concat!(
        "MIIBEzCBuaADAgECAgEBMAoGCCqGSM49BAMCMBMxETAPBgNVBAMMCGlkcC50ZXN0MB4XDTIwMDEwMTAwMDAwMFoXDTIwMDEwMjAw",
        "MDAwMFowEzERMA8GA1UEAwwIaWRwLnRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQB2m4T7F/xx46Fwau/V7U9yY9KYBiC",
        "8/Iffvte67g9tHgh/pmCsUWoUp07LQptfWY4ACAwuo1/HiGCbkyR/GebMAoGCCqGSM49BAMCA0kAMEYCIQDym4L0JMyth2BLA32e",
        "Y6uRHecNpXVhLBmSI9WuUQNt9QIhANHHvBMI4BcKq8o1DR7iM8UgUxYdcIFmK7UgF3AiPq6a",
    );
    /// The key in it.
    const POINT: &str =
        "BAHabhPsX/HHjoXBq79XtT3Jj0pgGILz8h9++17ruD20eCH+mYKxRahSnTstCm19ZjgAIDC6jX8eIYJuTJH8Z5s=";

    #[test]
    fn a_certificate_has_a_key() {
        let (certificate, point) = (STANDARD.decode(CERTIFICATE).unwrap(), STANDARD.decode(POINT).unwrap());
        assert_eq!(Parts::of_certificate(&certificate), Ok(Parts::P256(&point)));
        for cut in 0..certificate.len() {
            assert_eq!(Parts::of_certificate(certificate.get(..cut).unwrap()), Err(NoKey::Malformed));
        }
        assert_eq!(Parts::of_certificate(&[&certificate[..], &[0]].concat()), Err(NoKey::Malformed));
        assert_eq!(Parts::of_spki(&certificate), Err(NoKey::Malformed));
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let long = [&[0x80][..], &[7; 511]].concat();
        for parts in [
            Parts::Rsa { n: &long, e: &[1, 0, 1] },
            Parts::Rsa { n: &[0x7f; 256], e: &[3] },
            Parts::P256(&[4; 65]),
            Parts::P384(&[4; 97]),
            Parts::Ed25519(&[9; 32]),
        ] {
            let spki = parts.to_spki();
            assert_eq!(Parts::of_spki(&spki), Ok(parts));
            for cut in 0..spki.len() {
                assert_eq!(Parts::of_spki(spki.get(..cut).unwrap()), Err(NoKey::Malformed));
            }
            assert_eq!(Parts::of_spki(&[&spki[..], &[0]].concat()), Err(NoKey::Malformed));
        }
    }

    #[test]
    fn keys_of_other_algorithms_are_told_from_nonsense() {
        // 1.3.101.110, which is X25519.
        let other = write(
            SEQUENCE,
            &[&write(SEQUENCE, &[&[6, 3, 0x2b, 0x65, 0x6e]]), &write(BIT_STRING, &[&[0; 33]])],
        );
        assert_eq!(Parts::of_spki(&other), Err(NoKey::Unsupported));
        assert_eq!(Parts::of_spki(b""), Err(NoKey::Malformed));
    }

    #[test]
    fn only_der_is_read() {
        let rsa = |n: &[u8], e: &[u8]| write(SEQUENCE, &[&write(INTEGER, &[n]), &write(INTEGER, &[e])]);
        assert!(Parts::of_rsa(&rsa(&[0, 0x80], &[3])).is_ok());
        for n in [&[][..], &[0], &[0, 0], &[0x80], &[0, 0x7f]] {
            assert_eq!(Parts::of_rsa(&rsa(n, &[3])), Err(NoKey::Malformed), "{n:?}");
        }
        for longer in [&[0x30, 0x81, 6, 2, 1, 5, 2, 1, 3][..], &[0x30, 0x80, 2, 1, 5, 2, 1, 3, 0, 0]] {
            assert_eq!(
                Parts::of_rsa(longer),
                Err(NoKey::Malformed),
                "a length with more bytes than it takes"
            );
        }
        let spare_bits =
            write(SEQUENCE, &[&write(SEQUENCE, &[ED25519]), &write(BIT_STRING, &[&[1], &[9; 32]])]);
        assert_eq!(Parts::of_spki(&spare_bits), Err(NoKey::Malformed));
    }

    #[test]
    fn a_signature_of_zero_is_not_written() {
        assert_eq!(write_ecdsa(&[0; 32], &[1; 32]), None);
        assert_eq!(write_ecdsa(&[1; 32], &[0; 32]), None);
        assert_eq!(write_ecdsa(&[0, 1], &[0x80]).unwrap(), [0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]);
    }
}
