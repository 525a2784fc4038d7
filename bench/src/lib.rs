//! What the filters cost on a real Envoy, beside what Envoy's own cost. `make bench` writes docs/performance.md.
//!
//! * [`rows`]: each row of the table: an Envoy and its requests. [`gateway`], [`filters`] and [`tokens`] make them.
//! * [`whole`]: the rows of whole gateways, with bench/authorizer, which ext_authz asks.
//! * [`measure`]: runs the rows in turns, with [`load`] from oha, to the [`backend`].
//! * [`flood`]: what others notice of a flood of costly tokens.
//! * [`startup`]: start-up time and memory. [`corpus`]: `enforcer build` over real definitions.
//! * [`instructions`]: WebAssembly instructions of a request, the same on every machine; a test holds them.
//! * [`report`]: the page.

pub mod backend;
pub mod corpus;
pub mod credentials;
pub mod filters;
pub mod flood;
pub mod gateway;
pub mod goals;
pub mod instructions;
pub mod load;
pub mod measure;
pub mod process;
pub mod report;
pub mod rows;
pub mod services;
pub mod startup;
pub mod stats;
pub mod tokens;
pub mod whole;

/// What went wrong, for whoever runs the bench.
pub type Error = Box<dyn std::error::Error>;
/// Most of it is a file, a process or an answer that is not there.
pub type Result<T> = std::result::Result<T, Error>;
