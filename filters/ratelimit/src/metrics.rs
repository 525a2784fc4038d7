//! Counters by level and policy in Envoy's own statistics.
//!
//! Envoy's metrics have no labels of their own: they are taken out of the name by the regular expressions of
//! [`TAGS`], which `enforcer build` writes into `stats_config` of the bootstrap. So
//! `enforcer_limits.level=custom.policy=tenant.outcome=refused.total` becomes
//! `enforcer_limits_total{level="custom",policy="tenant",outcome="refused"}` on `/stats/prometheus`. There are three for
//! each policy and block of the configuration, and never more.

use enforcer_core::host::{Host, Metric, MetricKind};

/// Each label, and the expression that finds it in a metric's name: the first group is cut out, the second is the value.
pub const TAGS: [(&str, &str); 3] = [
    ("level", r"^wasmcustom\.enforcer_limits(\.level=(\w+))\.policy="),
    ("policy", r"^wasmcustom\.enforcer_limits\.level=\w+(\.policy=([\w-]+))\.outcome="),
    ("outcome", r"^wasmcustom\.enforcer_limits\.level=.*?(\.outcome=(\w+))\.total$"),
];

/// What a policy made of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was enough, here and elsewhere.
    Admitted,
    /// There was not enough, and the request passed all the same.
    Over,
    /// There was not enough.
    Refused,
}

/// The counters of one worker, by the numbers of policies.
#[derive(Debug)]
pub struct Metrics(Vec<Policy>);

#[derive(Debug)]
struct Policy {
    level: &'static str,
    name: String,
    /// By outcome, once there was one; what Envoy has no place for stays `None`.
    counters: [Option<Option<Metric>>; 3],
}

impl Metrics {
    pub fn new<'p>(policies: impl IntoIterator<Item = (&'static str, &'p str)>) -> Self {
        let policy = |(level, name): (&'static str, &str)| Policy {
            level,
            name: name.to_owned(),
            counters: [None; 3],
        };
        Self(policies.into_iter().map(policy).collect())
    }

    pub fn count(&mut self, number: usize, outcome: Outcome, host: &dyn Host) {
        let Some(Policy { level, name, counters }) = self.0.get_mut(number) else { return };
        let [admitted, over, refused] = counters;
        let (counter, word) = match outcome {
            Outcome::Admitted => (admitted, "admitted"),
            Outcome::Over => (over, "over"),
            Outcome::Refused => (refused, "refused"),
        };
        let name = || format!("enforcer_limits.level={level}.policy={name}.outcome={word}.total");
        if let Some(metric) = counter.get_or_insert_with(|| host.metric(MetricKind::Counter, &name())) {
            host.add(*metric, 1);
        }
    }
}
