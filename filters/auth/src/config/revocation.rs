//! Revoked tokens, as they are configured.

use enforcer_core::units::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;

/// Tokens and signed API keys that are refused although nothing else is wrong with them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// These.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<RevokedToken>,
    /// Those of a list that is fetched, beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<RevocationList>,
}

/// A revoked token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevokedToken {
    /// Its `jti` (RFC 7519 section 4.1.7).
    Jti(String),
    /// SHA-256, in hexadecimal, of what is signed: header, dot and payload as they were issued. Of a token that is
    /// no JWT, of the whole of it. `printf %s "${TOKEN%.*}" | sha256sum`.
    Signed(String),
}

/// A list of revoked tokens, fetched through an Envoy cluster and kept fresh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevocationList {
    /// Name of the Envoy cluster that reaches the URL's host.
    pub cluster: String,
    /// `https://idp.example.com/revoked`. Scheme and port are the cluster's business.
    pub url: String,
    /// How long an answer may take, beyond `wait`.
    #[serde(default = "defaults::fetch_timeout", skip_serializing_if = "defaults::is_fetch_timeout")]
    pub timeout: Span,
    /// How often to ask for what is new.
    #[serde(default = "defaults::poll", skip_serializing_if = "defaults::is_poll")]
    pub poll: Span,
    /// How long the server may hold an answer back until there is something new (`Prefer: wait`, RFC 7240 section
    /// 4.3); it is then asked again at once, instead of once per `poll`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
    /// Age at which what could not be refreshed is no longer trusted.
    #[serde(default = "defaults::max_stale", skip_serializing_if = "defaults::is_max_stale")]
    pub max_stale: Span,
    /// What becomes of tokens while there is no list to be trusted: after a start, and after `max_stale`.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub unavailable: Unavailable,
}

/// What is done without what would decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unavailable {
    /// Requests wait for it as long as a fetch may take, and are then answered 503.
    #[default]
    Refuse,
    /// Requests go on, and are counted.
    Allow,
}
