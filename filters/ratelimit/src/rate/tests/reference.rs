//! Naive limiters that remember every request, for comparison.

use proptest::prelude::*;

use super::*;

/// The requests that were admitted, each at its second.
#[derive(Default)]
struct Naive(Vec<u64>);

impl Naive {
    /// A token bucket, replayed from the beginning with one token for each interval, in millionths of a token.
    fn bucket(&mut self, limit: u64, period: u64, now: u64) -> bool {
        let full = u128::from(limit) * 1_000_000;
        let (mut tokens, mut last) = (full, 0);
        for admitted in self.0.iter().chain([&now]) {
            let gained = u128::from(admitted - last) * full / u128::from(period);
            tokens = full.min(tokens + gained);
            last = *admitted;
            if tokens < 1_000_000 {
                return false;
            }
            tokens -= 1_000_000;
        }
        self.0.push(now);
        true
    }

    /// Requests of the same window, counted.
    fn window(&mut self, limit: u64, period: u64, now: u64) -> bool {
        let same = |time: &&u64| (MIDNIGHT + **time) / period == (MIDNIGHT + now) / period;
        let fits = (self.0.iter().filter(same).count() as u64) < limit;
        if fits {
            self.0.push(now);
        }
        fits
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Limits that divide their period, so that both can be exact.
    #[test]
    fn gcra_is_a_token_bucket(
        limit in prop::sample::select(vec![1_u64, 2, 5, 10, 20]),
        steps in prop::collection::vec(0_u64..8, 1..120),
    ) {
        let (mut counter, mut naive) = (Counter::new(Algorithm::Gcra, limit, "20s"), Naive::default());
        let mut now = 0;
        for step in steps {
            now += step;
            prop_assert_eq!(counter.take(1, at(now)).is_ok(), naive.bucket(limit, 20, now));
        }
    }

    #[test]
    fn window_counts_by_the_calendar(
        limit in 1_u64..9,
        period in prop::sample::select(vec![1_u64, 7, 20, 60]),
        steps in prop::collection::vec(0_u64..8, 1..120),
    ) {
        let mut counter = Counter::new(Algorithm::Window, limit, &format!("{period}s"));
        let (mut naive, mut now) = (Naive::default(), 0);
        for step in steps {
            now += step;
            prop_assert_eq!(counter.take(1, at(now)).is_ok(), naive.window(limit, period, now));
        }
    }

    /// Whatever the limit and however the requests come: no more than a full allowance and what the time since
    /// gives, and who is refused really is over.
    #[test]
    fn gcra_keeps_its_promise(limit in 1_u64..50, period in 1_u64..100, steps in prop::collection::vec(0_u64..3_000_000_000, 1..200)) {
        let rate = rate(Algorithm::Gcra, limit, &format!("{period}s"));
        let (mut state, mut now, mut admitted) = (None, 0, 0_u64);
        for step in steps {
            now += step;
            let clocks = Clocks { monotonic: now, wall: MIDNIGHT * SECOND };
            if let Verdict::Admitted(next) = rate.take(state, 1, clocks) {
                state = Some(next);
                admitted += 1;
            }
            let most = limit + (u128::from(now) * u128::from(limit) / u128::from(period * SECOND)) as u64 + 1;
            prop_assert!(admitted <= most);
        }
    }
}
