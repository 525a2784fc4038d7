//! What comes of a request's limits.
//!
//! One [`counters`] access takes a policy's quota and burst together or not at all; when a later policy refuses, the
//! earlier ones get back what they took. They do so, too, when an answer of the [`service`] must be waited for: then
//! the request is decided again from the beginning.

use std::hash::Hasher as _;

use enforcer_core::{protobuf::Message, store::Contended};

use crate::{
    RateLimit,
    answer::{Counted, Refusal},
    bucket::{self, Demand, Outcome},
    charge::{Charge, Measure},
    cost::Meter,
    counters::{self, Place},
    metrics,
    parts::Request,
    policies::{self, Applied},
    rate::Rate,
    service::{Desk, Want, millis, wire},
    sharing::{Shared, Sought},
    tiers::{Kind, Limit, Limits},
};

/// What came of a request's limits.
#[derive(Debug, Default)]
pub(crate) struct Decision<'p> {
    pub(crate) refusal: Option<Refusal>,
    /// The limits that were looked at.
    pub(crate) counted: Vec<Counted<'p>>,
    /// The first limit that the request is over and that did not refuse it.
    pub(crate) passed_over: Option<Refusal>,
    /// Name of the policy or block that refused it, or that it is over.
    pub(crate) by: &'p str,
    /// What is to be counted when an admitted request is over.
    pub(crate) charges: Vec<Charge>,
    /// What the service is to be asked before there is a decision.
    pub(crate) questions: Vec<Message>,
    /// How many of its answers have been looked at.
    pub(crate) answers: usize,
    /// Hits that must be there before there is a decision.
    pub(crate) awaits: Vec<(Place, Rate)>,
    /// What each policy made of it, by the policies' numbers.
    pub(crate) outcomes: Vec<(usize, metrics::Outcome)>,
    /// Hits that are to be asked for, whatever is decided.
    pub(crate) wants: Vec<Want>,
}

/// What the service has said to a request so far.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Heard<'x> {
    /// Nothing.
    Nothing,
    /// This.
    Reply(&'x wire::Reply),
    /// Nothing, and it is not to be waited for any more.
    Failure,
}

/// What one policy took, so that it can be given back.
struct Taken<'p> {
    place: Place,
    counted: Vec<Demand<'p>>,
    /// A hit of a shared allowance.
    hit: Option<&'p Rate>,
}

impl Decision<'_> {
    /// Whether there is none yet.
    pub(crate) fn waits(&self) -> bool {
        self.refusal.is_none() && !(self.questions.is_empty() && self.awaits.is_empty())
    }
}

impl RateLimit {
    /// What comes of it that the request may not be made at all.
    pub(crate) fn blocked<'p>(&'p self, request: &Request<'_>) -> Option<Decision<'p>> {
        let mut blocked = self.blocked.iter().enumerate();
        let (index, (name, _)) = blocked.find(|(_, (_, when))| when.hold(request))?;
        let number = policies::number_of_block(&self.policies, index);
        let outcomes = vec![(number, metrics::Outcome::Refused)];
        Some(Decision { refusal: Some(Refusal::Blocked), by: name, outcomes, ..Decision::default() })
    }

    /// Counts the request, level by level.
    pub(crate) fn decide<'p>(&'p self, request: &Request<'_>, heard: Heard<'_>) -> Decision<'p> {
        let of_api = self.apis.tier(request.called);
        let shared = self.desk.as_ref().is_some_and(Desk::apis);
        let of_api = of_api.and_then(|(level, tier)| policies::of_api(level, tier, &self.tiers, shared));
        let others = self.policies.iter().enumerate();
        let others =
            others.filter_map(|(index, policy)| policies::apply(index, policy, &self.tiers, request));
        let (mut decision, mut taken) = (Decision::default(), Vec::new());
        // The tier of the API comes before the policies that are configured for its level.
        for applied in of_api.into_iter().chain(others) {
            if let Some(refusal) = self.take(applied, request, heard, &mut decision, &mut taken) {
                decision.refusal = Some(refusal);
                decision.by = applied.name;
                // What the others made of it is undone.
                decision.outcomes = vec![(applied.number, metrics::Outcome::Refused)];
                break;
            }
        }
        if decision.refusal.is_some() || decision.waits() {
            taken.iter().for_each(|taken| self.give_back(taken, request));
            decision.charges.clear();
        }
        decision
    }

    fn give_back(&self, Taken { place, counted, hit }: &Taken<'_>, request: &Request<'_>) {
        let kept = |given: Result<(), Contended>| {
            if given.is_err() {
                request.host.count("enforcer.ratelimit.kept", 1);
            }
        };
        if !counted.is_empty() {
            kept(self.counters.give_back(request.host, *place, counted));
        }
        if let Some(rate) = hit {
            let now = millis(request.host.monotonic());
            let back = self.counters.lease(request.host, *place, rate, |account| account.give_back(now));
            kept(back.map(|_| ()));
        }
    }

    /// Counts a request by one policy.
    fn take<'p>(
        &'p self,
        applied: Applied<'p>,
        request: &Request<'_>,
        heard: Heard<'_>,
        decision: &mut Decision<'p>,
        taken: &mut Vec<Taken<'p>>,
    ) -> Option<Refusal> {
        if applied.unknown_tier {
            request.host.count("enforcer.ratelimit.unknown_tier", 1);
        }
        let limits = applied.allowances.limits(request);
        if limits.all.is_empty() {
            return None;
        }
        let place = self.place(applied, limits, request)?;
        let cost = limits.cost.as_ref().and_then(|cost| cost.known(request));
        let mut demands = counters::demands(place, &limits.all, |limit| applied.binds(limit), cost);
        let shareable = |limit: &&Limit| matches!(limit.kind, Kind::Quota | Kind::Cost) && applied.shared;
        let quota = limits.all.first().filter(shareable);
        let (mut there, mut hit, mut owed) = (None, None, None);
        if let (Some(quota), Some(desk)) = (quota, &self.desk) {
            let sought = Sought { applied, limits, quota, place };
            match self.shared(desk, &sought, request, heard, decision) {
                Shared::Here => {}
                Shared::There { outcome, hit: held } => {
                    there = Some(outcome);
                    hit = held.then_some(&quota.rate);
                    owed = (quota.kind == Kind::Cost).then(|| self.descriptor(&sought, request));
                    demands.remove(0);
                }
                Shared::Awaited => return None,
                Shared::Closed => return Some(Refusal::Unanswered),
                Shared::Contended => return Some(Refusal::Contended),
            }
        }
        let over_there = there.is_some_and(|outcome| outcome.over.is_some());
        if over_there && quota.is_some_and(|quota| applied.binds(quota)) {
            return note(applied, limits, there.as_slice(), decision);
        }
        let mut result = bucket::Taken::default();
        if !demands.is_empty() {
            match self.counters.take(request.host, place, &demands) {
                Ok(counted) => result = counted,
                Err(Contended) => return Some(Refusal::Contended),
            }
        }
        if result.evicted > 0 {
            request.host.count("enforcer.ratelimit.evicted", result.evicted);
        }
        // Who is over a limit that does not bind has taken nothing of it.
        let passed = demands.iter().zip(&result.outcomes).filter(|(_, outcome)| outcome.over.is_none());
        let counted = if result.refused { Vec::new() } else { passed.map(|(demand, _)| *demand).collect() };
        if !counted.is_empty() || hit.is_some() {
            taken.push(Taken { place, counted, hit });
        }
        let outcomes: Vec<Outcome> = there.into_iter().chain(result.outcomes).collect();
        let over = note(applied, limits, &outcomes, decision);
        if result.refused {
            return over;
        }
        if decision.passed_over.is_none() && over.is_some() {
            (decision.passed_over, decision.by) = (over, applied.name);
        }
        if self.metrics.is_some() {
            let outcome = if over.is_some() { metrics::Outcome::Over } else { metrics::Outcome::Admitted };
            decision.outcomes.push((applied.number, outcome));
        }
        decision.charges.extend(charges(place, limits, owed.as_ref(), request));
        None
    }

    /// Where a request's counters are. `None`: the caller lacks a part of the key.
    fn place(&self, applied: Applied<'_>, limits: &Limits, request: &Request<'_>) -> Option<Place> {
        let mut key = self.counters.hasher(request.host);
        key.write(applied.name.as_bytes());
        key.write(&limits.tag.to_le_bytes());
        let complete = applied.key.iter().all(|part| request.feed(part, self.ipv6_prefix, &mut key));
        complete.then(|| counters::place(&key))
    }
}

/// What of a policy's limits is to be counted when the request is over. `owed`: what the service calls the cost, where
/// that is counted there.
fn charges<'c>(
    place: Place,
    limits: &'c Limits,
    owed: Option<&'c Message>,
    request: &'c Request<'_>,
) -> impl Iterator<Item = Charge> + 'c {
    limits.all.iter().zip(0_u8..).filter_map(move |(limit, number)| {
        let (of, owed) = match (limit.kind, &limits.cost) {
            (Kind::Bandwidth(of), _) => (Measure::Bytes(of), None),
            (Kind::Cost, Some(cost)) if owed.is_some() || cost.comes_later() => {
                (Measure::Cost(Meter::new(cost, request)), owed.cloned())
            }
            _ => return None,
        };
        Some(Charge { place, counter: place.counter(number), rate: limit.rate, of, owed })
    })
}

/// Adds a policy's limits to those that were looked at, and says which of them the request is over.
fn note<'p>(
    applied: Applied<'p>,
    limits: &'p Limits,
    outcomes: &[Outcome],
    decision: &mut Decision<'p>,
) -> Option<Refusal> {
    let mut over: Option<Refusal> = None;
    let mut refuses = false;
    for (limit, outcome) in limits.all.iter().zip(outcomes) {
        let Limit { kind, rate, .. } = limit;
        let binding = applied.binds(limit);
        let Outcome { standing, over: wait } = *outcome;
        // What refuses says more than what would have; the quota more than the burst limit.
        if wait.is_some() && (over.is_none() || (binding && !refuses)) {
            over = Some(Refusal::Over { level: applied.level, burst: *kind == Kind::Burst });
            refuses = binding;
        }
        let over = wait.filter(|_| binding);
        decision.counted.push(Counted { name: applied.name, kind: *kind, rate, standing, over });
    }
    over
}
