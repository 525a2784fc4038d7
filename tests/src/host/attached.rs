//! Somebody else's Envoy with the filter attached: `envoy-examples/existing-envoy`, after `enforcer attach`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use enforcer_adapter::attach;
use enforcer_adapter::diagnostic::Diagnostics;
use enforcer_adapter::gateway::{Gateway, Input};
use enforcer_adapter::source::{Source, parse};
use serde_json::{Value, json};

use super::bootstrap::{access_log, protocol, tls};
use super::{BACKEND, Plugin, Scene};
use crate::Error;

/// The listener of the example that the filter is attached to.
pub(super) const LISTENER: &str = "public";

/// What `attach` calls the cluster of an issuer's keys begins so.
const ISSUER: &str = "enforcer_issuer_";

/// The cluster of the example that its routes lead to.
const PETS: &str = "pets";

const MANAGER: &str = "/filter_chains/0/filters/0/typed_config";

/// The example's configuration with the filter in it, as `enforcer attach` writes it.
#[derive(Clone, Debug)]
pub(super) struct Attached(Value);

impl Attached {
    /// Runs `enforcer attach` on the example as its README does.
    pub(super) fn new() -> Result<Self, Error> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-examples/existing-envoy");
        let file = |name: &str| -> PathBuf { folder.join(name) };
        let input = Input {
            definitions: vec![file("petstore.yaml")],
            settings: Some(file("enforcer.yaml")),
            development: false,
            routed: false,
            online: false,
        };
        let mut findings = Diagnostics::default();
        let gateway = Gateway::load(&input, &mut findings);
        let mut text = None;
        if let (Some(gateway), Some(envoy)) = (gateway, findings.take(Source::read(&file("envoy.yaml")))) {
            let outcome = findings.take(attach::attach(&envoy, gateway, &[LISTENER.to_owned()]));
            text = outcome.map(|outcome| Source::new(envoy.name(), outcome.text));
        }
        let document = text.and_then(|text| findings.take(parse(&text)));
        let failed = || {
            let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
            Error::Case(format!("`enforcer attach` fails on the example: {}", findings.join("; ")))
        };
        document.map(|document| Self(document.root.to_json())).ok_or_else(failed)
    }

    /// The same with what a case is about: the configuration of the filter, and where the servers are. The rest
    /// stays somebody else's, but for the ports and for an access log, which shows what cases look at.
    pub(super) fn bootstrap(
        &self,
        scene: &Scene,
        services: &BTreeMap<String, SocketAddr>,
    ) -> Result<Value, Error> {
        let mut bootstrap = self.0.clone();
        for listener in items(&mut bootstrap, "/static_resources/listeners")? {
            *part(listener, "/address/socket_address/port_value")? = json!(0);
            if listener.get("name") == Some(&json!(LISTENER)) {
                let manager = part(listener, MANAGER)?;
                put(manager, "access_log", json!([access_log()]));
                put(manager, "forward_client_cert_details", json!("ALWAYS_FORWARD_ONLY"));
                replace(manager, &scene.plugins)?;
                if scene.tls {
                    put(part(listener, "/filter_chains/0")?, "transport_socket", tls()?);
                }
            }
        }
        let clusters = items(&mut bootstrap, "/static_resources/clusters")?;
        let keys = clusters.iter().position(is_attached);
        let keys = keys.map(|index| clusters.remove(index)).ok_or_else(|| missing("cluster of an issuer"))?;
        for (name, address) in services {
            if name == BACKEND {
                let is_pets = |cluster: &&mut Value| cluster.get("name") == Some(&json!(PETS));
                let pets = clusters.iter_mut().find(is_pets).ok_or_else(|| missing("cluster `pets`"))?;
                point(pets, *address)?;
            } else {
                let mut cluster = keys.clone();
                put(&mut cluster, "name", json!(name));
                *part(&mut cluster, "/load_assignment/cluster_name")? = json!(name);
                point(&mut cluster, *address)?;
                if scene.speaks_grpc(name) {
                    put(&mut cluster, "typed_extension_protocol_options", protocol(true));
                }
                clusters.push(cluster);
            }
        }
        Ok(bootstrap)
    }
}

/// Puts the filters of a case in the place of the attached one.
fn replace(manager: &mut Value, plugins: &[Plugin]) -> Result<(), Error> {
    let is_ours = |filter: &Value| {
        filter.get("name").and_then(Value::as_str).is_some_and(|name| name.starts_with("enforcer.attached."))
    };
    let filters = items(manager, "/http_filters")?;
    let place = filters.iter().position(is_ours).ok_or_else(|| missing("filter"))?;
    let attached = filters.remove(place);
    let ours = plugins.iter().map(|plugin| configured(attached.clone(), plugin));
    filters.splice(place..place, ours.collect::<Result<Vec<_>, _>>()?);
    Ok(())
}

fn configured(mut filter: Value, plugin: &Plugin) -> Result<Value, Error> {
    let config = part(&mut filter, "/typed_config/config")?;
    *part(config, "/root_id")? = json!(plugin.root_id);
    *part(config, "/configuration/value")? = json!(plugin.configuration.to_string());
    *part(config, "/vm_config/code/local/filename")? = json!(plugin.wasm);
    Ok(filter)
}

fn is_attached(cluster: &Value) -> bool {
    let name = cluster.get("name").and_then(Value::as_str).unwrap_or_default();
    name.starts_with(ISSUER) && cluster.pointer("/metadata/filter_metadata/enforcer").is_some()
}

fn point(cluster: &mut Value, address: SocketAddr) -> Result<(), Error> {
    let socket =
        part(cluster, "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address")?;
    *socket = json!({ "address": address.ip().to_string(), "port_value": address.port() });
    Ok(())
}

pub(super) fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn part<'a>(value: &'a mut Value, pointer: &str) -> Result<&'a mut Value, Error> {
    value.pointer_mut(pointer).ok_or_else(|| missing(pointer))
}

fn items<'a>(value: &'a mut Value, pointer: &str) -> Result<&'a mut Vec<Value>, Error> {
    part(value, pointer)?.as_array_mut().ok_or_else(|| missing(pointer))
}

fn missing(what: &str) -> Error {
    Error::Case(format!("envoy-examples/existing-envoy has no `{what}` where it is expected"))
}
