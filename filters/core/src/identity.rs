//! What is known of a caller, handed down the chain.
//!
//! It travels in one property that only filters can write: Envoy's filter state `wasm.enforcer`. A client
//! cannot forge it, the access log prints it (`%FILTER_STATE(wasm.enforcer:PLAIN)%`), and the next filter
//! reads one value instead of headers, tokens and route tables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The key under which the identity is published; Envoy prefixes it with `wasm.`.
pub const PROPERTY: &str = "enforcer";

/// The form of the encoding. While modules are being replaced, old and new ones meet.
const VERSION: u8 = b'1';

/// Who calls what, as far as the filters know. Absent fields are unknown or do not apply.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the matched API.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api: String,
    /// Version of the matched API.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Id of the matched operation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// Path template of the matched operation, base path included.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub template: String,
    /// Who vouches for the caller: `iss` of the token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub issuer: String,
    /// The user or service: `sub`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// The client application's key: `azp`, `client_id`, or the claim that the issuer is configured with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub consumer: String,
    /// Scopes that the credential carries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Claims that the configuration names, as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
    /// Why the request was refused, or would have been in shadow mode: the fault's detail.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fault: String,
}

/// Published by a version of the filters that this one does not understand, or damaged: refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

impl Identity {
    /// One version byte, then JSON.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        // Strings and maps of strings always serialise.
        if serde_json::to_writer(&mut out, self).is_err() {
            out.truncate(1);
        }
        out
    }

    /// Reads what [`Identity::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        match bytes.split_first() {
            Some((&VERSION, json)) => serde_json::from_slice(json).map_err(|_| Unreadable),
            _ => Err(Unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn comes_back_as_it_went() {
        let identity = Identity {
            api: "Petstore".into(),
            operation: "listPets".into(),
            scopes: vec!["read:pets".into()],
            claims: BTreeMap::from([("tenant".into(), "a \"quoted\" one".into())]),
            ..Identity::default()
        };
        assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
    }

    #[test]
    fn another_version_is_unreadable() {
        let mut bytes = Identity::default().encode();
        bytes[0] = b'2';
        assert_eq!(Identity::decode(&bytes), Err(Unreadable));
        assert_eq!(Identity::decode(b""), Err(Unreadable));
        assert_eq!(Identity::decode(b"1{"), Err(Unreadable));
    }
}
