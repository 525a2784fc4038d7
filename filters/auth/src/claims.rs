//! What a token says, checked and kept.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use enforcer_core::identity::Caller;
use serde_json::{Map, Value};

use crate::{
    certificates::{Fingerprint, fingerprint_of_hex},
    config::{Issuer, RequiredClaim},
    refusal::Refusal,
};

/// Scopes of a token: one string with spaces (RFC 8693 section 4.2), or an array (WSO2, Azure).
pub fn scopes(claims: &Map<String, Value>, issuer: &Issuer) -> Vec<String> {
    let claim = match &issuer.scopes_claim {
        Some(name) => find(claims, name),
        None => claims.get("scope").or_else(|| claims.get("scp")),
    };
    match claim {
        Some(Value::String(list)) => list.split_ascii_whitespace().map(str::to_owned).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The claims of an answer about a token (RFC 7662 section 2.2), which must be about one of this issuer. Where it
/// names a user only, that is the subject.
pub fn of_answer(mut claims: Map<String, Value>, issuer: &Issuer) -> Result<Map<String, Value>, Refusal> {
    if claims.get("iss").is_some_and(|named| named.as_str() != Some(&issuer.issuer)) {
        return Err(Refusal::Issuer);
    }
    if !claims.contains_key("sub")
        && let Some(user) = claims.get("username").cloned()
    {
        claims.insert("sub".to_owned(), user);
    }
    Ok(claims)
}

/// Checks `exp`, `nbf`, `iat` and `aud` (RFC 7519 section 4.1), revocation, key confirmation and the claims that
/// the issuer must send, and returns when the token ends, leeway included.
/// Stricter than Choreo Connect: `exp` must be there, and `nbf` and configured audiences count.
pub fn check(claims: &Map<String, Value>, issuer: &Issuer, now: Duration) -> Result<Duration, Refusal> {
    let expires = check_times(claims, issuer, now)?;
    if !issuer.audiences.is_empty() && !has_audience(claims, &issuer.audiences) {
        return Err(Refusal::Audience { expected: issuer.audiences.join(", ") });
    }
    bound(claims)?;
    let id = claims.get("jti").and_then(Value::as_str);
    if id.is_some_and(|id| issuer.revoked.iter().any(|revoked| revoked == id)) {
        return Err(Refusal::Revoked);
    }
    match issuer.required_claims.iter().find(|required| !is_satisfied(required, claims)) {
        Some(required) => Err(Refusal::RequiredClaim { name: required.claim.clone() }),
        None => Ok(expires),
    }
}

/// The client certificate that the token is bound to, if it is: `x5t#S256` (RFC 8705 section 3.1), which WSO2 writes in
/// hexadecimal. No other way in which only the holder of some key may use a token (RFC 7800) can be shown here.
pub fn bound(claims: &Map<String, Value>) -> Result<Option<Fingerprint>, Refusal> {
    let Some(confirmation) = claims.get("cnf") else { return Ok(None) };
    let members = confirmation.as_object().filter(|members| members.len() == 1).ok_or(Refusal::Bound)?;
    let text = members.get("x5t#S256").and_then(Value::as_str).ok_or(Refusal::Bound)?;
    let decoded = || URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok();
    fingerprint_of_hex(text).or_else(decoded).map(Some).ok_or(Refusal::Bound)
}

fn check_times(claims: &Map<String, Value>, issuer: &Issuer, now: Duration) -> Result<Duration, Refusal> {
    let leeway = issuer.leeway.duration();
    let expires = match time(claims, "exp")? {
        None if issuer.require_exp => return Err(Refusal::BadClaim("exp")),
        None => Duration::MAX,
        Some(end) => end.saturating_add(leeway),
    };
    if now >= expires {
        return Err(Refusal::Expired { ago: now.saturating_sub(expires) });
    }
    let not_before = time(claims, "nbf")?;
    let issued = time(claims, "iat")?;
    if let Some(start) = not_before.max(issued).filter(|start| now.saturating_add(leeway) < *start) {
        return Err(Refusal::NotYetValid { early: start.saturating_sub(now) });
    }
    let Some(max_age) = issuer.max_age else { return Ok(expires) };
    let issued = issued.ok_or(Refusal::BadClaim("iat"))?;
    let too_old = issued.saturating_add(max_age.duration()).saturating_add(leeway);
    if now >= too_old {
        return Err(Refusal::TooOld { max_age });
    }
    Ok(expires.min(too_old))
}

fn is_satisfied(required: &RequiredClaim, claims: &Map<String, Value>) -> bool {
    let accepted = |value: &Value| match value {
        Value::String(text) => required.one_of.contains(text),
        Value::Number(_) | Value::Bool(_) => required.one_of.contains(&value.to_string()),
        _ => false,
    };
    match find(claims, &required.claim) {
        None | Some(Value::Null) => false,
        Some(_) if required.one_of.is_empty() => true,
        Some(Value::Array(list)) => list.iter().any(accepted),
        Some(value) => accepted(value),
    }
}

/// A claim by its name; where none has it, dots lead into objects (`realm_access.roles`).
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (outer, inner) = name.split_once('.')?;
        find(claims.get(outer)?.as_object()?, inner)
    })
}

/// A NumericDate (RFC 7519 section 2). Times before 1970 are as good as 1970.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Duration>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(seconds)) => seconds
            .as_f64()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok())
            .map(Some)
            .ok_or(Refusal::BadClaim(name)),
        Some(_) => Err(Refusal::BadClaim(name)),
    }
}

fn has_audience(claims: &Map<String, Value>, accepted: &[String]) -> bool {
    let fits = |value: &Value| value.as_str().is_some_and(|aud| accepted.iter().any(|other| other == aud));
    match claims.get("aud") {
        Some(Value::Array(list)) => list.iter().any(fits),
        Some(value) => fits(value),
        None => false,
    }
}

/// The caller as later filters see it.
pub fn caller(claims: &Map<String, Value>, issuer: &Issuer) -> Caller {
    let consumer = match &issuer.consumer_claim {
        Some(name) => text(claims, name),
        None => text(claims, "azp").or_else(|| text(claims, "client_id")),
    };
    let mut named = BTreeMap::new();
    for claim in issuer.claim_headers.iter().map(|mapping| &mapping.claim).chain(&issuer.claims) {
        if let Some(value) = text(claims, claim) {
            named.insert(claim.clone(), value);
        }
    }
    Caller {
        issuer: issuer.issuer.clone(),
        subject: text(claims, "sub").unwrap_or_default(),
        consumer: consumer.unwrap_or_default(),
        scopes: scopes(claims, issuer),
        claims: named,
        ..Caller::default()
    }
}

/// A claim as text that arrives as it was sent in a header: strings as they are, anything else as JSON.
fn text(claims: &Map<String, Value>, name: &str) -> Option<String> {
    let text = match find(claims, name)? {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // A line break would start another header, and spaces around a value are not part of it (RFC 9110 section 5.5):
    // `alice` and ` alice` would be one to the backend.
    let arrives = !text.chars().any(char::is_control) && text.trim_matches(' ') == text;
    arrives.then_some(text)
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use serde_json::json;

    use super::*;

    fn issuer(audiences: &[&str]) -> Issuer {
        serde_json::from_value(json!({
            "issuer": "https://idp", "jwks": {"inline": {}}, "audiences": audiences,
            "claim_headers": [{"claim": "tenant", "header": "x-tenant"}],
        }))
        .unwrap()
    }

    fn verdict(claims: &Value, audiences: &[&str]) -> Result<Duration, Refusal> {
        check(claims.as_object().unwrap(), &issuer(audiences), Duration::from_secs(1000))
    }

    #[test]
    fn expiry_has_five_seconds_of_leeway() {
        assert_eq!(verdict(&json!({"exp": 995.5}), &[]), Ok(Duration::from_secs_f64(1000.5)));
        assert_eq!(verdict(&json!({"exp": 995}), &[]), Err(Refusal::Expired { ago: Duration::ZERO }));
        assert_eq!(verdict(&json!({"exp": 1001, "nbf": 1005}), &[]), Ok(Duration::from_secs(1006)));
        assert!(matches!(verdict(&json!({"exp": 1001, "nbf": 1006}), &[]), Err(Refusal::NotYetValid { .. })));
    }

    #[test]
    fn a_token_can_be_bound_to_a_certificate_and_to_nothing_else() {
        let bound = |cnf: Value| bound(json!({"cnf": cnf}).as_object().unwrap());
        assert_eq!(super::bound(&Map::new()), Ok(None));
        let seven = Ok(Some([7; 32]));
        assert_eq!(bound(json!({"x5t#S256": "07".repeat(32)})), seven);
        assert_eq!(bound(json!({"x5t#S256": URL_SAFE_NO_PAD.encode([7; 32])})), seven);
        for other in [
            json!(null),
            json!({}),
            json!({"jkt": "a"}),
            json!({"x5t#S256": "07"}),
            json!({"x5t#S256": [7]}),
            json!({"x5t#S256": "07".repeat(32), "jkt": "a"}),
        ] {
            assert_eq!(bound(other), Err(Refusal::Bound));
        }
    }

    #[test]
    fn times_are_numbers() {
        assert_eq!(verdict(&json!({}), &[]), Err(Refusal::BadClaim("exp")));
        for odd in [json!("2000"), json!(null), json!([2000]), json!(1e300), json!(true)] {
            assert_eq!(verdict(&json!({"exp": odd}), &[]), Err(Refusal::BadClaim("exp")));
        }
        assert_eq!(verdict(&json!({"exp": 2000, "nbf": "soon"}), &[]), Err(Refusal::BadClaim("nbf")));
        assert!(verdict(&json!({"exp": 2000, "nbf": -1}), &[]).is_ok());
        assert!(matches!(verdict(&json!({"exp": -1}), &[]), Err(Refusal::Expired { .. })));
    }

    fn under(settings: &Value, claims: &Value) -> Result<Duration, Refusal> {
        let mut issuer = json!({"issuer": "https://idp", "jwks": {"inline": {}}});
        issuer.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let issuer = serde_json::from_value(issuer).unwrap();
        check(claims.as_object().unwrap(), &issuer, Duration::from_secs(1000))
    }

    #[test]
    fn expiry_may_be_left_to_the_age() {
        assert_eq!(under(&json!({"require_exp": false}), &json!({})), Ok(Duration::MAX));
        let aged = json!({"require_exp": false, "max_age": "100s"});
        assert_eq!(under(&aged, &json!({"iat": 900})), Ok(Duration::from_secs(1005)));
        assert_eq!(under(&aged, &json!({"iat": 950, "exp": 1002})), Ok(Duration::from_secs(1007)));
        assert!(matches!(under(&aged, &json!({"iat": 895})), Err(Refusal::TooOld { .. })));
        assert_eq!(under(&aged, &json!({})), Err(Refusal::BadClaim("iat")));
    }

    #[test]
    fn a_token_from_the_future_is_not_valid_yet() {
        assert!(verdict(&json!({"exp": 2000, "iat": 1005}), &[]).is_ok());
        assert!(matches!(verdict(&json!({"exp": 2000, "iat": 1006}), &[]), Err(Refusal::NotYetValid { .. })));
        assert_eq!(verdict(&json!({"exp": 2000, "iat": "1000"}), &[]), Err(Refusal::BadClaim("iat")));
    }

    #[test]
    fn revoked_and_bound_tokens_are_refused() {
        let revoked = json!({"revoked": ["t-1"]});
        assert_eq!(under(&revoked, &json!({"exp": 2000, "jti": "t-1"})), Err(Refusal::Revoked));
        assert!(under(&revoked, &json!({"exp": 2000, "jti": "t-10"})).is_ok());
        assert!(under(&revoked, &json!({"exp": 2000})).is_ok());
        assert_eq!(under(&json!({}), &json!({"exp": 2000, "cnf": {"jkt": "x"}})), Err(Refusal::Bound));
    }

    #[test]
    fn required_claims_are_looked_for() {
        let tenant = json!({"required_claims": [{"claim": "tenant", "one_of": ["acme", "7", "true"]}]});
        for good in [json!("acme"), json!(["x", "acme"]), json!(7), json!(true)] {
            assert!(under(&tenant, &json!({"exp": 2000, "tenant": good})).is_ok(), "{good}");
        }
        for bad in
            [json!("acm"), json!(["x"]), json!([["acme"]]), json!({"acme": 1}), json!(null), json!(7.5)]
        {
            let refusal = Refusal::RequiredClaim { name: "tenant".to_owned() };
            assert_eq!(under(&tenant, &json!({"exp": 2000, "tenant": bad})), Err(refusal), "{bad}");
        }
        let nested = json!({"required_claims": [{"claim": "realm_access.roles", "one_of": ["admin"]}, {"claim": "sub"}]});
        let roles = json!({"exp": 2000, "sub": "", "realm_access": {"roles": ["user", "admin"]}});
        assert!(under(&nested, &roles).is_ok());
        assert!(under(&nested, &json!({"exp": 2000, "sub": "", "realm_access": ["roles"]})).is_err());
        assert!(under(&nested, &json!({"exp": 2000, "sub": "", "realm_access.roles": "admin"})).is_ok());
    }

    #[test]
    fn one_audience_of_several_is_enough() {
        let accepted = &["a", "b"];
        assert!(verdict(&json!({"exp": 2000, "aud": "b"}), accepted).is_ok());
        assert!(verdict(&json!({"exp": 2000, "aud": ["x", "a"]}), accepted).is_ok());
        for other in [json!("x"), json!(["x"]), json!([]), json!({"a": 1}), json!(null)] {
            assert!(matches!(
                verdict(&json!({"exp": 2000, "aud": other}), accepted),
                Err(Refusal::Audience { .. })
            ));
        }
        assert!(verdict(&json!({"exp": 2000}), accepted).is_err());
    }

    #[test]
    fn scopes_come_as_a_string_or_an_array() {
        let of = |claims: &Value| scopes(claims.as_object().unwrap(), &issuer(&[]));
        assert_eq!(of(&json!({"scope": "read  write"})), ["read", "write"]);
        assert_eq!(of(&json!({"scope": ["read", 1, "write"]})), ["read", "write"]);
        assert_eq!(of(&json!({"scp": ["read"]})), ["read"]);
        assert!(of(&json!({"scope": {"read": true}})).is_empty());
    }

    #[test]
    fn claims_in_headers_have_no_line_breaks() {
        let of = |claims: &Value| caller(claims.as_object().unwrap(), &issuer(&[])).claims;
        assert_eq!(of(&json!({"tenant": "acme"}))["tenant"], "acme");
        assert_eq!(of(&json!({"tenant": {"id": 7}}))["tenant"], r#"{"id":7}"#);
        assert!(of(&json!({"tenant": "a\r\nx-admin: 1"})).is_empty());
        assert!(of(&json!({"tenant": " a"})).is_empty() && of(&json!({"tenant": "a "})).is_empty());
        assert!(of(&json!({"tenant": null})).is_empty());
    }
}
