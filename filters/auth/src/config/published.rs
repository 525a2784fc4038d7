//! What is published beside the identity.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A part of the identity. What a caller lacks is its consumer, else its user, after the issuer and two spaces; keys,
/// passwords and certificates have an empty issuer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Published {
    /// The API and its version: `petstore:1.0`.
    Api,
    /// The API, its version and the operation's id.
    Operation,
    /// The client's key, after its issuer and a space.
    Consumer,
    /// The application, or the consumer where the credential names none; after its issuer and a space.
    Application,
    /// The application and the API, after their issuer and a space.
    Subscription,
    /// The user (`sub`), after its issuer and a space.
    User,
    /// A claim that `claims` or `claim_headers` of its issuer name, after the issuer and a space.
    Claim(String),
}
