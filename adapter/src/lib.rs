//! The `enforcer` command: API definitions in, Envoy configuration out.
//!
//! Files ([`source`]) are read by [`openapi`] and [`settings`] into the [`model`]; a [`gateway::Gateway`] is
//! both put together, with the filters' configuration; [`envoy`] writes it down. What is wrong on the way is
//! collected as [`diagnostic::Diagnostics`], never only the first of it.

pub mod analytics;
pub mod attach;
mod auth;
pub mod certificates;
pub mod cli;
pub mod diagnostic;
pub mod endpoints;
pub mod envoy;
pub mod fetch;
pub mod gates;
pub mod gateway;
mod imports;
pub mod issuers;
pub mod keys;
pub mod kgateway;
mod limits;
pub mod model;
pub mod openapi;
pub mod output;
pub mod passwords;
pub mod report;
pub mod schema;
pub mod settings;
pub mod source;
pub mod token;
pub mod url;
