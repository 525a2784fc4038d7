//! The product's conformance suite: what a host must get right before a filter can stand on it.
//!
//! * [`probe`]: every host call in every phase, against expectations that are checked in.
//! * the three tiny filters of `tests/conformance/filters`, with the same assertions on every host.

mod probe;
mod world;
