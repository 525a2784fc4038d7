use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use enforcer_testbed::{
    Connection, EchoBackend, Envoy, EnvoyBinary, GrpcReply, GrpcServer, RawClient, Received, Reply,
    ReservedPort, Response, Version,
};
use serde_json::Value;

use super::attached::{self, Attached};
use super::{
    Answered, BACKEND, Behaviour, Exchanges, GARBAGE, Host, INTERNAL, LimitService, Scene, Stage,
    WireRequest, bootstrap, huge, packed, refused,
};
use crate::Error;
use crate::format::{Answer, HostKind};
use crate::packing::Packing;

/// How long the access log may lag behind an answer.
const LOG_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);
/// Longer than any client waits.
const NEVER: Duration = Duration::from_secs(120);

/// A real Envoy, a new one for each start.
pub(crate) struct EnvoyHost {
    binary: EnvoyBinary,
    version: Version,
    packing: Packing,
    /// The configuration that cases are put into; without it, one that holds nothing else.
    attached: Option<Attached>,
}

impl EnvoyHost {
    pub(crate) fn new(binary: EnvoyBinary, packing: Packing) -> Result<Self, Error> {
        let version = binary.version()?;
        Ok(Self { binary, version, packing, attached: None })
    }

    /// With the configuration of somebody else, to which the filter was attached.
    pub(crate) fn attached(binary: EnvoyBinary) -> Result<Self, Error> {
        Ok(Self { attached: Some(Attached::new()?), ..Self::new(binary, Packing::AsWritten)? })
    }

    fn bootstrap(&self, scene: &Scene, services: &BTreeMap<String, SocketAddr>) -> Result<String, Error> {
        let bootstrap = match &self.attached {
            Some(attached) => attached.bootstrap(scene, services)?,
            None => bootstrap::bootstrap(scene, services)?,
        };
        Ok(bootstrap.to_string())
    }
}

impl Host for EnvoyHost {
    fn kind(&self) -> HostKind {
        if self.attached.is_some() { HostKind::Attached } else { HostKind::Envoy }
    }

    fn packing(&self) -> Packing {
        self.packing
    }

    fn name(&self) -> String {
        let attached = if self.attached.is_some() { " (attached)" } else { "" };
        format!("envoy {}{attached}{}", self.version, packed(self.packing))
    }

    fn start(&self, scene: &Scene) -> Result<Box<dyn Stage>, Error> {
        let services = services(scene)?;
        let config = self.bootstrap(scene, &addresses(&services))?;
        let workers = u32::try_from(scene.workers).unwrap_or(u32::MAX);
        let options = self.binary.options(config).concurrency(workers);
        let envoy = options.component_log_level("wasm:debug").start()?;
        let listener = if self.attached.is_some() { attached::LISTENER } else { bootstrap::LISTENER };
        let client = envoy.client(listener)?;
        Ok(Box::new(EnvoyStage { envoy, client, tls: scene.tls, services }))
    }

    /// One Envoy gets a listener for each scene, and does not mind that others are refused. Validating each in an
    /// Envoy of its own would compile the module each time, which is nearly all that a refusal costs.
    fn refusals(&self, accepted: &Scene, scenes: &[Scene]) -> Result<Vec<Option<String>>, Error> {
        let folder = tempfile::tempdir().map_err(|error| Error::Case(error.to_string()))?;
        let bootstrap = refused::bootstrap(accepted, scenes, &folder.path().join("lds.json"))?;
        let envoy = self.binary.options(bootstrap.to_string()).start()?;
        refused::logs(&envoy.log().since(0), scenes.len())
    }
}

/// The backend, and what the filters call.
pub(super) fn services(scene: &Scene) -> Result<BTreeMap<String, Service>, Error> {
    let mut services = BTreeMap::from([(BACKEND.to_owned(), Service::start(&Behaviour::default())?)]);
    for (name, behaviour) in &scene.services {
        services.insert(name.clone(), Service::start(behaviour)?);
    }
    Ok(services)
}

pub(super) fn addresses(services: &BTreeMap<String, Service>) -> BTreeMap<String, SocketAddr> {
    services.iter().map(|(name, service)| (name.clone(), service.port.address())).collect()
}

/// Fields drop in this order: Envoy before what it talks to.
pub(super) struct EnvoyStage {
    pub(super) envoy: Envoy,
    pub(super) client: RawClient,
    /// Whether it speaks TLS.
    pub(super) tls: bool,
    pub(super) services: BTreeMap<String, Service>,
}

impl EnvoyStage {
    /// The access log's lines of requests that have been answered: it is written a moment later.
    fn logged(&self, mark: usize, count: usize) -> Result<Vec<String>, Error> {
        let asked = Instant::now();
        loop {
            let lines = self.envoy.access_log().since(mark);
            if lines.len() >= count {
                return Ok(lines);
            }
            if asked.elapsed() > LOG_LIMIT {
                let got = lines.len();
                return Err(Error::Case(format!("{count} answers, but {got} lines in Envoy's access log")));
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Stage for EnvoyStage {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn change(&mut self, service: &str, behaviour: &Behaviour) -> Result<(), Error> {
        match self.services.get_mut(service) {
            Some(service) => service.change(behaviour),
            None => Err(Error::Case(format!("there is no service `{service}` in this file"))),
        }
    }

    fn elapse(&mut self, time: Duration) -> Result<(), Error> {
        std::thread::sleep(time);
        Ok(())
    }

    fn send(&mut self, request: &WireRequest, copies: usize) -> Result<Exchanges, Error> {
        let mark = self.envoy.access_log().mark();
        if let Some(backend) = self.services.get(BACKEND).and_then(|backend| backend.server.as_ref()) {
            backend.clear();
        }
        let (client, wire, tls) = (self.client, request.to_http1(), self.tls);
        let answers: Vec<Result<Response, enforcer_testbed::Error>> = std::thread::scope(|scope| {
            let send = || {
                let shown = request.certificate.as_ref();
                let connection = if tls { client.connect_tls(shown) } else { client.connect() };
                exchange(connection?, &wire, &request.method)
            };
            let clients: Vec<_> = (0..copies).map(|_| scope.spawn(send)).collect();
            let gone = || Err(enforcer_testbed::Error::Http("a client's thread panicked".into()));
            clients.into_iter().map(|client| client.join().unwrap_or_else(|_| gone())).collect()
        });
        let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        self.envoy.check_alive()?;
        let logged = self.logged(mark, answers.len())?;
        let backend = self.services.get(BACKEND).and_then(|backend| backend.server.as_ref());
        Ok(Exchanges {
            answers: answers.into_iter().zip(&logged).map(|(answer, line)| answered(answer, line)).collect(),
            received: backend.map(EchoBackend::received).unwrap_or_default(),
        })
    }

    fn counters(&self) -> Result<BTreeMap<String, u64>, Error> {
        let stats = self.envoy.stats()?.into_iter();
        Ok(stats
            .filter_map(|(name, value)| Some((name.strip_prefix("wasmcustom.")?.to_owned(), value)))
            .collect())
    }

    fn fetches(&mut self, service: &str) -> usize {
        self.services.get(service).map_or(0, |service| service.received().len())
    }

    fn received(&mut self, service: &str) -> Vec<Received> {
        self.services.get(service).map(Service::received).unwrap_or_default()
    }

    fn log_mark(&self) -> usize {
        self.envoy.log().mark()
    }

    fn log_since(&self, mark: usize) -> Vec<String> {
        self.envoy.log().since(mark)
    }
}

fn exchange(
    mut connection: Connection,
    wire: &[u8],
    method: &str,
) -> Result<Response, enforcer_testbed::Error> {
    connection.write(wire)?;
    connection.read(method)
}

fn answered(response: Response, logged: &str) -> Answered {
    let line: Value = serde_json::from_str(logged).unwrap_or_default();
    let text = |name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned);
    Answered {
        status: response.status,
        headers: response.headers,
        body: response.body,
        details: text("details").unwrap_or_default(),
        identity: text("identity"),
        event: text("event"),
    }
}

/// A server that can go down and come back on its port.
pub(super) struct Service {
    port: ReservedPort,
    server: Option<EchoBackend>,
    /// In place of the other one, where it is a rate limit service.
    grpc: Option<GrpcServer>,
    /// Received by earlier servers on this port.
    before: Vec<Received>,
}

impl Service {
    fn start(behaviour: &Behaviour) -> Result<Self, Error> {
        let mut service = Self { port: ReservedPort::new()?, server: None, grpc: None, before: Vec::new() };
        service.change(behaviour)?;
        Ok(service)
    }

    fn change(&mut self, behaviour: &Behaviour) -> Result<(), Error> {
        if behaviour.answer == Answer::Down {
            self.before = self.received();
            self.server = None;
            self.grpc = None;
            return Ok(());
        }
        if let Some(limits) = behaviour.limits.clone() {
            return self.change_limits(limits, behaviour.answer.clone());
        }
        let server = match self.server.take() {
            Some(server) => server,
            None => EchoBackend::start_on(self.port.address().port())?,
        };
        server.answer(reply(behaviour));
        self.server = Some(server);
        Ok(())
    }

    fn change_limits(&mut self, limits: LimitService, answer: Answer) -> Result<(), Error> {
        self.before = self.received();
        // Two servers cannot have one port.
        self.grpc = None;
        let started = Instant::now();
        let handler = move |message: &[u8]| match &answer {
            Answer::Slow(time) | Answer::Drip(time) => {
                GrpcReply::Message(limits.answer(message, started.elapsed()), time.duration())
            }
            Answer::Hang => GrpcReply::Message(Vec::new(), NEVER),
            Answer::Garbage => GrpcReply::Message(GARBAGE.into(), Duration::ZERO),
            Answer::Status(_) => GrpcReply::Status(INTERNAL),
            _ => GrpcReply::Message(limits.answer(message, started.elapsed()), Duration::ZERO),
        };
        self.grpc = Some(GrpcServer::start_on(self.port.address().port(), handler)?);
        Ok(())
    }

    fn received(&self) -> Vec<Received> {
        let http = self.server.as_ref().map(EchoBackend::received).unwrap_or_default();
        let grpc = self.grpc.as_ref().map(GrpcServer::received).unwrap_or_default();
        self.before.iter().cloned().chain(http).chain(grpc).collect()
    }
}

fn reply(behaviour: &Behaviour) -> Reply {
    let well = |reply: Reply| match &behaviour.document {
        Some(document) => behaviour
            .document_headers()
            .fold(reply.body(document), |reply, (name, value)| reply.header(name, value)),
        None => reply,
    };
    match &behaviour.answer {
        // A server that is down answers nothing at all.
        Answer::Ok | Answer::Down => well(Reply::default()),
        Answer::Garbage => Reply::default().body(GARBAGE),
        Answer::Empty => Reply::default().body(""),
        Answer::Huge => Reply::default().body(huge()),
        Answer::Body(body) => Reply::default().body(body),
        Answer::Status(status) => well(Reply::status(*status)),
        Answer::Slow(time) => well(Reply::slow(time.duration())),
        Answer::Drip(pace) => well(Reply::dripping(pace.duration())),
        Answer::Hang => Reply::slow(NEVER),
    }
}
