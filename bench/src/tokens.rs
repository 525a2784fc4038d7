//! The tokens that are sent: what an identity provider for a web shop would issue.

use std::{sync::Arc, time::Duration};

use enforcer_testbed::{Alg, Keys, TokenBuilder};
use serde_json::{Value, json};

use crate::{
    Result,
    gateway::{ISSUER, SCOPE},
};

/// Longer than any run.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// A throw-away issuer.
#[derive(Clone, Debug)]
pub struct Issuer {
    keys: Arc<Keys>,
}

impl Issuer {
    /// With new keys.
    pub fn new() -> Result<Self> {
        Ok(Self { keys: Keys::shared()? })
    }

    /// A key set with a key for each algorithm.
    pub fn jwks(&self, algorithms: &[Alg]) -> Value {
        json!({"keys": algorithms.iter().map(|algorithm| self.keys.jwk(*algorithm)).collect::<Vec<_>>()})
    }

    /// A token of about 850 bytes.
    pub fn token(&self, algorithm: Alg) -> Result<String> {
        Ok(self.builder(0).alg(algorithm).sign()?)
    }

    /// So many RS256 tokens, each of its own.
    pub fn tokens(&self, count: u32) -> Result<Vec<String>> {
        (0..count).map(|number| Ok(self.builder(number).sign()?)).collect()
    }

    fn builder(&self, number: u32) -> TokenBuilder {
        claims(self.keys.token(), number).expires_in(LIFETIME)
    }
}

/// The claims of a user's access token. Tokens with different numbers differ in their `jti`.
pub fn claims(token: TokenBuilder, number: u32) -> TokenBuilder {
    token
        .claim("iss", ISSUER)
        .claim("jti", format!("4f2d7c1e-93ab-4c55-8a0e-{number:012}"))
        .claim("sub", "a81bc81b-dead-4e5d-abff-90865d1e13b1")
        .claim("aud", json!(["shop", "account"]))
        .claim("azp", "shop-web")
        .claim("sid", "0d9fda9b-2b7c-4fd6-8d3f-41a6e5b0a7a4")
        .claim("scope", format!("openid profile email {SCOPE}"))
        .claim("preferred_username", "alice")
        .claim("email", "alice@example.com")
        .claim("email_verified", true)
}
