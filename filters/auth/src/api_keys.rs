//! API keys: found by their keyed hash, and weighed against what they were given for.
//!
//! Nothing here holds a key in the clear, and nothing is cached: a keyed hash of a short text costs less than a
//! microsecond.

use std::{collections::HashMap, rc::Rc, time::Duration};

use enforcer_core::{
    config::ConfigError,
    cx::{CalloutError, Cx, FetchKey, HttpReply},
    identity::{Caller, Part},
};
use hmac_sha256::HMAC;
use serde::Deserialize;

use crate::{
    config::{self, ApiKeyList, RemoteDocument, TokenSource},
    net::{self, Network},
    refusal::{KeyProblem, Refusal},
    remote::{Document, Kind, Remote},
    source::Sources,
};

/// The configured schemes and keys.
#[derive(Debug)]
pub struct ApiKeys {
    schemes: Vec<(String, Sources)>,
    keyed: HMAC,
    known: Known,
    remote: Option<Remote>,
    forward: bool,
}

/// The keys that there are, by their hashes.
#[derive(Debug, Default)]
struct Known(HashMap<[u8; 32], Rc<ApiKey>>);

/// A key, and whom it was given to.
#[derive(Debug)]
pub struct ApiKey {
    pub caller: Part<Caller>,
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
    Good(Rc<ApiKey>),
    Refused(Refusal),
    /// The list is being fetched.
    Wait(FetchKey, Duration),
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
    pub fn new(fetch: FetchKey, config: config::ApiKeys) -> Result<Self, ConfigError> {
        if config.hash_key.len() < MIN_HASH_KEY {
            let problem = "too short: give at least 32 characters, such as `openssl rand -hex 32` makes";
            return Err(ConfigError::at("hash_key", problem));
        }
        let mut schemes: Vec<(String, Sources)> = Vec::new();
        for (index, scheme) in config.schemes.into_iter().enumerate() {
            let at = |place: &str| format!("schemes[{index}].{place}");
            if schemes.iter().any(|(name, _)| *name == scheme.name) {
                let problem = format!("`{}` is configured twice", scheme.name);
                return Err(ConfigError::at(at("name"), problem));
            }
            let places: Vec<TokenSource> = scheme.sources.into_iter().map(Into::into).collect();
            let sources = Sources::new(places).map_err(|error| error.under(&at("sources")))?;
            schemes.push((scheme.name, sources));
        }
        if schemes.is_empty() {
            return Err(ConfigError::at("schemes", "no scheme: nothing says where a key is; name one"));
        }
        let mut known = Known::default();
        let mut remote = None;
        match config.list {
            ApiKeyList::Inline(keys) => known = Known::new(keys).map_err(|error| error.under("list.inline"))?,
            ApiKeyList::Remote(document) => remote = Some(fetched(fetch, &document)?),
        }
        let keyed = HMAC::new(&config.hash_key);
        Ok(Self { schemes, keyed, known, remote, forward: config.forward })
    }

    /// Names of the schemes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.schemes.iter().map(|(name, _)| name.as_str())
    }

    /// What the request has in this scheme's place, and whether it may be used for `api`.
    pub fn find(&mut self, scheme: &str, api: &str, cx: &mut Cx<'_>, may_wait: bool) -> Outcome {
        let Some((_, sources)) = self.schemes.iter().find(|(name, _)| name == scheme) else {
            // Operations ask for schemes that exist: see `Policy::new`.
            return Outcome::Refused(KeyProblem::Missing.into());
        };
        let key = match sources.find(cx.request_headers()) {
            Ok(Some(carried)) => carried.text,
            Ok(None) => return Outcome::Refused(KeyProblem::Missing.into()),
            Err(_) => return Outcome::Refused(Refusal::Repeated),
        };
        match self.known(key, cx) {
            Some(key) => match key.check(api, cx) {
                Ok(()) => Outcome::Good(key),
                Err(problem) => Outcome::Refused(problem.into()),
            },
            None => self.unknown(cx, may_wait),
        }
    }

    fn known(&self, key: &[u8], cx: &Cx<'_>) -> Option<Rc<ApiKey>> {
        if key.len() > MAX_KEY || !self.is_usable(cx) {
            return None;
        }
        let mut hash = self.keyed;
        hash.update(key);
        self.known.0.get(&hash.finalize()).map(Rc::clone)
    }

    fn unknown(&mut self, cx: &mut Cx<'_>, may_wait: bool) -> Outcome {
        if may_wait
            && let Some(remote) = &mut self.remote
            && let Some((on, deadline)) = remote.want(cx)
        {
            return Outcome::Wait(on, deadline);
        }
        let problem = if self.is_usable(cx) { KeyProblem::Unknown } else { KeyProblem::Unavailable };
        Outcome::Refused(problem.into())
    }

    /// Whether the list is there, and not too old to be trusted.
    fn is_usable(&self, cx: &Cx<'_>) -> bool {
        self.remote.as_ref().is_none_or(|remote| remote.is_usable(cx.host.monotonic()))
    }

    /// The places of all schemes, unless keys stay in the request.
    pub fn places(&self) -> impl Iterator<Item = &TokenSource> {
        self.schemes.iter().filter(|_| !self.forward).flat_map(|(_, sources)| sources.places())
    }

    pub fn on_tick(&mut self, cx: &mut Cx<'_>) {
        if let Some(remote) = &mut self.remote {
            remote.on_tick(&mut self.known, cx);
        }
    }

    pub fn on_fetched(&mut self, reply: Result<&HttpReply, CalloutError>, cx: &mut Cx<'_>) {
        if let Some(remote) = &mut self.remote {
            remote.on_fetched(reply, &mut self.known, cx);
        }
    }
}

fn fetched(key: FetchKey, document: &RemoteDocument) -> Result<Remote, ConfigError> {
    let remote = Remote::new(&KIND, key, "api keys".to_owned(), document, "");
    remote.map_err(|problem| ConfigError::at("list.remote", problem))
}

impl Known {
    fn new(keys: Vec<config::ApiKey>) -> Result<Self, ConfigError> {
        let mut known = HashMap::with_capacity(keys.len());
        for (index, key) in keys.into_iter().enumerate() {
            let at = |place: &str, problem: String| ConfigError::at(format!("[{index}].{place}"), problem);
            let hash = from_hex(&key.hash).ok_or_else(|| {
                at("hash", "not 64 hexadecimal digits, as `openssl dgst -sha256 -hmac` prints them".to_owned())
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
    fn check(&self, api: &str, cx: &Cx<'_>) -> Result<(), KeyProblem> {
        if cx.host.now() >= self.expires {
            return Err(KeyProblem::Expired);
        }
        if !self.apis.is_empty() && !self.apis.iter().any(|name| name == api) {
            return Err(KeyProblem::Api);
        }
        if !self.networks.is_empty() {
            let client = net::client(cx);
            if !client.is_some_and(|client| self.networks.iter().any(|network| network.contains(client))) {
                return Err(KeyProblem::Address);
            }
        }
        if !self.referers.is_empty() && !net::comes_from(&self.referers, cx.request_headers()) {
            return Err(KeyProblem::Referer);
        }
        Ok(())
    }
}

/// Two digits a byte, in upper or lower case.
fn from_hex(text: &str) -> Option<[u8; 32]> {
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
