//! Envoy's foreign functions `verify_signature` and `sign`.
//!
//! RSA is PKCS#1 v1.5 only; ECDSA signatures are DER; public keys are SPKI, private keys PKCS#8, each as DER or PEM.
//! Of the curves P-256 and P-384 are here. What Envoy does beyond that (SHA-1, P-521) fails as an unknown hash or key.

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use rsa::{
    Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey,
    pkcs8::{DecodePrivateKey, DecodePublicKey},
    sha2::{Digest, Sha224, Sha256, Sha384, Sha512},
};

use super::{
    abi::Status,
    protobuf::{self, Field, put_bool, put_bytes},
};

/// What Envoy says of a key that it could not read.
const BAD_VERIFICATION_KEY: &str = "Failed to initialize digest verify.";
const BAD_SIGNATURE: &str = "Failed to verify digest. Error code: 0";
const BAD_SIGNING_KEY: &str = "Invalid key type: private key required for signing operation.";

/// `VerifySignatureArguments` in, `VerifySignatureResult` out.
pub(super) fn verify_signature(arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let [hash, der, signature, text, pem] = arguments_of(arguments)?;
    let key = key_of(der, pem)?;
    let mut result = Vec::new();
    match verify(hash, key, signature, text) {
        Ok(()) => put_bool(&mut result, 1, true),
        Err(error) => put_bytes(&mut result, 2, error.as_bytes()),
    }
    Ok(result)
}

/// `SignArguments` in, `SignResult` out.
pub(super) fn sign(arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let [hash, der, text, pem, _] = arguments_of(arguments)?;
    let key = key_of(der, pem)?;
    let mut result = Vec::new();
    match signed(hash, key, text) {
        Ok(signature) => {
            put_bool(&mut result, 1, true);
            put_bytes(&mut result, 2, &signature);
        }
        Err(error) => put_bytes(&mut result, 3, error.as_bytes()),
    }
    Ok(result)
}

/// Both messages have byte fields only, numbered from 1; the last of a repeated one counts.
fn arguments_of(bytes: &[u8]) -> Result<[&[u8]; 5], Status> {
    let mut fields: [&[u8]; 5] = [&[]; 5];
    for field in protobuf::parse(bytes).ok_or(Status::BadArgument)? {
        if let Field::Bytes(number, value) = field
            && let Some(slot) = usize::try_from(number).ok().and_then(|n| fields.get_mut(n.checked_sub(1)?))
        {
            *slot = value;
        }
    }
    Ok(fields)
}

#[derive(Clone, Copy)]
enum Key<'a> {
    Der(&'a [u8]),
    Pem(&'a [u8]),
}

/// Exactly one form of the key must be there.
fn key_of<'a>(der: &'a [u8], pem: &'a [u8]) -> Result<Key<'a>, Status> {
    match (der.is_empty(), pem.is_empty()) {
        (false, true) => Ok(Key::Der(der)),
        (true, false) => Ok(Key::Pem(pem)),
        _ => Err(Status::BadArgument),
    }
}

impl<'a> Key<'a> {
    fn public<T: DecodePublicKey>(self) -> Option<T> {
        match self {
            Self::Der(der) => T::from_public_key_der(der).ok(),
            Self::Pem(pem) => T::from_public_key_pem(std::str::from_utf8(pem).ok()?).ok(),
        }
    }

    fn private<T: DecodePrivateKey>(self) -> Option<T> {
        match self {
            Self::Der(der) => T::from_pkcs8_der(der).ok(),
            Self::Pem(pem) => T::from_pkcs8_pem(std::str::from_utf8(pem).ok()?).ok(),
        }
    }

    /// The same traits from the newer release that the curves use.
    fn public_point<T: p256::pkcs8::DecodePublicKey>(self) -> Option<T> {
        match self {
            Self::Der(der) => T::from_public_key_der(der).ok(),
            Self::Pem(pem) => T::from_public_key_pem(std::str::from_utf8(pem).ok()?).ok(),
        }
    }

    fn private_scalar<T: p256::pkcs8::DecodePrivateKey>(self) -> Option<T> {
        match self {
            Self::Der(der) => T::from_pkcs8_der(der).ok(),
            Self::Pem(pem) => T::from_pkcs8_pem(std::str::from_utf8(pem).ok()?).ok(),
        }
    }
}

/// A digest and the padding that names its hash.
fn digest(hash: &[u8], text: &[u8]) -> Result<(Vec<u8>, Pkcs1v15Sign), String> {
    Ok(match hash.to_ascii_lowercase().as_slice() {
        b"sha224" => (Sha224::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha224>()),
        b"sha256" => (Sha256::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha256>()),
        b"sha384" => (Sha384::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha384>()),
        b"sha512" => (Sha512::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha512>()),
        _ => return Err(format!("{} is not supported.", String::from_utf8_lossy(hash))),
    })
}

fn verify(hash: &[u8], key: Key<'_>, signature: &[u8], text: &[u8]) -> Result<(), String> {
    let (digest, padding) = digest(hash, text)?;
    let good = if let Some(key) = key.public::<RsaPublicKey>() {
        key.verify(padding, &digest, signature).is_ok()
    } else if let Some(key) = key.public_point::<p256::PublicKey>() {
        let key = p256::ecdsa::VerifyingKey::from(key);
        p256::ecdsa::Signature::from_der(signature).is_ok_and(|s| key.verify_prehash(&digest, &s).is_ok())
    } else if let Some(key) = key.public_point::<p384::PublicKey>() {
        let key = p384::ecdsa::VerifyingKey::from(key);
        p384::ecdsa::Signature::from_der(signature).is_ok_and(|s| key.verify_prehash(&digest, &s).is_ok())
    } else {
        return Err(BAD_VERIFICATION_KEY.to_owned());
    };
    if good { Ok(()) } else { Err(BAD_SIGNATURE.to_owned()) }
}

fn signed(hash: &[u8], key: Key<'_>, text: &[u8]) -> Result<Vec<u8>, String> {
    let (digest, padding) = digest(hash, text)?;
    let failed = |_| BAD_SIGNING_KEY.to_owned();
    if let Some(key) = key.private::<RsaPrivateKey>() {
        return key.sign(padding, &digest).map_err(|_| BAD_SIGNING_KEY.to_owned());
    }
    if let Some(key) = key.private_scalar::<p256::SecretKey>() {
        let signature: p256::ecdsa::Signature =
            p256::ecdsa::SigningKey::from(key).sign_prehash(&digest).map_err(failed)?;
        return Ok(signature.to_der().as_bytes().to_vec());
    }
    if let Some(key) = key.private_scalar::<p384::SecretKey>() {
        let signature: p384::ecdsa::Signature =
            p384::ecdsa::SigningKey::from(key).sign_prehash(&digest).map_err(failed)?;
        return Ok(signature.to_der().as_bytes().to_vec());
    }
    Err(BAD_SIGNING_KEY.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! data {
        ($name:literal) => {
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/", $name)).as_slice()
        };
    }

    const TEXT: &[u8] = data!("text");

    fn message(fields: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, field) in (1..).zip(fields) {
            put_bytes(&mut out, number, field);
        }
        out
    }

    type Bytes = &'static [u8];

    /// Hash, public key, private key, OpenSSL's signature.
    fn vectors() -> [(&'static str, Bytes, Bytes, Bytes); 5] {
        let (rsa, rsa_private) = (data!("rsa.spki.der"), data!("rsa.pkcs8.der"));
        [
            ("sha256", rsa, rsa_private, data!("rsa-sha256.sig")),
            ("sha384", rsa, rsa_private, data!("rsa-sha384.sig")),
            ("SHA512", rsa, rsa_private, data!("rsa-sha512.sig")),
            ("sha256", data!("p256.spki.der"), data!("p256.pkcs8.der"), data!("p256-sha256.sig")),
            ("sha384", data!("p384.spki.der"), data!("p384.pkcs8.der"), data!("p384-sha384.sig")),
        ]
    }

    /// What success looks like, to the byte.
    const VERIFIED: [u8; 2] = [8, 1];

    fn error_of(result: &[u8], field: u64) -> String {
        let fields = protobuf::parse(result).unwrap();
        assert!(!fields.iter().any(|field| matches!(field, Field::Number(..))), "there must be no success");
        fields
            .iter()
            .find_map(|f| match f {
                Field::Bytes(number, text) if *number == field => {
                    Some(String::from_utf8_lossy(text).into_owned())
                }
                _ => None,
            })
            .unwrap()
    }

    #[test]
    fn signatures_of_openssl_verify() {
        for (hash, key, _, signature) in vectors() {
            let arguments = message(&[hash.as_bytes(), key, signature, TEXT]);
            assert_eq!(verify_signature(&arguments), Ok(VERIFIED.to_vec()), "{hash}");
        }
    }

    #[test]
    fn anything_else_does_not() {
        for (hash, key, _, signature) in vectors() {
            let mut other = signature.to_vec();
            *other.last_mut().unwrap() ^= 1;
            for (signature, text) in [(other.as_slice(), TEXT), (signature, b"other".as_slice()), (&[], TEXT)]
            {
                let result = verify_signature(&message(&[hash.as_bytes(), key, signature, text])).unwrap();
                assert_eq!(error_of(&result, 2), BAD_SIGNATURE);
            }
        }
    }

    #[test]
    fn a_key_can_be_pem() {
        let (signature, pem) = (data!("rsa-sha256.sig"), data!("rsa.spki.pem"));
        let arguments = message(&[b"sha256", b"", signature, TEXT, pem]);
        assert_eq!(verify_signature(&arguments), Ok(VERIFIED.to_vec()));
    }

    #[test]
    fn own_signatures_verify() {
        for (hash, public, private, _) in vectors() {
            let result = sign(&message(&[hash.as_bytes(), private, TEXT])).unwrap();
            let fields = protobuf::parse(&result).unwrap();
            let [Field::Number(1, 1), Field::Bytes(2, signature)] = fields.as_slice() else {
                panic!("{hash}: {fields:?}")
            };
            let arguments = message(&[hash.as_bytes(), public, signature, TEXT]);
            assert_eq!(verify_signature(&arguments), Ok(VERIFIED.to_vec()), "{hash}");
        }
    }

    #[test]
    fn keys_and_hashes_that_do_not_fit_are_named() {
        let signature = data!("rsa-sha256.sig");
        let verify =
            |hash: &[u8], key: &[u8]| verify_signature(&message(&[hash, key, signature, TEXT])).unwrap();
        assert_eq!(error_of(&verify(b"md5", data!("rsa.spki.der")), 2), "md5 is not supported.");
        assert_eq!(error_of(&verify(b"sha256", b"garbage"), 2), BAD_VERIFICATION_KEY);
        // Envoy wants PKCS#8: PKCS#1 and SEC 1 are as good as garbage.
        for key in [b"garbage", data!("rsa.traditional.der"), data!("p256.traditional.der")] {
            let result = sign(&message(&[b"sha256", key, TEXT])).unwrap();
            assert_eq!(error_of(&result, 3), BAD_SIGNING_KEY);
        }
    }

    #[test]
    fn no_key_two_keys_and_no_message_are_bad_arguments() {
        let (der, pem) = (data!("rsa.spki.der"), data!("rsa.spki.pem"));
        for arguments in
            [message(&[b"sha256", b"", b"s", TEXT]), message(&[b"sha256", der, b"s", TEXT, pem]), vec![0xff]]
        {
            assert_eq!(verify_signature(&arguments), Err(Status::BadArgument));
        }
        assert_eq!(sign(b""), Err(Status::BadArgument));
    }
}
