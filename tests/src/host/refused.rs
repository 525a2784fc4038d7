//! Many configurations that one Envoy is to refuse.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::attached::put;
use super::bootstrap::{cluster, listener, router, wasm_filter};
use super::{BACKEND, Scene};
use crate::Error;

const ACCEPTED: &str = "accepted";

/// An Envoy that reads its listeners from a file, which is written: the accepted one first, and one for each scene.
pub(super) fn bootstrap(accepted: &Scene, scenes: &[Scene], file: &Path) -> Result<Value, Error> {
    let first = std::iter::once((ACCEPTED.to_owned(), accepted));
    let others = scenes.iter().enumerate().map(|(index, scene)| (name(index), scene));
    let listeners: Vec<Value> = first.chain(others).map(|(name, scene)| named(&name, scene)).collect();
    std::fs::write(file, json!({ "resources": listeners }).to_string())
        .map_err(|error| Error::Case(format!("write `{}`: {error}", file.display())))?;
    Ok(json!({
        "node": { "id": "cases", "cluster": "cases" },
        "dynamic_resources": { "lds_config": {
            "resource_api_version": "V3",
            "path_config_source": { "path": file },
        } },
        "static_resources": { "clusters": clusters(accepted, scenes) },
    }))
}

/// What the log says of each scene. Listeners are taken in their order, and Envoy names the plugin last.
pub(super) fn logs(lines: &[String], scenes: usize) -> Result<Vec<Option<String>>, Error> {
    let failed = |name: &str| format!("Plugin {name} failed to load");
    if let Some(line) = lines.iter().find(|line| line.contains(&failed(ACCEPTED))) {
        return Err(Error::Case(format!("the file's own configuration is refused: {line}")));
    }
    let mut rest = lines;
    let logs = (0..scenes).map(|index| {
        let end = rest.iter().position(|line| line.ends_with(&failed(&name(index))))?;
        let (own, after) = rest.split_at(end);
        rest = after;
        Some(own.join("\n"))
    });
    Ok(logs.collect())
}

fn name(index: usize) -> String {
    format!("scene-{index}")
}

fn named(name: &str, scene: &Scene) -> Value {
    let filters = scene.plugins.iter().map(|plugin| wasm_filter(name, plugin));
    let mut listener = listener(name, &filters.chain([router()]).collect::<Vec<_>>());
    put(&mut listener, "@type", json!("type.googleapis.com/envoy.config.listener.v3.Listener"));
    listener
}

fn clusters(accepted: &Scene, scenes: &[Scene]) -> Vec<Value> {
    // Nothing is sent: any address will do.
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let scenes = std::iter::once(accepted).chain(scenes);
    let named = scenes.flat_map(|scene| scene.services.keys().map(String::as_str)).chain([BACKEND]);
    let clusters: BTreeMap<&str, Value> = named.map(|name| (name, cluster(name, nowhere, false))).collect();
    clusters.into_values().collect()
}
