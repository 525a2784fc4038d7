//! From a token's text to what is known of its bearer.

mod trusted;
mod weight;

use std::{collections::HashMap, rc::Rc, time::Duration};

use enforcer_core::{
    cache::Cache,
    config::ConfigError,
    cx::{CalloutError, Cx, FetchKey, HttpReply},
    filter::Capabilities,
    identity::{Caller, Part},
};
use serde_json::{Map, Value};

use crate::{
    budget::Budget,
    certificates::Fingerprint,
    claims,
    config::{Algorithm, AuthConfig, Jwks},
    introspection::{Answer, Asker, Overheard},
    key_type::KeyType,
    keys::Lookup,
    refusal::{Claimed, Refusal},
    revocation::Fingerprints,
    token::{Form, Malformed, Token},
    wso2::Grants,
};
use trusted::{Trusted, claim_headers};

/// Verifies tokens of the configured issuers, and remembers those it has verified.
#[derive(Debug)]
pub struct Verifier {
    issuers: Vec<Trusted>,
    by_name: HashMap<String, usize>,
    verified: Cache<Rc<Verified>>,
    refused: Cache<Rc<Bad>>,
    longest: usize,
    budget: Budget,
    by_host: bool,
    form: Form,
    /// Tokens may be revoked.
    revocable: bool,
    /// The backend is told of claims.
    keeps_claims: bool,
    /// Tokens may need a subscription.
    subscribed: bool,
    /// The issuer that is asked about tokens, and how.
    asker: Option<(usize, Asker)>,
    /// Names the fetch of the first issuer's keys.
    first_fetch: u32,
}

/// A token that was verified.
#[derive(Debug)]
pub struct Verified {
    /// Of [`Verifier`]'s issuers.
    pub issuer: usize,
    pub caller: Part<Caller>,
    /// Claims for the backend: header and value.
    pub headers: Vec<(String, String)>,
    /// The client certificate without which it is worth nothing.
    pub bound: Option<Fingerprint>,
    pub key_type: KeyType,
    /// Of an API key, or of a token with `subscribedAPIs` where that matters: what it may be used for.
    pub grants: Option<Grants>,
    /// Its claims, where the backend is told of them.
    pub claims: Option<Map<String, Value>>,
    /// By what it may be revoked.
    pub prints: Fingerprints,
    kid: Option<String>,
    /// The keys that it was verified with: when others are in use, it must be verified again.
    generation: u32,
}

impl Verified {
    /// For the log, when the token is good but not good enough.
    pub fn claimed(&self) -> Claimed {
        Claimed { issuer: Some(self.caller.issuer.clone()), kid: self.kid.clone() }
    }
}

/// A token whose signature was wrong, or that its issuer does not vouch for: not worth the time to find that out
/// twice.
#[derive(Debug)]
struct Bad {
    refusal: Refusal,
    claimed: Claimed,
    issuer: usize,
    /// The keys that it does not fit.
    generation: u32,
}

/// The claim with the APIs that a token's application has subscribed to.
const SUBSCRIBED: &str = "subscribedAPIs";

/// Questions about tokens are named from here on, fetches of keys below.
const QUESTIONS: u32 = 1 << 16;

/// How long a wrong signature is remembered.
const FORGED_FOR: Duration = Duration::from_secs(300);

/// What came of a token.
#[derive(Debug)]
pub enum Outcome {
    Verified(Rc<Verified>),
    Refused(Refusal, Claimed),
    /// Keys are being fetched: come back when they are there, or so much later.
    Wait(FetchKey, Duration),
}

impl Verifier {
    /// `form` tells access tokens from API keys; `fetch` names the fetch of the first issuer's keys, and the numbers
    /// after it those of the others.
    pub fn new(
        fetch: FetchKey,
        form: Form,
        config: AuthConfig,
        capabilities: Capabilities,
    ) -> Result<Self, ConfigError> {
        let budget = Budget::new(config.verification_budget).ok_or_else(|| {
            ConfigError::at(
                "verification_budget",
                "none: with keys that Envoy cannot use, no token could pass",
            )
        })?;
        if config.max_token.as_usize() == 0 {
            return Err(ConfigError::at("max_token", "`0B`: no token could pass"));
        }
        let subscribed = config.subscriptions.is_some();
        let revocable = config.revocation.is_some();
        let keeps_claims = config.backend_token.is_some();
        let mut by_name = HashMap::new();
        let mut issuers = Vec::with_capacity(config.issuers.len());
        for (index, issuer) in config.issuers.into_iter().enumerate() {
            if by_name.insert(issuer.issuer.clone(), index).is_some() {
                let problem = format!("`{}` is configured twice", issuer.issuer);
                return Err(ConfigError::at(format!("issuers[{index}].issuer"), problem));
            }
            let id = u32::try_from(index).map_or(u32::MAX, |index| fetch.id.saturating_add(index));
            let trusted = Trusted::new(FetchKey { id, ..fetch }, issuer);
            issuers.push(trusted.map_err(|error| error.under(&format!("issuers[{index}]")))?);
        }
        let cache = config.token_cache.as_usize();
        let asker = asker(&mut issuers, fetch, cache)?;
        Ok(Self {
            asker,
            issuers,
            by_name,
            verified: Cache::new(cache),
            refused: Cache::new(cache / 16),
            longest: config.max_token.as_usize(),
            budget,
            by_host: capabilities.verify_signature,
            form,
            revocable,
            keeps_claims,
            subscribed,
            first_fetch: fetch.id,
        })
    }

    /// Whether anybody may issue tokens.
    pub fn has_issuers(&self) -> bool {
        !self.issuers.is_empty()
    }

    /// Verifies a token, from the cache if it can. `may_wait`: the request has not waited for keys yet.
    pub fn verify(&mut self, text: &[u8], cx: &mut Cx<'_>, may_wait: bool) -> Outcome {
        let now = cx.host.now();
        if let Some(known) = self.verified.get(text, now)
            && current(&self.issuers, known.issuer, cx) == Some(known.generation)
        {
            cx.host.count("enforcer.auth.token_cache.hit", 1);
            return Outcome::Verified(Rc::clone(known));
        }
        if let Some(known) = self.refused.get(text, now)
            && current(&self.issuers, known.issuer, cx) == Some(known.generation)
        {
            cx.host.count("enforcer.auth.token_cache.refused", 1);
            return Outcome::Refused(known.refusal.clone(), known.claimed.clone());
        }
        cx.host.count("enforcer.auth.token_cache.miss", 1);
        match self.verify_anew(text, cx, may_wait, now) {
            Ok((verified, expires)) => {
                let verified = Rc::new(verified);
                self.verified.insert(text, Rc::clone(&verified), expires);
                Outcome::Verified(verified)
            }
            Err((Stop::Wait(on, deadline), _)) => Outcome::Wait(on, deadline),
            Err((Stop::Refuse(refusal), claimed)) => Outcome::Refused(refusal, claimed),
            Err((Stop::Forged { issuer, generation }, claimed)) => {
                let bad = Bad { refusal: Refusal::Signature, claimed: claimed.clone(), issuer, generation };
                self.refused.insert(text, Rc::new(bad), now.saturating_add(FORGED_FOR));
                Outcome::Refused(Refusal::Signature, claimed)
            }
        }
    }

    fn verify_anew(
        &mut self,
        text: &[u8],
        cx: &mut Cx<'_>,
        may_wait: bool,
        now: Duration,
    ) -> Result<(Verified, Duration), (Stop, Claimed)> {
        // Envoy joins several values of a well-known header with commas, which no token contains.
        if text.contains(&b',') {
            return Err((Refusal::Repeated.into(), Claimed::default()));
        }
        let malformed = |malformed| (Refusal::Malformed(malformed).into(), Claimed::default());
        let text = std::str::from_utf8(text).map_err(|_| malformed(Malformed::NotBase64Url))?;
        let token = Token::parse(text, self.longest, self.form);
        if let Some((issuer, asker)) = &mut self.asker
            && is_asked_about(&token, self.issuers.get(*issuer))
        {
            let (on, deadline) =
                asker.ask(text, cx, may_wait).map_err(|no| (no.into(), Claimed::default()))?;
            return Err((Stop::Wait(on, deadline), Claimed::default()));
        }
        let token = token.map_err(malformed)?;
        self.verify_parsed(&token, cx, may_wait, now).map_err(|stop| {
            let issuer = token.claims.get("iss").and_then(Value::as_str).map(str::to_owned);
            (stop, Claimed { issuer, kid: token.jws.header.kid.clone() })
        })
    }

    fn verify_parsed(
        &mut self,
        token: &Token<'_>,
        cx: &mut Cx<'_>,
        may_wait: bool,
        now: Duration,
    ) -> Result<(Verified, Duration), Stop> {
        let Token { jws, claims } = token;
        let name = claims.get("iss").and_then(Value::as_str).ok_or(Refusal::BadClaim("iss"))?;
        let issuer = *self.by_name.get(name).ok_or(Refusal::Issuer)?;
        let Trusted { config, keys } = self.issuers.get_mut(issuer).ok_or(Refusal::Issuer)?;
        let wrong_algorithm = || Refusal::Algorithm { got: jws.header.alg.clone() };
        let algorithm = Algorithm::of_name(&jws.header.alg).ok_or_else(wrong_algorithm)?;
        if config.algorithms.as_ref().is_some_and(|allowed| !allowed.contains(&algorithm)) {
            return Err(wrong_algorithm().into());
        }
        if !jws.header.is_of(config.typ) {
            return Err(Refusal::Kind.into());
        }
        // Before the signature: an expired token must not make anybody fetch keys.
        let expires = claims::check(claims, config, now)?;
        let generation = keys.generation(cx.host).unwrap_or_default();
        let keys = match keys.find(jws.header.kid.as_deref(), algorithm, cx, may_wait) {
            Lookup::Found(keys) => keys,
            Lookup::WrongAlgorithm => return Err(wrong_algorithm().into()),
            Lookup::Unknown => return Err(Refusal::Key.into()),
            Lookup::Unavailable => return Err(Refusal::KeysUnavailable.into()),
            Lookup::Wait(on, deadline) => return Err(Stop::Wait(on, deadline)),
        };
        let mut genuine = false;
        for key in keys {
            let weight = key.weight(algorithm, self.by_host);
            if weight > 0 && !self.budget.take(weight, cx.host.monotonic()) {
                return Err(Refusal::Busy.into());
            }
            let (verdict, checked) =
                key.verify(algorithm, cx.host, self.by_host, jws.signed.as_bytes(), &jws.signature);
            cx.host.count(checked.metric(), 1);
            if verdict {
                genuine = true;
                break;
            }
        }
        if !genuine {
            return Err(Stop::Forged { issuer, generation });
        }
        let caller = claims::caller(claims, config);
        let headers = claim_headers(config, &caller);
        let has_grants = self.form == Form::Padded || (self.subscribed && claims.contains_key(SUBSCRIBED));
        let grants = has_grants.then(|| Grants::read(claims, &caller));
        let caller = Part::new(caller);
        let kid = jws.header.kid.clone();
        let bound = claims::bound(claims)?;
        let key_type = KeyType::of_claims(claims);
        let prints = if self.revocable {
            fingerprints(claims, jws.signed.as_bytes())
        } else {
            Fingerprints::default()
        };
        let claims = self.keeps_claims.then(|| claims.clone());
        let verified =
            Verified { issuer, caller, headers, bound, key_type, grants, claims, prints, kid, generation };
        Ok((verified, expires))
    }

    /// Remembers what an authorization server says of a token, or said so long ago.
    fn remember(&mut self, token: &[u8], answer: Answer, age: Duration, cx: &Cx<'_>) {
        let Some((issuer, asker)) = &self.asker else { return };
        let Some(Trusted { config, .. }) = self.issuers.get(*issuer) else { return };
        let now = cx.host.now();
        let believed = |time: Duration| now.saturating_add(time.saturating_sub(age));
        let checked = match answer {
            Answer::Failed => return,
            Answer::Inactive => Err(Refusal::Inactive),
            Answer::Active(claims) => claims::of_answer(claims, config).and_then(|claims| {
                let expires = claims::check(&claims, config, now)?;
                let bound = claims::bound(&claims)?;
                Ok((claims, bound, expires))
            }),
        };
        match checked {
            Ok((claims, bound, expires)) => {
                let caller = claims::caller(&claims, config);
                let headers = claim_headers(config, &caller);
                let has_grants = self.subscribed && claims.contains_key(SUBSCRIBED);
                let grants = has_grants.then(|| Grants::read(&claims, &caller));
                let caller = Part::new(caller);
                let key_type = KeyType::of_claims(&claims);
                let prints = self.revocable.then(|| fingerprints(&claims, signed_part(token)));
                let verified = Verified {
                    issuer: *issuer,
                    caller,
                    headers,
                    bound,
                    key_type,
                    grants,
                    claims: self.keeps_claims.then_some(claims),
                    prints: prints.unwrap_or_default(),
                    kid: None,
                    generation: 0,
                };
                let expires = expires.min(believed(asker.max_age()));
                self.verified.insert(token, Rc::new(verified), expires);
            }
            Err(refusal) => {
                let claimed = Claimed { issuer: Some(config.issuer.clone()), kid: None };
                let bad = Bad { refusal, claimed, issuer: *issuer, generation: 0 };
                self.refused.insert(token, Rc::new(bad), believed(asker.refused_for()));
            }
        }
    }

    pub fn on_tick(&mut self, cx: &mut Cx<'_>) {
        self.issuers.iter_mut().for_each(|issuer| issuer.keys.on_tick(cx));
        let overheard = self.asker.as_mut().map(|(_, asker)| asker.on_tick(cx)).unwrap_or_default();
        for Overheard { token, answer, age } in overheard {
            self.remember(&token, answer, age, cx);
        }
    }

    pub fn on_fetched(&mut self, id: u32, reply: Result<&HttpReply, CalloutError>, cx: &mut Cx<'_>) {
        if let Some((_, asker)) = &mut self.asker
            && id.saturating_sub(self.first_fetch) >= QUESTIONS
        {
            if let Some((token, answer)) = asker.answered(id, reply, cx) {
                self.remember(&token, answer, Duration::ZERO, cx);
            }
            return;
        }
        let index = id.checked_sub(self.first_fetch).and_then(|index| usize::try_from(index).ok());
        let issuer = index.and_then(|index| self.issuers.get_mut(index));
        if let Some(issuer) = issuer {
            issuer.keys.on_fetched(reply, cx);
        }
    }
}

/// By what a token may be revoked.
fn fingerprints(claims: &Map<String, Value>, signed: &[u8]) -> Fingerprints {
    Fingerprints::of(claims.get("jti").and_then(Value::as_str), signed)
}

/// What is signed of a token in three parts; all of any other.
fn signed_part(token: &[u8]) -> &[u8] {
    let mut dots = token.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
    match (dots.next(), dots.next(), dots.next()) {
        (Some(_), Some(end), None) => token.get(..end).unwrap_or(token),
        _ => token,
    }
}

/// The issuer that is asked about tokens, if one is.
fn asker(
    issuers: &mut [Trusted],
    fetch: FetchKey,
    cache: usize,
) -> Result<Option<(usize, Asker)>, ConfigError> {
    let mut found = None;
    for (index, issuer) in issuers.iter_mut().enumerate() {
        let Jwks::Introspection(config) = &issuer.config.jwks else { continue };
        let at = |error: ConfigError| error.under(&format!("issuers[{index}].jwks.introspection"));
        if found.is_some() {
            let problem =
                "another issuer is asked about tokens too: it cannot be said which tokens are whose";
            return Err(at(ConfigError::at("", problem)));
        }
        if cache == 0 {
            return Err(at(ConfigError::at("", "needs a `token_cache`, where answers are kept")));
        }
        let first = FetchKey { id: fetch.id.saturating_add(QUESTIONS), ..fetch };
        found = Some((index, Asker::new(first, config.clone()).map_err(at)?));
        // The answer itself says for how long it is good.
        issuer.config.require_exp = false;
    }
    Ok(found)
}

/// Whether a token is one that this issuer is asked about: no JWT, or one of its own.
fn is_asked_about(token: &Result<Token<'_>, Malformed>, issuer: Option<&Trusted>) -> bool {
    match token {
        Ok(token) => {
            let named = token.claims.get("iss").and_then(Value::as_str);
            issuer.is_some_and(|issuer| named == Some(&issuer.config.issuer))
        }
        Err(malformed) => *malformed == Malformed::NotThreeParts,
    }
}

/// Names the keys in use of one issuer.
fn current(issuers: &[Trusted], index: usize, cx: &Cx<'_>) -> Option<u32> {
    issuers.get(index)?.keys.generation(cx.host)
}

/// Why a token is not verified now.
enum Stop {
    Refuse(Refusal),
    /// The signature is wrong, by these keys.
    Forged {
        issuer: usize,
        generation: u32,
    },
    Wait(FetchKey, Duration),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}
