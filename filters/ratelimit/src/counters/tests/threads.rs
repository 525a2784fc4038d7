//! Several workers at once, and as many keys as there can be.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::Instant,
};

use enforcer_core::native::turns::{orders, run};
use governor::{Quota, RateLimiter};

use super::*;

/// What shared data takes in Envoy: the bytes, and for each key what its map, its strings and their
/// allocations cost beside (measured at 170 bytes for a value of 64).
fn memory(host: &NativeHost) -> usize {
    host.shared_data().iter().map(|(key, value)| key.len() + value.len() + 106).sum()
}

/// For scale, what a decision takes here and with `governor`, both native and on one thread: a thousand keys, and a limit
/// that half of a million decisions pass. Shared data is the test's map here, and Envoy's where it matters.
#[test]
fn a_million_decisions_beside_a_native_limiter() {
    const KEYS: u64 = 1_000;
    let (each, rounds) = if cfg!(debug_assertions) { (5, 10) } else { (500, 1_000) };
    let per_decision = |began: Instant| began.elapsed().as_nanos() / u128::from(KEYS * rounds);
    let (world, counters, rate) = (NativeHost::new(), counters(10_000), rate(Algorithm::Gcra, each));
    let began = Instant::now();
    let decisions = (0..rounds).flat_map(|_| 0..KEYS);
    let ours = decisions.clone().filter(|key| admits(&counters, &world, *key, &rate)).count();
    let our_time = per_decision(began);
    let quota = Quota::per_hour(u32::try_from(each).ok().and_then(NonZeroU32::new).unwrap());
    let governor = RateLimiter::<u64, _, _>::hashmap(quota);
    let began = Instant::now();
    let theirs = decisions.filter(|key| governor.check_key(key).is_ok()).count();
    println!("a decision: {our_time} ns here, {} ns with governor", per_decision(began));
    assert_eq!((ours, theirs), ((KEYS * each) as usize, (KEYS * each) as usize));
}

/// Three workers, each of which reads and writes at most three times: every order of those accesses.
#[test]
fn in_every_order_the_limit_passes_and_not_one_more() {
    for algorithm in BOTH {
        for limit in [1, 2, 3] {
            let (rate, expected) = (rate(algorithm, limit), usize::try_from(limit).unwrap());
            for order in orders(3, 3) {
                let world = NativeHost::new();
                // The secret is drawn before, so that only the counter is contended for.
                counters(1).hasher(&world);
                let admitted = run(&world, &order, |_, host| {
                    let counters = counters(1);
                    counters.secret.set(Some((1, 2)));
                    admits(&counters, host, 7, &rate)
                });
                let admitted = admitted.into_iter().filter(|admitted| *admitted).count();
                assert_eq!(admitted, expected, "{algorithm:?}, {order:?}");
            }
        }
    }
}

/// One worker gives back what it took while two others take.
#[test]
fn in_every_order_what_is_given_back_is_kept() {
    for algorithm in BOTH {
        let rate = rate(algorithm, 10);
        for order in orders(3, 3) {
            let world = NativeHost::new();
            let act = |id: usize, host: &dyn Host| {
                let counters = counters(1);
                counters.secret.set(Some((1, 2)));
                let place = place_of(&counters, host, 7);
                let limits = [limit(&rate)];
                let demands = demands(place, &limits, |limit| limit.stops, None);
                let taken = counters.take(host, place, &demands).unwrap();
                if id == 0 {
                    counters.give_back(host, place, &demands).unwrap();
                }
                taken.refused
            };
            assert!(run(&world, &order, act).iter().all(|refused| !refused));
            let counters = counters(1);
            counters.secret.set(Some((1, 2)));
            let left = (0..).take_while(|_| admits(&counters, &world, 7, &rate)).count();
            assert_eq!(left, 8, "{algorithm:?}, {order:?}");
        }
    }
}

/// In every order the workers agree on one secret.
#[test]
fn in_every_order_there_is_one_secret() {
    for order in orders(3, 3) {
        let world = NativeHost::new();
        let secrets = run(&world, &order, |_, host| counters(1).secret(host));
        assert!(secrets.iter().all(|secret| *secret == secrets[0] && *secret != (0, 0)), "{order:?}");
    }
}

/// A million decisions of eight workers on four keys.
#[test]
fn a_million_decisions_of_eight_workers_are_exact() {
    const EACH: u64 = 125_000;
    let limits = [1, 40_000, 249_999, 250_000];
    for algorithm in BOTH {
        let rates = limits.map(|limit| rate(algorithm, limit));
        let (world, admitted) = (NativeHost::new(), [const { AtomicU64::new(0) }; 4]);
        thread::scope(|scope| {
            for _ in 0..8 {
                let (host, admitted, rates) = (world.sibling(), &admitted, &rates);
                scope.spawn(move || {
                    let counters = counters(1000);
                    for n in 0..EACH {
                        let key = usize::try_from(n % 4).unwrap();
                        if admits(&counters, &host, n % 4, &rates[key]) {
                            admitted[key].fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(admitted.map(AtomicU64::into_inner), limits, "{algorithm:?}");
    }
}

/// Each of a million keys is counted, in at most 32 MB.
#[test]
fn a_million_live_keys_fit_into_32_megabytes() {
    let (host, rate, counters) = (NativeHost::new(), rate(Algorithm::Gcra, 2), counters(1_000_000));
    assert!((0..1_000_000).all(|key| admits(&counters, &host, key, &rate)));
    let memory = memory(&host);
    assert!(memory <= 32_000_000, "{memory}");
    // None has been forgotten: each has one request left.
    let forgotten = (0..1_000_000)
        .filter(|key| admits(&counters, &host, *key, &rate) && admits(&counters, &host, *key, &rate));
    assert_eq!(forgotten.count(), 0);
    println!("a million keys: {memory} bytes");
}

/// So many keys that come once; unoptimised, ten million would take minutes (`make test-bounds`).
const STRANGERS: u64 = if cfg!(debug_assertions) { 500_000 } else { 10_000_000 };

/// Keys that come once stay within the bound, do not free those who have used up their quota, and give those who have come
/// twice neither more nor less than they may have.
#[test]
fn a_flood_of_strangers_frees_nobody() {
    const LIMIT: u64 = 10;
    for max_keys in [1, 100_000] {
        let (host, rate, counters) = (NativeHost::new(), rate(Algorithm::Gcra, LIMIT), counters(max_keys));
        let spent = 1 << 40..(1 << 40) + 1000_u64;
        for key in spent.clone() {
            assert!((0..LIMIT).all(|_| admits(&counters, &host, key, &rate)));
        }
        let honest = 1 << 41..(1 << 41) + 1000_u64;
        for key in honest.clone() {
            assert!((0..2).all(|_| admits(&counters, &host, key, &rate)));
        }
        // Each of them asks eighteen times more while the others come.
        let every = STRANGERS / 18_000;
        let mut admitted = 2 * 1000;
        for stranger in 0..STRANGERS {
            admits(&counters, &host, stranger, &rate);
            if stranger % every == 0 {
                let key = honest.start + stranger / every % 1000;
                admitted += u64::from(admits(&counters, &host, key, &rate));
            }
        }
        let buckets = usize::try_from(BUCKETS).unwrap();
        let most = buckets * (room(max_keys) * 16 + 106 + 26) + 200;
        let memory = memory(&host);
        assert!(memory > most / 2 && memory <= most, "{memory} {most}");
        let freed = spent.filter(|key| admits(&counters, &host, *key, &rate)).count();
        assert_eq!(freed, 0);
        assert_eq!(admitted, 1000 * LIMIT);
        println!("{STRANGERS} strangers, max_keys {max_keys}: {memory} bytes of at most {most}");
    }
}
