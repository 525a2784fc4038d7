//! The names that occur most, however many there are.

use std::collections::HashMap;

use super::{
    call::Call,
    histogram::Histogram,
    timeline::{Ending, Endings},
};

/// So many names are kept when there are too many,
const KEPT: usize = 500;
/// and there are too many when there are so many.
const MOST: usize = 1000;
/// Longer names are shortened, in characters.
const LONGEST: usize = 120;

/// What is known of the calls with one name.
#[derive(Debug, Clone, Default)]
pub struct Group {
    pub endings: Endings,
    pub latency: Histogram,
}

/// Groups of calls by a name that may be anything. Of too many names the rarest are forgotten and counted together, so
/// that a name that has at least 1/500 of all calls is missed only if it comes and goes (the bound of Misra and Gries).
#[derive(Debug, Default)]
pub struct Ranking {
    groups: HashMap<String, Group>,
    /// Calls of names that were forgotten.
    forgotten: f64,
}

impl Ranking {
    pub fn add(&mut self, name: &str, call: &Call) {
        let name: String = name.chars().take(LONGEST).collect();
        let group = self.groups.entry(name).or_default();
        group.endings.add(Ending::of(call), call.weight);
        if let Some(total) = call.total {
            group.latency.add(total, call.weight);
        }
        if self.groups.len() > MOST {
            let mut all: Vec<_> = std::mem::take(&mut self.groups).into_iter().collect();
            sort(&mut all);
            let rare = all.split_off(KEPT);
            self.forgotten += rare.iter().map(|(_, group)| group.endings.calls()).sum::<f64>();
            self.groups = all.into_iter().collect();
        }
    }

    /// The names with the most calls first, and the calls of all others.
    pub fn first(&self, number: usize) -> (Vec<(&str, &Group)>, f64) {
        let mut all: Vec<_> = self.groups.iter().map(|(name, group)| (name.as_str(), group)).collect();
        sort(&mut all);
        let rest = all.split_off(number.min(all.len()));
        let others = rest.iter().map(|(_, group)| group.endings.calls()).sum::<f64>() + self.forgotten;
        (all, others)
    }
}

/// The most calls first; equals by name, so that the same events always make the same page.
fn sort<N: Ord, G: std::borrow::Borrow<Group>>(all: &mut [(N, G)]) {
    let calls = |group: &G| group.borrow().endings.calls();
    all.sort_unstable_by(|(a, left), (b, right)| calls(right).total_cmp(&calls(left)).then_with(|| a.cmp(b)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_occur_most_survive_any_number_of_others() {
        let call = Call { weight: 1.0, status: 200, total: Some(7), ..Call::default() };
        let mut ranking = Ranking::default();
        for number in 0..10_000 {
            ranking.add(&format!("rare {number}"), &call);
            if number % 10 == 0 {
                ranking.add("often", &call);
            }
        }
        assert!(ranking.groups.len() <= MOST);
        let (first, others) = ranking.first(2);
        assert_eq!((first[0].0, first[0].1.endings.calls()), ("often", 1000.0));
        assert_eq!(first[0].1.latency.percentile(0.95), Some(7));
        assert_eq!(others + first[1].1.endings.calls() + 1000.0, 11_000.0);
    }

    #[test]
    fn names_are_shortened_and_equals_sorted() {
        let call = Call { weight: 1.0, ..Call::default() };
        let mut ranking = Ranking::default();
        for name in ["b", "a", &"é".repeat(1000)] {
            ranking.add(name, &call);
        }
        let (first, _) = ranking.first(9);
        let names: Vec<_> = first.iter().map(|(name, _)| name.chars().count()).collect();
        assert_eq!((names, first[0].0), (vec![1, 1, LONGEST], "a"));
    }
}
