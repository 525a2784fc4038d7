//! Limits as Envoy's own filters have them: no module of ours counts, and Envoy answers. `local_ratelimit` counts in one
//! process; `ratelimit` asks a service about the quotas that several Envoys share.
//!
//! What a key says of the caller, the auth filter publishes part by part; Envoy reads it with expressions (CEL) of
//! `envoy.rate_limit_descriptors.expr`. For whom nobody vouches there is no descriptor by who that is: the policy does not apply.

use enforcer_auth::{config::Published, publish::key};
use enforcer_core::{config::ConfigError, identity::versioned, mode::Mode, units::Span};
use enforcer_ratelimit::{
    config::{
        Algorithm, Api, Callers, Headers, OnFailure, Part, Period, Policy, Quota, RateLimitConfig, Service,
        Tier,
    },
    tiers,
};
use serde_json::{Value, json};

use super::{duration, typed};

/// Names of the filters among the HTTP filters.
const LOCAL: &str = "enforcer.local_ratelimit";
const GLOBAL: &str = "enforcer.global_ratelimit";

/// The shortest time after which Envoy fills a bucket.
const SHORTEST: Span = Span::from_millis(50);

/// What cannot be said in Envoy's own words, each with where it is.
pub(crate) fn problems(config: &RateLimitConfig) -> Vec<ConfigError> {
    let mut problems = Vec::new();
    let mut refuse = |path: String, what: &str| {
        problems.push(ConfigError::at(path, format!("envoy's own filter has no {what}")));
    };
    if config.algorithm == Algorithm::Window {
        refuse("algorithm".to_owned(), "windows of the calendar");
    }
    if config.headers != Headers::default() {
        refuse("headers".to_owned(), "such fields");
    }
    if config.mode == Mode::Shadow {
        refuse("mode".to_owned(), "shadow mode that says who would have been refused");
    }
    if config.metrics {
        refuse("metrics".to_owned(), "counters by policy");
    }
    if let Some(Service { leases, on_failure, .. }) = &config.service {
        if *leases {
            refuse("service.leases".to_owned(), "hits taken in advance");
        }
        if *on_failure == OnFailure::Local {
            let what = "local limits for when the service does not answer: say `open` or `closed`";
            refuse("service.on_failure".to_owned(), what);
        }
    }
    for index in 0..config.blocked.len() {
        refuse(format!("blocked[{index}]"), "blocks");
    }
    for (index, policy) in config.policies.iter().enumerate() {
        let Policy { key, tier_from, callers, mode, .. } = policy;
        let path = format!("policies[{index}]");
        if tier_from.is_some() {
            refuse(format!("{path}.tier_from"), "tiers by caller");
        }
        if *callers != Callers::All {
            refuse(format!("{path}.callers"), "policies for some callers");
        }
        if *mode == Mode::Shadow {
            refuse(format!("{path}.mode"), "shadow mode for one policy");
        }
        for (number, part) in key.iter().enumerate() {
            match part {
                Part::Query(_) | Part::Cookie(_) => {
                    refuse(format!("{path}.key[{number}]"), "query parameters and cookies");
                }
                Part::Header(name) | Part::Claim(name) if name.contains(['\'', '\\']) => {
                    refuse(format!("{path}.key[{number}]"), "names with a quote");
                }
                _ => {}
            }
        }
    }
    for (name, tier) in named(config) {
        if let Err(what) = bucket(&tier) {
            refuse(format!("tiers.{name}"), what);
        }
    }
    problems
}

/// What the auth filter must publish singly.
pub(crate) fn published(config: &RateLimitConfig) -> Vec<Published> {
    let keys = config.policies.iter().flat_map(|policy| &policy.key).filter_map(of_identity);
    let apis = config.apis.iter().map(|api| match api.tier {
        Some(_) => Published::Api,
        None => Published::Operation,
    });
    let mut all: Vec<Published> = keys.chain(apis).collect();
    all.sort();
    all.dedup();
    all
}

/// The filters that are needed, in the order in which a request passes them: what can be refused here is not asked about.
pub(super) fn http_filters(config: &RateLimitConfig) -> Vec<Value> {
    [local(config), config.service.as_ref().and_then(|service| global(config, service))]
        .into_iter()
        .flatten()
        .collect()
}

/// What one Envoy counts by itself.
fn local(config: &RateLimitConfig) -> Option<Value> {
    let mut limits: Vec<(Value, Value)> = Vec::new();
    let tier = |name: &str| named(config).find(|(known, _)| *known == name).map(|(_, tier)| tier);
    let apis = if shares_apis(config) { &[] } else { config.apis.as_slice() };
    for api in apis {
        for (part, value, name) in of_api(api) {
            let Some(bucket) = tier(name).and_then(|tier| bucket(&tier).ok().flatten()) else { continue };
            let actions = json!([generic("policy", "api"), identity(&part)]);
            let entries = json!([entry("policy", "api"), entry(&key(&part), &value)]);
            limits.push((actions, json!({"entries": entries, "token_bucket": bucket})));
        }
    }
    for policy in config.policies.iter().filter(|policy| !policy.shared) {
        let Some(bucket) = tier(&policy.tier).and_then(|tier| bucket(&tier).ok().flatten()) else { continue };
        let parts = policy.key.iter().map(|part| action(part, config.ipv6_prefix));
        let actions: Vec<Value> = [generic("policy", &policy.name)].into_iter().chain(parts).collect();
        let parts = policy.key.iter().map(|part| match part {
            Part::Constant(value) => entry("constant", value),
            part => json!({"key": descriptor_key(part)}),
        });
        let entries: Vec<Value> = [entry("policy", &policy.name)].into_iter().chain(parts).collect();
        limits.push((json!(actions), json!({"entries": entries, "token_bucket": bucket})));
    }
    if limits.is_empty() {
        return None;
    }
    let rate_limits = once(limits.iter().map(|(actions, _)| actions));
    let descriptors: Vec<&Value> = limits.iter().map(|(_, descriptor)| descriptor).collect();
    let always = json!({"default_value": {"numerator": 100}});
    let filter = json!({
        "stat_prefix": "enforcer",
        // For what no descriptor is about: without end.
        "token_bucket": {"max_tokens": u32::MAX, "tokens_per_fill": u32::MAX, "fill_interval": "1s"},
        "filter_enabled": always,
        "filter_enforced": always,
        "max_dynamic_descriptors": config.max_keys,
        "descriptors": descriptors,
        "rate_limits": rate_limits,
    });
    let filter = typed("envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit", filter);
    Some(json!({"name": LOCAL, "typed_config": filter}))
}

/// What a service counts for several Envoys. How much there is, it is not told: Envoy has no words for that.
fn global(config: &RateLimitConfig, service: &Service) -> Option<Value> {
    let mut all: Vec<Value> = Vec::new();
    if shares_apis(config) {
        let parts = config.apis.iter().flat_map(|api| of_api(api).into_iter().map(|(part, ..)| part));
        all.extend(parts.map(|part| json!([generic("policy", "api"), identity(&part)])));
    }
    for policy in config.policies.iter().filter(|policy| policy.shared) {
        let named = [generic("policy", &policy.name), generic("tier", &policy.tier)];
        let parts = policy.key.iter().map(|part| action(part, config.ipv6_prefix));
        all.push(named.into_iter().chain(parts).collect());
    }
    if all.is_empty() {
        return None;
    }
    let filter = json!({
        "stat_prefix": "enforcer",
        "domain": service.domain,
        "timeout": duration(service.timeout),
        "failure_mode_deny": service.on_failure == OnFailure::Closed,
        // As our filter has it; Envoy's own choice is 500.
        "status_on_error": {"code": "ServiceUnavailable"},
        "rate_limit_service": {
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": service.cluster}},
        },
        "rate_limits": once(all.iter()),
    });
    let filter = typed("envoy.extensions.filters.http.ratelimit.v3.RateLimit", filter);
    Some(json!({"name": GLOBAL, "typed_config": filter}))
}

fn shares_apis(config: &RateLimitConfig) -> bool {
    config.service.as_ref().is_some_and(|service| service.apis)
}

/// The same actions once: several APIs have their own limits and one description.
fn once<'a>(actions: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for actions in actions {
        let one = json!({"actions": actions});
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all
}

/// The tiers that are used, by their names.
fn named(config: &RateLimitConfig) -> impl Iterator<Item = (&str, Tier)> {
    let of_apis = config.apis.iter().flat_map(|api| of_api(api).into_iter().map(|(_, _, tier)| tier));
    let mut names: Vec<&str> =
        config.policies.iter().map(|policy| policy.tier.as_str()).chain(of_apis).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter_map(|name| {
        let known = config.tiers.get(name).cloned();
        Some((name, known.or_else(|| tiers::of_wso2(name))?))
    })
}

/// What of an API has a tier: the part that tells it, its value, and the tier's name.
fn of_api(limited: &Api) -> Vec<(Published, String, &str)> {
    let name = versioned(&limited.name, &limited.version);
    if let Some(tier) = &limited.tier {
        return vec![(Published::Api, name, tier)];
    }
    let operations = limited.operations.iter();
    operations
        .filter_map(|one| Some((Published::Operation, format!("{name}:{}", one.id), one.tier.as_deref()?)))
        .collect()
}

/// A tier as a token bucket; `None`: it has no limit. Or what of it Envoy has not.
fn bucket(tier: &Tier) -> Result<Option<Value>, &'static str> {
    let Tier { quota, burst, bandwidth, cost, stop_on_quota, groups } = tier;
    if burst.is_some() {
        return Err("burst limit beside a quota");
    }
    if bandwidth.is_some() || cost.is_some() {
        return Err("limits of bytes and costs");
    }
    if !stop_on_quota {
        return Err("limits that only count");
    }
    if !groups.is_empty() {
        return Err("conditions");
    }
    let Some(Quota { requests, per }) = quota else { return Ok(None) };
    let interval = match per {
        Period::Span(span) => *span,
        Period::Months(_) => Span::from_secs(per.duration().as_secs()),
    };
    let tokens = u32::try_from(*requests).map_err(|_| "quota of more than four billion requests")?;
    if interval < SHORTEST {
        return Err("periods of less than 50 ms");
    }
    Ok(Some(json!({"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": duration(interval)})))
}

fn of_identity(part: &Part) -> Option<Published> {
    Some(match part {
        Part::Api => Published::Api,
        Part::Operation => Published::Operation,
        Part::Consumer => Published::Consumer,
        Part::Application => Published::Application,
        Part::Subscription => Published::Subscription,
        Part::User => Published::User,
        Part::Claim(name) => Published::Claim(name.clone()),
        Part::ClientIp | Part::Header(_) | Part::Query(_) | Part::Cookie(_) | Part::Constant(_) => {
            return None;
        }
    })
}

fn entry(key: &str, value: &str) -> Value {
    json!({"key": key, "value": value})
}

fn generic(key: &str, value: &str) -> Value {
    json!({"generic_key": {"descriptor_key": key, "descriptor_value": value}})
}

fn expression(key: &str, text: &str) -> Value {
    let descriptor = json!({"descriptor_key": key, "text": text});
    json!({"extension": {
        "name": "envoy.rate_limit_descriptors.expr",
        "typed_config": typed("envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor", descriptor),
    }})
}

fn identity(part: &Published) -> Value {
    let key = key(part);
    expression(&key, &format!("filter_state['wasm.{key}']"))
}

/// What a part of a key is called among descriptors.
fn descriptor_key(part: &Part) -> String {
    match (part, of_identity(part)) {
        (_, Some(part)) => key(&part),
        (Part::Header(name), None) => format!("header.{}", name.to_ascii_lowercase()),
        (_, None) => "masked_remote_address".to_owned(),
    }
}

/// How Envoy finds a part of a key.
fn action(part: &Part, ipv6_prefix: u8) -> Value {
    match (part, of_identity(part)) {
        (_, Some(part)) => identity(&part),
        (Part::Constant(value), None) => generic("constant", value),
        (Part::Header(name), None) => {
            let name = name.to_ascii_lowercase();
            // Envoy has no bucket for an empty value, and who leaves it out would be free.
            let value = format!("request.headers['{name}']");
            let text = format!("'{name}' in request.headers && {value} != '' ? {value} : '-'");
            expression(&descriptor_key(part), &text)
        }
        (_, None) => {
            json!({"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": ipv6_prefix}})
        }
    }
}
