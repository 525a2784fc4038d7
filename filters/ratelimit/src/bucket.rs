//! Counters that share one value of the shared data, so that memory has a bound and one write takes several.
//!
//! A bucket is a row of entries of 16 bytes: six of the key's hash, one for the algorithm, nine for the state. It
//! grows with what is in it, up to a number of entries. When a new counter finds no room, counters that are
//! full again go first, then the one that would be full soonest: forgetting it gives away least.

use crate::{
    lease::{Account, Half},
    rate::{Clocks, Rate, Standing, State, Verdict},
};

const ENTRY: usize = 16;
const TAG: usize = 6;

/// Forty-eight bits of a hash: which counter of a bucket. Two keys of one bucket share a counter with a
/// probability of one in 2^48.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; TAG]);

impl Fingerprint {
    /// The lowest bits of a hash.
    pub fn new(hash: u64) -> Self {
        let [a, b, c, d, e, f, ..] = hash.to_le_bytes();
        Self([a, b, c, d, e, f])
    }
}

/// What a request asks of one counter.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'r> {
    pub counter: Fingerprint,
    pub rate: &'r Rate,
    pub amount: u64,
    /// Whether the request is refused when there is not enough. If not, the counter counts up to its limit.
    pub binding: bool,
    /// How much it takes will be known when the request is over: see [`charge`]. There must be something left.
    pub later: bool,
}

/// What came of a demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What is left, this request included if it was counted.
    pub standing: Standing,
    /// There was not enough: how long until there would be.
    pub over: Option<std::time::Duration>,
}

/// What came of all demands on one bucket.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// In the order of the demands.
    pub outcomes: Vec<Outcome>,
    /// Whether a binding demand was over. Then nothing was counted.
    pub refused: bool,
    /// Live counters that were forgotten for want of room.
    pub evicted: u64,
}

/// Takes all demands, or none of them. Returns the bucket as it becomes.
pub fn take(bytes: Option<&[u8]>, demands: &[Demand<'_>], room: usize, clocks: Clocks) -> (Vec<u8>, Taken) {
    let mut bucket = Bucket(bytes.unwrap_or_default().to_vec());
    let mut taken = Taken::default();
    let mut verdicts = Vec::with_capacity(demands.len());
    for demand in demands {
        let state = bucket.settled(demand, clocks);
        verdicts.push((state, demand.rate.take(state, demand.amount, clocks)));
    }
    taken.refused = demands
        .iter()
        .zip(&verdicts)
        .any(|(demand, (_, verdict))| demand.binding && matches!(verdict, Verdict::Refused(_)));
    for (demand, (before, verdict)) in demands.iter().zip(verdicts) {
        let (state, over) = match verdict {
            Verdict::Admitted(state) if !taken.refused && !demand.later => {
                taken.evicted =
                    taken.evicted.saturating_add(bucket.set(demand, state, demands, room, clocks));
                (Some(state), None)
            }
            Verdict::Admitted(_) => (before, None),
            Verdict::Refused(wait) => (before, Some(wait)),
        };
        taken.outcomes.push(Outcome { standing: demand.rate.standing(state, clocks), over });
    }
    (bucket.0, taken)
}

/// Counts what a demand that was put off has come to. Returns the bucket as it becomes, and how many live
/// counters were forgotten.
pub fn charge(bytes: Option<&[u8]>, demand: &Demand<'_>, room: usize, clocks: Clocks) -> (Vec<u8>, u64) {
    let mut bucket = Bucket(bytes.unwrap_or_default().to_vec());
    let state = bucket.settled(demand, clocks);
    let charged = demand.rate.charge(state, demand.amount, clocks);
    let evicted = bucket.set(demand, charged, std::slice::from_ref(demand), room, clocks);
    (bucket.0, evicted)
}

/// Takes back what [`take`] counted. Returns the bucket as it becomes.
pub fn give_back(bytes: Option<&[u8]>, demands: &[Demand<'_>], clocks: Clocks) -> Vec<u8> {
    let mut bucket = Bucket(bytes.unwrap_or_default().to_vec());
    for demand in demands.iter().filter(|demand| !demand.later) {
        let state = bucket.get(demand.counter);
        if let Some(state) = demand.rate.give_back(state, demand.amount, clocks)
            && let Some(entry) = bucket.entry(demand.counter)
        {
            write(entry, demand.counter, state);
        }
    }
    bucket.0
}

/// Changes what is held of a shared allowance, whose two halves are the counters of these demands. Returns the bucket
/// as it becomes, and how many live counters were forgotten.
pub fn lease(
    bytes: Option<&[u8]>,
    halves: &[Demand<'_>; 2],
    room: usize,
    clocks: Clocks,
    change: impl FnOnce(&mut Account),
) -> (Vec<u8>, u64) {
    let mut bucket = Bucket(bytes.unwrap_or_default().to_vec());
    let before = Account::of(halves.each_ref().map(|half| bucket.get(half.counter)));
    let mut account = before;
    change(&mut account);
    let mut evicted = 0_u64;
    if account != before {
        for (half, state) in halves.iter().zip(account.states()) {
            evicted = evicted.saturating_add(bucket.set(half, state, halves, room, clocks));
        }
    }
    (bucket.0, evicted)
}

struct Bucket(Vec<u8>);

impl Bucket {
    fn get(&self, counter: Fingerprint) -> Option<State> {
        self.0.chunks_exact(ENTRY).find(|entry| entry.starts_with(&counter.0)).and_then(read)
    }

    /// The counter of a demand, kept as it is to be kept.
    fn settled(&mut self, demand: &Demand<'_>, clocks: Clocks) -> Option<State> {
        let entry = self.entry(demand.counter)?;
        let state = read(entry)?;
        let settled = demand.rate.settle(state, clocks);
        if settled != state {
            write(entry, demand.counter, settled);
        }
        Some(settled)
    }

    fn entry(&mut self, counter: Fingerprint) -> Option<&mut [u8]> {
        self.0.chunks_exact_mut(ENTRY).find(|entry| entry.starts_with(&counter.0))
    }

    /// Writes a counter, and returns how many live ones were forgotten to make room for it.
    fn set(
        &mut self,
        demand: &Demand<'_>,
        state: State,
        demands: &[Demand<'_>],
        room: usize,
        clocks: Clocks,
    ) -> u64 {
        if let Some(entry) = self.entry(demand.counter) {
            write(entry, demand.counter, state);
            return 0;
        }
        self.forget(|entry| read(entry).is_none_or(|state| state.is_full(clocks)));
        let mut evicted = 0_u64;
        while self.len() >= room.max(demands.len()) && self.evict(demands, clocks) {
            evicted = evicted.saturating_add(1);
        }
        let mut entry = [0; ENTRY];
        write(&mut entry, demand.counter, state);
        self.0.extend_from_slice(&entry);
        evicted
    }

    fn len(&self) -> usize {
        self.0.len() / ENTRY
    }

    fn forget(&mut self, gone: impl Fn(&[u8]) -> bool) {
        let kept: Vec<&[u8]> = self.0.chunks_exact(ENTRY).filter(|entry| !gone(entry)).collect();
        self.0 = kept.concat();
    }

    /// Forgets the counter that is worth least, of those that this request does not ask for.
    fn evict(&mut self, demands: &[Demand<'_>], clocks: Clocks) -> bool {
        let asked = |entry: &&[u8]| demands.iter().any(|demand| entry.starts_with(&demand.counter.0));
        let others = self.0.chunks_exact(ENTRY).filter(|entry| !asked(entry));
        let least = others.min_by_key(|entry| read(entry).map(|state| state.worth(clocks)));
        let Some(least) = least.map(<[u8]>::to_vec) else { return false };
        self.forget(|entry| entry == least);
        true
    }
}

fn read(entry: &[u8]) -> Option<State> {
    let (tag, state) = entry.get(TAG..)?.split_first()?;
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    match tag {
        0 => Some(State::Gcra { full_at: number(state.get(..8)?) }),
        1 => {
            let (end, used) = state.split_first_chunk::<4>()?;
            Some(State::Window { end: u32::from_le_bytes(*end), used: number(used) })
        }
        tag => {
            let (word, until) = state.split_first_chunk::<4>()?;
            let what = Half::ALL.into_iter().find(|half| half.tag() == *tag)?;
            Some(State::Lease { what, number: u32::from_le_bytes(*word), until: number(until) })
        }
    }
}

fn write(entry: &mut [u8], counter: Fingerprint, state: State) {
    let (tag, end, number) = match state {
        State::Gcra { full_at } => (0, &[][..], full_at),
        State::Window { end, used } => (1, &end.to_le_bytes()[..], used),
        State::Lease { what, number, until } => (what.tag(), &number.to_le_bytes()[..], until),
    };
    let bytes = [&counter.0[..], &[tag], end, &number.to_le_bytes()];
    for (place, byte) in entry.iter_mut().zip(bytes.into_iter().flatten()) {
        *place = *byte;
    }
}

#[cfg(test)]
mod tests;
