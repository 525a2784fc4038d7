//! The second leg of an internal redirect: Envoy follows the backend's `Location` by itself, and runs the filters again
//! on the request as they left it, its credentials taken out.
//!
//! What the first leg learnt is in the published identity, which no client can write. It is enough for another
//! operation of the same API that asks for nothing more; anything else has to be shown again.

use enforcer_core::{
    cx::Cx,
    identity::{Called, Caller, Identity},
};

use crate::{
    config::{JwtRequirement, Requirement},
    credentials::{Admitted, Refused},
    key_type::KeyType,
    policy::{Policy, Target},
};

/// Who was let in by the first leg, if that is enough here. `refused`: why this leg alone is not.
pub fn admitted<'h>(
    policy: &Policy,
    target: &Target,
    refused: &Refused,
    cx: &Cx<'h>,
) -> Option<Admitted<'h>> {
    // A credential that is there speaks for itself.
    if refused.refusal.rank() > 0 || !cx.is_redirected() {
        return None;
    }
    let Identity { called, caller, fault } = cx.identity().ok()??;
    // Whether the credential was for production or the sandbox is not published.
    let one_backend = matches!(policy.cluster(target, KeyType::Unsaid), Ok(None));
    let enough = fault.is_empty() && caller.is_known() && one_backend;
    (enough && asks_no_more(policy, called, target, caller)).then(|| Admitted::before(caller.clone()))
}

/// Whether an operation asks for nothing that callers of the first one have not shown.
fn asks_no_more(policy: &Policy, first: &Called, target: &Target, caller: &Caller) -> bool {
    let wanted: Vec<&Requirement> = policy.requirement(target).iter().collect();
    // Several operations may be published alike: then it was one of them.
    let mut firsts = policy.beside(target).filter(|other| *policy.called(other) == *first).peekable();
    firsts.peek().is_some()
        && firsts.all(|other| {
            let shown: Vec<&Requirement> = policy.requirement(&other).iter().collect();
            let covers = |shown: &&Requirement| {
                !shown.is_anonymous() && wanted.iter().any(|wanted| includes(shown, wanted, caller))
            };
            shown == wanted || (!shown.is_empty() && shown.iter().all(covers))
        })
}

/// Whether who has satisfied one alternative satisfies another.
fn includes(shown: &Requirement, wanted: &Requirement, caller: &Caller) -> bool {
    let token = |jwt: &JwtRequirement| {
        shown.jwt.is_some()
            && (jwt.issuers.is_empty() || jwt.issuers.contains(&caller.issuer))
            && jwt.scopes.as_ref().is_none_or(|scopes| scopes.hold(&caller.scopes))
    };
    wanted.jwt.as_ref().is_none_or(token)
        && wanted.api_keys.iter().all(|scheme| shown.api_keys.contains(scheme))
        && (shown.basic || !wanted.basic)
        && (shown.certificate || !wanted.certificate)
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use serde_json::{Value, json};

    use super::*;

    fn requirement(json: Value) -> Requirement {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_was_shown_must_be_all_that_is_wanted() {
        let caller = Caller { issuer: "a".to_owned(), scopes: vec!["read".to_owned()], ..Caller::default() };
        let includes = |shown, wanted| includes(&requirement(shown), &requirement(wanted), &caller);
        let everything = json!({"jwt": {}, "api_keys": ["k", "l"], "basic": true, "certificate": true});
        for wanted in [
            json!({"jwt": {}}),
            json!({"jwt": {"issuers": ["a", "b"], "scopes": {"all_of": ["read"]}}}),
            json!({"jwt": {"scopes": {"any_of": ["write", "read"]}}}),
            json!({"api_keys": ["l"], "basic": true}),
            json!({"certificate": true}),
        ] {
            assert!(includes(everything.clone(), wanted.clone()), "{wanted}");
            assert!(!includes(json!({"api_keys": ["other"]}), wanted.clone()), "{wanted}");
        }
        for more in [
            json!({"jwt": {"issuers": ["b"]}}),
            json!({"jwt": {"scopes": {"all_of": ["read", "write"]}}}),
            json!({"api_keys": ["k", "other"]}),
        ] {
            assert!(!includes(everything.clone(), more.clone()), "{more}");
        }
    }

    #[test]
    fn every_way_in_must_be_one_here_too() {
        let apis = json!([
            {"name": "A", "version": "1", "base_path": "/a", "operations": [
                {"path": "/token", "security": [{"jwt": {}}]},
                {"path": "/scope", "security": [{"jwt": {"scopes": {"all_of": ["read"]}}}]},
                {"path": "/either", "security": [{"jwt": {}}, {"basic": true}]},
                {"path": "/same", "security": [{"jwt": {}}, {"basic": true}]},
                {"path": "/maybe", "security": [{"jwt": {}}, {}]},
                {"path": "/open", "security": []},
                {"id": "twice", "path": "/twice", "methods": ["GET"], "security": [{"jwt": {}}]},
                {"id": "twice", "path": "/twice", "methods": ["POST"], "security": []},
            ]},
            {"name": "B", "base_path": "/b", "security": [{"jwt": {}}]},
        ]);
        let issuer = json!({"issuer": "a", "jwks": {"pem": ""}});
        let offered = crate::policy::Offered { basic: true, ..Default::default() };
        let issuers = [serde_json::from_value(issuer).unwrap()];
        let policy = Policy::new(serde_json::from_value(apis).unwrap(), &issuers, offered).unwrap();
        let target = |path: &str| {
            let mut headers = enforcer_core::headers::HeaderMap::default();
            for (name, value) in [(":path", path), (":method", "GET"), (":authority", "x")] {
                headers.push(name, value);
            }
            match policy.find(&headers) {
                crate::policy::Wanted::Operation(target) => target,
                other => panic!("{path}: {other:?}"),
            }
        };
        let caller = Caller { issuer: "a".to_owned(), ..Caller::default() };
        let follows =
            |from: &str, to: &str| asks_no_more(&policy, &policy.called(&target(from)), &target(to), &caller);
        for (from, to) in [
            ("/a/scope", "/a/token"),
            ("/a/token", "/a/token"),
            ("/a/token", "/a/either"),
            ("/a/either", "/a/same"),
            ("/b/x", "/b/y"),
        ] {
            assert!(follows(from, to), "{from} {to}");
        }
        for (from, to) in [
            ("/a/token", "/a/scope"),
            ("/a/either", "/a/token"),
            ("/a/maybe", "/a/token"),
            ("/a/open", "/a/token"),
            ("/a/twice", "/a/token"),
            ("/a/token", "/b/x"),
            ("/b/x", "/a/token"),
        ] {
            assert!(!follows(from, to), "{from} {to}");
        }
    }
}
