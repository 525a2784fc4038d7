//! The harness as a host.

use std::time::Duration;

use enforcer_harness::{Backend, Handle, Harness, HarnessError, HeaderMap, Module, Request, Upstream};
use enforcer_testbed::Fields;

use super::{Answer, Ask, Host, Plugin, Seen};

pub(crate) struct HarnessHost {
    harness: Harness,
    begun: Vec<Handle>,
}

/// How much of the harness' time a request may take. Longer than anything that a test sets.
const LIMIT: Duration = Duration::from_secs(8);
const STEP: Duration = Duration::from_millis(10);

impl HarnessHost {
    pub(crate) fn start(plugin: &Plugin) -> Result<Self, HarnessError> {
        let module = Module::from_file(plugin.file()).unwrap();
        let harness = Harness::builder(&module)
            .name(plugin.module)
            .root_id(plugin.root_id)
            .vm_id(plugin.module)
            .plugin_config(&plugin.configuration)
            .workers(plugin.workers as usize)
            .allow_on_headers_stop_iteration(plugin.stop_iteration)
            .failure_policy(enforcer_harness::FailurePolicy::FailReload)
            .attribute("xds.route_name", "the-route")
            .route_metadata("probe", &serde_json::json!({ "key": "of the route" }))
            .cluster("side", Upstream::status(200))
            .cluster("slow", Upstream::status(200))
            .cluster("reset", Upstream::disconnect())
            .cluster("down", Upstream::down())
            .cluster("empty", Upstream::no_healthy_host())
            .start()?;
        let mut host = Self { harness, begun: Vec::new() };
        for (upstream, answer) in &plugin.answers {
            host.answer(upstream, answer.clone());
        }
        Ok(host)
    }

    fn handle(&self, request: usize) -> Handle {
        self.begun[request]
    }
}

impl Host for HarnessHost {
    fn answer(&mut self, upstream: &str, answer: Answer) {
        if upstream == "backend" {
            self.harness.set_backend(backend(&answer));
        } else {
            self.harness.upstream(upstream).set(callee(&answer));
        }
    }

    fn begin(&mut self, ask: &Ask) -> usize {
        let mut request = Request::new(ask.method, ask.path);
        for (name, value) in ask.headers.iter() {
            let name = String::from_utf8_lossy(name);
            request = match &*name {
                "host" => request.host(&String::from_utf8_lossy(value)),
                name => request.header(name, value),
            };
        }
        if !ask.body.is_empty() || !ask.trailers.is_empty() {
            request = request.chunks(&ask.body);
        }
        for (name, value) in ask.trailers.iter() {
            request = request.trailer(&String::from_utf8_lossy(name), value);
        }
        self.begun.push(self.harness.start_request(request));
        self.begun.len() - 1
    }

    fn abandon(&mut self, request: usize) {
        self.harness.disconnect(self.handle(request));
    }

    fn finish(&mut self, request: usize) -> Seen {
        let handle = self.handle(request);
        let mut waited = Duration::ZERO;
        while self.harness.poll(handle).paused().is_some() && waited < LIMIT {
            self.harness.advance(STEP);
            waited += STEP;
        }
        let outcome = self.harness.poll(handle);
        let complete = outcome.paused().is_none() && !outcome.was_reset();
        Seen {
            status: outcome.status(),
            headers: fields(outcome.headers()),
            body: outcome.body().to_vec(),
            trailers: fields(outcome.trailers()),
            complete,
        }
    }

    fn received(&mut self, upstream: &str) -> Vec<Seen> {
        let seen = |headers: &HeaderMap, body: &[u8], trailers: &HeaderMap| Seen {
            status: 0,
            headers: fields(headers),
            body: body.to_vec(),
            trailers: fields(trailers),
            complete: true,
        };
        if upstream == "backend" {
            let outcomes = self.begun.iter().map(|handle| self.harness.poll(*handle));
            let requests =
                outcomes.filter_map(|outcome| outcome.backend().filter(|got| got.complete).cloned());
            requests.map(|got| seen(&got.headers, &got.body, &got.trailers)).collect()
        } else {
            let calls = self.harness.upstream(upstream).calls();
            calls.iter().map(|call| seen(&call.headers, &call.body, &call.trailers)).collect()
        }
    }

    fn wait_for(&mut self, upstream: &str, count: usize) {
        let mut waited = Duration::ZERO;
        while self.received(upstream).len() < count {
            assert!(
                waited < LIMIT,
                "`{upstream}` received {} requests, not {count}",
                self.received(upstream).len()
            );
            self.harness.advance(STEP);
            waited += STEP;
        }
    }

    fn counter(&mut self, name: &str) -> u64 {
        self.harness.counter(name)
    }

    fn log(&mut self) -> Vec<String> {
        self.harness.logs().into_iter().map(|line| line.text).collect()
    }

    fn details(&mut self) -> Vec<String> {
        let outcomes = self.begun.iter().map(|handle| self.harness.poll(*handle));
        outcomes
            .filter(|outcome| outcome.paused().is_none())
            .map(|outcome| outcome.details().to_owned())
            .collect()
    }

    fn pass(&mut self, time: Duration) {
        self.harness.advance(time);
    }

    fn died(&mut self) -> bool {
        // It fails the test by itself where Envoy would die.
        false
    }
}

fn backend(answer: &Answer) -> Backend {
    match answer {
        Answer::Close => Backend::hang(),
        Answer::Reply { status, headers, body, trailers, after } => {
            let mut backend = Backend::status(*status).after(*after);
            for (name, value) in headers.iter() {
                backend = backend.header(&String::from_utf8_lossy(name), value);
            }
            backend = match trailers {
                Some(_) => backend.chunks([body]),
                None if body.is_empty() => backend,
                None => backend.body(body),
            };
            for (name, value) in trailers.iter().flat_map(Fields::iter) {
                backend = backend.trailer(&String::from_utf8_lossy(name), value);
            }
            backend
        }
    }
}

fn callee(answer: &Answer) -> Upstream {
    match answer {
        Answer::Close => Upstream::disconnect(),
        Answer::Reply { status, headers, body, after, .. } => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let headers: Vec<_> = headers.iter().map(|(name, value)| (text(name), text(value))).collect();
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            Upstream::reply(*status, &headers, body).after(*after)
        }
    }
}

fn fields(headers: &HeaderMap) -> Fields {
    headers.iter().fold(Fields::new(), |fields, (name, value)| fields.with(name, value))
}
