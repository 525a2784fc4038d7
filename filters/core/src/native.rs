//! A [`Host`] in memory: for unit tests, fuzzing and tools.
//!
//! ```
//! use std::time::Duration;
//! use enforcer_core::{host::{Host, MapKind}, native::NativeHost};
//!
//! let worker = NativeHost::new().with_headers(MapKind::RequestHeaders, [(":path", "/pets")]);
//! let sibling = worker.sibling();                 // another worker of the same process
//! worker.advance(Duration::from_secs(30));        // time passes for both
//! assert_eq!(sibling.monotonic(), worker.monotonic());
//! ```

#[cfg(not(target_arch = "wasm32"))]
pub mod turns;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    headers::HeaderMap,
    host::{Conflict, Expected, Hash, Host, Level, MapKind, Metric, MetricKind, Version},
    identity::Identity,
};

/// 2026-01-01T00:00:00Z, where the wall clock starts.
const START: Duration = Duration::from_secs(1_767_225_600);

/// One worker. Nothing moves by itself: time passes when the test says so.
#[derive(Debug)]
pub struct NativeHost {
    process: Arc<Process>,
    random: Cell<u64>,
    messages: BTreeMap<u8, (HeaderMap, Vec<u8>)>,
    attributes: BTreeMap<String, Vec<u8>>,
    /// As it was published.
    identity: Option<Vec<u8>>,
    verifier: Option<Verifier>,
    level: Level,
    counters: RefCell<BTreeMap<String, u64>>,
    /// Metrics made at run time; their numbers are positions.
    metrics: RefCell<Vec<(MetricKind, String)>>,
    histograms: RefCell<BTreeMap<String, Vec<u64>>>,
    annotations: RefCell<BTreeMap<String, String>>,
    lines: RefCell<Vec<(Level, String)>>,
}

type VerifyFn = dyn Fn(Hash, &[u8], &[u8], &[u8]) -> bool + Send + Sync;

#[derive(Clone)]
struct Verifier(Arc<VerifyFn>);

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

/// What the workers of one process have in common.
#[derive(Debug, Default)]
struct Process {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now: Duration,
    monotonic: Duration,
    workers: u64,
    data: BTreeMap<String, (Vec<u8>, u32)>,
    next_version: u32,
}

impl Default for State {
    fn default() -> Self {
        Self { now: START, monotonic: Duration::ZERO, workers: 0, data: BTreeMap::new(), next_version: 1 }
    }
}

impl Process {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere must not hide behind a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for NativeHost {
    fn default() -> Self {
        Self::new()
    }
}

impl NativeHost {
    /// The first worker of a new process: empty shared data, no request.
    pub fn new() -> Self {
        Self::in_process(Arc::default())
    }

    /// Another worker of the same process: same clocks and shared data, no request, nothing recorded yet.
    #[must_use]
    pub fn sibling(&self) -> Self {
        Self { verifier: self.verifier.clone(), ..Self::in_process(Arc::clone(&self.process)) }
    }

    fn in_process(process: Arc<Process>) -> Self {
        let worker = {
            let mut state = process.state();
            state.workers = state.workers.wrapping_add(1);
            state.workers
        };
        Self {
            process,
            random: Cell::new(worker),
            messages: BTreeMap::new(),
            attributes: BTreeMap::new(),
            identity: None,
            verifier: None,
            level: Level::Debug,
            counters: RefCell::default(),
            metrics: RefCell::default(),
            histograms: RefCell::default(),
            annotations: RefCell::default(),
            lines: RefCell::default(),
        }
    }

    /// Sets all headers of one message. Names become lower case.
    #[must_use]
    pub fn with_headers<N: AsRef<str>, V: AsRef<[u8]>>(
        mut self,
        map: MapKind,
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.messages.entry(key(map)).or_default().0 = headers.into_iter().collect();
        self
    }

    /// Sets a message's body.
    #[must_use]
    pub fn with_body(mut self, message: MapKind, body: impl Into<Vec<u8>>) -> Self {
        self.messages.entry(key(message)).or_default().1 = body.into();
        self
    }

    /// Sets an Envoy attribute, dotted: `source.address`.
    #[must_use]
    pub fn with_attribute(mut self, path: &str, value: impl Into<Vec<u8>>) -> Self {
        self.attributes.insert(path.to_owned(), value.into());
        self
    }

    /// Sets the identity that an earlier module published.
    #[must_use]
    pub fn with_identity(mut self, identity: &Identity) -> Self {
        self.identity = Some(identity.encode());
        self
    }

    /// Lets a module of another version have published an identity that cannot be read here.
    #[must_use]
    pub fn with_unreadable_identity(mut self) -> Self {
        self.identity = Some(b"?".to_vec());
        self
    }

    /// Gives the host a `verify_signature`: hash, SPKI, signature, text. Without it the host has none.
    #[must_use]
    pub fn with_verifier(
        mut self,
        verify: impl Fn(Hash, &[u8], &[u8], &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.verifier = Some(Verifier(Arc::new(verify)));
        self
    }

    /// Writes only lines of at least this level; [`Level::Debug`] unless told.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Lets time pass, on both clocks of all workers.
    pub fn advance(&self, by: Duration) {
        let mut state = self.process.state();
        state.now = state.now.saturating_add(by);
        state.monotonic = state.monotonic.saturating_add(by);
    }

    /// Sets the wall clock to a time since the Unix epoch, as an administrator might; the monotonic clock
    /// does not notice.
    pub fn set_now(&self, now: Duration) {
        self.process.state().now = now;
    }

    /// A counter's value; 0 when nothing was ever counted.
    pub fn counter(&self, metric: &str) -> u64 {
        self.counters.borrow().get(metric).copied().unwrap_or(0)
    }

    /// All counters of this worker.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.counters.borrow().clone()
    }

    /// What was put into a histogram, in order.
    pub fn histogram(&self, metric: &str) -> Vec<u64> {
        self.histograms.borrow().get(metric).cloned().unwrap_or_default()
    }

    /// What was left for the access log, by key.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.annotations.borrow().clone()
    }

    /// All lines that this worker logged.
    pub fn lines(&self) -> Vec<(Level, String)> {
        self.lines.borrow().clone()
    }

    fn name_of(&self, Metric(number): Metric, kind: MetricKind) -> Option<String> {
        let metrics = self.metrics.borrow();
        let (known, name) = metrics.get(usize::try_from(number).ok()?)?;
        (*known == kind).then(|| name.clone())
    }

    /// All shared data, as it stands.
    pub fn shared_data(&self) -> BTreeMap<String, Vec<u8>> {
        self.process.state().data.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }
}

fn key(map: MapKind) -> u8 {
    match map {
        MapKind::RequestHeaders => 0,
        MapKind::RequestTrailers => 1,
        MapKind::ResponseHeaders => 2,
        MapKind::ResponseTrailers => 3,
    }
}

impl State {
    /// `SharedData::set` of proxy-wasm-cpp-host: a version of zero overwrites, and a key that does not exist
    /// is written whatever the version.
    fn set(&mut self, key: &str, value: &[u8], version: u32) -> Result<(), Conflict> {
        if let Some((_, current)) = self.data.get(key)
            && version != 0
            && version != *current
        {
            return Err(Conflict);
        }
        self.data.insert(key.to_owned(), (value.to_vec(), self.next_version));
        self.next_version = self.next_version.wrapping_add(1).max(1);
        Ok(())
    }
}

impl Host for NativeHost {
    fn now(&self) -> Duration {
        self.process.state().now
    }

    fn monotonic(&self) -> Duration {
        self.process.state().monotonic
    }

    /// SplitMix64: the same numbers in every run, different ones on every worker.
    fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn attribute(&self, path: &[&str]) -> Option<Vec<u8>> {
        self.attributes.get(&path.join(".")).cloned()
    }

    fn headers(&self, map: MapKind) -> HeaderMap {
        self.messages.get(&key(map)).map(|(headers, _)| headers.clone()).unwrap_or_default()
    }

    fn body(&self, message: MapKind, size: usize) -> Vec<u8> {
        let body = self.messages.get(&key(message)).map_or(&[][..], |(_, body)| body);
        body.get(..size).unwrap_or(body).to_vec()
    }

    fn identity(&self) -> Option<Vec<u8>> {
        self.identity.clone()
    }

    fn shared_get(&self, key: &str) -> Option<(Vec<u8>, Version)> {
        self.process.state().data.get(key).map(|(value, version)| (value.clone(), Version(*version)))
    }

    fn shared_set(&self, key: &str, value: &[u8], expected: Expected) -> Result<(), Conflict> {
        let version = match expected {
            Expected::Absent => u32::MAX,
            Expected::Version(Version(version)) => version,
            Expected::Anything => 0,
        };
        self.process.state().set(key, value, version)
    }

    fn verify_signature(&self, hash: Hash, public_key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
        self.verifier.as_ref().map(|Verifier(verify)| verify(hash, public_key, signature, text))
    }

    fn count(&self, metric: &'static str, by: u64) {
        let mut counters = self.counters.borrow_mut();
        let counter = counters.entry(metric.to_owned()).or_default();
        *counter = counter.saturating_add(by);
    }

    fn metric(&self, kind: MetricKind, name: &str) -> Option<Metric> {
        let mut metrics = self.metrics.borrow_mut();
        let known = metrics.iter().position(|(k, n)| *k == kind && n == name);
        let position = known.unwrap_or_else(|| {
            metrics.push((kind, name.to_owned()));
            metrics.len().saturating_sub(1)
        });
        u32::try_from(position).ok().map(Metric)
    }

    fn add(&self, counter: Metric, by: u64) {
        if let Some(name) = self.name_of(counter, MetricKind::Counter) {
            let mut counters = self.counters.borrow_mut();
            let counter = counters.entry(name).or_default();
            *counter = counter.saturating_add(by);
        }
    }

    fn record(&self, histogram: Metric, value: u64) {
        if let Some(name) = self.name_of(histogram, MetricKind::Histogram) {
            self.histograms.borrow_mut().entry(name).or_default().push(value);
        }
    }

    fn annotate(&self, key: &str, text: &str) {
        self.annotations.borrow_mut().insert(key.to_owned(), text.to_owned());
    }

    fn logs(&self, level: Level) -> bool {
        level >= self.level
    }

    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        if self.logs(level) {
            self.lines.borrow_mut().push((level, line.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn shared_data_follows_envoys_rules() {
        let (a, b) = (NativeHost::new(), NativeHost::new());
        let sibling = a.sibling();
        assert_eq!(a.shared_set("k", b"1", Expected::Absent), Ok(()));
        assert_eq!(sibling.shared_set("k", b"2", Expected::Absent), Err(Conflict));
        let (value, version) = sibling.shared_get("k").unwrap();
        assert_eq!(value, b"1");
        assert_eq!(sibling.shared_set("k", b"2", Expected::Version(version)), Ok(()));
        assert_eq!(a.shared_set("k", b"3", Expected::Version(version)), Err(Conflict));
        assert_eq!(a.shared_set("k", b"4", Expected::Anything), Ok(()));
        assert_eq!(sibling.shared_get("k").unwrap().0, b"4");
        assert_eq!(a.shared_set("never written", b"", Expected::Version(version)), Ok(()));
        assert_eq!(b.shared_get("k"), None, "another process");
    }

    #[test]
    fn time_is_common_and_moves_on_demand() {
        let host = NativeHost::new();
        let (now, sibling) = (host.now(), host.sibling());
        host.advance(Duration::from_secs(5));
        assert_eq!(sibling.now(), now + Duration::from_secs(5));
        sibling.set_now(Duration::from_secs(1));
        assert_eq!(host.now(), Duration::from_secs(1));
        assert_eq!(host.monotonic(), Duration::from_secs(5));
    }

    #[test]
    fn a_request_is_what_was_set() {
        let host = NativeHost::new()
            .with_headers(MapKind::RequestHeaders, [("X-A", "1")])
            .with_body(MapKind::RequestHeaders, "hello")
            .with_attribute("source.address", "127.0.0.1:80");
        assert_eq!(host.headers(MapKind::RequestHeaders).get("x-a"), Some(&b"1"[..]));
        assert!(host.headers(MapKind::ResponseHeaders).is_empty());
        assert_eq!(host.body(MapKind::RequestHeaders, 4), b"hell");
        assert_eq!(host.body(MapKind::RequestHeaders, 9), b"hello");
        assert_eq!(host.attribute(&["source", "address"]).unwrap(), b"127.0.0.1:80");
        assert_ne!(host.random(), host.sibling().random());
    }

    #[test]
    fn what_a_filter_does_is_recorded() {
        let host = NativeHost::new().with_level(Level::Info);
        host.count("auth.ok", 1);
        host.count("auth.ok", 2);
        host.log(Level::Debug, format_args!("too quiet"));
        host.log(Level::Warn, format_args!("heard"));
        assert_eq!(host.counter("auth.ok"), 3);
        assert_eq!(host.lines(), [(Level::Warn, "heard".to_owned())]);
        let made = host.metric(MetricKind::Counter, "calls.api=a").unwrap();
        assert_eq!(host.metric(MetricKind::Counter, "calls.api=a"), Some(made));
        host.add(made, 2);
        host.record(made, 9);
        host.record(host.metric(MetricKind::Histogram, "time").unwrap(), 7);
        assert_eq!((host.counter("calls.api=a"), host.histogram("time")), (2, vec![7]));
        host.annotate("event", "{}");
        assert_eq!(host.annotations()["event"], "{}");
        assert_eq!(host.verify_signature(Hash::Sha256, b"", b"", b""), None);
        let host = host.with_verifier(|hash, _, _, _| hash == Hash::Sha256);
        assert_eq!(host.verify_signature(Hash::Sha512, b"", b"", b""), Some(false));
    }
}
