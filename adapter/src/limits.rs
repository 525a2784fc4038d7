//! Tiers and limits: from the definitions and `enforcer.yaml` to the rate limit filter's configuration.

use std::collections::BTreeSet;

use enforcer_core::{
    config::ConfigError,
    filter::{Capabilities, Filter as _},
};
use enforcer_ratelimit::{
    RateLimit,
    config::{Api as LimitedApi, Operation as LimitedOperation, RateLimitConfig, Service},
    tiers,
};

use crate::{
    diagnostic::{Diagnostic, Diagnostics, suggest},
    envoy::native,
    model::{Api, ApiModel, NamedTier},
    settings::{Limits, Settings},
    source::View,
    url::Url,
};

/// The rate limit filter's configuration, and by `cluster` the cluster of the server that it asks; `None` where nothing is limited.
pub(crate) fn configure(
    model: &ApiModel,
    settings: &Settings,
    file: View<'_>,
    cluster: &mut dyn FnMut(&Url) -> String,
    findings: &mut Diagnostics,
) -> Option<RateLimitConfig> {
    known_tiers(model, settings, findings);
    let limits = &settings.limits;
    let apis: Vec<LimitedApi> = model.apis.iter().filter_map(limited).collect();
    let config = RateLimitConfig {
        tiers: settings.tiers.clone(),
        apis,
        policies: limits.policies.clone(),
        blocked: limits.blocked.clone(),
        service: service(limits, file, cluster, findings),
        algorithm: limits.algorithm,
        max_keys: limits.max_keys.unwrap_or_else(enforcer_ratelimit::config::max_keys),
        ipv6_prefix: limits.ipv6_prefix.unwrap_or_else(enforcer_ratelimit::config::ipv6_prefix),
        headers: limits.headers,
        errors: settings.auth.errors,
        mode: settings.mode,
        metrics: limits.metrics,
        // The auth filter is always in front.
        identified: true,
    };
    unpublished_claims(&config, settings, file, findings);
    if !findings.failed()
        && let Err(error) = RateLimit::new(config.clone(), Capabilities::default())
    {
        findings.push(refused(&error, model, file));
    }
    if limits.native && !findings.failed() {
        for problem in native::problems(&config) {
            let place = file.descend(steps(&problem.path)).place();
            let help = "leave out `limits.native`, or what is named";
            findings.push(Diagnostic::error(problem.to_string()).at(place).help(help));
        }
    }
    let limits_nothing = config.apis.is_empty() && config.policies.is_empty() && config.blocked.is_empty();
    (!limits_nothing).then_some(config)
}

/// A tier that nobody has defined: Choreo Connect would let every request pass, and MGW refuse every one.
fn known_tiers(model: &ApiModel, settings: &Settings, findings: &mut Diagnostics) {
    let mut known: BTreeSet<&str> = tiers::built_in().collect();
    known.extend(settings.tiers.keys().map(String::as_str));
    let named = model.apis.iter().flat_map(|api| {
        api.tier.iter().chain(api.operations.iter().filter_map(|operation| operation.tier.as_ref()))
    });
    for NamedTier { name, place } in named.filter(|tier| !known.contains(tier.name.as_str())) {
        let names: Vec<&str> = known.iter().copied().collect();
        let help = match suggest(name, &names) {
            help if help.starts_with("did you mean") => help,
            _ => format!(
                "define it in enforcer.yaml: `tiers: {{{name}: {{quota: {{requests: 100, per: 1m}}}}}}`"
            ),
        };
        findings.push(Diagnostic::error(format!("there is no tier `{name}`")).at(place.clone()).help(help));
    }
}

/// A claim that no issuer's settings hand on would never be there.
fn unpublished_claims(
    config: &RateLimitConfig,
    settings: &Settings,
    file: View<'_>,
    findings: &mut Diagnostics,
) {
    let published: BTreeSet<&str> = settings
        .issuers
        .iter()
        .flat_map(|issuer| issuer.claim_headers.iter().map(|mapping| &mapping.claim).chain(&issuer.claims))
        .map(String::as_str)
        .collect();
    for (path, claim) in enforcer_ratelimit::policies::claims(config) {
        if !published.contains(claim.as_str()) {
            let place = file.descend(steps(&path)).place();
            findings.push(
                Diagnostic::error(format!("no issuer hands on the claim `{claim}`"))
                    .at(place)
                    .help(format!("add it to an issuer: `issuers: [{{..., claims: [{claim}]}}]`")),
            );
        }
    }
}

/// Who counts for several Envoys, as the filter is told it.
fn service(
    limits: &Limits,
    file: View<'_>,
    cluster: &mut dyn FnMut(&Url) -> String,
    findings: &mut Diagnostics,
) -> Option<Service> {
    let settings = limits.service.as_ref()?;
    let url = findings.take(Url::parse(&settings.url).map_err(|problem| {
        Diagnostic::error(format!("the rate limit service `{}` {problem}", settings.url))
            .at(file.descend(["limits", "service", "url"]).place())
            .help("write it as `http://ratelimit:8081`")
    }))?;
    Some(Service {
        cluster: cluster(&url),
        domain: settings.domain.clone().unwrap_or_else(enforcer_ratelimit::config::domain),
        timeout: settings.timeout.unwrap_or_else(enforcer_ratelimit::config::timeout),
        on_failure: settings.on_failure,
        leases: settings.leases.unwrap_or(!limits.native),
        apis: settings.apis,
    })
}

/// What of an API is limited.
fn limited(api: &Api) -> Option<LimitedApi> {
    let operations = api.operations.iter().filter(|operation| operation.tier.is_some()).map(|operation| {
        LimitedOperation {
            id: operation.id.clone(),
            path: operation.template.clone(),
            methods: vec![operation.method.clone()],
            tier: operation.tier.as_ref().map(|tier| tier.name.clone()),
        }
    });
    let operations: Vec<_> = operations.collect();
    let tier = api.tier.as_ref().map(|tier| tier.name.clone());
    (tier.is_some() || !operations.is_empty()).then(|| LimitedApi {
        name: api.name.clone(),
        version: api.version.clone(),
        hosts: api.hosts.clone(),
        base_path: api.base_path.clone(),
        tier,
        operations,
    })
}

/// Where a path of the filter's configuration is in `enforcer.yaml`.
fn steps(path: &str) -> Vec<&str> {
    let own = path == "mode" || path.starts_with("tiers.");
    let within: &[&str] = if own { &[] } else { &["limits"] };
    let steps = path.split(['.', '[', ']']).filter(|step| !step.is_empty());
    within.iter().copied().chain(steps).collect()
}

/// The filter's own words about its configuration, at the setting that they are about.
fn refused(error: &ConfigError, model: &ApiModel, file: View<'_>) -> Diagnostic {
    let steps = steps(&error.path);
    let place = match steps.as_slice() {
        ["limits", "apis", index, ..] => {
            let mut limited = model.apis.iter().filter(|api| limited(api).is_some());
            let api = index.parse::<usize>().ok().and_then(|index| limited.nth(index));
            api.map_or_else(|| file.place(), |api| api.place.clone())
        }
        steps => file.descend(steps.iter().copied()).place(),
    };
    Diagnostic::error(format!("the rate limit filter refuses this: {error}"))
        .at(place)
        .help("correct the value that is named")
}
