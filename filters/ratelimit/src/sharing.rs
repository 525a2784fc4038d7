//! Quotas that several Envoys share: where one is counted, and what came of it.
//!
//! Of a shared cost, each request takes one as of a quota; the rest is owed when it is over.

use std::time::Duration;

use enforcer_core::{protobuf::Message, store::Contended};

use crate::{
    RateLimit,
    bucket::Outcome,
    config::OnFailure,
    counters::Place,
    decision::{Decision, Heard},
    lease::{self, Account},
    parts::{Request, is_of_caller},
    policies::Applied,
    rate::{Rate, Standing},
    service::{Desk, Want, millis, wire},
    tiers::{Kind, Limit, Limits},
};

/// A quota that is that of several Envoys, and a request's key of it.
pub(crate) struct Sought<'p> {
    pub(crate) applied: Applied<'p>,
    pub(crate) limits: &'p Limits,
    pub(crate) quota: &'p Limit,
    pub(crate) place: Place,
}

/// Where a shared quota is counted, and what came of it.
pub(crate) enum Shared {
    /// Here, as any other: the service does not answer.
    Here,
    /// At the service. `hit`: one that was held here has been spent.
    There { outcome: Outcome, hit: bool },
    /// There is nothing to spend yet.
    Awaited,
    /// Nowhere, and nobody may pass.
    Closed,
    /// Other workers kept writing what is held.
    Contended,
}

impl RateLimit {
    pub(crate) fn shared(
        &self,
        desk: &Desk,
        sought: &Sought<'_>,
        request: &Request<'_>,
        heard: Heard<'_>,
        decision: &mut Decision<'_>,
    ) -> Shared {
        if desk.leases() {
            let leased = self.leased(desk, sought, request, heard, decision);
            return leased.unwrap_or(Shared::Contended);
        }
        match heard {
            Heard::Failure => failed(desk, sought),
            Heard::Nothing if desk.is_failing(request.host) => failed(desk, sought),
            Heard::Nothing => {
                if let Some(wait) = self.spent(sought, request) {
                    return wait;
                }
                // Counted as if there were enough, so that what is limited here is looked at before anybody is asked.
                decision.questions.push(self.descriptor(sought, request));
                enough(&sought.quota.rate)
            }
            Heard::Reply(reply) => {
                let wire::Status { over, remaining, reset } = reply.status(decision.answers);
                decision.answers = decision.answers.saturating_add(1);
                let reset = reset.unwrap_or_default();
                let standing = Standing { remaining: remaining.unwrap_or(0).into(), reset };
                Shared::There { outcome: Outcome { standing, over: over.then_some(reset) }, hit: false }
            }
        }
    }

    /// Whether the service had nothing left for what earlier requests have cost: it may not count what is too much, and
    /// then says that there is something left.
    fn spent(&self, sought: &Sought<'_>, request: &Request<'_>) -> Option<Shared> {
        let binding = sought.applied.binds(sought.quota);
        if sought.quota.kind != Kind::Cost || !binding {
            return None;
        }
        let now = millis(request.host.monotonic());
        match self.account(sought, request, |account| account.spent(now)) {
            Ok(wait) => wait.map(|wait| Shared::There { outcome: nothing_left(wait), hit: false }),
            Err(Contended) => Some(Shared::Contended),
        }
    }

    /// Spends a hit that is held here, and has more asked for in time.
    fn leased(
        &self,
        desk: &Desk,
        sought: &Sought<'_>,
        request: &Request<'_>,
        heard: Heard<'_>,
        decision: &mut Decision<'_>,
    ) -> Result<Shared, Contended> {
        let now = millis(request.host.monotonic());
        Ok(match self.account(sought, request, |account| account.take(now))? {
            lease::Taken::Hit { left, reset, low } => {
                if low && !desk.is_failing(request.host) {
                    self.want(desk, sought, request, decision)?;
                }
                let standing = Standing { remaining: left.into(), reset: Duration::from_millis(reset) };
                Shared::There { outcome: Outcome { standing, over: None }, hit: true }
            }
            lease::Taken::Spent { wait } => Shared::There { outcome: nothing_left(wait), hit: false },
            lease::Taken::Wait | lease::Taken::Empty
                if matches!(heard, Heard::Failure) || desk.is_failing(request.host) =>
            {
                failed(desk, sought)
            }
            lease::Taken::Wait => {
                decision.awaits.push((sought.place, sought.quota.rate));
                Shared::Awaited
            }
            lease::Taken::Empty => {
                self.want(desk, sought, request, decision)?;
                decision.awaits.push((sought.place, sought.quota.rate));
                Shared::Awaited
            }
        })
    }

    /// Has hits asked for, unless another worker was faster.
    fn want(
        &self,
        desk: &Desk,
        sought: &Sought<'_>,
        request: &Request<'_>,
        decision: &mut Decision<'_>,
    ) -> Result<(), Contended> {
        let now = millis(request.host.monotonic());
        let due = desk.due(now);
        if let Some(batch) = self.account(sought, request, |account| account.ask(now, due))? {
            let descriptor = self.descriptor(sought, request);
            decision.wants.push(Want { place: sought.place, rate: sought.quota.rate, batch, descriptor });
        }
        Ok(())
    }

    fn account<T>(
        &self,
        sought: &Sought<'_>,
        request: &Request<'_>,
        change: impl Fn(&mut Account) -> T,
    ) -> Result<T, Contended> {
        let rate = &sought.quota.rate;
        let (result, evicted) = self.counters.lease(request.host, sought.place, rate, change)?;
        if evicted > 0 {
            request.host.count("enforcer.ratelimit.evicted", evicted);
        }
        Ok(result)
    }

    /// The limit as the service is told it.
    pub(crate) fn descriptor(&self, sought: &Sought<'_>, request: &Request<'_>) -> Message {
        let Sought { applied, limits, quota, .. } = sought;
        let mut parts =
            vec![("policy".to_owned(), applied.name.to_owned()), ("tier".to_owned(), limits.name.clone())];
        // Subjects, consumers and claims mean something within their issuer only.
        if applied.key.iter().any(is_of_caller) {
            let issuer = request.caller.map(|caller| caller.issuer.clone());
            parts.push(("issuer".to_owned(), issuer.unwrap_or_default()));
        }
        parts.extend(applied.key.iter().map(|part| request.tell(part, self.ipv6_prefix)));
        let parts = parts.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        wire::descriptor(parts, &quota.rate)
    }
}

fn failed(desk: &Desk, sought: &Sought<'_>) -> Shared {
    match desk.on_failure() {
        OnFailure::Local => Shared::Here,
        OnFailure::Open => enough(&sought.quota.rate),
        OnFailure::Closed => Shared::Closed,
    }
}

fn nothing_left(wait: u64) -> Outcome {
    let wait = Duration::from_millis(wait);
    Outcome { standing: Standing { remaining: 0, reset: wait }, over: Some(wait) }
}

fn enough(rate: &Rate) -> Shared {
    let standing = Standing { remaining: rate.limit, reset: Duration::ZERO };
    Shared::There { outcome: Outcome { standing, over: None }, hit: false }
}
