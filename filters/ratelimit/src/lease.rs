//! What this Envoy holds of an allowance that several share.
//!
//! The service counts. To ask it about every request would cost a call each, so hits are taken in batches: what has
//! been taken is counted there already, and is spent here without asking. A batch is meant to last a second or a few,
//! and is never more than a quarter of what the service said is left, so that batches shrink as the allowance does
//! and what one Envoy holds is not missed by the others. What is held when its window ends, or when it is forgotten,
//! is lost: never given twice.
//!
//! All moments are milliseconds of the monotonic clock, which all workers share.

use crate::rate::State;

/// In nanoseconds.
pub const MILLISECOND: u64 = 1_000_000;

/// A batch that was used up sooner is followed by a larger one ...
const BRIEF: u64 = 1_000;
/// ... and one that lasted longer by a smaller one.
const LONG: u64 = 4_000;
/// A batch is at most this part of what is left; it can double before it is asked for.
const SHARE: u32 = 8;
/// The rest of a batch at which the next one is asked for: this part of it.
const LOW: u32 = 4;
/// How long hits can be used whose window is about to end: as long as any answer takes to arrive.
const GRACE: u64 = 20;
/// How long nothing is asked after a service that says nothing is left, and not until when.
const AGAIN: u64 = 1_000;
/// The least time for which nothing is left.
const SOON: u64 = 50;
/// How long the size of batches is remembered while none is under way.
const REMEMBERED: u64 = 10_000;

/// What is held, and what is under way to get more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    held: u32,
    /// When what is held is lost.
    until: u64,
    plan: Plan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// Nothing is under way. The last batch came then, or nobody knows (0); of the next one this is the size.
    Rest { batch: u32, since: u64 },
    /// So many have been asked for, and until then nobody else asks.
    Asking { batch: u32, until: u64 },
    /// The service has nothing left until then.
    Spent { until: u64 },
}

/// The two counters in which an account is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    Held,
    Rest,
    Asking,
    Spent,
}

impl Half {
    pub const ALL: [Self; 4] = [Self::Held, Self::Rest, Self::Asking, Self::Spent];

    /// How it is written in a bucket. Limits have 0 and 1.
    pub fn tag(self) -> u8 {
        match self {
            Self::Held => 2,
            Self::Rest => 3,
            Self::Asking => 4,
            Self::Spent => 5,
        }
    }
}

/// What an account says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It may pass. `low`: it is time to ask for more.
    Hit { left: u32, reset: u64, low: bool },
    /// Nothing is left, here and at the service, for so long.
    Spent { wait: u64 },
    /// Somebody has asked, and the answer is under way.
    Wait,
    /// Somebody must ask.
    Empty,
}

/// What the service answered to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grant {
    /// False: there was not enough, and nothing is held.
    pub granted: bool,
    /// What is left at the service.
    pub remaining: Option<u32>,
    /// Until the service's window ends, at least.
    pub reset: Option<u64>,
}

impl Account {
    /// From the counters in which it is kept, as far as they are there.
    pub fn of([held, plan]: [Option<State>; 2]) -> Self {
        let (held, until) = match held {
            Some(State::Lease { what: Half::Held, number, until }) => (number, until),
            _ => (0, 0),
        };
        let plan = match plan {
            Some(State::Lease { what: Half::Rest, number, until }) => {
                Plan::Rest { batch: number, since: until.saturating_sub(REMEMBERED) }
            }
            Some(State::Lease { what: Half::Asking, number, until }) => Plan::Asking { batch: number, until },
            Some(State::Lease { what: Half::Spent, until, .. }) => Plan::Spent { until },
            _ => Plan::Rest { batch: 1, since: 0 },
        };
        Self { held, until, plan }
    }

    pub fn states(&self) -> [State; 2] {
        let (what, number, until) = match self.plan {
            Plan::Rest { batch, since } => (Half::Rest, batch, since.saturating_add(REMEMBERED)),
            Plan::Asking { batch, until } => (Half::Asking, batch, until),
            Plan::Spent { until } => (Half::Spent, 0, until),
        };
        let held = State::Lease { what: Half::Held, number: self.held, until: self.until };
        [held, State::Lease { what, number, until }]
    }

    /// Spends a hit, if there is one.
    pub fn take(&mut self, now: u64) -> Taken {
        if let Some(left) = self.held(now).checked_sub(1) {
            self.held = left;
            // Who is asked for one at a time has little to hold: it is asked for when it is needed.
            let low = matches!(self.plan, Plan::Rest { batch, .. } if batch > 1 && left <= batch / LOW);
            return Taken::Hit { left, reset: self.until.saturating_sub(now), low };
        }
        match self.plan {
            Plan::Spent { until } if now < until => Taken::Spent { wait: until.saturating_sub(now) },
            Plan::Asking { until, .. } if now < until => Taken::Wait,
            Plan::Rest { .. } | Plan::Asking { .. } | Plan::Spent { .. } => Taken::Empty,
        }
    }

    /// Puts a hit back that was not needed.
    pub fn give_back(&mut self, now: u64) {
        if now < self.until {
            self.held = self.held.saturating_add(1);
        }
    }

    /// Spends what a request cost beside its hit, and returns what there is not enough for.
    pub fn spend(&mut self, now: u64, cost: u64) -> u64 {
        let held = self.held(now);
        let spent = u32::try_from(cost).unwrap_or(u32::MAX).min(held);
        self.held = held.saturating_sub(spent);
        cost.saturating_sub(spent.into())
    }

    /// The service has nothing left for what requests have cost.
    pub fn exhaust(&mut self, reset: Option<u64>, now: u64) {
        self.held = 0;
        self.plan = Plan::Spent { until: spent_until(reset, now, now) };
    }

    /// For how long nothing is left.
    pub fn spent(&self, now: u64) -> Option<u64> {
        match self.plan {
            Plan::Spent { until } => until.checked_sub(now).filter(|left| *left > 0),
            Plan::Rest { .. } | Plan::Asking { .. } => None,
        }
    }

    /// How many to ask for now. `None`: somebody else has asked already. The answer is expected before `until`.
    pub fn ask(&mut self, now: u64, until: u64) -> Option<u32> {
        let batch = match self.plan {
            Plan::Asking { until, .. } if now < until => return None,
            Plan::Spent { until } if now < until => return None,
            Plan::Rest { batch, since: 0 } => batch,
            Plan::Rest { batch, since } => match now.saturating_sub(since) {
                brief if brief < BRIEF => batch.saturating_mul(2),
                long if long > LONG => batch / 2,
                _ => batch,
            },
            // Whoever asked is gone, and with it what it was given.
            Plan::Asking { batch, .. } => batch / 2,
            Plan::Spent { .. } => 1,
        };
        let batch = batch.max(1);
        self.plan = Plan::Asking { batch, until };
        Some(batch)
    }

    /// Takes in what was asked for at `sent`.
    pub fn accept(&mut self, batch: u32, grant: Grant, sent: u64, now: u64) {
        let share = |rest: u32| (rest / SHARE).max(1);
        let reset = grant.reset.unwrap_or(0);
        if !grant.granted {
            self.plan = match batch {
                1 => Plan::Spent { until: spent_until(grant.reset, sent, now) },
                _ => {
                    Plan::Rest { batch: share(batch).min(grant.remaining.map_or(u32::MAX, share)), since: 0 }
                }
            };
            return;
        }
        let ends = sent.saturating_add(reset);
        let graced = now.saturating_add(GRACE);
        let until = ends.max(graced);
        (self.held, self.until) = match self.held(now) {
            // Of the same window, as far as anybody can tell.
            held if held > 0 && until <= self.until.saturating_add(BRIEF) => {
                (held.saturating_add(batch), until.min(self.until))
            }
            _ => (batch, until),
        };
        let next = if ends < graced { batch / 4 } else { batch };
        self.plan = match grant.remaining {
            Some(0) => Plan::Spent { until },
            Some(rest) if rest >= SHARE => Plan::Rest { batch: next.min(share(rest)).max(1), since: now },
            // Of so little, or of who knows how much, one at a time.
            Some(_) | None => Plan::Rest { batch: 1, since: 0 },
        };
    }

    /// Notes that there was no answer.
    pub fn fail(&mut self) {
        if let Plan::Asking { batch, .. } = self.plan {
            self.plan = Plan::Rest { batch: (batch / 2).max(1), since: 0 };
        }
    }

    /// Whether requests that wait for an answer should look again.
    pub fn is_settled(&self, now: u64) -> bool {
        self.held(now) > 0 || !matches!(self.plan, Plan::Asking { until, .. } if now < until)
    }

    fn held(&self, now: u64) -> u32 {
        if now < self.until { self.held } else { 0 }
    }
}

fn spent_until(reset: Option<u64>, sent: u64, now: u64) -> u64 {
    match reset {
        Some(reset) => sent.saturating_add(reset).max(now.saturating_add(SOON)),
        None => now.saturating_add(AGAIN),
    }
}

#[cfg(test)]
mod tests;
