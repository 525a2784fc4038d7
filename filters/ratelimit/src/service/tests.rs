#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use std::time::Duration;

use enforcer_core::{
    cx::{Callout, CalloutError, CalloutReply, Cx, FetchKey, GrpcCall, Messages, Wishes},
    filter::{Background, Capabilities, Event, Filter as _, Step},
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
