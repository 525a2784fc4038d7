//! What holds for credentials that are genuine.
//!
//! Each has the filter's own fields, except that it names servers by their URLs alone: clusters follow from them.

use std::collections::BTreeMap;

use enforcer_auth::config::{
    Application, DecisionPart, Encoding, IntrospectionClient, RevokedToken, Unavailable,
};
use enforcer_core::units::{ByteSize, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// Who has subscribed to what. With it, a token is good for those APIs only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{applications: {inline: [...]}}`")]
pub struct Subscriptions {
    /// Issuers whose tokens need a subscription. Empty: all.
    #[serde(default)]
    pub issuers: Vec<String>,
    /// Who has subscribed, for tokens that have no `subscribedAPIs` to say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applications: Option<ApplicationList>,
    /// Signed API keys need a subscription there, too, whatever they say.
    #[serde(default)]
    pub api_keys: bool,
}

/// Which applications there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationList {
    /// These.
    Inline(Vec<Application>),
    /// Those in a document, `{"applications": [...]}`.
    Remote(Document),
}

/// A document that the filter fetches and keeps fresh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{url: ...}`")]
pub struct Document {
    /// `https://portal.example.com/applications`.
    pub url: String,
    /// How long one fetch may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Age at which it is fetched again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Span>,
    /// Age at which what could not be refreshed is no longer trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_stale: Option<Span>,
    /// How soon after a fetch what it does not have may cause another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Span>,
}

/// A token for the backend that says who calls: WSO2's `X-JWT-Assertion`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{keys: [{kid: ..., file: ...}]}`")]
pub struct BackendToken {
    /// Who signs it. The first key signs; the public halves of all are in the key set.
    pub keys: Vec<SigningKey>,
    /// The header that carries it. Absent: `x-jwt-assertion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Its `iss`. Absent: `wso2.org/products/am`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What precedes the names of WSO2's claims. Absent: `http://wso2.org/claims`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    /// How its parts are written. Absent: `base64url`; `base64` is Choreo Connect's other way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// How long it is good. Absent: an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// Further claims, the same in all.
    #[serde(default)]
    pub claims: BTreeMap<String, Value>,
    /// Claims of the caller's token that are not handed on.
    #[serde(default)]
    pub excluded_claims: Vec<String>,
    /// The path at which the filter answers with the key set, for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_path: Option<String>,
    /// Memory for tokens that are used again, on each worker. Absent: 4 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<ByteSize>,
}

/// A private key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{kid: k1, file: k1.pem}`")]
pub struct SigningKey {
    /// Its `kid`.
    pub kid: String,
    /// A file with the key, relative to this one: PKCS #8 in PEM, of P-256, or of RSA for Envoy 1.37 or later. It goes
    /// into the configuration.
    pub file: String,
    /// A file with a certificate of this key, in PEM: its thumbprint goes into the token as `x5t`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// An Open Policy Agent that is asked whether a caller who has shown good credentials may do this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{url: ...}`")]
pub struct Opa {
    /// Of the rule, in OPA's data API: `http://localhost:8181/v1/data/gateway/allow`.
    pub url: String,
    /// Names of the APIs that it is asked about. Empty: all.
    #[serde(default)]
    pub apis: Vec<String>,
    /// How the agent knows who asks: `Authorization: Bearer ...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// Show it the caller's token.
    #[serde(default)]
    pub send_token: bool,
    /// How long an answer may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What an answer follows from. Empty: every request is asked about.
    #[serde(default)]
    pub cache_key: Vec<DecisionPart>,
    /// How long an answer holds. Absent: a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// Memory for answers, on each worker. Absent: 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<ByteSize>,
}

/// A policy decision point that is asked in XACML. As for the filter, without the cluster, which follows from the URL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{url: https://pdp:9443/pdp}`")]
pub struct Xacml {
    /// Where it takes requests in the JSON Profile of XACML 3.0.
    pub url: String,
    /// Names of the APIs that it is asked about. Empty: all.
    #[serde(default)]
    pub apis: Vec<String>,
    /// As whom to ask. Absent: as nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IntrospectionClient>,
    /// What the request is called. Absent: `application/xacml+json`. WSO2's products know `application/json` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// How long an answer may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What an answer follows from. Empty: every request is asked about.
    #[serde(default)]
    pub cache_key: Vec<DecisionPart>,
    /// How long an answer holds. Absent: a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// Memory for answers, on each worker. Absent: 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<ByteSize>,
}
