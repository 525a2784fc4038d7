//! The whole thing: threads, listeners, an orderly end.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use axum::http::Request;
use enforcer_harness::Level;
use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_server::ExternalProcessorServer;
use tokio::{net::TcpListener, runtime::Runtime, sync::mpsc, sync::watch};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig, server::TcpIncoming};
use tonic_health::server::HealthReporter;
use tower::util::MapRequestLayer;

use crate::{
    admin::{self, Admin},
    config::Config,
    generation::{Generation, LoadError, Modules},
    journal::Journal,
    lane::{INBOX, Lane, News},
    process::Process,
    reload::Watched,
    service::{Authority, Service},
};

/// Where and how to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where Envoy calls.
    pub listen: SocketAddr,
    /// Metrics and health.
    pub admin: SocketAddr,
    /// Threads that run filters; at least one does.
    pub workers: usize,
    pub source: Source,
    /// Envoy calls by TLS.
    pub tls: Option<Tls>,
}

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder with `enforcer.json`, taken again when anything in it changes.
    Folder(PathBuf),
    /// This one, for ever. Its paths are absolute.
    Given(Box<Config>),
}

/// What the server shows of itself, and who may call; all in PEM.
#[derive(Clone)]
pub struct Tls {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    /// The authorities that clients' certificates must come from, if clients must have one.
    pub clients: Option<Vec<u8>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// A server that runs. Dropping it ends it at once; [`Bridge::drain`] first lets requests end.
#[derive(Debug)]
pub struct Bridge {
    process: Arc<Process>,
    address: SocketAddr,
    admin: SocketAddr,
    draining: Arc<AtomicBool>,
    health: HealthReporter,
    /// Tells the server to take no more connections.
    stop: watch::Sender<bool>,
    runtime: Option<Runtime>,
    threads: Vec<JoinHandle<()>>,
}

impl Bridge {
    /// Starts to serve.
    pub fn start(
        options: &Options,
        modules: &Arc<Modules>,
        journal: Arc<dyn Journal>,
    ) -> Result<Self, LoadError> {
        let failed = |what| move |source| LoadError::Surroundings { what, source };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.workers.max(1))
            .enable_all()
            .build()
            .map_err(failed("start threads"))?;
        let process = Arc::new(Process::new(journal));
        // Before it is read, so that no change is missed.
        let watched = match &options.source {
            Source::Folder(folder) => Some(Watched::new(folder.clone())),
            Source::Given(_) => None,
        };
        let generation = {
            let _inside = runtime.enter();
            match &options.source {
                Source::Folder(folder) => Generation::new(&Config::read(folder)?, folder, modules, &process)?,
                Source::Given(config) => Generation::new(config, Path::new(""), modules, &process)?,
            }
        };
        process.take(Arc::new(generation));
        let (lanes, threads) = lanes(options, &process, &runtime).map_err(failed("start threads"))?;
        // It was made here, and is empty.
        let _ = process.lanes.set(lanes);
        let bind = |address| runtime.block_on(TcpListener::bind(address)).map_err(failed("listen"));
        let (listener, admin_listener) = (bind(options.listen)?, bind(options.admin)?);
        let local = |listener: &TcpListener| listener.local_addr().map_err(failed("listen"));
        let (address, admin) = (local(&listener)?, local(&admin_listener)?);
        let (stop, stopped) = watch::channel(false);
        let draining = Arc::new(AtomicBool::new(false));
        let (health, health_service) = tonic_health::server::health_reporter();
        runtime.block_on(health.set_serving::<ExternalProcessorServer<Service>>());
        let mut server = Server::builder().http2_keepalive_interval(Some(KEEP_ALIVE));
        if let Some(tls) = &options.tls {
            let tls = server_tls(tls);
            server = server
                .tls_config(tls)
                .map_err(|error| failed("use the certificate")(io::Error::other(error)))?;
        }
        let service = ExternalProcessorServer::new(Service::new(Arc::clone(&process)));
        let routes = server
            .layer(MapRequestLayer::new(keep_authority))
            .add_service(health_service)
            .add_service(service);
        let (journal, wait) = (Arc::clone(&process.journal), until(stopped));
        runtime.spawn(async move {
            // The builder's own `tcp_nodelay` counts only for listeners that it makes itself.
            let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
            let served = routes.serve_with_incoming_shutdown(connections, wait).await;
            if let Err(error) = served {
                journal.line(Level::Error, "server", &format!("serving has ended: {error}"));
            }
        });
        let pages = admin::router(Admin { process: Arc::clone(&process), draining: Arc::clone(&draining) });
        runtime.spawn(async move { axum::serve(admin_listener, pages).await });
        if let Some(watched) = watched {
            runtime.spawn(watched.watch(Arc::clone(&process), Arc::clone(modules)));
        }
        Ok(Self { process, address, admin, draining, health, stop, runtime: Some(runtime), threads })
    }

    /// Where Envoy calls.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics and health are.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The filters' counters, by name.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.process.metrics.counters()
    }

    /// Requests under way.
    pub fn open(&self) -> u64 {
        self.process.open()
    }

    /// Waits for SIGTERM or SIGINT.
    pub fn wait_for_signal(&self) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let Some(runtime) = &self.runtime else { return Ok(()) };
        runtime.block_on(async {
            let (mut terminate, mut interrupt) =
                (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            Ok(())
        })
    }

    /// Says that it takes no more requests, and waits until those under way have ended, so long at most. How many have
    /// not.
    pub fn drain(&self, limit: Duration) -> u64 {
        self.draining.store(true, Relaxed);
        if let Some(runtime) = &self.runtime {
            runtime.block_on(async {
                self.health.set_not_serving::<ExternalProcessorServer<Service>>().await;
                self.health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
            });
        }
        // Connections are told to go away; calls on them go on.
        self.stop.send_replace(true);
        let began = Instant::now();
        while self.open() > 0 && began.elapsed() < limit {
            thread::sleep(Duration::from_millis(20));
        }
        self.open()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(async {
                for lane in self.process.lanes.get().into_iter().flatten() {
                    // A thread that has ended needs no telling.
                    let _ = lane.send(News::Stop).await;
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A connection whose Envoy is gone without a word is noticed after this and a little more.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

type Lanes = (Vec<mpsc::Sender<News>>, Vec<JoinHandle<()>>);

fn lanes(options: &Options, process: &Arc<Process>, runtime: &Runtime) -> io::Result<Lanes> {
    let (mut senders, mut threads) = (Vec::new(), Vec::new());
    for number in 0..options.workers.max(1) {
        let (sender, inbox) = mpsc::channel(INBOX);
        let own = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let lane = (Arc::clone(process), inbox, runtime.handle().clone());
        let thread = thread::Builder::new().name(format!("worker-{number}"));
        threads.push(thread.spawn(move || {
            let (process, inbox, outside) = lane;
            own.block_on(Lane::new(process, inbox, outside).run());
        })?);
        senders.push(sender);
    }
    Ok((senders, threads))
}

fn server_tls(tls: &Tls) -> ServerTlsConfig {
    let config = ServerTlsConfig::new().identity(Identity::from_pem(&tls.certificate, &tls.key));
    match &tls.clients {
        Some(authorities) => config.client_ca_root(Certificate::from_pem(authorities)),
        None => config,
    }
}

/// tonic hands on no URI, and the authority says which filter is meant.
fn keep_authority<B>(mut request: Request<B>) -> Request<B> {
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    request.extensions_mut().insert(Authority(authority.unwrap_or_default()));
    request
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // The sender goes with the server.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
