//! API definitions of any size, and what `enforcer build` makes of them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use enforcer_testbed::Certified;
use serde_json::{Map, Value, json};

use crate::Result;

/// `iss` of all tokens.
pub const ISSUER: &str = "https://idp.example.com/realms/shop";
/// What every operation asks for.
pub const SCOPE: &str = "shop:read";
/// Name of the listener that the adapter makes of port 0.
pub const LISTENER: &str = "enforcer_0";
const AUTH_FILTER: &str = "enforcer.auth";
/// Of paths that requests are made to, so that they are spread over all operations.
const MOST_PATHS: usize = 1_000;

/// How much is configured: so many APIs of so many operations.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub apis: usize,
    /// A list and its members, so an even number.
    pub operations: usize,
}

impl Size {
    fn resources(self) -> usize {
        self.operations / 2
    }

    /// Paths of operations, evenly spread.
    pub fn paths(self) -> Vec<String> {
        let all = (0..self.apis).flat_map(|api| {
            (0..self.resources()).flat_map(move |resource| {
                let list = format!("{}/resource{resource}", base_path(api));
                [format!("{list}/7f3a91c2"), list]
            })
        });
        let step = (self.apis.saturating_mul(self.operations) / MOST_PATHS).max(1);
        all.step_by(step).collect()
    }
}

fn base_path(api: usize) -> String {
    format!("/service{api}/v1")
}

/// The definition of one API.
fn definition(api: usize, resources: usize) -> Value {
    let operation = |id: String| json!({"operationId": id, "security": [{"oauth": [SCOPE]}]});
    let paths = (0..resources).flat_map(|resource| {
        let path = format!("/resource{resource}");
        [
            (format!("{path}/{{id}}"), json!({"get": operation(format!("get{resource}"))})),
            (path, json!({"get": operation(format!("list{resource}"))})),
        ]
    });
    json!({
        "openapi": "3.1.0",
        "info": {"title": format!("Service {api}"), "version": "v1"},
        "servers": [{"url": base_path(api)}],
        "components": {"securitySchemes": {"oauth": {"type": "oauth2", "flows": {}}}},
        "paths": paths.collect::<Map<_, _>>(),
    })
}

/// The adapter, and what stands around the gateways that it makes.
#[derive(Debug)]
pub struct Adapter {
    /// The `enforcer` command.
    pub enforcer: PathBuf,
    /// auth.wasm
    pub module: PathBuf,
    pub backend: SocketAddr,
    /// For definitions and settings.
    pub folder: PathBuf,
}

impl Adapter {
    /// The bootstrap that `enforcer build -t envoy` writes for definitions of this size.
    pub fn build(&self, size: Size, keys: &Value) -> Result<Value> {
        let folder = self.folder.join(format!("{}x{}", size.apis, size.operations));
        fs::create_dir_all(&folder)?;
        let write = |name: &str, content: &Value| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, content.to_string())?;
            Ok(path)
        };
        let settings = json!({
            "listeners": [{"address": "127.0.0.1", "port": 0}],
            "issuers": [{"issuer": ISSUER, "jwks": write("keys.json", keys)?}],
            "defaults": {
                "backend": format!("http://{}", self.backend),
                "modules": self.module,
                "admin": {"port": 0},
                "access_log": "none",
            },
        });
        let settings = write("enforcer.yaml", &settings)?;
        let definitions: Vec<PathBuf> = (0..size.apis)
            .map(|api| write(&format!("service{api}.json"), &definition(api, size.resources())))
            .collect::<Result<_>>()?;
        self.run(&definitions, &settings, &folder)?;
        Ok(serde_saphyr::from_str(&fs::read_to_string(folder.join("envoy.yaml"))?)?)
    }

    /// `enforcer build`, which writes envoy.yaml into the folder.
    pub fn run(&self, definitions: &[PathBuf], settings: &Path, folder: &Path) -> Result<()> {
        let mut command = Command::new(&self.enforcer);
        command
            .arg("build")
            .args(definitions)
            .arg("-c")
            .arg(settings)
            .args(["-t", "envoy", "-o"])
            .arg(folder);
        let output = command.stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
    }
}

/// The HTTP filters of a bootstrap.
fn filters(bootstrap: &mut Value) -> Result<&mut Vec<Value>> {
    const PATH: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
    let filters = bootstrap.pointer_mut(PATH).and_then(Value::as_array_mut);
    filters.ok_or_else(|| "the adapter's bootstrap has no HTTP filters".into())
}

/// The same bootstrap with other filters in place of the auth filter.
pub fn with_filters(bootstrap: &Value, others: impl IntoIterator<Item = Value>) -> Result<Value> {
    let mut bootstrap = bootstrap.clone();
    let filters = filters(&mut bootstrap)?;
    let auth = filters.iter().position(|filter| filter["name"] == AUTH_FILTER);
    let auth = auth.ok_or("the adapter's bootstrap has no auth filter")?;
    filters.splice(auth..=auth, others);
    Ok(bootstrap)
}

/// The configuration of the auth filter, as Envoy hands it to the module.
pub fn auth_configuration(bootstrap: &Value) -> Result<Value> {
    let mut bootstrap = bootstrap.clone();
    let filter = filters(&mut bootstrap)?.iter().find(|filter| filter["name"] == AUTH_FILTER);
    let text = filter.and_then(|filter| filter.pointer("/typed_config/config/configuration/value")?.as_str());
    Ok(serde_json::from_str(text.ok_or("the auth filter has no configuration")?)?)
}

/// The same bootstrap with fields of the auth filter's configuration set.
pub fn with_auth(bootstrap: &Value, set: &Value) -> Result<Value> {
    let mut configuration = auth_configuration(bootstrap)?;
    if let (Some(fields), Some(set)) = (configuration.as_object_mut(), set.as_object()) {
        fields.extend(set.clone());
    }
    let mut bootstrap = bootstrap.clone();
    for filter in filters(&mut bootstrap)? {
        if filter["name"] == AUTH_FILTER
            && let Some(value) = filter.pointer_mut("/typed_config/config/configuration/value")
        {
            *value = configuration.to_string().into();
        }
    }
    Ok(bootstrap)
}

/// The same bootstrap with further clusters.
pub fn with_clusters(bootstrap: &Value, more: impl IntoIterator<Item = Value>) -> Result<Value> {
    let mut bootstrap = bootstrap.clone();
    let clusters = bootstrap.pointer_mut("/static_resources/clusters").and_then(Value::as_array_mut);
    clusters.ok_or("the adapter's bootstrap has no clusters")?.extend(more);
    Ok(bootstrap)
}

/// A cluster of one server.
pub fn cluster(name: &str, address: SocketAddr, http2: bool) -> Value {
    let protocol = if http2 { "http2_protocol_options" } else { "http_protocol_options" };
    let socket = json!({"address": address.ip().to_string(), "port_value": address.port()});
    let endpoint = json!({"endpoint": {"address": {"socket_address": socket}}});
    json!({
        "name": name,
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {protocol: {}},
        }},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    })
}

/// The same bootstrap with a listener that asks clients for a certificate and takes any: what that is worth is for the
/// filter to say.
pub fn with_tls(bootstrap: &Value, server: &Certified) -> Result<Value> {
    let mut bootstrap = bootstrap.clone();
    let chain = bootstrap.pointer_mut("/static_resources/listeners/0/filter_chains/0");
    let chain = chain.and_then(Value::as_object_mut).ok_or("the adapter's bootstrap has no listener")?;
    let socket = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "tls_certificates": [{
                    "certificate_chain": {"inline_string": server.pem()},
                    "private_key": {"inline_string": server.key_pem()},
                }],
                "validation_context": {"trust_chain_verification": "ACCEPT_UNTRUSTED"},
            },
        },
    });
    chain.insert("transport_socket".to_owned(), socket);
    Ok(bootstrap)
}

/// The same bootstrap with an access log.
pub fn with_access_log(bootstrap: &Value, log: &Value) -> Result<Value> {
    const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let mut bootstrap = bootstrap.clone();
    let manager = bootstrap.pointer_mut(MANAGER).and_then(Value::as_object_mut);
    let manager = manager.ok_or("the adapter's bootstrap has no connection manager")?;
    manager.insert("access_log".to_owned(), json!([log]));
    Ok(bootstrap)
}
