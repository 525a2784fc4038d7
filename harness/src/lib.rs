//! A proxy-wasm host on wasmtime: tests any filter without Envoy, and behaves as Envoy 1.40 does where it matters.
//!
//! ```no_run
//! use enforcer_harness::{Harness, Module, Request, Upstream};
//!
//! let module = Module::from_file("dist/auth.wasm")?;
//! let mut envoy = Harness::builder(&module)
//!     .plugin_config(r#"{"issuers": []}"#)
//!     .cluster("idp", Upstream::reply(200, &[], r#"{"keys": []}"#))
//!     .start()?;
//! let out = envoy.request(Request::get("/pets").host("api.example.com"));
//! assert_eq!(out.status(), 401);
//! assert!(out.backend().is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Tests say what the world looks like ([`Builder`], [`Upstream`], [`Backend`]) and check what comes out ([`Outcome`],
//! counters, logs). They never script host calls: a filter may be rewritten without touching them.
//!
//! [`host`] is the host alone, for other embedders.

pub mod host;
mod sim;

pub use host::{HeaderMap, Level, LoadError, Metrics, Module, Shared, Value};
pub use sim::{
    Backend, BackendRequest, Builder, Call, FailurePolicy, Handle, Harness, HarnessError, LogLine, Outcome,
    Paused, Request, Upstream, UpstreamHandle, Vm, WorkerThread,
};
