//! Finding what a text begins with.

use std::collections::HashMap;

/// Values by prefix. Finding those that a text begins with costs one hash lookup for each different length.
#[derive(Debug)]
pub(super) struct Prefixes<T> {
    values: HashMap<Box<str>, T>,
    /// The lengths that occur, longest first.
    lengths: Vec<usize>,
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self { values: HashMap::new(), lengths: Vec::new() }
    }
}

impl<T: Default> Prefixes<T> {
    /// The value of exactly this prefix, made if there is none.
    pub(super) fn entry(&mut self, prefix: &str) -> &mut T {
        let place = self.lengths.partition_point(|length| *length > prefix.len());
        if self.lengths.get(place) != Some(&prefix.len()) {
            self.lengths.insert(place, prefix.len());
        }
        self.values.entry(prefix.into()).or_default()
    }
}

impl<T> Prefixes<T> {
    /// The value of exactly this prefix.
    pub(super) fn get(&self, prefix: &str) -> Option<&T> {
        self.values.get(prefix)
    }

    /// The values of all prefixes of `text` whose remainder is accepted, longest first, with the remainder.
    pub(super) fn longest_first<'t, 'p>(
        &'t self,
        text: &'p str,
        accept: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (&'t T, &'p str)> {
        self.lengths.iter().filter_map(move |length| {
            let (prefix, rest) = text.split_at_checked(*length)?;
            if !accept(rest) {
                return None;
            }
            Some((self.values.get(prefix)?, rest))
        })
    }
}
