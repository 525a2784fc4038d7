//! Taking a token apart, strictly, before anything in it is believed.

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD},
    },
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{config::TokenType, json};

/// Longest header, in characters of base64url.
const MAX_HEADER: usize = 8 << 10;

/// A signed text in JWS compact serialisation (RFC 7515 section 3.1), decoded but not verified.
#[derive(Debug)]
pub struct Jws<'a> {
    /// What is signed: header and payload as they came.
    pub signed: &'a str,
    pub header: Header,
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

/// A JWS whose payload is claims (RFC 7519).
#[derive(Debug)]
pub struct Token<'a> {
    pub jws: Jws<'a>,
    pub claims: Map<String, Value>,
}

/// The parts of a JOSE header that matter here. All others are ignored, `jku`, `jwk` and `x5c` above all:
/// a token does not say which key to trust.
#[derive(Debug, Deserialize)]
pub struct Header {
    pub alg: String,
    #[serde(default)]
    pub kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
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
    /// The payload is not a JSON object, or has a name twice.
    BadPayload,
}

impl Malformed {
    pub fn text(self) -> &'static str {
        match self {
            Self::TooLong => "it, or its header, is too long",
            Self::NotThreeParts => "it is not three parts between dots",
            Self::NotBase64Url => "a part is not base64url without padding",
            Self::BadHeader => "the header is not a JSON object with a string `alg`",
            Self::CriticalExtension => "the header has `crit`",
            Self::BadPayload => "the payload is not a JSON object, or has a name twice",
        }
    }
}

/// How the parts of a token are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As RFC 7515 says, without padding.
    Strict,
    /// With or without padding, as WSO2's API keys are.
    Padded,
}

static STRICT: GeneralPurpose = URL_SAFE_NO_PAD;
static PADDED: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent));

impl Form {
    /// Base64url, refusing every spelling but the canonical one.
    fn decode(self, text: &str) -> Result<Vec<u8>, Malformed> {
        let engine = if self == Self::Strict { &STRICT } else { &PADDED };
        engine.decode(text).map_err(|_| Malformed::NotBase64Url)
    }
}

impl<'a> Jws<'a> {
    pub fn parse(text: &'a str, form: Form) -> Result<Self, Malformed> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Malformed::NotThreeParts)?;
        let (header, payload) = signed.split_once('.').ok_or(Malformed::NotThreeParts)?;
        if payload.contains('.') {
            return Err(Malformed::NotThreeParts);
        }
        if header.len() > MAX_HEADER {
            return Err(Malformed::TooLong);
        }
        let header = Header::parse(&form.decode(header)?)?;
        Ok(Self { signed, header, payload: form.decode(payload)?, signature: form.decode(signature)? })
    }
}

impl<'a> Token<'a> {
    /// Reads a token of at most `longest` characters.
    pub fn parse(text: &'a str, longest: usize, form: Form) -> Result<Self, Malformed> {
        if text.len() > longest {
            return Err(Malformed::TooLong);
        }
        let jws = Jws::parse(text, form)?;
        let claims = json::object(&jws.payload).ok_or(Malformed::BadPayload)?;
        Ok(Self { jws, claims })
    }
}

impl Header {
    fn parse(json: &[u8]) -> Result<Self, Malformed> {
        // serde would read an array into a struct as well.
        if json.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(Malformed::BadHeader);
        }
        let header: Self = serde_json::from_slice(json).map_err(|_| Malformed::BadHeader)?;
        if header.crit { Err(Malformed::CriticalExtension) } else { Ok(header) }
    }

    /// Whether the token is of the wanted kind.
    pub fn is_of(&self, wanted: TokenType) -> bool {
        let typ = self.typ.as_deref().map(|typ| match typ.split_at_checked("application/".len()) {
            Some((start, rest)) if start.eq_ignore_ascii_case("application/") => rest,
            _ => typ,
        });
        let is = |kind: &str| typ.is_some_and(|typ| typ.eq_ignore_ascii_case(kind));
        match wanted {
            TokenType::AtJwt => is("at+jwt"),
            TokenType::Any => typ.is_none() || is("JWT") || is("at+jwt"),
        }
    }
}

/// Base64url without padding, refusing every spelling but the canonical one.
pub fn decode(text: &str) -> Result<Vec<u8>, Malformed> {
    Form::Strict.decode(text)
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const LONGEST: usize = 16 << 10;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload), "c2ln")
    }

    fn refused(text: &str) -> Malformed {
        Token::parse(text, LONGEST, Form::Strict).unwrap_err()
    }

    #[test]
    fn takes_a_token_apart() {
        let text = token(r#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#, r#"{"iss":"me"}"#);
        let token = Token::parse(&text, LONGEST, Form::Strict).unwrap();
        assert_eq!(token.jws.header.alg, "ES256");
        assert_eq!(token.jws.header.kid.as_deref(), Some("k"));
        assert_eq!(token.claims["iss"], "me");
        assert_eq!(token.jws.signature, b"sig");
        assert!(text.starts_with(token.jws.signed));
        assert_eq!(token.jws.signed.matches('.').count(), 1);
    }

    #[test]
    fn refuses_what_is_no_token() {
        assert_eq!(refused("abc"), Malformed::NotThreeParts);
        assert_eq!(refused("a.b"), Malformed::NotThreeParts);
        assert_eq!(refused("a.b.c.d"), Malformed::NotThreeParts);
        assert_eq!(refused("aaa.bbb.ccc"), Malformed::NotBase64Url);
        assert_eq!(refused(&"a".repeat(LONGEST + 1)), Malformed::TooLong);
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
        assert!(Form::Strict.decode("YQ").is_ok());
        assert!(Form::Strict.decode("YQ==").is_err() && Form::Strict.decode("YQ=").is_err());
        assert!(Form::Padded.decode("YQ").is_ok() && Form::Padded.decode("YQ==").is_ok());
        for form in [Form::Strict, Form::Padded] {
            for other in ["YR", "Y Q", "YQ===", "YQ==x", "=YQ="] {
                assert_eq!(form.decode(other), Err(Malformed::NotBase64Url), "{other}");
            }
        }
    }

    #[test]
    fn a_long_header_is_refused_before_it_is_decoded() {
        let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(6 << 10));
        assert_eq!(refused(&token(&header, "{}")), Malformed::TooLong);
    }

    #[test]
    fn a_name_comes_once() {
        assert_eq!(refused(&token(r#"{"alg":"ES256"}"#, r#"{"exp":1,"\u0065xp":2}"#)), Malformed::BadPayload);
        assert_eq!(refused(&token(r#"{"alg":"ES256","\u0061lg":"none"}"#, "{}")), Malformed::BadHeader);
    }

    #[test]
    fn a_token_of_another_kind_is_no_access_token() {
        let header = |typ: &str| Header::parse(format!(r#"{{"alg":"ES256"{typ}}}"#).as_bytes()).unwrap();
        for good in ["", r#","typ":"JWT""#, r#","typ":"jwt""#] {
            assert!(header(good).is_of(TokenType::Any) && !header(good).is_of(TokenType::AtJwt), "{good}");
        }
        for good in [r#","typ":"at+jwt""#, r#","typ":"Application/AT+JWT""#] {
            assert!(header(good).is_of(TokenType::Any) && header(good).is_of(TokenType::AtJwt), "{good}");
        }
        for other in ["logout+jwt", "dpop+jwt", "JOSE", "application/", "x+jwt", ""] {
            let header = header(&format!(r#","typ":"{other}""#));
            assert!(!header.is_of(TokenType::Any) && !header.is_of(TokenType::AtJwt), "{other}");
        }
        assert!(Header::parse(br#"{"alg":"ES256","typ":7}"#).is_err());
    }
}
