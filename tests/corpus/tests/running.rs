//! An Envoy in front of some APIs, and what it is asked.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use enforcer_testbed::{Alg, Connection, EnvoyBinary, RawClient, Request, Response, World};
use serde_json::{Value, json};

use crate::{
    definition::{Call, Definition},
    gateway,
    real::Api,
};

const BACKEND: &str = "backend";
const ISSUER: &str = "issuer";
/// How long the access log may lag behind the last answer.
const LOG_LIMIT: Duration = Duration::from_secs(5);

/// Envoy with the configuration that the adapter makes, one backend for all APIs, one issuer.
pub(crate) struct Running {
    backend_path: &'static str,
    world: World,
    client: RawClient,
    connection: Option<Connection>,
    /// By scopes.
    tokens: BTreeMap<String, String>,
    /// In the order of the access log.
    made: Vec<Made>,
}

/// A call that was made.
struct Made {
    api: &'static str,
    base_path: &'static str,
    path: String,
    call: Call,
}

impl Running {
    pub(crate) fn start(
        backend_path: &'static str,
        apis: &[(&Api, Definition)],
        envoy: &EnvoyBinary,
    ) -> Self {
        let mut world = World::new().unwrap();
        let backend = world.backend(BACKEND).unwrap().address();
        let issuer = world.issuer(ISSUER).unwrap().url();
        // What a user would decide after the first run has named the schemes that are not verified yet.
        let schemes = apis.iter().flat_map(|(_, definition)| definition.other_schemes());
        let schemes: BTreeMap<&str, &str> = schemes.map(|name| (name, "jwt")).collect();
        let settings = json!({
            "listeners": [{"address": "127.0.0.1", "port": 0}],
            "issuers": [{"issuer": issuer}],
            "auth": {"schemes": schemes},
            "defaults": {
                "backend": format!("http://{backend}{backend_path}"),
                "modules": gateway::module(),
                "admin": {"port": 0},
            },
        });
        let folder = world.directory();
        let definitions = apis.iter().map(|(api, definition)| write(folder, api, definition)).collect();
        let settings_file = folder.join("enforcer.yaml");
        fs::write(&settings_file, settings.to_string()).unwrap();
        let config = gateway::build(definitions, settings_file);
        let running = world.start_envoy_with(&envoy.options(config)).unwrap();
        let client = running.client(gateway::LISTENER).unwrap();
        Self { backend_path, world, client, connection: None, tokens: BTreeMap::new(), made: Vec::new() }
    }

    /// Makes a call, and says where it arrived if that is the wrong place.
    pub(crate) fn make(&mut self, api: &Api, call: Call) -> Result<(), String> {
        let path = format!("{}{}", api.base_path, call.path);
        let mut request = Request::new(&call.method, &path);
        if let Some(scopes) = &call.scopes {
            request = request.bearer(self.token(&scopes.join(" ")));
        }
        if matches!(&*call.method, "POST" | "PUT" | "PATCH") {
            request = request.header("content-type", "application/json").body("{}");
        }
        let below = if self.backend_path.is_empty() { api.base_path } else { self.backend_path };
        let right = (call.method.clone(), format!("{below}{}", call.path));
        let about = format!("{} {}", call.method, call.template);
        self.made.push(Made { api: api.name, base_path: api.base_path, path, call });
        let answer = self.send(&request).map_err(|error| format!("{about}: {error}"))?;
        let backend = self.world.backend(BACKEND).unwrap();
        let received: Vec<(String, String)> =
            backend.received().into_iter().map(|one| (one.method, one.path)).collect();
        backend.clear();
        if answer.status != 200 {
            self.connection = None;
            return Err(format!("{about}: answered {}: {}", answer.status, answer.text()));
        }
        let envoys = |(name, _): (&[u8], &[u8])| name.starts_with(b"x-envoy-");
        match received.as_slice() {
            [one] if *one == right && answer.headers.iter().any(envoys) => {
                Err(format!("{about}: the client was told what Envoy knows: {:?}", answer.headers))
            }
            [one] if *one == right => Ok(()),
            other => Err(format!("{about}: the backend received {other:?}, not {right:?}")),
        }
    }

    fn send(&mut self, request: &Request) -> Result<Response, enforcer_testbed::Error> {
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => self.client.connect()?,
        };
        let answer = connection.send(request)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    fn token(&mut self, scopes: &str) -> &str {
        let issuer = self.world.issuer(ISSUER).unwrap();
        let sign = || issuer.token().alg(Alg::ES256).claim("scope", scopes).sign().unwrap();
        self.tokens.entry(scopes.to_owned()).or_insert_with(sign)
    }

    /// Calls that the auth filter took for another operation, as the identity in the access log shows.
    pub(crate) fn misread(&self) -> Vec<String> {
        let log = self.world.envoy().unwrap().access_log();
        let asked = Instant::now();
        while log.mark() < self.made.len() && asked.elapsed() < LOG_LIMIT {
            std::thread::sleep(Duration::from_millis(5));
        }
        let lines = log.since(0);
        assert_eq!(lines.len(), self.made.len(), "one line of access log for each call");
        self.made.iter().zip(&lines).filter_map(|(made, line)| made.differs(line)).collect()
    }
}

impl Made {
    fn differs(&self, line: &str) -> Option<String> {
        let Call { method, template, operation, scopes, .. } = &self.call;
        let identity = line.split_once(" 1{").map(|(_, json)| format!("{{{json}"));
        let identity: Value = identity.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        let is = |key: &str, value: &str| identity[key] == value;
        let same = line.contains(&format!("\"{method} {} ", self.path))
            && is("api", self.api)
            && is("operation", operation)
            && is("template", &format!("{}{template}", self.base_path))
            && identity["issuer"].is_string() == scopes.is_some();
        (!same).then(|| format!("{}: {method} {template}: {line}", self.api))
    }
}

/// The definition as a file for the adapter.
fn write(folder: &Path, api: &Api, definition: &Definition) -> PathBuf {
    let (extension, text) = if api.yaml {
        ("yaml", serde_saphyr::to_string(definition.root()).unwrap())
    } else {
        ("json", definition.root().to_string())
    };
    let path = folder.join(format!("{}.{extension}", api.name));
    fs::write(&path, text).unwrap();
    path
}
