//! Several filters as one.
//!
//! One module instead of several: Envoy compiles it once, keeps one VM a worker, and calls it once a phase; the
//! request's headers are read once, and the identity goes from filter to filter in memory. Requests pass the
//! filters in the order of [`BundleConfig`]'s members; those that are not configured cost nothing.

use enforcer_analytics::Analytics;
use enforcer_auth::Auth;
use enforcer_core::{
    chain::Chain,
    config::ConfigError,
    cx::Cx,
    filter::{Background, CallSummary, Capabilities, Event, Filter, Needs, Step},
};
use enforcer_ratelimit::RateLimit;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The filters in the order in which requests pass them.
type Members = Chain<Option<Auth>, Chain<Option<RateLimit>, Option<Analytics>>>;

/// All filters in one.
#[derive(Debug)]
pub struct Bundle(Members);

/// The configuration of each filter that takes part; at least one does.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleConfig {
    /// Who may call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<<Auth as Filter>::Config>,
    /// How often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratelimit: Option<<RateLimit as Filter>::Config>,
    /// What happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analytics: Option<<Analytics as Filter>::Config>,
}

impl Filter for Bundle {
    const NAME: &'static str = "enforcer";
    type Config = BundleConfig;
    type Exchange = <Members as Filter>::Exchange;

    fn new(config: BundleConfig, capabilities: Capabilities) -> Result<Self, ConfigError> {
        let BundleConfig { auth, mut ratelimit, analytics } = config;
        if auth.is_none() && ratelimit.is_none() && analytics.is_none() {
            return Err(ConfigError::at("", "no filter is configured: give at least one, such as `auth`"));
        }
        if let Some(ratelimit) = &mut ratelimit {
            ratelimit.identified |= auth.is_some();
        }
        let rest = Chain::of(member(ratelimit, capabilities)?, member(analytics, capabilities)?);
        Ok(Self(Chain::of(member(auth, capabilities)?, rest)))
    }

    fn needs(&self) -> Needs {
        self.0.needs()
    }

    fn on_event(&mut self, exchange: &mut Self::Exchange, event: Event<'_>, cx: &mut Cx<'_>) -> Step {
        self.0.on_event(exchange, event, cx)
    }

    fn on_log(&mut self, exchange: Self::Exchange, call: &CallSummary<'_>, cx: &mut Cx<'_>) {
        self.0.on_log(exchange, call, cx);
    }

    fn on_background(&mut self, event: Background<'_>, cx: &mut Cx<'_>) {
        self.0.on_background(event, cx);
    }
}

/// One filter, if it is configured; errors begin with its name.
fn member<F: Filter>(
    config: Option<F::Config>,
    capabilities: Capabilities,
) -> Result<Option<F>, ConfigError> {
    config.map(|config| F::new(config, capabilities).map_err(|error| error.under(F::NAME))).transpose()
}

#[cfg(test)]
mod tests {
    use std::{iter, time::Duration};

    use enforcer_analytics::fault::{Ending, Kind};
    use enforcer_ratelimit::{
        answer::Refusal,
        config::{Headers, Level},
    };

    /// All refusals of the rate limit filter, one after the other: a new one does not compile before it has a place.
    fn after(refusal: Refusal) -> Option<Refusal> {
        let over = |level, burst| Some(Refusal::Over { level, burst });
        match refusal {
            Refusal::Over { level, burst: false } => over(level, true),
            Refusal::Over { level: Level::Api, burst: true } => over(Level::Resource, false),
            Refusal::Over { level: Level::Resource, burst: true } => over(Level::Subscription, false),
            Refusal::Over { level: Level::Subscription, burst: true } => over(Level::Application, false),
            Refusal::Over { level: Level::Application, burst: true } => over(Level::Custom, false),
            Refusal::Over { level: Level::Custom, burst: true } => Some(Refusal::Blocked),
            Refusal::Blocked => Some(Refusal::Contended),
            Refusal::Contended => Some(Refusal::Unanswered),
            Refusal::Unanswered => Some(Refusal::Unreadable),
            Refusal::Unreadable => None,
        }
    }

    #[test]
    fn analytics_knows_every_refusal_of_a_limit_by_its_code() {
        let first = Refusal::Over { level: Level::Api, burst: false };
        for refusal in iter::successors(Some(first), |refusal| after(*refusal)) {
            let code = refusal.fault(&[], Headers::default(), Duration::ZERO).code;
            let ending = Ending { status: code.status, details: refusal.detail(), ..Ending::default() };
            let fault = ending.fault().unwrap();
            assert_eq!(fault.code.to_string(), code.code, "{refusal:?}");
            let kind = if refusal == Refusal::Unreadable { Kind::Auth } else { Kind::Throttled };
            assert_eq!(fault.kind, kind, "{refusal:?}");
            let told = matches!(refusal, Refusal::Over { .. } | Refusal::Blocked);
            assert_eq!(fault.message != "OTHER", told, "{refusal:?}: {}", fault.message);
        }
    }
}
