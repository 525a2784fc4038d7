//! From a token's text to what is known of its bearer.

use std::{collections::HashMap, rc::Rc, time::Duration};

use enforcer_core::{
    cache::{Cache, Weigh},
    config::ConfigError,
    cx::{CalloutError, Cx, FetchKey, HttpReply},
    filter::Capabilities,
    identity::Identity,
    units::ByteSize,
};
use serde_json::Value;

use crate::{
    claims,
    config::{Algorithm, Issuer},
    keys::{Keys, Lookup},
    refusal::{Claimed, Refusal},
    token::Token,
};

/// More would not tolerate clocks, but expired tokens.
const MAX_LEEWAY: Duration = Duration::from_secs(3600);

/// Verifies tokens of the configured issuers, and remembers those it has verified.
#[derive(Debug)]
pub struct Verifier {
    issuers: Vec<Trusted>,
    by_name: HashMap<String, usize>,
    cache: Cache<Rc<Verified>>,
    by_host: bool,
}

#[derive(Debug)]
struct Trusted {
    config: Issuer,
    keys: Keys,
}

/// A token that was verified.
#[derive(Debug)]
pub struct Verified {
    /// Of [`Verifier`]'s issuers.
    pub issuer: usize,
    /// The caller, without API and operation.
    pub identity: Identity,
    /// Claims for the backend: header and value.
    pub headers: Vec<(String, String)>,
    kid: Option<String>,
    /// The keys that it was verified with: when others are in use, it must be verified again.
    generation: u32,
}

impl Verified {
    /// For the log, when the token is good but not good enough.
    pub fn claimed(&self) -> Claimed {
        Claimed { issuer: Some(self.identity.issuer.clone()), kid: self.kid.clone() }
    }
}

/// What came of a token.
#[derive(Debug)]
pub enum Outcome {
    Verified(Rc<Verified>),
    Refused(Refusal, Claimed),
    /// Keys are being fetched: come back when they are there, or so much later.
    Wait(FetchKey, Duration),
}

impl Verifier {
    pub fn new(
        filter: &'static str,
        issuers: Vec<Issuer>,
        cache: ByteSize,
        capabilities: Capabilities,
    ) -> Result<Self, ConfigError> {
        if issuers.is_empty() {
            return Err(ConfigError::at("issuers", "no issuer: nobody could call; name at least one"));
        }
        let mut by_name = HashMap::new();
        let mut trusted = Vec::with_capacity(issuers.len());
        for (index, config) in issuers.into_iter().enumerate() {
            let at =
                |field: &str, problem: String| ConfigError::at(format!("issuers[{index}].{field}"), problem);
            if by_name.insert(config.issuer.clone(), index).is_some() {
                return Err(at("issuer", format!("`{}` is configured twice", config.issuer)));
            }
            if let Some(bad) = config.claim_headers.iter().find(|mapping| !may_carry_claim(&mapping.header)) {
                let problem = format!("`{}` is not a header that can carry a claim", bad.header);
                return Err(at("claim_headers", problem));
            }
            if config.algorithms.is_empty() {
                return Err(at(
                    "algorithms",
                    "no algorithm: no token could pass; leave it out for all".to_owned(),
                ));
            }
            if config.leeway.duration() > MAX_LEEWAY {
                let problem = format!("`{}` is over an hour; clocks do not differ so much", config.leeway);
                return Err(at("leeway", problem));
            }
            let id = u32::try_from(index).unwrap_or(u32::MAX);
            let keys = Keys::new(filter, id, &config.issuer, config.jwks.clone())
                .map_err(|problem| at("jwks", problem))?;
            trusted.push(Trusted { config, keys });
        }
        let by_host = capabilities.verify_signature;
        Ok(Self { issuers: trusted, by_name, cache: Cache::new(cache.as_usize()), by_host })
    }

    /// Verifies a token, from the cache if it can. `may_wait`: the request has not waited for keys yet.
    pub fn verify(&mut self, text: &str, cx: &mut Cx<'_>, may_wait: bool) -> Outcome {
        let now = cx.host.now();
        if let Some(known) = self.cache.get(text.as_bytes(), now) {
            let keys = self.issuers.get(known.issuer).and_then(|issuer| issuer.keys.generation(cx.host));
            if keys == Some(known.generation) {
                cx.host.count("enforcer.auth.token_cache.hit", 1);
                return Outcome::Verified(Rc::clone(known));
            }
        }
        cx.host.count("enforcer.auth.token_cache.miss", 1);
        match self.verify_anew(text, cx, may_wait, now) {
            Ok((verified, expires)) => {
                let verified = Rc::new(verified);
                self.cache.insert(text.as_bytes(), Rc::clone(&verified), expires);
                Outcome::Verified(verified)
            }
            Err((Stop::Wait(on, deadline), _)) => Outcome::Wait(on, deadline),
            Err((Stop::Refuse(refusal), claimed)) => Outcome::Refused(refusal, claimed),
        }
    }

    fn verify_anew(
        &mut self,
        text: &str,
        cx: &mut Cx<'_>,
        may_wait: bool,
        now: Duration,
    ) -> Result<(Verified, Duration), (Stop, Claimed)> {
        let malformed = |malformed| (Stop::Refuse(Refusal::Malformed(malformed)), Claimed::default());
        let token = Token::parse(text).map_err(malformed)?;
        self.verify_parsed(&token, cx, may_wait, now).map_err(|stop| {
            let issuer = token.claims.get("iss").and_then(Value::as_str).map(str::to_owned);
            (stop, Claimed { issuer, kid: token.header.kid.clone() })
        })
    }

    fn verify_parsed(
        &mut self,
        token: &Token<'_>,
        cx: &mut Cx<'_>,
        may_wait: bool,
        now: Duration,
    ) -> Result<(Verified, Duration), Stop> {
        let name = token.claims.get("iss").and_then(Value::as_str).ok_or(Refusal::BadClaim("iss"))?;
        let index = *self.by_name.get(name).ok_or(Refusal::Issuer)?;
        let Trusted { config, keys } = self.issuers.get_mut(index).ok_or(Refusal::Issuer)?;
        let algorithm = allowed(config, &token.header.alg)
            .ok_or_else(|| Refusal::Algorithm { got: token.header.alg.clone() })?;
        // Before the signature: an expired token must not make anybody fetch keys.
        let expires = claims::check(&token.claims, config, now)?;
        let key = match keys.find(token.header.kid.as_deref(), algorithm, cx, may_wait) {
            Lookup::Found(key) => key,
            Lookup::Unknown => return Err(Refusal::Key.into()),
            Lookup::Unavailable => return Err(Refusal::KeysUnavailable.into()),
            Lookup::Wait(on, deadline) => return Err(Stop::Wait(on, deadline)),
        };
        let (genuine, checked) = key.verify(cx.host, self.by_host, token.signed.as_bytes(), &token.signature);
        cx.host.count(checked.metric(), 1);
        if !genuine {
            return Err(Refusal::Signature.into());
        }
        let identity = claims::identity(&token.claims, config);
        let headers = claim_headers(config, &identity);
        let generation = keys.generation(cx.host).unwrap_or_default();
        let kid = token.header.kid.clone();
        Ok((Verified { issuer: index, identity, headers, kid, generation }, expires))
    }

    pub fn on_tick(&mut self, cx: &mut Cx<'_>) {
        self.issuers.iter_mut().for_each(|issuer| issuer.keys.on_tick(cx));
    }

    pub fn on_fetched(&mut self, id: u32, reply: Result<&HttpReply, CalloutError>, cx: &mut Cx<'_>) {
        let issuer = usize::try_from(id).ok().and_then(|index| self.issuers.get_mut(index));
        if let Some(issuer) = issuer {
            issuer.keys.on_fetched(reply, cx);
        }
    }
}

/// Why a token is not verified now.
enum Stop {
    Refuse(Refusal),
    Wait(FetchKey, Duration),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// A header name (RFC 9110 section 5.1) that neither routes nor frames the request.
fn may_carry_claim(name: &str) -> bool {
    const TAKEN: [&str; 6] = ["host", "content-length", "transfer-encoding", "connection", "te", "upgrade"];
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token) && !TAKEN.iter().any(|taken| name.eq_ignore_ascii_case(taken))
}

/// The algorithm that a token names, if its issuer may use it.
fn allowed(issuer: &Issuer, name: &str) -> Option<Algorithm> {
    issuer.algorithms.iter().copied().find(|algorithm| algorithm.name() == name)
}

fn claim_headers(issuer: &Issuer, identity: &Identity) -> Vec<(String, String)> {
    let value = |claim: &str| identity.claims.get(claim).cloned();
    let mappings = issuer.claim_headers.iter();
    mappings
        .filter_map(|mapping| Some((mapping.header.to_ascii_lowercase(), value(&mapping.claim)?)))
        .collect()
}

impl Weigh for Verified {
    fn weight(&self) -> usize {
        let Identity { issuer, subject, consumer, scopes, claims, .. } = &self.identity;
        let texts = [issuer.len(), subject.len(), consumer.len()].into_iter();
        let lists = scopes.iter().map(|scope| scope.len().saturating_add(size_of::<String>()));
        let pairs = claims.iter().chain(self.headers.iter().map(|(name, value)| (name, value)));
        let pairs = pairs.map(|(name, value)| name.len().saturating_add(value.len()).saturating_add(64));
        texts.chain(lists).chain(pairs).fold(0, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use serde_json::{Value, json};

    use super::*;

    fn problem(field: &str, value: Value) -> String {
        let key = json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        let mut issuer = json!({"issuer": "a", "jwks": {"inline": {"keys": [key]}}});
        issuer[field] = value;
        let issuer = serde_json::from_value(issuer).unwrap();
        let verifier = Verifier::new("auth", vec![issuer], ByteSize::from_bytes(0), Capabilities::default());
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
