//! Tiers that other products wrote down: `policies.yaml` of WSO2's microgateway 3, and throttling policies as API
//! Manager exports them.

use std::{collections::BTreeMap, path::Path};

use enforcer_core::units::ByteSize;
use enforcer_ratelimit::config::{Bandwidth, Condition, Group, Part, Period, Quota, Test, Tier, Traffic};
use serde::Deserialize;

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    settings::read_value,
    source::{Source, View, parse},
};

/// The tiers of these files, which are named relative to a folder. `list` is where `enforcer.yaml` names them.
pub(crate) fn tiers(
    files: &[String],
    folder: &Path,
    list: View<'_>,
    findings: &mut Diagnostics,
) -> BTreeMap<String, Tier> {
    let mut tiers = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        let place = || list.descend([index.to_string().as_str()]).place();
        let read = Source::read(&folder.join(file)).map_err(|problem| {
            problem.at(place()).help("check the path; it is relative to the folder of enforcer.yaml")
        });
        let Some(document) = findings.take(read.and_then(|source| parse(&source))) else { continue };
        for (name, tier, view) in read_file(document.view(), findings) {
            match tiers.get(&name) {
                Some(other) if *other != tier => findings.push(
                    Diagnostic::error(format!("there is another tier `{name}`, with other limits"))
                        .at(view.place())
                        .help("rename one of them: a tier's name says what it allows, at every level"),
                ),
                _ => drop(tiers.insert(name, tier)),
            }
        }
    }
    tiers
}

fn read_file<'v>(file: View<'v>, findings: &mut Diagnostics) -> Vec<(String, Tier, View<'v>)> {
    // `apictl export policy rate-limiting` wraps what the admin API gives.
    let exported = file.get("data").filter(|data| data.get("policyName").is_some()).unwrap_or(file);
    if exported.get("policyName").is_some() {
        return one(exported, findings, Exported::tier).into_iter().collect();
    }
    let lists = ["resourcePolicies", "applicationPolicies", "subscriptionPolicies"];
    if lists.iter().all(|list| file.get(list).is_none()) {
        findings.push(
            Diagnostic::error("this file has no throttling policies")
                .at(file.place())
                .help("name a `policies.yaml` of the microgateway, or a policy that API Manager exported"),
        );
    }
    let policies =
        lists.iter().filter_map(|list| file.get(list)).flat_map(|list| list.items().collect::<Vec<_>>());
    let policies = policies.flat_map(|item| item.entries().collect::<Vec<_>>());
    let read = policies.filter_map(|(name, view)| {
        one(view, findings, |policy: Microgateway| Ok((name.to_owned(), policy.tier()?)))
    });
    read.collect()
}

fn one<'v, T: for<'de> Deserialize<'de>>(
    view: View<'v>,
    findings: &mut Diagnostics,
    tier: impl FnOnce(T) -> Result<(String, Tier), String>,
) -> Option<(String, Tier, View<'v>)> {
    let policy = read_value::<T>(view, view.node.to_json(), findings)?;
    let read = tier(policy).map_err(|problem| {
        Diagnostic::error(problem).at(view.place()).help("define the tier in enforcer.yaml instead: `tiers`")
    });
    findings.take(read).map(|(name, tier)| (name, tier, view))
}

/// An entry of the microgateway's `policies.yaml`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Microgateway {
    count: u64,
    unit_time: u32,
    time_unit: String,
    #[serde(default = "yes")]
    stop_on_quota: bool,
}

/// A policy of API Manager, advanced, of applications or of subscriptions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exported {
    policy_name: String,
    default_limit: Limit,
    #[serde(default)]
    conditional_groups: Vec<ExportedGroup>,
    /// Spike arrest, where both are given.
    #[serde(default)]
    rate_limit_count: Option<u64>,
    #[serde(default)]
    rate_limit_time_unit: Option<String>,
    #[serde(default = "yes")]
    stop_on_quota_reach: bool,
}

#[derive(Debug, Deserialize)]
struct ExportedGroup {
    conditions: Vec<ExportedCondition>,
    limit: Limit,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limit {
    #[serde(rename = "type")]
    kind: Option<String>,
    request_count: Option<RequestCount>,
    bandwidth: Option<ExportedBandwidth>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestCount {
    time_unit: String,
    unit_time: u32,
    request_count: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportedBandwidth {
    time_unit: String,
    unit_time: u32,
    data_amount: u64,
    data_unit: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportedCondition {
    #[serde(default)]
    invert_condition: bool,
    header_condition: Option<HeaderCondition>,
    ip_condition: Option<IpCondition>,
    jwt_claims_condition: Option<ClaimCondition>,
    query_parameter_condition: Option<QueryCondition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeaderCondition {
    header_name: String,
    header_value: String,
}

#[derive(Debug, Deserialize)]
struct IpCondition {
    #[serde(rename = "specificIP")]
    specific_ip: Option<String>,
    #[serde(rename = "startingIP")]
    starting_ip: Option<String>,
    #[serde(rename = "endingIP")]
    ending_ip: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimCondition {
    claim_url: String,
    attribute: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryCondition {
    parameter_name: String,
    parameter_value: String,
}

fn yes() -> bool {
    true
}

impl Microgateway {
    fn tier(self) -> Result<Tier, String> {
        let per = period(self.unit_time, &self.time_unit)?;
        let quota = Some(Quota { requests: self.count, per });
        Ok(Tier { quota, stop_on_quota: self.stop_on_quota, ..Tier::default() })
    }
}

impl Exported {
    fn tier(self) -> Result<(String, Tier), String> {
        let (quota, bandwidth) = self.default_limit.read()?;
        let burst = self.rate_limit_count.filter(|count| *count > 0).zip(self.rate_limit_time_unit);
        let burst = burst.map(|(requests, unit)| Ok::<_, String>(Quota { requests, per: period(1, &unit)? }));
        let groups = self.conditional_groups.into_iter().map(|group| {
            let (quota, bandwidth) = group.limit.read()?;
            let when: Result<_, String> = group.conditions.into_iter().map(ExportedCondition::read).collect();
            Ok(Group { when: when?, quota, bandwidth, ..Group::default() })
        });
        let tier = Tier {
            quota,
            burst: burst.transpose()?,
            bandwidth,
            stop_on_quota: self.stop_on_quota_reach,
            groups: groups.collect::<Result<_, String>>()?,
            ..Tier::default()
        };
        Ok((self.policy_name, tier))
    }
}

impl Limit {
    /// What the policy's type names; the others are there all the same, and mean nothing.
    fn read(self) -> Result<(Option<Quota>, Option<Bandwidth>), String> {
        match (self.kind.as_deref(), self.request_count, self.bandwidth) {
            (Some("REQUESTCOUNTLIMIT"), Some(count), _) => {
                let per = period(count.unit_time, &count.time_unit)?;
                Ok((Some(Quota { requests: count.request_count, per }), None))
            }
            (Some("BANDWIDTHLIMIT"), _, Some(bandwidth)) => {
                let per = period(bandwidth.unit_time, &bandwidth.time_unit)?;
                let bytes = bytes(bandwidth.data_amount, &bandwidth.data_unit)?;
                // API Manager counts the messages that come in.
                Ok((None, Some(Bandwidth { bytes, of: Traffic::Request, per })))
            }
            (kind, ..) => {
                let kind = kind.unwrap_or_default();
                Err(format!("requests and bytes can be counted, not `{kind}`"))
            }
        }
    }
}

impl ExportedCondition {
    fn read(self) -> Result<Condition, String> {
        let Self { invert_condition: invert, header_condition, ip_condition, .. } = self;
        let claim = self.jwt_claims_condition.map(|claim| (Part::Claim(claim.claim_url), claim.attribute));
        let query = self
            .query_parameter_condition
            .map(|query| (Part::Query(query.parameter_name), query.parameter_value));
        let header = header_condition.map(|header| (Part::Header(header.header_name), header.header_value));
        let pattern = header.or(claim).or(query).map(|(part, value)| (part, Test::Regex(value)));
        let address = ip_condition.and_then(IpCondition::test).map(|test| (Part::ClientIp, test));
        let (part, is) = pattern
            .or(address)
            .ok_or("a condition is one on a header, a query parameter, a claim or addresses")?;
        Ok(Condition { part, is, invert })
    }
}

impl IpCondition {
    fn test(self) -> Option<Test> {
        let range = self.starting_ip.zip(self.ending_ip);
        let range = || range.map(|(first, last)| Test::Range(format!("{first}-{last}")));
        self.specific_ip.map(Test::Cidr).or_else(range)
    }
}

fn period(number: u32, unit: &str) -> Result<Period, String> {
    let short = match unit {
        "sec" | "s" => "s",
        "min" | "m" => "m",
        "hour" | "h" => "h",
        "day" | "d" => "d",
        "month" => "month",
        _ => return Err(format!("`{unit}` is no unit of time: sec, min, hour, day or month")),
    };
    format!("{number}{short}").parse()
}

fn bytes(amount: u64, unit: &str) -> Result<ByteSize, String> {
    let factor = match unit {
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return Err(format!("`{unit}` is no unit of size: KB, MB or GB")),
    };
    Ok(ByteSize::from_bytes(amount.saturating_mul(factor)))
}
