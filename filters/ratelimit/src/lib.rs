//! How often: limits by API, caller and anything else in a request.
//!
//! A request is looked at level by level: who may not call at all, the API's or operation's tier, then the
//! configured [`policies`]. Each that applies names a tier ([`tiers`]), whose limits are counted under a key made
//! of [`parts`] of the request. One [`counters`] access takes a policy's quota and burst together or not at all; when
//! a later policy refuses, the earlier ones get back what they took.

pub mod answer;
pub mod apis;
pub mod bucket;
pub mod calendar;
pub mod condition;
pub mod config;
pub mod counters;
pub mod parts;
pub mod period;
pub mod policies;
pub mod rate;
pub mod tiers;

use std::{borrow::Cow, hash::Hasher as _};

use enforcer_core::{
    config::ConfigError,
    cx::Cx,
    edits::Edits,
    fault::Dialect,
    filter::{CallSummary, Capabilities, Event, Filter, Needs, Next, Response, Step},
    host::{Host, Level as LogLevel},
    identity::{Identity, Part},
    mode::Mode,
    store::Contended,
};

use crate::{
    answer::{Counted, Refusal},
    apis::Apis,
    bucket::{Demand, Fingerprint, Outcome},
    condition::All,
    config::{Headers, Policy, RateLimitConfig, Traffic},
    counters::{Counters, Place},
    parts::Request,
    policies::{Applied, Looks},
    rate::Rate,
    tiers::{Kind, Limit, Limits, Tiers},
};

/// The rate limit filter.
#[derive(Debug)]
pub struct RateLimit {
    tiers: Tiers,
    apis: Apis,
    /// In the order of their levels.
    policies: Vec<Policy>,
    blocked: Vec<(String, All)>,
    counters: Counters,
    ipv6_prefix: u8,
    headers: Headers,
    errors: Dialect,
    mode: Mode,
    looks: Looks,
    /// Whether an identity is published that makes a difference.
    reads_identity: bool,
}

/// What is remembered of a request.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Fields for its response.
    fields: Vec<(&'static str, String)>,
    charges: Vec<Charge>,
}

/// A limit of bytes, to be counted when the request is over.
#[derive(Debug, Clone, Copy)]
struct Charge {
    place: Place,
    counter: Fingerprint,
    rate: Rate,
    of: Traffic,
}

/// What came of a request's limits.
#[derive(Debug, Default)]
struct Decision<'p> {
    refusal: Option<Refusal>,
    /// The limits that were looked at.
    counted: Vec<Counted<'p>>,
    /// The first limit that the request is over and that did not refuse it.
    passed_over: Option<Refusal>,
    /// Name of the policy or block that refused it, or that it is over.
    by: &'p str,
    /// What is to be counted when an admitted request is over.
    charges: Vec<Charge>,
}

/// What one policy took, so that it can be given back.
struct Taken<'p> {
    place: Place,
    counted: Vec<Demand<'p>>,
}

impl Filter for RateLimit {
    const NAME: &'static str = "ratelimit";
    type Config = RateLimitConfig;
    type Exchange = Exchange;

    fn new(mut config: RateLimitConfig, _capabilities: Capabilities) -> Result<Self, ConfigError> {
        policies::normalise(&mut config);
        policies::check_identified(&mut config)?;
        if config.ipv6_prefix > 128 {
            return Err(ConfigError::at("ipv6_prefix", "an address has 128 bits: give at most so many"));
        }
        if config.max_keys > MOST_KEYS {
            return Err(ConfigError::at("max_keys", format!("give at most {MOST_KEYS}: 16 bytes each")));
        }
        let looks = Looks::of(&mut config);
        let tiers = Tiers::new(config.tiers, config.algorithm)?;
        policies::check(&config.policies, &tiers)?;
        config.policies.sort_by_key(|policy| policy.level);
        let blocked = config.blocked.into_iter().enumerate().map(|(index, blocked)| {
            let when = tiers::conditions(blocked.when);
            Ok((blocked.name, when.map_err(|error| error.under(&format!("blocked[{index}]")))?))
        });
        Ok(Self {
            blocked: blocked.collect::<Result<_, ConfigError>>()?,
            apis: Apis::new(config.apis, &tiers)?,
            tiers,
            policies: config.policies,
            counters: Counters::new(Self::NAME, config.max_keys),
            ipv6_prefix: config.ipv6_prefix,
            headers: config.headers,
            errors: config.errors,
            mode: config.mode,
            looks,
            reads_identity: config.identified && (looks.at_callers || looks.at_called),
        })
    }

    fn needs(&self) -> Needs {
        let attributes = if self.looks.at_addresses { vec!["source.address"] } else { Vec::new() };
        Needs { attributes, response: self.headers.on_allowed, ..Needs::default() }
    }

    fn on_event(&mut self, exchange: &mut Exchange, event: Event<'_>, cx: &mut Cx<'_>) -> Step {
        match event {
            Event::RequestHead => self.on_request(exchange, cx),
            Event::ResponseHead => {
                let fields = std::mem::take(&mut exchange.fields).into_iter();
                Step::Continue(fields.fold(Edits::default(), |edits, (name, value)| edits.set(name, value)))
            }
            _ => Step::proceed(),
        }
    }

    fn on_log(&mut self, exchange: Exchange, _call: &CallSummary<'_>, cx: &mut Cx<'_>) {
        for Charge { place, counter, rate, of } in exchange.charges {
            let amount = bytes(of, cx.host);
            let demand = Demand { counter, rate: &rate, amount, binding: false, later: true };
            if amount == 0 {
                continue;
            }
            match self.counters.charge(cx.host, place, &demand) {
                Ok(0) => {}
                Ok(evicted) => cx.host.count("enforcer.ratelimit.evicted", evicted),
                Err(Contended) => cx.host.count("enforcer.ratelimit.uncharged", 1),
            }
        }
    }
}

/// Bytes of a finished request's bodies, as Envoy counted them.
fn bytes(of: Traffic, host: &dyn Host) -> u64 {
    let size = |message: &str| {
        let value = host.attribute(&[message, "size"]).and_then(|value| value.try_into().ok());
        value.map_or(0, i64::from_le_bytes).try_into().unwrap_or(0_u64)
    };
    match of {
        Traffic::Both => size("request").saturating_add(size("response")),
        Traffic::Request => size("request"),
        Traffic::Response => size("response"),
    }
}

/// 160 MB of counters.
const MOST_KEYS: u32 = 10_000_000;

impl RateLimit {
    fn on_request(&self, exchange: &mut Exchange, cx: &Cx<'_>) -> Step {
        let headers = cx.request_headers();
        let identity = if self.reads_identity { cx.identity() } else { Ok(None) };
        let Ok(identity) = identity else {
            return self.refuse(Refusal::Unreadable, &Decision::default(), Identity::default(), cx);
        };
        let published = identity.map(|identity| &*identity.called).filter(|called| !called.api.is_empty());
        let called = match published {
            Some(called) => Cow::Borrowed(called),
            None if self.looks.at_called => Cow::Owned(self.apis.called(headers)),
            None => Cow::default(),
        };
        let request = Request::new(cx.host, headers, &called, identity);
        let mut decision = self.decide(&request);
        exchange.charges = std::mem::take(&mut decision.charges);
        match (decision.refusal, self.mode) {
            (Some(refusal), Mode::Enforce) => self.refuse(refusal, &decision, self.known(cx), cx),
            (Some(refusal), Mode::Shadow) => pass_over(refusal, &decision, self.known(cx), cx),
            (None, _) => {
                cx.host.count("enforcer.ratelimit.allowed", 1);
                let step = match decision.passed_over {
                    Some(refusal) => pass_over(refusal, &decision, self.known(cx), cx),
                    None => Step::proceed(),
                };
                self.tell(exchange, &decision, step, cx)
            }
        }
    }

    /// Who calls what, to be published with the reason of a refusal.
    fn known(&self, cx: &Cx<'_>) -> Identity {
        let published = cx.identity().ok().flatten().cloned();
        published.unwrap_or_else(|| {
            let called = Part::new(self.apis.called(cx.request_headers()));
            Identity { called, ..Identity::default() }
        })
    }

    fn decide<'p>(&'p self, request: &Request<'_>) -> Decision<'p> {
        if let Some((name, _)) = self.blocked.iter().find(|(_, when)| when.hold(request)) {
            return Decision { refusal: Some(Refusal::Blocked), by: name, ..Decision::default() };
        }
        let of_api = self.apis.tier(request.called);
        let of_api = of_api.and_then(|(level, tier)| policies::of_api(level, tier, &self.tiers));
        let others = self.policies.iter().filter_map(|policy| policies::apply(policy, &self.tiers, request));
        let (mut decision, mut taken) = (Decision::default(), Vec::new());
        // The tier of the API comes before the policies that are configured for its level.
        for applied in of_api.into_iter().chain(others) {
            if let Some(refusal) = self.take(applied, request, &mut decision, &mut taken) {
                for Taken { place, counted } in &taken {
                    if self.counters.give_back(request.host, *place, counted).is_err() {
                        request.host.count("enforcer.ratelimit.kept", 1);
                    }
                }
                return Decision {
                    refusal: Some(refusal),
                    by: applied.name,
                    charges: Vec::new(),
                    ..decision
                };
            }
        }
        decision
    }

    /// Counts a request by one policy.
    fn take<'p>(
        &self,
        applied: Applied<'p>,
        request: &Request<'_>,
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
        let demands = counters::demands(place, &limits.all, applied.shadow);
        let result = match self.counters.take(request.host, place, &demands) {
            Ok(result) => result,
            Err(Contended) => return Some(Refusal::Contended),
        };
        if result.evicted > 0 {
            request.host.count("enforcer.ratelimit.evicted", result.evicted);
        }
        let over = note(applied, limits, &result.outcomes, decision);
        if result.refused {
            return over;
        }
        if decision.passed_over.is_none() && over.is_some() {
            (decision.passed_over, decision.by) = (over, applied.name);
        }
        decision.charges.extend(charges(place, &demands, limits));
        // Who is over a limit that does not bind has taken nothing of it.
        let counted = demands.into_iter().zip(&result.outcomes).filter(|(_, outcome)| outcome.over.is_none());
        taken.push(Taken { place, counted: counted.map(|(demand, _)| demand).collect() });
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

    fn refuse(&self, refusal: Refusal, decision: &Decision<'_>, identity: Identity, cx: &Cx<'_>) -> Step {
        cx.host.count("enforcer.ratelimit.refused", 1);
        cx.host.count(refusal.metric(), 1);
        if cx.host.logs(LogLevel::Debug) {
            let line = format_args!("ratelimit: refused ({}) by `{}`", refusal.detail(), decision.by);
            cx.host.log(LogLevel::Debug, line);
        }
        let fault = refusal.fault(&decision.counted, self.headers, cx.host.now());
        let identity = Some(Identity { fault: refusal.detail().into(), ..identity });
        Step::Respond(Response { identity, ..fault.respond_to(cx.request_headers(), self.errors) })
    }

    /// Has the response say what is left, where it should.
    fn tell(&self, exchange: &mut Exchange, decision: &Decision<'_>, step: Step, cx: &Cx<'_>) -> Step {
        if !self.headers.on_allowed || decision.counted.is_empty() {
            return step;
        }
        exchange.fields = answer::fields(&decision.counted, self.headers, cx.host.now());
        match step {
            Step::Continue(edits) => {
                let next = Some(Next { response_head: true, ..Next::default() });
                Step::Continue(Edits { next, ..edits })
            }
            other => other,
        }
    }
}

/// What of a policy's limits is to be counted when the request is over.
fn charges(place: Place, demands: &[Demand<'_>], limits: &Limits) -> impl Iterator<Item = Charge> {
    demands.iter().zip(&limits.all).filter_map(move |(demand, limit)| match limit.kind {
        Kind::Bandwidth(of) => Some(Charge { place, counter: demand.counter, rate: limit.rate, of }),
        Kind::Quota | Kind::Burst => None,
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
        let Limit { kind, rate, stops } = limit;
        let binding = *stops && !applied.shadow;
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

/// Lets a request pass that is over a limit which does not bind.
fn pass_over(refusal: Refusal, decision: &Decision<'_>, identity: Identity, cx: &Cx<'_>) -> Step {
    cx.host.count("enforcer.ratelimit.shadow", 1);
    let line = format_args!("ratelimit: would refuse ({}) by `{}`", refusal.detail(), decision.by);
    cx.host.log(LogLevel::Info, line);
    let identity = Some(Identity { fault: refusal.detail().into(), ..identity });
    Step::Continue(Edits { identity, ..Edits::default() })
}

#[cfg(test)]
mod tests;
