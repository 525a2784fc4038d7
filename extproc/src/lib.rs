//! The filters behind Envoy's `ext_proc`: for gateways that take no Wasm, such as kgateway.
//!
//! The unchanged modules run in the harness' host ([`enforcer_harness::host`]). Each worker thread has one instance of
//! each filter that lives as long as the configuration ([`lane`]); a request costs no instantiation, and caches stay
//! warm. What Envoy says comes in by [`service`], configuration by [`generation`], and what the filters call
//! elsewhere goes out by [`callout`].

mod admin;
mod callout;
mod config;
mod exchange;
mod generation;
mod journal;
mod lane;
mod message;
mod order;
mod outside;
mod process;
mod reload;
mod server;
mod service;

pub use config::{Cluster, Config, Filter, Limits};
pub use generation::{Generation, LoadError, Modules};
pub use journal::{Finished, Journal, Lines};
pub use server::{Bridge, Options, Source, Tls};
