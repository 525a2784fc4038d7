//! Who may call: bearer tokens, scopes, default deny.

pub mod config;
