//! Tokens, good and bad, from their description in a case file.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use enforcer_core::units::Span;
use enforcer_testbed::{Alg, base64url, hmac};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value, json};

use crate::Error;
use crate::keys::Key;
use crate::template::{self, Names};

/// What a token consists of. Left out: signed by `rsa-1` with the algorithm and `kid` of the key, issued now,
/// good for an hour.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenSpec {
    /// The token that this one is like, except for what follows. Header and claims are merged.
    pub(crate) from: Option<String>,
    /// Who signs: `rsa-1`, `ed-2`, ...
    pub(crate) key: Option<String>,
    /// How: `RS256`, `PS512`, `ES384`, ... With a key that has a public half, `HS256` and its like take that, in
    /// PEM, for their secret (RFC 8725 section 2.1).
    pub(crate) alg: Option<String>,
    /// Header parameters; `null` removes one. They do not change how the token is signed.
    #[serde(default)]
    pub(crate) header: Map<String, Value>,
    /// Claims; `null` removes one.
    #[serde(default)]
    pub(crate) claims: Map<String, Value>,
    /// `iat`, from now.
    pub(crate) issued: Option<Offset>,
    /// `exp`, from now: `1h`, `-10s`.
    pub(crate) expires: Option<Offset>,
    /// `nbf`, from now.
    pub(crate) not_before: Option<Offset>,
    /// The header as it stands, in place of the JSON.
    pub(crate) raw_header: Option<String>,
    /// The claims as they stand.
    pub(crate) raw_claims: Option<String>,
    /// The part after the second dot, as it stands.
    pub(crate) signature: Option<String>,
    /// What is changed after signing.
    pub(crate) tamper: Option<Tamper>,
    /// The whole token as it stands.
    pub(crate) text: Option<String>,
}

/// A part changed after signing, so that only the signature can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tamper {
    /// A header parameter is added.
    Header,
    /// A claim is added.
    Payload,
    /// A bit of the signature is flipped.
    Signature,
    /// The signature is replaced by the other one that fits as well: ES256 alone.
    Twin,
}

/// A point in time before or after now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    after: bool,
    span: Duration,
}

impl Offset {
    const HOUR: Self = Self { after: true, span: Duration::from_secs(3600) };

    /// In seconds since 1970, as tokens have it (RFC 7519 section 2).
    fn seconds_after(self, now: SystemTime) -> u64 {
        let then = if self.after { now.checked_add(self.span) } else { now.checked_sub(self.span) };
        seconds(then.unwrap_or(now))
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (after, span) = match text.strip_prefix('-') {
            Some(span) => (false, span),
            None => (true, text.as_str()),
        };
        let span: Span = span.parse().map_err(de::Error::custom)?;
        Ok(Self { after, span: span.duration() })
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl TokenSpec {
    /// The token of this name with what it takes over from others.
    pub(crate) fn find(name: &str, specs: &BTreeMap<String, Self>) -> Result<Self, Error> {
        let mut found = specs
            .get(name)
            .cloned()
            .ok_or_else(|| Error::Case(format!("there is no token `{name}` in this file")))?;
        // Each takes over from another at most once, so more steps than tokens are a circle.
        for _ in 0..specs.len() {
            let Some(base) = found.from.take() else { return Ok(found) };
            let base = specs
                .get(&base)
                .ok_or_else(|| Error::Case(format!("token `{name}` is made from `{base}`: no such token")))?;
            found = found.over(base);
        }
        Err(Error::Case(format!("token `{name}` is made from itself")))
    }

    fn over(self, base: &Self) -> Self {
        let merged = |base: &Map<String, Value>, own: Map<String, Value>| {
            base.clone().into_iter().chain(own).collect::<Map<_, _>>()
        };
        Self {
            from: base.from.clone(),
            key: self.key.or_else(|| base.key.clone()),
            alg: self.alg.or_else(|| base.alg.clone()),
            header: merged(&base.header, self.header),
            claims: merged(&base.claims, self.claims),
            issued: self.issued.or(base.issued),
            expires: self.expires.or(base.expires),
            not_before: self.not_before.or(base.not_before),
            raw_header: self.raw_header.or_else(|| base.raw_header.clone()),
            raw_claims: self.raw_claims.or_else(|| base.raw_claims.clone()),
            signature: self.signature.or_else(|| base.signature.clone()),
            tamper: self.tamper.or(base.tamper),
            text: self.text.or_else(|| base.text.clone()),
        }
    }

    /// Writes and signs it (RFC 7515 section 5.1). In raw parts a character is a byte.
    pub(crate) fn mint(&self, now: SystemTime, names: &impl Names) -> Result<String, Error> {
        if let Some(text) = &self.text {
            return template::text(text, names);
        }
        let key = Key::named(self.key.as_deref().unwrap_or("rsa-1"))?;
        let alg = self.alg.as_deref().unwrap_or_else(|| key.alg.name());
        let header = json!({ "alg": alg, "typ": "JWT", "kid": key.keys.kid(key.alg) });
        let header = part(header, &self.header, self.raw_header.as_deref(), names)?;
        let claims = part(self.times(now), &self.claims, self.raw_claims.as_deref(), names)?;
        let input = format!("{}.{}", base64url(&header), base64url(&claims));
        let mut signature = match &self.signature {
            Some(text) => return Ok(format!("{input}.{}", template::text(text, names)?)),
            None => sign(&key, alg, input.as_bytes())?,
        };
        let (header, claims) = match self.tamper {
            None => (header, claims),
            Some(Tamper::Header) => (with_member(&header)?, claims),
            Some(Tamper::Payload) => (header, with_member(&claims)?),
            Some(Tamper::Signature) => {
                if let Some(byte) = signature.first_mut() {
                    *byte ^= 1;
                }
                (header, claims)
            }
            Some(Tamper::Twin) => {
                signature = twin(&signature);
                (header, claims)
            }
        };
        Ok(format!("{}.{}.{}", base64url(header), base64url(claims), base64url(signature)))
    }

    fn times(&self, now: SystemTime) -> Value {
        let expires = self.expires.unwrap_or(Offset::HOUR);
        let issued = self.issued.map_or(seconds(now), |issued| issued.seconds_after(now));
        let mut times = json!({ "iat": issued, "exp": expires.seconds_after(now) });
        if let (Some(offset), Some(members)) = (self.not_before, times.as_object_mut()) {
            members.insert("nbf".into(), offset.seconds_after(now).into());
        }
        times
    }
}

/// Header or claims: what stands there, else the defaults with the changes.
fn part(
    mut defaults: Value,
    changes: &Map<String, Value>,
    raw: Option<&str>,
    names: &impl Names,
) -> Result<Vec<u8>, Error> {
    if let Some(raw) = raw {
        return latin1(&template::text(raw, names)?);
    }
    if let Some(members) = defaults.as_object_mut() {
        for (name, value) in changes {
            members.insert(name.clone(), template::json(value, names)?);
        }
        members.retain(|_, value| !value.is_null());
    }
    Ok(defaults.to_string().into_bytes())
}

fn sign(key: &Key, name: &str, input: &[u8]) -> Result<Vec<u8>, Error> {
    let unknown = || Error::Case(format!("`{name}` cannot be signed with: say it in `header` instead"));
    let alg = Alg::of_name(name).ok_or_else(unknown)?;
    if matches!(alg, Alg::HS256 | Alg::HS384 | Alg::HS512) && !key.is_symmetric() {
        return Ok(hmac(alg, key.keys.public_pem(key.alg)?.as_bytes(), input));
    }
    Ok(key.keys.sign(alg, input)?)
}

/// Of (r, s) also (r, n - s), n being the order of P-256 (FIPS 186-5, SP 800-186 section 3.2.1.3).
fn twin(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (r, s) = signature.split_at(signature.len().min(32));
    let mut borrow = false;
    let mut difference: Vec<u8> = Vec::with_capacity(ORDER.len());
    for (n, s) in ORDER.iter().zip(s).rev() {
        let (byte, first) = n.overflowing_sub(*s);
        let (byte, second) = byte.overflowing_sub(borrow.into());
        borrow = first || second;
        difference.insert(0, byte);
    }
    [r, &difference].concat()
}

fn with_member(part: &[u8]) -> Result<Vec<u8>, Error> {
    let mut object: Map<String, Value> =
        serde_json::from_slice(part).map_err(|_| Error::Case("only JSON can be tampered with".into()))?;
    object.insert("tampered".into(), true.into());
    Ok(Value::Object(object).to_string().into_bytes())
}

/// The bytes of a text that has one character a byte.
pub(crate) fn latin1(text: &str) -> Result<Vec<u8>, Error> {
    let byte = |character| {
        u8::try_from(u32::from(character))
            .map_err(|_| Error::Case(format!("`{character}` is more than a byte: escape its bytes, `\\xNN`")))
    };
    text.chars().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    struct Nothing;

    impl Names for Nothing {
        fn value(&self, _: &str) -> Result<Option<Value>, Error> {
            Ok(None)
        }
    }

    fn mint(specs: &str, name: &str) -> Result<String, Error> {
        let specs: BTreeMap<String, TokenSpec> = serde_saphyr::from_str(specs).unwrap();
        let now = UNIX_EPOCH.checked_add(Duration::from_secs(1000)).unwrap();
        TokenSpec::find(name, &specs)?.mint(now, &Nothing)
    }

    fn decoded(token: &str, part: usize) -> Value {
        let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(part).unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn tokens_take_over_from_others() {
        let specs = "{a: {key: ec-1, claims: {iss: i, sub: s}}, b: {from: a, issued: -1m, expires: -10s, claims: {sub: null}}}";
        let token = mint(specs, "b").unwrap();
        assert_eq!(decoded(&token, 0), json!({ "alg": "ES256", "typ": "JWT", "kid": "ec-1" }));
        assert_eq!(decoded(&token, 1), json!({ "iss": "i", "iat": 940, "exp": 990 }));
    }

    #[test]
    fn tampering_keeps_the_signature() {
        let specs = "{a: {claims: {x: 1}}, b: {from: a, tamper: payload}, c: {from: a, tamper: signature}}";
        let [good, payload, signature] = ["a", "b", "c"].map(|name| mint(specs, name).unwrap());
        assert_eq!(good.rsplit('.').next(), payload.rsplit('.').next());
        assert_eq!(decoded(&payload, 1)["tampered"], true);
        assert_ne!(good.rsplit('.').next(), signature.rsplit('.').next());
        assert_eq!(good.rsplit_once('.').unwrap().0, signature.rsplit_once('.').unwrap().0);
    }

    #[test]
    fn a_public_key_can_be_taken_for_a_secret() {
        let specs = "{a: {key: oct-1}, b: {key: rsa-1, alg: HS256}, c: {key: rsa-1, alg: HS512}}";
        let lengths =
            ["a", "b", "c"].map(|name| mint(specs, name).unwrap().rsplit('.').next().unwrap().len());
        assert_eq!(lengths, [43, 43, 86]);
    }

    #[test]
    fn raw_parts_are_bytes() {
        assert_eq!(
            mint(r#"a: {raw_header: "{", raw_claims: "\xff", signature: ""}"#, "a").unwrap(),
            "ew._w."
        );
        assert_eq!(mint("a: {text: aaa.bbb.ccc}", "a").unwrap(), "aaa.bbb.ccc");
    }

    #[test]
    fn circles_and_unknown_names_are_mistakes() {
        assert!(mint("{a: {from: b}, b: {from: a}}", "a").unwrap_err().to_string().contains("from itself"));
        assert!(mint("{a: {from: x}}", "a").unwrap_err().to_string().contains("`x`"));
        assert!(mint("a: {alg: none}", "a").unwrap_err().to_string().contains("`none`"));
    }
}
