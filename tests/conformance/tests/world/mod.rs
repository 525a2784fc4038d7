//! The hosts, behind one small trait: what a test asks of any of them.

pub(crate) mod bootstrap;
pub(crate) mod envoy;
pub(crate) mod harness;

use std::{path::PathBuf, time::Duration};

use enforcer_testbed::Fields;
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
}

impl Plugin {
    pub(crate) fn new(module: &'static str, root_id: &'static str, configuration: Value) -> Self {
        Self { module, root_id, configuration, stop_iteration: false, workers: 1 }
    }

    /// The module, or how to make it.
    pub(crate) fn file(&self) -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")),
            PathBuf::from,
        );
        let file = target.join("wasm32-wasip1/wasm").join(self.module).with_extension("wasm");
        let made = "cargo build --profile wasm --target wasm32-wasip1 -p enforcer-conformance -p enforcer-probe";
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
    Reply { status: u16, headers: Fields, body: &'static [u8], trailers: Option<Fields>, after: Duration },
    Reset,
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

    /// Lets time pass: on a host with a clock of its own, only there.
    fn pass(&mut self, time: Duration);
    /// Whether the whole process is gone: some calls in some phases abort Envoy.
    fn died(&mut self) -> bool;

    fn ask(&mut self, ask: &Ask) -> Seen {
        let request = self.begin(ask);
        self.finish(request)
    }
}
