#![expect(clippy::arithmetic_side_effects, reason = "an overflow would fail the test, as it should")]

#[cfg(not(target_arch = "wasm32"))]
mod threads;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use enforcer_core::native::NativeHost;

use super::*;
use crate::rate::{Algorithm, Rate};

const BOTH: [Algorithm; 2] = [Algorithm::Gcra, Algorithm::Window];

fn rate(algorithm: Algorithm, limit: u64) -> Rate {
    Rate::new(algorithm, limit, "36500d".parse().unwrap()).unwrap()
}

fn limit(rate: &Rate) -> Limit {
    Limit { kind: Kind::Quota, rate: *rate, stops: true }
}

fn counters(max_keys: u32) -> Counters {
    Counters::new("ratelimit", max_keys)
}

fn place_of(counters: &Counters, host: &dyn Host, key: u64) -> Place {
    let mut hasher = counters.hasher(host);
    hasher.write_u64(key);
    place(&hasher)
}

/// Whether a request of this key is admitted.
fn admits(counters: &Counters, host: &dyn Host, key: u64, rate: &Rate) -> bool {
    let place = place_of(counters, host, key);
    !counters.take(host, place, &demands(place, &[limit(rate)], |limit| limit.stops, None)).unwrap().refused
}

#[test]
fn a_limit_is_common_to_all_workers() {
    for algorithm in BOTH {
        let (host, rate) = (NativeHost::new(), rate(algorithm, 3));
        let workers = [host.sibling(), host.sibling(), host];
        let admitted = (0..9).filter(|n| admits(&counters(100), &workers[n % 3], 7, &rate)).count();
        assert_eq!(admitted, 3, "{algorithm:?}");
    }
}

#[test]
fn a_reload_with_other_limits_keeps_what_it_can() {
    let (host, rate) = (NativeHost::new(), rate(Algorithm::Gcra, 3));
    for key in 0..1000 {
        assert!(admits(&counters(100_000), &host, key, &rate));
    }
    let before = host.shared_data().len();
    for max_keys in [1, 1_000_000, 100_000] {
        let left = |key| {
            let counters = counters(max_keys);
            let place = place_of(&counters, &host, key);
            let limits = [limit(&rate)];
            let none = Demand { amount: 0, ..demands(place, &limits, |limit| limit.stops, None)[0] };
            counters.take(&host, place, &[none]).unwrap().outcomes[0].standing.remaining
        };
        assert!((0..1000).all(|key| left(key) == 2), "{max_keys}");
    }
    assert_eq!(host.shared_data().len(), before, "no key is left behind");
}

#[test]
fn the_secret_is_the_processes() {
    let host = NativeHost::new();
    let (a, b) = (counters(1), counters(1));
    assert_eq!(place_of(&a, &host, 1), place_of(&b, &host.sibling(), 1));
    assert_ne!(place_of(&a, &host, 1), place_of(&counters(1), &NativeHost::new().sibling(), 1));
}

#[test]
fn places_are_spread() {
    let (host, counters) = (NativeHost::new(), counters(1));
    let mut used = vec![0_u32; usize::try_from(BUCKETS).unwrap()];
    for key in 0..BUCKETS * 50 {
        used[usize::try_from(place_of(&counters, &host, key).bucket()).unwrap()] += 1;
    }
    assert!(used.iter().all(|count| (15..100).contains(count)));
    assert_eq!((Place(0).bucket(), Place(u64::MAX).bucket()), (0, BUCKETS - 1));
}

#[test]
fn room_grows_with_the_number_of_keys() {
    assert_eq!([0, 1, 100_000, 1_000_000].map(room), [4, 10, 21, 101]);
}
