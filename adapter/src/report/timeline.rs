//! What happened when, in as many steps as fit on a page.

use std::collections::BTreeMap;

use super::{call::Call, histogram::Histogram};

/// No more steps than this.
const MOST: u64 = 120;
/// Widths of a step in seconds; each is a multiple of the one before. Beyond them, a week is doubled.
const WIDTHS: [u64; 12] = [1, 5, 15, 60, 300, 900, 3600, 10_800, 21_600, 43_200, 86_400, 604_800];

/// How calls ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Below 400.
    Answered,
    /// 4xx, but for the next.
    ClientError,
    /// By a limit.
    Throttled,
    /// 5xx, or no answer at all.
    Failed,
}

impl Ending {
    pub fn of(call: &Call) -> Self {
        match call.status {
            _ if call.fault.as_ref().is_some_and(|(kind, _)| kind == "THROTTLED") => Self::Throttled,
            0 | 500.. => Self::Failed,
            400..=499 => Self::ClientError,
            _ => Self::Answered,
        }
    }
}

/// How many calls ended how.
#[derive(Debug, Clone, Copy, Default)]
pub struct Endings {
    pub answered: f64,
    pub client_errors: f64,
    pub throttled: f64,
    pub failed: f64,
}

impl Endings {
    pub fn add(&mut self, ending: Ending, weight: f64) {
        *match ending {
            Ending::Answered => &mut self.answered,
            Ending::ClientError => &mut self.client_errors,
            Ending::Throttled => &mut self.throttled,
            Ending::Failed => &mut self.failed,
        } += weight;
    }

    pub fn merge(&mut self, other: &Self) {
        self.answered += other.answered;
        self.client_errors += other.client_errors;
        self.throttled += other.throttled;
        self.failed += other.failed;
    }

    pub fn calls(&self) -> f64 {
        self.answered + self.client_errors + self.throttled + self.failed
    }
}

/// One step.
#[derive(Debug, Clone, Default)]
pub struct Step {
    pub endings: Endings,
    pub latency: Histogram,
}

/// All steps; they become wider as the time between the first and the last call grows.
#[derive(Debug, Default)]
pub struct Timeline {
    /// By their number since the Unix epoch.
    steps: BTreeMap<u64, Step>,
    /// Position in [`WIDTHS`], or beyond.
    level: usize,
}

impl Timeline {
    pub fn add(&mut self, call: &Call) {
        let number = call.at.div_euclid(millis(self.level));
        let step = self.steps.entry(number).or_default();
        step.endings.add(Ending::of(call), call.weight);
        if let Some(total) = call.total {
            step.latency.add(total, call.weight);
        }
        while self.length() > MOST {
            self.widen();
        }
    }

    /// Of each step, in seconds.
    pub fn width(&self) -> u64 {
        millis(self.level).div_euclid(1000)
    }

    /// All steps from the first to the last, also those in which nothing happened: when each begins, in
    /// milliseconds since the Unix epoch, and what happened in it.
    pub fn steps(&self) -> impl Iterator<Item = (u64, Option<&Step>)> {
        let begin = self.steps.keys().next().copied().unwrap_or(0);
        let numbers = begin..begin.saturating_add(self.length());
        numbers.map(|number| (number.saturating_mul(millis(self.level)), self.steps.get(&number)))
    }

    fn length(&self) -> u64 {
        match (self.steps.keys().next(), self.steps.keys().next_back()) {
            (Some(first), Some(last)) => last.abs_diff(*first).saturating_add(1),
            _ => 0,
        }
    }

    fn widen(&mut self) {
        let old = millis(self.level);
        self.level = self.level.saturating_add(1);
        let new = millis(self.level);
        for (number, step) in std::mem::take(&mut self.steps) {
            let wide = self.steps.entry(number.saturating_mul(old).div_euclid(new)).or_default();
            wide.endings.merge(&step.endings);
            wide.latency.merge(&step.latency);
        }
    }
}

/// The width of a step at this level, in milliseconds.
fn millis(level: usize) -> u64 {
    let known = WIDTHS.get(level).copied();
    let beyond = || {
        let doublings = level.saturating_sub(WIDTHS.len()).saturating_add(1);
        let week = WIDTHS.last().copied().unwrap_or(1);
        week.saturating_mul(1_u64.checked_shl(u32::try_from(doublings).unwrap_or(20)).unwrap_or(u64::MAX))
    };
    known.unwrap_or_else(beyond).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(seconds: u64, status: u64) -> Call {
        Call {
            at: 1_767_225_600_000_u64.saturating_add(seconds.saturating_mul(1000)),
            weight: 1.0,
            status,
            total: Some(5),
            ..Call::default()
        }
    }

    #[test]
    fn steps_widen_and_lose_nothing() {
        for (last, width) in
            [(0, 1), (119, 1), (120, 5), (3600, 60), (86_399, 900), (3_000_000_000, 604_800 * 64)]
        {
            let mut timeline = Timeline::default();
            // From both ends, and from the middle.
            for seconds in [0, last, last / 2, last / 3, 0] {
                timeline.add(&call(seconds, 200));
            }
            let steps: Vec<_> = timeline.steps().collect();
            assert_eq!(timeline.width(), width, "{last}");
            assert!(steps.len() as u64 <= MOST);
            let calls: f64 =
                steps.iter().filter_map(|(_, step)| *step).map(|step| step.endings.calls()).sum();
            assert_eq!(calls, 5.0);
        }
    }

    #[test]
    fn what_refused_a_call_decides_over_its_status() {
        let throttled = Some(("THROTTLED".to_owned(), String::new()));
        assert_eq!(Ending::of(&Call { fault: throttled, ..call(0, 503) }), Ending::Throttled);
        let endings = [0, 200, 302, 404, 500].map(|status| Ending::of(&call(0, status)));
        use Ending::{Answered, ClientError, Failed};
        assert_eq!(endings, [Failed, Answered, Answered, ClientError, Failed]);
    }
}
