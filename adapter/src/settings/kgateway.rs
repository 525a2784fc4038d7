//! `kgateway`: what only the target of that name needs.

use schemars::JsonSchema;
use serde::Deserialize;

/// The Gateway that routes belong to, and the server that runs the filters.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{gateway: {name: http}}`")]
pub struct Kgateway {
    /// The Gateway that routes are attached to.
    pub gateway: GatewayRef,
    /// The namespace of everything that is written.
    #[serde(default = "usual_namespace")]
    pub namespace: String,
    /// The image of the server. Absent: `enforcer-extproc`, with the version of this command for its tag.
    #[serde(default)]
    pub image: Option<String>,
    /// What names what: the policy its route, or the route its policy.
    #[serde(default)]
    pub attach: Attach,
}

/// Two ways in which a TrafficPolicy and what it holds for find each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// The policy names the HTTPRoute (`targetRefs`), and its status says whether that is in force.
    #[default]
    Route,
    /// The route's rule names the policy (`ExtensionRef`): a rule whose policy is not there is refused, not open.
    Rule,
}

/// A Gateway by its name.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{name: http, namespace: kgateway-system}`")]
pub struct GatewayRef {
    pub name: String,
    /// Absent: that of the routes.
    #[serde(default)]
    pub namespace: Option<String>,
}

fn usual_namespace() -> String {
    "default".to_owned()
}
