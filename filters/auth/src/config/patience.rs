//! How long a request may have to wait.

use std::time::Duration;

use super::{ApiKeyList, ApplicationList, AuthConfig, Issuer, Jwks};
use crate::GRACE;

impl AuthConfig {
    /// How long a request waits at most: once for what its credentials are judged by (keys, a list, an answer about a
    /// token), then for the agent's answer. Whoever stands before the filter has to be as patient.
    pub fn patience(&self) -> Duration {
        let api_keys = self.api_keys.as_ref();
        let listed = api_keys.and_then(|keys| match &keys.listed.as_ref()?.keys {
            ApiKeyList::Remote(document) => Some(document.timeout),
            ApiKeyList::Inline(_) => None,
        });
        let applications = self.subscriptions.as_ref().and_then(|all| match all.applications.as_ref()? {
            ApplicationList::Remote(document) => Some(document.timeout),
            ApplicationList::Inline(_) => None,
        });
        let revoked = self.revocation.as_ref().and_then(|revocation| Some(revocation.list.as_ref()?.timeout));
        let signers = api_keys.into_iter().flat_map(|keys| &keys.signed);
        let issuers = self.issuers.iter().chain(signers).filter_map(|issuer: &Issuer| match &issuer.jwks {
            Jwks::Remote(document) => Some(document.timeout),
            Jwks::Introspection(introspection) => Some(introspection.timeout),
            Jwks::Inline(_) | Jwks::Pem(_) => None,
        });
        let first = issuers.chain([listed, applications, revoked].into_iter().flatten()).max();
        let agent = self.opa.as_ref().map(|opa| opa.timeout);
        let agent = agent.or(self.xacml.as_ref().map(|point| point.timeout));
        let waits = first.into_iter().chain(agent);
        waits
            .map(|timeout| timeout.duration().saturating_add(GRACE))
            .fold(Duration::ZERO, Duration::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn patience(config: serde_json::Value) -> u128 {
        serde_json::from_value::<AuthConfig>(config).unwrap().patience().as_millis()
    }

    #[test]
    fn one_wait_for_credentials_and_one_for_the_agent() {
        let remote = |timeout| json!({ "cluster": "a", "url": "https://a.example/x", "timeout": timeout });
        let fetched =
            |timeout| json!({ "issuer": "https://a.example", "jwks": { "remote": remote(timeout) } });
        assert_eq!(patience(json!({ "issuers": [] })), 0);
        assert_eq!(patience(json!({ "issuers": [fetched("2s"), fetched("7s")] })), 7_500);
        let all = json!({
            "issuers": [fetched("2s")],
            "revocation": { "list": remote("8s") },
            "opa": remote("3s"),
        });
        assert_eq!(patience(all), 8_500 + 3_500);
        assert_eq!(patience(json!({ "xacml": remote("3s") })), 3_500);
        let others = json!({
            "api_keys": {
                "schemes": [],
                "listed": { "hash_key": "k", "keys": { "remote": remote("4s") } },
                "signed": [fetched("6s")],
            },
            "subscriptions": { "applications": { "remote": remote("5s") } },
        });
        assert_eq!(patience(others), 6_500);
    }
}
