//! Counters that share one value of the shared data, so that memory has a bound and one write takes several.
//!
//! A bucket is a row of entries of 16 bytes: six of the key's hash, one for the algorithm, nine for the state. It
//! grows with what is in it, up to a number of entries. When a new counter finds no room, counters that are
//! full again go first, then the one that would be full soonest: forgetting it gives away least.

use crate::rate::{Clocks, Rate, Standing, State, Verdict};

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
            Verdict::Admitted(state) if !taken.refused => {
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

/// Takes back what [`take`] counted. Returns the bucket as it becomes.
pub fn give_back(bytes: Option<&[u8]>, demands: &[Demand<'_>], clocks: Clocks) -> Vec<u8> {
    let mut bucket = Bucket(bytes.unwrap_or_default().to_vec());
    for demand in demands {
        let state = bucket.get(demand.counter);
        if let Some(state) = demand.rate.give_back(state, demand.amount, clocks)
            && let Some(entry) = bucket.entry(demand.counter)
        {
            write(entry, demand.counter, state);
        }
    }
    bucket.0
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
        _ => None,
    }
}

fn write(entry: &mut [u8], counter: Fingerprint, state: State) {
    let (tag, end, number) = match state {
        State::Gcra { full_at } => (0, &[][..], full_at),
        State::Window { end, used } => (1, &end.to_le_bytes()[..], used),
    };
    let bytes = [&counter.0[..], &[tag], end, &number.to_le_bytes()];
    for (place, byte) in entry.iter_mut().zip(bytes.into_iter().flatten()) {
        *place = *byte;
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use std::time::Duration;

    use super::*;
    use crate::rate::{Algorithm, MOST};

    const NOW: Clocks = Clocks { monotonic: 1 << 40, wall: 1_793_491_200_000_000_000 };
    const BOTH: [Algorithm; 2] = [Algorithm::Gcra, Algorithm::Window];

    fn rate(algorithm: Algorithm, limit: u64, period: &str) -> Rate {
        Rate::new(algorithm, limit, period.parse().unwrap()).unwrap()
    }

    fn demand(counter: u64, rate: &Rate) -> Demand<'_> {
        Demand { counter: Fingerprint::new(counter), rate, amount: 1, binding: true }
    }

    /// One request on one counter: the bucket afterwards, and how many were evicted.
    fn hit(bytes: &[u8], counter: u64, rate: &Rate, room: usize) -> (Vec<u8>, u64) {
        let (bytes, taken) = take(Some(bytes), &[demand(counter, rate)], room, NOW);
        (bytes, taken.evicted)
    }

    fn left(bytes: &[u8], counter: u64, rate: &Rate) -> u64 {
        rate.standing(Bucket(bytes.to_vec()).get(Fingerprint::new(counter)), NOW).remaining
    }

    #[test]
    fn states_come_back_as_they_went() {
        let mut entry = [0; ENTRY];
        for state in [
            State::Gcra { full_at: u64::MAX },
            State::Gcra { full_at: 1 },
            State::Window { end: u32::MAX, used: MOST },
            State::Window { end: 7, used: 0 },
        ] {
            write(&mut entry, Fingerprint::new(u64::MAX), state);
            assert_eq!(read(&entry), Some(state));
            assert!(entry.starts_with(&[0xff; TAG]));
        }
    }

    #[test]
    fn a_new_counter_takes_sixteen_bytes() {
        for algorithm in BOTH {
            let rate = rate(algorithm, 5, "1m");
            let (bytes, _) = hit(&[], 1, &rate, 8);
            assert_eq!(bytes.len(), ENTRY);
            let (bytes, _) = hit(&bytes, 1, &rate, 8);
            assert_eq!((bytes.len(), left(&bytes, 1, &rate)), (ENTRY, 3));
            let (bytes, _) = hit(&bytes, 2, &rate, 8);
            assert_eq!((bytes.len(), left(&bytes, 1, &rate), left(&bytes, 2, &rate)), (2 * ENTRY, 3, 4));
        }
    }

    #[test]
    fn all_demands_are_taken_or_none() {
        for algorithm in BOTH {
            let (quota, burst) = (rate(algorithm, 5, "1h"), rate(algorithm, 2, "1s"));
            let demands = [demand(1, &quota), demand(2, &burst)];
            let mut bytes = Vec::new();
            for _ in 0..2 {
                let (after, taken) = take(Some(&bytes), &demands, 8, NOW);
                assert!(!taken.refused);
                bytes = after;
            }
            let (after, taken) = take(Some(&bytes), &demands, 8, NOW);
            assert!(taken.refused && after == bytes);
            assert_eq!(taken.outcomes[0].over, None);
            assert!(taken.outcomes[1].over.unwrap() <= Duration::from_secs(1));
            assert_eq!(taken.outcomes[0].standing.remaining, 3);
            let back = give_back(Some(&bytes), &demands, NOW);
            assert_eq!((left(&back, 1, &quota), left(&back, 2, &burst)), (4, 1));
        }
    }

    #[test]
    fn what_does_not_bind_counts_and_lets_pass() {
        let (quota, burst) = (rate(Algorithm::Gcra, 1, "1h"), rate(Algorithm::Gcra, 3, "1s"));
        let demands = [Demand { binding: false, ..demand(1, &quota) }, demand(2, &burst)];
        let mut bytes = Vec::new();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let (after, taken) = take(Some(&bytes), &demands, 8, NOW);
            seen.push((taken.refused, taken.outcomes[0].over.is_some()));
            bytes = after;
        }
        assert_eq!(seen, [(false, false), (false, true), (false, true), (true, true)]);
    }

    #[test]
    fn expired_counters_go_first() {
        for algorithm in BOTH {
            let (short, long) = (rate(algorithm, 1, "1s"), rate(algorithm, 1, "1h"));
            let (mut bytes, _) = hit(&[], 1, &long, 3);
            (bytes, _) = hit(&bytes, 2, &short, 3);
            (bytes, _) = hit(&bytes, 3, &long, 3);
            let later = Clocks { monotonic: NOW.monotonic + 2_000_000_000, wall: NOW.wall + 2_000_000_000 };
            let (bytes, taken) = take(Some(&bytes), &[demand(4, &long)], 3, later);
            assert_eq!((taken.evicted, bytes.len()), (0, 3 * ENTRY));
            assert_eq!((left(&bytes, 1, &long), left(&bytes, 2, &short)), (0, 1));
        }
    }

    #[test]
    fn then_the_one_that_is_nearest_to_full() {
        for algorithm in BOTH {
            let rate = rate(algorithm, 10, "1h");
            let mut bytes = Vec::new();
            for (counter, hits) in [(1, 5), (2, 2), (3, 9)] {
                for _ in 0..hits {
                    (bytes, _) = hit(&bytes, counter, &rate, 3);
                }
            }
            let (bytes, evicted) = hit(&bytes, 4, &rate, 3);
            assert_eq!((evicted, bytes.len()), (1, 3 * ENTRY));
            let left = [1, 2, 3, 4].map(|counter| left(&bytes, counter, &rate));
            assert_eq!(left, [5, 10, 1, 9], "{algorithm:?}");
        }
    }

    #[test]
    fn a_flood_of_strangers_evicts_itself() {
        for algorithm in BOTH {
            let rate = rate(algorithm, 10, "1h");
            let mut bytes = Vec::new();
            for counter in 0..3 {
                for _ in 0..5 {
                    (bytes, _) = hit(&bytes, counter, &rate, 4);
                }
            }
            for stranger in 100..10_100 {
                (bytes, _) = hit(&bytes, stranger, &rate, 4);
                assert!(bytes.len() <= 4 * ENTRY);
            }
            assert_eq!([0, 1, 2].map(|counter| left(&bytes, counter, &rate)), [5, 5, 5]);
        }
    }

    #[test]
    fn a_bucket_with_less_room_shrinks_when_it_is_written() {
        let rate = rate(Algorithm::Gcra, 10, "1h");
        let mut bytes = Vec::new();
        for counter in 0..40 {
            (bytes, _) = hit(&bytes, counter, &rate, 40);
        }
        let (bytes, evicted) = hit(&bytes, 99, &rate, 4);
        assert_eq!((bytes.len(), evicted), (4 * ENTRY, 37));
    }

    #[test]
    fn damaged_buckets_are_read_without_a_panic() {
        let rate = rate(Algorithm::Gcra, 10, "1h");
        for length in 0..40 {
            let damaged = vec![0xa5; length];
            let (bytes, taken) = take(Some(&damaged), &[demand(1, &rate)], 4, NOW);
            assert!(!taken.refused && bytes.len() == ENTRY, "{length}");
            assert!(give_back(Some(&damaged), &[demand(1, &rate)], NOW).len() == length);
        }
    }

    /// Whatever is asked, in whatever order: a key is admitted no more often than with unlimited memory, but for
    /// `limit` for each counter that was forgotten; and it is refused no more often, unless that gave it more.
    #[cfg(not(target_arch = "wasm32"))]
    mod forgetting {
        use std::collections::{HashMap, HashSet};

        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn gives_away_a_limit_each_time_at_most(
                limit in 1_u64..6,
                requests in prop::collection::vec((0_u64..12, 0_u64..4_000_000_000), 1..300),
            ) {
                for algorithm in BOTH {
                    let rate = rate(algorithm, limit, "20s");
                    let (mut bytes, mut clocks, mut evicted, mut given_away) = (Vec::new(), NOW, 0, 0);
                    let (mut all, mut favoured) = (HashMap::new(), HashSet::new());
                    for (key, elapsed) in &requests {
                        clocks.monotonic += elapsed;
                        clocks.wall += elapsed;
                        let (after, taken) = take(Some(&bytes), &[demand(*key, &rate)], 4, clocks);
                        bytes = after;
                        evicted += taken.evicted;
                        let remembered = rate.take(all.get(key).copied(), 1, clocks);
                        match (taken.refused, remembered) {
                            (false, Verdict::Admitted(state)) => {
                                all.insert(*key, state);
                            }
                            (false, Verdict::Refused(_)) => {
                                given_away += 1;
                                favoured.insert(*key);
                            }
                            (true, Verdict::Refused(_)) => {}
                            (true, Verdict::Admitted(_)) => prop_assert!(favoured.contains(key)),
                        }
                        prop_assert!(given_away <= evicted * limit, "{given_away} for {evicted}");
                    }
                }
            }
        }
    }
}
