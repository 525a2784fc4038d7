//! Base64url, hexadecimal, and texts of one character a byte.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Without padding (RFC 7515 section 2).
pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.as_bytes().chunks(2).map(pair).collect()
}

/// The bytes of a text that has one character a byte, so that YAML can hold any.
pub(crate) fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect()
}

/// The same bytes, spelt so that lenient readers take both spellings (RFC 4648 section 3.5).
pub(crate) fn unused_bits_set(segment: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_ne!(segment.len() % 4, 0, "no bits are unused");
    let (start, last) = segment.split_at(segment.len() - 1);
    let value = ALPHABET.iter().position(|known| last.as_bytes() == [*known]).unwrap();
    format!("{start}{}", char::from(ALPHABET[value ^ 1]))
}
