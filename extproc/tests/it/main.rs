//! The server before a client that says what Envoy says, and what no Envoy should.

#![cfg(test)]

mod hostile;
mod life;
mod talk;
