//! Logs every callback with its arguments and does what the plugin configuration says.
//!
//! A line of the configuration is `callback action arguments...`; the actions of a callback run in order.

#[cfg(target_os = "wasi")]
mod script;
