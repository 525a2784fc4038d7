//! All counters of one Envoy process: in shared data, exact over its workers, in memory that has a bound.
//!
//! A counter's place follows from a hash of its key: one of [`BUCKETS`] buckets, and a fingerprint in it. The
//! hash is keyed with a secret of the process, so that nobody can choose keys that meet in one bucket. The
//! number of buckets never changes. `max_keys` only says how many counters a bucket may hold: after a reload
//! with another number every counter is where it was, and a bucket that holds too many gives them up when it
//! is next written.

use std::{cell::Cell, hash::Hasher as _, time::Duration};

use enforcer_core::{
    host::Host,
    store::{Contended, Slot},
};

use crate::{
    bucket::{self, Demand, Fingerprint, Taken},
    lease::Account,
    rate::{Clocks, Rate},
    tiers::{Kind, Limit},
};

/// Version of the layout: of the entries, their hash and the number of buckets.
const LAYOUT: u32 = 1;
/// As many as fourteen bits can say.
const BUCKETS: u64 = 1 << 14;

/// The numbers of the two counters in which an account of hits is kept; limits begin with 0.
const HELD: u8 = 254;
const PLAN: u8 = 255;

/// SipHash-2-4, by which keys become places.
#[expect(deprecated, reason = "its successor, `DefaultHasher`, takes no key")]
pub type KeyHasher = std::hash::SipHasher;

/// The counters.
#[derive(Debug)]
pub struct Counters {
    filter: &'static str,
    /// How many counters a bucket may hold.
    room: usize,
    secret: Cell<Option<(u64, u64)>>,
}

/// Where the counters of one key are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u64);

impl Place {
    /// Of several counters with the same key, the one of this number.
    pub fn counter(self, number: u8) -> Fingerprint {
        Fingerprint::new(self.0 ^ u64::from(number))
    }

    /// A name of the key within this process.
    pub fn id(self) -> u32 {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// The upper bits; a fingerprint is the lower ones.
    fn bucket(self) -> u64 {
        self.0 >> 50
    }
}

impl Counters {
    /// Counters for at least `max_keys` keys.
    pub fn new(filter: &'static str, max_keys: u32) -> Self {
        Self { filter, room: room(max_keys), secret: Cell::new(None) }
    }

    /// Begins a key: write what it consists of, then ask for its [`place`].
    pub fn hasher(&self, host: &dyn Host) -> KeyHasher {
        let (k0, k1) = self.secret(host);
        #[expect(deprecated, reason = "as above")]
        KeyHasher::new_with_keys(k0, k1)
    }

    /// Takes all demands on one key, or none of them.
    pub fn take(&self, host: &dyn Host, place: Place, demands: &[Demand<'_>]) -> Result<Taken, Contended> {
        let mut taken = Taken::default();
        self.slot(place).update(host, |bytes| {
            let after;
            (after, taken) = bucket::take(bytes, demands, self.room, clocks(host));
            Some(after)
        })?;
        Ok(taken)
    }

    /// Counts what a demand that was put off has come to, and returns how many live counters were forgotten.
    pub fn charge(&self, host: &dyn Host, place: Place, demand: &Demand<'_>) -> Result<u64, Contended> {
        let mut evicted = 0;
        self.slot(place).update(host, |bytes| {
            let after;
            (after, evicted) = bucket::charge(bytes, demand, self.room, clocks(host));
            Some(after)
        })?;
        Ok(evicted)
    }

    /// Changes what is held of a shared allowance, and returns what `change` makes of it and how many live counters
    /// were forgotten. `change` runs again when another worker was faster.
    pub fn lease<T>(
        &self,
        host: &dyn Host,
        place: Place,
        rate: &Rate,
        change: impl Fn(&mut Account) -> T,
    ) -> Result<(T, u64), Contended> {
        let half =
            |number| Demand { counter: place.counter(number), rate, amount: 0, binding: false, later: false };
        let halves = [half(HELD), half(PLAN)];
        let mut result = Err(Contended);
        self.slot(place).update(host, |bytes| {
            let mut changed = None;
            let (after, evicted) = bucket::lease(bytes, &halves, self.room, clocks(host), |account| {
                changed = Some(change(account))
            });
            result = changed.map(|changed| (changed, evicted)).ok_or(Contended);
            Some(after)
        })?;
        result
    }

    /// Takes back what [`Counters::take`] counted.
    pub fn give_back(&self, host: &dyn Host, place: Place, demands: &[Demand<'_>]) -> Result<(), Contended> {
        let slot = self.slot(place);
        slot.update(host, |bytes| Some(bucket::give_back(bytes, demands, clocks(host))))?;
        Ok(())
    }

    fn slot(&self, place: Place) -> Slot {
        Slot::new(LAYOUT, self.filter, &place.bucket().to_string())
    }

    /// The process's secret, drawn by whoever needs it first.
    fn secret(&self, host: &dyn Host) -> (u64, u64) {
        if let Some(secret) = self.secret.get() {
            return secret;
        }
        let slot = Slot::new(LAYOUT, self.filter, "secret");
        // Whoever loses the race takes the winner's.
        let _ = slot.create(host, &[host.random().to_le_bytes(), host.random().to_le_bytes()].concat());
        let bytes = slot.read(host).unwrap_or_default();
        let half = |bytes: Option<&[u8]>| {
            bytes.and_then(|half| half.try_into().ok()).map(u64::from_le_bytes).unwrap_or_default()
        };
        let secret = (half(bytes.get(..8)), half(bytes.get(8..)));
        self.secret.set(Some(secret));
        secret
    }
}

/// A text as a number, the same in every worker: for parts of keys that the configuration fixes.
pub fn digest(text: &[u8]) -> u64 {
    #[expect(deprecated, reason = "as above")]
    let mut hasher = KeyHasher::new();
    hasher.write(text);
    hasher.finish()
}

/// Where a key is.
pub fn place(hasher: &KeyHasher) -> Place {
    Place(hasher.finish())
}

/// How many counters a bucket may hold: what falls to it on average, and as much again as chance can add, so
/// that of `max_keys` keys less than one in a million finds no room.
fn room(max_keys: u32) -> usize {
    let mean = u64::from(max_keys).div_ceil(BUCKETS);
    let room = mean.saturating_add(mean.isqrt().saturating_mul(5)).saturating_add(4);
    usize::try_from(room).unwrap_or(usize::MAX)
}

fn clocks(host: &dyn Host) -> Clocks {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Clocks { monotonic: nanos(host.monotonic()), wall: nanos(host.now()) }
}

/// What a request asks of the counters of one key, numbered in this order. `binds`: which refuse. `cost`: what it
/// costs, where that is not left to its response.
pub fn demands(
    place: Place,
    limits: &[Limit],
    binds: impl Fn(&Limit) -> bool,
    cost: Option<u64>,
) -> Vec<Demand<'_>> {
    let demands = limits.iter().zip(0_u8..).map(|(limit, number)| {
        let known = match limit.kind {
            Kind::Quota | Kind::Burst => Some(1),
            Kind::Cost => cost,
            Kind::Bandwidth(_) => None,
        };
        Demand {
            counter: place.counter(number),
            rate: &limit.rate,
            amount: known.unwrap_or(1),
            binding: binds(limit),
            later: known.is_none(),
        }
    });
    demands.collect()
}

#[cfg(test)]
mod tests;
