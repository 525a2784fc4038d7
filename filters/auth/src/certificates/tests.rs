#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use enforcer_core::{
    cx::{Messages, Wishes},
    headers::HeaderMap,
    native::NativeHost,
};
use serde_json::{Value, json};

use super::*;

fn hex(digit: &str) -> String {
    digit.repeat(64)
}

fn certificates(config: Value) -> Result<Certificates, String> {
    Certificates::new(serde_json::from_value(config).unwrap()).map_err(|error| error.to_string())
}

/// Who calls with this on the connection and in the header.
fn find(certificates: &Certificates, shown: &str, header: (&str, &str)) -> Result<String, Refusal> {
    let host = NativeHost::new()
        .with_attribute("connection.mtls", "\u{1}")
        .with_attribute("connection.sha256_peer_certificate_digest", shown)
        .with_attribute("connection.uri_san_peer_certificate", "spiffe://example.com/carol")
        .with_attribute("connection.subject_peer_certificate", "CN=dave,O=Acme");
    let mut headers = HeaderMap::default();
    if !header.1.is_empty() {
        headers.push(header.0, header.1);
    }
    let (messages, mut wishes) = (Messages::of_request(headers), Wishes::default());
    let found = certificates.find(None, &Cx::new(&host, &messages, &mut wishes));
    found.map(|caller| caller.consumer.clone())
}

#[test]
fn a_certificate_is_known_by_its_fingerprint_alone() {
    let known = json!([{"sha256": "AA:".repeat(31) + "AA", "consumer": "alice"}, {"sha256": hex("b"), "consumer": "bob"}]);
    let certificates = certificates(json!({"known": known})).unwrap();
    assert_eq!(find(&certificates, &hex("a"), ("", "")), Ok("alice".to_owned()));
    assert_eq!(find(&certificates, &hex("b"), ("", "")), Ok("bob".to_owned()));
    assert_eq!(find(&certificates, &hex("c"), ("", "")), Err(CertificateProblem::Unknown.into()));
    // `connection.mtls` alone is no certificate.
    assert_eq!(find(&certificates, "", ("", "")), Err(CertificateProblem::Missing.into()));
}

#[test]
fn names_count_where_somebody_verified_them() {
    for (field, name) in [("san", "spiffe://example.com/carol"), ("subject", "CN=dave,O=Acme")] {
        let known = json!([{"sha256": hex("a"), "consumer": "alice"}, {(field): name, "consumer": "named"}]);
        let certificates = certificates(json!({"verified": true, "known": known})).unwrap();
        assert_eq!(find(&certificates, &hex("c"), ("", "")), Ok("named".to_owned()));
        assert_eq!(find(&certificates, &hex("a"), ("", "")), Ok("alice".to_owned()));
        assert_eq!(find(&certificates, "", ("", "")), Err(CertificateProblem::Missing.into()));
    }
    let known = json!([{"san": "CN=dave,O=Acme", "consumer": "named"}]);
    let certificates = certificates(json!({"verified": true, "known": known})).unwrap();
    assert_eq!(find(&certificates, &hex("c"), ("", "")), Err(CertificateProblem::Unknown.into()));
}

#[test]
fn a_header_counts_from_a_trusted_proxy() {
    let known = json!([{"sha256": hex("a"), "consumer": "alice"}]);
    let config = json!({"from": {"xfcc": {"proxies": [hex("f")]}}, "known": known});
    let certificates = certificates(config).unwrap();
    let header = ("x-forwarded-client-cert", &*format!("Hash={};Subject=\"CN=a\"", hex("a")));
    assert_eq!(find(&certificates, &hex("f"), header), Ok("alice".to_owned()));
    assert_eq!(find(&certificates, &hex("e"), header), Err(CertificateProblem::Missing.into()));
    assert_eq!(find(&certificates, "", header), Err(CertificateProblem::Missing.into()));
    // The proxy is no caller.
    assert_eq!(find(&certificates, &hex("a"), ("", "")), Err(CertificateProblem::Missing.into()));
    let garbage = ("x-forwarded-client-cert", "garbage");
    assert_eq!(find(&certificates, &hex("f"), garbage), Err(CertificateProblem::Unreadable.into()));
}

#[test]
fn configurations_that_make_no_sense() {
    let one = |known: Value, more: Value| {
        let mut config = json!({"known": [known]});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        certificates(config).err().unwrap_or_default()
    };
    let by_san = json!({"san": "a", "consumer": "x"});
    let by_both = json!({"san": "a", "sha256": hex("a"), "consumer": "x"});
    let pem = json!({"from": {"pem": {"header": "x-cert", "proxies": []}}, "verified": true});
    for (found, expected) in [
        (one(json!({"consumer": "x"}), json!({})), "known[0]: name it by one of"),
        (one(by_both, json!({})), "known[0]: name it by one of"),
        (one(by_san.clone(), json!({})), "known[0]: anybody can make a certificate with this name"),
        (one(by_san, pem), "known[0]: of a certificate in PEM only `sha256` is known"),
        (
            one(json!({"sha256": "ab", "consumer": "x"}), json!({})),
            "known[0]: `ab` is no SHA-256 fingerprint",
        ),
        (one(json!({"sha256": "é".repeat(32), "consumer": "x"}), json!({})), "known[0]: `é"),
        (
            one(json!({"sha256": hex("a"), "consumer": "x"}), json!({"from": {"xfcc": {"proxies": ["x"]}}})),
            "from.xfcc.proxies[0]: `x` is no SHA-256",
        ),
        (
            one(
                json!({"sha256": hex("a"), "consumer": "x"}),
                json!({"from": {"pem": {"header": "host", "proxies": []}}}),
            ),
            "from.pem.header: `host` is not a header that can carry a certificate",
        ),
    ] {
        assert!(found.starts_with(expected), "{found}");
    }
    assert!(certificates(json!({"known": []})).err().unwrap().starts_with("known: no certificate is known"));
    let twice =
        json!({"known": [{"sha256": hex("a"), "consumer": "x"}, {"sha256": hex("A"), "consumer": "y"}]});
    assert_eq!(
        certificates(twice).err().unwrap(),
        "known[1]: this certificate is there already, for the same API"
    );
}
