#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use std::time::Duration;

use enforcer_core::{
    cx::{Messages, Wishes},
    host::{Host as _, MapKind},
    identity::Caller,
    native::NativeHost,
};
use serde_json::{Value, json};

use super::*;

fn filter(config: Value) -> Result<RateLimit, ConfigError> {
    RateLimit::new(serde_json::from_value(config).unwrap(), Capabilities::default())
}

/// What is done with one request: `None` when it passes.
fn answer(filter: &mut RateLimit, host: &NativeHost) -> Option<Response> {
    let (messages, mut wishes) = (Messages::default(), Wishes::default());
    let mut exchange = Exchange::default();
    match filter.on_event(&mut exchange, Event::RequestHead, &mut Cx::new(host, &messages, &mut wishes)) {
        Step::Respond(response) => Some(response),
        Step::Continue(_) => None,
        other => panic!("{other:?}"),
    }
}

fn passes(filter: &mut RateLimit, host: &NativeHost) -> bool {
    answer(filter, host).is_none()
}

fn of_key(host: &NativeHost, key: &str) -> NativeHost {
    host.sibling().with_headers(MapKind::RequestHeaders, [(":path", "/"), ("x-key", key)])
}

#[test]
fn an_unreadable_identity_is_refused() {
    let by_user = json!({"identified": true, "policies": [{"name": "a", "key": ["user"], "tier": "Gold"}]});
    let mut by_user = filter(by_user).unwrap();
    let response = answer(&mut by_user, &NativeHost::new().with_unreadable_identity()).unwrap();
    assert_eq!((response.status, response.detail.as_str()), (500, "enforcer_ratelimit_identity_unreadable"));
    let mut by_header = filter(json!({"identified": true})).unwrap();
    assert!(passes(&mut by_header, &NativeHost::new().with_unreadable_identity()), "nothing depends on it");
}

#[test]
fn nothing_configured_limits_nothing() {
    let (mut filter, host) = (filter(json!({})).unwrap(), NativeHost::new());
    assert!((0..100).all(|_| passes(&mut filter, &host)));
    assert!(host.shared_data().is_empty());
}

#[test]
fn the_tiers_of_wso2_are_there() {
    let of = |tier: &str| {
        let mut filter =
            filter(json!({"policies": [{"name": "a", "key": [{"constant": "x"}], "tier": tier}]})).unwrap();
        let host = NativeHost::new();
        (0..6_000).filter(|_| passes(&mut filter, &host)).count()
    };
    for (tier, requests) in [("Bronze", 1000), ("Unauthenticated", 500), ("10PerMin", 10), ("Gold", 5000)] {
        assert_eq!(of(tier), requests, "{tier}");
    }
    assert_eq!(of("Unlimited"), 6_000);
}

/// Two workers that use up the same allowances in two policies: while one gives back what it took, the other may
/// be refused once too often, and never admitted once too often.
#[test]
fn stacked_limits_admit_no_more_than_each_of_them() {
    let config = json!({
        "tiers": {"Five": {"quota": {"requests": 5, "per": "1h"}}, "Three": {"quota": {"requests": 3, "per": "1h"}}},
        "policies": [
            {"name": "all", "key": [{"constant": "all"}], "tier": "Five"},
            {"name": "each", "key": [{"header": "x-key"}], "tier": "Three"},
        ],
    });
    let (mut filter, host) = (filter(config).unwrap(), NativeHost::new());
    let admitted =
        |filter: &mut RateLimit, key: &str| (0..10).filter(|_| passes(filter, &of_key(&host, key))).count();
    assert_eq!(
        (admitted(&mut filter, "a"), admitted(&mut filter, "b"), admitted(&mut filter, "c")),
        (3, 2, 0)
    );
}

#[test]
fn what_was_not_taken_is_not_given_back() {
    let one = |stop: bool| json!({"quota": {"requests": 1, "per": "1h"}, "stop_on_quota": stop});
    let config = json!({
        "tiers": {"Counts": one(false), "Stops": one(true)},
        "policies": [
            {"name": "counts", "key": [{"constant": "all"}], "tier": "Counts"},
            {"name": "stops", "key": [{"header": "x-key"}], "tier": "Stops"},
        ],
    });
    let (mut filter, host) = (filter(config).unwrap(), NativeHost::new());
    let mut call = |key: &str| {
        let host = of_key(&host, key);
        (passes(&mut filter, &host), host.counter("enforcer.ratelimit.shadow"))
    };
    assert_eq!([call("a"), call("a"), call("b")], [(true, 0), (false, 0), (true, 1)]);
}

#[test]
fn who_is_over_a_limit_that_does_not_stop_is_known() {
    let config = json!({
        "identified": true,
        "tiers": {"One": {"quota": {"requests": 1, "per": "1h"}, "burst": {"requests": 2, "per": "1m"}, "stop_on_quota": false}},
        "policies": [{"name": "a", "level": "subscription", "key": ["user"], "tier": "One"}],
    });
    let mut filter = filter(config).unwrap();
    let caller = Caller { issuer: "i".into(), subject: "s".into(), ..Caller::default() };
    let identity = Identity { caller: Part::new(caller), ..Identity::default() };
    let host = NativeHost::new().with_identity(&identity);
    assert!(passes(&mut filter, &host) && passes(&mut filter, &host));
    // The burst limit stops, and is what the answer speaks of.
    let response = answer(&mut filter, &host).unwrap();
    assert_eq!(response.detail.as_str(), "enforcer_ratelimit_subscription_burst");
    let policy = response.headers.iter().find(|(name, _)| name == "ratelimit-policy").unwrap();
    assert_eq!(policy.1, r#""a-burst";q=2;w=60"#);
    assert_eq!(response.identity.unwrap().caller.subject, "s");
}

#[test]
fn windows_of_the_calendar_follow_the_wall_clock() {
    let config = json!({
        "algorithm": "window",
        "tiers": {"Two": {"quota": {"requests": 2, "per": "1m"}}},
        "policies": [{"name": "a", "key": [{"constant": "x"}], "tier": "Two"}],
    });
    let (mut filter, host) = (filter(config).unwrap(), NativeHost::new());
    let mut admitted = || (0..5).filter(|_| passes(&mut filter, &host)).count();
    host.advance(Duration::from_secs(59));
    assert_eq!(admitted(), 2);
    host.advance(Duration::from_secs(1));
    assert_eq!(admitted(), 2);
    host.set_now(host.now() - Duration::from_secs(7200));
    assert_eq!(admitted(), 0, "what was used still is");
    host.advance(Duration::from_secs(60));
    assert_eq!(admitted(), 2, "and nobody is locked out");
}

#[test]
fn bytes_are_counted_when_a_request_is_over() {
    let config = json!({
        "tiers": {"Thin": {"bandwidth": {"bytes": "1000B", "per": "1h"}}, "Up": {"bandwidth": {"bytes": "1000B", "of": "request", "per": "1h"}}},
        "policies": [
            {"name": "both", "key": [{"header": "x-key"}], "tier": "Thin"},
            {"name": "up", "key": [{"constant": "all"}], "tier": "Up"},
        ],
    });
    let (mut filter, host) = (filter(config).unwrap(), NativeHost::new());
    let mut call = |key: &str, request: i64, response: i64| {
        let host = of_key(&host, key)
            .with_attribute("request.size", request.to_le_bytes())
            .with_attribute("response.size", response.to_le_bytes());
        let (messages, mut wishes, mut exchange) =
            (Messages::default(), Wishes::default(), Exchange::default());
        let cx = &mut Cx::new(&host, &messages, &mut wishes);
        let step = filter.on_event(&mut exchange, Event::RequestHead, cx);
        filter.on_log(exchange, &CallSummary::default(), cx);
        match step {
            Step::Respond(response) => Some(response),
            _ => None,
        }
    };
    assert!(call("a", 10, 600).is_none() && call("a", 10, 600).is_none(), "who crosses the limit may finish");
    let refused = call("a", 500, 500).unwrap();
    let policy = refused.headers.iter().find(|(name, _)| name == "ratelimit-policy").unwrap();
    assert_eq!(policy.1, r#""both-bandwidth";q=1000;qu="content-bytes";w=3600"#);
    assert!(call("b", 979, 0).is_none(), "what was refused has not been counted");
    assert!(call("c", -5, 0).is_none() && call("c", 1, 5).is_none(), "20 + 979 + 1 are 1000");
    assert_eq!(call("d", 0, 0).unwrap().detail.as_str(), "enforcer_ratelimit_custom");
}

#[test]
fn what_must_be_known_of_requests_is_told() {
    let needs = |config: Value| filter(config).unwrap().needs();
    assert_eq!(needs(json!({})), Needs::default());
    let by_address = needs(
        json!({"policies": [{"name": "a", "key": ["client_ip"], "tier": "Gold"}], "headers": {"on_allowed": true}}),
    );
    assert_eq!((by_address.attributes, by_address.response), (vec!["source.address"], true));
}

#[test]
fn policies_have_an_order_and_names() {
    let refused = |config: Value| filter(config).unwrap_err().to_string();
    let policy = |name: &str, key: Value| json!({"policies": [{"name": name, "key": key, "tier": "Gold"}]});
    assert!(refused(policy("api", json!(["client_ip"]))).starts_with("policies[0].name: `api` is taken"));
    assert!(refused(policy("a", json!([]))).starts_with("policies[0].key: no part"));
    assert!(refused(policy("a", json!(["user"]))).starts_with("policies[0].key[0]: no filter in front"));
    let of_caller =
        json!({"policies": [{"name": "a", "key": ["api"], "tier": "Gold", "callers": "anonymous"}]});
    assert!(refused(of_caller).starts_with("policies[0]: no filter in front"));
    assert!(refused(json!({"ipv6_prefix": 129})).starts_with("ipv6_prefix: "));
}
