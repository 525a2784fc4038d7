//! API keys: listed ones, found by their keyed hash, and signed ones; weighed against what they were given for.
//!
//! No listed key is held in the clear, and none is cached: a keyed hash costs less than the rest of a request.

use std::{collections::HashMap, fmt, rc::Rc, time::Duration};

use enforcer_core::{
    cache::{Cache, Weigh},
    config::ConfigError,
    cx::{CalloutError, Cx, FetchKey, HttpReply},
    filter::Capabilities,
    identity::{Caller, Part},
    net::{self, Network},
};
use hmac_sha256::HMAC;
use serde::Deserialize;

use crate::{
    config::{self, Api, ApiKeyList, AuthConfig, ListedKeys, RemoteDocument, TokenSource},
    key_type::KeyType,
    referer,
    refusal::{Claimed, KeyProblem, Refusal},
    remote::{Document, Kind, Remote},
    revocation::Fingerprints,
    source::Sources,
    token::Form,
    verifier::{self, Verifier},
};

/// The configured schemes and keys.
#[derive(Debug)]
pub struct ApiKeys {
    schemes: Vec<Scheme>,
    listed: Option<Listed>,
    signed: Option<Verifier>,
    forward: bool,
}

/// Where a key is, and what a signed one must say that it is.
#[derive(Debug)]
struct Scheme {
    name: String,
    sources: Sources,
    kind: config::KeyType,
}

/// Keys that are listed.
#[derive(Debug)]
struct Listed {
    fetch: FetchKey,
    keyed: Keyed,
    /// What the keys hash to that are used: to hash one takes as long as all the rest.
    seen: Cache<Hash>,
    known: Known,
    remote: Option<Remote>,
}

#[derive(Debug)]
struct Hash([u8; 32]);

impl Weigh for Hash {
    fn weight(&self) -> usize {
        0
    }
}

/// The hash that keys are listed under, its key being absorbed already.
#[derive(Clone)]
struct Keyed(HMAC);

/// The key is a secret.
impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed")
    }
}

/// The keys that there are, by their hashes.
#[derive(Debug, Default)]
struct Known(HashMap<[u8; 32], Rc<ApiKey>>);

/// A key, and whom it was given to.
#[derive(Debug)]
struct ApiKey {
    caller: Part<Caller>,
    /// Since the Unix epoch.
    expires: Duration,
    /// Names; none stands for all.
    apis: Vec<String>,
    networks: Vec<Network>,
    referers: Vec<String>,
}

/// What came of a scheme's place in a request.
#[derive(Debug)]
pub enum Outcome {
    Good(Good),
    Refused(Refusal, Claimed),
    /// The list, or what would verify the key, is being fetched.
    Wait(FetchKey, Duration),
}

/// A key that may be used for the API.
#[derive(Debug, Default)]
pub struct Good {
    pub caller: Part<Caller>,
    /// Which backend it is for.
    pub key_type: KeyType,
    /// Of a signed key, by what it may be revoked.
    pub prints: Fingerprints,
    /// It was signed for an application, for what that had subscribed to then.
    pub of_application: bool,
}

/// Shortest `hash_key`.
const MIN_HASH_KEY: usize = 32;
/// Longest key that is looked at, in bytes.
const MAX_KEY: usize = 4 << 10;

const KIND: Kind = Kind {
    name: "API keys",
    fetched: "enforcer.auth.api_keys.fetched",
    failed: "enforcer.auth.api_keys.failed",
};

impl ApiKeys {
    /// `fetch` names the fetch of the list; those of signers' keys follow it. The limits of `general` hold for signed
    /// keys too.
    pub fn new(
        fetch: FetchKey,
        config: config::ApiKeys,
        general: &AuthConfig,
        capabilities: Capabilities,
    ) -> Result<Self, ConfigError> {
        let schemes = config.schemes;
        let mut known: Vec<Scheme> = Vec::with_capacity(schemes.len());
        for (index, scheme) in schemes.into_iter().enumerate() {
            let scheme = Scheme::new(scheme, &known);
            known.push(scheme.map_err(|error| error.under(&format!("schemes[{index}]")))?);
        }
        if known.is_empty() {
            return Err(ConfigError::at("schemes", "no scheme: nothing says where a key is; name one"));
        }
        if config.listed.is_none() && config.signed.is_empty() {
            return Err(ConfigError::at(
                "",
                "no keys: nobody could call; give some that are `listed` or `signed`",
            ));
        }
        // A key is a small part of what a token is.
        let memory = general.token_cache.as_usize() / 16;
        let listed = config.listed.map(|listed| Listed::new(fetch, listed, memory)).transpose();
        let signed = (!config.signed.is_empty()).then(|| {
            let fetch = FetchKey { id: fetch.id.saturating_add(1), ..fetch };
            // What is for tokens alone is left out.
            let general = AuthConfig {
                subscriptions: None,
                backend_token: None,
                opa: None,
                xacml: None,
                ..general.clone()
            };
            let config = AuthConfig { issuers: config.signed, apis: Vec::new(), ..general };
            Verifier::new(fetch, Form::Padded, config, capabilities).map_err(|mut error| {
                error.path = error.path.replacen("issuers", "signed", 1);
                error
            })
        });
        Ok(Self {
            schemes: known,
            listed: listed.map_err(|error| error.under("listed"))?,
            signed: signed.transpose()?,
            forward: config.forward,
        })
    }

    /// Names of the schemes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.schemes.iter().map(|scheme| scheme.name.as_str())
    }

    /// What the request has in this scheme's place, and whether it may be used for `api`.
    pub fn find(&mut self, scheme: &str, api: Option<&Api>, cx: &mut Cx<'_>, may_wait: bool) -> Outcome {
        // Operations ask for schemes that exist: see `Policy::new`.
        let scheme = self.schemes.iter().find(|known| known.name == scheme);
        let carried = scheme.map(|scheme| (scheme.kind, scheme.sources.find(cx.request_headers())));
        let (kind, key) = match carried {
            Some((kind, Ok(Some(carried)))) => (kind, carried.text),
            Some((_, Err(_))) => return Refusal::Repeated.into(),
            _ => return KeyProblem::Missing.into(),
        };
        if let Some(key) = self.listed.as_mut().and_then(|listed| listed.find(key, cx)) {
            return match key.check(api, cx) {
                Ok(()) => Outcome::Good(Good { caller: key.caller.clone(), ..Good::default() }),
                Err(problem) => problem.into(),
            };
        }
        match (&mut self.signed, &mut self.listed) {
            (Some(signed), _) if is_signed(key) => match signed.verify(key, cx, may_wait) {
                // Who holds a key shows nothing else.
                verifier::Outcome::Verified(key) if key.bound.is_some() => Refusal::Bound.into(),
                verifier::Outcome::Verified(key) => {
                    let grants = key.grants.as_ref().ok_or(KeyProblem::Unknown);
                    let good = |caller| Good {
                        caller,
                        key_type: key.key_type,
                        prints: key.prints,
                        of_application: kind == config::KeyType::ApiKey,
                    };
                    let checked = grants.and_then(|grants| grants.check(kind, api, cx));
                    checked.map_or_else(Into::into, |caller| Outcome::Good(good(caller)))
                }
                verifier::Outcome::Refused(refusal, claimed) => Outcome::Refused(refusal, claimed),
                verifier::Outcome::Wait(on, deadline) => Outcome::Wait(on, deadline),
            },
            (_, Some(listed)) => listed.unknown(cx, may_wait),
            (_, None) => KeyProblem::Unknown.into(),
        }
    }

    /// The places of all schemes.
    pub fn all_places(&self) -> impl Iterator<Item = &TokenSource> {
        self.schemes.iter().flat_map(|scheme| scheme.sources.places())
    }

    /// The places of all schemes, unless keys stay in the request.
    pub fn places(&self) -> impl Iterator<Item = &TokenSource> {
        self.schemes.iter().filter(|_| !self.forward).flat_map(|scheme| scheme.sources.places())
    }

    pub fn on_tick(&mut self, cx: &mut Cx<'_>) {
        if let Some(Listed { remote: Some(remote), known, .. }) = &mut self.listed {
            remote.on_tick(known, cx);
        }
        if let Some(signed) = &mut self.signed {
            signed.on_tick(cx);
        }
    }

    pub fn on_fetched(&mut self, id: u32, reply: Result<&HttpReply, CalloutError>, cx: &mut Cx<'_>) {
        match (&mut self.listed, &mut self.signed) {
            (Some(Listed { fetch, remote: Some(remote), known, .. }), _) if fetch.id == id => {
                remote.on_fetched(reply, known, cx);
            }
            (_, Some(signed)) => signed.on_fetched(id, reply, cx),
            _ => {}
        }
    }
}

/// A signed key has three parts between dots.
fn is_signed(key: &[u8]) -> bool {
    key.iter().filter(|byte| **byte == b'.').count() == 2
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal, Claimed::default())
    }
}

impl From<KeyProblem> for Outcome {
    fn from(problem: KeyProblem) -> Self {
        Refusal::from(problem).into()
    }
}

impl Scheme {
    fn new(scheme: config::ApiKeyScheme, others: &[Self]) -> Result<Self, ConfigError> {
        if others.iter().any(|other| other.name == scheme.name) {
            return Err(ConfigError::at("name", format!("`{}` is configured twice", scheme.name)));
        }
        let places: Vec<TokenSource> = scheme.sources.into_iter().map(Into::into).collect();
        let sources = Sources::new(places).map_err(|error| error.under("sources"))?;
        Ok(Self { name: scheme.name, sources, kind: scheme.token_type })
    }
}

impl Listed {
    fn new(fetch: FetchKey, config: ListedKeys, memory: usize) -> Result<Self, ConfigError> {
        if config.hash_key.len() < MIN_HASH_KEY {
            let problem = "too short: give at least 32 characters, such as `openssl rand -hex 32` makes";
            return Err(ConfigError::at("hash_key", problem));
        }
        let (known, remote) = match config.keys {
            ApiKeyList::Inline(keys) => (Known::new(keys).map_err(|error| error.under("keys.inline"))?, None),
            ApiKeyList::Remote(document) => (Known::default(), Some(fetched(fetch, &document)?)),
        };
        let keyed = Keyed(HMAC::new(&config.hash_key));
        Ok(Self { fetch, keyed, seen: Cache::new(memory), known, remote })
    }

    fn find(&mut self, key: &[u8], cx: &Cx<'_>) -> Option<Rc<ApiKey>> {
        if key.len() > MAX_KEY || !self.is_usable(cx) {
            return None;
        }
        let seen = self.seen.get(key, cx.host.monotonic()).map(|Hash(hash)| *hash);
        let hash = seen.unwrap_or_else(|| {
            let Keyed(mut hash) = self.keyed.clone();
            hash.update(key);
            hash.finalize()
        });
        let known = self.known.0.get(&hash).map(Rc::clone)?;
        // Those that nobody has make no room for themselves.
        if seen.is_none() {
            self.seen.insert(key, Hash(hash), Duration::MAX);
        }
        Some(known)
    }

    fn unknown(&mut self, cx: &mut Cx<'_>, may_wait: bool) -> Outcome {
        if may_wait
            && let Some(remote) = &mut self.remote
            && let Some((on, deadline)) = remote.want(cx)
        {
            return Outcome::Wait(on, deadline);
        }
        let problem = if self.is_usable(cx) { KeyProblem::Unknown } else { KeyProblem::Unavailable };
        problem.into()
    }

    /// Whether the list is there, and not too old to be trusted.
    fn is_usable(&self, cx: &Cx<'_>) -> bool {
        self.remote.as_ref().is_none_or(|remote| remote.is_usable(cx.host.monotonic()))
    }
}

fn fetched(key: FetchKey, document: &RemoteDocument) -> Result<Remote, ConfigError> {
    let remote = Remote::new(&KIND, key, "api keys".to_owned(), document, "");
    remote.map_err(|problem| ConfigError::at("keys.remote", problem))
}

impl Known {
    fn new(keys: Vec<config::ApiKey>) -> Result<Self, ConfigError> {
        let mut known = HashMap::with_capacity(keys.len());
        for (index, key) in keys.into_iter().enumerate() {
            let at = |place: &str, problem: String| ConfigError::at(format!("[{index}].{place}"), problem);
            let hash = from_hex(&key.hash).ok_or_else(|| {
                at(
                    "hash",
                    "not 64 hexadecimal digits, as `openssl dgst -sha256 -hmac` prints them".to_owned(),
                )
            })?;
            let key = ApiKey::new(key).map_err(|(place, problem)| at(place, problem))?;
            if known.insert(hash, Rc::new(key)).is_some() {
                return Err(at("hash", "this key is listed twice; remove one of the two".to_owned()));
            }
        }
        Ok(Self(known))
    }
}

impl Document for Known {
    fn replace(&mut self, text: &[u8]) -> Result<(), String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct List {
            keys: Vec<config::ApiKey>,
        }
        let list: List = enforcer_core::config::parse(text).map_err(|error| error.to_string())?;
        *self = Self::new(list.keys).map_err(|error| error.under("keys").to_string())?;
        Ok(())
    }
}

impl ApiKey {
    /// The field that is wrong, and what is wrong with it.
    fn new(key: config::ApiKey) -> Result<Self, (&'static str, String)> {
        let network = |text: &String| {
            let problem = || format!("`{text}` is neither an address nor a network such as `10.0.0.0/8`");
            Network::parse(text).ok_or_else(|| ("allowed_ips", problem()))
        };
        let networks = key.allowed_ips.iter().map(network).collect::<Result<_, _>>()?;
        if key.consumer.is_empty() {
            return Err(("consumer", "empty: nobody would know who calls".to_owned()));
        }
        let caller = Caller {
            consumer: key.consumer,
            application: key.application,
            tier: key.tier,
            ..Caller::default()
        };
        Ok(Self {
            caller: Part::new(caller),
            expires: key.expires.map_or(Duration::MAX, Duration::from_secs),
            apis: key.apis,
            networks,
            referers: key.allowed_referers,
        })
    }

    /// Whether the key may be used now, here, and by this caller.
    fn check(&self, api: Option<&Api>, cx: &Cx<'_>) -> Result<(), KeyProblem> {
        if cx.host.now() >= self.expires {
            return Err(KeyProblem::Expired);
        }
        if !self.apis.is_empty() && !self.apis.iter().any(|name| api.is_some_and(|api| *name == api.name)) {
            return Err(KeyProblem::Api);
        }
        if !self.networks.is_empty() {
            let client = net::client(cx.host);
            if !client.is_some_and(|client| self.networks.iter().any(|network| network.contains(client))) {
                return Err(KeyProblem::Address);
            }
        }
        if !self.referers.is_empty() && !referer::comes_from(&self.referers, cx.request_headers()) {
            return Err(KeyProblem::Referer);
        }
        Ok(())
    }
}

/// Two digits a byte, in upper or lower case.
pub fn from_hex(text: &str) -> Option<[u8; 32]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = (digit(high)? << 4) | digit(low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
