//! What requests cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Period;

/// So many units in so long, of which each request takes as many as it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    pub units: u64,
    pub from: CostSource,
    pub per: Period,
    /// The cost of a request where none is named. Answers of 400 and more that name none cost nothing.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub otherwise: u64,
}

/// Where a request's cost is named, as a number. A begun unit is a whole one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CostSource {
    /// A header of the request. It must come once.
    RequestHeader(String),
    /// A verified claim: one of those that the issuer's `claims` or `claim_headers` name.
    Claim(String),
    /// A header of the response. It must come once.
    ResponseHeader(String),
    /// Numbers in a response of JSON, or of events (`text/event-stream`) of JSON: `usage.total_tokens`, the names of
    /// members from the outside in. Of each the last one counts; several are added up.
    Json(Vec<String>),
}

fn one() -> u64 {
    1
}

fn is_one(cost: &u64) -> bool {
    *cost == one()
}
