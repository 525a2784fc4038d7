//! Counters and histograms in Envoy's own statistics.
//!
//! Envoy's metrics have no labels of their own: they are taken out of the name by the regular expressions of
//! [`TAGS`], which `enforcer build` writes into `stats_config` of the bootstrap. So
//!
//! `enforcer_requests.api=pets.version=1.0.operation=list.method=GET.status=2xx.consumer=known.fault=none.total`
//!
//! becomes `enforcer_requests_total{api="pets",version="1.0",...}` on `/stats/prometheus`. Envoy never forgets a
//! metric, so there is an end to them: names come from the configuration, everything else from fixed lists.

use std::collections::HashMap;

use enforcer_core::{
    config::ConfigError,
    host::{Host, Metric, MetricKind},
    identity::{Called, Caller},
};

use crate::{
    config::{ConsumerClass, Metrics as Config},
    fault::Fault,
};

/// Each label, and the expression that finds it in a metric's name: the first group is cut out, the second is the value.
pub const TAGS: [(&str, &str); 7] = [
    ("api", r"^wasmcustom\.enforcer_\w+?(\.api=(.*?))\.version="),
    ("version", r"^wasmcustom\.enforcer_\w+?\.api=.*?(\.version=(.*?))\.operation="),
    ("operation", r"^wasmcustom\.enforcer_\w+?\.api=.*?(\.operation=(.*?))\.method="),
    ("method", r"^wasmcustom\.enforcer_\w+?\.api=.*?(\.method=(\w+))\."),
    ("status", r"^wasmcustom\.enforcer_\w+?\.api=.*?(\.status=(\w+))\.consumer="),
    ("consumer", r"^wasmcustom\.enforcer_\w+?\.api=.*?(\.consumer=(.*?))\.fault="),
    ("fault", r"^wasmcustom\.enforcer_\w+?\.api=.*?(\.fault=(\w+))\.total$"),
];

/// What a label says that does not apply, and what it says beyond its bounds.
const NONE: &str = "none";
const OTHER: &str = "other";
/// Of a call that is beyond them.
const BEYOND: &str = ".api=other.version=other.operation=other.method=other";

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];

/// All metrics of one worker.
#[derive(Debug)]
pub struct Metrics {
    consumer: Option<ConsumerClass>,
    max_series: usize,
    /// By the name without what it counts; what Envoy has no place for stays `None`.
    requests: HashMap<String, Option<Metric>>,
    durations: HashMap<String, [Option<Metric>; 2]>,
    name: String,
}

/// What is counted of one call.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub called: &'a Called,
    pub caller: &'a Caller,
    pub method: &'a [u8],
    pub status: u16,
    pub fault: Option<&'a Fault>,
    /// In microseconds.
    pub total: u64,
    /// In microseconds; `None`: the backend was not reached.
    pub backend: Option<u64>,
}

impl Metrics {
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let Config { consumer, max_series } = config;
        if max_series == 0 {
            return Err(ConfigError::at("metrics.max_series", "give at least 1, or leave `metrics` out"));
        }
        if consumer.as_ref().is_some_and(|class| class.values.is_empty()) {
            return Err(ConfigError::at("metrics.consumer.values", "name the values to tell apart"));
        }
        let (requests, durations) = (HashMap::new(), HashMap::new());
        Ok(Self { consumer, max_series, requests, durations, name: String::new() })
    }

    pub fn count(&mut self, call: &Call<'_>, host: &dyn Host) {
        self.name.clear();
        let method = std::str::from_utf8(call.method).unwrap_or_default();
        let method = METHODS.iter().find(|known| **known == method).unwrap_or(&OTHER);
        name_call(call.called, method, &mut self.name);
        self.time(call, host);
        let (status, fault) = (class(call.status), call.fault.map_or(NONE, |fault| fault.kind.name()));
        name_ending(status, consumer_label(self.consumer.as_ref(), call.caller), fault, &mut self.name);
        if self.requests.len() >= self.max_series && !self.requests.contains_key(&self.name) {
            self.name.clear();
            self.name.push_str(BEYOND);
            name_ending(status, OTHER, OTHER, &mut self.name);
        }
        let metric = match self.requests.get(&self.name) {
            Some(metric) => *metric,
            None => {
                let metric =
                    host.metric(MetricKind::Counter, &format!("enforcer_requests{}.total", self.name));
                self.requests.insert(self.name.clone(), metric);
                metric
            }
        };
        if let Some(metric) = metric {
            host.add(metric, 1);
        }
    }

    /// Durations in milliseconds, by what is called. There are fewer of them than of requests, and so as bounded.
    fn time(&mut self, call: &Call<'_>, host: &dyn Host) {
        let [total, backend] = match self.durations.get(&self.name) {
            Some(metrics) => *metrics,
            None if self.durations.len() >= self.max_series => return,
            None => {
                let define = |what: &str| {
                    host.metric(MetricKind::Histogram, &format!("enforcer_{what}{}.ms", self.name))
                };
                let metrics = [define("duration"), define("backend_duration")];
                self.durations.insert(self.name.clone(), metrics);
                metrics
            }
        };
        let record = |metric: Option<Metric>, micros: u64| {
            if let Some(metric) = metric {
                host.record(metric, micros.div_euclid(1000));
            }
        };
        record(total, call.total);
        if let Some(micros) = call.backend {
            record(backend, micros);
        }
    }
}

/// What the label `consumer` says.
fn consumer_label<'a>(class: Option<&'a ConsumerClass>, caller: &Caller) -> &'a str {
    // Whoever was let in by a credential has an issuer at least.
    if [&caller.issuer, &caller.consumer, &caller.subject].into_iter().all(String::is_empty) {
        return "anonymous";
    }
    let Some(ConsumerClass { claim, values }) = class else { return "known" };
    let value = caller.claims.get(claim);
    values.iter().find(|known| Some(*known) == value).map_or(OTHER, String::as_str)
}

/// `.status=2xx.consumer=known.fault=none`.
fn name_ending(status: &str, consumer: &str, fault: &str, name: &mut String) {
    name.extend([".status=", status, ".consumer="]);
    push_label(consumer, name);
    name.extend([".fault=", fault]);
}

/// `.api=pets.version=1.0.operation=list.method=GET`.
fn name_call(called: &Called, method: &str, name: &mut String) {
    for (label, value) in
        [(".api=", &called.api), (".version=", &called.version), (".operation=", &called.operation)]
    {
        name.push_str(label);
        push_label(value, name);
    }
    name.extend([".method=", method]);
}

/// A value as a part of a metric's name: what separates labels, and what Prometheus would escape, becomes `_`.
fn push_label(value: &str, name: &mut String) {
    if value.is_empty() {
        return name.push_str(NONE);
    }
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '=' | '"' | '\\' | ':' | '|');
    if value.bytes().all(|byte| plain(char::from(byte))) {
        return name.push_str(value);
    }
    name.extend(value.chars().map(|c| if plain(c) { c } else { '_' }));
}

/// `2xx`; `0xx`: the client got no answer.
fn class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "0xx",
    }
}

#[cfg(test)]
mod tests {
    use enforcer_core::native::NativeHost;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn call<'a>(called: &'a Called, caller: &'a Caller) -> Call<'a> {
        let (total, backend) = (12_345, Some(9_999));
        Call { called, caller, method: b"GET", status: 200, fault: None, total, backend }
    }

    fn called(api: &str) -> Called {
        let (api, operation) = (api.to_owned(), "GET /a.b={x}".to_owned());
        Called { api, operation, version: "1.0".into(), ..Called::default() }
    }

    fn metrics(config: Config) -> Metrics {
        Metrics::new(config).unwrap()
    }

    #[test]
    fn a_call_is_counted_and_timed_under_its_labels() {
        let host = NativeHost::new();
        let (called, caller) = (called("pets"), Caller { subject: "me".into(), ..Caller::default() });
        let mut metrics = metrics(Config::default());
        metrics.count(&call(&called, &caller), &host);
        metrics.count(&Call { backend: None, ..call(&called, &caller) }, &host);
        let labels = ".api=pets.version=1.0.operation=GET_/a.b_{x}.method=GET";
        let requests = format!("enforcer_requests{labels}.status=2xx.consumer=known.fault=none.total");
        assert_eq!(host.counters(), [(requests, 2)].into());
        assert_eq!(host.histogram(&format!("enforcer_duration{labels}.ms")), [12, 12]);
        assert_eq!(host.histogram(&format!("enforcer_backend_duration{labels}.ms")), [9]);
    }

    #[test]
    fn consumers_are_told_apart_as_configured() {
        let host = NativeHost::new();
        let class = ConsumerClass { claim: "tier".into(), values: vec!["gold".into()] };
        let mut metrics = metrics(Config { consumer: Some(class), ..Config::default() });
        for tier in ["gold", "lead", "tin"] {
            let claims = [("tier".to_owned(), tier.to_owned())].into();
            let caller = Caller { consumer: "app".into(), claims, ..Caller::default() };
            metrics.count(&call(&called("a"), &caller), &host);
        }
        metrics.count(&call(&called("a"), &Caller::default()), &host);
        let count = |consumer: &str| {
            let has = |name: &&String| name.contains(&format!(".consumer={consumer}."));
            host.counters().keys().find(has).map_or(0, |name| host.counter(name))
        };
        assert_eq!([count("gold"), count("other"), count("anonymous"), count("lead")], [1, 2, 1, 0]);
    }

    #[test]
    fn there_is_an_end_to_metrics() {
        let host = NativeHost::new();
        let mut metrics = metrics(Config { max_series: 10, ..Config::default() });
        for number in 0..1000 {
            metrics.count(&call(&called(&format!("api{number}")), &Caller::default()), &host);
        }
        let counters = host.counters();
        assert_eq!(counters.len(), 11);
        let other = counters.iter().find(|(name, _)| name.contains(".api=other.")).unwrap();
        assert_eq!(*other.1, 990);
        // A method that a client has made up is no label either.
        metrics.count(&Call { method: b"\xffMADE-UP", ..call(&called("api1"), &Caller::default()) }, &host);
        assert_eq!(host.counters().len(), 11);
    }

    #[test]
    fn mistakes_are_named() {
        let class = ConsumerClass { claim: "tier".into(), values: Vec::new() };
        for (config, path) in [
            (Config { max_series: 0, ..Config::default() }, "metrics.max_series"),
            (Config { consumer: Some(class), ..Config::default() }, "metrics.consumer.values"),
        ] {
            assert_eq!(Metrics::new(config).unwrap_err().path, path);
        }
    }
}
