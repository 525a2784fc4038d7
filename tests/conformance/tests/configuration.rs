//! A wrong configuration is refused, and the log says where it is wrong.

use enforcer_testbed::{EnvoyBinary, Error};
use serde_json::{Value, json};

use crate::world::{
    Plugin,
    envoy::{EnvoyHost, oldest},
    harness::HarnessHost,
};

/// A plugin, and what the log must say.
fn wrong() -> [(&'static str, Value, &'static str); 4] {
    [
        ("replace", json!({ "limit": "large" }), "limit"),
        ("replace", json!({ "limit": 1, "colour": "red" }), "colour"),
        ("counter", json!({ "colour": "red" }), "counter: configuration"),
        ("chain", json!([{ "limit": 1 }, { "colour": "red" }]), "[1]"),
    ]
}

#[test]
fn is_refused_by_the_harness() {
    for (root_id, configuration, place) in wrong() {
        let Err(error) = HarnessHost::start(&Plugin::filter(root_id, configuration)) else {
            panic!("{root_id} accepts a wrong configuration");
        };
        assert!(error.to_string().contains(place), "{error}");
    }
}

#[test]
fn is_refused_by_envoy() {
    if let Some(binary) = EnvoyBinary::find_or_skip().unwrap() {
        is_refused_by(&binary);
    }
}

#[test]
fn is_refused_by_the_oldest_envoy() {
    if let Some(binary) = oldest() {
        is_refused_by(&binary);
    }
}

fn is_refused_by(binary: &EnvoyBinary) {
    for (root_id, configuration, place) in wrong() {
        match EnvoyHost::wasm(binary, &Plugin::filter(root_id, configuration)) {
            Err(Error::Exited { log, .. }) => assert!(log.contains(place), "{log}"),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("{root_id} accepts a wrong configuration"),
        }
    }
}
