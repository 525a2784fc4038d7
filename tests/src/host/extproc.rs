//! `enforcer-extproc` behind a real Envoy that is configured as kgateway configures it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use enforcer_extproc::{
    Bridge, Cluster, Config, Filter, Finished, Journal, Limits, Modules, Options, Source,
};
use enforcer_harness::Level;
use enforcer_testbed::{EnvoyBinary, Received, ReservedPort, Version};

use super::envoy::{EnvoyStage, addresses, services};
use super::{Behaviour, Exchanges, Host, Plugin, Scene, Stage, WireRequest, bootstrap, kgateway};
use crate::Error;
use crate::format::HostKind;
use crate::packing::Packing;

/// How long the server may take to hear that Envoy is done with a request.
const END_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);

/// Wherever there is room.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A server and an Envoy, new ones for each start. Modules are compiled once.
pub(crate) struct ExtProcHost {
    binary: EnvoyBinary,
    version: Version,
    modules: Arc<Modules>,
}

impl ExtProcHost {
    pub(crate) fn new(binary: EnvoyBinary) -> Result<Self, Error> {
        let version = binary.version()?;
        let modules = Modules::start(None).map_err(|error| Error::Case(error.to_string()))?;
        Ok(Self { binary, version, modules })
    }

    fn bridge(
        &self,
        scene: &Scene,
        services: &BTreeMap<String, SocketAddr>,
        log: &Arc<Log>,
        listen: SocketAddr,
    ) -> Result<Bridge, String> {
        let options = Options {
            listen,
            admin: ANY_PORT,
            workers: scene.workers,
            source: Source::Given(Box::new(config(scene, services))),
            tls: None,
        };
        let journal = Arc::clone(log) as Arc<dyn Journal>;
        let bridge = Bridge::start(&options, &self.modules, journal);
        bridge.map_err(|error| error.to_string())
    }
}

/// The filter under its authority, and where every service is.
fn config(scene: &Scene, services: &BTreeMap<String, SocketAddr>) -> Config {
    let cluster = |(name, address): (&String, &SocketAddr)| {
        (name.clone(), Cluster { url: format!("http://{address}"), ca_file: None })
    };
    let filter = |plugin: &Plugin| Filter {
        module: plugin.wasm.canonicalize().unwrap_or_else(|_| plugin.wasm.clone()),
        root_id: plugin.root_id.clone(),
        allow_on_headers_stop_iteration: false,
        configuration: plugin.configuration.clone(),
    };
    Config {
        filters: scene
            .plugins
            .iter()
            .map(|plugin| (kgateway::AUTHORITY.to_owned(), filter(plugin)))
            .collect(),
        clusters: services.iter().map(cluster).collect(),
        limits: Limits::default(),
    }
}

impl Host for ExtProcHost {
    fn kind(&self) -> HostKind {
        HostKind::ExtProc
    }

    /// One filter is one module: several are the bundle.
    fn packing(&self) -> Packing {
        Packing::AsWritten
    }

    fn name(&self) -> String {
        format!("ext_proc of envoy {}", self.version)
    }

    fn start(&self, scene: &Scene) -> Result<Box<dyn Stage>, Error> {
        let services = services(scene)?;
        let addresses = addresses(&services);
        let log = Arc::new(Log::default());
        let port = ReservedPort::new()?;
        let backend = addresses.get(super::BACKEND).copied();
        let backend = backend.ok_or_else(|| Error::Case("there is no backend".into()))?;
        let config = kgateway::bootstrap(scene, backend, port.address())?;
        let envoy = self.binary.options(config.to_string()).concurrency(1).start()?;
        let client = envoy.client(bootstrap::LISTENER)?;
        // Last, because Envoy takes its time, in which filters would already refresh what they have fetched.
        let bridge = self.bridge(scene, &addresses, &log, port.address()).map_err(Error::Case)?;
        let envoy = EnvoyStage { envoy, client, tls: scene.tls, services };
        Ok(Box::new(ExtProcStage { envoy, bridge, log, _port: port }))
    }

    fn refusals(&self, _accepted: &Scene, scenes: &[Scene]) -> Result<Vec<Option<String>>, Error> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let refusal = |scene: &Scene| {
            let services = scene.services.keys().map(|name| (name.clone(), nowhere)).collect();
            let log = Arc::new(Log::default());
            let error = self.bridge(scene, &services, &log, ANY_PORT).err()?;
            Some(format!("{}\n{error}", log.since(0).join("\n")))
        };
        Ok(scenes.iter().map(refusal).collect())
    }
}

/// Fields drop in this order: Envoy before what it talks to.
struct ExtProcStage {
    envoy: EnvoyStage,
    bridge: Bridge,
    log: Arc<Log>,
    _port: ReservedPort,
}

impl ExtProcStage {
    /// Envoy ends its calls a moment after its answers.
    fn wait_for_the_end(&self) -> Result<(), Error> {
        let asked = Instant::now();
        while self.bridge.open() > 0 {
            if asked.elapsed() > END_LIMIT {
                return Err(Error::Case("Envoy has not ended its call".into()));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Stage for ExtProcStage {
    fn now(&self) -> SystemTime {
        self.envoy.now()
    }

    fn change(&mut self, service: &str, behaviour: &Behaviour) -> Result<(), Error> {
        self.envoy.change(service, behaviour)
    }

    fn elapse(&mut self, time: Duration) -> Result<(), Error> {
        self.envoy.elapse(time)
    }

    /// What Envoy cannot log, the server has logged. Requests that are sent at once are alike.
    fn send(&mut self, request: &WireRequest, copies: usize) -> Result<Exchanges, Error> {
        let mark = self.log.records().len();
        let mut exchanges = self.envoy.send(request, copies)?;
        self.wait_for_the_end()?;
        for (answer, record) in exchanges.answers.iter_mut().zip(self.log.records().iter().skip(mark)) {
            let state = |name: &str| {
                let value = record.ended.filter_state.get(name)?;
                Some(String::from_utf8_lossy(value).into_owned())
            };
            answer.identity = state("wasm.enforcer");
            answer.event = state("wasm.enforcer_event");
        }
        Ok(exchanges)
    }

    fn counters(&self) -> Result<BTreeMap<String, u64>, Error> {
        Ok(self.bridge.counters())
    }

    fn fetches(&mut self, service: &str) -> usize {
        self.envoy.fetches(service)
    }

    fn received(&mut self, service: &str) -> Vec<Received> {
        self.envoy.received(service)
    }

    fn log_mark(&self) -> usize {
        self.log.since(0).len()
    }

    fn log_since(&self, mark: usize) -> Vec<String> {
        self.log.since(mark)
    }
}

/// The server's log, in memory.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    records: Mutex<Vec<Finished>>,
}

impl Log {
    fn since(&self, mark: usize) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().skip(mark).cloned().collect()
    }

    fn records(&self) -> Vec<Finished> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Journal for Log {
    fn level(&self) -> Level {
        Level::Debug
    }

    fn line(&self, level: Level, source: &str, line: &str) {
        let line = format!("{level:?} {source}: {line}");
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn finished(&self, request: &Finished) {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    }
}
