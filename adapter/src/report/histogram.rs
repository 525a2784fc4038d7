//! Percentiles of millions of durations in a few kilobytes.

/// Each power of two is divided into so many buckets, so that a percentile is at most 1/32 (3 %) off.
const PARTS: u64 = 32;
/// What takes longer than 2^28 ms (three days) counts as that.
const MOST: u64 = 1 << 28;

/// How often each duration was seen: exact below 32 ms, then in buckets that grow with it, as in Gil Tene's
/// HdrHistogram.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    buckets: Vec<f64>,
    total: f64,
}

impl Histogram {
    /// Adds a duration in milliseconds, `weight` times.
    pub fn add(&mut self, millis: u64, weight: f64) {
        let index = index(millis);
        if self.buckets.len() <= index {
            self.buckets.resize(index.saturating_add(1), 0.0);
        }
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += weight;
            self.total += weight;
        }
    }

    /// Adds all that another has seen.
    pub fn merge(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0.0);
        }
        for (own, others) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += others;
        }
        self.total += other.total;
    }

    /// The duration that this part of all (0 to 1) does not exceed, in milliseconds; `None` if none was seen.
    pub fn percentile(&self, part: f64) -> Option<u64> {
        if self.total <= 0.0 {
            return None;
        }
        let wanted = self.total * part;
        let mut seen = 0.0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0.0 && seen >= wanted {
                return Some(value(index));
            }
        }
        // Sums of fractions may fall short of the total by a rounding.
        self.buckets.iter().rposition(|count| *count > 0.0).map(value)
    }
}

fn index(millis: u64) -> usize {
    let millis = millis.min(MOST);
    // Of 2 * PARTS buckets each doubling leaves the upper half.
    let shift = millis.checked_ilog2().unwrap_or(0).saturating_sub(PARTS.ilog2());
    let within = millis.checked_shr(shift).unwrap_or(0);
    usize::try_from(u64::from(shift).saturating_mul(PARTS).saturating_add(within)).unwrap_or(0)
}

/// The middle of a bucket.
fn value(index: usize) -> u64 {
    let index = u64::try_from(index).unwrap_or(0);
    let shift = index.div_euclid(PARTS).saturating_sub(1);
    let within = index.saturating_sub(shift.saturating_mul(PARTS));
    let shift = u32::try_from(shift).unwrap_or(0);
    let low = within.checked_shl(shift).unwrap_or(MOST);
    let width = 1_u64.checked_shl(shift).unwrap_or(1);
    low.saturating_add(width.saturating_sub(1).div_euclid(2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_durations_are_exact() {
        for millis in 0..64 {
            assert_eq!(value(index(millis)), millis);
        }
        assert_eq!(Histogram::default().percentile(0.5), None);
    }

    proptest! {
        #[test]
        fn a_bucket_is_a_thirty_second_wide(millis in 0..MOST) {
            prop_assert!(value(index(millis)).abs_diff(millis) <= millis.div_euclid(32));
            prop_assert!(index(millis) <= index(millis.saturating_add(1)));
        }

        #[test]
        fn percentiles_are_those_of_the_sorted_list(mut all in prop::collection::vec(0..100_000_u64, 1..200)) {
            let (mut left, mut right) = (Histogram::default(), Histogram::default());
            for (index, millis) in all.iter().enumerate() {
                (if index % 2 == 0 { &mut left } else { &mut right }).add(*millis, 1.0);
            }
            left.merge(&right);
            all.sort_unstable();
            for (part, percent) in [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)] {
                let rank = all.len().saturating_mul(percent).div_ceil(100);
                let exact = all[rank.saturating_sub(1)];
                let told = left.percentile(part).unwrap();
                prop_assert!(told.abs_diff(exact) <= exact.div_euclid(32), "{part}: {told} for {exact}");
            }
        }
    }
}
