//! Counters, gauges and histograms of a whole process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::abi::Status;

/// Metrics by name, common to all workers. Clones are the same store.
///
/// Names are what modules define; Envoy shows them with the prefix `wasmcustom.`.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    all: Arc<Mutex<BTreeMap<(Kind, String), Value>>>,
    /// Only how many and how much, so that a process can go on for ever.
    summed: bool,
}

/// What there is to say of a metric at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    Counter(u64),
    Gauge(u64),
    /// How many values were recorded, and their sum.
    Histogram {
        count: u64,
        sum: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug, Clone, Default)]
struct Value {
    now: u64,
    count: u64,
    sum: u64,
    recorded: Vec<u64>,
}

impl Metrics {
    /// Histograms that do not keep what was recorded in them, for a process that does not end.
    pub fn summed() -> Self {
        Self { summed: true, ..Self::default() }
    }

    /// Everything that modules have defined, by name.
    pub fn readings(&self) -> Vec<(String, Reading)> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = |((kind, name), value): (&(Kind, String), &Value)| {
            let reading = match kind {
                Kind::Counter => Reading::Counter(value.now),
                Kind::Gauge => Reading::Gauge(value.now),
                Kind::Histogram => Reading::Histogram { count: value.count, sum: value.sum },
            };
            (name.clone(), reading)
        };
        all.iter().map(reading).collect()
    }

    /// A counter's value; 0 if nobody defined it.
    pub fn counter(&self, name: &str) -> u64 {
        self.read(Kind::Counter, name).now
    }

    /// A gauge's value; 0 if nobody defined it.
    pub fn gauge(&self, name: &str) -> u64 {
        self.read(Kind::Gauge, name).now
    }

    /// What was recorded in a histogram, in order.
    pub fn histogram(&self, name: &str) -> Vec<u64> {
        self.read(Kind::Histogram, name).recorded
    }

    /// All counters that modules have defined, by name.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|((k, _), _)| *k == Kind::Counter).map(|((_, n), v)| (n.clone(), v.now)).collect()
    }

    fn read(&self, kind: Kind, name: &str) -> Value {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&(kind, name.to_owned())).cloned().unwrap_or_default()
    }

    fn write(&self, (kind, name): &(Kind, String), f: impl FnOnce(&mut Value)) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        f(all.entry((*kind, name.clone())).or_default());
    }
}

/// One VM's table of metric ids. Defining a name twice gives two ids for one metric, as in Envoy.
#[derive(Debug, Default)]
pub(crate) struct MetricIds {
    names: BTreeMap<u32, (Kind, String)>,
    defined: [u32; 3],
}

/// Ids carry the kind in their low bits (`WasmBase::kMetricTypeMask`).
const KIND_MASK: u32 = 3;
const ID_STEP: u32 = 4;

impl MetricIds {
    pub(crate) fn define(&mut self, metrics: &Metrics, kind: u32, name: String) -> Result<u32, Status> {
        let (slot, kind) = match kind {
            0 => (0, Kind::Counter),
            1 => (1, Kind::Gauge),
            2 => (2, Kind::Histogram),
            _ => return Err(Status::BadArgument),
        };
        let count = self.defined.get_mut(slot).ok_or(Status::BadArgument)?;
        *count = count.saturating_add(1);
        let id = count.saturating_mul(ID_STEP) | u32::try_from(slot).unwrap_or_default();
        let metric = (kind, name);
        metrics.write(&metric, |_| {});
        self.names.insert(id, metric);
        Ok(id)
    }

    pub(crate) fn increment(&self, metrics: &Metrics, id: u32, by: i64) -> Result<(), Status> {
        if id & KIND_MASK > 1 {
            return Err(Status::BadArgument);
        }
        let metric = self.names.get(&id).ok_or(Status::NotFound)?;
        if metric.0 == Kind::Counter && by <= 0 {
            return Err(Status::BadArgument);
        }
        metrics.write(metric, |value| value.now = value.now.wrapping_add_signed(by));
        Ok(())
    }

    pub(crate) fn record(&self, metrics: &Metrics, id: u32, n: u64) -> Result<(), Status> {
        let metric = self.names.get(&id).ok_or(Status::NotFound)?;
        metrics.write(metric, |value| match metric.0 {
            Kind::Counter => value.now = value.now.wrapping_add(n),
            Kind::Gauge => value.now = n,
            Kind::Histogram => {
                value.count = value.count.wrapping_add(1);
                value.sum = value.sum.wrapping_add(n);
                if !metrics.summed {
                    value.recorded.push(n);
                }
            }
        });
        Ok(())
    }

    pub(crate) fn get(&self, metrics: &Metrics, id: u32) -> Result<u64, Status> {
        if id & KIND_MASK > 1 {
            return Err(Status::BadArgument);
        }
        let (kind, name) = self.names.get(&id).ok_or(Status::NotFound)?;
        Ok(metrics.read(*kind, name).now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_only_grow_and_are_common_to_all_vms() {
        let metrics = Metrics::default();
        let (mut one, mut two) = (MetricIds::default(), MetricIds::default());
        let a = one.define(&metrics, 0, "hits".into()).unwrap();
        let b = two.define(&metrics, 0, "hits".into()).unwrap();
        one.increment(&metrics, a, 2).unwrap();
        two.record(&metrics, b, 3).unwrap();
        assert_eq!(one.get(&metrics, a), Ok(5));
        assert_eq!(one.increment(&metrics, a, 0), Err(Status::BadArgument));
        assert_eq!(one.increment(&metrics, a, -1), Err(Status::BadArgument));
    }

    #[test]
    fn gauges_go_both_ways() {
        let (metrics, mut ids) = (Metrics::default(), MetricIds::default());
        let id = ids.define(&metrics, 1, "open".into()).unwrap();
        ids.record(&metrics, id, 5).unwrap();
        ids.increment(&metrics, id, -2).unwrap();
        assert_eq!(metrics.gauge("open"), 3);
    }

    #[test]
    fn histograms_are_only_recorded() {
        let (metrics, mut ids) = (Metrics::default(), MetricIds::default());
        let id = ids.define(&metrics, 2, "size".into()).unwrap();
        ids.record(&metrics, id, 5).unwrap();
        assert_eq!(ids.increment(&metrics, id, 1), Err(Status::BadArgument));
        assert_eq!(ids.get(&metrics, id), Err(Status::BadArgument));
        assert_eq!(metrics.histogram("size"), [5]);
        assert_eq!(metrics.readings(), [("size".to_owned(), Reading::Histogram { count: 1, sum: 5 })]);
    }

    #[test]
    fn summed_histograms_keep_no_values() {
        let (metrics, mut ids) = (Metrics::summed(), MetricIds::default());
        let id = ids.define(&metrics, 2, "size".into()).unwrap();
        ids.record(&metrics, id, 5).unwrap();
        ids.record(&metrics, id, 6).unwrap();
        assert!(metrics.histogram("size").is_empty());
        assert_eq!(metrics.readings(), [("size".to_owned(), Reading::Histogram { count: 2, sum: 11 })]);
    }

    #[test]
    fn unknown_kinds_and_ids_are_refused() {
        let (metrics, mut ids) = (Metrics::default(), MetricIds::default());
        assert_eq!(ids.define(&metrics, 3, "x".into()), Err(Status::BadArgument));
        assert_eq!(ids.increment(&metrics, 4, 1), Err(Status::NotFound));
        assert_eq!(ids.record(&metrics, 6, 1), Err(Status::NotFound));
    }
}
