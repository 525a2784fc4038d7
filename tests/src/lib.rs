//! Behaviour written once as data, run on every host.
//!
//! A case file (`tests/cases/*.yaml`, see `docs/cases.md`) says how the filters are configured, what the world
//! around them looks like, what a client sends and what must come out. The same file runs on the harness and in
//! a real Envoy; each is held to the file, so both agree with each other.

mod check;
mod delivered;
mod error;
mod format;
mod host;
mod keys;
mod packing;
mod run;
mod scenarios;
mod template;
mod tokens;

pub use error::Error;
pub use host::kgateway_envoy;
pub use run::{Report, run_all};
