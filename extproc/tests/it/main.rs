//! The server before a client that says what Envoy says, and what no Envoy should, and behind a real Envoy.

#![cfg(test)]

mod bodies;
mod gateway;
mod hostile;
mod life;
mod soak;
mod talk;
mod tls;
