//! Claims of any kind are judged without harm, and only good ones are let through.

use std::time::Duration;

use enforcer_auth::{
    claims::{caller, check, scopes},
    config::Issuer,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::values::{members, number};

const NAMES: &[&str] =
    &["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "scope", "scp", "azp", "client_id", "cnf", "realm"];
/// 2026-01-01T00:00:00Z.
const NOW: Duration = Duration::from_secs(1_767_225_600);
const LEEWAY: f64 = 60.0;

fn issuer(more: &Value) -> Issuer {
    let mut issuer = json!({
        "issuer": "https://issuer.example", "jwks": {"inline": {"keys": []}}, "leeway": "60s",
        "claim_headers": [{"claim": "sub", "header": "x-sub"}, {"claim": "realm.roles", "header": "x-roles"}],
    });
    issuer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(issuer).unwrap()
}

fn seconds(claims: &Map<String, Value>, name: &str) -> Option<f64> {
    claims.get(name).and_then(Value::as_f64)
}

proptest! {
    #[test]
    fn what_passes_is_good(mut claims in members(NAMES), exp in number(), with_exp: bool) {
        if with_exp {
            claims.insert("exp".to_owned(), exp);
        }
        let issuer = issuer(&json!({"audiences": ["gateway"], "max_age": "1h"}));
        if let Ok(expires) = check(&claims, &issuer, NOW) {
            let now = NOW.as_secs_f64();
            prop_assert!(seconds(&claims, "exp").is_some_and(|exp| exp + LEEWAY > now));
            prop_assert!(seconds(&claims, "nbf").is_none_or(|nbf| nbf <= now + LEEWAY));
            prop_assert!(seconds(&claims, "iat").is_some_and(|iat| (iat - now).abs() <= 3600.0 + LEEWAY));
            let ours = Value::from("gateway");
            let among = claims["aud"].as_array().is_some_and(|list| list.contains(&ours));
            prop_assert!(claims["aud"] == ours || among);
            prop_assert!(!claims.contains_key("cnf"));
            prop_assert!(expires > NOW && expires.as_secs_f64() <= seconds(&claims, "exp").unwrap().max(0.0) + LEEWAY);
        }
    }

    #[test]
    fn times_in_order_pass(exp in 1_i64..1_000_000, age in 0_u64..3_600, early in 0_u64..60) {
        let now = NOW.as_secs();
        let claims = json!({"exp": now.checked_add_signed(exp).unwrap(), "iat": now - age, "nbf": now + early});
        let checked = check(claims.as_object().unwrap(), &issuer(&json!({"max_age": "1h"})), NOW);
        prop_assert!(checked.is_ok());
    }

    #[test]
    fn whatever_a_token_says_becomes_no_control_character_in_a_header(claims in members(NAMES)) {
        let issuer = issuer(&json!({}));
        let caller = caller(&claims, &issuer);
        for (name, value) in &caller.claims {
            prop_assert!(!value.chars().any(char::is_control), "{}: {:?}", name, value);
        }
        if claims.get("scope").is_some_and(Value::is_string) {
            let apart = |scope: &String| !scope.is_empty() && !scope.contains(|c: char| c.is_ascii_whitespace());
            prop_assert!(scopes(&claims, &issuer).iter().all(apart));
        }
    }
}
