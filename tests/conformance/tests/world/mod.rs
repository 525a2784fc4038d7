//! The hosts, behind one small trait: what a test asks of any of them.

pub(crate) mod bare;
pub(crate) mod bootstrap;
pub(crate) mod envoy;
pub(crate) mod extproc;
pub(crate) mod harness;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use enforcer_testbed::{EnvoyBinary, Fields};
use serde_json::Value;

/// Which filter runs, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plugin {
    /// File name in the folder of modules, without `.wasm`.
    pub(crate) module: &'static str,
    pub(crate) root_id: &'static str,
    pub(crate) configuration: Value,
    /// Envoy's `allow_on_headers_stop_iteration`.
    pub(crate) stop_iteration: bool,
    pub(crate) workers: u32,
    /// What upstreams answer from the first moment on: a filter may call while it starts.
    pub(crate) answers: Vec<(&'static str, Answer)>,
}

impl Plugin {
    /// One of the tiny filters.
    pub(crate) fn filter(root_id: &'static str, configuration: Value) -> Self {
        Self::new("conformance", root_id, configuration)
    }

    #[must_use]
    pub(crate) fn stop_iteration(self) -> Self {
        Self { stop_iteration: true, ..self }
    }

    pub(crate) fn new(module: &'static str, root_id: &'static str, configuration: Value) -> Self {
        Self { module, root_id, configuration, stop_iteration: false, workers: 1, answers: Vec::new() }
    }

    #[must_use]
    pub(crate) fn answers(self, answers: Vec<(&'static str, Answer)>) -> Self {
        Self { answers, ..self }
    }

    /// The module, or how to make it.
    pub(crate) fn file(&self) -> PathBuf {
        // Cargo's own folder for tests lies in the target folder, wherever that is.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let file = target.join("wasm32-wasip1/wasm").join(self.module).with_extension("wasm");
        let made =
            "cargo build --profile wasm --target wasm32-wasip1 -p enforcer-conformance -p enforcer-probe";
        assert!(file.is_file(), "`{}` is missing: run `make wasm`, or `{made}`", file.display());
        file
    }
}

/// A request of a test.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) headers: Fields,
    pub(crate) body: Vec<&'static [u8]>,
    pub(crate) trailers: Fields,
}

impl Ask {
    pub(crate) fn get(path: &'static str) -> Self {
        Self { method: "GET", path, headers: Fields::new(), body: Vec::new(), trailers: Fields::new() }
    }

    /// A body in chunks.
    pub(crate) fn post(path: &'static str, body: &[&'static [u8]]) -> Self {
        Self { method: "POST", body: body.to_vec(), ..Self::get(path) }
    }

    /// A body of known length.
    pub(crate) fn sized(path: &'static str, body: &'static [u8]) -> Self {
        Self::post(path, &[body]).header("content-length", body.len().to_string())
    }

    /// Whether the body goes out in chunks.
    fn is_chunked(&self) -> bool {
        let any = !self.body.is_empty() || !self.trailers.is_empty();
        any && !self.headers.contains("content-length")
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value);
        self
    }

    #[must_use]
    pub(crate) fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.trailers.push(name, value);
        self
    }
}

/// What the client saw, or an upstream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// 0 where no answer came.
    pub(crate) status: u16,
    pub(crate) headers: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// The message came to its end.
    pub(crate) complete: bool,
}

/// How an upstream answers.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Reply {
        status: u16,
        headers: Fields,
        body: &'static [u8],
        trailers: Option<Fields>,
        after: Duration,
    },
    /// The connection is closed without a byte of an answer.
    Close,
}

/// The upstreams that every host offers: `backend` behind the filter; `side`, `slow` and `reset` beside it, `down`,
/// where nobody listens, and `empty`, which has no endpoint.
pub(crate) trait Host {
    /// Sets how an upstream answers.
    fn answer(&mut self, upstream: &str, answer: Answer);
    /// Sends a request and returns without waiting for the answer.
    fn begin(&mut self, ask: &Ask) -> usize;
    /// The client of a request goes away.
    fn abandon(&mut self, request: usize);
    /// Waits for the answer to a request.
    fn finish(&mut self, request: usize) -> Seen;
    /// What an upstream received, oldest first; the path is in the header `:path`.
    fn received(&mut self, upstream: &str) -> Vec<Seen>;
    /// Waits until an upstream has received so many requests.
    fn wait_for(&mut self, upstream: &str, count: usize);
    /// A counter of the filter; 0 where it has not been counted yet.
    fn counter(&mut self, name: &str) -> u64;
    /// Everything that modules have logged, oldest first.
    fn log(&mut self) -> Vec<String>;
    /// The response-code details of every request that is over, oldest first.
    fn details(&mut self) -> Vec<String>;

    /// Whether a cluster can be without any endpoint. A table of URLs knows no such thing: `empty` is not in it.
    fn has_empty_clusters(&self) -> bool {
        true
    }
    /// Lets time pass: on a host with a clock of its own, only there.
    fn pass(&mut self, time: Duration);
    /// Whether the whole process is gone: some calls in some phases abort Envoy.
    fn died(&mut self) -> bool;

    fn ask(&mut self, ask: &Ask) -> Seen {
        let request = self.begin(ask);
        self.finish(request)
    }
}

impl dyn Host + '_ {
    /// Waits for what follows an answer, such as the access log.
    pub(crate) fn settles(&mut self, settled: impl Fn(&mut Self) -> bool) {
        let begin = Instant::now();
        while !settled(self) {
            assert!(
                begin.elapsed() < Duration::from_secs(3),
                "this never comes; details: {:?}",
                self.details()
            );
            self.pass(Duration::from_millis(20));
        }
    }

    /// Waits until a counter has the value.
    pub(crate) fn counts(&mut self, name: &str, value: u64) {
        let begin = Instant::now();
        while self.counter(name) != value && begin.elapsed() < Duration::from_secs(2) {
            self.pass(Duration::from_millis(20));
        }
        assert_eq!(self.counter(name), value, "`{name}`");
    }
}

/// A host on which a test runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Where {
    Harness,
    FourWorkers,
    Envoy,
    OldestEnvoy,
    ExtProc,
}

/// Runs a test on a host; says so where that host is not installed.
pub(crate) fn on(place: Where, plugin: &Plugin, test: impl FnOnce(&mut dyn Host, u32)) {
    let harness = |workers| harness::HarnessHost::start(&Plugin { workers, ..plugin.clone() }).unwrap();
    let binary = match place {
        Where::Harness => return test(&mut harness(1), 1),
        Where::FourWorkers => return test(&mut harness(4), 4),
        Where::Envoy => EnvoyBinary::find_or_skip().unwrap(),
        Where::OldestEnvoy => envoy::oldest(),
        Where::ExtProc => {
            if let Some(binary) = EnvoyBinary::find_or_skip().unwrap() {
                test(&mut extproc::ExtProcHost::start(&binary, plugin).unwrap(), 1);
            }
            return;
        }
    };
    if let Some(binary) = binary {
        test(&mut envoy::EnvoyHost::wasm(&binary, plugin).unwrap(), plugin.workers);
    }
}

/// The same tests on every host: `name: plugin => test`.
macro_rules! on_every_host {
    ($($name:ident: $plugin:expr => $test:path;)*) => {
        $crate::world::on_hosts! {
            on_harness: Harness, { $($name: $plugin => $test;)* }
            on_four_workers: FourWorkers, { $($name: $plugin => $test;)* }
            on_envoy: Envoy, { $($name: $plugin => $test;)* }
            on_oldest_envoy: OldestEnvoy, { $($name: $plugin => $test;)* }
            on_ext_proc: ExtProc, { $($name: $plugin => $test;)* }
        }
    };
}

macro_rules! on_hosts {
    ($($host:ident: $place:ident, { $($name:ident: $plugin:expr => $test:path;)* })*) => {
        $(mod $host {
            use super::*;
            $(#[test]
            fn $name() {
                $crate::world::on($crate::world::Where::$place, &$plugin, $test);
            })*
        })*
    };
}

pub(crate) use {on_every_host, on_hosts};
