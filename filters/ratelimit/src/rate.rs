//! The two algorithms: what one counter says about one request.
//!
//! **GCRA** (the generic cell rate algorithm of ATM, the token bucket's twin) remembers when the allowance will
//! be full again. It runs on the monotonic clock and lets `limit` requests through at once, then one for each
//! `period / limit`.
//!
//! **Window** counts in windows of the calendar, in UTC, as WSO2 does: `limit` requests from one full minute
//! to the next, so up to twice the limit around that moment. It runs on the wall clock.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{lease, period::Period};

/// How requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// The limit at once, then evenly. No moment is special.
    #[default]
    Gcra,
    /// The limit in each window of the calendar, as WSO2 counts.
    Window,
}

/// The time, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Nanoseconds since some moment that all workers share.
    pub monotonic: u64,
    /// Nanoseconds since the epoch.
    pub wall: u64,
}

/// What a counter remembers. A counter that remembers nothing has its full allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// When the allowance is full again: nanoseconds of the monotonic clock.
    Gcra { full_at: u64 },
    /// When the window ends, in seconds since the epoch, and what has been used of it; less than 2^40.
    Window { end: u32, used: u64 },
    /// Half of an [`crate::lease::Account`]; no limit reads it.
    Lease { what: lease::Half, number: u32, until: u64 },
}

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// The most that a window can count.
pub const MOST: u64 = (1 << 40) - 1;

/// So much in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub algorithm: Algorithm,
    pub limit: u64,
    pub period: Period,
    /// Nanoseconds after which one more is allowed.
    interval: u64,
}

/// What is left of an allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub remaining: u64,
    /// Until it is full.
    pub reset: Duration,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass; the counter becomes this.
    Admitted(State),
    /// It may not, before so much time has passed.
    Refused(Duration),
}

impl Rate {
    /// Refuses, in words, what cannot be counted.
    pub fn new(algorithm: Algorithm, limit: u64, period: Period) -> Result<Self, String> {
        let nanos = nanos(period.duration());
        if limit == 0 {
            return Err("nothing would ever be allowed; name those who may not call in `blocked`".to_owned());
        }
        if limit > MOST || limit > nanos {
            return Err(format!(
                "`{limit}` in `{period}` is more than can be counted: a billion in a second"
            ));
        }
        if algorithm == Algorithm::Window && period.duration().subsec_nanos() != 0 {
            return Err(format!("a window of the calendar lasts whole seconds, not `{period}`"));
        }
        Ok(Self { algorithm, limit, period, interval: nanos.div_ceil(limit) })
    }

    /// The counter as it is to be kept, whether or not more is taken: where the wall clock went back, in the
    /// window that is now.
    pub fn settle(&self, state: State, clocks: Clocks) -> State {
        match (self.algorithm, state) {
            (Algorithm::Window, State::Window { end: kept, .. }) => match self.window(Some(state), clocks) {
                (end, used) if end < kept => State::Window { end, used },
                _ => state,
            },
            _ => state,
        }
    }

    /// What `amount` more would make of the counter.
    pub fn take(&self, state: Option<State>, amount: u64, clocks: Clocks) -> Verdict {
        match self.algorithm {
            Algorithm::Gcra => {
                let full_at =
                    self.full_at(state, clocks).saturating_add(self.interval.saturating_mul(amount));
                let latest = clocks.monotonic.saturating_add(self.capacity());
                match full_at.checked_sub(latest) {
                    None | Some(0) => Verdict::Admitted(State::Gcra { full_at }),
                    Some(wait) => Verdict::Refused(Duration::from_nanos(wait)),
                }
            }
            Algorithm::Window => {
                let (end, used) = self.window(state, clocks);
                let used = used.saturating_add(amount);
                if used <= self.limit {
                    Verdict::Admitted(State::Window { end, used })
                } else {
                    Verdict::Refused(until(end, clocks))
                }
            }
        }
    }

    /// The counter after `amount` more, whether or not there was enough.
    pub fn charge(&self, state: Option<State>, amount: u64, clocks: Clocks) -> State {
        match self.algorithm {
            Algorithm::Gcra => State::Gcra {
                full_at: self.full_at(state, clocks).saturating_add(self.interval.saturating_mul(amount)),
            },
            Algorithm::Window => {
                let (end, used) = self.window(state, clocks);
                State::Window { end, used: used.saturating_add(amount).min(MOST) }
            }
        }
    }

    /// The counter after `amount` has been given back. `None`: nothing that it could be given back to.
    pub fn give_back(&self, state: Option<State>, amount: u64, clocks: Clocks) -> Option<State> {
        match (self.algorithm, state?) {
            (Algorithm::Gcra, State::Gcra { full_at }) => {
                Some(State::Gcra { full_at: full_at.saturating_sub(self.interval.saturating_mul(amount)) })
            }
            (Algorithm::Window, State::Window { .. }) => {
                let (end, used) = self.window(state, clocks);
                Some(State::Window { end, used: used.saturating_sub(amount) })
            }
            _ => None,
        }
    }

    pub fn standing(&self, state: Option<State>, clocks: Clocks) -> Standing {
        match self.algorithm {
            Algorithm::Gcra => {
                let owed = self.full_at(state, clocks).saturating_sub(clocks.monotonic);
                let left = self.capacity().saturating_sub(owed);
                Standing {
                    remaining: left.checked_div(self.interval).unwrap_or(0),
                    reset: Duration::from_nanos(owed),
                }
            }
            Algorithm::Window => {
                let (end, used) = self.window(state, clocks);
                Standing { remaining: self.limit.saturating_sub(used), reset: until(end, clocks) }
            }
        }
    }

    /// How far ahead of the clock a counter may be: `limit` intervals, so that the limit passes at once.
    fn capacity(&self) -> u64 {
        self.interval.saturating_mul(self.limit)
    }

    fn full_at(&self, state: Option<State>, clocks: Clocks) -> u64 {
        match state {
            Some(State::Gcra { full_at }) => full_at.max(clocks.monotonic),
            _ => clocks.monotonic,
        }
    }

    /// The window to count in, and what has been used of it.
    ///
    /// A window that begins when this one ends is one that another worker has opened a moment ago, or the wall
    /// clock went back a little: it stays. Where the clock went back further, what has been used counts in the
    /// window that is now: nobody is freed, and nobody is locked out until the clock catches up.
    fn window(&self, state: Option<State>, clocks: Clocks) -> (u32, u64) {
        let now = self.end_after(clocks.wall / SECOND);
        match state {
            Some(State::Window { end, used }) if end == now || end == self.end_after(u64::from(now)) => {
                (end, used)
            }
            Some(State::Window { end, used }) if end > now => (now, used),
            _ => (now, 0),
        }
    }

    fn end_after(&self, wall: u64) -> u32 {
        u32::try_from(self.period.window_end(wall)).unwrap_or(u32::MAX)
    }
}

impl State {
    /// Nanoseconds until the allowance is full, and what is used: what is nearer to nothing is worth less.
    pub fn worth(self, clocks: Clocks) -> (u64, u64) {
        match self {
            Self::Gcra { full_at } => (full_at.saturating_sub(clocks.monotonic), 0),
            Self::Window { end, used } => match nanos(until(end, clocks)) {
                0 => (0, 0),
                left => (left, used),
            },
            Self::Lease { number, until, .. } => {
                let left = until.saturating_mul(lease::MILLISECOND).saturating_sub(clocks.monotonic);
                (left, u64::from(number))
            }
        }
    }

    /// Whether a counter without memory would be the same.
    pub fn is_full(self, clocks: Clocks) -> bool {
        self.worth(clocks).0 == 0
    }
}

fn until(end: u32, clocks: Clocks) -> Duration {
    Duration::from_nanos(u64::from(end).saturating_mul(SECOND).saturating_sub(clocks.wall))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
