//! How much a worker spends on signatures that only the slow way can check.

use std::time::Duration;

/// So many a second, and at most one second's worth at once (a token bucket). Without it, a flood of tokens that
/// differ would keep a worker busy with nothing else.
#[derive(Debug)]
pub struct Budget {
    /// What a check of weight one costs of the time that has passed.
    price: Duration,
    /// Up to where time has been spent, a second ahead of the monotonic clock.
    spent: Duration,
}

impl Budget {
    /// `None`: nothing could ever be checked.
    pub fn new(per_second: u32) -> Option<Self> {
        let price = Duration::from_secs(1).checked_div(per_second)?;
        Some(Self { price, spent: Duration::ZERO })
    }

    /// Takes a check of this weight out of it, if it is there. `now` is on the monotonic clock.
    pub fn take(&mut self, weight: u32, now: Duration) -> bool {
        // What has not been spent is saved for a second: at its start, the clock's whole first one.
        let spent = self.spent.max(now).saturating_add(self.price.saturating_mul(weight));
        // What a whole second has saved pays for any check, or a small budget would never pay for a heavy one.
        if self.spent > now && spent > now.saturating_add(Duration::from_secs(1)) {
            return false;
        }
        self.spent = spent;
        true
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn taken(budget: &mut Budget, millis: u64) -> usize {
        (0..1000).take_while(|_| budget.take(1, Duration::from_millis(millis))).count()
    }

    #[test]
    fn a_second_brings_its_number_and_no_more_is_saved() {
        let mut budget = Budget::new(10).unwrap();
        assert_eq!(taken(&mut budget, 100_000), 10);
        assert_eq!(taken(&mut budget, 100_099), 0);
        assert_eq!(taken(&mut budget, 100_100), 1);
        assert_eq!(taken(&mut budget, 100_500), 4);
        assert_eq!(taken(&mut budget, 900_000), 10);
    }

    #[test]
    fn heavy_checks_take_more_of_it() {
        let mut budget = Budget::new(10).unwrap();
        let now = Duration::from_secs(100);
        assert!(budget.take(9, now) && !budget.take(9, now) && budget.take(1, now) && !budget.take(1, now));
    }

    #[test]
    fn a_small_budget_pays_for_a_heavy_check_now_and_then() {
        let mut budget = Budget::new(2).unwrap();
        let at = |seconds| Duration::from_secs(seconds);
        assert!(budget.take(9, at(100)) && !budget.take(9, at(101)) && !budget.take(1, at(103)));
        assert!(budget.take(9, at(105)));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let mut budget = Budget::new(1).unwrap();
        assert_eq!(taken(&mut budget, 5_000), 1);
        assert_eq!(taken(&mut budget, 4_000), 0);
        assert_eq!(taken(&mut budget, 5_999), 0);
        assert_eq!(taken(&mut budget, 6_000), 1);
    }

    #[test]
    fn nothing_a_second_is_no_budget() {
        assert!(Budget::new(0).is_none());
    }
}
