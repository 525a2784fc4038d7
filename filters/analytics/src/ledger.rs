//! How many events each VM holds, kept where it outlives the VM.
//!
//! An event that waits in a VM is lost when that VM dies, and nothing in the VM can count it then. So each VM notes in
//! a place of the shared data how many it holds: taken, and neither acknowledged nor dropped and counted. A VM renews its note with every event and every few seconds; one that has not been renewed for
//! [`TERM`] is cleared by whoever finds it, and what it says is counted as lost.

use std::time::Duration;

use enforcer_core::{
    host::Host,
    store::{Contended, Slot},
};

/// How long a note stands without being renewed.
const TERM: Duration = Duration::from_secs(10);
/// How often notes are renewed, and looked after.
pub const ROUND: Duration = Duration::from_secs(3);
/// One for each VM: more workers than this, and the rest goes uncounted when it dies.
const PLACES: usize = 64;
/// Layout of a note.
const VERSION: u32 = 1;

/// This VM's note.
#[derive(Debug)]
pub struct Ledger {
    places: Vec<Slot>,
    /// Drawn when the first note is written; zero until then.
    owner: u64,
    mine: Option<usize>,
    held: u64,
}

/// What a place says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    owner: u64,
    /// On the monotonic clock, in nanoseconds.
    expires: u64,
    /// Events taken and not settled; one that several sinks wait for counts for each.
    held: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        let places = (0..PLACES).map(|place| Slot::new(VERSION, "analytics", &format!("held/{place}")));
        Self { places: places.collect(), owner: 0, mine: None, held: 0 }
    }
}

impl Ledger {
    /// So many events are held now.
    pub fn note(&mut self, host: &dyn Host, held: u64, now: Duration) {
        self.held = held;
        if self.mine.is_none() && held > 0 {
            self.claim(host, now);
        }
        if let Some(place) = self.mine.and_then(|place| self.places.get(place)) {
            place.write(host, &self.entry(now).encode());
        }
    }

    /// Renews this VM's note, and counts what VMs held that are no more.
    pub fn round(&mut self, host: &dyn Host, now: Duration) {
        // A VM that was still for longer than its term has been counted as lost, and its place may be another's.
        let owner =
            |place: &Slot| place.read(host).and_then(|note| Note::decode(&note)).map(|note| note.owner);
        let lost = self
            .mine
            .and_then(|place| self.places.get(place))
            .is_some_and(|place| owner(place) != Some(self.owner));
        if lost {
            self.mine = None;
        }
        self.note(host, self.held, now);
        for place in &self.places {
            if let Some(held) = reap(place, host, now) {
                host.count("enforcer.analytics.lost", held);
            }
        }
    }

    fn claim(&mut self, host: &dyn Host, now: Duration) {
        self.owner = host.random().max(1);
        let note = self.entry(now).encode();
        self.mine = self.places.iter().position(|place| place.create(host, &note).is_ok());
    }

    fn entry(&self, now: Duration) -> Note {
        Note { owner: self.owner, expires: nanos(now.saturating_add(TERM)), held: self.held }
    }
}

/// Clears a note that has expired, and returns what its VM held, unless somebody else was faster.
fn reap(place: &Slot, host: &dyn Host, now: Duration) -> Option<u64> {
    let expired =
        |bytes: Option<&[u8]>| bytes.and_then(Note::decode).filter(|note| note.expires <= nanos(now));
    expired(place.read(host).as_deref())?;
    let mut found = None;
    let cleared = place.update(host, |bytes| {
        found = expired(bytes);
        if found.is_some() { None } else { bytes.map(<[u8]>::to_vec) }
    });
    match cleared {
        Ok(None) => found.map(|note| note.held).filter(|held| *held > 0),
        Ok(Some(_)) | Err(Contended) => None,
    }
}

impl Note {
    /// Three numbers of eight bytes, little endian.
    fn encode(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        for (slot, number) in bytes.chunks_exact_mut(8).zip([self.owner, self.expires, self.held]) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (owner, rest) = bytes.split_first_chunk::<8>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let held = <[u8; 8]>::try_from(rest).ok()?;
        let number = u64::from_le_bytes;
        Some(Self { owner: number(*owner), expires: number(*expires), held: number(held) })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use enforcer_core::native::NativeHost;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const LOST: &str = "enforcer.analytics.lost";

    #[test]
    fn what_a_dead_vm_held_is_counted_once() {
        let dying = NativeHost::new();
        let (alive, other) = (dying.sibling(), dying.sibling());
        let (mut gone, mut ledger, mut another) = (Ledger::default(), Ledger::default(), Ledger::default());
        gone.note(&dying, 7, dying.monotonic());
        ledger.note(&alive, 2, alive.monotonic());
        for _ in 0..6 {
            alive.advance(ROUND);
            ledger.round(&alive, alive.monotonic());
            another.round(&other, other.monotonic());
        }
        assert_eq!(alive.counter(LOST) + other.counter(LOST), 7);
        // Its own note stands.
        assert_eq!(alive.shared_data().values().filter(|note| !note.is_empty()).count(), 1);
    }

    #[test]
    fn what_is_settled_is_not_lost() {
        let host = NativeHost::new();
        let mut gone = Ledger::default();
        gone.note(&host, 7, host.monotonic());
        gone.note(&host, 0, host.monotonic());
        host.advance(TERM);
        Ledger::default().round(&host, host.monotonic());
        assert_eq!(host.counter(LOST), 0);
    }

    #[test]
    fn who_was_thought_dead_takes_another_place() {
        let host = NativeHost::new();
        let (mut slow, mut ledger) = (Ledger::default(), Ledger::default());
        slow.note(&host, 7, host.monotonic());
        host.advance(TERM);
        ledger.round(&host, host.monotonic());
        ledger.note(&host, 1, host.monotonic());
        slow.round(&host, host.monotonic());
        let notes = host.shared_data();
        let held: Vec<u64> =
            notes.values().filter_map(|note| Note::decode(note)).map(|note| note.held).collect();
        assert_eq!(held, [1, 7]);
    }

    #[test]
    fn a_vm_too_many_goes_without() {
        let host = NativeHost::new();
        for _ in 0..=PLACES {
            Ledger::default().note(&host, 1, host.monotonic());
        }
        assert_eq!(host.shared_data().len(), PLACES);
        assert_eq!(Note::decode(b"short"), None);
    }
}
