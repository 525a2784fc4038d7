#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use std::time::Duration;

use enforcer_core::{
    cx::{Callout, CalloutError, CalloutReply, Cx, FetchKey, GrpcCall, Messages, Wishes},
    filter::{Background, CallSummary, Capabilities, Event, Filter as _, Step},
    host::MapKind,
    native::NativeHost,
    protobuf::{Message, Value, fields},
};
use serde_json::json;

use crate::{Exchange, RateLimit};

/// One worker with its filter.
struct Worker {
    filter: RateLimit,
    host: NativeHost,
}

/// What became of a request, and what was wished for.
struct Told {
    step: Step,
    asked: Vec<(FetchKey, GrpcCall)>,
    woken: Vec<FetchKey>,
}

impl Worker {
    fn new(host: NativeHost, leases: bool) -> Self {
        let config = json!({
            "service": {"cluster": "limits", "leases": leases},
            "tiers": {"Ten": {"quota": {"requests": 10, "per": "1h"}}},
            "policies": [{"name": "tenant", "key": [{"header": "x-tenant"}], "tier": "Ten", "shared": true}],
        });
        let filter =
            RateLimit::new(serde_json::from_value(config).unwrap(), Capabilities::default()).unwrap();
        Self { filter, host: host.with_headers(MapKind::RequestHeaders, [("x-tenant", "acme")]) }
    }

    fn tell(&mut self, exchange: &mut Exchange, event: Event<'_>) -> Told {
        let (messages, mut wishes) = (Messages::default(), Wishes::default());
        let step = self.filter.on_event(exchange, event, &mut Cx::new(&self.host, &messages, &mut wishes));
        Told { step, asked: wishes.asked, woken: wishes.woken }
    }

    fn ask(&mut self) -> Told {
        self.tell(&mut Exchange::default(), Event::RequestHead)
    }

    fn background(&mut self, event: Background<'_>) -> Wishes {
        let (messages, mut wishes) = (Messages::default(), Wishes::default());
        self.filter.on_background(event, &mut Cx::new(&self.host, &messages, &mut wishes));
        wishes
    }
}

fn passes(told: &Told) -> bool {
    matches!(told.step, Step::Continue(_))
}

/// Not over, so many left of this hour.
fn granted(remaining: u64) -> Vec<u8> {
    let reset = Message::default().uint(1, 3_599).uint(2, 1);
    let status = Message::default().uint(1, 1).uint(3, remaining).bytes(4, reset.as_ref());
    Message::default().uint(1, 1).bytes(2, status.as_ref()).into_bytes()
}

fn hits(call: &GrpcCall) -> u64 {
    let hits = fields(&call.message).find_map(|field| match field.unwrap() {
        (3, Value::Uint(hits)) => Some(hits),
        _ => None,
    });
    hits.unwrap_or(0)
}

#[test]
fn one_call_serves_all_workers() {
    let host = NativeHost::new();
    let mut one = Worker::new(host.sibling(), true);
    let mut two = Worker::new(host.sibling(), true);
    host.advance(Duration::from_secs(9));
    let first = one.ask();
    let [(key, call)] = first.asked.as_slice() else { panic!("{:?}", first.asked) };
    assert!(matches!(first.step, Step::Wait { on, .. } if on == *key));
    assert_eq!((call.cluster.as_str(), call.method.as_str(), hits(call)), ("limits", "ShouldRateLimit", 1));
    let mut waiting = Exchange::default();
    let second = two.tell(&mut waiting, Event::RequestHead);
    assert!(second.asked.is_empty() && matches!(second.step, Step::Wait { .. }));
    let wishes = two.background(Background::Tick);
    assert!(wishes.woken.is_empty() && wishes.tick_in.is_some(), "not yet");
    let wishes = one.background(Background::Answered(*key, Ok(&granted(1_000))));
    assert_eq!(wishes.woken, [*key]);
    assert_eq!(two.background(Background::Tick).woken, [*key], "another worker's request goes on, too");
    assert!(passes(&two.tell(&mut waiting, Event::Woken)));
    let mut third = one.ask();
    assert_eq!(third.asked.pop().map(|(_, call)| hits(&call)), Some(2), "there was one hit, and it is spent");
    assert!(third.woken.is_empty());
}

#[test]
fn a_worker_that_dies_loses_what_it_asked_for() {
    let host = NativeHost::new();
    host.advance(Duration::from_secs(9));
    let mut one = Worker::new(host.sibling(), true);
    let key = one.ask().asked[0].0;
    let mut again = Worker::new(host.sibling(), true);
    assert!(again.ask().asked.is_empty());
    // The answer goes to nobody: this worker never asked.
    assert!(again.background(Background::Answered(key, Ok(&granted(9)))).woken.is_empty());
    host.advance(Duration::from_millis(151));
    assert_eq!(again.background(Background::Tick).woken, [key]);
    assert_eq!(again.ask().asked.len(), 1, "it is asked anew");
}

#[test]
fn who_waits_too_long_is_counted_here() {
    let host = NativeHost::new();
    let mut worker = Worker::new(host.sibling(), true);
    let mut exchange = Exchange::default();
    let told = worker.tell(&mut exchange, Event::RequestHead);
    assert!(matches!(told.step, Step::Wait { deadline, .. } if deadline == Duration::from_millis(150)));
    assert!(passes(&worker.tell(&mut exchange, Event::Deadline)));
    let failed = worker.background(Background::Answered(told.asked[0].0, Err(CalloutError::Grpc(14))));
    assert_eq!(failed.woken.len(), 1);
    assert_eq!((0..20).filter(|_| passes(&worker.ask())).count(), 9, "ten an hour, by itself");
    host.advance(Duration::from_secs(1));
    assert_eq!(worker.ask().asked.len(), 1, "and after a moment it is asked again");
}

#[test]
fn each_asks_for_itself_where_nothing_is_leased() {
    let mut worker = Worker::new(NativeHost::new(), false);
    let mut exchange = Exchange::default();
    let Step::Await { calls, .. } = worker.tell(&mut exchange, Event::RequestHead).step else { panic!() };
    assert!(matches!(calls.as_slice(), [Callout::Grpc(call)] if hits(call) == 1));
    assert!(worker.host.shared_data().keys().all(|key| !key.ends_with("service")), "nothing has failed");
    let over = Message::default().uint(1, 2).into_bytes();
    let answers = [Some(Ok(CalloutReply::Grpc(over)))];
    assert!(matches!(worker.tell(&mut exchange, Event::Callouts(&answers)).step, Step::Respond(_)));
    let mut exchange = Exchange::default();
    worker.tell(&mut exchange, Event::RequestHead);
    let answers = [Some(Err(CalloutError::NotSent))];
    assert!(passes(&worker.tell(&mut exchange, Event::Callouts(&answers))));
    assert!(passes(&worker.ask()), "nobody asks for a moment");
    assert_eq!(worker.host.counter("enforcer.ratelimit.service.asked"), 2);
}

/// A filter whose shared tier is one of costs.
fn costly(host: &NativeHost, leases: bool) -> Worker {
    let config = json!({
        "service": {"cluster": "limits", "leases": leases},
        "tiers": {"Tokens": {"cost": {"units": 1_000, "per": "1h", "from": {"response_header": "x-cost"}}}},
        "policies": [{"name": "tenant", "key": [{"header": "x-tenant"}], "tier": "Tokens", "shared": true}],
    });
    let filter = RateLimit::new(serde_json::from_value(config).unwrap(), Capabilities::default()).unwrap();
    let host = host.sibling().with_headers(MapKind::RequestHeaders, [("x-tenant", "acme")]);
    Worker {
        filter,
        host: host.with_headers(MapKind::ResponseHeaders, [(":status", "200"), ("x-cost", "41")]),
    }
}

impl Worker {
    /// A request that has been let through comes to its end.
    fn finish(&mut self, mut exchange: Exchange) -> Vec<(FetchKey, GrpcCall)> {
        self.tell(&mut exchange, Event::ResponseHead);
        let (messages, mut wishes) = (Messages::default(), Wishes::default());
        self.filter.on_log(
            exchange,
            &CallSummary::default(),
            &mut Cx::new(&self.host, &messages, &mut wishes),
        );
        wishes.asked
    }
}

#[test]
fn what_is_held_is_spent_before_the_service_is_told() {
    let host = NativeHost::new();
    host.advance(Duration::from_secs(9));
    let mut worker = costly(&host, true);
    let mut exchange = Exchange::default();
    let (key, call) = worker.tell(&mut exchange, Event::RequestHead).asked.pop().unwrap();
    assert_eq!(hits(&call), 1);
    worker.background(Background::Answered(key, Ok(&granted(999))));
    assert!(passes(&worker.tell(&mut exchange, Event::Woken)));
    let told = worker.finish(exchange);
    let [(paid, call)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(hits(call), 40, "one was counted before");
    assert_ne!(*paid, key, "hits can be asked for meanwhile");

    let mut next = Exchange::default();
    let (key, call) = worker.tell(&mut next, Event::RequestHead).asked.pop().unwrap();
    worker.background(Background::Answered(key, Ok(&granted(957))));
    assert!(passes(&worker.tell(&mut next, Event::Woken)));
    assert!(worker.finish(next).is_empty(), "one debt after the other");
    let later = worker.background(Background::Answered(*paid, Ok(&granted(917)))).asked;
    assert_eq!(hits(&later[0].1), 41 - hits(&call));
}

#[test]
fn a_debt_that_is_too_much_is_the_last() {
    let over = Message::default().uint(1, 2).into_bytes();
    for leases in [true, false] {
        let host = NativeHost::new();
        host.advance(Duration::from_secs(9));
        let mut worker = costly(&host, leases);
        let mut exchange = Exchange::default();
        let told = worker.tell(&mut exchange, Event::RequestHead);
        let passed = if leases {
            worker.background(Background::Answered(told.asked[0].0, Ok(&granted(3))));
            worker.tell(&mut exchange, Event::Woken)
        } else {
            worker.tell(&mut exchange, Event::Callouts(&[Some(Ok(CalloutReply::Grpc(granted(3))))]))
        };
        assert!(passes(&passed));
        let paid = worker.finish(exchange)[0].0;
        worker.background(Background::Answered(paid, Ok(&over)));
        let mut another = costly(&host, leases);
        assert!(matches!(another.ask().step, Step::Respond(_)), "in every worker");
        host.advance(Duration::from_secs(1));
        assert!(!matches!(another.ask().step, Step::Respond(_)), "nobody said for how long");
    }
}

#[test]
fn a_service_that_has_failed_is_not_told() {
    let host = NativeHost::new();
    let mut worker = costly(&host, true);
    let mut exchange = Exchange::default();
    let key = worker.tell(&mut exchange, Event::RequestHead).asked[0].0;
    worker.background(Background::Answered(key, Ok(&granted(999))));
    assert!(passes(&worker.tell(&mut exchange, Event::Woken)));
    let paid = worker.finish(exchange)[0].0;
    let failed = worker.background(Background::Answered(paid, Err(CalloutError::Grpc(14))));
    assert!(failed.asked.is_empty());
    assert_eq!(worker.host.counter("enforcer.ratelimit.service.lost"), 1);
    // While it fails this Envoy counts by itself: 41 of a thousand each.
    let mut admitted = 0;
    while admitted < 100 {
        let mut exchange = Exchange::default();
        if !passes(&worker.tell(&mut exchange, Event::RequestHead)) {
            break;
        }
        admitted += 1;
        assert!(worker.finish(exchange).is_empty());
    }
    assert_eq!(admitted, 25);
}
