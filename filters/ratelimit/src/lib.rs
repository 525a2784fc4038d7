//! How often: limits by API, caller and anything else in a request.
//!
//! A request is looked at level by level: who may not call at all, the API's or operation's tier, then the
//! configured [`policies`]. Each that applies names a tier ([`tiers`]), whose limits are counted under a key made
//! of [`parts`] of the request ([`counters`]). What several Envoys share, a [`service`] counts, and what is taken from
//! it in advance is a [`lease`].

pub mod answer;
pub mod apis;
pub mod bucket;
pub mod calendar;
mod charge;
pub mod condition;
pub mod config;
pub mod cost;
pub mod counters;
mod decision;
pub mod lease;
pub mod metrics;
pub mod parts;
pub mod period;
pub mod policies;
pub mod rate;
pub mod service;
mod sharing;
pub mod tiers;

use std::{borrow::Cow, time::Duration};

use enforcer_core::{
    config::ConfigError,
    cx::{Callout, Cx},
    edits::Edits,
    fault::Dialect,
    filter::{Background, CallSummary, Capabilities, Event, Filter, Needs, Next, Response, Step, Until},
    host::Level as LogLevel,
    identity::{Identity, Part},
    mode::Mode,
    protobuf::Message,
};

use crate::{
    answer::Refusal,
    apis::Apis,
    charge::Charge,
    condition::All,
    config::{Headers, Policy, RateLimitConfig, Service},
    counters::{Counters, Place},
    decision::{Decision, Heard},
    metrics::Metrics,
    parts::Request,
    policies::Looks,
    rate::Rate,
    service::{Desk, Want, wire},
    tiers::Tiers,
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
    /// Where what several Envoys share is asked for.
    desk: Option<Desk>,
    metrics: Option<Metrics>,
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
    /// What the service has answered; nothing, if it failed.
    answer: Option<Option<wire::Reply>>,
    /// Until when its answer is waited for.
    patience: Option<Duration>,
}

impl Exchange {
    fn heard(&self) -> Heard<'_> {
        match &self.answer {
            None => Heard::Nothing,
            Some(None) => Heard::Failure,
            Some(Some(reply)) => Heard::Reply(reply),
        }
    }
}

/// How far a request has come.
struct Settled {
    /// Hits that are to be asked for.
    wants: Vec<Want>,
    /// What each policy made of it.
    outcomes: Vec<(usize, metrics::Outcome)>,
    /// What is done with it, or what it waits for.
    then: Result<Step, Waits>,
}

/// What must be there before a request can be decided.
struct Waits {
    questions: Vec<Message>,
    awaits: Vec<(Place, Rate)>,
}

impl Filter for RateLimit {
    const NAME: &'static str = "ratelimit";
    type Config = RateLimitConfig;
    type Exchange = Exchange;

    fn new(mut config: RateLimitConfig, _capabilities: Capabilities) -> Result<Self, ConfigError> {
        policies::normalise(&mut config)?;
        policies::check_identified(&mut config)?;
        if config.ipv6_prefix > 128 {
            return Err(ConfigError::at("ipv6_prefix", "an address has 128 bits: give at most so many"));
        }
        if config.max_keys > MOST_KEYS {
            return Err(ConfigError::at("max_keys", format!("give at most {MOST_KEYS}: 16 bytes each")));
        }
        let looks = Looks::of(&mut config);
        let tiers = Tiers::new(config.tiers, config.algorithm)?;
        check_service(config.service.as_ref())?;
        policies::check_blocks(&config.blocked)?;
        policies::check(&config.policies, &tiers, config.service.is_some())?;
        config.policies.sort_by_key(|policy| policy.level);
        let blocked = config.blocked.into_iter().enumerate().map(|(index, blocked)| {
            let when = tiers::conditions(blocked.when);
            Ok((blocked.name, when.map_err(|error| error.under(&format!("blocked[{index}]")))?))
        });
        let blocked: Vec<(String, All)> = blocked.collect::<Result<_, ConfigError>>()?;
        let numbered = policies::numbered(&config.policies, blocked.iter().map(|(name, _)| name.as_str()));
        let metrics = config.metrics.then(|| Metrics::new(numbered));
        Ok(Self {
            blocked,
            apis: Apis::new(config.apis, &tiers)?,
            tiers,
            metrics,
            policies: config.policies,
            counters: Counters::new(Self::NAME, config.max_keys),
            desk: config.service.map(|service| Desk::new(Self::NAME, service)),
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
        let clusters = self.desk.iter().map(|desk| desk.cluster().to_owned()).collect();
        Needs { clusters, attributes, response: self.headers.on_allowed || self.tiers.read_responses() }
    }

    fn on_event(&mut self, exchange: &mut Exchange, event: Event<'_>, cx: &mut Cx<'_>) -> Step {
        match event {
            Event::RequestHead | Event::Woken => self.on_request(exchange, cx),
            Event::Callouts(answers) => {
                let desk = self.desk.as_ref();
                exchange.answer = Some(desk.and_then(|desk| desk.hear(answers, cx.host)));
                self.on_request(exchange, cx)
            }
            Event::Deadline => {
                exchange.answer = Some(None);
                self.on_request(exchange, cx)
            }
            Event::ResponseHead => {
                let fields = std::mem::take(&mut exchange.fields).into_iter();
                let edits = fields.fold(Edits::default(), |edits, (name, value)| edits.set(name, value));
                Step::Continue(Edits { next: charge::on_head(&mut exchange.charges, cx), ..edits })
            }
            Event::ResponseBody(body) => {
                charge::on_body(&mut exchange.charges, body, cx);
                Step::proceed()
            }
            Event::RequestBody(_) | Event::RequestTrailers | Event::ResponseTrailers => Step::proceed(),
        }
    }

    fn on_log(&mut self, exchange: Exchange, _call: &CallSummary<'_>, cx: &mut Cx<'_>) {
        exchange.charges.into_iter().for_each(|charge| self.charge(charge, cx));
    }

    fn on_background(&mut self, event: Background<'_>, cx: &mut Cx<'_>) {
        let Some(desk) = &mut self.desk else { return };
        match event {
            Background::Tick => desk.look(&self.counters, cx),
            Background::Answered(key, answer) if key.filter == Self::NAME => {
                desk.on_answer(key.id, answer, &self.counters, cx);
            }
            Background::Answered(..) | Background::Fetched(..) | Background::Draining => {}
        }
    }
}

fn check_service(service: Option<&Service>) -> Result<(), ConfigError> {
    let Some(service) = service else { return Ok(()) };
    // Whole lengths of its serialised form are below 128.
    if service.cluster.is_empty() || service.cluster.len() > 100 {
        return Err(ConfigError::at(
            "service.cluster",
            "give the name of an Envoy cluster, of at most 100 letters",
        ));
    }
    if service.timeout.duration().is_zero() {
        return Err(ConfigError::at("service.timeout", "no answer takes no time: give at least `1ms`"));
    }
    Ok(())
}

/// 160 MB of counters.
const MOST_KEYS: u32 = 10_000_000;

impl RateLimit {
    fn on_request(&mut self, exchange: &mut Exchange, cx: &mut Cx<'_>) -> Step {
        let Settled { wants, outcomes, then } = self.settle(exchange, cx);
        if let Some(metrics) = &mut self.metrics {
            outcomes.into_iter().for_each(|(policy, outcome)| metrics.count(policy, outcome, cx.host));
        }
        // Without a service nothing is waited for.
        let Some(desk) = &mut self.desk else { return then.unwrap_or_else(|_| Step::proceed()) };
        desk.want(wants, cx);
        match then {
            Ok(step) => step,
            Err(Waits { questions, awaits }) => {
                let now = cx.host.monotonic();
                let until = *exchange.patience.get_or_insert(now.saturating_add(desk.patience()));
                let deadline = until.saturating_sub(now);
                match desk.await_all(&awaits, cx) {
                    Some(on) => Step::Wait { on, deadline },
                    None => {
                        let calls = vec![Callout::Grpc(desk.question(&questions, cx.host))];
                        Step::Await { calls, until: Until::All, deadline }
                    }
                }
            }
        }
    }

    /// Decides, as far as that can be done now.
    fn settle(&self, exchange: &mut Exchange, cx: &Cx<'_>) -> Settled {
        let headers = cx.request_headers();
        let identity = if self.reads_identity { cx.identity() } else { Ok(None) };
        let Ok(identity) = identity else {
            let step = self.refuse(Refusal::Unreadable, &Decision::default(), Identity::default(), cx);
            return Settled { wants: Vec::new(), outcomes: Vec::new(), then: Ok(step) };
        };
        let published = identity.map(|identity| &*identity.called).filter(|called| !called.api.is_empty());
        let called = match published {
            Some(called) => Cow::Borrowed(called),
            None if self.looks.at_called => Cow::Owned(self.apis.called(headers)),
            None => Cow::default(),
        };
        let request = Request::new(cx.host, headers, &called, identity);
        let mut decision = match self.blocked(&request) {
            Some(blocked) => blocked,
            // Of an internal redirect the first leg was counted: the client has asked once.
            None if cx.is_redirected() => Decision::default(),
            None => self.decide(&request, exchange.heard()),
        };
        let wants = std::mem::take(&mut decision.wants);
        if decision.waits() {
            let Decision { questions, awaits, .. } = decision;
            return Settled { wants, outcomes: Vec::new(), then: Err(Waits { questions, awaits }) };
        }
        exchange.charges = std::mem::take(&mut decision.charges);
        let outcomes = std::mem::take(&mut decision.outcomes);
        let step = match (decision.refusal, self.mode) {
            (Some(refusal), Mode::Enforce) => self.refuse(refusal, &decision, self.known(cx), cx),
            (Some(refusal), Mode::Shadow) => {
                Step::Continue(pass_over(refusal, &decision, self.known(cx), cx))
            }
            (None, _) => {
                cx.host.count("enforcer.ratelimit.allowed", 1);
                let edits = match decision.passed_over {
                    Some(refusal) => pass_over(refusal, &decision, self.known(cx), cx),
                    None => Edits::default(),
                };
                Step::Continue(self.tell(exchange, &decision, edits, cx))
            }
        };
        Settled { wants, outcomes, then: Ok(step) }
    }

    /// Who calls what, to be published with the reason of a refusal.
    fn known(&self, cx: &Cx<'_>) -> Identity {
        let published = cx.identity().ok().flatten().cloned();
        published.unwrap_or_else(|| {
            let called = Part::new(self.apis.called(cx.request_headers()));
            Identity { called, ..Identity::default() }
        })
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

    /// Has the response say what is left, where it should, and asks for what it says of costs.
    fn tell(&self, exchange: &mut Exchange, decision: &Decision<'_>, edits: Edits, cx: &Cx<'_>) -> Edits {
        let tells = self.headers.on_allowed && !decision.counted.is_empty();
        if tells {
            exchange.fields = answer::fields(&decision.counted, self.headers, cx.host.now());
        }
        let edits = match charge::reads_body(&exchange.charges, cx) {
            true => edits.set("accept-encoding", "identity"),
            false => edits,
        };
        if !tells && !charge::reads_response(&exchange.charges) {
            return edits;
        }
        Edits { next: Some(Next { response_head: true, ..Next::default() }), ..edits }
    }
}

/// Lets a request pass that is over a limit which does not bind.
fn pass_over(refusal: Refusal, decision: &Decision<'_>, identity: Identity, cx: &Cx<'_>) -> Edits {
    cx.host.count("enforcer.ratelimit.shadow", 1);
    let line = format_args!("ratelimit: would refuse ({}) by `{}`", refusal.detail(), decision.by);
    cx.host.log(LogLevel::Info, line);
    let identity = Some(Identity { fault: refusal.detail().into(), ..identity });
    Edits { identity, ..Edits::default() }
}

#[cfg(test)]
mod tests;
