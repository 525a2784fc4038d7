//! What the workers have in common of a list of revoked tokens.

use std::fmt;

use enforcer_core::{host::Host, store::Slot};

use super::page::ENTRY;
use crate::remote::Attempt;

/// Layout version of what is kept in shared data.
const LAYOUT: u32 = 1;
/// Entries of a chunk: so many are read at once.
const CHUNK: usize = 1 << 14;
/// Chunks of a list.
const CHUNKS: usize = 1 << 6;
/// Bytes before the entries of a chunk: its epoch.
const MARGIN: usize = 8;
/// Longest cursor or entity tag.
pub(super) const MAX_NAME: usize = 255;

/// How far a list was fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) attempt: Attempt,
    /// Counts the lists that were begun; 0: none.
    pub(super) epoch: u64,
    /// It was read to its end.
    pub(super) whole: bool,
    /// Entries in the chunks.
    pub(super) size: usize,
    /// Where the next page begins; empty: lists come whole.
    pub(super) cursor: String,
    /// The entity tag of the last page.
    pub(super) etag: String,
}

/// The places of one list in shared data.
#[derive(Debug)]
pub(super) struct Store {
    filter: &'static str,
    place: String,
    head: Slot,
}

/// Why entries cannot be put behind others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    Full,
    /// Those before them are gone.
    Gap,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = CHUNK.saturating_mul(CHUNKS);
        match self {
            Self::Full => write!(f, "there are over {most} of them; leave out those that have ended"),
            Self::Gap => f.write_str("what was fetched before is gone"),
        }
    }
}

impl Store {
    pub(super) fn new(filter: &'static str, place: &str) -> Self {
        let place = format!("revoked/{place}");
        Self { filter, head: Slot::new(LAYOUT, filter, &place), place }
    }

    pub(super) fn lease(&self) -> Slot {
        Slot::new(LAYOUT, self.filter, &format!("lease/{}", self.place))
    }

    pub(super) fn head(&self, host: &dyn Host) -> Option<Head> {
        Head::decode(&self.head.read(host)?)
    }

    pub(super) fn write(&self, host: &dyn Host, head: &Head) {
        self.head.write(host, &head.encode());
    }

    /// Puts entries behind those that the head counts, and counts them. For the one worker that fetches.
    pub(super) fn append(&self, host: &dyn Host, head: &Head, mut entries: &[u8]) -> Result<Head, NoRoom> {
        let size = head.size.saturating_add(entries.len() / ENTRY);
        if size > CHUNK.saturating_mul(CHUNKS) {
            return Err(NoRoom::Full);
        }
        let mut at = head.size;
        while !entries.is_empty() {
            let held = (at % CHUNK).saturating_mul(ENTRY);
            let known = self.chunk(host, head.epoch, at).map(|(_, chunk)| chunk).unwrap_or_default();
            let room = CHUNK.saturating_mul(ENTRY).saturating_sub(held);
            let (now, later) = entries.split_at(room.min(entries.len()));
            let known = known.get(..held).ok_or(NoRoom::Gap)?;
            let chunk = [&head.epoch.to_le_bytes()[..], known, now].concat();
            self.slot(at / CHUNK).write(host, &chunk);
            at = at.saturating_add(now.len() / ENTRY);
            entries = later;
        }
        Ok(Head { size, ..head.clone() })
    }

    /// The chunk that has this entry: the number of its first one, and all that it has. `None`: it is of another
    /// list.
    pub(super) fn chunk(&self, host: &dyn Host, epoch: u64, entry: usize) -> Option<(usize, Vec<u8>)> {
        let number = entry / CHUNK;
        let mut chunk = self.slot(number).read(host)?;
        let (written, _) = chunk.split_first_chunk::<MARGIN>()?;
        if u64::from_le_bytes(*written) != epoch {
            return None;
        }
        chunk.drain(..MARGIN);
        Some((number.saturating_mul(CHUNK), chunk))
    }

    fn slot(&self, number: usize) -> Slot {
        Slot::new(LAYOUT, self.filter, &format!("{}#{number}", self.place))
    }
}

impl Head {
    /// Nothing of a list yet.
    pub(super) fn of_epoch(epoch: u64) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// The attempt, then numbers of eight bytes, then texts with their lengths before them in one byte.
    fn encode(&self) -> Vec<u8> {
        let mut out = self.attempt.encode();
        let size = u64::try_from(self.size).unwrap_or(u64::MAX);
        for number in [self.epoch, u64::from(self.whole), size] {
            out.extend(number.to_le_bytes());
        }
        for text in [&self.cursor, &self.etag] {
            // One that is longer than any server makes is as good as none.
            let text = if text.len() > MAX_NAME { "" } else { text };
            out.push(u8::try_from(text.len()).unwrap_or_default());
            out.extend(text.bytes());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
            let (number, rest) = bytes.split_first_chunk::<8>()?;
            Some((u64::from_le_bytes(*number), rest))
        }
        fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
            let (length, rest) = bytes.split_first()?;
            let (text, rest) = rest.split_at_checked(usize::from(*length))?;
            Some((str::from_utf8(text).ok()?.to_owned(), rest))
        }
        let (attempt, rest) = Attempt::decode(bytes)?;
        let (epoch, rest) = number(rest)?;
        let (whole, rest) = number(rest)?;
        let (size, rest) = number(rest)?;
        let (cursor, rest) = text(rest)?;
        let (etag, _) = text(rest)?;
        Some(Self { attempt, epoch, whole: whole == 1, size: usize::try_from(size).ok()?, cursor, etag })
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "an overflow would fail the test, as it should")]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use enforcer_core::native::NativeHost;

    use super::*;

    fn entries(count: usize, of: u8) -> Vec<u8> {
        vec![of; count * ENTRY]
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let head = Head {
            epoch: 3,
            whole: true,
            size: 70_000,
            cursor: "c=1".to_owned(),
            etag: "\"e\"".to_owned(),
            ..Head::default()
        };
        assert_eq!(Head::decode(&head.encode()), Some(head.clone()));
        let long = Head { cursor: "c".repeat(256), ..head };
        assert_eq!(Head::decode(&long.encode()).unwrap().cursor, "");
        assert_eq!(Head::decode(&[0; 40]), None);
    }

    #[test]
    fn pages_fill_chunks() {
        let (host, store) = (NativeHost::new(), Store::new("auth", "x"));
        let mut head = Head::of_epoch(1);
        for number in 0..7 {
            head = store.append(&host, &head, &entries(5_000, number)).unwrap();
        }
        assert_eq!(head.size, 35_000);
        let (first, chunk) = store.chunk(&host, 1, 17_000).unwrap();
        assert_eq!((first, chunk.len(), chunk[0]), (CHUNK, CHUNK * ENTRY, 3));
        let (first, chunk) = store.chunk(&host, 1, 34_999).unwrap();
        assert_eq!((first, chunk.len()), (2 * CHUNK, (35_000 - 2 * CHUNK) * ENTRY));
        assert_eq!(chunk.last(), Some(&6));
    }

    #[test]
    fn a_chunk_of_another_list_is_none_of_this() {
        let (host, store) = (NativeHost::new(), Store::new("auth", "x"));
        store.append(&host, &Head::of_epoch(1), &entries(3, 1)).unwrap();
        assert_eq!(store.chunk(&host, 2, 0), None);
        let lost = Head { size: 3, ..Head::of_epoch(2) };
        assert_eq!(store.append(&host, &lost, &entries(1, 2)), Err(NoRoom::Gap));
        store.append(&host, &Head::of_epoch(2), &entries(1, 2)).unwrap();
        assert_eq!(store.chunk(&host, 1, 0), None);
        assert_eq!(store.chunk(&host, 2, 0), Some((0, entries(1, 2))));
    }

    #[test]
    fn a_list_has_room_for_a_million() {
        let (host, store) = (NativeHost::new(), Store::new("auth", "x"));
        let begun = store.append(&host, &Head::of_epoch(1), &entries(1, 0)).unwrap();
        let nearly = Head { size: (1 << 20) - CHUNK, ..begun };
        let full = store.append(&host, &nearly, &entries(CHUNK, 0)).unwrap();
        assert_eq!(store.append(&host, &full, &entries(1, 0)), Err(NoRoom::Full));
        assert!(NoRoom::Full.to_string().contains("over 1048576"));
    }
}
