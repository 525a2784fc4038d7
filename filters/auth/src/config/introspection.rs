//! Asking about tokens, as it is configured.

use enforcer_core::units::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;

/// An authorization server that is asked about tokens (RFC 7662).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Introspection {
    /// Name of the Envoy cluster that reaches the URL's host.
    pub cluster: String,
    /// `https://idp.example.com/introspect`. Scheme and port are the cluster's business.
    pub url: String,
    /// As whom to ask.
    pub client: IntrospectionClient,
    /// How long an answer may take.
    #[serde(default = "defaults::fetch_timeout", skip_serializing_if = "defaults::is_fetch_timeout")]
    pub timeout: Span,
    /// How long a token is good without being asked about again, if it does not end before. So long may a token be
    /// used that was revoked.
    #[serde(default = "defaults::believed", skip_serializing_if = "defaults::is_believed")]
    pub max_age: Span,
    /// How long a bad token is refused without being asked about again.
    #[serde(default = "defaults::refused_for", skip_serializing_if = "defaults::is_refused_for")]
    pub refused_for: Span,
}

/// How the authorization server knows who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum IntrospectionClient {
    /// By a client's id and secret (RFC 6749 section 2.3.1).
    Basic { id: String, secret: String },
    /// By a token of its own.
    Bearer(String),
}
