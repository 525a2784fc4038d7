use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use enforcer_harness::{
    Backend, BackendRequest, Builder, Call, FailurePolicy, Harness, HeaderMap, Level, Module, Outcome,
    Request, Upstream, Vm,
};
use enforcer_testbed::{Fields, Received};

use super::wire::WireBody;
use super::{
    Answered, BACKEND, Behaviour, Exchanges, GARBAGE, Host, INTERNAL, LimitService, Scene, Stage,
    WireRequest, huge, packed,
};
use crate::Error;
use crate::format::{Answer, HostKind};
use crate::packing::Packing;

/// How long a client waits for its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// By how much the clock moves while requests wait.
const TICK: Duration = Duration::from_millis(10);

/// The proxy-wasm host on wasmtime.
pub(crate) struct HarnessHost {
    kind: HostKind,
    packing: Packing,
    modules: Mutex<BTreeMap<PathBuf, Module>>,
}

impl HarnessHost {
    pub(crate) fn new(kind: HostKind, packing: Packing) -> Self {
        Self { kind, packing, modules: Mutex::default() }
    }

    fn builder(&self, scene: &Scene) -> Result<Builder, Error> {
        let [plugin] = scene.plugins.as_slice() else {
            return Err(Error::Case("the harness runs one filter, not a chain of them".into()));
        };
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let module = match modules.get(&plugin.wasm) {
            Some(module) => module.clone(),
            None => {
                let module =
                    Module::from_file(&plugin.wasm).map_err(|error| Error::Case(error.to_string()))?;
                modules.entry(plugin.wasm.clone()).or_insert(module).clone()
            }
        };
        let builder = match self.kind {
            HostKind::Rust => Harness::builder(&module).without_function("verify_signature"),
            _ => Harness::builder(&module),
        };
        let builder = builder
            .name(&plugin.root_id)
            .root_id(&plugin.root_id)
            .vm_id("enforcer")
            .plugin_config(&plugin.configuration)
            .workers(scene.workers)
            .failure_policy(FailurePolicy::FailReload)
            .log_level(Level::Debug);
        let services = scene.services.iter();
        Ok(services.fold(builder, |builder, (name, behaviour)| builder.cluster(name, upstream(behaviour))))
    }
}

impl Host for HarnessHost {
    fn kind(&self) -> HostKind {
        self.kind
    }

    fn packing(&self) -> Packing {
        self.packing
    }

    fn name(&self) -> String {
        let lacking = if self.kind == HostKind::Rust { " without verify_signature" } else { "" };
        format!("harness{lacking}{}", packed(self.packing))
    }

    fn start(&self, scene: &Scene) -> Result<Box<dyn Stage>, Error> {
        let harness = self.builder(scene)?.start().map_err(|error| Error::Case(error.to_string()))?;
        Ok(Box::new(HarnessStage { harness, workers: scene.workers }))
    }

    fn refusals(&self, _accepted: &Scene, scenes: &[Scene]) -> Result<Vec<Option<String>>, Error> {
        let refusal = |scene| Ok(self.builder(scene)?.start().err().map(|error| error.to_string()));
        scenes.iter().map(refusal).collect()
    }
}

struct HarnessStage {
    harness: Harness,
    workers: usize,
}

impl Stage for HarnessStage {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(self.harness.wall_clock()).unwrap_or(UNIX_EPOCH)
    }

    fn change(&mut self, service: &str, behaviour: &Behaviour) -> Result<(), Error> {
        if service == BACKEND {
            self.harness.set_backend(backend(behaviour)?);
        } else {
            self.harness.upstream(service).set(upstream(behaviour));
        }
        Ok(())
    }

    fn elapse(&mut self, time: Duration) -> Result<(), Error> {
        self.harness.advance(time);
        Ok(())
    }

    fn send(&mut self, request: &WireRequest, copies: usize) -> Result<Exchanges, Error> {
        let request = harness_request(request)?;
        let handles: Vec<_> = (0..copies).map(|_| self.harness.start_request(request.clone())).collect();
        let mut waited = Duration::ZERO;
        let outcomes = loop {
            let outcomes: Vec<Outcome> = handles.iter().map(|handle| self.harness.poll(*handle)).collect();
            let Some(paused) = outcomes.iter().find_map(Outcome::paused) else { break outcomes };
            if waited >= PATIENCE {
                return Err(Error::Case(format!("no answer within {PATIENCE:?}: waiting for {paused:?}")));
            }
            self.harness.advance(TICK);
            waited = waited.saturating_add(TICK);
        };
        Ok(Exchanges {
            received: outcomes.iter().filter_map(Outcome::backend).map(received).collect(),
            answers: outcomes.iter().map(answered).collect(),
        })
    }

    fn counters(&self) -> Result<BTreeMap<String, u64>, Error> {
        Ok(self.harness.counters())
    }

    fn fetches(&mut self, service: &str) -> usize {
        self.harness.upstream(service).calls().len()
    }

    fn received(&mut self, service: &str) -> Vec<Received> {
        let calls = self.harness.upstream(service).calls();
        calls.into_iter().map(|call| at_service(&call)).collect()
    }

    fn log_mark(&self) -> usize {
        self.harness.logs().len()
    }

    fn log_since(&self, mark: usize) -> Vec<String> {
        let dead =
            (0..self.workers).map(Vm::Worker).chain([Vm::Main]).filter_map(|vm| self.harness.failure(vm));
        let crashes = dead.map(|reason| format!("the virtual machine died: {reason}"));
        let lines = self.harness.logs().into_iter().skip(mark).map(|line| line.to_string());
        lines.chain(crashes).collect()
    }
}

fn harness_request(wire: &WireRequest) -> Result<Request, Error> {
    let text = |bytes: &[u8]| {
        let lossy = || String::from_utf8_lossy(bytes).into_owned();
        String::from_utf8(bytes.to_vec())
            .map_err(|_| Error::Case(format!("`{}` is not UTF-8: only Envoy can be sent that", lossy())))
    };
    let mut request = Request::new(&wire.method, &text(&wire.path)?).host(&text(&wire.host)?);
    for (name, value) in wire.headers.iter() {
        request = request.header(&text(name)?, value);
    }
    if let Some(shown) = &wire.certificate {
        let fingerprint: String = shown.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
        request = request
            .attribute("connection.mtls", true)
            .attribute("connection.sha256_peer_certificate_digest", fingerprint.as_str())
            .attribute("connection.subject_peer_certificate", shown.subject().as_str())
            .attribute("connection.uri_san_peer_certificate", shown.uri().as_str())
            .attribute("connection.dns_san_peer_certificate", shown.dns().as_str());
    }
    match &wire.body {
        WireBody::None => {}
        WireBody::Whole(body) => request = request.body(body),
        WireBody::Chunks(chunks, trailers) => {
            request = request.header("transfer-encoding", "chunked").chunks(chunks);
            for (name, value) in trailers.iter() {
                request = request.trailer(&text(name)?, value);
            }
        }
    }
    Ok(request)
}

fn answered(outcome: &Outcome) -> Answered {
    let state = |name| {
        let value = outcome.filter_state().get(name);
        value.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    Answered {
        status: outcome.status(),
        headers: fields(outcome.headers()),
        body: outcome.body().to_vec(),
        details: outcome.details().to_owned(),
        identity: state("wasm.enforcer"),
        event: state("wasm.enforcer_event"),
    }
}

fn received(request: &BackendRequest) -> Received {
    let mut headers = fields(&request.headers);
    headers.push("host", request.headers.get(":authority").unwrap_or_default());
    Received {
        method: request.header(":method").unwrap_or_default(),
        path: request.path(),
        headers,
        body: request.body.clone(),
        trailers: fields(&request.trailers),
    }
}

fn at_service(call: &Call) -> Received {
    let mut headers = fields(&call.headers);
    headers.push("host", call.headers.get(":authority").unwrap_or_default());
    Received {
        method: call.headers.text(":method").unwrap_or_default(),
        path: call.path(),
        headers,
        body: call.body.clone(),
        trailers: fields(&call.trailers),
    }
}

/// Header fields as HTTP/1.1 has them: without pseudo-headers.
fn fields(map: &HeaderMap) -> Fields {
    map.iter().filter(|(name, _)| !name.starts_with(':')).collect()
}

fn upstream(behaviour: &Behaviour) -> Upstream {
    if let Some(limits) = behaviour.limits.clone() {
        return grpc_upstream(limits, &behaviour.answer);
    }
    let document = behaviour.document.as_deref().unwrap_or_default();
    let headers: Vec<_> = behaviour.document_headers().collect();
    let well = |status| Upstream::reply(status, &headers, document);
    match &behaviour.answer {
        Answer::Ok => well(200),
        Answer::Garbage => Upstream::reply(200, &[], GARBAGE),
        Answer::Empty => Upstream::status(200),
        Answer::Huge => Upstream::reply(200, &[], huge()),
        Answer::Body(body) => Upstream::reply(200, &[], body),
        Answer::Status(status) => well(*status),
        Answer::Slow(time) => well(200).after(time.duration()),
        Answer::Drip(pace) => {
            let bytes = u32::try_from(document.len()).unwrap_or(u32::MAX);
            well(200).after(pace.duration().saturating_mul(bytes))
        }
        Answer::Hang => Upstream::hang(),
        Answer::Down => Upstream::down(),
    }
}

/// How long a case's service takes that is not slow.
const PROMPT: Duration = Duration::from_millis(1);

fn grpc_upstream(limits: LimitService, answer: &Answer) -> Upstream {
    let counting = move |delay| {
        Upstream::by(move |call: &Call| Upstream::grpc(limits.answer(&call.body, call.at)).after(delay))
    };
    match answer {
        Answer::Slow(time) | Answer::Drip(time) => counting(time.duration()),
        Answer::Hang => Upstream::hang(),
        Answer::Down => Upstream::down(),
        Answer::Garbage => Upstream::grpc(GARBAGE),
        Answer::Status(_) => Upstream::grpc_error(INTERNAL, ""),
        Answer::Ok | Answer::Empty | Answer::Huge | Answer::Body(_) => counting(PROMPT),
    }
}

fn backend(behaviour: &Behaviour) -> Result<Backend, Error> {
    let well = |backend: Backend| match &behaviour.document {
        Some(document) => behaviour
            .document_headers()
            .fold(backend.body(document), |backend, (name, value)| backend.header(name, value)),
        None => backend,
    };
    Ok(match &behaviour.answer {
        Answer::Ok => well(Backend::default()),
        Answer::Body(body) => Backend::default().body(body),
        Answer::Status(status) => well(Backend::status(*status)),
        Answer::Slow(time) => well(Backend::default().after(time.duration())),
        other => return Err(Error::Case(format!("the harness has no backend that does `{other:?}`"))),
    })
}
