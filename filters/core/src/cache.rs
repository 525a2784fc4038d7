//! A cache that clients cannot make grow: bounded in bytes, and it forgets what has expired.

use std::{
    collections::{HashMap, hash_map::RandomState},
    fmt,
    hash::{BuildHasher, BuildHasherDefault, Hasher},
    mem,
    rc::Rc,
    time::Duration,
};

/// Memory that a value owns outside itself: what its strings, vectors and boxes point to.
pub trait Weigh {
    /// In bytes, roughly. Must not change while the value is cached.
    fn weight(&self) -> usize;
}

impl<T: Weigh> Weigh for Rc<T> {
    fn weight(&self) -> usize {
        mem::size_of::<T>().saturating_add((**self).weight())
    }
}

/// Values found by byte strings that clients choose, such as tokens.
///
/// * **Cost.** An entry costs the bytes of its key, [`Weigh::weight`] of its value, and [`Cache::OVERHEAD`].
///   The entries together never cost more than the budget; a budget of zero switches the cache off.
/// * **Keys.** Found by a hash keyed with random numbers (SipHash of [`RandomState`]), so that clients cannot
///   aim at collisions, then compared in full. Of long keys only the end is hashed, where tokens differ (their
///   signature): keys with the same end drive each other out.
/// * **Eviction.** Two generations of half the budget each. New and used entries go to the hot one; when it
///   is full it becomes the cold one, and the former cold one is dropped. An entry therefore stays until half
///   the budget of other entries has been put in or used after it, at no bookkeeping for each access.
pub struct Cache<V> {
    hot: Generation<V>,
    cold: Generation<V>,
    /// Of one generation.
    budget: usize,
    keyed: RandomState,
}

/// How much of a key's end is hashed.
const HASHED: usize = 64;

struct Generation<V> {
    /// By the key's hash. Two keys of one hash are so unlikely that they may drive each other out.
    entries: HashMap<u64, Entry<V>, BuildHasherDefault<Hashed>>,
    cost: usize,
}

struct Entry<V> {
    key: Box<[u8]>,
    value: V,
    expires: Duration,
    cost: usize,
}

impl<V: Weigh> Cache<V> {
    /// What an entry costs beside key and value: its place in a table that is at worst half empty after
    /// growing, and two headers of the allocator.
    pub const OVERHEAD: usize = 2 * mem::size_of::<(u64, Entry<V>)>() + 32;

    /// A cache of at most `budget` bytes.
    pub fn new(budget: usize) -> Self {
        Self {
            hot: Generation::default(),
            cold: Generation::default(),
            budget: budget / 2,
            keyed: RandomState::new(),
        }
    }

    /// The value, unless it has expired: `now` must be before its expiry. Any clock will do, as long as
    /// [`Cache::insert`] uses the same.
    pub fn get(&mut self, key: &[u8], now: Duration) -> Option<&V> {
        let hash = self.hash(key);
        if !self.hot.has(hash, key) {
            let entry = self.cold.take(hash, key).filter(|entry| now < entry.expires)?;
            self.keep(hash, entry);
        }
        if self.hot.entries.get(&hash)?.expires <= now {
            self.hot.take(hash, key);
            return None;
        }
        self.hot.entries.get(&hash).map(|entry| &entry.value)
    }

    /// Keeps a value until it expires or has to make room. What alone exceeds half the budget is not kept.
    pub fn insert(&mut self, key: &[u8], value: V, expires: Duration) {
        let hash = self.hash(key);
        self.cold.take(hash, key);
        let cost = key.len().saturating_add(value.weight()).saturating_add(Self::OVERHEAD);
        self.hot.take(hash, key);
        if cost <= self.budget {
            self.keep(hash, Entry { key: key.into(), value, expires, cost });
        }
    }

    /// Forgets everything: what the values were derived from has changed.
    pub fn clear(&mut self) {
        self.hot = Generation::default();
        self.cold = Generation::default();
    }

    /// What all entries cost together, in bytes.
    pub fn cost(&self) -> usize {
        self.hot.cost.saturating_add(self.cold.cost)
    }

    /// Number of entries, expired ones included.
    pub fn len(&self) -> usize {
        self.hot.entries.len().saturating_add(self.cold.entries.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.keyed.hash_one(key.last_chunk::<HASHED>().map_or(key, <[u8; HASHED]>::as_slice))
    }

    fn keep(&mut self, hash: u64, entry: Entry<V>) {
        if self.hot.cost.saturating_add(entry.cost) > self.budget {
            self.cold = mem::take(&mut self.hot);
        }
        self.hot.put(hash, entry);
    }
}

impl<V> Generation<V> {
    fn has(&self, hash: u64, key: &[u8]) -> bool {
        self.entries.get(&hash).is_some_and(|entry| is_same(&entry.key, key))
    }

    fn take(&mut self, hash: u64, key: &[u8]) -> Option<Entry<V>> {
        if !self.has(hash, key) {
            return None;
        }
        let entry = self.entries.remove(&hash)?;
        self.cost = self.cost.saturating_sub(entry.cost);
        Some(entry)
    }

    fn put(&mut self, hash: u64, entry: Entry<V>) {
        self.cost = self.cost.saturating_add(entry.cost);
        if let Some(driven_out) = self.entries.insert(hash, entry) {
            self.cost = self.cost.saturating_sub(driven_out.cost);
        }
    }
}

/// Eight bytes at a time: WebAssembly has no instruction that compares memory, and keys are long.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let differs = |(a, b): (&[u8; 8], &[u8; 8])| u64::from_le_bytes(*a) != u64::from_le_bytes(*b);
    a.len() == b.len() && a_rest == b_rest && !a.iter().zip(b).any(differs)
}

impl<V> Default for Generation<V> {
    fn default() -> Self {
        Self { entries: HashMap::default(), cost: 0 }
    }
}

/// Sizes only: keys may be credentials.
impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.hot.entries.len().saturating_add(self.cold.entries.len());
        f.debug_struct("Cache")
            .field("entries", &entries)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// The keys of the table are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "an overflow would fail the test, as it should")]
mod tests {
    #[cfg(not(target_arch = "wasm32"))]
    use std::collections::BTreeMap;

    #[cfg(not(target_arch = "wasm32"))]
    use proptest::prelude::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    impl Weigh for String {
        fn weight(&self) -> usize {
            self.len()
        }
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_entry_is_found_until_it_expires() {
        let mut cache = Cache::new(10_000);
        cache.insert(b"k", "v".to_owned(), at(10));
        assert_eq!(cache.get(b"k", at(9)).map(String::as_str), Some("v"));
        assert_eq!(cache.get(b"K", at(9)), None);
        assert_eq!(cache.get(b"k", at(10)), None);
        assert_eq!((cache.len(), cache.cost()), (0, 0), "what has expired is dropped when it is met");
    }

    #[test]
    fn a_newer_value_replaces_an_older_one() {
        let mut cache = Cache::new(10_000);
        cache.insert(b"k", "old".to_owned(), at(10));
        cache.insert(b"k", "new".to_owned(), at(20));
        assert_eq!(cache.get(b"k", at(15)).map(String::as_str), Some("new"));
        assert_eq!(cache.len(), 1);
        cache.insert(b"k", "x".repeat(10_000), at(20));
        assert_eq!(cache.get(b"k", at(15)), None, "too large to keep, and the old value is no longer true");
    }

    #[test]
    fn a_used_entry_outlives_unused_ones() {
        let one = 4 + Cache::<String>::OVERHEAD;
        let mut cache = Cache::new(one * 20);
        cache.insert(b"used", String::new(), at(1));
        for n in 0..1_000_u32 {
            cache.insert(&n.to_be_bytes(), String::new(), at(1));
            assert!(cache.get(b"used", at(0)).is_some());
        }
        assert!(cache.get(&0_u32.to_be_bytes(), at(0)).is_none());
        assert!(cache.cost() <= one * 20);
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let mut cache = Cache::new(10_000);
        let hash = cache.keyed.hash_one(&b"b"[..]);
        cache.keep(hash, Entry { key: (*b"a").into(), value: "of a".to_owned(), expires: at(10), cost: 1 });
        assert_eq!(cache.get(b"b", at(0)), None);
        cache.insert(b"b", "of b".to_owned(), at(10));
        assert_eq!(cache.get(b"b", at(0)).map(String::as_str), Some("of b"));
        assert_eq!(cache.cost(), 5 + Cache::<String>::OVERHEAD, "who is driven out no longer counts");
    }

    #[test]
    fn long_keys_differ_anywhere() {
        let mut cache = Cache::new(10_000);
        let key = |place: usize| {
            let mut key = [b'a'; 300];
            key[place] = b'b';
            key
        };
        for place in [0, 7, 8, 100, 235, 236, 299] {
            cache.insert(&key(place), place.to_string(), at(10));
            assert_eq!(cache.get(&key(place), at(0)), Some(&place.to_string()));
            assert_eq!(cache.get(&key((place + 1) % 300), at(0)), None);
            assert_eq!(cache.get(&key(place)[1..], at(0)), None);
        }
    }

    #[test]
    fn without_a_budget_nothing_is_kept() {
        let mut cache = Cache::new(0);
        cache.insert(b"", String::new(), at(10));
        assert!(cache.is_empty());
    }

    #[test]
    fn clear_forgets() {
        let mut cache = Cache::new(10_000);
        cache.insert(b"k", "v".to_owned(), at(10));
        cache.clear();
        assert_eq!(cache.get(b"k", at(0)), None);
        assert_eq!(cache.cost(), 0);
    }

    #[test]
    fn keys_are_not_printed() {
        let mut cache = Cache::new(10_000);
        cache.insert(b"secret", "secret".to_owned(), at(10));
        assert!(!format!("{cache:?}").contains("secret"));
    }

    #[cfg(not(target_arch = "wasm32"))]
    proptest! {
        /// Against a map that remembers everything.
        #[test]
        fn never_wrong_never_over_budget(
            budget in 0_usize..4_000,
            steps in prop::collection::vec((any::<bool>(), 0_u8..12, 0_usize..300, 0_u64..20), 0..200),
        ) {
            let mut cache = Cache::new(budget);
            let mut truth = BTreeMap::new();
            // Every key put in or used, with its entry's cost.
            let mut uses: Vec<(u8, usize)> = Vec::new();
            for (now, (write, key, size, life)) in (0_u64..).zip(steps) {
                if write {
                    let value = "v".repeat(size);
                    cache.insert(&[key], value.clone(), at(now + life));
                    truth.insert(key, (value, now + life));
                    uses.push((key, 1 + size + Cache::<String>::OVERHEAD));
                } else {
                    let since: usize = uses.iter().rev().take_while(|(k, _)| *k != key).map(|(_, cost)| cost).sum();
                    let own = uses.iter().rev().find(|(k, _)| *k == key).map_or(0, |(_, cost)| *cost);
                    let fresh = truth.get(&key).is_some_and(|(_, expires)| now < *expires);
                    if let Some(value) = cache.get(&[key], at(now)) {
                        prop_assert!(fresh);
                        prop_assert_eq!(value, &truth[&key].0);
                        uses.push((key, own));
                    } else {
                        prop_assert!(!fresh || own + since > budget / 2, "{own} + {since} of {budget}");
                    }
                }
                prop_assert!(cache.cost() <= budget);
            }
        }
    }
}
