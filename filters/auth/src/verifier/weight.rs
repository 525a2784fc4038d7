//! What remembered tokens take in memory.

use enforcer_core::{cache::Weigh, identity::Caller};
use serde_json::{Map, Value};

use super::{Bad, Verified};
use crate::refusal::Claimed;

impl Weigh for Bad {
    fn weight(&self) -> usize {
        let Claimed { issuer, kid } = &self.claimed;
        [issuer, kid].into_iter().flatten().map(String::len).sum()
    }
}

fn json_len(claims: &Map<String, Value>) -> usize {
    serde_json::to_string(claims).map_or(0, |text| text.len())
}

impl Weigh for Verified {
    fn weight(&self) -> usize {
        let Caller { issuer, subject, consumer, application, tier, scopes, claims, over_quota: _ } =
            &*self.caller;
        let texts = [issuer, subject, consumer, application, tier].into_iter().map(String::len);
        let lists = scopes.iter().map(|scope| scope.len().saturating_add(size_of::<String>()));
        let pairs = claims.iter().chain(self.headers.iter().map(|(name, value)| (name, value)));
        let pairs = pairs.map(|(name, value)| name.len().saturating_add(value.len()).saturating_add(64));
        // Twice: once as values, once as the JSON that is published.
        let caller = texts.chain(lists).chain(pairs).fold(0, usize::saturating_add).saturating_mul(2);
        // As text; as values, with a header of the allocator each, it is four times that.
        let claims = self.claims.as_ref().map_or(0, |claims| json_len(claims).saturating_mul(4));
        caller.saturating_add(claims).saturating_add(self.grants.as_ref().map_or(0, Weigh::weight))
    }
}
