//! Definitions that people really publish, and very large ones, through the adapter and a real Envoy.
//!
//! * [`real`]: every operation of ten real definitions, each called once.

#[cfg(test)]
mod definition;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod real;
#[cfg(test)]
mod running;
#[cfg(test)]
mod values;
