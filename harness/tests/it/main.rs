//! The harness, tried with a module written with the stock SDK and with modules in WebAssembly text. The sequences of
//! callbacks are what Envoy 1.40 showed with the same module and the same requests.

#![cfg(test)]

mod attributes;
mod bodies;
mod callouts;
mod failures;
mod headers;
mod lifecycle;
mod loading;
mod replies;
mod sdk;
mod shared;
