//! `enforcer.json`: which filters run, and what they can reach.

use std::{collections::BTreeMap, path::PathBuf};

use enforcer_core::units::{ByteSize, Span};
use serde::Deserialize;
use serde_json::Value;

/// The name of the filter that serves every `:authority` without one of its own.
pub(crate) const EVERYTHING_ELSE: &str = "*";

/// The configuration file. Paths in it begin at its folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// By the `:authority` of Envoy's gRPC call (`grpcService.authority` of a GatewayExtension), else by the name of
    /// Envoy's route (`xds.route_name` among the attributes that Envoy is told to send); `*` is for all that is not
    /// named. A call for which there is none fails, and Envoy refuses the request.
    pub filters: BTreeMap<String, Filter>,
    /// Where the clusters are that filters name in their configurations.
    #[serde(default)]
    pub clusters: BTreeMap<String, Cluster>,
    #[serde(default)]
    pub limits: Limits,
}

/// A module and its configuration. Several filters as one are the bundle.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// The `.wasm` file.
    pub module: PathBuf,
    /// Which of the module's filters: `root_id` of Envoy's `PluginConfig`.
    #[serde(default)]
    pub root_id: String,
    /// Envoy's field of this name: while the module holds the headers, it is shown the body.
    #[serde(default)]
    pub allow_on_headers_stop_iteration: bool,
    /// The filter's own settings. A string goes in as it is, anything else as JSON.
    pub configuration: Value,
}

/// A server that filters call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// `http://` or `https://`, host and port. Paths come from the filters.
    pub url: String,
    /// The authorities that its certificate may come from, in PEM; the system's unless given.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// What no filter and no Envoy can exceed.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How long a call into a module may take before its instance is thrown away.
    pub callback: Span,
    /// Linear memory of one instance.
    pub memory: ByteSize,
    /// What a filter may hold of a body.
    pub buffer: ByteSize,
    /// How long Envoy may say nothing of a request before it is given up.
    pub silence: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            callback: Span::from_secs(1),
            memory: ByteSize::from_bytes(256 << 20),
            buffer: ByteSize::from_bytes(1 << 20),
            silence: Span::from_secs(900),
        }
    }
}

impl Filter {
    /// The bytes that the module reads as its configuration.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match &self.configuration {
            Value::String(text) => text.clone().into_bytes(),
            other => other.to_string().into_bytes(),
        }
    }
}
