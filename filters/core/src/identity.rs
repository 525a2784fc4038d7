//! What is known of a caller, handed down the chain.
//!
//! It travels in one property that only filters can write: Envoy's filter state `wasm.enforcer`. A client
//! cannot forge it, the access log prints it (`%FILTER_STATE(wasm.enforcer:PLAIN)%`), and the next filter
//! reads one value instead of headers, tokens and route tables.

use std::{borrow::Cow, cell::OnceCell, collections::BTreeMap, fmt, ops::Deref, rc::Rc};

use serde::{Deserialize, Serialize};

/// The key under which the identity is published; Envoy prefixes it with `wasm.`.
pub const PROPERTY: &str = "enforcer";

/// The form of the encoding. While modules are being replaced, old and new ones meet.
const VERSION: u8 = b'1';

/// Who calls what, as far as the filters know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The same for all requests to one operation.
    pub called: Part<Called>,
    /// The same for all requests with one credential.
    pub caller: Part<Caller>,
    /// Why the request was refused, or would have been in shadow mode: the fault's detail.
    pub fault: Cow<'static, str>,
}

/// What is called. Empty fields are unknown or do not apply.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Called {
    /// Name of the matched API.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api: String,
    /// Version of the matched API.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Id of the matched operation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operation: String,
    /// Path template of the matched operation, base path included.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub template: String,
}

/// Who calls. Empty fields are unknown or do not apply.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Caller {
    /// Who vouches for the caller: `iss` of the token.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub issuer: String,
    /// The user or service: `sub`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// The client's name or key: `azp`, `client_id`, the claim that the issuer is configured with, or whom an API
    /// key was given to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub consumer: String,
    /// The application that the credential was given to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub application: String,
    /// The tier whose limits hold for the caller.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tier: String,
    /// Over the quota of that tier it is counted and let through: `stopOnQuotaReach: false` in a credential of WSO2's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub over_quota: bool,
    /// Scopes that the credential carries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Claims that the configuration names, as text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
}

impl Caller {
    /// Whether a credential vouches for somebody. A key, a password or a certificate has no issuer.
    pub fn is_known(&self) -> bool {
        [&self.issuer, &self.subject, &self.consumer].into_iter().any(|told| !told.is_empty())
    }

    /// The application; a credential that names none stands for its consumer's only one.
    pub fn account(&self) -> &str {
        either(&self.application, &self.consumer)
    }

    /// By whom a credential is told apart that lacks the name or the claim that is asked for: its consumer, else its
    /// user.
    pub fn owner(&self) -> &str {
        either(&self.consumer, &self.subject)
    }
}

fn either<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}

/// An API as limits and Envoy's own filters know it: `petstore:1.0`, without a version `petstore`.
pub fn versioned(api: &str, version: &str) -> String {
    if version.is_empty() { api.to_owned() } else { format!("{api}:{version}") }
}

/// A part of identities that many requests have in common: copied by reference, written as JSON once.
#[derive(Default)]
pub struct Part<T>(Rc<(T, OnceCell<String>)>);

impl<T: Serialize> Part<T> {
    pub fn new(value: T) -> Self {
        Self(Rc::new((value, OnceCell::new())))
    }

    /// Its members, without the braces around them.
    fn members(&self) -> &str {
        let (value, members) = &*self.0;
        members.get_or_init(|| {
            // Strings and maps of strings always serialise.
            let json = serde_json::to_string(value).unwrap_or_default();
            json.trim_start_matches('{').strip_suffix('}').unwrap_or_default().to_owned()
        })
    }
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.0
    }
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: PartialEq> PartialEq for Part<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Part<T> {}

impl<T: fmt::Debug> fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Published by a version of the filters that this one does not understand, or damaged: refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

#[derive(Serialize)]
struct Outcome<'a> {
    fault: &'a str,
}

/// All parts in one object.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Published {
    api: String,
    version: String,
    operation: String,
    template: String,
    issuer: String,
    subject: String,
    consumer: String,
    application: String,
    tier: String,
    over_quota: bool,
    scopes: Vec<String>,
    claims: BTreeMap<String, String>,
    fault: String,
}

impl Identity {
    /// One version byte, then one JSON object with the members of all parts.
    pub fn encode(&self) -> Vec<u8> {
        let outcome = (!self.fault.is_empty()).then(|| Part::new(Outcome { fault: &self.fault }));
        let outcome = outcome.as_ref().map_or("", Part::members);
        let mut json = vec![VERSION, b'{'];
        for members in [self.called.members(), self.caller.members(), outcome] {
            if json.len() > 2 && !members.is_empty() {
                json.push(b',');
            }
            json.extend_from_slice(members.as_bytes());
        }
        json.push(b'}');
        json
    }

    /// Reads what [`Identity::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let Some((&VERSION, json)) = bytes.split_first() else { return Err(Unreadable) };
        let read: Published = serde_json::from_slice(json).map_err(|_| Unreadable)?;
        let Published { api, version, operation, template, fault, .. } = read;
        let Published { issuer, subject, consumer, application, tier, over_quota, scopes, claims, .. } = read;
        let caller = Caller { issuer, subject, consumer, application, tier, over_quota, scopes, claims };
        Ok(Self {
            called: Part::new(Called { api, version, operation, template }),
            caller: Part::new(caller),
            fault: fault.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn comes_back_as_it_went() {
        let called = Called { api: "Petstore".into(), operation: "list".into(), ..Called::default() };
        let caller = Caller {
            tier: "Gold".into(),
            over_quota: true,
            scopes: vec!["read:pets".into()],
            claims: BTreeMap::from([("tenant".into(), "a \"quoted\" {one}".into())]),
            ..Caller::default()
        };
        let identity =
            Identity { called: Part::new(called), caller: Part::new(caller), fault: "late".into() };
        let json = br#"1{"api":"Petstore","operation":"list","tier":"Gold","over_quota":true,"scopes":["read:pets"],"claims":{"tenant":"a \"quoted\" {one}"},"fault":"late"}"#;
        assert_eq!(identity.encode(), json);
        assert_eq!(Identity::decode(json), Ok(identity));
    }

    #[test]
    fn any_part_may_be_empty() {
        let caller = Part::new(Caller { subject: "me".into(), ..Caller::default() });
        let identity = Identity { caller, ..Identity::default() };
        assert_eq!(identity.encode(), br#"1{"subject":"me"}"#);
        assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
        assert_eq!(Identity::default().encode(), b"1{}");
        assert_eq!(Identity::decode(b"1{}"), Ok(Identity::default()));
        let refused = Identity { fault: "f".into(), ..Identity::default() };
        assert_eq!(refused.encode(), br#"1{"fault":"f"}"#);
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
