//! What holds for credentials that are genuine.
//!
//! Each has the filter's own fields, except that it names servers by their URLs alone: clusters follow from them.

use enforcer_auth::config::{RevokedToken, Unavailable};
use enforcer_core::units::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tokens and signed API keys that are refused although nothing else is wrong with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{list: {url: ...}}`")]
pub struct Revocation {
    /// These.
    #[serde(default)]
    pub tokens: Vec<RevokedToken>,
    /// Those of a list that is fetched, beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<RevocationList>,
}

/// A list of revoked tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{url: ...}`")]
pub struct RevocationList {
    /// `https://idp.example.com/revoked`.
    pub url: String,
    /// How long an answer may take, beyond `wait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How often to ask for what is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<Span>,
    /// How long the server may hold an answer back until there is something new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// Age at which what could not be refreshed is no longer trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_stale: Option<Span>,
    /// What becomes of tokens while there is no list to be trusted. Absent: `refuse`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<Unavailable>,
}
