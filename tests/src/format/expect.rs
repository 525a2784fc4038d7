use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::strings;

/// What must come out. What is not said is not looked at, except for what holds for every case.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    #[serde(default)]
    pub(crate) status: Option<u16>,
    /// The whole body.
    #[serde(default)]
    pub(crate) body: Option<String>,
    /// Members that the body has, among others.
    #[serde(default)]
    pub(crate) json: Option<Value>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Field>,
    /// What Envoy calls response code details.
    #[serde(default)]
    pub(crate) details: Option<String>,
    /// What the backend received.
    #[serde(default)]
    pub(crate) backend: Option<Seen>,
    /// Members of the published identity, among others; `null` for one that is absent.
    #[serde(default)]
    pub(crate) identity: Option<Value>,
    /// By how much these counters have grown in this step, on all workers together. A name that ends in `.*` stands
    /// for all counters that begin so.
    #[serde(default)]
    pub(crate) counters: BTreeMap<String, u64>,
    /// The same since the case began; waited for, because some of it happens in the background.
    #[serde(default)]
    pub(crate) totals: BTreeMap<String, u64>,
    /// How many requests these services have received since the filter started.
    #[serde(default)]
    pub(crate) fetches: BTreeMap<String, usize>,
    /// What these services have received since the case began. It is waited for.
    #[serde(default)]
    pub(crate) received: BTreeMap<String, Deliveries>,
    /// Members of the event left for the access log, filter state `wasm.enforcer_event`; `null` for one that is absent.
    #[serde(default)]
    pub(crate) event: Option<Value>,
    /// Texts that nobody but the backend may see: not in the log, the identity, the event, the names of counters, nor at
    /// any other service, nor in an answer in the backend's place.
    #[serde(default)]
    pub(crate) secrets: Vec<String>,
    /// Texts, each of which is in a line that was logged in this step.
    #[serde(default)]
    pub(crate) log: Vec<String>,
    /// Texts that are in none.
    #[serde(default)]
    pub(crate) log_absent: Vec<String>,
}

/// What a service must have received.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deliveries {
    /// Members of each event, among others, in the order in which they came; no more events than these.
    #[serde(default)]
    pub(crate) events: Option<Vec<Value>>,
    /// How many events in each request.
    #[serde(default)]
    pub(crate) batches: Option<Vec<usize>>,
    /// The request target of each request, byte for byte.
    #[serde(default)]
    pub(crate) path: Option<String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Field>,
    /// What its last request was, whether or not it is about events.
    #[serde(default)]
    pub(crate) last: Option<Last>,
}

/// The last request that a service received.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Last {
    #[serde(default)]
    pub(crate) path: Option<String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Field>,
    /// Members that the body has, among others; `null` for one that it has not.
    #[serde(default)]
    pub(crate) json: Option<Value>,
}

/// What the backend must have received.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seen {
    #[serde(default)]
    pub(crate) method: Option<String>,
    /// The request target, byte for byte.
    #[serde(default)]
    pub(crate) path: Option<String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Field>,
    #[serde(default)]
    pub(crate) body: Option<String>,
    /// Claims, among others, of the tokens in these headers.
    #[serde(default)]
    pub(crate) tokens: BTreeMap<String, Value>,
    /// At which path of the gateway the key set is that has signed the tokens in these headers.
    #[serde(default)]
    pub(crate) signed_by: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) trailers: BTreeMap<String, Field>,
}

/// What must be true of the fields of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// `true`: there is one, whatever its value; `false`: there is none.
    There(bool),
    /// Exactly these, in this order.
    Values(Vec<String>),
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(there) => Ok(Self::There(there)),
            value => strings(value).map(Self::Values),
        }
    }
}
