//! A rate limit service for cases: `envoy.service.ratelimit.v3`, as much of it as one that counts needs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use enforcer_core::protobuf::{Message, Value, fields};

use crate::format::Allowance;

/// Counts the hits of each descriptor in windows that begin with the first of them. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct LimitService {
    allowance: Allowance,
    windows: Arc<Mutex<BTreeMap<Vec<u8>, Window>>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Duration,
    used: u64,
}

const OK: u64 = 1;
const OVER_LIMIT: u64 = 2;

impl LimitService {
    pub(crate) fn new(allowance: Allowance) -> Self {
        Self { allowance, windows: Arc::default() }
    }

    /// The `RateLimitResponse` to a `RateLimitRequest`.
    pub(crate) fn answer(&self, request: &[u8], now: Duration) -> Vec<u8> {
        let (mut descriptors, mut hits) = (Vec::new(), 0);
        for field in fields(request).filter_map(Result::ok) {
            match field {
                (2, Value::Bytes(descriptor)) => descriptors.push(descriptor),
                (3, Value::Uint(addend)) => hits = addend,
                _ => {}
            }
        }
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let statuses: Vec<(u64, Message)> = descriptors
            .into_iter()
            .map(|descriptor| {
                let fresh = Window { began: now, used: 0 };
                let window = windows.entry(descriptor.to_vec()).or_insert(fresh);
                self.status(window, hits.max(1), now)
            })
            .collect();
        let overall = if statuses.iter().any(|(code, _)| *code == OVER_LIMIT) { OVER_LIMIT } else { OK };
        let reply = Message::default().uint(1, overall);
        statuses.iter().fold(reply, |reply, (_, status)| reply.bytes(2, status.as_ref())).into_bytes()
    }

    fn status(&self, window: &mut Window, hits: u64, now: Duration) -> (u64, Message) {
        let Allowance { requests, per } = self.allowance;
        if now >= window.began.saturating_add(per.duration()) {
            *window = Window { began: now, used: 0 };
        }
        let wanted = window.used.saturating_add(hits);
        let code = if wanted <= requests { OK } else { OVER_LIMIT };
        if code == OK {
            window.used = wanted;
        }
        let left = window.began.saturating_add(per.duration()).saturating_sub(now);
        // Never whole seconds, which would stand for a service that rounds.
        let nanos = u64::from(left.subsec_nanos().max(1));
        let reset = Message::default().uint(1, left.as_secs()).uint(2, nanos);
        let remaining = requests.saturating_sub(window.used);
        (code, Message::default().uint(1, code).uint(3, remaining).bytes(4, reset.as_ref()))
    }
}
