//! Each issuer's keys, and how they stay fresh.

use enforcer_core::{
    cx::{CalloutError, Cx, FetchKey, HttpReply},
    host::Host,
};
use std::time::Duration;

use crate::{
    config::{Algorithm, Issuer, Jwks},
    jwk::{Find, Key, KeySet, Origin},
    remote::{Document, Kind, Remote},
};

/// The keys of one issuer.
#[derive(Debug)]
pub enum Keys {
    /// The issuer is asked about tokens instead.
    None,
    Inline(KeySet),
    Remote(Box<(Remote, Fetched)>),
}

/// Keys from a URL.
#[derive(Debug)]
pub struct Fetched {
    keys: Option<KeySet>,
    allowed: Option<Vec<Algorithm>>,
}

const KIND: Kind =
    Kind { name: "keys", fetched: "enforcer.auth.jwks.fetched", failed: "enforcer.auth.jwks.failed" };

/// The answer to "which key signed this?".
#[derive(Debug)]
pub enum Lookup<'a> {
    /// One of these: nearly always a single one. See [`KeySet::find`].
    Found(Vec<&'a Key>),
    /// The key is there, and not for this algorithm.
    WrongAlgorithm,
    /// There are keys, and none of them is this one.
    Unknown,
    /// A fetch may bring it: wait for this, so long.
    Wait(FetchKey, Duration),
    /// There are no keys to look among.
    Unavailable,
}

impl Keys {
    /// `fetch` names the issuer's fetch among those of its filter.
    pub fn new(fetch: FetchKey, issuer: &Issuer) -> Result<Self, String> {
        let allowed = issuer.algorithms.as_deref();
        let inline = |text: &[u8]| KeySet::read(text, Origin::Inline, allowed);
        Ok(match &issuer.jwks {
            Jwks::Inline(set) => Self::Inline(inline(set.to_string().as_bytes())?),
            Jwks::Pem(text) => Self::Inline(inline(text.as_bytes())?),
            Jwks::Introspection(_) => Self::None,
            Jwks::Remote(config) => {
                // What one issuer can use of an answer, another may not.
                let names: Vec<_> =
                    allowed.unwrap_or_default().iter().map(|allowed| allowed.name()).collect();
                let owner = format!("issuer `{}`", issuer.issuer);
                let remote = Remote::new(&KIND, fetch, owner, config, &names.join(","))?;
                Self::Remote(Box::new((remote, Fetched { keys: None, allowed: issuer.algorithms.clone() })))
            }
        })
    }

    /// Which key a token was signed with. `may_wait`: it has not waited yet.
    pub fn find(
        &mut self,
        kid: Option<&str>,
        algorithm: Algorithm,
        cx: &mut Cx<'_>,
        may_wait: bool,
    ) -> Lookup<'_> {
        let (remote, fetched) = match self {
            Self::None => return Lookup::Unknown,
            Self::Inline(keys) => return keys.find(kid, algorithm).into(),
            Self::Remote(remote) => &mut **remote,
        };
        let usable = remote.is_usable(cx.host.monotonic());
        let found = fetched.keys.as_ref().filter(|_| usable).map(|keys| keys.find(kid, algorithm));
        if may_wait
            && matches!(found, None | Some(Find::Unknown))
            && let Some((on, deadline)) = remote.want(cx)
        {
            return Lookup::Wait(on, deadline);
        }
        found.map_or(Lookup::Unavailable, Into::into)
    }

    /// Names the keys in use; `None` when there are none, or they are too old to be trusted.
    pub fn generation(&self, host: &dyn Host) -> Option<u32> {
        match self {
            Self::None | Self::Inline(_) => Some(0),
            Self::Remote(remote) => remote.0.generation(host.monotonic()),
        }
    }

    pub fn on_tick(&mut self, cx: &mut Cx<'_>) {
        if let Self::Remote(remote) = self {
            let (remote, fetched) = &mut **remote;
            remote.on_tick(fetched, cx);
        }
    }

    pub fn on_fetched(&mut self, reply: Result<&HttpReply, CalloutError>, cx: &mut Cx<'_>) {
        if let Self::Remote(remote) = self {
            let (remote, fetched) = &mut **remote;
            remote.on_fetched(reply, fetched, cx);
        }
    }
}

impl Document for Fetched {
    fn replace(&mut self, text: &[u8]) -> Result<(), String> {
        self.keys = Some(KeySet::read(text, Origin::Remote, self.allowed.as_deref())?);
        Ok(())
    }

    fn faults(&self) -> &[String] {
        self.keys.as_ref().map_or(&[], KeySet::faults)
    }
}

impl<'a> From<Find<'a>> for Lookup<'a> {
    fn from(find: Find<'a>) -> Self {
        match find {
            Find::Keys(keys) => Self::Found(keys),
            Find::WrongAlgorithm => Self::WrongAlgorithm,
            Find::Ambiguous | Find::Unknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
