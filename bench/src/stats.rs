//! Few samples, summed up without assuming how they are distributed.

use std::fmt;

/// The middle of some samples, and between what half of them lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub lower: f64,
    pub upper: f64,
}

impl Summary {
    /// Of at least one sample; zeros otherwise.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
        // Between two samples half way.
        let quantile = |quarters: usize| {
            let place = last.saturating_mul(quarters);
            f64::midpoint(at(place / 4), at(place.div_ceil(4)))
        };
        Self { median: quantile(2), lower: quantile(1), upper: quantile(3) }
    }
}

/// `1.23 (1.20-1.31)`, with as many digits as the formatter is told.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        write!(f, "{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.lower, self.upper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_half_of_all_around_it() {
        let of = |samples: &[f64]| Summary::of(samples.iter().copied());
        assert_eq!(of(&[5.0, 1.0, 3.0, 2.0, 4.0]), Summary { median: 3.0, lower: 2.0, upper: 4.0 });
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(of(&[7.0]), Summary { median: 7.0, lower: 7.0, upper: 7.0 });
        assert_eq!(of(&[]).median, 0.0);
        assert_eq!(format!("{:.2}", of(&[1.0, 2.0, 3.0])), "2.00 (1.50–2.50)");
    }
}
