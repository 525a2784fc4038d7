//! A million revoked tokens in little memory.

use std::time::Duration;

use hmac_sha256::Hash;

/// What a token is revoked by, as 64 bits of a SHA-256. That a good token among a billion has the bits of one of a
/// million revoked ones happens once in twenty thousand gateways; nobody can make it happen to somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

/// The fingerprints by which a token may be revoked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fingerprints {
    id: Option<Fingerprint>,
    signed: Option<Fingerprint>,
}

impl Fingerprint {
    /// Of a `jti`, or of what is signed.
    pub(super) fn of(text: &[u8]) -> Self {
        Self::of_hash(&Hash::hash(text))
    }

    /// The first eight bytes of a SHA-256, the highest first.
    pub(super) fn of_hash(hash: &[u8; 32]) -> Self {
        Self(hash.first_chunk().copied().map_or(0, u64::from_be_bytes))
    }

    pub(super) fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    pub(super) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl Fingerprints {
    /// `signed`: header, dot and payload as they came. The signature is left out, because some have twins: others
    /// that fit the same text.
    pub fn of(id: Option<&str>, signed: &[u8]) -> Self {
        Self { id: id.map(|id| Fingerprint::of(id.as_bytes())), signed: Some(Fingerprint::of(signed)) }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Fingerprint> {
        [self.id, self.signed].into_iter().flatten()
    }
}

/// How many buckets there are: a million entries are 61 in each, which are looked through one by one.
const BUCKETS: usize = 1 << 14;
/// How many more entries a full bucket gets room for, at least.
const LEAST_ROOM: usize = 4;

/// A set of fingerprints that forgets those whose tokens have ended.
#[derive(Debug)]
pub(super) struct Table {
    buckets: Box<[Vec<Entry>]>,
    len: usize,
}

/// Twelve bytes: the fingerprint in two halves, and its end.
#[derive(Debug, Clone, Copy)]
struct Entry {
    high: u32,
    low: u32,
    /// In seconds since 1970, `u32::MAX` for never; the last bit says whether the entry is of the list that is being
    /// read, which leaves steps of two seconds.
    end: u32,
}

const MARK: u32 = 1;

impl Default for Table {
    fn default() -> Self {
        Self { buckets: vec![Vec::new(); BUCKETS].into_boxed_slice(), len: 0 }
    }
}

impl Table {
    pub(super) fn contains(&self, print: Fingerprint) -> bool {
        let (high, low) = halves(print);
        self.bucket(print).iter().any(|entry| entry.low == low && entry.high == high)
    }

    /// Adds an entry, unless its token has ended (`end`, in seconds since 1970).
    pub(super) fn add(&mut self, print: Fingerprint, end: u32, now: Duration) {
        if is_over(end, now) {
            return;
        }
        let (high, low) = halves(print);
        let Some(bucket) = self.buckets.get_mut(index(print)) else { return };
        let end = end | MARK;
        if let Some(known) = bucket.iter_mut().find(|entry| entry.low == low && entry.high == high) {
            known.end = known.end.max(end) | MARK;
            return;
        }
        if bucket.len() == bucket.capacity() {
            let before = bucket.len();
            bucket.retain(|entry| !is_over(entry.end, now));
            self.len = self.len.saturating_sub(before.saturating_sub(bucket.len()));
            if bucket.len() == bucket.capacity() {
                // Doubling would leave half of the memory empty.
                bucket.reserve_exact((bucket.len() / 8).max(LEAST_ROOM));
            }
        }
        bucket.push(Entry { high, low, end });
        self.len = self.len.saturating_add(1);
    }

    /// Another list begins: what it does not have is forgotten when it has been read.
    pub(super) fn begin(&mut self) {
        self.buckets.iter_mut().flatten().for_each(|entry| entry.end &= !MARK);
    }

    /// The list has been read.
    pub(super) fn finish(&mut self, now: Duration) {
        for bucket in &mut self.buckets {
            bucket.retain(|entry| entry.end & MARK != 0 && !is_over(entry.end, now));
        }
        self.len = self.buckets.iter().map(Vec::len).sum();
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Memory that it takes, in bytes, without what the allocator adds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let entries = self.buckets.iter().map(Vec::capacity).fold(0, usize::saturating_add);
        entries
            .saturating_mul(size_of::<Entry>())
            .saturating_add(BUCKETS.saturating_mul(size_of::<Vec<Entry>>()))
    }

    fn bucket(&self, print: Fingerprint) -> &[Entry] {
        self.buckets.get(index(print)).map_or(&[], Vec::as_slice)
    }
}

/// By the lowest bits, so that the highest need not differ.
fn index(Fingerprint(print): Fingerprint) -> usize {
    usize::try_from(print).unwrap_or(print as u32 as usize) & (BUCKETS - 1)
}

fn halves(Fingerprint(print): Fingerprint) -> (u32, u32) {
    ((print >> 32) as u32, print as u32)
}

fn is_over(end: u32, now: Duration) -> bool {
    end != u32::MAX && u64::from(end | MARK) < now.as_secs()
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_767_225_600);
    const NEVER: u32 = u32::MAX;

    fn print(number: u32) -> Fingerprint {
        Fingerprint::of(&number.to_le_bytes())
    }

    fn table(numbers: std::ops::Range<u32>) -> Table {
        let mut table = Table::default();
        numbers.for_each(|number| table.add(print(number), NEVER, NOW));
        table
    }

    #[test]
    fn what_was_added_is_there_once() {
        let mut table = table(0..10_000);
        table.add(print(7), NEVER, NOW);
        assert_eq!(table.len(), 10_000);
        assert!((0..10_000).all(|number| table.contains(print(number))));
        assert!((10_000..20_000).all(|number| !table.contains(print(number))));
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let mut table = Table::default();
        let end = u32::try_from(NOW.as_secs()).unwrap();
        table.add(print(1), end - 2, NOW);
        assert_eq!(table.len(), 0, "over already");
        table.add(print(2), end + 10, NOW);
        table.add(print(3), NEVER, NOW);
        table.finish(NOW + Duration::from_secs(9));
        assert_eq!(table.len(), 2);
        table.finish(NOW + Duration::from_secs(20));
        assert!(table.len() == 1 && table.contains(print(3)));
    }

    #[test]
    fn room_is_taken_from_what_has_ended() {
        let mut table = Table::default();
        let end = u32::try_from(NOW.as_secs()).unwrap();
        for number in 0..200_000 {
            table.add(print(number), end + 100, NOW);
        }
        let memory = table.memory();
        for number in 200_000..400_000 {
            table.add(print(number), NEVER, NOW + Duration::from_secs(200));
        }
        assert!(table.memory() < memory * 5 / 4, "{} {memory}", table.memory());
    }

    #[test]
    fn another_list_replaces_the_one_before() {
        let mut table = table(0..100);
        table.begin();
        assert!(table.contains(print(1)), "while the other is being read");
        (50..150).for_each(|number| table.add(print(number), NEVER, NOW));
        table.begin();
        (140..150).for_each(|number| table.add(print(number), NEVER, NOW));
        table.finish(NOW);
        assert_eq!(table.len(), 10);
        assert!(table.contains(print(140)) && !table.contains(print(1)) && !table.contains(print(60)));
    }

    #[test]
    fn a_million_fit_in_24_mebibytes() {
        let table = table(0..1_000_000);
        assert_eq!(table.len(), 1_000_000);
        assert!(table.memory() < 16 << 20, "{}", table.memory());
    }

    #[cfg(not(target_arch = "wasm32"))]
    #[test]
    fn a_million_are_looked_through_in_less_than_a_microsecond() {
        let table = table(0..1_000_000);
        let asked: Vec<_> = (0..200_000).map(|number| print(number * 10)).collect();
        let start = std::time::Instant::now();
        let found = asked.iter().filter(|print| table.contains(**print)).count();
        let each = start.elapsed() / 200_000;
        assert_eq!(found, 100_000);
        // Unoptimised builds are far slower.
        let limit = Duration::from_nanos(if cfg!(debug_assertions) { 200_000 } else { 1_000 });
        println!("a million revoked tokens: {each:?} a check");
        assert!(each < limit, "{each:?}");
    }
}
