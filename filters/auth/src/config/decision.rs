//! Asking a policy decision point, as it is configured.

use enforcer_core::units::{ByteSize, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{IntrospectionClient, defaults};

/// An Open Policy Agent that is asked whether a caller who has shown good credentials may do this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Opa {
    /// Name of the Envoy cluster that reaches the URL's host.
    pub cluster: String,
    /// Of the rule, in OPA's data API: `http://opa:8181/v1/data/gateway/allow`. Scheme and port are the cluster's
    /// business.
    pub url: String,
    /// Names of the APIs that it is asked about. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<String>,
    /// How the agent knows who asks: `Authorization: Bearer ...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// Show it the caller's token.
    #[serde(default, skip_serializing_if = "defaults::is_false")]
    pub send_token: bool,
    /// How long an answer may take.
    #[serde(default = "defaults::fetch_timeout", skip_serializing_if = "defaults::is_fetch_timeout")]
    pub timeout: Span,
    /// What an answer follows from: requests that are the same in these get the same answer. Empty: every request is
    /// asked about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_key: Vec<DecisionPart>,
    /// How long an answer holds.
    #[serde(default = "defaults::believed", skip_serializing_if = "defaults::is_believed")]
    pub max_age: Span,
    /// Memory for answers, on each worker.
    #[serde(default = "defaults::decision_cache", skip_serializing_if = "defaults::is_decision_cache")]
    pub cache: ByteSize,
}

/// A policy decision point that is asked in the JSON Profile of XACML 3.0 whether a caller who has shown good credentials may
/// do this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Xacml {
    /// Name of the Envoy cluster that reaches the URL's host.
    pub cluster: String,
    /// Where it takes requests: `https://pdp:9443/api/identity/entitlement/decision/pdp`. Scheme and port are the
    /// cluster's business.
    pub url: String,
    /// Names of the APIs that it is asked about. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<String>,
    /// As whom to ask. Absent: as nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IntrospectionClient>,
    /// What the request is called, and the answer asked for as. WSO2's products know `application/json` alone.
    #[serde(default = "defaults::xacml_type", skip_serializing_if = "defaults::is_xacml_type")]
    pub content_type: String,
    /// How long an answer may take.
    #[serde(default = "defaults::fetch_timeout", skip_serializing_if = "defaults::is_fetch_timeout")]
    pub timeout: Span,
    /// What an answer follows from: requests that are the same in these get the same answer. Empty: every request is
    /// asked about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_key: Vec<DecisionPart>,
    /// How long an answer holds.
    #[serde(default = "defaults::believed", skip_serializing_if = "defaults::is_believed")]
    pub max_age: Span,
    /// Memory for answers, on each worker.
    #[serde(default = "defaults::decision_cache", skip_serializing_if = "defaults::is_decision_cache")]
    pub cache: ByteSize,
}

/// A part of a request that an answer may follow from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecisionPart {
    Method,
    /// Without the query.
    Path,
    /// Name and version.
    Api,
    /// Id, or path template.
    Operation,
    Subject,
    Consumer,
    Application,
    Tier,
    Scopes,
    ClientIp,
    /// Name of a header.
    Header(String),
}
