//! `noop.wasm`: a filter that looks at nothing and lets everything through. What it costs, every filter costs.
#![cfg(target_os = "wasi")]

use enforcer_core::{
    config::ConfigError,
    cx::Cx,
    filter::{Capabilities, Event, Filter, Needs, Step},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug)]
struct Noop;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {}

impl Filter for Noop {
    const NAME: &'static str = "noop";
    type Config = Config;
    type Exchange = ();

    fn new(_config: Config, _capabilities: Capabilities) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn on_event(&mut self, _exchange: &mut (), _event: Event<'_>, _cx: &mut Cx<'_>) -> Step {
        Step::proceed()
    }
}

proxy_wasm::main! {{
    enforcer_proxy::register::<Noop>();
}}
