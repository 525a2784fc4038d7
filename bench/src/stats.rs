//! Few samples, summed up without assuming how they are distributed.

use std::fmt;

/// The middle of some samples, and how far they reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Summary {
    /// Of at least one sample; zeros otherwise.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
        let half = sorted.len() / 2;
        let below = if sorted.len().is_multiple_of(2) { half.saturating_sub(1) } else { half };
        Self {
            median: f64::midpoint(at(below), at(half)),
            least: at(0),
            most: sorted.last().copied().unwrap_or(0.0),
        }
    }
}

/// `1.23 (1.20-1.31)`, with as many digits as the formatter is told.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        write!(f, "{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Summary::of([3.0, 1.0, 2.0]), Summary { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(Summary::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Summary::of([]).median, 0.0);
        assert_eq!(format!("{:.2}", Summary::of([1.0, 2.0, 3.0])), "2.00 (1.00–3.00)");
    }
}
