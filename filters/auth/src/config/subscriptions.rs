//! Subscriptions of applications to APIs, as they are configured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RemoteDocument, defaults};

/// Who has subscribed to what. With it, a token is good for those APIs only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscriptions {
    /// Issuers whose tokens need a subscription. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<String>,
    /// Who has subscribed, for tokens that have no `subscribedAPIs` to say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applications: Option<ApplicationList>,
    /// Signed API keys need a subscription there, too, whatever they say: they say what their application had subscribed to
    /// when they were made.
    #[serde(default, skip_serializing_if = "defaults::is_false")]
    pub api_keys: bool,
}

/// Which applications there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationList {
    /// These.
    Inline(Vec<Application>),
    /// Those in a document of at most 1 MiB, `{"applications": [...]}`, fetched through an Envoy cluster.
    Remote(RemoteDocument),
}

/// An application, its keys, and what it has subscribed to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Application {
    pub name: String,
    /// What its tokens name as their consumer.
    pub keys: Vec<ConsumerKey>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<Subscription>,
}

/// A consumer key of an application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerKey {
    pub consumer: String,
    /// It is for trying things out.
    #[serde(default, skip_serializing_if = "defaults::is_false")]
    pub sandbox: bool,
}

/// A subscription to one version of an API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// The API's name.
    pub api: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The tier of its limits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tier: String,
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub state: SubscriptionState,
}

/// The states of WSO2 API Manager's subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SubscriptionState {
    #[default]
    Unblocked,
    Blocked,
    /// Only sandbox keys may be used.
    ProdOnlyBlocked,
    /// Not approved yet.
    OnHold,
    Rejected,
    /// Another tier is not approved yet; this one counts.
    TierUpdatePending,
}

/// Where an API is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LifeCycle {
    #[default]
    Published,
    /// Open to everybody, whatever its operations ask for.
    Prototyped,
    /// Every request is answered 503.
    Blocked,
}
