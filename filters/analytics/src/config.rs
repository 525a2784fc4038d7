//! What the user configures.

use std::collections::BTreeMap;

use enforcer_core::units::{ByteSize, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod defaults;

/// Configuration of the analytics filter. With no sink and no metrics it does nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnalyticsConfig {
    /// What is called. Where another filter has said which API a request means, only what events say of that API is
    /// taken from here; alone in a chain, this filter finds the API itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<Api>,
    /// Where events go: each to all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<Sink>,
    /// Counters and histograms in Envoy's own statistics. Absent: none but those of the filter itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// Which calls make an event. Metrics count all of them.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub sampling: Sampling,
    /// Marks calls by which a consumer's use of an API becomes unusual. Absent: nobody is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusual_use: Option<UnusualUse>,
    /// What events say.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub fields: Fields,
    /// `regionId` of every event.
    #[serde(default = "defaults::unknown", skip_serializing_if = "defaults::is_unknown")]
    pub region: String,
}

/// An API, as events show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Host names: exact, `*.example.com`, or `*`. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Path prefix of every operation, on segment borders: `apiContext`.
    #[serde(default = "defaults::root", skip_serializing_if = "defaults::is_root")]
    pub base_path: String,
    /// Empty: everything below the base path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
    /// `apiId`. Absent: name and version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// `apiType`.
    #[serde(default = "defaults::http", skip_serializing_if = "defaults::is_http")]
    pub kind: String,
    /// `apiCreator`.
    #[serde(default = "defaults::unknown", skip_serializing_if = "defaults::is_unknown")]
    pub creator: String,
    /// `apiCreatorTenantDomain`.
    #[serde(default = "defaults::tenant", skip_serializing_if = "defaults::is_tenant")]
    pub tenant: String,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            name: String::new(),
            version: String::new(),
            hosts: Vec::new(),
            base_path: defaults::root(),
            operations: Vec::new(),
            id: String::new(),
            kind: defaults::http(),
            creator: defaults::unknown(),
            tenant: defaults::tenant(),
        }
    }
}

/// One operation of an API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Shown in metrics. Absent: the path template.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Template below the base path: `/pets/{petId}`.
    pub path: String,
    /// `GET`, `POST`, ... Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
}

/// Where events go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sink {
    /// An OpenTelemetry collector: log records by OTLP/HTTP, in JSON.
    Otlp(HttpSink),
    /// Any service that takes a JSON array of events by POST.
    Json(HttpSink),
    /// The same, one event a line (`application/x-ndjson`).
    Ndjson(HttpSink),
    /// A line in Envoy's log for each event, as Choreo Connect's ELK publisher writes it:
    /// `apimMetrics: apim:response, properties :{...}`.
    Log(LogSink),
    /// Envoy's access log, without a call of any kind: `%FILTER_STATE(wasm.enforcer_event:PLAIN)%`.
    AccessLog(AccessLogSink),
}

impl Sink {
    /// The service, if it is one.
    pub fn http_mut(&mut self) -> Option<&mut HttpSink> {
        match self {
            Self::Otlp(sink) | Self::Json(sink) | Self::Ndjson(sink) => Some(sink),
            Self::Log(_) | Self::AccessLog(_) => None,
        }
    }
}

/// A service that takes events over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSink {
    /// Name of the Envoy cluster that reaches it.
    pub cluster: String,
    /// `:authority` of the calls. Absent: the cluster's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub authority: String,
    /// Absent: `/v1/logs` for OTLP, else `/`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Further headers: keys of the service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How long one call may take.
    #[serde(default = "defaults::timeout", skip_serializing_if = "defaults::is_timeout")]
    pub timeout: Span,
    /// A batch goes when it has so many events,
    #[serde(default = "defaults::batch", skip_serializing_if = "defaults::is_batch")]
    pub batch: usize,
    /// or when its oldest is so old.
    #[serde(default = "defaults::interval", skip_serializing_if = "defaults::is_interval")]
    pub interval: Span,
    /// Memory for events that wait, on each worker. Beyond it the oldest are dropped, and counted.
    #[serde(default = "defaults::queue", skip_serializing_if = "defaults::is_queue")]
    pub queue: ByteSize,
}

/// Nothing to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogSink {}

/// Nothing to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLogSink {}

/// Metrics on `/stats/prometheus`: `enforcer_requests_total`, `enforcer_duration_ms`, `enforcer_backend_duration_ms`.
/// Labels need `stats_config.stats_tags` in Envoy's bootstrap, which `enforcer build` writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// What the label `consumer` says of a caller who is known. Absent: `known`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<ConsumerClass>,
    /// How many combinations of labels each worker makes of `enforcer_requests_total`; Envoy never forgets one. Further
    /// ones are counted under `other`.
    #[serde(default = "defaults::max_series", skip_serializing_if = "defaults::is_max_series")]
    pub max_series: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { consumer: None, max_series: defaults::max_series() }
    }
}

/// A class of consumers, by a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerClass {
    /// A claim that the issuer is configured to hand on.
    pub claim: String,
    /// Its values; any other is `other`.
    pub values: Vec<String>,
}

/// Compares how each consumer uses each API with what is usual: the number of calls, the part that fails, the networks
/// that they come from, and their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnusualUse {
    /// What is compared: a window with the 48 before it. Nothing is unusual before 12 of them are known.
    #[serde(default = "defaults::window", skip_serializing_if = "defaults::is_window")]
    pub window: Span,
    /// How many consumers are watched, counted once for each API that they use, on each worker: a kilobyte each.
    #[serde(default = "defaults::max_consumers", skip_serializing_if = "defaults::is_max_consumers")]
    pub max_consumers: usize,
}

impl Default for UnusualUse {
    fn default() -> Self {
        Self { window: defaults::window(), max_consumers: defaults::max_consumers() }
    }
}

/// Which calls make an event. The same call is chosen everywhere: the trace id decides, else the request id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// The part of calls that make an event: 0 to 1.
    #[serde(default = "defaults::all", skip_serializing_if = "defaults::is_all")]
    pub rate: f64,
    /// The same for calls that ended in a fault. Absent: all of them.
    #[serde(default = "defaults::all", skip_serializing_if = "defaults::is_all")]
    pub faults: f64,
    /// The same for calls of one API that ended well, in place of `rate`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<ApiRate>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { rate: defaults::all(), faults: defaults::all(), apis: Vec::new() }
    }
}

/// A rate for one API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiRate {
    pub api: String,
    /// Absent: every version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub rate: f64,
}

/// What events say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fields {
    /// Further members of `properties`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Added>,
    /// Names of fields that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
    /// Names of fields of which only a keyed hash is shown: the first 16 hexadecimal digits of HMAC-SHA-256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hash: Vec<String>,
    /// The key of the hashes, at least 16 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash_key: String,
    /// How `userIp` is shown.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub client_ip: ClientIp,
    /// A request header with the client's country, which something before Envoy sets: `cf-ipcountry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country_header: Option<String>,
}

/// A field that the configuration adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Added {
    pub name: String,
    pub from: From,
}

/// Where an added field comes from. At most 256 bytes of it are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// A request header.
    Header(String),
    /// A response header.
    ResponseHeader(String),
    /// A claim that the issuer is configured to hand on.
    Claim(String),
}

/// How much of the client's address is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientIp {
    /// The first 24 bits of an IPv4 address, the first 48 of an IPv6 one.
    #[default]
    Network,
    /// All of it.
    Full,
}
