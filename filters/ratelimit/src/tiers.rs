//! Allowances by name.

use std::{collections::BTreeMap, sync::Arc};

use enforcer_core::{config::ConfigError, units::Span};

use crate::{
    condition::All,
    config::{self, Algorithm, Bandwidth, Condition, Group, Period, Quota, Tier, Traffic},
    cost::Cost,
    counters::digest,
    parts::Request,
    rate::Rate,
};

/// The tiers that WSO2's products know without being told, and how many requests they allow in a minute. API
/// Manager writes `10KPerMin`, the microgateway and the samples of Choreo Connect `10kPerMin`.
const BUILT_IN: [(&str, u64); 13] = [
    ("50KPerMin", 50_000),
    ("20KPerMin", 20_000),
    ("10KPerMin", 10_000),
    ("50kPerMin", 50_000),
    ("20kPerMin", 20_000),
    ("10kPerMin", 10_000),
    ("Gold", 5_000),
    ("Silver", 2_000),
    ("Bronze", 1_000),
    ("Unauthenticated", 500),
    ("50PerMin", 50),
    ("20PerMin", 20),
    ("10PerMin", 10),
];

/// The tier without limits.
pub const UNLIMITED: &str = "Unlimited";

/// The names of the tiers that need no definition.
pub fn built_in() -> impl Iterator<Item = &'static str> {
    [UNLIMITED].into_iter().chain(BUILT_IN.iter().map(|(name, _)| *name))
}

/// A tier that needs no definition.
pub fn of_wso2(name: &str) -> Option<Tier> {
    if name == UNLIMITED {
        return Some(Tier { stop_on_quota: true, ..Tier::default() });
    }
    let (_, requests) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
    let quota = Quota { requests: *requests, per: Period::Span(Span::from_secs(60)) };
    Some(Tier { quota: Some(quota), stop_on_quota: true, ..Tier::default() })
}

/// All tiers of a configuration.
#[derive(Debug)]
pub struct Tiers(BTreeMap<String, Allowances>);

/// A tier, ready to be used.
#[derive(Debug)]
pub struct Allowances {
    groups: Vec<(All, Limits)>,
    otherwise: Limits,
}

/// What holds together for one request. Neither: no limit.
#[derive(Debug)]
pub struct Limits {
    /// The tier's name, and the number of the group: `Careful`, `Careful/0`. How a rate limit service tells them apart.
    pub name: String,
    /// Goes into the key: whoever gets other limits begins anew.
    pub tag: u64,
    /// Quota, cost, burst, bandwidth.
    pub all: Vec<Limit>,
    /// Where the cost is found, if there is a limit of it.
    pub cost: Option<Arc<Cost>>,
}

/// One of a tier's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub kind: Kind,
    pub rate: Rate,
    /// Whether who is over it is refused.
    pub stops: bool,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Quota,
    Cost,
    Burst,
    Bandwidth(Traffic),
}

impl Tiers {
    pub fn new(tiers: BTreeMap<String, Tier>, algorithm: Algorithm) -> Result<Self, ConfigError> {
        let built_in = built_in().filter_map(|name| Some((name.to_owned(), of_wso2(name)?)));
        let mut all: BTreeMap<String, Tier> = built_in.collect();
        all.extend(tiers);
        let compiled = all.into_iter().map(|(name, tier)| {
            let allowances = Allowances::new(&name, tier, algorithm);
            Ok((name.clone(), allowances.map_err(|error| error.under(&format!("tiers.{name}")))?))
        });
        Ok(Self(compiled.collect::<Result<_, ConfigError>>()?))
    }

    /// Whether there are limits of costs that a response names.
    pub fn read_responses(&self) -> bool {
        self.0.values().any(Allowances::reads_responses)
    }

    pub fn get(&self, name: &str) -> Option<&Allowances> {
        self.0.get(name)
    }

    /// Refuses the name of a tier that does not exist.
    pub fn check(&self, name: &str) -> Result<(), ConfigError> {
        if self.0.contains_key(name) {
            return Ok(());
        }
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        Err(ConfigError::at("tier", format!("there is no tier `{name}`; there are {}", names.join(", "))))
    }
}

impl Allowances {
    fn new(name: &str, tier: Tier, algorithm: Algorithm) -> Result<Self, ConfigError> {
        let Tier { quota, burst, bandwidth, cost, stop_on_quota, groups } = tier;
        let limits = |place: &str, group: Group| {
            let all = all(&group, algorithm, stop_on_quota)?;
            let tag = digest(format!("{name}/{place}/{all:?}").as_bytes());
            let name = if place.is_empty() { name.to_owned() } else { format!("{name}/{place}") };
            let cost = group.cost.as_ref().map(|cost| Cost::new(cost).map_err(|error| error.under("cost")));
            Ok::<_, ConfigError>(Limits { name, tag, all, cost: cost.transpose()?.map(Arc::new) })
        };
        let otherwise = limits("", Group { when: Vec::new(), quota, burst, bandwidth, cost })?;
        let groups = groups.into_iter().enumerate().map(|(index, mut group)| {
            let at = |error: ConfigError| error.under(&format!("groups[{index}]"));
            let when = conditions(std::mem::take(&mut group.when)).map_err(at)?;
            Ok((when, limits(&index.to_string(), group).map_err(at)?))
        });
        Ok(Self { groups: groups.collect::<Result<_, ConfigError>>()?, otherwise })
    }

    /// Whether any of its limits is one of costs that a response names.
    pub fn reads_responses(&self) -> bool {
        let all = self.groups.iter().map(|(_, limits)| limits).chain([&self.otherwise]);
        all.filter_map(|limits| limits.cost.as_ref()).any(|cost| cost.comes_later())
    }

    /// What holds for a request: the first group whose conditions hold, else the tier itself.
    pub fn limits(&self, request: &Request<'_>) -> &Limits {
        let group = self.groups.iter().find(|(when, _)| when.hold(request));
        group.map_or(&self.otherwise, |(_, limits)| limits)
    }
}

/// Conditions that must be there.
pub fn conditions(when: Vec<Condition>) -> Result<All, ConfigError> {
    if when.is_empty() {
        return Err(ConfigError::at("when", "no condition: this would be every request"));
    }
    All::new(when).map_err(|error| error.under("when"))
}

fn all(group: &Group, algorithm: Algorithm, stop_on_quota: bool) -> Result<Vec<Limit>, ConfigError> {
    let Group { quota, burst, bandwidth, cost, .. } = group;
    let requests = |quota: &Quota| (quota.requests, quota.per);
    let units = |cost: &config::Cost| (cost.units, cost.per);
    let bytes = |bandwidth: &Bandwidth| (bandwidth.bytes.bytes(), bandwidth.per);
    let traffic = bandwidth.map(|bandwidth| bandwidth.of).unwrap_or_default();
    // What several Envoys can share is first.
    let limits = [
        (quota.as_ref().map(requests), "quota", Kind::Quota, stop_on_quota),
        (cost.as_ref().map(units), "cost", Kind::Cost, stop_on_quota),
        (burst.as_ref().map(requests), "burst", Kind::Burst, true),
        (bandwidth.as_ref().map(bytes), "bandwidth", Kind::Bandwidth(traffic), stop_on_quota),
    ];
    let limits = limits.into_iter().filter_map(|(given, place, kind, stops)| {
        let (limit, per) = given?;
        let rate = Rate::new(algorithm, limit, per).map_err(|why| ConfigError::at(place, why));
        Some(rate.map(|rate| Limit { kind, rate, stops }))
    });
    limits.collect()
}
