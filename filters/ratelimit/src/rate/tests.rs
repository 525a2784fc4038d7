#![expect(clippy::arithmetic_side_effects, reason = "an overflow would fail the test, as it should")]

#[cfg(not(target_arch = "wasm32"))]
mod reference;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

const BOTH: [Algorithm; 2] = [Algorithm::Gcra, Algorithm::Window];
/// The first second of a day.
const MIDNIGHT: u64 = 1_793_491_200;

fn rate(algorithm: Algorithm, limit: u64, period: &str) -> Rate {
    Rate::new(algorithm, limit, period.parse().unwrap()).unwrap()
}

/// So many seconds after midnight, on both clocks.
fn at(seconds: u64) -> Clocks {
    Clocks { monotonic: seconds * SECOND, wall: (MIDNIGHT + seconds) * SECOND }
}

/// One counter and its rate.
struct Counter(Rate, Option<State>);

impl Counter {
    fn new(algorithm: Algorithm, limit: u64, period: &str) -> Self {
        Self(rate(algorithm, limit, period), None)
    }

    fn take(&mut self, amount: u64, clocks: Clocks) -> Result<(), Duration> {
        match self.0.take(self.1, amount, clocks) {
            Verdict::Admitted(state) => {
                self.1 = Some(state);
                Ok(())
            }
            Verdict::Refused(wait) => Err(wait),
        }
    }

    fn admitted(&mut self, requests: usize, clocks: Clocks) -> usize {
        (0..requests).filter(|_| self.take(1, clocks).is_ok()).count()
    }
}

#[test]
fn the_limit_passes_and_not_one_more() {
    for algorithm in BOTH {
        // 7 does not divide a second.
        for (limit, period) in [(1, "1s"), (7, "1s"), (5000, "1m"), (3, "1month"), (13, "12h")] {
            let mut counter = Counter::new(algorithm, limit, period);
            assert_eq!(counter.admitted(6000, at(0)), limit as usize, "{algorithm:?} {limit} in {period}");
        }
    }
}

#[test]
fn who_waits_as_told_is_admitted() {
    for algorithm in BOTH {
        let mut counter = Counter::new(algorithm, 7, "10s");
        assert_eq!(counter.admitted(7, at(0)), 7);
        let wait = counter.take(1, at(0)).unwrap_err();
        let wait = u64::try_from(wait.as_nanos()).unwrap();
        let after = |nanos: u64| Clocks { monotonic: nanos, wall: MIDNIGHT * SECOND + nanos };
        assert!(counter.take(1, after(wait - 1)).is_err(), "{algorithm:?}");
        assert!(counter.take(1, after(wait)).is_ok(), "{algorithm:?}");
    }
}

#[test]
fn after_a_period_the_allowance_is_full() {
    for algorithm in BOTH {
        let mut counter = Counter::new(algorithm, 60, "1m");
        assert_eq!(counter.admitted(100, at(0)), 60);
        assert_eq!(counter.admitted(100, at(60)), 60, "{algorithm:?}");
        assert!(counter.1.unwrap().is_full(at(120)), "{algorithm:?}");
        assert!(!counter.1.unwrap().is_full(at(119)), "{algorithm:?}");
    }
}

#[test]
fn one_is_even_the_other_is_a_window() {
    let (mut gcra, mut window) =
        (Counter::new(Algorithm::Gcra, 60, "1m"), Counter::new(Algorithm::Window, 60, "1m"));
    assert_eq!((gcra.admitted(100, at(50)), window.admitted(100, at(50))), (60, 60));
    // Ten seconds later a sixth of the allowance is back; the calendar's window is a new one.
    assert_eq!((gcra.admitted(100, at(60)), window.admitted(100, at(60))), (10, 60));
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    for algorithm in BOTH {
        let mut counter = Counter::new(algorithm, 3, "1m");
        assert_eq!(counter.admitted(3, at(0)), 3);
        counter.1 = counter.0.give_back(counter.1, 2, at(1));
        assert_eq!(counter.admitted(9, at(1)), 2, "{algorithm:?}");
        assert_eq!(counter.0.give_back(None, 1, at(1)), None);
    }
}

#[test]
fn what_is_left_is_told() {
    for algorithm in BOTH {
        let mut counter = Counter::new(algorithm, 60, "1m");
        let standing = |counter: &Counter, clocks| {
            let standing = counter.0.standing(counter.1, clocks);
            (standing.remaining, standing.reset.as_secs())
        };
        assert_eq!(standing(&counter, at(0)).0, 60);
        counter.admitted(20, at(0));
        let reset = if algorithm == Algorithm::Gcra { 20 } else { 60 };
        assert_eq!(standing(&counter, at(0)), (40, reset), "{algorithm:?}");
        counter.admitted(60, at(0));
        assert_eq!(standing(&counter, at(0)), (0, 60), "{algorithm:?}");
    }
}

#[test]
fn a_jump_of_the_wall_clock_frees_and_locks_nobody() {
    const HOURS: u64 = 5 * 3600;
    let jumped = |by: i64| Clocks {
        monotonic: 10 * SECOND,
        wall: (MIDNIGHT + 10).checked_add_signed(by).unwrap() * SECOND,
    };
    for by in [-(HOURS as i64), HOURS as i64] {
        let mut gcra = Counter::new(Algorithm::Gcra, 5, "1h");
        assert_eq!(gcra.admitted(9, at(10)), 5);
        assert_eq!(gcra.admitted(9, jumped(by)), 0, "{by}: the monotonic clock did not move");
    }
    let mut window = Counter::new(Algorithm::Window, 5, "1m");
    assert_eq!(window.admitted(4, at(10)), 4);
    // Back by hours: what was used still is, and the wait is no longer than a window.
    assert_eq!(window.admitted(9, jumped(-(HOURS as i64))), 1);
    assert!(window.take(1, jumped(-(HOURS as i64))).unwrap_err() <= Duration::from_secs(60));
    // Used up, then back by hours: a window later all is as ever, though nothing could be counted meanwhile.
    let mut window = Counter::new(Algorithm::Window, 5, "1m");
    assert_eq!(window.admitted(9, at(10)), 5);
    window.1 = window.1.map(|state| window.0.settle(state, jumped(-(HOURS as i64))));
    assert_eq!(window.admitted(9, jumped(-(HOURS as i64))), 0);
    assert_eq!(window.admitted(9, jumped(60 - (HOURS as i64))), 5);
    // Back over the border between two windows: the later one stays, for both clocks' sake.
    let mut window = Counter::new(Algorithm::Window, 5, "1m");
    assert_eq!((window.admitted(4, at(60)), window.admitted(9, at(59))), (4, 1));
    assert_eq!(window.take(1, at(59)), Err(Duration::from_secs(61)));
    // Forward by hours: a new window, as any later one.
    assert_eq!(window.admitted(9, jumped(HOURS as i64)), 5);
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let refused =
        |algorithm, limit, period: &str| Rate::new(algorithm, limit, period.parse().unwrap()).unwrap_err();
    for algorithm in BOTH {
        assert!(refused(algorithm, 0, "1s").contains("`blocked`"));
        assert!(refused(algorithm, u64::MAX, "36500d").contains("more than can be counted"));
        assert!(refused(algorithm, 2_000_000_000, "1s").contains("more than can be counted"));
    }
    assert!(refused(Algorithm::Window, 5, "1500ms").contains("whole seconds"));
}

#[test]
fn extremes_neither_wrap_nor_lock() {
    for algorithm in BOTH {
        let mut counter = Counter::new(algorithm, MOST, "36500d");
        let late = Clocks { monotonic: u64::MAX - 1, wall: u64::MAX };
        assert_eq!(counter.take(1, late), Ok(()));
        assert!(counter.take(MOST, at(0)).is_err());
        assert!(counter.take(u64::MAX, at(0)).is_err());
    }
}
