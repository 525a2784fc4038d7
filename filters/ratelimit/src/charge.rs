//! What is counted when a request is over: bytes, and what its response says it has cost.

use enforcer_core::{
    cx::Cx,
    filter::{Body, BodyMode, Next},
    host::Host,
    protobuf::Message,
    store::Contended,
};

use crate::{
    RateLimit,
    bucket::{Demand, Fingerprint},
    config::Traffic,
    cost::Meter,
    counters::Place,
    lease::Account,
    rate::Rate,
    service::{Debt, millis},
};

/// What one limit is to be charged with.
#[derive(Debug)]
pub(crate) struct Charge {
    pub(crate) place: Place,
    pub(crate) counter: Fingerprint,
    pub(crate) rate: Rate,
    pub(crate) of: Measure,
    /// The service counts it, which knows it as this. One has been counted there already.
    pub(crate) owed: Option<Message>,
}

/// How much.
#[derive(Debug)]
pub(crate) enum Measure {
    Bytes(Traffic),
    Cost(Meter),
}

fn meters(charges: &[Charge]) -> impl Iterator<Item = &Meter> {
    charges.iter().filter_map(|charge| match &charge.of {
        Measure::Cost(meter) => Some(meter),
        Measure::Bytes(_) => None,
    })
}

fn meters_mut(charges: &mut [Charge]) -> impl Iterator<Item = &mut Meter> {
    charges.iter_mut().filter_map(|charge| match &mut charge.of {
        Measure::Cost(meter) => Some(meter),
        Measure::Bytes(_) => None,
    })
}

/// Whether the response's headers are needed.
pub(crate) fn reads_response(charges: &[Charge]) -> bool {
    meters(charges).any(Meter::reads_response)
}

/// Whether the response's body is needed, and the caller has offered to take it compressed.
pub(crate) fn reads_body(charges: &[Charge], cx: &Cx<'_>) -> bool {
    meters(charges).any(Meter::reads_body) && cx.request_headers().get("accept-encoding").is_some()
}

/// Looks at the response's headers, and asks for its body where that is needed.
pub(crate) fn on_head(charges: &mut [Charge], cx: &Cx<'_>) -> Option<Next> {
    let mut body = false;
    for meter in meters_mut(charges) {
        body |= meter.on_head(cx.response_headers());
    }
    body.then(|| Next { response_body: BodyMode::Observe, ..Next::default() })
}

/// Looks at a piece of the response's body.
pub(crate) fn on_body(charges: &mut [Charge], body: Body, cx: &Cx<'_>) {
    let bytes = cx.response_body(body.size);
    meters_mut(charges).for_each(|meter| meter.on_body(&bytes));
}

impl RateLimit {
    /// Counts what a request has come to.
    pub(crate) fn charge(&mut self, charge: Charge, cx: &mut Cx<'_>) {
        let amount = match &charge.of {
            Measure::Bytes(of) => bytes(*of, cx.host),
            Measure::Cost(meter) => {
                let (cost, named) = meter.total();
                if !named {
                    cx.host.count("enforcer.ratelimit.unknown_cost", 1);
                }
                cost
            }
        };
        let Charge { place, counter, rate, owed, .. } = charge;
        if let Some(descriptor) = owed {
            return self.owe(Debt { place, rate, descriptor, owed: amount.saturating_sub(1) }, cx);
        }
        let demand = Demand { counter, rate: &rate, amount, binding: false, later: true };
        if amount == 0 {
            return;
        }
        match self.counters.charge(cx.host, place, &demand) {
            Ok(0) => {}
            Ok(evicted) => cx.host.count("enforcer.ratelimit.evicted", evicted),
            Err(Contended) => cx.host.count("enforcer.ratelimit.uncharged", 1),
        }
    }

    /// Spends what is held of a shared allowance, and tells the service the rest.
    fn owe(&mut self, mut debt: Debt, cx: &mut Cx<'_>) {
        let Some(desk) = &mut self.desk else { return };
        if debt.owed > 0 && desk.leases() {
            let now = millis(cx.host.monotonic());
            let spend = |account: &mut Account| account.spend(now, debt.owed);
            if let Ok((rest, _)) = self.counters.lease(cx.host, debt.place, &debt.rate, spend) {
                debt.owed = rest;
            }
        }
        if debt.owed > 0 {
            desk.owe(debt, cx);
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
