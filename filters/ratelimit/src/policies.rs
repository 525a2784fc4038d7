//! Who has which allowance.

use std::collections::BTreeSet;

use enforcer_core::{config::ConfigError, headers::is_token, mode::Mode};

use crate::{
    config::{Api, Blocked, Callers, Condition, CostSource, Level, Part, Policy, RateLimitConfig, TierFrom},
    parts::{Request, is_of_caller},
    tiers::{Allowances, Kind, Limit, Tiers},
};

/// The names of the policies that the tiers of APIs and operations make.
const OF_APIS: [(&str, Level); 2] = [("api", Level::Api), ("resource", Level::Resource)];

/// The level of blocks, as it is written.
const BLOCKED: &str = "blocked";

/// Level and name of all policies by their numbers: those that the tiers of APIs make, the configured ones, blocks.
pub fn numbered<'p>(
    policies: &'p [Policy],
    blocked: impl Iterator<Item = &'p str>,
) -> impl Iterator<Item = (&'static str, &'p str)> {
    let configured = policies.iter().map(|policy| (policy.level.name(), policy.name.as_str()));
    let of_apis = OF_APIS.iter().map(|(name, level)| (level.name(), *name));
    of_apis.chain(configured).chain(blocked.map(|name| (BLOCKED, name)))
}

/// The number of a block.
pub fn number_of_block(policies: &[Policy], index: usize) -> usize {
    OF_APIS.len().saturating_add(policies.len()).saturating_add(index)
}

/// A policy and the allowance that a request has by it.
#[derive(Debug, Clone, Copy)]
pub struct Applied<'p> {
    /// Its place in [`numbered`].
    pub number: usize,
    pub name: &'p str,
    pub level: Level,
    pub key: &'p [Part],
    pub shadow: bool,
    /// The tier is the caller's, whose credential says that its quota does not stop.
    pub over_quota: bool,
    /// The service counts its quota.
    pub shared: bool,
    pub allowances: &'p Allowances,
    /// A tier was named that does not exist.
    pub unknown_tier: bool,
}

impl Applied<'_> {
    /// Whether who is over a limit is refused. What holds for short times does, whatever a credential says of the quota.
    pub fn binds(&self, limit: &Limit) -> bool {
        limit.stops && !self.shadow && (limit.kind == Kind::Burst || !self.over_quota)
    }
}

/// Brings the names of headers to the form in which Envoy has them, everywhere in a configuration. What can be in no
/// request is refused: it would never apply.
pub fn normalise(config: &mut RateLimitConfig) -> Result<(), ConfigError> {
    parts(config, &mut |path, part| {
        let named = match part {
            Part::Header(name) => {
                name.make_ascii_lowercase();
                // Pseudo-headers are among them.
                is_token(name.strip_prefix(':').unwrap_or(name))
            }
            Part::Cookie(name) => is_token(name),
            Part::Query(name) | Part::Claim(name) => !name.is_empty(),
            _ => true,
        };
        if named { Ok(()) } else { Err(ConfigError::at(path, "nothing has such a name")) }
    })
}

/// Refuses what looks at callers when nobody says who calls: it would never apply.
pub fn check_identified(config: &mut RateLimitConfig) -> Result<(), ConfigError> {
    if config.identified {
        return Ok(());
    }
    const NOBODY: &str = "no filter in front says who calls: put `auth` into the bundle, or say `identified: true` \
                          where another module does";
    parts(config, &mut |path, part| match is_of_caller(part) {
        true => Err(ConfigError::at(path, NOBODY)),
        false => Ok(()),
    })?;
    if let Some((path, _)) = costs(config).into_iter().next() {
        return Err(ConfigError::at(path, NOBODY));
    }
    match config.policies.iter().position(about_callers) {
        Some(index) => Err(ConfigError::at(format!("policies[{index}]"), NOBODY)),
        None => Ok(()),
    }
}

/// What a configuration looks at: the rest need not be read from the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looks {
    /// At who calls.
    pub at_callers: bool,
    /// At what is called.
    pub at_called: bool,
    /// At where the call comes from.
    pub at_addresses: bool,
}

impl Looks {
    pub fn of(config: &mut RateLimitConfig) -> Self {
        let tiers = |api: &Api| api.tier.is_some() || api.operations.iter().any(|one| one.tier.is_some());
        let mut looks = Self {
            at_callers: config.policies.iter().any(about_callers) || !costs(config).is_empty(),
            at_called: config.apis.iter().any(tiers),
            at_addresses: false,
        };
        parts(config, &mut |_, part| {
            looks.at_callers |= is_of_caller(part);
            looks.at_called |= matches!(part, Part::Api | Part::Operation | Part::Subscription);
            looks.at_addresses |= *part == Part::ClientIp;
            Ok(())
        })
        .unwrap_or_default();
        looks
    }
}

fn about_callers(policy: &Policy) -> bool {
    policy.callers != Callers::All || policy.tier_from.is_some()
}

/// The claims that a configuration looks at, each with where.
pub fn claims(config: &RateLimitConfig) -> Vec<(String, String)> {
    let mut claims = costs(config);
    parts(&mut config.clone(), &mut |path, part| {
        if let Part::Claim(name) = part {
            claims.push((path, name.clone()));
        }
        Ok(())
    })
    .unwrap_or_default();
    for (index, policy) in config.policies.iter().enumerate() {
        if let Some(TierFrom::Claim(name)) = &policy.tier_from {
            claims.push((format!("policies[{index}].tier_from"), name.clone()));
        }
    }
    claims
}

/// The claims that name costs, each with where.
fn costs(config: &RateLimitConfig) -> Vec<(String, String)> {
    let mut costs = Vec::new();
    for (name, tier) in &config.tiers {
        let groups = tier.groups.iter().enumerate();
        let groups = groups.map(|(index, group)| (format!("tiers.{name}.groups[{index}]"), &group.cost));
        for (path, cost) in [(format!("tiers.{name}"), &tier.cost)].into_iter().chain(groups) {
            if let Some(CostSource::Claim(claim)) = cost.as_ref().map(|cost| &cost.from) {
                costs.push((format!("{path}.cost.from"), claim.clone()));
            }
        }
    }
    costs
}

type Visit<'v> = dyn FnMut(String, &mut Part) -> Result<(), ConfigError> + 'v;

/// Every part that a configuration mentions, with its path.
fn parts(config: &mut RateLimitConfig, visit: &mut Visit<'_>) -> Result<(), ConfigError> {
    let conditions = |path: String, when: &mut Vec<Condition>, visit: &mut Visit<'_>| {
        let mut when = when.iter_mut().enumerate();
        when.try_for_each(|(index, one)| visit(format!("{path}.when[{index}].part"), &mut one.part))
    };
    for (name, tier) in &mut config.tiers {
        for (index, group) in tier.groups.iter_mut().enumerate() {
            conditions(format!("tiers.{name}.groups[{index}]"), &mut group.when, visit)?;
        }
    }
    for (index, blocked) in config.blocked.iter_mut().enumerate() {
        conditions(format!("blocked[{index}]"), &mut blocked.when, visit)?;
    }
    for (index, policy) in config.policies.iter_mut().enumerate() {
        for (number, part) in policy.key.iter_mut().enumerate() {
            visit(format!("policies[{index}].key[{number}]"), part)?;
        }
    }
    Ok(())
}

/// Refuses names that metrics cannot have, and those that are taken.
fn check_name<'n>(name: &'n str, taken: &mut BTreeSet<&'n str>) -> Result<(), ConfigError> {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || !name.bytes().all(letters) {
        let problem = format!("`{name}` is not a name: letters, digits, `-` and `_`");
        return Err(ConfigError::at("name", problem));
    }
    match taken.insert(name) {
        true => Ok(()),
        false => Err(ConfigError::at("name", format!("`{name}` is taken: give it another name"))),
    }
}

/// Refuses blocks of which nobody could tell which one it was.
pub fn check_blocks(blocked: &[Blocked]) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    let mut blocked = blocked.iter().enumerate();
    blocked.try_for_each(|(index, block)| {
        check_name(&block.name, &mut names).map_err(|error| error.under(&format!("blocked[{index}]")))
    })
}

/// Refuses policies that are malformed or that nobody could tell apart.
pub fn check(policies: &[Policy], tiers: &Tiers, service: bool) -> Result<(), ConfigError> {
    let mut names: BTreeSet<&str> = OF_APIS.iter().map(|(name, _)| *name).collect();
    for (index, policy) in policies.iter().enumerate() {
        let at = |error: ConfigError| error.under(&format!("policies[{index}]"));
        check_name(&policy.name, &mut names).map_err(at)?;
        if policy.key.is_empty() {
            let problem =
                "no part: say whose requests count together, or `[{constant: all}]` for everybody's";
            return Err(at(ConfigError::at("key", problem)));
        }
        if policy.callers == Callers::Anonymous && policy.key.iter().any(is_of_caller) {
            let problem = "nothing would count: nobody knows who anonymous callers are; count by `client_ip`";
            return Err(at(ConfigError::at("key", problem)));
        }
        if policy.shared && !service {
            let problem = "nobody counts for several Envoys: name the rate limit service in `service`";
            return Err(at(ConfigError::at("shared", problem)));
        }
        tiers.check(&policy.tier).map_err(at)?;
    }
    Ok(())
}

/// The policy of an API's or an operation's tier.
pub fn of_api<'p>(level: Level, tier: &str, tiers: &'p Tiers, shared: bool) -> Option<Applied<'p>> {
    let (number, (name, _)) = OF_APIS.iter().enumerate().find(|(_, (_, known))| *known == level)?;
    let key: &[Part] = if level == Level::Api { &[Part::Api] } else { &[Part::Operation] };
    let allowances = tiers.get(tier)?;
    Some(Applied {
        number,
        name,
        level,
        key,
        shadow: false,
        over_quota: false,
        shared,
        allowances,
        unknown_tier: false,
    })
}

/// What the policy at this place of the configuration gives a request; `None` when it does not apply.
pub fn apply<'p>(
    index: usize,
    policy: &'p Policy,
    tiers: &'p Tiers,
    request: &Request<'_>,
) -> Option<Applied<'p>> {
    let applies = match policy.callers {
        Callers::All => true,
        Callers::Identified => request.caller.is_some(),
        Callers::Anonymous => request.caller.is_none(),
    };
    let named = match (&policy.tier_from, request.caller) {
        (Some(TierFrom::Caller), Some(caller)) => caller.tier.as_str(),
        (Some(TierFrom::Claim(name)), Some(caller)) => caller.claims.get(name).map_or("", String::as_str),
        (None, _) | (_, None) => "",
    };
    let known = tiers.get(named);
    Some(Applied {
        number: index.saturating_add(OF_APIS.len()),
        name: &policy.name,
        level: policy.level,
        key: &policy.key,
        shadow: policy.mode == Mode::Shadow,
        over_quota: known.is_some()
            && policy.tier_from == Some(TierFrom::Caller)
            && request.caller.is_some_and(|caller| caller.over_quota),
        shared: policy.shared,
        allowances: known.or_else(|| tiers.get(&policy.tier)).filter(|_| applies)?,
        unknown_tier: known.is_none() && !named.is_empty(),
    })
}
