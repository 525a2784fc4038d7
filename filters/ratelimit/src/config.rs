//! What the user configures.

use std::collections::BTreeMap;

use enforcer_core::{fault::Dialect, mode::Mode, units::ByteSize};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod cost;
mod service;

pub use self::{
    cost::{Cost, CostSource},
    service::{OnFailure, Service, domain, timeout},
};
pub use crate::{period::Period, rate::Algorithm};

/// Configuration of the rate limit filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// Allowances by name. They come on top of WSO2's own, and replace those of the same name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tiers: BTreeMap<String, Tier>,
    /// What is called, and its tiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<Api>,
    /// Who has which allowance beside the tiers of APIs. Asked in the order of their levels, then in this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Policy>,
    /// Who may not call at all. Looked at first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Blocked>,
    /// Who counts for several Envoys together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// How requests are counted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub algorithm: Algorithm,
    /// How many counters are kept; a tier has one for each key and limit. When there are more, those
    /// that are nearest to their full allowance are forgotten.
    #[serde(default = "max_keys", skip_serializing_if = "is_max_keys")]
    pub max_keys: u32,
    /// How many bits of an IPv6 address count as one client in a key.
    #[serde(default = "ipv6_prefix", skip_serializing_if = "is_ipv6_prefix")]
    pub ipv6_prefix: u8,
    /// What answers say about limits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub headers: Headers,
    /// How error bodies are written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub errors: Dialect,
    /// `shadow`: decide, count and log, but let everything through.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Mode,
    /// Count by policy and level in Envoy's statistics, too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metrics: bool,
    /// Another module in front publishes who calls. Without it, keys and conditions about callers are refused;
    /// in the bundle, `auth` says it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub identified: bool,
}

/// Which bodies a configuration looks at or counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bodies {
    pub request: bool,
    pub response: bool,
}

impl RateLimitConfig {
    /// Which bodies have to pass the filter, for hosts that otherwise spare it them.
    pub fn bodies(&self) -> Bodies {
        let tiers = self.tiers.values().map(|tier| (tier.bandwidth, &tier.cost));
        let groups = self.tiers.values().flat_map(|tier| &tier.groups);
        let all = tiers.chain(groups.map(|group| (group.bandwidth, &group.cost)));
        all.fold(Bodies::default(), |bodies, (bandwidth, cost)| {
            let counted = |not: Traffic| bandwidth.is_some_and(|bandwidth| bandwidth.of != not);
            let looked_at = cost.as_ref().is_some_and(|cost| matches!(cost.from, CostSource::Json(_)));
            Bodies {
                request: bodies.request || counted(Traffic::Response),
                response: bodies.response || looked_at || counted(Traffic::Request),
            }
        })
    }
}

/// An allowance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// A limit for short times beside it (spike arrest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Quota>,
    /// A limit of bytes beside it. They are counted when a request is over: one that crosses the limit may
    /// finish, the next is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// A limit of what requests cost beside it. What a response names is counted when the request is over: one that
    /// crosses the limit may finish, the next is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// `false`: who is over quota, bandwidth or cost is counted and let through. The burst limit holds all the same.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub stop_on_quota: bool,
    /// Other allowances for some requests. The first whose conditions all hold decides; if none, the above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
}

/// So many requests in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    pub requests: u64,
    pub per: Period,
}

/// So many bytes of bodies in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bandwidth {
    pub bytes: ByteSize,
    #[serde(default, skip_serializing_if = "is_default")]
    pub of: Traffic,
    pub per: Period,
}

/// Whose bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    #[default]
    Both,
    Request,
    Response,
}

/// The allowance of those requests for which all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub when: Vec<Condition>,
    /// Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Quota>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// Something that is true of some requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    pub part: Part,
    pub is: Test,
    /// `true`: holds when the test does not.
    #[serde(default, skip_serializing_if = "is_default")]
    pub invert: bool,
}

/// What a value must be. An absent value is nothing of all this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// This, letter for letter.
    Exact(String),
    /// Something that begins so.
    Prefix(String),
    /// Something in which this regular expression is found; `^` and `$` stand for its ends. Values of more than
    /// 8 KiB do not match.
    Regex(String),
    /// An address in this network: `10.0.0.0/8`, `2001:db8::/32`, or a single one.
    Cidr(String),
    /// An address from one to another, both included: `192.0.2.10-192.0.2.20`.
    Range(String),
}

/// A part of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The API and its version: `petstore:1.0`.
    Api,
    /// The operation's id; in a key together with its API.
    Operation,
    /// The client's key that the token names.
    Consumer,
    /// The application; where the credential names none, the consumer.
    Application,
    /// The application and the API.
    Subscription,
    /// The user or service that the token is about (`sub`).
    User,
    /// The client's address, as Envoy trusts it (attribute `source.address`).
    ClientIp,
    /// All values of a header, joined by commas.
    Header(String),
    /// All values of a query parameter, joined by commas, escapes undone.
    Query(String),
    /// A cookie.
    Cookie(String),
    /// A verified claim: one of those that the issuer's `claims` or `claim_headers` name.
    Claim(String),
    /// Always this, so that all share one counter.
    Constant(String),
}

/// Who shares an allowance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Shown in headers, metrics and logs.
    pub name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub level: Level,
    /// Requests that agree in all of these share an allowance. A part of the caller is absent from requests
    /// without identity, to which the policy then does not apply; any other absent part counts as empty.
    pub key: Vec<Part>,
    /// Its allowance; with `tier_from`, that of callers for whom there is no other.
    pub tier: String,
    /// Where the name of another tier may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier_from: Option<TierFrom>,
    /// To whose requests it applies.
    #[serde(default, skip_serializing_if = "is_default")]
    pub callers: Callers,
    /// `true`: the quota is that of all Envoys together, and the `service` counts it; of a tier without quota, the cost.
    /// Other limits stay each Envoy's own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shared: bool,
    /// `shadow`: count and log, but let everything through.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Mode,
}

/// Where a policy stands in the order, and which code its refusals have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The whole API: 900800.
    Api,
    /// One operation: 900802.
    Resource,
    /// An application's subscription to an API: 900804, its burst 900807.
    Subscription,
    /// An application: 900803, its burst 900809.
    Application,
    /// Anything else: 900806.
    #[default]
    Custom,
}

impl Level {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Resource => "resource",
            Self::Subscription => "subscription",
            Self::Application => "application",
            Self::Custom => "custom",
        }
    }
}

/// Where a caller's tier is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TierFrom {
    /// What the credential or the subscription says.
    Caller,
    /// A verified claim.
    Claim(String),
}

/// Whose requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Callers {
    #[default]
    All,
    /// Those that a credential vouches for.
    Identified,
    /// The others.
    Anonymous,
}

/// Requests that are refused with 403.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Blocked {
    /// Shown in metrics and logs.
    pub name: String,
    /// All must hold.
    pub when: Vec<Condition>,
}

/// What answers say about limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Headers {
    /// How `Retry-After` of a refusal is written.
    pub retry_after: RetryAfter,
    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).
    pub rate_limit: bool,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset` (seconds since the epoch) of the limit that has least left.
    pub x_rate_limit: bool,
    /// The last two on answers of the backend too.
    pub on_allowed: bool,
}

impl Default for Headers {
    fn default() -> Self {
        Self { retry_after: RetryAfter::Date, rate_limit: true, x_rate_limit: false, on_allowed: false }
    }
}

/// The two forms of RFC 9110 section 10.2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// `Sun, 06 Nov 1994 08:49:37 GMT`, as Choreo Connect writes it.
    #[default]
    Date,
    /// `120`.
    Seconds,
}

/// An API: where it is, and what it allows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Host names: exact, `*.example.com`, or `*`. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Path prefix of every operation, on segment borders.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    pub base_path: String,
    /// The allowance of all its callers together. When there is one, those of operations do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Empty: everything below the base path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
}

/// One operation of an API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Absent: the path template, base path included.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Template below the base path: `/pets/{petId}`.
    pub path: String,
    /// `GET`, `POST`, ... Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The allowance of all its callers together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
}

fn yes() -> bool {
    true
}

fn is_yes(flag: &bool) -> bool {
    *flag
}

/// How many counters are kept, unless told otherwise.
pub fn max_keys() -> u32 {
    100_000
}

fn is_max_keys(keys: &u32) -> bool {
    *keys == max_keys()
}

/// How many bits of an IPv6 address count, unless told otherwise.
pub fn ipv6_prefix() -> u8 {
    64
}

fn is_ipv6_prefix(bits: &u8) -> bool {
    *bits == ipv6_prefix()
}

fn root() -> String {
    "/".to_owned()
}

fn is_root(path: &str) -> bool {
    path == "/"
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
