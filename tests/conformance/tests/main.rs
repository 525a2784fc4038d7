//! The product's conformance suite: what a host must get right before a filter can stand on it.
//!
//! * [`probe`]: every host call in every phase, against expectations that are checked in.
//! * [`ratelimit_wire`]: what the rate limit filter says to a rate limit service, in the words of others' code.
//! * the three tiny filters of `tests/conformance/filters`, with the same assertions on every host.
#![cfg(test)]
#![expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

mod caller;
mod configuration;
mod counter;
mod early;
mod fuzz;
mod misuse;
mod probe;
mod ratelimit_wire;
mod replace;
mod shared_fetch;
mod upgrade;
mod world;
