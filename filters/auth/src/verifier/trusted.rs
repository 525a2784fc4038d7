//! An issuer, as it is configured, with its keys.

use std::time::Duration;

use enforcer_core::{config::ConfigError, cx::FetchKey, identity::Caller};

use crate::{config::Issuer, keys::Keys, source::may_be_written};

/// More would not tolerate clocks, but expired tokens.
const MAX_LEEWAY: Duration = Duration::from_secs(3600);

/// An issuer whose tokens are accepted.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) config: Issuer,
    pub(super) keys: Keys,
}

impl Trusted {
    pub(super) fn new(fetch: FetchKey, config: Issuer) -> Result<Self, ConfigError> {
        if config.issuer.is_empty() {
            return Err(ConfigError::at("issuer", "empty; write the `iss` of its tokens"));
        }
        if let Some(index) = config.audiences.iter().position(String::is_empty) {
            return Err(ConfigError::at(
                format!("audiences[{index}]"),
                "empty; write an `aud` of the tokens",
            ));
        }
        if let Some(bad) = config.claim_headers.iter().find(|mapping| !may_be_written(&mapping.header)) {
            let problem = format!("`{}` is not a header that can carry a claim", bad.header);
            return Err(ConfigError::at("claim_headers", problem));
        }
        if config.algorithms.as_ref().is_some_and(Vec::is_empty) {
            let problem = "no algorithm: no token could pass; leave it out for those of the keys";
            return Err(ConfigError::at("algorithms", problem));
        }
        if config.leeway.duration() > MAX_LEEWAY {
            let problem = format!("`{}` is over an hour; clocks do not differ so much", config.leeway);
            return Err(ConfigError::at("leeway", problem));
        }
        let keys = Keys::new(fetch, &config).map_err(|problem| ConfigError::at("jwks", problem))?;
        Ok(Self { config, keys })
    }
}

pub(super) fn claim_headers(issuer: &Issuer, caller: &Caller) -> Vec<(String, String)> {
    let value = |claim: &str| caller.claims.get(claim).cloned();
    let mappings = issuer.claim_headers.iter();
    mappings
        .filter_map(|mapping| Some((mapping.header.to_ascii_lowercase(), value(&mapping.claim)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use serde_json::{Value, json};

    use enforcer_core::filter::Capabilities;

    use super::*;
    use crate::{token::Form, verifier::Verifier};

    fn problem(field: &str, value: Value) -> String {
        let key = json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        let mut issuer = json!({"issuer": "a", "jwks": {"inline": {"keys": [key]}}});
        issuer[field] = value;
        let config = serde_json::from_value(json!({"issuers": [issuer]})).unwrap();
        let fetch = FetchKey { filter: "auth", id: 0 };
        let verifier = Verifier::new(fetch, Form::Strict, config, Capabilities::default());
        verifier.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn settings_without_sense_are_refused() {
        assert_eq!(problem("leeway", json!("1h")), "");
        assert!(problem("leeway", json!("3650d")).starts_with("issuers[0].leeway: `3650d` is over an hour"));
        assert!(problem("algorithms", json!([])).starts_with("issuers[0].algorithms: no algorithm"));
        for header in ["host", "Content-Length", ":path", "x y", ""] {
            let mapping = json!([{"claim": "sub", "header": header}]);
            let expected =
                format!("issuers[0].claim_headers: `{header}` is not a header that can carry a claim");
            assert_eq!(problem("claim_headers", mapping), expected);
        }
    }
}
