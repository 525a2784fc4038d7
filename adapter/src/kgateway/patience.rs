//! How long Envoy waits for the server.

use std::time::Duration;

use enforcer_auth::config::AuthConfig;
use enforcer_core::units::Span;
use enforcer_ratelimit::config::{RateLimitConfig, Service};

use crate::gateway::Gateway;

/// Beyond what the filters may wait for others: what the server itself may take, `limits.callback` and a queue.
const OWN: Duration = Duration::from_secs(2);

/// The longest `message_timeout` that Envoy takes.
pub(super) const LONGEST: Span = Span::from_secs(3_600);

/// `messageTimeout`, in whole seconds: an Envoy that gives up before the filters do answers 500 in the place of what
/// they would say.
pub(super) fn message_timeout(gateway: &Gateway) -> Span {
    of(&gateway.auth, gateway.ratelimit.as_ref())
}

fn of(auth: &AuthConfig, ratelimit: Option<&RateLimitConfig>) -> Span {
    let counted = ratelimit.and_then(|config| config.service.as_ref()).map(Service::patience);
    let waits = [auth.patience(), counted.unwrap_or_default(), OWN];
    let sum = waits.into_iter().fold(Duration::ZERO, Duration::saturating_add);
    Span::from_secs(sum.as_secs().saturating_add(u64::from(sum.subsec_nanos() > 0)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    #[test]
    fn envoy_waits_longer_than_all_filters_together() {
        let seconds = |auth: Value, limits: Value| {
            let limits: Option<RateLimitConfig> = from_value(limits).unwrap();
            of(&from_value(auth).unwrap(), limits.as_ref()).duration().as_secs()
        };
        assert_eq!(seconds(json!({}), Value::Null), 2);
        let auth = json!({ "opa": { "cluster": "a", "url": "http://a.example/", "timeout": "20s" } });
        assert_eq!(seconds(auth.clone(), json!({})), 23, "20.5 s and 2 s");
        let limits = json!({ "service": { "cluster": "limits", "timeout": "3s" } });
        assert_eq!(seconds(auth, limits), 26, "3.05 s more");
    }
}
