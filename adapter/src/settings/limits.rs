//! `limits`: who may call how often, beside the tiers that definitions name.

use enforcer_core::units::Span;
use enforcer_ratelimit::config::{Algorithm, Blocked, Headers, OnFailure, Policy};
use schemars::JsonSchema;
use serde::Deserialize;

/// Who may call how often, beside the tiers that definitions name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{policies: [...]}`")]
pub struct Limits {
    /// How requests are counted.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How many counters are kept. Absent: 100,000.
    #[serde(default)]
    pub max_keys: Option<u32>,
    /// How many bits of an IPv6 address count as one client. Absent: 64.
    #[serde(default)]
    pub ipv6_prefix: Option<u8>,
    /// What answers say about limits.
    #[serde(default)]
    pub headers: Headers,
    /// Who shares which allowance.
    #[serde(default)]
    pub policies: Vec<Policy>,
    /// Who may not call at all.
    #[serde(default)]
    pub blocked: Vec<Blocked>,
    /// Envoy's own `local_ratelimit` counts, and asks `service` by its `ratelimit`, by what the auth filter knows of callers.
    /// What these have not is an error.
    #[serde(default)]
    pub native: bool,
    /// Count by policy and level on Envoy's `/stats/prometheus`.
    #[serde(default)]
    pub metrics: bool,
    /// Files with further tiers: `policies.yaml` of WSO2's microgateway, or policies that API Manager exported. Those of
    /// `tiers` go before them.
    #[serde(default)]
    pub imports: Vec<String>,
    /// Who counts for several Envoys together: the policies with `shared: true`.
    #[serde(default)]
    pub service: Option<LimitService>,
}

/// A rate limit service (`envoy.service.ratelimit.v3`): envoyproxy/ratelimit, Limitador.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{url: http://ratelimit:8081}`")]
pub struct LimitService {
    /// Where it takes gRPC.
    pub url: String,
    /// What it calls this set of limits. Absent: `enforcer`.
    #[serde(default)]
    pub domain: Option<String>,
    /// How long an answer may take. Absent: 100 ms.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// What holds while there is no answer.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Whether hits are taken in batches. Absent: yes, but by Envoy's own filter; `false`: every request is asked about.
    #[serde(default)]
    pub leases: Option<bool>,
    /// The tiers of APIs and operations are shared, too.
    #[serde(default)]
    pub apis: bool,
}
