//! What a token says, checked and kept.

use std::{collections::BTreeMap, time::Duration};

use enforcer_core::identity::Identity;
use serde_json::{Map, Value};

use crate::{config::Issuer, refusal::Refusal};

/// Scopes of a token: one string with spaces (RFC 8693 section 4.2), or an array (WSO2, Azure).
pub fn scopes(claims: &Map<String, Value>, issuer: &Issuer) -> Vec<String> {
    let claim = match &issuer.scopes_claim {
        Some(name) => claims.get(name),
        None => claims.get("scope").or_else(|| claims.get("scp")),
    };
    match claim {
        Some(Value::String(list)) => list.split_ascii_whitespace().map(str::to_owned).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Checks `exp`, `nbf` and `aud` (RFC 7519 section 4.1) and returns when the token ends, leeway included.
/// Stricter than Choreo Connect: `exp` must be there, and `nbf` and configured audiences count.
pub fn check(claims: &Map<String, Value>, issuer: &Issuer, now: Duration) -> Result<Duration, Refusal> {
    let leeway = issuer.leeway.duration();
    let expires = time(claims, "exp")?.ok_or(Refusal::BadClaim("exp"))?.saturating_add(leeway);
    if now >= expires {
        return Err(Refusal::Expired { ago: now.saturating_sub(expires) });
    }
    if let Some(start) = time(claims, "nbf")?
        && now.saturating_add(leeway) < start
    {
        return Err(Refusal::NotYetValid { early: start.saturating_sub(now) });
    }
    if !issuer.audiences.is_empty() && !has_audience(claims, &issuer.audiences) {
        return Err(Refusal::Audience { expected: issuer.audiences.join(", ") });
    }
    Ok(expires)
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

/// The caller as later filters see it; API and operation are filled in for each request.
pub fn identity(claims: &Map<String, Value>, issuer: &Issuer) -> Identity {
    let consumer = match &issuer.consumer_claim {
        Some(name) => text(claims, name),
        None => text(claims, "azp").or_else(|| text(claims, "client_id")),
    };
    let named = issuer
        .claim_headers
        .iter()
        .filter_map(|mapping| Some((mapping.claim.clone(), text(claims, &mapping.claim)?)));
    Identity {
        issuer: issuer.issuer.clone(),
        subject: text(claims, "sub").unwrap_or_default(),
        consumer: consumer.unwrap_or_default(),
        scopes: scopes(claims, issuer),
        claims: named.collect::<BTreeMap<_, _>>(),
        ..Identity::default()
    }
}

/// A claim as text that is safe in a header: strings as they are, anything else as JSON.
fn text(claims: &Map<String, Value>, name: &str) -> Option<String> {
    let text = match claims.get(name)? {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // A line break would start another header.
    (!text.chars().any(char::is_control)).then_some(text)
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
    fn times_are_numbers() {
        assert_eq!(verdict(&json!({}), &[]), Err(Refusal::BadClaim("exp")));
        for odd in [json!("2000"), json!(null), json!([2000]), json!(1e300), json!(true)] {
            assert_eq!(verdict(&json!({"exp": odd}), &[]), Err(Refusal::BadClaim("exp")));
        }
        assert_eq!(verdict(&json!({"exp": 2000, "nbf": "soon"}), &[]), Err(Refusal::BadClaim("nbf")));
        assert!(verdict(&json!({"exp": 2000, "nbf": -1}), &[]).is_ok());
        assert!(matches!(verdict(&json!({"exp": -1}), &[]), Err(Refusal::Expired { .. })));
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
        let of = |claims: &Value| identity(claims.as_object().unwrap(), &issuer(&[])).claims;
        assert_eq!(of(&json!({"tenant": "acme"}))["tenant"], "acme");
        assert_eq!(of(&json!({"tenant": {"id": 7}}))["tenant"], r#"{"id":7}"#);
        assert!(of(&json!({"tenant": "a\r\nx-admin: 1"})).is_empty());
        assert!(of(&json!({"tenant": null})).is_empty());
    }
}
