#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use jwt_simple::{
    algorithms::{
        ECDSAP256KeyPairLike, ECDSAP256PublicKeyLike, ECDSAP384KeyPairLike, ECDSAP384PublicKeyLike,
        ES256KeyPair, ES384KeyPair, Ed25519KeyPair, EdDSAKeyPairLike, PS256KeyPair, PS384KeyPair,
        PS512KeyPair, RS256KeyPair, RS384KeyPair, RS512KeyPair, RSAKeyPairLike,
    },
    claims::Claims,
    prelude::Duration,
};

use super::*;
use crate::{jwk::samples, token::decode};
use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};

/// A good signature, and all that it is not good for.
fn check(algorithm: Algorithm, key: &Material, token: &str) {
    let (text, signature) = token.rsplit_once('.').unwrap();
    let signature = decode(signature).unwrap();
    let verify = |text: &str, signature: &[u8]| key.verify(algorithm, text.as_bytes(), signature);
    assert!(key.fits(algorithm) && verify(text, &signature), "{algorithm:?}");
    assert!(!verify(text.get(1..).unwrap(), &signature));
    assert!(!verify("", &signature));
    assert!(!verify(text, &signature[1..]));
    assert!(!verify(text, &[&signature[..], &[0]].concat()));
    assert!(!verify(text, &[&[0], &signature[..]].concat()));
    assert!(!verify(text, &vec![0; signature.len()]));
    assert!(!verify(text, &vec![0xff; signature.len()]));
    assert!(!verify(text, &[]));
    for at in [0, 17, 31] {
        let mut flipped = signature.clone();
        flipped[at] ^= 1;
        assert!(!verify(text, &flipped));
    }
}

fn claims() -> jwt_simple::claims::JWTClaims<jwt_simple::claims::NoCustomClaims> {
    Claims::create(Duration::from_hours(1))
}

#[test]
fn rsa() {
    let member = |name: &str| decode(samples::rsa_private()[name].as_str().unwrap()).unwrap();
    let (n, e) = (member("n"), member("e"));
    let key = Material::public(Parts::Rsa { n: &n, e: &e }).unwrap();
    let jwk = samples::rsa_private().to_string();
    check(RS256, &key, &RS256KeyPair::from_jwk(&jwk).unwrap().sign(claims()).unwrap());
    check(RS384, &key, &RS384KeyPair::from_jwk(&jwk).unwrap().sign(claims()).unwrap());
    check(RS512, &key, &RS512KeyPair::from_jwk(&jwk).unwrap().sign(claims()).unwrap());
    check(PS256, &key, &PS256KeyPair::from_jwk(&jwk).unwrap().sign(claims()).unwrap());
    check(PS384, &key, &PS384KeyPair::from_jwk(&jwk).unwrap().sign(claims()).unwrap());
    check(PS512, &key, &PS512KeyPair::from_jwk(&jwk).unwrap().sign(claims()).unwrap());
    let token = RS256KeyPair::from_jwk(&jwk).unwrap().sign(claims()).unwrap();
    let (text, signature) = token.rsplit_once('.').unwrap();
    for other in [RS384, RS512, PS256] {
        assert!(!key.verify(other, text.as_bytes(), &decode(signature).unwrap()));
    }
}

#[test]
fn ecdsa() {
    let pair = ES256KeyPair::generate();
    let point = pair.public_key().public_key().to_bytes_uncompressed();
    check(ES256, &Material::public(Parts::P256(&point)).unwrap(), &pair.sign(claims()).unwrap());
    let pair = ES384KeyPair::generate();
    let point = pair.public_key().public_key().to_bytes_uncompressed();
    check(ES384, &Material::public(Parts::P384(&point)).unwrap(), &pair.sign(claims()).unwrap());
}

#[test]
fn a_compressed_point_is_refused() {
    let point = ES256KeyPair::generate().public_key().public_key().to_bytes();
    assert_eq!(point.len(), 33);
    assert!(Material::public(Parts::P256(&point)).is_err());
    assert!(Material::public(Parts::P384(&point)).is_err());
}

/// s and n - s are equally good, here as at the host.
#[test]
fn a_high_s_is_accepted() {
    let pair = ES256KeyPair::generate();
    let point = pair.public_key().public_key().to_bytes_uncompressed();
    let key = Material::public(Parts::P256(&point)).unwrap();
    let token = pair.sign(claims()).unwrap();
    let (text, signature) = token.rsplit_once('.').unwrap();
    let signature = p256::ecdsa::Signature::from_slice(&decode(signature).unwrap()).unwrap();
    let twin = p256::ecdsa::Signature::from_scalars(signature.r(), -*signature.s()).unwrap();
    assert!(key.verify(ES256, text.as_bytes(), &signature.to_bytes()));
    assert!(key.verify(ES256, text.as_bytes(), &twin.to_bytes()));
}

#[test]
fn eddsa() {
    let pair = Ed25519KeyPair::generate();
    let point = pair.public_key().to_bytes();
    check(EdDSA, &Material::public(Parts::Ed25519(&point)).unwrap(), &pair.sign(claims()).unwrap());
    // RFC 8037 appendix A.4.
    let point = decode(samples::ed25519()["x"].as_str().unwrap()).unwrap();
    let token = concat!(
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
    check(EdDSA, &Material::public(Parts::Ed25519(&point)).unwrap(), token);
}

#[test]
fn hmac() {
    let secret = [3; 64];
    let key = Material::Secret(secret.to_vec());
    check(HS256, &key, &HS256Key::from_bytes(&secret).authenticate(claims()).unwrap());
    check(HS384, &key, &HS384Key::from_bytes(&secret).authenticate(claims()).unwrap());
    check(HS512, &key, &HS512Key::from_bytes(&secret).authenticate(claims()).unwrap());
    // RFC 7515 appendix A.1.
    let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let token = concat!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.",
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    );
    check(HS256, &Material::Secret(decode(secret).unwrap()), token);
}

#[test]
fn the_host_gets_der() {
    let mut raw = [0_u8; 64];
    raw[31] = 0x7f;
    raw[32] = 0x80;
    let der = ecdsa_der(&raw, 32).unwrap();
    assert_eq!(der[..5], [0x30, 38, 0x02, 1, 0x7f]);
    assert_eq!(der[5..9], [0x02, 33, 0, 0x80]);
    assert_eq!(p256::ecdsa::Signature::from_der(&der).unwrap().to_bytes()[..], raw);
    let longest = ecdsa_der(&[0xff; 96], 48).unwrap();
    assert_eq!((longest.len(), longest[1]), (104, 102));
    for (bytes, size) in
        [(vec![0; 64], 32), (vec![1; 63], 32), (vec![1; 65], 32), (vec![], 32), (vec![1; 64], 48)]
    {
        assert_eq!(ecdsa_der(&bytes, size), None);
    }
}

/// A modulus of 2049 bits, whose signatures by PS256 encode one byte less than they have.
const ODD: &str = concat!(
    "AXQjzFKpvqDccAOq6eaybfpqd38NYw37u-uAQpTLcm0-",
    "zMW6XmnmCHadQIV01B3eTgRritYMfWhhGxMxYaa3glXrQTguSyb_6WwTjMKb1vxhjv_Y9D-",
    "Nxj5avSp_oH0Y1FPdWZkyQZV5XTnriiTmD7mz9k0qO4sGgGLp9tlSDNJMStHQup5gBv8mWvG31-",
    "DaiFALBKaMl7DbXBnwbqOcMR4TySuq3blbQQICBZQRM9SXtQayi8h7ShF_cv5vIoQQJtVHVdX9_ZmaiBk_1lh6YjVuGp1OJLmVUY",
    "vAKLV_TRaDrx8dVTt5n620zU3FfnZCL05-syqY-HpWqX2-rF0sC0U",
);
/// Of `text`, by OpenSSL.
const ODD_RS256: &str = concat!(
    "AOrf6xCUXZpuHrs2zd0feBXnI__fIqB-",
    "rjPthgsnq9LLm5NYz9UbhrB4mhRfBkOhwhdXQTxjYXuu5avLTuDSKP6zy14PW8koQknk9ICuIQ-joF65rabLyko3twsmdUmMNgHb",
    "Ys1xQottZ8UW6U74zF5hXw3-",
    "C9OfH6WoKiFtuDaI7fAQwtlRelBG44TE14ATOW96gRrOf0V9nesMvVWaAEceyaj99Sr2RLlxMxX8wmDKyH9A4hy5gn6JMMLRrmHH",
    "b_BwYF1FFshfqiq9Kncn0teAlW4Pv0HfmKXL6PU7fAJ0fitoZexCXNTMg9ipnpBI6066PT8b6yZFkqrs7mLUVG0",
);
/// Likewise.
const ODD_PS256: &str = concat!(
    "AKJQnK28bEsHwifynFqU5i_mCzgHnbCwc7Yxp54poa-Gcr7fKri_9fx2RLv8iAgoyowNbj1klVetBK5muXIYqZWRun1AUmbB3qiQ",
    "y8SNzQrLrJtVWi8HTPKEf8HzZCuGWUNCIJON3lSCROD4JrOFPfAl7ICC-ef5MPSQbn-wpgWBisJrAGvmtz8oDEnEYk9Q_fb2V-",
    "DpADnrtuAH89kz6NZYgxtxj9h2Ps7k2E1BJMb4PwK_NI7sc0DQ8nlWfIYMB3B4xsJ-7UEN5-iB98WDioiNfuPrvwMxuSx-",
    "Yqy4BrI12G3AzYiQltDDBHhexCSOqibzRrJcYm6WKTN3bncLTmk",
);

#[test]
fn moduli_have_any_number_of_bits() {
    let n = decode(ODD).unwrap();
    let key = Material::public(Parts::Rsa { n: &n, e: &[1, 0, 1] }).unwrap();
    let (rs256, ps256) = (decode(ODD_RS256).unwrap(), decode(ODD_PS256).unwrap());
    assert!(key.verify(RS256, b"text", &rs256) && !key.verify(PS256, b"text", &rs256));
    assert!(key.verify(PS256, b"text", &ps256) && !key.verify(RS256, b"text", &ps256));
    assert!(!key.verify(PS384, b"text", &ps256) && !key.verify(PS256, b"test", &ps256));
}

#[test]
fn rsa_keys_have_2048_to_4096_bits_and_the_usual_exponent() {
    let is_key = |bytes: usize, first: u8, last: u8, e: &[u8]| {
        let mut n = vec![0x55; bytes];
        (n[0], *n.last_mut().unwrap()) = (first, last);
        Material::public(Parts::Rsa { n: &n, e }).is_ok()
    };
    assert!(is_key(256, 0x80, 1, &[1, 0, 1]));
    assert!(!is_key(256, 0x7f, 1, &[1, 0, 1]), "2047 bits");
    assert!(is_key(512, 0xff, 1, &[1, 0, 1]));
    assert!(!is_key(513, 1, 1, &[1, 0, 1]), "4097 bits");
    assert!(!is_key(256, 0x80, 2, &[1, 0, 1]), "even");
    assert!(!is_key(256, 0x80, 1, &[3]));
    assert!(!is_key(256, 0x80, 1, &[]));
    assert!(Material::public(Parts::Rsa { n: &[], e: &[1, 0, 1] }).is_err());
}
