//! Whether an application has subscribed to the API that its token is used for.
//!
//! A token that says so itself (`subscribedAPIs`, as WSO2 API Manager issues it) is believed; for any other, the
//! application is found by the token's consumer. Source: Choreo Connect's `KeyValidator` and `InboundProcessor`.

use std::{collections::HashMap, time::Duration};

use enforcer_core::{
    config::ConfigError,
    cx::{CalloutError, Cx, FetchKey, HttpReply},
    identity::{Caller, Part},
};
use serde::Deserialize;

use crate::{
    config::{self, Api, ApplicationList, Issuer, SubscriptionState},
    refusal::SubscriptionProblem,
    remote::{Document, Kind, Remote},
    verifier::Verified,
};

/// Who has subscribed to what.
#[derive(Debug)]
pub struct Subscriptions {
    /// Whether the tokens of each issuer need a subscription.
    needed: Vec<bool>,
    /// Whether signed API keys need one, too.
    needed_by_keys: bool,
    applications: Applications,
    remote: Option<Remote>,
}

/// What came of looking for a subscription.
#[derive(Debug)]
pub enum Outcome {
    /// None is needed.
    Free,
    /// There is one: who calls, with its application and tier.
    Subscribed(Part<Caller>),
    Refused(SubscriptionProblem),
    /// The table is being fetched.
    Wait(FetchKey, Duration),
}

/// The applications, by their consumer keys.
#[derive(Debug, Default)]
struct Applications {
    keys: HashMap<String, Key>,
    applications: Vec<config::Application>,
}

#[derive(Debug, Clone, Copy)]
struct Key {
    /// Position among the applications.
    application: usize,
    sandbox: bool,
}

const KIND: Kind = Kind {
    name: "subscriptions",
    fetched: "enforcer.auth.subscriptions.fetched",
    failed: "enforcer.auth.subscriptions.failed",
};

impl Subscriptions {
    /// `fetch` names the fetch of the table; `issuers` are those of the tokens, `apis` what can be
    /// subscribed to.
    pub fn new(
        fetch: FetchKey,
        config: config::Subscriptions,
        issuers: &[Issuer],
        apis: &[Api],
    ) -> Result<Self, ConfigError> {
        if apis.is_empty() {
            return Err(ConfigError::at("", "nothing to subscribe to: list the `apis`"));
        }
        let known = |name: &&String| issuers.iter().any(|issuer| issuer.issuer == **name);
        if let Some(stranger) = config.issuers.iter().find(|name| !known(name)) {
            let problem = format!("`{stranger}` is not among `issuers`; add it there");
            return Err(ConfigError::at("issuers", problem));
        }
        if config.api_keys && config.applications.is_none() {
            let problem = "there are no `applications` to look for keys' subscriptions in";
            return Err(ConfigError::at("api_keys", problem));
        }
        let needed_by_keys = config.api_keys;
        let needed = |issuer: &Issuer| config.issuers.is_empty() || config.issuers.contains(&issuer.issuer);
        let (applications, remote) = match config.applications {
            None => (Applications::default(), None),
            Some(ApplicationList::Inline(list)) => {
                let read = Applications::new(list).map_err(|error| error.under("applications.inline"))?;
                (read, None)
            }
            Some(ApplicationList::Remote(document)) => {
                let remote = Remote::new(&KIND, fetch, KIND.name.to_owned(), &document, "");
                let remote = remote.map_err(|problem| ConfigError::at("applications.remote", problem))?;
                (Applications::default(), Some(remote))
            }
        };
        Ok(Self { needed: issuers.iter().map(needed).collect(), needed_by_keys, applications, remote })
    }

    /// Whether the bearer of a token may use it for this API. `may_wait`: the request has not waited yet.
    pub fn check(
        &mut self,
        verified: &Verified,
        api: Option<&Api>,
        cx: &mut Cx<'_>,
        may_wait: bool,
    ) -> Outcome {
        if !self.needed.get(verified.issuer).copied().unwrap_or(true) {
            return Outcome::Free;
        }
        let Some(api) = api else { return Outcome::Free };
        if let Some(grants) = &verified.grants {
            let caller = grants.subscription(api);
            return caller.map_or(Outcome::Refused(SubscriptionProblem::Missing), Outcome::Subscribed);
        }
        self.of_table(&verified.caller, api, cx, may_wait)
    }

    /// Whether what a signed API key says of its application's subscriptions still holds.
    pub fn check_key(
        &mut self,
        caller: &Caller,
        api: Option<&Api>,
        cx: &mut Cx<'_>,
        may_wait: bool,
    ) -> Outcome {
        match api.filter(|_| self.needed_by_keys) {
            Some(api) => self.of_table(caller, api, cx, may_wait),
            None => Outcome::Free,
        }
    }

    fn of_table(&mut self, caller: &Caller, api: &Api, cx: &mut Cx<'_>, may_wait: bool) -> Outcome {
        let usable = self.remote.as_ref().is_none_or(|remote| remote.is_usable(cx.host.monotonic()));
        let found = usable.then(|| self.applications.check(caller, api));
        if let Some(Ok(caller)) = found {
            return Outcome::Subscribed(caller);
        }
        // Whoever has subscribed a moment ago is not in the table yet.
        if may_wait
            && matches!(found, None | Some(Err(SubscriptionProblem::Missing)))
            && let Some((on, deadline)) = self.remote.as_mut().and_then(|remote| remote.want(cx))
        {
            return Outcome::Wait(on, deadline);
        }
        Outcome::Refused(found.and_then(Result::err).unwrap_or(SubscriptionProblem::Unavailable))
    }

    pub fn on_tick(&mut self, cx: &mut Cx<'_>) {
        if let Some(remote) = &mut self.remote {
            remote.on_tick(&mut self.applications, cx);
        }
    }

    pub fn on_fetched(&mut self, reply: Result<&HttpReply, CalloutError>, cx: &mut Cx<'_>) {
        if let Some(remote) = &mut self.remote {
            remote.on_fetched(reply, &mut self.applications, cx);
        }
    }
}

impl Applications {
    fn new(applications: Vec<config::Application>) -> Result<Self, ConfigError> {
        let mut keys = HashMap::new();
        for (application, config) in applications.iter().enumerate() {
            for (index, key) in config.keys.iter().enumerate() {
                let known = Key { application, sandbox: key.sandbox };
                if keys.insert(key.consumer.clone(), known).is_some() {
                    let problem = format!("`{}` is a key of two applications, or listed twice", key.consumer);
                    return Err(ConfigError::at(format!("[{application}].keys[{index}].consumer"), problem));
                }
            }
        }
        Ok(Self { keys, applications })
    }

    fn check(&self, caller: &Caller, api: &Api) -> Result<Part<Caller>, SubscriptionProblem> {
        let key = self.keys.get(&caller.consumer).ok_or(SubscriptionProblem::Missing)?;
        let application = self.applications.get(key.application).ok_or(SubscriptionProblem::Missing)?;
        let mut subscriptions = application.subscriptions.iter();
        let subscription = subscriptions
            .find(|subscription| subscription.api == api.name && subscription.version == api.version)
            .ok_or(SubscriptionProblem::Missing)?;
        match subscription.state {
            SubscriptionState::Unblocked | SubscriptionState::TierUpdatePending => {}
            SubscriptionState::ProdOnlyBlocked if key.sandbox => {}
            SubscriptionState::Blocked | SubscriptionState::ProdOnlyBlocked => {
                return Err(SubscriptionProblem::Blocked);
            }
            SubscriptionState::OnHold | SubscriptionState::Rejected => {
                return Err(SubscriptionProblem::Inactive);
            }
        }
        Ok(Part::new(Caller {
            application: application.name.clone(),
            tier: subscription.tier.clone(),
            ..caller.clone()
        }))
    }
}

impl Document for Applications {
    fn replace(&mut self, text: &[u8]) -> Result<(), String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct List {
            applications: Vec<config::Application>,
        }
        let list: List = enforcer_core::config::parse(text).map_err(|error| error.to_string())?;
        *self = Self::new(list.applications).map_err(|error| error.under("applications").to_string())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use serde_json::{Value, json};

    use super::*;

    fn applications(value: Value) -> Result<Applications, ConfigError> {
        Applications::new(serde_json::from_value(value).unwrap())
    }

    fn check(consumer: &str, state: &str) -> Result<Part<Caller>, SubscriptionProblem> {
        let applications = applications(json!([
            {"name": "Shop", "keys": [{"consumer": "shop"}, {"consumer": "shop-test", "sandbox": true}],
             "subscriptions": [{"api": "Petstore", "version": "1.0", "tier": "Gold", "state": state}]},
            {"name": "Other", "keys": [{"consumer": "other"}],
             "subscriptions": [{"api": "Petstore", "version": "2.0"}, {"api": "Pets", "version": "1.0"}]},
        ]));
        let api = serde_json::from_value(json!({"name": "Petstore", "version": "1.0"})).unwrap();
        let caller =
            Caller { consumer: consumer.to_owned(), subject: "alice".to_owned(), ..Caller::default() };
        applications.unwrap().check(&caller, &api)
    }

    #[test]
    fn a_subscription_gives_application_and_tier() {
        for state in ["UNBLOCKED", "TIER_UPDATE_PENDING"] {
            let caller = check("shop", state).unwrap();
            assert_eq!((&*caller.application, &*caller.tier, &*caller.subject), ("Shop", "Gold", "alice"));
        }
    }

    #[test]
    fn what_is_not_subscribed_to_is_not_for_the_application() {
        for consumer in ["other", "nobody", ""] {
            assert_eq!(check(consumer, "UNBLOCKED"), Err(SubscriptionProblem::Missing), "{consumer}");
        }
    }

    #[test]
    fn a_subscription_counts_in_certain_states_only() {
        assert_eq!(check("shop", "BLOCKED"), Err(SubscriptionProblem::Blocked));
        assert_eq!(check("shop-test", "BLOCKED"), Err(SubscriptionProblem::Blocked));
        assert_eq!(check("shop", "PROD_ONLY_BLOCKED"), Err(SubscriptionProblem::Blocked));
        assert!(check("shop-test", "PROD_ONLY_BLOCKED").is_ok());
        assert_eq!(check("shop", "ON_HOLD"), Err(SubscriptionProblem::Inactive));
        assert_eq!(check("shop", "REJECTED"), Err(SubscriptionProblem::Inactive));
    }

    #[test]
    fn a_consumer_is_of_one_application() {
        let error = applications(json!([
            {"name": "a", "keys": [{"consumer": "x"}]}, {"name": "b", "keys": [{"consumer": "y"}, {"consumer": "x"}]},
        ]));
        assert!(error.unwrap_err().to_string().starts_with("[1].keys[1].consumer: `x` is a key of two"));
    }
}
