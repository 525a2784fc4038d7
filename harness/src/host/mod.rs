//! The host: one VM, its contexts, its streams. No network, no clock, no test: things happen when the embedder calls,
//! and what follows from them is collected as [`Event`]s.
//!
//! [`Worker`] is what a worker thread of Envoy has of a plugin. It follows Envoy's own division: `imports` is
//! proxy-wasm-cpp-host's `exports.cc`, `filter` is Envoy's `Context`, `chain` and `exit` are the HTTP filter manager around it.

mod abi;
mod cache;
mod chain;
mod crypto;
mod event;
mod exit;
mod exports;
mod filter;
mod headers;
mod imports;
mod metrics;
mod module;
mod pairs;
mod plugin;
mod property;
mod protobuf;
mod reply;
mod shared;
mod slots;
mod state;
mod stream;
mod value;
mod worker;

pub use abi::Level;
pub use cache::Cache;
pub use event::{
    Ended, Event, Frame, GrpcCall, GrpcCallResult, HttpCall, HttpCallResult, HttpResponse, StreamId,
};
pub use headers::HeaderMap;
pub use metrics::{Metrics, Reading};
pub use module::{LoadError, Module};
pub use plugin::{Cluster, Environment, Outside, Plugin};
pub use shared::{Owner, Shared};
pub use value::Value;
pub use worker::{StartError, Worker};
