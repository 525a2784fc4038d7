//! A rate limit service for tests: Limitador, counting in a real Redis, behind `envoy.service.ratelimit.v3`.

use std::{
    collections::HashMap,
    env,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use envoy_types::pb::{
    envoy::service::ratelimit::v3::{
        RateLimitRequest, RateLimitResponse,
        rate_limit_response::{Code, DescriptorStatus},
        rate_limit_service_server::{RateLimitService, RateLimitServiceServer},
    },
    google::protobuf,
};
use limitador::{AsyncRateLimiter, limit::Limit, storage::redis::AsyncRedisStorage};
use tokio::sync::{Mutex, oneshot};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// What the filter calls our limits unless told otherwise.
const DOMAIN: &str = "enforcer";

/// A Redis that keeps nothing on disk.
#[derive(Debug)]
pub struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    /// `None`, with a printed line, where there is no `redis-server`.
    pub fn start_or_skip() -> Option<Self> {
        let redis = Self::start_on(free_port());
        if redis.is_none() {
            println!("skipped: no `redis-server` (Debian's package of that name)");
        }
        redis
    }

    /// On this port, so that a new one can take the place of one that has died.
    pub fn start_on(port: u16) -> Option<Self> {
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let redis = Self { process, port };
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "redis-server does not start");
            thread::sleep(Duration::from_millis(20));
        }
        Some(redis)
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What the service has been asked for, and what of it it has counted.
#[derive(Debug, Default)]
struct Seen {
    calls: AtomicU64,
    /// Hits that were granted.
    counted: AtomicU64,
    /// Hits that there was not enough left for.
    refused: AtomicU64,
}

/// The service. Stops when it is dropped.
#[derive(Debug)]
pub struct Service {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Allows `limit` hits in so many seconds for each tenant, whichever policy asks. Port 0 is a free one.
    pub fn start(redis: u16, port: u16, limit: i64, seconds: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let shared = Arc::clone(&seen);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let storage = AsyncRedisStorage::new(&format!("redis://127.0.0.1:{redis}")).await.unwrap();
                let limiter = AsyncRateLimiter::new_with_storage(Box::new(storage));
                limiter.add_limit(Limit::new(
                    DOMAIN,
                    limit,
                    seconds,
                    Vec::<String>::new(),
                    ["header.x-tenant"],
                ));
                let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
                let service =
                    RateLimitServiceServer::new(Counter { limiter: Mutex::new(limiter), seen: shared });
                let serving = Server::builder().add_service(service).serve_with_incoming(incoming);
                // Envoys keep their connections open: stopping does not wait for them.
                tokio::select! {
                    result = serving => result.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { address, seen, stop: Some(stop), thread: Some(thread) }
    }

    pub fn calls(&self) -> u64 {
        self.seen.calls.load(Relaxed)
    }

    /// Hits that were granted, `hits_addend` of each call.
    pub fn counted(&self) -> u64 {
        self.seen.counted.load(Relaxed)
    }

    /// Hits that there was not enough left for.
    pub fn refused(&self) -> u64 {
        self.seen.refused.load(Relaxed)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct Counter {
    /// Limitador's Redis storage looks first and counts then: of calls at the same time several would pass.
    limiter: Mutex<AsyncRateLimiter>,
    seen: Arc<Seen>,
}

#[tonic::async_trait]
impl RateLimitService for Counter {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let RateLimitRequest { domain, descriptors, hits_addend } = request.into_inner();
        self.seen.calls.fetch_add(1, Relaxed);
        let limiter = self.limiter.lock().await;
        let mut response = RateLimitResponse { overall_code: Code::Ok.into(), ..Default::default() };
        for descriptor in descriptors {
            let entries: HashMap<String, String> =
                descriptor.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
            let (domain, hits) = (domain.as_str().into(), i64::from(hits_addend.max(1)));
            let counting = limiter.check_rate_limited_and_update(&domain, &entries, hits, true);
            let counting = tokio::time::timeout(Duration::from_secs(1), counting);
            let counted = counting.await.map_err(|_| Status::unavailable("redis does not answer"))?;
            let result = counted.map_err(|error| Status::unavailable(error.to_string()))?;
            let counter = result.counters.first().ok_or_else(|| Status::internal("no limit applies"))?;
            // Less what was asked for, even where that was not given.
            let remaining = counter.remaining().unwrap_or(0) + if result.limited { hits } else { 0 };
            let expires = counter.expires_in().unwrap_or_default();
            let code = if result.limited { Code::OverLimit } else { Code::Ok };
            let sum = if result.limited { &self.seen.refused } else { &self.seen.counted };
            sum.fetch_add(hits.unsigned_abs(), Relaxed);
            if result.limited {
                response.overall_code = code.into();
            }
            response.statuses.push(DescriptorStatus {
                code: code.into(),
                limit_remaining: u32::try_from(remaining).unwrap_or(0),
                duration_until_reset: Some(protobuf::Duration {
                    seconds: i64::try_from(expires.as_secs()).unwrap_or(i64::MAX),
                    nanos: i32::try_from(expires.subsec_nanos()).unwrap_or(0),
                }),
                ..Default::default()
            });
        }
        Ok(Response::new(response))
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Where `make wasm` puts the module.
pub fn module() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "../../target".into(), PathBuf::from);
    let wasm = target.join("wasm32-wasip1/wasm/ratelimit.wasm").canonicalize();
    wasm.expect("no modules; run `make wasm`")
}
