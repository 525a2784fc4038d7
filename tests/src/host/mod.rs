//! What runs the filters: one trait, one implementation a host.

mod attached;
mod bootstrap;
mod envoy;
mod extproc;
mod harness;
mod kgateway;
mod limits;
mod refused;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use enforcer_testbed::{Fields, Received};
use serde_json::Value;

pub(crate) use envoy::EnvoyHost;
pub(crate) use extproc::ExtProcHost;
pub(crate) use harness::HarnessHost;
pub use kgateway::kgateway_envoy;
pub(crate) use limits::LimitService;
pub(crate) use wire::{WireBody, WireRequest};

use crate::Error;
use crate::format::{Answer, HostKind};
use crate::packing::Packing;

/// The name of the service that requests end at.
pub(crate) const BACKEND: &str = "backend";

/// A body that no key set is.
const GARBAGE: &str = "<html>not what you asked for</html>";

/// The gRPC status of a service that answers with a status.
const INTERNAL: u32 = 13;

/// A key set that is right but for its ten megabytes.
fn huge() -> String {
    format!(r#"{{"keys":[],"pad":"{}"}}"#, "x".repeat(10 << 20))
}

/// Something that runs proxy-wasm modules.
pub(crate) trait Host: Send + Sync {
    fn kind(&self) -> HostKind;

    /// How it packs the filters of files.
    fn packing(&self) -> Packing;

    /// How the summary calls it: `envoy 1.40.0`.
    fn name(&self) -> String;

    /// Starts the filters on new virtual machines.
    fn start(&self, scene: &Scene) -> Result<Box<dyn Stage>, Error>;

    /// Configures the filters of each scene and nothing more. `Some` is the log of a refusal. Beside them stands
    /// a scene that is accepted, so that what holds for all of them is done once.
    fn refusals(&self, accepted: &Scene, scenes: &[Scene]) -> Result<Vec<Option<String>>, Error>;
}

/// What a host starts with.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// In the order in which requests pass them.
    pub(crate) plugins: Vec<Plugin>,
    pub(crate) workers: usize,
    /// Clients come by TLS.
    pub(crate) tls: bool,
    pub(crate) services: BTreeMap<String, Behaviour>,
}

/// A module and the filter in it that runs.
#[derive(Clone, Debug)]
pub(crate) struct Plugin {
    pub(crate) wasm: PathBuf,
    pub(crate) root_id: String,
    pub(crate) configuration: Value,
}

impl Scene {
    /// Whether a service is spoken to by gRPC.
    fn speaks_grpc(&self, service: &str) -> bool {
        self.services.get(service).is_some_and(|behaviour| behaviour.limits.is_some())
    }
}

/// How a service behaves now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behaviour {
    /// What it serves when all is well; `None` at the backend, which echoes.
    pub(crate) document: Option<String>,
    /// Header fields that come with the document.
    pub(crate) headers: BTreeMap<String, String>,
    /// It is a rate limit service, which speaks gRPC.
    pub(crate) limits: Option<LimitService>,
    pub(crate) answer: Answer,
}

impl Behaviour {
    /// The header fields of the document. It is JSON unless they say otherwise.
    fn document_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let kind =
            (!self.headers.contains_key("content-type")).then_some(("content-type", "application/json"));
        kind.into_iter().chain(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

/// Running filters with the world around them.
pub(crate) trait Stage {
    /// The wall clock as the filters see it.
    fn now(&self) -> SystemTime;

    /// A service behaves otherwise from now on.
    fn change(&mut self, service: &str, behaviour: &Behaviour) -> Result<(), Error>;

    /// Time passes.
    fn elapse(&mut self, time: Duration) -> Result<(), Error>;

    /// Sends a request as many times at once, and waits for all the answers and for what was logged of them.
    fn send(&mut self, request: &WireRequest, copies: usize) -> Result<Exchanges, Error>;

    /// The filters' counters, summed over all workers.
    fn counters(&self) -> Result<BTreeMap<String, u64>, Error>;

    /// How many requests a service has received so far.
    fn fetches(&mut self, service: &str) -> usize;

    /// The requests that a service has received so far.
    fn received(&mut self, service: &str) -> Vec<Received>;

    /// How many lines have been logged so far.
    fn log_mark(&self) -> usize;

    /// The lines from there on.
    fn log_since(&self, mark: usize) -> Vec<String>;
}

/// What came of requests sent at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchanges {
    pub(crate) answers: Vec<Answered>,
    /// What the backend received of them, in any order.
    pub(crate) received: Vec<Received>,
}

/// What one client got, and what the access log says of it.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: Fields,
    pub(crate) body: Vec<u8>,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub(crate) details: String,
    /// `%FILTER_STATE(wasm.enforcer:PLAIN)%`, version byte and all.
    pub(crate) identity: Option<String>,
    /// `%FILTER_STATE(wasm.enforcer_event:PLAIN)%`.
    pub(crate) event: Option<String>,
}

/// What the summary says of a host that packs filters otherwise than files do.
fn packed(packing: Packing) -> &'static str {
    match packing {
        Packing::AsWritten => "",
        Packing::Bundled => " (bundled)",
        Packing::Separate => " (separate)",
    }
}

/// What is in the log when a virtual machine has died: Envoy's words, the SDK's, the harness's, and the ext_proc server's.
pub(crate) fn tells_of_a_crash(line: &str) -> bool {
    [
        "failed: Uncaught",
        "panicked at",
        "wasm_fail_stream",
        "the virtual machine died",
        "an instance has died",
    ]
    .iter()
    .any(|sign| line.contains(sign))
}
