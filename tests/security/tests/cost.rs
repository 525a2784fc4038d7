//! What a request with an attack token costs a worker, of the processor's time.

use std::time::Duration;

use enforcer_auth::{Auth, config::AuthConfig};
use enforcer_core::{
    config,
    cx::{Cx, HttpReply, Messages, Wishes},
    filter::{Background, Capabilities, Event, Filter as _, Step},
    headers::HeaderMap,
    native::NativeHost,
};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    attacks::List,
    jwt_attacks,
    site::{
        Scene, Wire,
        harness::{InHarness, builder, now, request},
    },
};

/// Of the whole request, whatever the token.
const LIMIT: Duration = Duration::from_millis(5);
/// Tests are built without optimisation, which takes the filter by itself about four times as long.
const NATIVE_LIMIT: Duration = if cfg!(debug_assertions) { LIMIT.saturating_mul(4) } else { LIMIT };
/// The best of so many runs counts: what the code costs, without what else the machine is doing.
const RUNS: usize = 5;

/// Every attack of both lists, none of which may be remembered, on both ways of verifying.
#[test]
fn no_token_costs_more_than_five_milliseconds() {
    let mut slow = Vec::new();
    for (scene, wires) in scenes() {
        for by_host in [true, false] {
            let mut site = InHarness::start_as(builder(&scene, by_host), by_host);
            let place = format!("harness, {}, by host: {by_host}", scene.name);
            let send = |wire: &Wire| drop(site.harness.request(request(wire)));
            slow.extend(measured(&place, &wires, LIMIT, send));
        }
        let mut native = Native::start(&scene);
        let place = format!("native, {}", scene.name);
        slow.extend(measured(&place, &wires, NATIVE_LIMIT, |wire| native.send(wire)));
    }
    assert!(slow.is_empty(), "too slow:\n{}", slow.join("\n"));
}

/// Everything that is sent to a filter that forgets every token and has no budget to speak of.
fn scenes() -> Vec<(Scene, Vec<(String, Wire)>)> {
    let list = List::read();
    let own = list.scenes().into_iter().map(|scene| {
        let wires = list.requests(&scene.name).into_iter().map(|(id, _, wire)| (id.to_owned(), wire));
        // What a good token costs by its algorithm is not the matter here.
        let wires = wires.filter(|(id, _)| !id.starts_with("control-")).collect();
        (scene, wires)
    });
    let public = jwt_attacks::List::read().map(|list| (list.scene(), list.requests()));
    let mut all: Vec<_> = own.chain(public).collect();
    for (scene, _) in &mut all {
        scene.configuration["token_cache"] = "0B".into();
        scene.configuration["verification_budget"] = 1_000_000.into();
    }
    all
}

/// Prints the slowest, and returns those that are too slow.
fn measured(
    place: &str,
    wires: &[(String, Wire)],
    limit: Duration,
    mut send: impl FnMut(&Wire),
) -> Vec<String> {
    let mut costs: Vec<_> = wires.iter().map(|(id, wire)| (best(|| send(wire)), id)).collect();
    costs.sort();
    let (slowest, id) = costs.last().unwrap();
    let (median, _) = costs[costs.len() / 2];
    println!("{place}: {} requests, median {median:.1?}, slowest {slowest:.1?} ({id})", costs.len());
    let slow = costs.iter().filter(|(cost, _)| *cost > limit);
    slow.map(|(cost, id)| format!("{place}: {id}: {cost:.1?}")).collect()
}

fn best(mut run: impl FnMut()) -> Duration {
    let timed = |_| {
        let before = processor_time();
        run();
        processor_time().saturating_sub(before)
    };
    (0..RUNS).map(timed).min().unwrap()
}

/// That this thread has used so far.
pub(crate) fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// The filter without a module around it.
struct Native {
    filter: Auth,
    host: NativeHost,
}

impl Native {
    fn start(scene: &Scene) -> Self {
        let config: AuthConfig = config::parse(scene.configuration.to_string().as_bytes()).unwrap();
        let filter = Auth::new(config, Capabilities::default()).unwrap();
        let host = NativeHost::new();
        host.set_now(now());
        let mut native = Self { filter, host };
        native.background(Background::Tick, scene);
        native
    }

    /// Fetches are answered at once.
    fn background(&mut self, event: Background<'_>, scene: &Scene) {
        let (messages, mut wishes) = (Messages::default(), Wishes::default());
        self.filter.on_background(event, &mut Cx::new(&self.host, &messages, &mut wishes));
        for (key, call) in wishes.fetches {
            let body = scene.clusters[&call.cluster].to_string().into_bytes();
            let reply = HttpReply { status: 200, headers: HeaderMap::default(), body };
            self.background(Background::Fetched(key, Ok(&reply)), scene);
        }
    }

    fn send(&mut self, wire: &Wire) {
        let mut headers = HeaderMap::default();
        for (name, value) in [(":method", &wire.method), (":path", &wire.path)] {
            headers.push(name, value);
        }
        for (name, value) in &wire.headers {
            headers.push(name, value);
        }
        let (messages, mut wishes) = (Messages::of_request(headers), Wishes::default());
        let step = self.filter.on_event(
            &mut (),
            Event::RequestHead,
            &mut Cx::new(&self.host, &messages, &mut wishes),
        );
        assert!(matches!(step, Step::Continue(_) | Step::Respond(_)), "it had to wait for keys");
    }
}
