//! Who counts for several Envoys.

use std::time::Duration;

use enforcer_core::units::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A rate limit service (`envoy.service.ratelimit.v3`), as Envoy's own `ratelimit` filter has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The Envoy cluster through which it is asked. It speaks HTTP/2.
    pub cluster: String,
    /// What the service calls this set of limits.
    #[serde(default = "domain", skip_serializing_if = "is_domain")]
    pub domain: String,
    /// How long an answer may take.
    #[serde(default = "timeout", skip_serializing_if = "is_timeout")]
    pub timeout: Span,
    /// What holds while there is no answer.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub on_failure: OnFailure,
    /// `false`: every request is asked about, in place of batches.
    #[serde(default = "super::yes", skip_serializing_if = "super::is_yes")]
    pub leases: bool,
    /// The tiers of APIs and operations are shared, too.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub apis: bool,
}

/// Beyond the timeout, before whoever has asked is thought to be gone: a tick, and what lies in Envoy's queues.
const SLACK: Duration = Duration::from_millis(50);

impl Service {
    /// How long a request waits, in all.
    pub fn patience(&self) -> Duration {
        self.timeout.duration().saturating_add(SLACK)
    }
}

/// What holds while the service does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Each Envoy counts by itself.
    #[default]
    Local,
    /// Requests pass.
    Open,
    /// Requests are refused with 503.
    Closed,
}

/// What the service calls our limits, unless told otherwise.
pub fn domain() -> String {
    "enforcer".to_owned()
}

fn is_domain(name: &str) -> bool {
    name == domain()
}

/// How long an answer of the service may take, unless told otherwise.
pub fn timeout() -> Span {
    Span::from_millis(100)
}

fn is_timeout(span: &Span) -> bool {
    *span == timeout()
}
