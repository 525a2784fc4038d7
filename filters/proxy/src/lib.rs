//! The one place that talks proxy-wasm: drives any [`enforcer_core::filter::Filter`] inside Envoy.
//!
//! A module is ten lines: it names its filter and calls [`register`].
//!
//! * [`hostcalls`]: Envoy's functions, on bytes, with statuses as errors instead of panics.
//! * [`host`]: those functions as the services that filters use.
//! * [`worker`]: one configured filter on one worker, and its background work.
//! * [`stream`]: one request: pausing, callouts, resuming, local replies.
//! * [`shell`]: the contexts that the SDK's dispatcher calls.
#![cfg(target_os = "wasi")]

pub mod foreign;
pub mod host;
pub mod hostcalls;
mod shell;
mod stream;
mod worker;

pub use shell::{register, root, root_id};
