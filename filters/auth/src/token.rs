//! Taking a bearer token apart, strictly, before anything in it is believed.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest token that is looked at. Envoy's default limit for all headers together is 60 KiB.
pub const MAX_TOKEN: usize = 16 << 10;

/// A token in JWS compact serialisation (RFC 7515 section 3.1), decoded but not verified.
#[derive(Debug)]
pub struct Token<'a> {
    /// What is signed: header and payload as they came.
    pub signed: &'a str,
    pub header: Header,
    pub claims: Map<String, Value>,
    pub signature: Vec<u8>,
}

/// The parts of a JOSE header that matter here. All others are ignored, `jku`, `jwk` and `x5c` above all:
/// a token does not say which key to trust.
#[derive(Debug, Deserialize)]
pub struct Header {
    pub alg: String,
    #[serde(default)]
    pub kid: Option<String>,
    /// Extensions that must be understood. None is.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// Whatever the value is, `null` included: the member is there.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(value).map(|_| true)
}

/// Why a credential is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    TooLong,
    /// Not three parts between dots.
    NotThreeParts,
    /// A part is not base64url without padding (RFC 7515 section 2), spelt in its one canonical way.
    NotBase64Url,
    /// The header is not a JSON object with a string `alg`.
    BadHeader,
    /// `crit` names extensions, and there are none that this filter understands (RFC 7515 section 4.1.11).
    CriticalExtension,
    /// The payload is not a JSON object.
    BadPayload,
}

impl Malformed {
    pub fn text(self) -> &'static str {
        match self {
            Self::TooLong => "it is over 16 KiB",
            Self::NotThreeParts => "it is not three parts between dots",
            Self::NotBase64Url => "a part is not base64url without padding",
            Self::BadHeader => "the header is not a JSON object with a string `alg`",
            Self::CriticalExtension => "the header has `crit`",
            Self::BadPayload => "the payload is not a JSON object",
        }
    }
}

impl<'a> Token<'a> {
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        if text.len() > MAX_TOKEN {
            return Err(Malformed::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Malformed::NotThreeParts)?;
        let (header, payload) = signed.split_once('.').ok_or(Malformed::NotThreeParts)?;
        if payload.contains('.') {
            return Err(Malformed::NotThreeParts);
        }
        let header: Header = object(&decode(header)?).ok_or(Malformed::BadHeader)?;
        if header.crit {
            return Err(Malformed::CriticalExtension);
        }
        let claims = object(&decode(payload)?).ok_or(Malformed::BadPayload)?;
        Ok(Self { signed, header, claims, signature: decode(signature)? })
    }
}

/// Base64url without padding, refusing every spelling but the canonical one.
pub fn decode(text: &str) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Malformed::NotBase64Url)
}

/// A JSON object, and nothing else: serde would read an array into a struct as well.
fn object<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Option<T> {
    if json.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// The token of an `Authorization` value: `Bearer`, spaces, one word (RFC 6750 section 2.1).
/// `None`: some other scheme, or not a credential at all.
pub fn bearer(value: &[u8]) -> Option<&str> {
    let value = std::str::from_utf8(value).ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    let one_word = !token.is_empty() && !token.contains(|c: char| c.is_ascii_whitespace());
    (scheme.eq_ignore_ascii_case("bearer") && one_word).then_some(token)
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload), "c2ln")
    }

    fn refused(text: &str) -> Malformed {
        Token::parse(text).unwrap_err()
    }

    #[test]
    fn takes_a_token_apart() {
        let text = token(r#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#, r#"{"iss":"me"}"#);
        let token = Token::parse(&text).unwrap();
        assert_eq!(token.header.alg, "ES256");
        assert_eq!(token.header.kid.as_deref(), Some("k"));
        assert_eq!(token.claims["iss"], "me");
        assert_eq!(token.signature, b"sig");
        assert!(text.starts_with(token.signed));
        assert_eq!(token.signed.matches('.').count(), 1);
    }

    #[test]
    fn refuses_what_is_no_token() {
        assert_eq!(refused("abc"), Malformed::NotThreeParts);
        assert_eq!(refused("a.b"), Malformed::NotThreeParts);
        assert_eq!(refused("a.b.c.d"), Malformed::NotThreeParts);
        assert_eq!(refused("aaa.bbb.ccc"), Malformed::NotBase64Url);
        assert_eq!(refused(&"a".repeat(MAX_TOKEN + 1)), Malformed::TooLong);
        assert_eq!(refused(&format!("{}=.e30.c2ln", URL_SAFE_NO_PAD.encode("{}"))), Malformed::NotBase64Url);
    }

    #[test]
    fn refuses_unusual_json() {
        assert_eq!(refused(&token("{}", "{}")), Malformed::BadHeader);
        assert_eq!(refused(&token(r#"["ES256",null,null]"#, "{}")), Malformed::BadHeader);
        assert_eq!(refused(&token(r#"{"alg":["ES256"]}"#, "{}")), Malformed::BadHeader);
        assert_eq!(refused(&token(r#"{"alg":"ES256","alg":"none"}"#, "{}")), Malformed::BadHeader);
        assert_eq!(refused(&token(r#"{"alg":"ES256","crit":[]}"#, "{}")), Malformed::CriticalExtension);
        assert_eq!(refused(&token(r#"{"alg":"ES256","crit":null}"#, "{}")), Malformed::CriticalExtension);
        assert_eq!(refused(&token(r#"{"alg":"ES256"}"#, "[]")), Malformed::BadPayload);
        let bomb = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
        assert_eq!(refused(&token(r#"{"alg":"ES256"}"#, &bomb)), Malformed::BadPayload);
    }

    #[test]
    fn a_segment_has_one_spelling() {
        // "YQ" and "YR" decode to the same byte in lenient decoders.
        assert!(decode("YQ").is_ok());
        assert_eq!(decode("YR"), Err(Malformed::NotBase64Url));
        assert_eq!(decode("Y Q"), Err(Malformed::NotBase64Url));
    }

    #[test]
    fn bearer_is_one_word_after_the_scheme() {
        assert_eq!(bearer(b"Bearer abc"), Some("abc"));
        assert_eq!(bearer(b"bEaReR  abc "), Some("abc"));
        for other in [&b"Bearer"[..], b"Bearer ", b"Basic abc", b"Bearer a b", b"Bearer a\tb", b"Bearer \xff"]
        {
            assert_eq!(bearer(other), None);
        }
    }
}
