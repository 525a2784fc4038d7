//! The harness, tried with a module written with the stock SDK and with modules in WebAssembly text.

mod bodies;
mod callouts;
mod failures;
mod lifecycle;
mod replies;
#[cfg(test)]
mod sdk;
