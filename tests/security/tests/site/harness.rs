use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use enforcer_harness::{Builder, FailurePolicy, Harness, Level, Module, Outcome, Request, Upstream, Vm};

use super::{Scene, Seen, Site, Wire};

/// The module in the harness, with or without Envoy's `verify_signature`.
pub(crate) struct InHarness {
    pub(crate) harness: Harness,
    by_host: bool,
}

/// The release build of the module, compiled once.
pub(crate) fn compiled() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| Module::from_file(super::module()).unwrap())
}

pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

pub(crate) fn builder(scene: &Scene, by_host: bool) -> Builder {
    let builder = Harness::builder(compiled());
    let builder = if by_host { builder } else { builder.without_function("verify_signature") };
    let builder = scene.clusters.iter().fold(builder, |builder, (name, keys)| {
        builder.cluster(name, Upstream::reply(200, &[], keys.to_string()))
    });
    builder
        .name("auth")
        .root_id("auth")
        .plugin_config(&scene.configuration)
        .failure_policy(FailurePolicy::FailReload)
        .wall_clock(now())
}

impl InHarness {
    pub(crate) fn start(scene: &Scene, by_host: bool) -> Self {
        Self::start_as(builder(scene, by_host).log_level(Level::Debug), by_host)
    }

    pub(crate) fn start_as(builder: Builder, by_host: bool) -> Self {
        let mut harness = builder.start().unwrap_or_else(|error| panic!("{error}"));
        // The keys come.
        harness.advance(Duration::from_secs(2));
        Self { harness, by_host }
    }

    /// Sends a request and lets time pass until it is answered: it may have to wait for keys.
    pub(crate) fn exchange(&mut self, request: Request) -> Outcome {
        let handle = self.harness.start_request(request);
        for _ in 0..500 {
            let outcome = self.harness.poll(handle);
            if outcome.paused().is_none() {
                return outcome;
            }
            self.harness.advance(Duration::from_millis(10));
        }
        panic!("no answer: {:?}", self.harness.poll(handle).paused());
    }
}

impl Site for InHarness {
    fn name(&self) -> String {
        let lacking = if self.by_host { "" } else { " without verify_signature" };
        format!("harness{lacking}")
    }

    fn send(&mut self, _id: &str, wire: &Wire) -> Seen {
        // As much time as passes between two requests to a real Envoy, so that budgets fill up.
        self.harness.advance(Duration::from_millis(10));
        let outcome = self.exchange(request(wire));
        Seen {
            status: outcome.status(),
            grpc_status: outcome.header("grpc-status"),
            details: outcome.details().to_owned(),
            reached: outcome.backend().map(|request| {
                let headers = request.headers.iter().filter(|(name, _)| !name.starts_with(':'));
                headers.fold(Wire::get(&request.path()), |wire, (name, value)| wire.header(name, value))
            }),
        }
    }

    fn log(&self) -> Vec<String> {
        let lines = self.harness.logs().into_iter().map(|line| line.to_string());
        let death = self.harness.failure(Vm::Worker(0));
        lines.chain(death.map(|reason| format!("the virtual machine died: {reason}"))).collect()
    }
}

pub(crate) fn request(wire: &Wire) -> Request {
    let start = Request::new(&wire.method, &wire.path).host("gateway");
    wire.headers.iter().fold(start, |request, (name, value)| request.header(name, value))
}
