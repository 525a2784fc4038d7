//! Finding, checking and running Envoy.

mod binary;
mod running;

pub use binary::{Config, EnvoyBinary, EnvoyOptions, Version};
pub use running::Envoy;
