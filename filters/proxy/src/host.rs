//! Envoy as a [`Host`].

use std::{
    cell::RefCell,
    fmt,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use enforcer_core::{
    headers::HeaderMap,
    host::{
        Attribute, Attributes, Conflict, Expected, Hash, Host, Level, MapKind, Metric, MetricKind, Version,
    },
    identity,
};

use crate::{
    foreign::{self, Expression},
    hostcalls::{self, Buffer, Map, MetricType},
};

/// What one VM keeps of Envoy: ids of metrics, compiled expressions, and a seed.
#[derive(Debug, Default)]
pub struct EnvoyHost {
    /// By the attributes that they read; `None`: this Envoy compiles no expressions.
    expressions: RefCell<Vec<(Attributes, Option<Expression>)>>,
    counters: RefCell<Vec<(&'static str, u32)>>,
    seed: RandomState,
}

/// An `Expected::Absent` write carries this, because Envoy takes zero for "overwrite".
const NEVER_A_VERSION: u32 = u32::MAX;

impl Host for EnvoyHost {
    fn now(&self) -> Duration {
        Duration::from_nanos(hostcalls::now().unwrap_or(0))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(hostcalls::monotonic().unwrap_or(0))
    }

    fn random(&self) -> u64 {
        self.seed.hash_one(self.monotonic())
    }

    fn attribute(&self, path: &[&str]) -> Option<Vec<u8>> {
        hostcalls::property(path).ok()
    }

    fn attributes(&self, list: Attributes) -> HeaderMap {
        let mut expressions = self.expressions.borrow_mut();
        let known = expressions.iter().position(|(known, _)| std::ptr::eq(*known, list));
        let position = known.unwrap_or_else(|| {
            expressions.push((list, Expression::listing(list)));
            expressions.len().saturating_sub(1)
        });
        let expression = expressions.get(position).and_then(|(_, expression)| expression.as_ref());
        let listed = expression.and_then(Expression::values).filter(|values| values.len() == list.len());
        let alone = |attribute: &Attribute| hostcalls::property(&attribute.path).unwrap_or_default();
        listed.unwrap_or_else(|| list.iter().map(|attribute| ("", alone(attribute))).collect())
    }

    fn headers(&self, map: MapKind) -> HeaderMap {
        let map = match map {
            MapKind::RequestHeaders => Map::RequestHeaders,
            MapKind::RequestTrailers => Map::RequestTrailers,
            MapKind::ResponseHeaders => Map::ResponseHeaders,
            MapKind::ResponseTrailers => Map::ResponseTrailers,
        };
        hostcalls::headers(map).map(HeaderMap::from_pairs).unwrap_or_default()
    }

    fn body(&self, message: MapKind, size: usize) -> Vec<u8> {
        let buffer = match message {
            MapKind::RequestHeaders | MapKind::RequestTrailers => Buffer::RequestBody,
            MapKind::ResponseHeaders | MapKind::ResponseTrailers => Buffer::ResponseBody,
        };
        hostcalls::buffer(buffer, size).unwrap_or_default()
    }

    fn identity(&self) -> Option<Vec<u8>> {
        hostcalls::property(&[identity::PROPERTY]).ok()
    }

    fn shared_get(&self, key: &str) -> Option<(Vec<u8>, Version)> {
        hostcalls::shared_data(key).ok().map(|(value, cas)| (value, Version(cas)))
    }

    fn shared_set(&self, key: &str, value: &[u8], expected: Expected) -> Result<(), Conflict> {
        let cas = match expected {
            Expected::Absent => NEVER_A_VERSION,
            Expected::Version(Version(cas)) => cas,
            Expected::Anything => 0,
        };
        hostcalls::set_shared_data(key, value, cas).map_err(|_| Conflict)
    }

    fn verify_signature(&self, hash: Hash, public_key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
        foreign::verify_signature(hash, public_key, signature, text)
    }

    fn sign(&self, hash: Hash, private_key: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        foreign::sign(hash, private_key, text)
    }

    fn count(&self, metric: &'static str, by: u64) {
        if let Some(id) = self.counter(metric) {
            // A counter that Envoy no longer knows cannot be counted; the request matters more.
            let _ = hostcalls::increment(id, i64::try_from(by).unwrap_or(i64::MAX));
        }
    }

    fn metric(&self, kind: MetricKind, name: &str) -> Option<Metric> {
        let kind = match kind {
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Histogram => MetricType::Histogram,
        };
        hostcalls::define_metric(kind, name).ok().map(Metric)
    }

    fn add(&self, Metric(counter): Metric, by: u64) {
        // As in `count`.
        let _ = hostcalls::increment(counter, i64::try_from(by).unwrap_or(i64::MAX));
    }

    fn record(&self, Metric(histogram): Metric, value: u64) {
        // As in `count`.
        let _ = hostcalls::record(histogram, value);
    }

    fn annotate(&self, key: &str, text: &str) {
        // An access log without it is what there would be without this filter.
        let _ = hostcalls::set_property(key, text.as_bytes());
    }

    fn logs(&self, level: Level) -> bool {
        hostcalls::log_level().is_ok_and(|lowest| number(level) >= lowest)
    }

    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        match line.as_str() {
            Some(text) => hostcalls::log(number(level), text),
            None => hostcalls::log(number(level), &line.to_string()),
        }
    }
}

impl EnvoyHost {
    fn counter(&self, metric: &'static str) -> Option<u32> {
        let mut counters = self.counters.borrow_mut();
        // The same text at two addresses is defined twice, which gives the same id.
        if let Some((_, id)) = counters.iter().find(|(known, _)| std::ptr::eq(*known, metric)) {
            return Some(*id);
        }
        let id = hostcalls::define_metric(MetricType::Counter, metric).ok()?;
        counters.push((metric, id));
        Some(id)
    }
}

/// `proxy_log_level_t`.
fn number(level: Level) -> u32 {
    match level {
        Level::Debug => 1,
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    }
}
