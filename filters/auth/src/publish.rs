//! Parts of the identity, each by itself: for filters of Envoy's own, which cannot look into the identity.

use enforcer_core::{
    config::ConfigError,
    host::Host,
    identity::{Called, Caller, Identity, versioned},
};

use crate::config::Published;

/// What is published, by its keys.
#[derive(Debug, Default)]
pub struct Parts(Vec<(String, Published)>);

impl Parts {
    pub fn new(parts: Vec<Published>) -> Result<Self, ConfigError> {
        let quoted = |part: &Published| matches!(part, Published::Claim(name) if name.contains(['\'', '\\']));
        match parts.iter().position(quoted) {
            Some(index) => {
                Err(ConfigError::at(format!("[{index}]"), "a claim with a quote cannot be published"))
            }
            None => Ok(Self(parts.into_iter().map(|part| (key(&part), part)).collect())),
        }
    }

    /// Publishes what there is: a part that is absent has no value.
    pub fn publish(&self, identity: &Identity, host: &dyn Host) {
        for (key, part) in &self.0 {
            if let Some(value) = value(part, &identity.called, &identity.caller) {
                host.annotate(key, &value);
            }
        }
    }
}

/// The filter state that holds a part, which Envoy knows with `wasm.` before it.
pub fn key(part: &Published) -> String {
    match part {
        Published::Api => "enforcer_api".to_owned(),
        Published::Operation => "enforcer_operation".to_owned(),
        Published::Consumer => "enforcer_consumer".to_owned(),
        Published::Application => "enforcer_application".to_owned(),
        Published::Subscription => "enforcer_subscription".to_owned(),
        Published::User => "enforcer_user".to_owned(),
        Published::Claim(name) => format!("enforcer_claim_{name}"),
    }
}

fn value(part: &Published, called: &Called, caller: &Caller) -> Option<String> {
    let api = || (!called.api.is_empty()).then(|| versioned(&called.api, &called.version));
    let own = match part {
        Published::Api => return api(),
        Published::Operation => return Some(format!("{}:{}", api()?, called.operation)),
        Published::Consumer => caller.consumer.clone(),
        Published::Application => caller.account().to_owned(),
        Published::Subscription if caller.account().is_empty() => String::new(),
        Published::Subscription => format!("{}:{}", caller.account(), api()?),
        Published::User => caller.subject.clone(),
        Published::Claim(name) => caller.claims.get(name).cloned().unwrap_or_default(),
    };
    // Names mean something within their issuer only. Who lacks one is somebody all the same: no limit is passed by that.
    let Caller { issuer, .. } = caller;
    caller.is_known().then(|| match own.as_str() {
        "" => format!("{issuer}  {}", caller.owner()),
        own => format!("{issuer} {own}"),
    })
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn names_are_those_of_an_issuer() {
        let called =
            Called { api: "pets".into(), version: "1".into(), operation: "list".into(), ..Called::default() };
        let caller = Caller {
            issuer: "idp".into(),
            subject: "alice".into(),
            consumer: "app".into(),
            claims: [("plan".to_owned(), "gold".to_owned())].into(),
            ..Caller::default()
        };
        let of = |part: Published, caller: &Caller| value(&part, &called, caller);
        for (part, expected) in [
            (Published::Api, "pets:1"),
            (Published::Operation, "pets:1:list"),
            (Published::Consumer, "idp app"),
            (Published::Application, "idp app"),
            (Published::Subscription, "idp app:pets:1"),
            (Published::User, "idp alice"),
            (Published::Claim("plan".into()), "idp gold"),
        ] {
            assert_eq!(of(part.clone(), &caller).as_deref(), Some(expected), "{part:?}");
        }
        assert_eq!(of(Published::User, &Caller::default()), None, "nobody is nobody's alice");
        assert_eq!(of(Published::Claim("other".into()), &caller).as_deref(), Some("idp  app"));
        let key = Caller { consumer: "acme".into(), ..Caller::default() };
        assert_eq!(of(Published::Consumer, &key).as_deref(), Some(" acme"), "a key has no issuer");
        assert_eq!(of(Published::User, &key).as_deref(), Some("  acme"), "nor a user");
        assert_eq!(Parts::new(vec![Published::Api, Published::Claim("a'b".into())]).unwrap_err().path, "[1]");
    }
}
