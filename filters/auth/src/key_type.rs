//! Production and sandbox: which of an API's backends a credential is for (Choreo Connect's `keytype`).

use serde_json::{Map, Value};

use crate::{config::Clusters, refusal::Refusal};

/// The request header that names the cluster, for routes to go by. Never a client's: it is removed on all requests.
pub const CLUSTER_HEADER: &str = "x-wso2-cluster-header";

/// What a credential says that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyType {
    /// It says nothing: it goes to production, where there is one.
    #[default]
    Unsaid,
    Production,
    Sandbox,
    /// Something else.
    Unknown,
}

/// Why there is no backend for a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoBackend {
    Production,
    Sandbox,
    UnknownType,
}

impl KeyType {
    /// The claim `keytype` of a token or a signed API key.
    pub fn of_claims(claims: &Map<String, Value>) -> Self {
        match claims.get("keytype").map(Value::as_str) {
            None => Self::Unsaid,
            Some(Some("PRODUCTION")) => Self::Production,
            Some(Some("SANDBOX")) => Self::Sandbox,
            Some(_) => Self::Unknown,
        }
    }

    /// The cluster that requests with such a credential go to.
    pub fn cluster(self, clusters: &Clusters) -> Result<&str, Refusal> {
        let Clusters { production, sandbox } = clusters;
        let (cluster, problem) = match self {
            Self::Unsaid => (production.as_ref().or(sandbox.as_ref()), NoBackend::Production),
            Self::Production => (production.as_ref(), NoBackend::Production),
            Self::Sandbox => (sandbox.as_ref(), NoBackend::Sandbox),
            Self::Unknown => (None, NoBackend::UnknownType),
        };
        cluster.map(String::as_str).ok_or(Refusal::Backend(problem))
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use serde_json::json;

    use super::*;

    fn clusters(production: Option<&str>, sandbox: Option<&str>) -> Clusters {
        Clusters { production: production.map(str::to_owned), sandbox: sandbox.map(str::to_owned) }
    }

    #[test]
    fn the_claim_decides() {
        let of = |value: Value| KeyType::of_claims(json!({"keytype": value}).as_object().unwrap());
        assert_eq!(KeyType::of_claims(&Map::new()), KeyType::Unsaid);
        assert_eq!(of(json!("PRODUCTION")), KeyType::Production);
        assert_eq!(of(json!("SANDBOX")), KeyType::Sandbox);
        for other in [json!("sandbox"), json!(""), json!(null), json!(1)] {
            assert_eq!(of(other), KeyType::Unknown);
        }
    }

    #[test]
    fn each_type_has_its_cluster_or_none() {
        let (both, production, sandbox) =
            (clusters(Some("p"), Some("s")), clusters(Some("p"), None), clusters(None, Some("s")));
        let none = |problem| Err(Refusal::Backend(problem));
        assert_eq!(KeyType::Production.cluster(&both), Ok("p"));
        assert_eq!(KeyType::Sandbox.cluster(&both), Ok("s"));
        assert_eq!(KeyType::Unsaid.cluster(&both), Ok("p"));
        assert_eq!(KeyType::Unsaid.cluster(&sandbox), Ok("s"));
        assert_eq!(KeyType::Sandbox.cluster(&production), none(NoBackend::Sandbox));
        assert_eq!(KeyType::Production.cluster(&sandbox), none(NoBackend::Production));
        assert_eq!(KeyType::Unknown.cluster(&both), none(NoBackend::UnknownType));
    }
}
