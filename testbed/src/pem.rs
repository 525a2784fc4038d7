//! Public keys as other software writes them: PEM (RFC 7468) of keys and certificates (RFC 5280).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs1::EncodeRsaPublicKey;
use rsa::pkcs8::EncodePrivateKey;

use crate::keys::key_error;
use crate::{Alg, Certified, Error, Keys};

const OBJECT_ID: u8 = 0x06;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const NULL: &[u8] = &[0x05, 0];
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, which holds a certificate's version.
const VERSION: u8 = 0xa0;

/// `[1]`, which holds the public key beside a private one (RFC 5915).
const PUBLIC_KEY: u8 = 0xa1;
/// `[3]`, which holds a certificate's extensions.
const EXTENSIONS: u8 = 0xa3;
/// `[2]` and `[6]` of an alternative name (RFC 5280 section 4.2.1.6).
const DNS_NAME: u8 = 0x82;
const URI_NAME: u8 = 0x86;

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const SHA256_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ECDSA_WITH_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];

impl Keys {
    /// The public key as `PUBLIC KEY`.
    pub fn public_pem(&self, alg: Alg) -> Result<String, Error> {
        Ok(pem("PUBLIC KEY", &self.public_der(alg)?))
    }

    /// The RSA key as `RSA PUBLIC KEY` (RFC 8017 appendix A.1.1).
    pub fn rsa_pem(&self) -> Result<String, Error> {
        Ok(pem("RSA PUBLIC KEY", &self.rsa_der()?))
    }

    /// The private key as `PRIVATE KEY` (RFC 5958), of RSA or P-256.
    pub fn private_pem(&self, alg: Alg) -> Result<String, Error> {
        let der = match alg {
            Alg::ES256 => {
                let key = [tlv(INTEGER, &[1]), tlv(OCTET_STRING, &self.p256.to_bytes())];
                let algorithm = sequence(&[tlv(OBJECT_ID, EC_PUBLIC_KEY), tlv(OBJECT_ID, P256)]);
                sequence(&[tlv(INTEGER, &[0]), algorithm, tlv(OCTET_STRING, &sequence(&key))])
            }
            _ => self.rsa.to_pkcs8_der().map_err(key_error("write an RSA key"))?.as_bytes().to_vec(),
        };
        Ok(pem("PRIVATE KEY", &der))
    }

    /// The public key in a certificate signed by itself, as `CERTIFICATE`, good from 2020 to the beginning of the year
    /// given.
    pub fn certificate_pem(&self, alg: Alg, until: u16) -> Result<String, Error> {
        Ok(pem("CERTIFICATE", &self.certificate(alg, until, "idp.example.com", Vec::new())?))
    }

    /// The P-256 key with a certificate signed by itself, good from 2020 to 2049. It is named after the key, `ec-N`:
    /// in the subject, and in alternative names of both kinds.
    pub fn certified(&self) -> Result<Certified, Error> {
        let mut certified =
            Certified { certificate: Vec::new(), key: Vec::new(), name: self.kid(Alg::ES256) };
        let names =
            sequence(&[tlv(DNS_NAME, certified.dns().as_bytes()), tlv(URI_NAME, certified.uri().as_bytes())]);
        let names = sequence(&[tlv(OBJECT_ID, ALTERNATIVE_NAMES), tlv(OCTET_STRING, &names)]);
        let extensions = tlv(EXTENSIONS, &sequence(&[names]));
        certified.certificate = self.certificate(Alg::ES256, 2049, &certified.name, extensions)?;
        let point = self.p256.verifying_key().to_sec1_point(false);
        let private = sequence(&[
            tlv(INTEGER, &[1]),
            tlv(OCTET_STRING, &self.p256.to_bytes()),
            tlv(PUBLIC_KEY, &bits(point.as_bytes())),
        ]);
        let algorithm = sequence(&[tlv(OBJECT_ID, EC_PUBLIC_KEY), tlv(OBJECT_ID, P256)]);
        certified.key = sequence(&[tlv(INTEGER, &[0]), algorithm, tlv(OCTET_STRING, &private)]);
        Ok(certified)
    }

    fn certificate(
        &self,
        alg: Alg,
        until: u16,
        common_name: &str,
        extensions: Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        // RFC 5280 section 4.1.2.5 wants the short form as long as it will do.
        let time = |year: u16| match year {
            ..2050 => tlv(UTC_TIME, format!("{:02}0101000000Z", year % 100).as_bytes()),
            _ => tlv(GENERALIZED_TIME, format!("{year:04}0101000000Z").as_bytes()),
        };
        let common_name = sequence(&[tlv(OBJECT_ID, COMMON_NAME), tlv(UTF8_STRING, common_name.as_bytes())]);
        let name = sequence(&[tlv(SET, &common_name)]);
        let (signer, algorithm) = signature_algorithm(alg)?;
        let certificate = sequence(&[
            tlv(VERSION, &tlv(INTEGER, &[2])),
            tlv(INTEGER, &[1]),
            algorithm.clone(),
            name.clone(),
            sequence(&[time(2020), time(until)]),
            name,
            self.public_der(alg)?,
            extensions,
        ]);
        let signature = self.sign(signer, &certificate)?;
        let signature = match signer {
            Alg::ES256 | Alg::ES384 => ecdsa_der(&signature),
            _ => signature,
        };
        Ok(sequence(&[certificate, algorithm, bits(&signature)]))
    }

    /// SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
    fn public_der(&self, alg: Alg) -> Result<Vec<u8>, Error> {
        let id = |parts: &[&[u8]]| sequence(&parts.iter().map(|id| tlv(OBJECT_ID, id)).collect::<Vec<_>>());
        Ok(match alg {
            Alg::RS256 | Alg::RS384 | Alg::RS512 | Alg::PS256 | Alg::PS384 | Alg::PS512 => {
                let id = sequence(&[tlv(OBJECT_ID, RSA_ENCRYPTION), NULL.to_vec()]);
                sequence(&[id, bits(&self.rsa_der()?)])
            }
            Alg::ES256 => {
                let point = self.p256.verifying_key().to_sec1_point(false);
                sequence(&[id(&[EC_PUBLIC_KEY, P256]), bits(point.as_bytes())])
            }
            Alg::ES384 => {
                let point = self.p384.verifying_key().to_sec1_point(false);
                sequence(&[id(&[EC_PUBLIC_KEY, P384]), bits(point.as_bytes())])
            }
            Alg::EdDSA => sequence(&[id(&[ED25519]), bits(self.ed.pk.as_ref())]),
            Alg::HS256 | Alg::HS384 | Alg::HS512 => return Err(no_public_key()),
        })
    }

    fn rsa_der(&self) -> Result<Vec<u8>, Error> {
        let der = self.rsa_public().to_pkcs1_der().map_err(key_error("encode an RSA public key"))?;
        Ok(der.as_bytes().to_vec())
    }
}

/// What a certificate of this key is signed with, and the name of that.
fn signature_algorithm(alg: Alg) -> Result<(Alg, Vec<u8>), Error> {
    let id = |id| sequence(&[tlv(OBJECT_ID, id)]);
    Ok(match alg {
        Alg::RS256 | Alg::RS384 | Alg::RS512 | Alg::PS256 | Alg::PS384 | Alg::PS512 => {
            (Alg::RS256, sequence(&[tlv(OBJECT_ID, SHA256_WITH_RSA), NULL.to_vec()]))
        }
        Alg::ES256 => (Alg::ES256, id(ECDSA_WITH_SHA256)),
        Alg::ES384 => (Alg::ES384, id(ECDSA_WITH_SHA384)),
        Alg::EdDSA => (Alg::EdDSA, id(ED25519)),
        Alg::HS256 | Alg::HS384 | Alg::HS512 => return Err(no_public_key()),
    })
}

fn no_public_key() -> Error {
    Error::Key { what: "write in PEM", reason: "a secret has no public key".to_owned() }
}

/// R and S as two integers (RFC 3279 section 2.2.3).
fn ecdsa_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at_checked(signature.len() / 2).unwrap_or_default();
    let integer = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let mut number: Vec<u8> = bytes.iter().copied().skip(zeros).collect();
        if number.first().is_none_or(|first| *first >= 0x80) {
            number.insert(0, 0);
        }
        tlv(INTEGER, &number)
    };
    sequence(&[integer(r), integer(s)])
}

fn bits(bytes: &[u8]) -> Vec<u8> {
    tlv(BIT_STRING, &[&[0], bytes].concat())
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

/// Tag, length, value, in DER (X.690 section 8.1).
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length: Vec<u8> = value.len().to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    match (value.len(), u8::try_from(length.len())) {
        (0..0x80, _) => out.extend(u8::try_from(value.len())),
        (_, bytes) => {
            out.push(bytes.unwrap_or_default() | 0x80);
            out.extend(length);
        }
    }
    out.extend(value);
    out
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use rsa::pkcs8::{EncodePublicKey as _, LineEnding};

    use super::*;

    /// What OpenSSL says; `None` where it is not installed.
    fn openssl(arguments: &[&str], input: &str) -> Option<String> {
        let piped =
            Command::new("openssl").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = piped else {
            println!("skipped: no openssl");
            return None;
        };
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{input}");
        Some(String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn an_rsa_key_is_what_its_own_crate_writes() {
        let keys = Keys::shared().unwrap();
        let expected = keys.rsa_public().to_public_key_pem(LineEnding::LF).unwrap();
        assert_eq!(keys.public_pem(Alg::PS512).unwrap(), expected);
    }

    #[test]
    fn openssl_reads_keys_and_certificates() {
        let keys = Keys::shared().unwrap();
        for alg in [Alg::RS256, Alg::ES256, Alg::ES384, Alg::EdDSA] {
            let key = keys.public_pem(alg).unwrap();
            let certificate = keys.certificate_pem(alg, 2099).unwrap();
            let Some(seen) = openssl(&["pkey", "-pubin"], &key) else { return };
            assert_eq!(seen, key);
            let seen = openssl(&["x509", "-noout", "-pubkey", "-enddate"], &certificate).unwrap();
            assert!(seen.contains(&key) && seen.contains("Jan  1 00:00:00 2099 GMT"), "{seen}");
        }
        let certified = keys.certified().unwrap();
        let seen =
            openssl(&["x509", "-noout", "-subject", "-ext", "subjectAltName"], &certified.pem()).unwrap();
        assert!(
            seen.contains("CN = ec-1")
                && seen.contains("DNS:ec-1.example.com, URI:spiffe://example.com/ec-1"),
            "{seen}"
        );
        assert_eq!(openssl(&["pkey"], &certified.key_pem()).unwrap(), certified.key_pem());
        assert!(keys.public_pem(Alg::HS256).is_err() && keys.certificate_pem(Alg::HS256, 2099).is_err());
    }
}
