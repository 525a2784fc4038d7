//! The service that counts for several Envoys: what is asked of it, and what is known of its answers.
//!
//! With leases, hits are asked for in the background, one call at a time for each key, whoever of all workers needs
//! them ([`crate::lease`]); requests that find none wait for the answer, and so do those of other workers, which look
//! every other millisecond. Without leases, each request asks for itself. A request that waits has taken nothing
//! elsewhere: it is decided again from the beginning when the answer is there.

pub mod wire;

use std::{collections::HashMap, time::Duration};

use enforcer_core::{
    cx::{CalloutError, CalloutReply, Cx, FetchKey, GrpcCall},
    host::{Host, Level},
    protobuf::Message,
    store::Slot,
};

use crate::{
    config::{OnFailure, Service},
    counters::{Counters, Place},
    lease::{Account, Grant, MILLISECOND},
    rate::Rate,
};

/// How long the service is left alone after it has failed.
const REST: Duration = Duration::from_secs(1);
/// How often waiting requests of other workers are thought of.
const LOOK: Duration = Duration::from_millis(2);

/// Who asks, on one worker.
#[derive(Debug)]
pub struct Desk {
    filter: &'static str,
    config: Service,
    /// What this worker has asked for, by the keys' ids.
    asked: HashMap<u32, Asked>,
    /// What requests have cost and the service is being told, likewise.
    debts: HashMap<u32, Debt>,
    /// Keys that requests of this worker wait for.
    awaited: Vec<(Place, Rate)>,
    failing: Slot,
}

/// Hits that were asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    place: Place,
    rate: Rate,
    batch: u32,
    /// Milliseconds of the monotonic clock.
    sent: u64,
}

/// What requests have cost beside the hits that they took.
#[derive(Debug, Clone)]
pub struct Debt {
    pub place: Place,
    pub rate: Rate,
    pub descriptor: Message,
    /// What the service has not been told yet.
    pub owed: u64,
}

/// Hits that are to be asked for.
#[derive(Debug)]
pub struct Want {
    pub place: Place,
    pub rate: Rate,
    pub batch: u32,
    pub descriptor: Message,
}

impl Desk {
    pub fn new(filter: &'static str, config: Service) -> Self {
        Self {
            filter,
            config,
            asked: HashMap::new(),
            debts: HashMap::new(),
            awaited: Vec::new(),
            failing: Slot::new(1, filter, "service"),
        }
    }

    pub fn leases(&self) -> bool {
        self.config.leases
    }

    /// Whether the tiers of APIs are shared.
    pub fn apis(&self) -> bool {
        self.config.apis
    }

    pub fn cluster(&self) -> &str {
        &self.config.cluster
    }

    fn timeout(&self) -> Duration {
        self.config.timeout.duration()
    }

    pub fn on_failure(&self) -> OnFailure {
        self.config.on_failure
    }

    /// How long a request waits, in all.
    pub fn patience(&self) -> Duration {
        self.config.patience()
    }

    /// When an answer to what is asked now must be there.
    pub fn due(&self, now: u64) -> u64 {
        now.saturating_add(millis(self.patience()))
    }

    /// Whether the service has failed a moment ago, in any worker.
    pub fn is_failing(&self, host: &dyn Host) -> bool {
        let until = self.failing.read(host).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        until.is_some_and(|until| millis(host.monotonic()) < u64::from_le_bytes(until))
    }

    /// Notes a failure: for a moment nobody asks.
    pub fn note_failure(&self, host: &dyn Host, why: &dyn std::fmt::Display) {
        host.count("enforcer.ratelimit.service.failed", 1);
        let until = millis(host.monotonic().saturating_add(REST));
        self.failing.write(host, &until.to_le_bytes());
        let cluster = &self.config.cluster;
        host.log(Level::Warn, format_args!("ratelimit: the service at `{cluster}` does not count: {why}"));
    }

    /// What a request asks, about all of its shared limits in one call.
    pub fn question(&self, descriptors: &[Message], host: &dyn Host) -> GrpcCall {
        host.count("enforcer.ratelimit.service.asked", 1);
        self.call(wire::request(&self.config.domain, descriptors, 1))
    }

    /// Asks for hits in the background.
    pub fn want(&mut self, wants: Vec<Want>, cx: &mut Cx<'_>) {
        for Want { place, rate, batch, descriptor } in wants {
            let sent = millis(cx.host.monotonic());
            self.asked.insert(place.id(), Asked { place, rate, batch, sent });
            cx.host.count("enforcer.ratelimit.service.asked", 1);
            let message = wire::request(&self.config.domain, [&descriptor], batch);
            cx.ask(self.key(place), self.call(message));
        }
    }

    /// Tells the service what a request has cost, after what it is being told already.
    pub fn owe(&mut self, debt: Debt, cx: &mut Cx<'_>) {
        match self.debts.get_mut(&debt_id(debt.place)) {
            Some(others) => others.owed = others.owed.saturating_add(debt.owed),
            None => self.pay(debt, cx),
        }
    }

    /// Debts of one key go one after the other: whatever comes meanwhile goes together.
    fn pay(&mut self, debt: Debt, cx: &mut Cx<'_>) {
        if self.is_failing(cx.host) {
            return cx.host.count("enforcer.ratelimit.service.lost", 1);
        }
        let hits = u32::try_from(debt.owed).unwrap_or(u32::MAX);
        cx.host.count("enforcer.ratelimit.service.asked", 1);
        let id = debt_id(debt.place);
        let message = wire::request(&self.config.domain, [&debt.descriptor], hits);
        cx.ask(FetchKey { filter: self.filter, id }, self.call(message));
        self.debts.insert(id, Debt { owed: 0, ..debt });
    }

    /// Takes in the answer to a debt. A service that has not so much left may count nothing of it.
    fn on_paid(
        &mut self,
        debt: Debt,
        answer: Result<&[u8], CalloutError>,
        counters: &Counters,
        cx: &mut Cx<'_>,
    ) {
        match self.read(answer, cx.host).map(|reply| reply.status(0)) {
            Some(wire::Status { over, remaining, reset }) if over || remaining == Some(0) => {
                let now = millis(cx.host.monotonic());
                let exhaust = |account: &mut Account| account.exhaust(reset.map(millis), now);
                if counters.lease(cx.host, debt.place, &debt.rate, exhaust).is_err() {
                    cx.host.count("enforcer.ratelimit.service.lost", 1);
                }
            }
            Some(_) => {}
            None => cx.host.count("enforcer.ratelimit.service.lost", 1),
        }
        if debt.owed > 0 {
            self.pay(debt, cx);
        }
    }

    /// Has requests wait for hits on these keys; one of them is what to wait for.
    pub fn await_all(&mut self, keys: &[(Place, Rate)], cx: &mut Cx<'_>) -> Option<FetchKey> {
        for (place, rate) in keys {
            if !self.awaited.iter().any(|(other, _)| other == place) {
                self.awaited.push((*place, *rate));
            }
        }
        if !keys.is_empty() {
            cx.schedule(LOOK);
        }
        keys.first().map(|(place, _)| self.key(*place))
    }

    /// Lets those go on whose hits another worker has got.
    pub fn look(&mut self, counters: &Counters, cx: &mut Cx<'_>) {
        let now = millis(cx.host.monotonic());
        let settled = |place: &Place, rate: &Rate| {
            let settled = counters.lease(cx.host, *place, rate, |account| account.is_settled(now));
            settled.is_ok_and(|(settled, _)| settled)
        };
        let (ready, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.awaited).into_iter().partition(|(place, rate)| settled(place, rate));
        ready.iter().for_each(|(place, _)| cx.wake(self.key(*place)));
        if !rest.is_empty() {
            cx.schedule(LOOK);
        }
        self.awaited = rest;
    }

    /// Takes in an answer, for all workers.
    pub fn on_answer(
        &mut self,
        id: u32,
        answer: Result<&[u8], CalloutError>,
        counters: &Counters,
        cx: &mut Cx<'_>,
    ) {
        if let Some(debt) = self.debts.remove(&id) {
            return self.on_paid(debt, answer, counters, cx);
        }
        let Some(Asked { place, rate, batch, sent }) = self.asked.remove(&id) else { return };
        let now = millis(cx.host.monotonic());
        let grant = self.read(answer, cx.host).map(|reply| {
            let wire::Status { over, remaining, reset } = reply.status(0);
            Grant { granted: !over, remaining, reset: reset.map(millis) }
        });
        let noted = counters.lease(cx.host, place, &rate, |account| match grant {
            Some(grant) => account.accept(batch, grant, sent, now),
            None => account.fail(),
        });
        match noted {
            Ok(((), 0)) => {}
            Ok(((), evicted)) => cx.host.count("enforcer.ratelimit.evicted", evicted),
            // What was granted is lost.
            Err(_) => cx.host.count("enforcer.ratelimit.service.lost", 1),
        }
        self.awaited.retain(|(other, _)| *other != place);
        cx.wake(self.key(place));
    }

    /// What has been answered to a [`Desk::question`]. `None`: it is a failure, which has been noted.
    pub fn hear(
        &self,
        answers: &[Option<Result<CalloutReply, CalloutError>>],
        host: &dyn Host,
    ) -> Option<wire::Reply> {
        match answers.first() {
            Some(Some(Ok(CalloutReply::Grpc(message)))) => self.read(Ok(message), host),
            Some(Some(Err(error))) => self.read(Err(*error), host),
            _ => None,
        }
    }

    fn read(&self, answer: Result<&[u8], CalloutError>, host: &dyn Host) -> Option<wire::Reply> {
        match answer.map(wire::Reply::read) {
            Ok(Ok(reply)) => Some(reply),
            Ok(Err(_)) => {
                self.note_failure(host, &"its answer is not one of a rate limit service");
                None
            }
            Err(error) => {
                self.note_failure(host, &error);
                None
            }
        }
    }

    fn key(&self, place: Place) -> FetchKey {
        FetchKey { filter: self.filter, id: place.id() }
    }

    fn call(&self, message: Vec<u8>) -> GrpcCall {
        GrpcCall {
            cluster: self.config.cluster.clone(),
            service: wire::SERVICE.to_owned(),
            method: wire::METHOD.to_owned(),
            message,
            timeout: self.timeout(),
        }
    }
}

/// Whose debt: another name than that of the hits of the same key.
fn debt_id(place: Place) -> u32 {
    !place.id()
}

/// A time on the monotonic clock, in milliseconds.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) / MILLISECOND
}

#[cfg(test)]
mod tests;
