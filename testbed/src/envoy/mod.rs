//! Finding, checking and running Envoy.

mod binary;
mod process;
mod running;

pub use binary::{Config, EnvoyBinary, EnvoyOptions, Version};
pub use running::Envoy;
