//! What every Enforcer filter is built from.
//!
//! No I/O and no proxy-wasm here: the crate builds natively, for `wasm32-wasip1` inside Envoy and for
//! `wasm32-unknown-unknown` under Node, and a filter written on it can be tested anywhere.
//!
//! * [`filter`]: the [`filter::Filter`] trait, its events and steps; [`chain`] runs two filters as one.
//! * [`cx`] and [`host`]: what a filter may read and ask for; [`native`]: a host for tests and tools.
//! * [`table`] and [`path`]: which API and operation a request means; default deny, canonical paths.
//! * [`identity`] and [`fault`]: what filters tell each other, and what callers are told; [`net`]: where callers are.
//! * [`cache`] and [`store`]: bounded memory of one worker, and memory that workers share.
//! * [`protobuf`]: what is said to services that speak gRPC.
//! * [`config`], [`units`], [`mode`]: configuration with errors that name the place.

pub mod cache;
pub mod chain;
pub mod config;
pub mod cx;
pub mod edits;
pub mod fault;
pub mod filter;
pub mod headers;
pub mod host;
pub mod identity;
pub mod mode;
pub mod native;
pub mod net;
pub mod path;
pub mod protobuf;
pub mod store;
pub mod table;
pub mod units;
