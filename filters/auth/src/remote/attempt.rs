//! What the workers tell each other of the last fetch.

use std::time::Duration;

use enforcer_core::host::Host;

/// When a failed fetch is tried again: twice as late each time.
pub const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// How a fetch ended, as all workers know it. Times are on the monotonic clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempt {
    pub ended: Duration,
    /// When the text that is known was fetched.
    pub fetched: Duration,
    /// When to fetch again although nobody asks.
    pub next: Duration,
    /// How many have failed since one succeeded.
    pub failures: u32,
}

impl Attempt {
    /// A fetch that brought a text, to be used so long. The next one is up to an eighth earlier, so that gateways
    /// that were started together do not fetch together ever after.
    pub fn succeeded(host: &dyn Host, age: Duration) -> Self {
        let now = host.monotonic();
        let next = now.saturating_add(age).saturating_sub(random_part(host, age, 8));
        Self { ended: now, fetched: now, next, failures: 0 }
    }

    /// One more failure; the next attempt is up to a quarter later than its turn. What is refreshed after so long is not
    /// left alone for longer.
    pub fn failed(self, host: &dyn Host, refresh: Duration) -> Self {
        let now = host.monotonic();
        let last = LAST_RETRY.min(refresh.max(FIRST_RETRY));
        let backoff = FIRST_RETRY.saturating_mul(1 << self.failures.min(10)).min(last);
        let next = now.saturating_add(backoff).saturating_add(random_part(host, backoff, 4));
        Self { ended: now, next, failures: self.failures.saturating_add(1), ..self }
    }

    /// Three times in nanoseconds and the failures, little endian.
    pub fn encode(&self) -> Vec<u8> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).to_le_bytes();
        let Self { ended, fetched, next, failures } = *self;
        [&nanos(ended)[..], &nanos(fetched), &nanos(next), &failures.to_le_bytes()].concat()
    }

    /// The attempt, and what follows it.
    pub fn decode(value: &[u8]) -> Option<(Self, &[u8])> {
        let (ended, rest) = value.split_first_chunk::<8>()?;
        let (fetched, rest) = rest.split_first_chunk::<8>()?;
        let (next, rest) = rest.split_first_chunk::<8>()?;
        let (failures, rest) = rest.split_first_chunk::<4>()?;
        let time = |bytes: &[u8; 8]| Duration::from_nanos(u64::from_le_bytes(*bytes));
        let failures = u32::from_le_bytes(*failures);
        Some((Self { ended: time(ended), fetched: time(fetched), next: time(next), failures }, rest))
    }
}

/// From nothing up to one of so many parts.
fn random_part(host: &dyn Host, whole: Duration, parts: u64) -> Duration {
    let most = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX).checked_div(parts);
    let nanos = most.and_then(|most| host.random().checked_rem(most));
    Duration::from_nanos(nanos.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use enforcer_core::native::NativeHost;

    use super::*;

    fn seconds(attempts: impl Iterator<Item = Attempt>) -> Vec<f64> {
        let mut seconds: Vec<_> = attempts.map(|attempt| attempt.next.as_secs_f64()).collect();
        seconds.sort_by(f64::total_cmp);
        seconds
    }

    #[test]
    fn gateways_that_fetch_together_do_not_refresh_together() {
        let host = NativeHost::new();
        let next = seconds((0..100).map(|_| Attempt::succeeded(&host, Duration::from_secs(800))));
        assert!((700.0..710.0).contains(&next[0]) && (790.0..=800.0).contains(&next[99]), "{next:?}");
    }

    #[test]
    fn failures_are_retried_ever_later_up_to_a_minute() {
        let host = NativeHost::new();
        for (failures, least) in [(0, 1.0), (1, 2.0), (5, 32.0), (6, 60.0), (u32::MAX, 60.0)] {
            let failed = Attempt { failures, ..Attempt::default() };
            let next = seconds((0..100).map(|_| failed.failed(&host, Duration::from_secs(300))));
            let steps = (next[0] / least, next[99] / least);
            assert!(1.0 <= steps.0 && steps.0 < 1.05 && 1.2 < steps.1 && steps.1 <= 1.25, "{next:?}");
        }
        let often = Attempt { failures: 9, ..Attempt::default() }.failed(&host, Duration::from_secs(4));
        assert!((4.0..=5.0).contains(&often.next.as_secs_f64()), "{often:?}");
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let attempt = Attempt {
            ended: Duration::from_nanos(1),
            fetched: Duration::from_nanos(2),
            next: Duration::from_nanos(3),
            failures: 4,
        };
        assert_eq!(
            Attempt::decode(&[&attempt.encode()[..], b"text"].concat()),
            Some((attempt, &b"text"[..]))
        );
        assert_eq!(Attempt::decode(&[0; 27]), None);
    }
}
