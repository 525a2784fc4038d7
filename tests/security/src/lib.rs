//! What the fuzz targets run: anything may go in, and nothing may come out of it but a refusal.
//!
//! `fuzz/` gives these functions to libFuzzer; the tests of this crate run them on seeds and their mutations. Each
//! panics when a property does not hold.

use std::cell::RefCell;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use enforcer_auth::{
    Auth,
    config::{Algorithm, AuthConfig},
    jwk::{Find, KeySet, Origin},
    token::{self, Form, Jws, Token},
};
use enforcer_core::{
    config,
    cx::{Cx, Messages, Wishes},
    filter::{Capabilities, Event, Filter as _, Step},
    headers::HeaderMap,
    native::NativeHost,
};

/// Between the parts of a token that [`verify`] is to encode: no UTF-8 has it.
pub const PART: u8 = 0xff;

/// What the first byte says of the others. Any other value: the value of `Authorization`.
pub mod carried {
    /// Header, payload and signature of a token, parted by [`super::PART`].
    pub const IN_PARTS: u8 = b'P';
    /// The request target.
    pub const IN_PATH: u8 = b'/';
    /// The value of `Cookie`.
    pub const IN_COOKIE: u8 = b'C';
}

/// Every algorithm there is.
const ALGORITHMS: [&str; 12] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256", "HS384",
    "HS512",
];

/// Keys of RFC 7515 appendix A.2 and A.3, and of RFC 8037 appendix A.2.
pub const CONFIGURATION: &str = r#"{
    "issuers": [{"issuer": "https://issuer.example", "jwks": {"inline": {"keys": [
        {"kid": "rsa", "kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
        {"kid": "ec", "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        {"kid": "ed", "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    ]}}}],
    "token_sources": [{"header": {"name": "authorization"}}, {"query": "access_token"}, {"cookie": "session"}],
    "verification_budget": 4294967295
}"#;

/// Takes a token apart. What is taken has one spelling only.
pub fn parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(bytes) = token::decode(text) {
        assert_eq!(URL_SAFE_NO_PAD.encode(bytes), text, "two spellings of the same bytes");
    }
    let Ok(jws) = Jws::parse(text, Form::Strict) else {
        assert!(Token::parse(text, usize::MAX, Form::Strict).is_err(), "a token that is no JWS");
        return;
    };
    let header =
        jws.signed.split('.').next().and_then(|header| token::decode(header).ok()).unwrap_or_default();
    let spelt = [&header, &jws.payload, &jws.signature].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    assert_eq!(spelt, text, "two spellings of the same token");
    assert!(Token::parse(text, text.len().saturating_sub(1), Form::Strict).is_err(), "longer than allowed");
}

thread_local! {
    static FILTERS: RefCell<[Auth; 2]> = RefCell::new([false, true].map(filter));
}

#[expect(
    clippy::expect_used,
    reason = "a target that cannot start must not look like one that finds nothing"
)]
fn filter(verify_signature: bool) -> Auth {
    let config: AuthConfig = config::parse(CONFIGURATION.as_bytes()).expect("the configuration");
    Auth::new(config, Capabilities { verify_signature, ..Capabilities::default() })
        .expect("the configuration")
}

/// Sends a request with such a credential through the whole filter, on both ways of verifying. Nobody who fuzzes
/// has the keys, so it is refused, both times for the same reason.
pub fn verify(data: &[u8]) {
    let headers = request(data);
    FILTERS.with_borrow_mut(|filters| {
        let [in_rust, by_host] = filters.each_mut().map(|filter| decide(filter, &headers));
        assert_eq!(in_rust, by_host, "verdicts differ");
    });
}

fn request(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::default();
    headers.push(":method", "GET");
    let (path, name, value) = match data.split_first() {
        Some((&carried::IN_PATH, _)) => (data, "x-none", Vec::new()),
        Some((&carried::IN_COOKIE, rest)) => (&b"/"[..], "cookie", rest.to_vec()),
        Some((&carried::IN_PARTS, rest)) => {
            let parts = rest.splitn(3, |byte| *byte == PART).map(|part| URL_SAFE_NO_PAD.encode(part));
            let token = parts.collect::<Vec<_>>().join(".");
            (&b"/"[..], "authorization", format!("Bearer {token}").into_bytes())
        }
        _ => (&b"/"[..], "authorization", data.to_vec()),
    };
    headers.push(":path", path);
    headers.push(name, value);
    headers
}

/// The stable word for the refusal.
fn decide(filter: &mut Auth, headers: &HeaderMap) -> String {
    let host = NativeHost::new().with_verifier(|_, _, _, _| false);
    let (messages, mut wishes) = (Messages::of_request(headers.clone()), Wishes::default());
    match filter.on_event(&mut (), Event::RequestHead, &mut Cx::new(&host, &messages, &mut wishes)) {
        Step::Respond(response) => format!("{:?}", response.detail),
        step => {
            assert!(matches!(step, Step::Respond(_)), "not refused: {step:?}");
            String::new()
        }
    }
}

/// Reads a key set as an issuer's and as a configured one. What it yields accepts no signature made up.
pub fn jwks(data: &[u8]) {
    let algorithms: Vec<_> = ALGORITHMS.map(Algorithm::of_name).into_iter().flatten().collect();
    for allowed in [None, Some(algorithms.as_slice())] {
        if let Ok(set) = KeySet::read(data, Origin::Remote, allowed) {
            for algorithm in ["HS256", "HS384", "HS512"].map(Algorithm::of_name).into_iter().flatten() {
                let secret = set.find(None, algorithm);
                assert!(
                    matches!(secret, Find::Unknown | Find::WrongAlgorithm),
                    "a published secret: {secret:?}"
                );
            }
        }
    }
    if let Ok(set) = KeySet::read(data, Origin::Inline, Some(&algorithms)) {
        algorithms.iter().for_each(|algorithm| nothing_fits(&set, *algorithm));
    }
}

fn nothing_fits(set: &KeySet, algorithm: Algorithm) {
    let size = match algorithm.name() {
        "HS256" => 32,
        "HS384" => 48,
        "HS512" | "ES256" | "EdDSA" => 64,
        "ES384" => 96,
        _ => 256,
    };
    let host = NativeHost::new().with_verifier(|_, _, _, _| false);
    for (kid, by_host) in [(None, false), (Some("rsa"), true), (Some("ec"), true), (Some("ed"), true)] {
        let Find::Keys(keys) = set.find(kid, algorithm) else { continue };
        for key in keys {
            let (verdict, _) = key.verify(algorithm, &host, by_host, b"text", &vec![1; size]);
            assert!(!verdict, "a signature that nobody made, by {algorithm:?}");
        }
    }
}
