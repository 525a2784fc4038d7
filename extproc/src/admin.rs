//! For operators: `/metrics` in Prometheus' text format, `/healthz`, `/readyz`.

use std::{
    fmt::Write as _,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use enforcer_harness::host::Reading;
use serde_json::json;

use crate::process::Process;

#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) process: Arc<Process>,
    /// The process takes no new requests.
    pub(crate) draining: Arc<AtomicBool>,
}

pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .with_state(admin)
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], exposition(&admin.process))
}

/// The process lives as long as it answers. A configuration that was not taken is told, and no reason to restart.
async fn health(State(admin): State<Admin>) -> impl IntoResponse {
    let refusal = admin.process.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let body = json!({ "configuration": refusal.as_deref().unwrap_or("ok") });
    ([(CONTENT_TYPE, "application/json")], body.to_string())
}

async fn ready(State(admin): State<Admin>) -> StatusCode {
    if admin.draining.load(Relaxed) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

/// The process' own counters, then those of the filters with the prefix that Envoy gives them.
fn exposition(process: &Process) -> String {
    let tally = &process.tally;
    let refused = process.refusal.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    let mut out = String::new();
    let mut own = |kind, name, help, value: u64| {
        let name = format!("enforcer_extproc_{name}");
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    own("counter", "requests_total", "Requests that Envoy has told of.", tally.requests.load(Relaxed));
    own("gauge", "requests_open", "Requests under way.", process.open());
    own(
        "counter",
        "refused_calls_total",
        "Calls for no filter, out of order or silent.",
        tally.refused.load(Relaxed),
    );
    own("counter", "instance_failures_total", "Instances thrown away.", tally.failures.load(Relaxed));
    own("counter", "reloads_total", "Configurations taken since the start.", tally.reloads.load(Relaxed));
    own(
        "counter",
        "reload_failures_total",
        "Configurations found and not taken.",
        tally.reload_failures.load(Relaxed),
    );
    own("gauge", "configuration_ok", "1 if the configuration found last is in force.", u64::from(!refused));
    for (name, reading) in process.metrics.readings() {
        let name = format!("wasmcustom_{}", sanitised(&name));
        let _ = match reading {
            Reading::Counter(value) => writeln!(out, "# TYPE {name} counter\n{name} {value}"),
            Reading::Gauge(value) => writeln!(out, "# TYPE {name} gauge\n{name} {value}"),
            Reading::Histogram { count, sum } => {
                writeln!(out, "# TYPE {name} summary\n{name}_sum {sum}\n{name}_count {count}")
            }
        };
    }
    out
}

/// Letters, digits and underscores, as Envoy writes its own names for Prometheus.
fn sanitised(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
