//! Allowances by name.

use std::collections::BTreeMap;

use enforcer_core::{config::ConfigError, units::Span};

use crate::{
    condition::All,
    config::{Algorithm, Bandwidth, Condition, Group, Period, Quota, Tier, Traffic},
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
    /// Quota, burst, bandwidth.
    pub all: Vec<Limit>,
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
    Burst,
    Bandwidth(Traffic),
}

impl Tiers {
    pub fn new(tiers: BTreeMap<String, Tier>, algorithm: Algorithm) -> Result<Self, ConfigError> {
        let per_minute = |requests| Quota { requests, per: Period::Span(Span::from_secs(60)) };
        let built_in = BUILT_IN.iter().map(|(name, requests)| {
            let tier = Tier { quota: Some(per_minute(*requests)), stop_on_quota: true, ..Tier::default() };
            ((*name).to_owned(), tier)
        });
        let mut all = BTreeMap::from([(UNLIMITED.to_owned(), Tier::default())]);
        all.extend(built_in);
        all.extend(tiers);
        let compiled = all.into_iter().map(|(name, tier)| {
            let allowances = Allowances::new(&name, tier, algorithm);
            Ok((name.clone(), allowances.map_err(|error| error.under(&format!("tiers.{name}")))?))
        });
        Ok(Self(compiled.collect::<Result<_, ConfigError>>()?))
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
        let Tier { quota, burst, bandwidth, stop_on_quota, groups } = tier;
        let limits = |place: &str, quota, burst, bandwidth| {
            let all = all(quota, burst, bandwidth, algorithm, stop_on_quota)?;
            let tag = digest(format!("{name}/{place}/{all:?}").as_bytes());
            let name = if place.is_empty() { name.to_owned() } else { format!("{name}/{place}") };
            Ok::<_, ConfigError>(Limits { name, tag, all })
        };
        let otherwise = limits("", quota, burst, bandwidth)?;
        let groups = groups.into_iter().enumerate().map(|(index, group)| {
            let Group { when, quota, burst, bandwidth } = group;
            let at = |error: ConfigError| error.under(&format!("groups[{index}]"));
            let when = conditions(when).map_err(at)?;
            Ok((when, limits(&index.to_string(), quota, burst, bandwidth).map_err(at)?))
        });
        Ok(Self { groups: groups.collect::<Result<_, ConfigError>>()?, otherwise })
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

fn all(
    quota: Option<Quota>,
    burst: Option<Quota>,
    bandwidth: Option<Bandwidth>,
    algorithm: Algorithm,
    stop_on_quota: bool,
) -> Result<Vec<Limit>, ConfigError> {
    let requests = |quota: Quota| (quota.requests, quota.per);
    let limits = [
        (quota.map(requests), "quota", Kind::Quota, stop_on_quota),
        (burst.map(requests), "burst", Kind::Burst, true),
        (
            bandwidth.map(|bandwidth| (bandwidth.bytes.bytes(), bandwidth.per)),
            "bandwidth",
            Kind::Bandwidth(bandwidth.map(|bandwidth| bandwidth.of).unwrap_or_default()),
            stop_on_quota,
        ),
    ];
    let limits = limits.into_iter().filter_map(|(given, place, kind, stops)| {
        let (limit, per) = given?;
        let rate = Rate::new(algorithm, limit, per).map_err(|why| ConfigError::at(place, why));
        Some(rate.map(|rate| Limit { kind, rate, stops }))
    });
    limits.collect()
}
