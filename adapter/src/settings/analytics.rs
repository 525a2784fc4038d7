//! `analytics`: what is told of calls, and to whom.

use std::collections::BTreeMap;

use enforcer_analytics::config::{AccessLogSink, Fields, LogSink, Metrics, Sampling, UnusualUse};
use enforcer_core::units::{ByteSize, Span};
use schemars::JsonSchema;
use serde::Deserialize;

/// What is told of calls, and to whom.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{metrics: {}}`")]
pub struct Analytics {
    /// Where an event of each call goes: to all of these.
    #[serde(default)]
    pub sinks: Vec<Sink>,
    /// Counters and histograms on Envoy's `/stats/prometheus`, with labels.
    #[serde(default)]
    pub metrics: Option<Metrics>,
    /// Which calls make an event. Absent: all.
    #[serde(default)]
    pub sampling: Sampling,
    /// Marks calls by which a consumer's use of an API becomes unusual.
    #[serde(default)]
    pub unusual_use: Option<UnusualUse>,
    /// What events say.
    #[serde(default)]
    pub fields: Fields,
    /// `regionId` of every event.
    #[serde(default)]
    pub region: Option<String>,
}

/// Where events go.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sink {
    /// An OpenTelemetry collector, by OTLP/HTTP in JSON.
    Otlp(Collector),
    /// A service that takes a JSON array of events.
    Json(Collector),
    /// A service that takes one JSON object a line.
    Ndjson(Collector),
    /// Envoy's log: a line for each event, as Choreo Connect's ELK publisher writes it.
    Log(LogSink),
    /// The last field of the access log.
    AccessLog(AccessLogSink),
}

/// A service that takes events over HTTP.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{url: http://collector:4318}`")]
pub struct Collector {
    /// Its address. Without a path: `/v1/logs` for OTLP, else `/`.
    pub url: String,
    /// Further headers: keys of the service.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How long one call may take. Absent: 10 s.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// How many events a batch has. Absent: 100.
    #[serde(default)]
    pub batch: Option<usize>,
    /// How long an event waits for others. Absent: 1 s.
    #[serde(default)]
    pub interval: Option<Span>,
    /// Memory for events that wait, on each worker. Absent: 8 MiB.
    #[serde(default)]
    pub queue: Option<ByteSize>,
}
