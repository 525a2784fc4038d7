#[cfg(not(target_arch = "wasm32"))]
mod forgetting;

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
    Demand { counter: Fingerprint::new(counter), rate, amount: 1, binding: true, later: false }
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
fn what_is_counted_later_may_go_beyond_the_limit_once() {
    for algorithm in BOTH {
        let bytes = rate(algorithm, 1000, "1h");
        let check = Demand { later: true, ..demand(1, &bytes) };
        let refused = |bucket: &[u8]| {
            let (after, taken) = take(Some(bucket), &[check], 8, NOW);
            assert_eq!(after, bucket, "nothing is counted yet");
            taken.refused
        };
        let charged =
            |bucket: &[u8], amount: u64| charge(Some(bucket), &Demand { amount, ..check }, 8, NOW).0;
        assert!(!refused(&[]));
        let bucket = charged(&[], 999);
        assert!(!refused(&bucket) && left(&bucket, 1, &bytes) == 1);
        assert_eq!(give_back(Some(&bucket), &[check], NOW), bucket);
        let bucket = charged(&bucket, 500);
        assert!(refused(&bucket) && left(&bucket, 1, &bytes) == 0);
        let bucket = charged(&bucket, u64::MAX);
        assert!(refused(&bucket), "no amount wraps");
    }
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
