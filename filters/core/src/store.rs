//! Memory that all workers of an Envoy process share: JWKS snapshots, revocation lists, counters.
//!
//! Envoy's shared data is a map from strings to bytes, with a version for each value. It has neither delete
//! nor expiry, so keys must be few and fixed, and an emptied value counts as absent. Every write that depends
//! on what was read names the version it read; first writes name a version that never occurs, which makes
//! them atomic too.

use std::time::Duration;

use crate::host::{Conflict, Expected, Host};

/// How often [`Slot::update`] tries. Each failure means that another worker succeeded meanwhile. Eight workers
/// that do nothing but update one value lose seven races of eight: 64 in a row once in 5,000 updates, 1,000 in
/// a row never.
const ATTEMPTS: usize = 1_000;

/// One place in the shared data.
#[derive(Debug, Clone)]
pub struct Slot {
    key: String,
}

/// Other workers kept writing; the update was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contended;

impl Slot {
    /// `enforcer/<version>/<filter>/<name>`. The version is that of the value's layout: while modules are being
    /// replaced, old and new ones run side by side and must not read each other's values. `name` never comes
    /// from a client, because a key can never be deleted.
    pub fn new(version: u32, filter: &str, name: &str) -> Self {
        Self { key: format!("enforcer/{version}/{filter}/{name}") }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value; `None` when it was never written or has been cleared.
    pub fn read(&self, host: &dyn Host) -> Option<Vec<u8>> {
        self.look(host).0
    }

    /// Overwrites whatever is there. For a value that does not depend on the one before.
    pub fn write(&self, host: &dyn Host, value: &[u8]) {
        // A write without a version meets no conflict.
        let _ = host.shared_set(&self.key, value, Expected::Anything);
    }

    /// Makes the value absent.
    pub fn clear(&self, host: &dyn Host) {
        self.write(host, &[]);
    }

    /// Writes the value if there is none; of several workers that try at once, one succeeds.
    pub fn create(&self, host: &dyn Host, value: &[u8]) -> Result<(), Conflict> {
        match self.look(host) {
            (None, expected) => host.shared_set(&self.key, value, expected),
            (Some(_), _) => Err(Conflict),
        }
    }

    /// Replaces the value by what `change` makes of it (`None` is absent, both ways) and returns the result.
    /// `change` runs again when another worker was faster, so it must have no effects.
    pub fn update(
        &self,
        host: &dyn Host,
        mut change: impl FnMut(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, Contended> {
        for _ in 0..ATTEMPTS {
            let (current, expected) = self.look(host);
            let changed = change(current.as_deref());
            if changed == current
                || host.shared_set(&self.key, changed.as_deref().unwrap_or_default(), expected).is_ok()
            {
                return Ok(changed);
            }
        }
        Err(Contended)
    }

    /// The value, and what a write must expect to replace exactly this.
    fn look(&self, host: &dyn Host) -> (Option<Vec<u8>>, Expected) {
        match host.shared_get(&self.key) {
            None => (None, Expected::Absent),
            Some((value, version)) => {
                (Some(value).filter(|value| !value.is_empty()), Expected::Version(version))
            }
        }
    }
}

/// The right to do something that only one worker should do, for a limited time.
///
/// At any moment of the monotonic clock at most one owner holds it. An owner that goes away (its VM failed,
/// its worker is gone) is followed by another when the time is up; an owner that is merely slow must check
/// [`Lease::is_held`] before it acts on a lease that it took some time ago.
#[derive(Debug, Clone)]
pub struct Lease {
    slot: Slot,
    owner: u64,
    term: Duration,
}

/// What the slot says: whose the lease is, and until when on the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grant {
    owner: u64,
    expires: Duration,
}

impl Lease {
    /// A claim to the lease in `slot`, held by nobody yet. `term` is how long it lasts without being renewed;
    /// the owner's identity is drawn at random.
    pub fn new(host: &dyn Host, slot: Slot, term: Duration) -> Self {
        Self { slot, owner: host.random(), term }
    }

    /// Takes the lease if it is free, has expired or is ours, for a full term from now. True: it is ours.
    pub fn acquire(&self, host: &dyn Host) -> bool {
        self.take(host, |grant, now| match grant {
            None => true,
            Some(grant) => grant.owner == self.owner || grant.expires <= now,
        })
    }

    /// Extends the lease to a full term from now. False: it has expired or passed to somebody else, and
    /// whatever it protected must stop.
    pub fn renew(&self, host: &dyn Host) -> bool {
        self.take(host, |grant, now| grant.is_some_and(|grant| self.holds(grant, now)))
    }

    /// Gives the lease up if it is ours.
    pub fn release(&self, host: &dyn Host) {
        let (value, expected) = self.slot.look(host);
        if value.and_then(|value| Grant::decode(&value)).is_some_and(|grant| grant.owner == self.owner) {
            // A conflict means that it has passed to somebody else meanwhile, which is as good.
            let _ = host.shared_set(&self.slot.key, &[], expected);
        }
    }

    /// Whether the lease is ours now.
    pub fn is_held(&self, host: &dyn Host) -> bool {
        let grant = self.slot.read(host).and_then(|value| Grant::decode(&value));
        grant.is_some_and(|grant| self.holds(grant, host.monotonic()))
    }

    fn holds(&self, grant: Grant, now: Duration) -> bool {
        grant.owner == self.owner && now < grant.expires
    }

    /// One attempt: who loses the race has lost the lease.
    fn take(&self, host: &dyn Host, allowed: impl FnOnce(Option<Grant>, Duration) -> bool) -> bool {
        let now = host.monotonic();
        let (value, expected) = self.slot.look(host);
        let grant = value.and_then(|value| Grant::decode(&value));
        let ours = Grant { owner: self.owner, expires: now.saturating_add(self.term) };
        allowed(grant, now) && host.shared_set(&self.slot.key, &ours.encode(), expected).is_ok()
    }
}

impl Grant {
    /// Owner and nanoseconds, eight bytes each, little endian.
    fn encode(self) -> Vec<u8> {
        let nanos = u64::try_from(self.expires.as_nanos()).unwrap_or(u64::MAX);
        [self.owner.to_le_bytes(), nanos.to_le_bytes()].concat()
    }

    /// `None` for what is no grant: nobody can hold it.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (owner, nanos) = bytes.split_first_chunk::<8>()?;
        let nanos = <[u8; 8]>::try_from(nanos).ok()?;
        Some(Self {
            owner: u64::from_le_bytes(*owner),
            expires: Duration::from_nanos(u64::from_le_bytes(nanos)),
        })
    }
}

#[cfg(test)]
mod tests;
