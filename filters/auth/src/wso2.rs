//! What WSO2's self-contained API keys say of themselves: which APIs they are for, and who may use them where.
//! Source: Choreo Connect's `APIKeyAuthenticator` and `InternalAPIKeyAuthenticator`.

use enforcer_core::{
    cache::Weigh,
    cx::Cx,
    identity::{Caller, Part},
    net::{self, Network},
};
use serde_json::{Map, Value};

use crate::{
    config::{Api, KeyType},
    referer,
    refusal::KeyProblem,
};

/// The claims of a key that are looked at with each request.
#[derive(Debug)]
pub struct Grants {
    /// `token_type`.
    kind: Option<KeyType>,
    /// `permittedIP`; one that is no network lets nobody in.
    networks: Vec<Option<Network>>,
    /// `permittedReferer`.
    referers: Vec<String>,
    apis: Vec<Subscribed>,
}

/// One of the `subscribedAPIs`.
#[derive(Debug)]
struct Subscribed {
    name: String,
    version: String,
    context: String,
    /// The caller, with the tier of this subscription.
    caller: Part<Caller>,
}

impl Grants {
    /// Reads the claims of a key. `caller`: what they say as those of any token.
    pub fn read(claims: &Map<String, Value>, caller: &Caller) -> Self {
        let application = claims.get("application").and_then(Value::as_object);
        let of_application = |name: &str| text(application.and_then(|members| members.get(name)));
        let mut caller = Caller { application: of_application("name"), ..caller.clone() };
        for consumer in [of_application("uuid"), caller.subject.clone()] {
            if caller.consumer.is_empty() {
                caller.consumer = consumer;
            }
        }
        let subscribed = |api: &Value| {
            let member = |name: &str| text(api.get(name));
            let tier = [member("subscriptionTier"), of_application("tier")];
            let tier = tier.into_iter().find(|tier| !tier.is_empty()).unwrap_or_default();
            let info = claims.get("tierInfo").and_then(|tiers| tiers.get(&tier));
            let over_quota = info.and_then(|info| info.get("stopOnQuotaReach")) == Some(&Value::Bool(false));
            let caller = Part::new(Caller { tier, over_quota, ..caller.clone() });
            Subscribed {
                name: member("name"),
                version: member("version"),
                context: member("context"),
                caller,
            }
        };
        let list = |name: &str| -> Vec<String> {
            let texts =
                claims.get(name).and_then(Value::as_str).unwrap_or_default().split(',').map(str::trim);
            texts.filter(|text| !text.is_empty()).map(str::to_owned).collect()
        };
        let apis = claims.get("subscribedAPIs").and_then(Value::as_array);
        Self {
            kind: claims.get("token_type").and_then(Value::as_str).and_then(KeyType::of_name),
            networks: list("permittedIP").iter().map(|text| Network::parse(text)).collect(),
            referers: list("permittedReferer"),
            apis: apis.into_iter().flatten().map(subscribed).collect(),
        }
    }

    /// Whether the key may be used for this API, now and here; if so, who calls.
    pub fn check(&self, kind: KeyType, api: Option<&Api>, cx: &Cx<'_>) -> Result<Part<Caller>, KeyProblem> {
        if self.kind != Some(kind) {
            return Err(KeyProblem::Unknown);
        }
        let named = |one: &&Subscribed| api.is_some_and(|api| one.is(api));
        let subscribed = self.apis.iter().find(named).ok_or(KeyProblem::Api)?;
        let is_restricted = !self.networks.is_empty() || !self.referers.is_empty();
        if is_restricted && !self.is_near(cx) && !referer::comes_from(&self.referers, cx.request_headers()) {
            let by_page = self.networks.is_empty();
            return Err(if by_page { KeyProblem::Referer } else { KeyProblem::Address });
        }
        Ok(subscribed.caller.clone())
    }

    /// Who calls, if the token says that its application has subscribed to this API (Choreo Connect's
    /// `JWTAuthenticator`: by name and version alone).
    pub fn subscription(&self, api: &Api) -> Option<Part<Caller>> {
        let named = |one: &&Subscribed| one.version == api.version && one.name == api.name;
        self.apis.iter().find(named).map(|subscribed| subscribed.caller.clone())
    }

    fn is_near(&self, cx: &Cx<'_>) -> bool {
        if self.networks.is_empty() {
            return false;
        }
        let client = net::client(cx.host);
        client.is_some_and(|client| self.networks.iter().flatten().any(|network| network.contains(client)))
    }
}

impl Subscribed {
    /// By name and version, as for API keys, or by context and version, as for internal keys.
    fn is(&self, api: &Api) -> bool {
        self.version == api.version && (self.name == api.name || self.context == api.base_path)
    }
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Weigh for Grants {
    fn weight(&self) -> usize {
        let apis = self.apis.iter().map(|api| {
            let Caller { issuer, subject, consumer, application, tier, .. } = &*api.caller;
            let texts = [issuer, subject, consumer, application, tier].into_iter().map(String::len);
            let own = [&api.name, &api.version, &api.context].into_iter().map(String::len);
            // The caller twice: as values, and as the JSON that is published.
            texts.chain(own).fold(size_of::<Subscribed>(), usize::saturating_add).saturating_mul(2)
        });
        let referers = self.referers.iter().map(|text| text.len().saturating_add(size_of::<String>()));
        let networks = self.networks.len().saturating_mul(size_of::<Option<Network>>());
        apis.chain(referers).fold(networks, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use enforcer_core::{
        cx::{Messages, Wishes},
        headers::HeaderMap,
        native::NativeHost,
    };
    use serde_json::json;

    use super::*;

    fn check(more: &Value, address: &str, referer: &str) -> Result<Part<Caller>, KeyProblem> {
        let mut claims = json!({
            "sub": "admin@carbon.super", "token_type": "apiKey", "permittedIP": "", "permittedReferer": "",
            "application": {"name": "Shop", "uuid": "4fef", "tier": "Bronze"},
            "subscribedAPIs": [{"name": "Petstore", "version": "1.0", "context": "/pets/1.0", "subscriptionTier": "Gold"}],
        });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let grants = Grants::read(claims.as_object().unwrap(), &Caller::default());
        let api =
            serde_json::from_value(json!({"name": "Petstore", "version": "1.0", "base_path": "/p"})).unwrap();
        let host = NativeHost::new().with_attribute("source.address", address);
        let mut headers = HeaderMap::default();
        headers.push("referer", referer);
        let (messages, mut wishes) = (Messages::of_request(headers), Wishes::default());
        grants.check(KeyType::ApiKey, Some(&api), &Cx::new(&host, &messages, &mut wishes))
    }

    #[test]
    fn a_key_tells_who_calls() {
        let caller = check(&json!({}), "", "").unwrap();
        assert_eq!((&*caller.consumer, &*caller.application, &*caller.tier), ("4fef", "Shop", "Gold"));
    }

    #[test]
    fn a_tier_may_be_one_that_does_not_stop() {
        let over_quota = |info: Value| check(&json!({"tierInfo": info}), "", "").unwrap().over_quota;
        assert!(over_quota(
            json!({"Gold": {"stopOnQuotaReach": false}, "Bronze": {"stopOnQuotaReach": true}})
        ));
        for stops in [
            json!(null),
            json!({"Gold": {"stopOnQuotaReach": true}}),
            json!({"Gold": {"stopOnQuotaReach": "false"}}),
            json!({"Bronze": {"stopOnQuotaReach": false}}),
            json!([{"stopOnQuotaReach": false}]),
        ] {
            assert!(!over_quota(stops.clone()), "{stops}");
        }
    }

    #[test]
    fn a_key_is_for_the_apis_that_it_names() {
        let apis = |api: Value| check(&json!({"subscribedAPIs": [api]}), "", "").err();
        assert_eq!(apis(json!({"name": "x", "version": "1.0", "context": "/p"})), None);
        for other in [
            json!({"name": "Petstore", "version": "2.0", "context": "/p"}),
            json!({"name": "Other", "version": "1.0", "context": "/pets"}),
            json!({}),
            json!("Petstore"),
        ] {
            assert_eq!(apis(other), Some(KeyProblem::Api));
        }
        assert_eq!(check(&json!({"subscribedAPIs": null}), "", "").err(), Some(KeyProblem::Api));
    }

    #[test]
    fn a_key_of_another_kind_is_none() {
        for kind in [json!("InternalKey"), json!("Bearer"), json!(null), json!(["apiKey"])] {
            assert_eq!(check(&json!({"token_type": kind}), "", "").err(), Some(KeyProblem::Unknown));
        }
    }

    #[test]
    fn an_address_or_a_page_is_enough() {
        let both = json!({"permittedIP": "10.0.0.0/8, 192.0.2.7", "permittedReferer": "*.example.com/*"});
        assert!(check(&both, "192.0.2.7:80", "").is_ok());
        assert!(check(&both, "192.0.2.8:80", "https://a.example.com/").is_ok());
        assert_eq!(check(&both, "192.0.2.8:80", "https://evil.com/").err(), Some(KeyProblem::Address));
        let page = json!({"permittedReferer": "https://a.com/*,https://b.com/*"});
        assert!(check(&page, "", "https://b.com/x").is_ok());
        assert_eq!(check(&page, "", "").err(), Some(KeyProblem::Referer));
        assert_eq!(
            check(&json!({"permittedIP": "localhost"}), "127.0.0.1:1", "").err(),
            Some(KeyProblem::Address)
        );
    }
}
