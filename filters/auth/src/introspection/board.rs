//! What the workers of a process know of one another's questions, so that a token is asked about once in all of them.
//!
//! A fixed number of places in shared data, each for one token at a time, which is known by a hash. Whoever finds no place
//! asks alone: that is one question more, and nothing else.

use std::time::Duration;

use enforcer_core::{host::Host, store::Slot};
use hmac_sha256::Hash;

use super::Answer;
use crate::json;

/// Layout version of what is kept in shared data.
const LAYOUT: u32 = 1;
/// With an answer of usual size in each, two megabytes.
const PLACES: u32 = 1 << 12;
/// Longer answers are not shared.
const LARGEST: usize = 2 << 10;

/// Which token, of which server.
pub(super) type Print = [u8; 32];

/// The places.
#[derive(Debug)]
pub(super) struct Board {
    filter: &'static str,
    /// What tells questions to this server, as this client, from others.
    server: Vec<u8>,
    /// How long answers hold.
    times: Times,
}

/// How long a good answer, a bad one, and a failure hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) active: Duration,
    pub(super) inactive: Duration,
    pub(super) failed: Duration,
}

/// What is known of a token's question.
#[derive(Debug)]
pub(super) enum Seen {
    /// Nobody has asked, and whoever looks now is to.
    Ours,
    /// Another worker has asked.
    Asked,
    /// Another worker was answered so long ago.
    Answered(Answer, Duration),
}

/// What a place says.
struct Entry<'a> {
    print: &'a [u8],
    /// On the monotonic clock: until when an answer may come, or when it came.
    at: Duration,
    what: What<'a>,
}

enum What<'a> {
    Asked,
    Active(&'a [u8]),
    Inactive,
    Failed,
}

impl Board {
    pub(super) fn new(filter: &'static str, server: &[&str], times: Times) -> Self {
        let part = |part: &&str| {
            [&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes(), part.as_bytes()].concat()
        };
        Self { filter, server: server.iter().flat_map(part).collect(), times }
    }

    pub(super) fn print(&self, token: &str) -> Print {
        let mut hash = Hash::new();
        hash.update(&self.server);
        hash.update(token);
        hash.finalize()
    }

    /// What is known; if nothing is, this worker asks, and must be answered before `until`.
    pub(super) fn look(&self, host: &dyn Host, print: &Print, until: Duration) -> Seen {
        let now = host.monotonic();
        let mut seen = Seen::Ours;
        let changed = self.slot(print).update(host, |bytes| {
            let kept = || bytes.map(<[u8]>::to_vec);
            let entry = bytes.and_then(Entry::decode);
            seen = Seen::Ours;
            match entry {
                Some(entry) if entry.print == print => match entry.seen(now, self.times) {
                    Some(known) => {
                        seen = known;
                        kept()
                    }
                    None => Some(Entry { print, at: until, what: What::Asked }.encode()),
                },
                Some(other) if other.is_awaited(now) => kept(),
                _ => Some(Entry { print, at: until, what: What::Asked }.encode()),
            }
        });
        // In so much of a crowd whoever asks alone does no harm.
        if changed.is_err() { Seen::Ours } else { seen }
    }

    /// Tells the others what was answered.
    pub(super) fn tell(&self, host: &dyn Host, print: &Print, answer: &Answer) {
        let now = host.monotonic();
        let text = match answer {
            Answer::Active(claims) => serde_json::to_vec(claims).ok().filter(|text| text.len() <= LARGEST),
            Answer::Inactive | Answer::Failed => None,
        };
        let entry = match (answer, &text) {
            (Answer::Active(_), Some(text)) => Entry { print, at: now, what: What::Active(text) },
            // Too long: whoever waits asks anew.
            (Answer::Active(_), None) => Entry { print, at: Duration::ZERO, what: What::Asked },
            (Answer::Inactive, _) => Entry { print, at: now, what: What::Inactive },
            (Answer::Failed, _) => Entry { print, at: now, what: What::Failed },
        };
        // Contended: the others ask when they have waited long enough.
        let _ = self.slot(print).update(host, |bytes| match bytes.and_then(Entry::decode) {
            Some(other) if other.print != print && other.is_awaited(now) => bytes.map(<[u8]>::to_vec),
            _ => Some(entry.encode()),
        });
    }

    fn slot(&self, print: &Print) -> Slot {
        let place = print.first_chunk().copied().map_or(0, u32::from_le_bytes) % PLACES;
        Slot::new(LAYOUT, self.filter, &format!("asked/{place}"))
    }
}

impl<'a> Entry<'a> {
    /// The hash, nanoseconds in eight bytes, what it is, and the claims as JSON.
    fn encode(&self) -> Vec<u8> {
        let nanos = u64::try_from(self.at.as_nanos()).unwrap_or(u64::MAX).to_le_bytes();
        let (what, claims): (u8, &[u8]) = match self.what {
            What::Asked => (0, &[]),
            What::Active(claims) => (1, claims),
            What::Inactive => (2, &[]),
            What::Failed => (3, &[]),
        };
        [self.print, &nanos, &[what], claims].concat()
    }

    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (print, rest) = bytes.split_at_checked(size_of::<Print>())?;
        let (nanos, rest) = rest.split_first_chunk::<8>()?;
        let (what, claims) = rest.split_first()?;
        let what = match what {
            0 => What::Asked,
            1 => What::Active(claims),
            2 => What::Inactive,
            3 => What::Failed,
            _ => return None,
        };
        Some(Self { print, at: Duration::from_nanos(u64::from_le_bytes(*nanos)), what })
    }

    /// Whether somebody waits for the answer.
    fn is_awaited(&self, now: Duration) -> bool {
        matches!(self.what, What::Asked) && now < self.at
    }

    /// `None`: it holds no longer.
    fn seen(&self, now: Duration, times: Times) -> Option<Seen> {
        let age = now.saturating_sub(self.at);
        match self.what {
            What::Asked => self.is_awaited(now).then_some(Seen::Asked),
            What::Active(claims) if age < times.active => {
                Some(Seen::Answered(Answer::Active(json::object(claims)?), age))
            }
            What::Inactive if age < times.inactive => Some(Seen::Answered(Answer::Inactive, age)),
            What::Failed if age < times.failed => Some(Seen::Answered(Answer::Failed, age)),
            What::Active(_) | What::Inactive | What::Failed => None,
        }
    }
}
