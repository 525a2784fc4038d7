//! The services a host gives to filters. Envoy's are in `enforcer-proxy`; [`crate::native`] has the ones for
//! tests, fuzzing and tools.

use std::{fmt, time::Duration};

use crate::headers::HeaderMap;

/// What a filter may use of the process it runs in. Nothing here fails by panicking, whatever a client sends.
pub trait Host {
    /// Wall clock: time since the Unix epoch.
    fn now(&self) -> Duration;
    /// A clock that never jumps, common to all workers of the process. For windows, leases and ages.
    fn monotonic(&self) -> Duration;
    /// Random bytes for ids and jitter; not for keys.
    fn random(&self) -> u64;

    /// An Envoy attribute as its raw bytes; `None` where it does not exist.
    fn attribute(&self, path: &[&str]) -> Option<Vec<u8>>;
    /// Several attributes, in their order, as the values of headers without names; empty where one does not exist.
    /// Envoy hands them over in one call and one buffer, which costs less than reading them one by one.
    fn attributes(&self, list: Attributes) -> HeaderMap {
        let value = |attribute: &Attribute| self.attribute(&attribute.path).unwrap_or_default();
        list.iter().map(|attribute| ("", value(attribute))).collect()
    }
    /// All headers of one message; empty where the phase has none.
    fn headers(&self, map: MapKind) -> HeaderMap;
    /// The first `size` bytes of the body that is in hand or buffered.
    fn body(&self, message: MapKind, size: usize) -> Vec<u8>;
    /// The identity that an earlier module published, as [`crate::identity::Identity::encode`] wrote it.
    fn identity(&self) -> Option<Vec<u8>>;

    /// A value of the store that all workers share, and its version. See [`crate::store`].
    fn shared_get(&self, key: &str) -> Option<(Vec<u8>, Version)>;
    /// Writes a shared value if its version is still the expected one.
    fn shared_set(&self, key: &str, value: &[u8], expected: Expected) -> Result<(), Conflict>;

    /// Envoy's `verify_signature`; `None` where the host has no such function.
    /// `public_key` is an SPKI in DER; an ECDSA signature is in DER.
    fn verify_signature(&self, hash: Hash, public_key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool>;

    /// Envoy's `sign`: a signature, of RSA in PKCS #1 v1.5; `None` where the host has no such function, or cannot use
    /// the key. `private_key` is PKCS #8 in DER.
    fn sign(&self, _hash: Hash, _private_key: &[u8], _text: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// Adds to a counter. Names are dotted; values that come from clients never enter them.
    fn count(&self, metric: &'static str, by: u64);
    /// Finds or defines a metric whose name is made at run time. It is never deleted: the caller bounds how many
    /// there are, and keeps what it got. `None` where the host has no such metrics.
    fn metric(&self, _kind: MetricKind, _name: &str) -> Option<Metric> {
        None
    }
    /// Adds to a counter made by [`Host::metric`].
    fn add(&self, _counter: Metric, _by: u64) {}
    /// Puts one more value into a histogram made by [`Host::metric`].
    fn record(&self, _histogram: Metric, _value: u64) {}

    /// Leaves a text for the access log: filter state `wasm.<key>` of the request in hand.
    fn annotate(&self, _key: &str, _text: &str) {}

    /// Whether lines of this level are written at all.
    fn logs(&self, level: Level) -> bool;
    /// Writes a line to the host's log. Never give it a credential.
    fn log(&self, level: Level, line: fmt::Arguments<'_>);
}

/// Attributes to read together.
pub type Attributes = &'static [Attribute];

/// One of several attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// `["request", "duration"]`.
    pub path: [&'static str; 2],
    /// It is hardly ever missing: asking first whether it is there would double what it costs.
    pub usual: bool,
}

/// What a metric made at run time does with values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricKind {
    Counter,
    Histogram,
}

/// A metric made at run time, as the host numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric(pub u32);

/// Which header map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    RequestHeaders,
    RequestTrailers,
    ResponseHeaders,
    ResponseTrailers,
}

/// The version of a shared value; zero never occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub u32);

/// What a writer of a shared value believes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The key has never been written. Atomic in Envoy, because the version sent is a sentinel, not zero.
    Absent,
    /// The value is still the one that was read.
    Version(Version),
    /// Overwrite, whatever is there.
    Anything,
}

/// Somebody else wrote first: read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict;

/// Hash function of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// The name that Envoy's `verify_signature` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// Log level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}
