//! The server before a client that says what Envoy says, and what no Envoy should, and behind a real Envoy.

#![cfg(test)]

mod binary;
mod bodies;
mod cache;
mod events;
mod gateway;
mod hostile;
mod life;
mod replicas;
mod routes;
mod soak;
mod talk;
mod tls;
