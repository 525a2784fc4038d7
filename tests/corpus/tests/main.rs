//! Definitions that people really publish, and very large ones, through the adapter and a real Envoy.
//!
//! * [`real`]: every operation of ten real definitions, each called once.
//! * [`load`]: ten thousand operations, in one API and in a thousand.

#[cfg(test)]
mod definition;
#[cfg(test)]
mod gateway;
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "all numbers are the test's own")]
mod load;
#[cfg(test)]
mod real;
#[cfg(test)]
mod running;
#[cfg(test)]
mod values;
