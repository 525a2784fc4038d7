//! What of a request is spent in the host and in the module: no Envoy, no gRPC, no other thread.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use enforcer_bench::{Result, load::HEADERS, process, stats::Summary};
use enforcer_harness::{
    HeaderMap, Level, Metrics, Module, Shared, Value,
    host::{Cluster, Environment, Event, Outside, Plugin, Worker},
};

/// Heartbeats that a call may last, as in the server; here none comes.
const BEATS: u64 = 100;
/// Requests that are timed together.
const BATCH: u32 = 1_000;

/// Microseconds of processor time of a request with a token that is known, of so many batches.
pub(crate) fn measure(
    module: &Path,
    configuration: &serde_json::Value,
    path: &str,
    token: &str,
    batches: u32,
) -> Result<Summary> {
    let module = Module::guarded(&std::fs::read(module)?, BEATS)?;
    let plugin = Plugin {
        root_id: "auth".to_owned(),
        configuration: configuration.to_string().into_bytes(),
        ..Plugin::default()
    };
    let environment = Environment {
        outside: Arc::new(Nothing(Instant::now())),
        shared: Shared::default(),
        metrics: Metrics::summed(),
    };
    let mut worker = Worker::start(&module, Arc::new(plugin), environment, 1)?;
    let mut headers =
        HeaderMap::from_iter([(":method", "GET"), (":path", path), (":authority", "localhost")]);
    HEADERS.into_iter().for_each(|(name, value)| headers.add(name, value));
    headers.add("authorization", format!("Bearer {token}"));
    // The first verifies the token.
    request(&mut worker, &headers)?;
    let mut samples = Vec::new();
    for _ in 0..batches {
        // Not by the clock: the machine may do other things meanwhile, and this process does not.
        let before = process::cpu(std::process::id())?;
        for _ in 0..BATCH {
            request(&mut worker, &headers)?;
        }
        let took = process::cpu(std::process::id())?.saturating_sub(before);
        samples.push(took.as_secs_f64() * 1e6 / f64::from(BATCH));
    }
    Ok(Summary::of(samples))
}

/// All that the server does with a worker for a request whose bodies are not sent.
fn request(worker: &mut Worker, headers: &HeaderMap) -> Result<()> {
    let stream = worker.open_stream(Value::Map(vec![(
        "source".to_owned(),
        Value::Map(vec![("address".to_owned(), "192.0.2.7:40000".into())]),
    )]));
    worker.request_headers(stream, headers.clone(), true);
    if !worker.take_events().iter().any(|event| matches!(event, Event::ToUpstream(..))) {
        return Err("the request is not let through".into());
    }
    worker.response_headers(stream, HeaderMap::from_iter([(":status", "200")]), true);
    if !worker.take_events().iter().any(|event| matches!(event, Event::Ended(..))) {
        return Err("the request does not end".into());
    }
    Ok(())
}

/// Clocks, and nothing to call.
#[derive(Debug)]
struct Nothing(Instant);

impl Outside for Nothing {
    fn wall_clock(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn monotonic_clock(&self) -> Duration {
        self.0.elapsed()
    }

    fn random(&self, out: &mut [u8]) {
        out.fill(7);
    }

    fn log_level(&self) -> Level {
        Level::Info
    }

    fn log(&self, _vm: u32, _level: Level, _line: &str) {}

    fn cluster(&self, _name: &str) -> Cluster {
        Cluster::Unknown
    }
}
