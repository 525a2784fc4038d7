#![expect(clippy::arithmetic_side_effects, reason = "an overflow would fail the test, as it should")]

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

fn empty() -> Account {
    Account::of([None, None])
}

fn grant(remaining: u32, reset: u64) -> Grant {
    Grant { granted: true, remaining: Some(remaining), reset: Some(reset) }
}

/// A service with windows of `period` milliseconds, and what it has counted.
struct Service {
    limit: u32,
    period: u64,
    used: u32,
    window: u64,
    calls: usize,
    given: u64,
}

impl Service {
    fn new(limit: u32, period: u64) -> Self {
        Self { limit, period, used: 0, window: 0, calls: 0, given: 0 }
    }

    fn answer(&mut self, hits: u32, now: u64) -> Grant {
        if now / self.period != self.window {
            (self.window, self.used) = (now / self.period, 0);
        }
        self.calls += 1;
        let granted = self.used + hits <= self.limit;
        if granted {
            self.used += hits;
            self.given += u64::from(hits);
        }
        let reset = self.period - now % self.period;
        Grant { granted, remaining: Some(self.limit - self.used), reset: Some(reset) }
    }
}

/// Requests of a client at `every` milliseconds on each of so many Envoys, for so long; answers take two milliseconds.
/// Returns how many were admitted in each window of the service, by when they were.
fn run(service: &mut Service, nodes: usize, every: u64, time: u64) -> Vec<u64> {
    let mut accounts = vec![empty(); nodes];
    let mut answers: Vec<(u64, usize, u32, Grant, u64)> = Vec::new();
    let mut waiting = vec![0_u32; nodes];
    let mut admitted = vec![0; usize::try_from(time / service.period + 1).unwrap()];
    for now in 1..time {
        let (due, later) = answers.into_iter().partition(|(at, ..)| *at <= now);
        answers = later;
        for (_, node, batch, grant, sent) in due {
            let account: &mut Account = &mut accounts[node];
            account.accept(batch, grant, sent, now);
        }
        for node in 0..nodes {
            waiting[node] += u32::from(now % every == 0);
            for _ in 0..std::mem::take(&mut waiting[node]) {
                let taken = accounts[node].take(now);
                if let Taken::Hit { .. } = taken {
                    admitted[usize::try_from(now / service.period).unwrap()] += 1;
                }
                if matches!(taken, Taken::Hit { low: true, .. } | Taken::Empty)
                    && let Some(batch) = accounts[node].ask(now, now + 150)
                {
                    answers.push((now + 2, node, batch, service.answer(batch, now + 1), now));
                }
                if matches!(taken, Taken::Empty | Taken::Wait) {
                    waiting[node] += 1;
                }
            }
        }
    }
    admitted
}

#[test]
fn nobody_passes_without_a_hit_that_was_counted() {
    for (limit, every, nodes) in [(7, 3, 2), (100, 1, 3), (1_000, 1, 2), (60, 50, 5), (1, 10, 2)] {
        let mut service = Service::new(limit, 5_000);
        let admitted = run(&mut service, nodes, every, 20_000);
        assert!(admitted.iter().sum::<u64>() <= service.given);
        // The grace at the border is not needed where the service's clock is precise.
        assert!(admitted.iter().all(|window| *window <= u64::from(limit)), "{limit}: {admitted:?}");
    }
}

#[test]
fn who_asks_for_more_than_there_is_gets_all_of_it() {
    for (limit, every) in [(100, 20), (1_000, 5), (10_000, 1)] {
        let mut service = Service::new(limit, 10_000);
        let admitted = run(&mut service, 2, every, 20_000);
        let least = u64::from(limit) * 98 / 100;
        let offered = 2 * 10_000 / every;
        assert!(admitted[..2].iter().all(|window| *window >= least.min(offered)), "{limit}: {admitted:?}");
    }
}

#[test]
fn a_steady_rate_costs_few_calls() {
    for (limit, every) in [(60_000, 10), (150_000, 1), (7_000, 20)] {
        let mut service = Service::new(limit, 60_000);
        let admitted = run(&mut service, 2, every, 60_000);
        let calls = u64::try_from(service.calls).unwrap();
        // Some may still wait at the end.
        assert!(admitted[0] + 10 >= 2 * (59_999 / every), "nobody is refused");
        assert!(calls * 20 < admitted[0], "{calls} calls for {}", admitted[0]);
    }
}

#[test]
fn what_a_dead_holder_had_is_lost() {
    let mut account = empty();
    assert_eq!(account.take(5), Taken::Empty);
    assert_eq!(account.ask(5, 155), Some(1));
    assert_eq!((account.take(6), account.ask(6, 156)), (Taken::Wait, None));
    // Whoever asked never comes back: another one asks anew, and does not take what was on its way.
    assert_eq!(account.take(155), Taken::Empty);
    assert_eq!(account.ask(155, 305), Some(1));
    account.accept(1, grant(9, 60_000), 155, 160);
    assert!(matches!(account.take(161), Taken::Hit { left: 0, .. }));
    assert_eq!(account.take(162), Taken::Empty);
}

#[test]
fn hits_end_with_their_window() {
    let mut account = empty();
    account.accept(8, grant(1_000, 500), 1_000, 1_002);
    assert!(matches!(account.take(1_499), Taken::Hit { left: 7, reset: 1, .. }));
    assert_eq!(account.take(1_500), Taken::Empty);
    account.give_back(1_500);
    assert_eq!(account.take(1_500), Taken::Empty, "nor is it given back");
    // Of the window before nothing is kept when the next one's come.
    account.accept(8, grant(1_000, 1_100), 2_000, 2_001);
    account.accept(2, grant(1_000, 60_000), 3_090, 3_095);
    assert!(matches!(account.take(3_096), Taken::Hit { left: 1, .. }));
}

#[test]
fn batches_grow_with_demand_and_shrink_with_what_is_left() {
    let mut account = empty();
    let mut asked = Vec::new();
    for (now, remaining) in [(1_000, 999), (1_010, 990), (1_020, 980), (1_030, 40), (1_040, 12), (9_000, 8)] {
        let batch = account.ask(now, now + 150).unwrap();
        asked.push(batch);
        account.accept(batch, grant(remaining, 60_000), now, now + 2);
    }
    assert_eq!(asked, [1, 2, 4, 8, 10, 1]);
    assert_eq!(account.ask(9_500, 9_650), Some(2));
    account.accept(2, Grant { granted: false, remaining: Some(1), reset: Some(50_000) }, 9_500, 9_502);
    assert_eq!(account.ask(9_503, 9_600), Some(1));
    account.accept(1, Grant { granted: false, remaining: Some(0), reset: Some(50_000) }, 9_503, 9_505);
    account.held = 0;
    assert_eq!(account.take(9_510), Taken::Spent { wait: 49_993 });
    assert_eq!((account.ask(9_510, 9_600), account.take(59_503)), (None, Taken::Empty));
}

#[test]
fn a_service_of_few_words_is_asked_about_each() {
    let mut account = empty();
    account.accept(1, Grant { granted: true, ..Grant::default() }, 1_000, 1_002);
    assert!(matches!(account.take(1_003), Taken::Hit { left: 0, low: false, .. }));
    account.accept(1, Grant { granted: true, ..Grant::default() }, 1_010, 1_012);
    assert_eq!(account.take(1_012 + GRACE), Taken::Empty);
    account.accept(1, Grant::default(), 1_050, 1_052);
    assert_eq!(account.take(1_053), Taken::Spent { wait: AGAIN - 1 });
}

#[test]
fn accounts_are_kept_in_counters() {
    let mut account = empty();
    let states = |account: &Account| Account::of(account.states().map(Some));
    assert_eq!(states(&account), account);
    account.ask(7, 157);
    assert_eq!(states(&account), account);
    account.accept(5, grant(100, 1_000), 7, 9);
    assert_eq!(states(&account), account);
    account.accept(1, Grant::default(), 10, 12);
    assert_eq!(states(&account), account);
}
