//! Each issuer's keys, and how they stay fresh.

use enforcer_core::{
    cx::{CalloutError, Cx, FetchKey, HttpReply},
    host::Host,
};
use std::time::Duration;

use crate::{
    config::{Algorithm, Issuer, Jwks},
    jwk::{Find, Key, KeySet, Origin},
};

mod attempt;
mod remote;

use remote::Remote;

/// The keys of one issuer.
#[derive(Debug)]
pub enum Keys {
    Inline(KeySet),
    Remote(Box<Remote>),
}

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
    /// `id` names the issuer among those of its filter.
    pub fn new(filter: &'static str, id: u32, issuer: &Issuer) -> Result<Self, String> {
        let inline = |text: &[u8]| KeySet::read(text, Origin::Inline, issuer.algorithms.as_deref());
        Ok(match &issuer.jwks {
            Jwks::Inline(set) => Self::Inline(inline(set.to_string().as_bytes())?),
            Jwks::Pem(text) => Self::Inline(inline(text.as_bytes())?),
            Jwks::Remote(config) => Self::Remote(Box::new(Remote::new(filter, id, issuer, config)?)),
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
        match self {
            Self::Inline(keys) => keys.find(kid, algorithm).into(),
            Self::Remote(remote) => remote.find(kid, algorithm, cx, may_wait),
        }
    }

    /// Names the keys in use; `None` when there are none, or they are too old to be trusted.
    pub fn generation(&self, host: &dyn Host) -> Option<u32> {
        match self {
            Self::Inline(_) => Some(0),
            Self::Remote(remote) => remote.generation(host.monotonic()),
        }
    }

    pub fn on_tick(&mut self, cx: &mut Cx<'_>) {
        if let Self::Remote(remote) = self {
            remote.on_tick(cx);
        }
    }

    pub fn on_fetched(&mut self, reply: Result<&HttpReply, CalloutError>, cx: &mut Cx<'_>) {
        if let Self::Remote(remote) = self {
            remote.on_fetched(reply, cx);
        }
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
