//! Tokens that are refused although they are genuine: those that are listed as revoked.
//!
//! A token is known by its `jti` or by what is signed in it, never by its text: a signature can have twins that fit
//! as well. What is listed counts for tokens that were verified before, too.

use enforcer_core::{
    config::ConfigError,
    cx::{CalloutError, Cx, FetchKey, HttpReply},
};
use std::time::Duration;

use crate::{
    api_keys::from_hex,
    config::{self, RevokedToken, Unavailable},
    refusal::Refusal,
};

mod feed;
mod page;
mod shared;
mod table;

pub use table::Fingerprints;

use feed::Feed;
use table::{Fingerprint, Table};

/// The revoked tokens.
#[derive(Debug)]
pub struct Revocation {
    /// Of the configuration.
    inline: Vec<Fingerprint>,
    listed: Option<(Feed, Table)>,
}

/// What the list says of a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing {
    Good,
    Refused(Refusal),
    /// The list is being fetched: come back when it is there, or so much later.
    Wait(FetchKey, Duration),
}

impl Revocation {
    /// `fetch` names the fetches of the list.
    pub fn new(fetch: FetchKey, config: config::Revocation) -> Result<Self, ConfigError> {
        let mut inline = Vec::with_capacity(config.tokens.len());
        for (index, token) in config.tokens.iter().enumerate() {
            inline.push(match token {
                RevokedToken::Jti(id) => Fingerprint::of(id.as_bytes()),
                RevokedToken::Signed(hash) => Fingerprint::of_hash(&from_hex(hash).ok_or_else(|| {
                    let problem = "not 64 hexadecimal digits, as `sha256sum` prints them";
                    ConfigError::at(format!("tokens[{index}].signed"), problem)
                })?),
            });
        }
        let feed = config.list.map(|list| Feed::new(fetch, list)).transpose();
        let feed = feed.map_err(|(field, problem)| ConfigError::at(format!("list.{field}"), problem))?;
        Ok(Self { inline, listed: feed.map(|feed| (feed, Table::default())) })
    }

    /// Whether a genuine token still counts.
    pub fn check(&mut self, prints: Fingerprints, cx: &mut Cx<'_>, may_wait: bool) -> Standing {
        if prints.iter().any(|print| self.inline.contains(&print)) {
            return Standing::Refused(Refusal::Revoked);
        }
        let Some((feed, table)) = &mut self.listed else { return Standing::Good };
        if prints.iter().next().is_none() {
            return Standing::Good;
        }
        if prints.iter().any(|print| table.contains(print)) {
            return Standing::Refused(Refusal::Revoked);
        }
        if feed.is_usable(cx.host.monotonic()) {
            return Standing::Good;
        }
        match feed.unavailable() {
            Unavailable::Allow => {
                cx.host.count("enforcer.auth.revocation.unchecked", 1);
                Standing::Good
            }
            Unavailable::Refuse => match feed.want(cx).filter(|_| may_wait) {
                Some((on, deadline)) => Standing::Wait(on, deadline),
                None => Standing::Refused(Refusal::RevocationUnavailable),
            },
        }
    }

    pub fn on_tick(&mut self, cx: &mut Cx<'_>) {
        if let Some((feed, table)) = &mut self.listed {
            feed.on_tick(table, cx);
        }
    }

    pub fn on_fetched(&mut self, reply: Result<&HttpReply, CalloutError>, cx: &mut Cx<'_>) {
        if let Some((feed, table)) = &mut self.listed {
            feed.on_fetched(reply, table, cx);
        }
    }
}

#[cfg(test)]
mod tests;
