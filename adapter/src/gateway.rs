//! Definitions and settings put together: everything that the outputs are made from.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use enforcer_analytics::{Analytics, config::AnalyticsConfig};
use enforcer_auth::config::{AuthConfig, Clusters};
use enforcer_core::filter::{Capabilities, Filter as _};
use enforcer_ratelimit::config::RateLimitConfig;
use serde::Deserialize as _;
use serde_json::json;

use crate::{
    analytics, auth, certificates,
    diagnostic::{Diagnostic, Diagnostics},
    endpoints, envoy, fetch, gates, imports, issuers, keys, limits,
    model::{Api, ApiModel, Backend, KeyTypes, slug},
    openapi, passwords,
    settings::{self, Settings},
    source::{Source, View, parse},
    url::{Scheme, Url},
};

/// What to build from.
#[derive(Debug, Clone)]
pub struct Input {
    /// API definitions.
    pub definitions: Vec<PathBuf>,
    /// `enforcer.yaml`; `None`: no settings.
    pub settings: Option<PathBuf>,
    /// Accept issuers whose keys `enforcer token` made.
    pub development: bool,
    /// Outputs route requests; without it, definitions need not say where their backend is.
    pub routed: bool,
    /// Ask issuers where their keys are; `check` without network does not.
    pub online: bool,
}

/// The cluster of `defaults.backend`.
const SHARED_BACKEND: &str = "enforcer_backend";

/// A gateway, ready to be written down in any output's form.
#[derive(Debug)]
pub struct Gateway {
    pub model: ApiModel,
    pub settings: Settings,
    /// The auth filter's configuration.
    pub auth: AuthConfig,
    /// The rate limit filter's configuration, where anything is limited.
    pub ratelimit: Option<RateLimitConfig>,
    /// What Envoy's own filter limits, in its place.
    pub native_limits: Option<RateLimitConfig>,
    /// The analytics filter's configuration, if there is to be one.
    pub analytics: Option<AnalyticsConfig>,
    /// Servers that hold issuers' keys, each with the cluster that reaches it.
    pub key_servers: Vec<(String, Url)>,
    /// Servers that take events, likewise.
    pub event_servers: Vec<(String, Url)>,
    /// The server that counts for several Envoys, likewise. It speaks gRPC.
    pub limit_server: Option<(String, Url)>,
    /// The APIs' clusters, in the order of the model. APIs on one server can have one in common.
    pub backends: Vec<(String, Backend)>,
    /// The clusters of their sandboxes, in the same order.
    pub sandboxes: Vec<Option<(String, Backend)>>,
    /// The bundle of roots for https, as Envoy sees it.
    pub ca_file: String,
    /// Every file that was read.
    pub files: BTreeSet<PathBuf>,
}

impl Gateway {
    /// Reads everything, reporting all that is wrong with it.
    pub fn load(input: &Input, findings: &mut Diagnostics) -> Option<Self> {
        let document = match &input.settings {
            Some(path) => findings.take(Source::read(path).and_then(|source| parse(&source)))?,
            None => findings.take(parse(&Source::new("enforcer.yaml", "")))?,
        };
        let mut settings = settings::settings(&document, findings)?;
        let backend = default_backend(&settings, document.view(), findings);
        let folder = input.settings.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let list = document.view().descend(["limits", "imports"]);
        for (name, tier) in imports::tiers(&settings.limits.imports, folder, list, findings) {
            settings.tiers.entry(name).or_insert(tier);
        }
        let mut files: BTreeSet<PathBuf> =
            input.settings.iter().filter_map(|path| path.canonicalize().ok()).collect();
        let context =
            openapi::Context { settings: &settings, backend: backend.as_ref(), routed: input.routed };
        let mut apis = Vec::new();
        for path in &input.definitions {
            if let Some((api, library)) = openapi::read(path, context, findings) {
                files.extend(library.paths().map(Path::to_owned));
                apis.push(api);
            } else {
                files.extend(path.canonicalize());
            }
        }
        apis.extend(endpoints::apis(&settings, document.view(), findings));
        apis.sort_by(|a, b| (&a.name, &a.version, &a.base_path).cmp(&(&b.name, &b.version, &b.base_path)));
        distinct_locations(&apis, findings);
        known_names(&settings, &apis, document.view(), findings);
        files.extend(settings.limits.imports.iter().filter_map(|file| folder.join(file).canonicalize().ok()));
        let key_files = settings.all_issuers().filter_map(|issuer| issuers::key_file(issuer, folder));
        files.extend(key_files.filter_map(|path| path.canonicalize().ok()));
        let certificates = certificates::files(&settings, folder);
        files.extend(certificates.filter_map(|path| path.canonicalize().ok()));
        files.extend(passwords::file(&settings, folder).and_then(|path| path.canonicalize().ok()));
        let key_files = gates::files(&settings.auth, folder);
        files.extend(key_files.into_iter().filter_map(|path| path.canonicalize().ok()));
        let mut gateway = Self {
            backends: Vec::new(),
            sandboxes: Vec::new(),
            model: ApiModel { apis },
            auth: AuthConfig::deserialize(json!({"issuers": []})).ok()?,
            ratelimit: None,
            native_limits: None,
            analytics: None,
            key_servers: Vec::new(),
            event_servers: Vec::new(),
            limit_server: None,
            ca_file: settings
                .defaults
                .ca_file
                .clone()
                .or_else(|| fetch::system_ca_file().map(str::to_owned))
                .unwrap_or_default(),
            settings,
            files,
        };
        gateway.name_backends();
        let ca_file = gateway.settings.defaults.ca_file.clone();
        let plain_http = gateway.settings.auth.plain_http.clone();
        let context = issuers::Context {
            list: document.view().descend(["issuers"]),
            folder,
            ca_file: ca_file.as_deref(),
            development: input.development,
            online: input.online,
            plain_http: &plain_http,
        };
        gateway.find_keys(document.view(), context, findings);
        let basic = passwords::resolve(&gateway.settings, &gateway.model, folder, document.view(), findings);
        gateway.auth.basic = basic;
        let known =
            certificates::resolve(&gateway.settings, &gateway.model, folder, document.view(), findings);
        gateway.auth.client_certificates = known;
        auth::configure(&mut gateway.auth, &gateway.model, &gateway.settings, document.view(), findings);
        if input.routed {
            gateway.choose_clusters();
        }
        if !findings.failed() && gateway.auth.issuers.len() == gateway.settings.issuers.len() {
            auth::check(&gateway.auth, &gateway.model, document.view(), findings);
        }
        gateway.configure_limits(document.view(), findings);
        gateway.configure_analytics(document.view(), findings);
        (!findings.failed()).then_some(gateway)
    }

    /// What an output needs that only this machine can tell.
    pub fn check_surroundings(&self) -> Result<(), Diagnostic> {
        let modules = envoy::modules(self);
        let missing = modules.iter().find(|module| !Path::new(module).is_file());
        if let Some(module) = missing.filter(|_| self.settings.defaults.modules.is_none()) {
            return Err(Diagnostic::environment(format!("there is no `{module}`")).help(
                "say where Envoy finds the filters, in enforcer.yaml: `defaults: {modules: /usr/lib/enforcer}`",
            ));
        }
        let mut servers = self
            .all_backends()
            .flat_map(|(_, backend)| &backend.servers)
            .chain(self.services().map(|(_, url)| url));
        match servers.find(|server| server.scheme == Scheme::Https) {
            Some(server) if self.ca_file.is_empty() => Err(Diagnostic::environment(format!(
                "`{}` cannot be verified: this system keeps no bundle of CA certificates in a usual place",
                server.origin()
            ))
            .help("name it in enforcer.yaml, as Envoy sees it: `defaults: {ca_file: /etc/ssl/certs/ca-certificates.crt}`")),
            _ => Ok(()),
        }
    }

    /// Backends and sandboxes, each with its cluster.
    pub fn all_backends(&self) -> impl Iterator<Item = &(String, Backend)> {
        self.backends.iter().chain(self.sandboxes.iter().flatten())
    }

    /// Servers that the filters call, each with the cluster that reaches it.
    pub fn services(&self) -> impl Iterator<Item = &(String, Url)> {
        self.key_servers.iter().chain(&self.event_servers).chain(&self.limit_server)
    }

    /// A module, by the name of its file without `.wasm`, as Envoy sees it.
    pub fn module(&self, name: &str) -> String {
        module(self.settings.defaults.modules.as_deref(), name)
    }

    /// One line for each API: what it is, where it lives, where its requests go.
    pub fn summary(&self) -> Vec<String> {
        let line = |api: &Api| {
            let count = api.operations.len();
            let host = api.hosts.first().map_or("*", String::as_str);
            let servers: Vec<String> = api.backend.servers.iter().map(ToString::to_string).collect();
            let arrow = if servers.is_empty() { "" } else { " -> " };
            let noun = if count == 1 { "operation" } else { "operations" };
            format!(
                "{} {}: {count} {noun} at {host}{}{arrow}{}",
                api.name,
                api.version,
                api.base_path,
                servers.join(", ")
            )
        };
        self.model.apis.iter().map(line).collect()
    }

    /// Cluster names follow the APIs, not their addresses: when a server moves, Envoy then warms up the new
    /// address of a cluster that it knows, and no request fails in between. `defaults.backend` is the server of all
    /// APIs: they share its cluster, and so its connections.
    fn name_backends(&mut self) {
        let mut taken = BTreeSet::new();
        for api in &self.model.apis {
            let name = match self.settings.defaults.backend.is_some() && !api.is_endpoint {
                true => SHARED_BACKEND.to_owned(),
                false => cluster_name("api", &format!("{} {}", api.name, api.version), &mut taken),
            };
            self.backends.push((name, api.backend.clone()));
            let about = format!("{} {}", api.name, api.version);
            self.sandboxes.push(match &api.key_types {
                KeyTypes::Both(sandbox) => {
                    Some((cluster_name("sandbox", &about, &mut taken), sandbox.clone()))
                }
                KeyTypes::All | KeyTypes::Production | KeyTypes::Sandbox => None,
            });
        }
    }

    /// Where requests go is ours to say: the filter picks the cluster by the type of key.
    fn choose_clusters(&mut self) {
        let clusters = (0..self.model.apis.len()).map(|index| self.key_clusters(index)).collect::<Vec<_>>();
        for (api, clusters) in self.auth.apis.iter_mut().zip(clusters) {
            api.clusters = clusters;
        }
    }

    /// The clusters of an API by the type of key.
    fn key_clusters(&self, index: usize) -> Option<Clusters> {
        let api = self.model.apis.get(index)?;
        let (own, _) = self.backends.get(index)?;
        let sandbox = self.sandboxes.get(index)?.as_ref().map(|(name, _)| name.clone());
        match api.key_types {
            KeyTypes::All => None,
            KeyTypes::Production | KeyTypes::Both(_) => {
                Some(Clusters { production: Some(own.clone()), sandbox })
            }
            KeyTypes::Sandbox => Some(Clusters { production: None, sandbox: Some(own.clone()) }),
        }
    }

    fn find_keys(&mut self, file: View<'_>, context: issuers::Context<'_>, findings: &mut Diagnostics) {
        let mut taken = BTreeSet::new();
        let servers = &mut self.key_servers;
        // Issuers on one server share its cluster.
        let mut cluster = |url: &Url| {
            let same = |other: &Url| other.origin() == url.origin();
            if let Some((name, _)) = servers.iter().find(|(_, other)| same(other)) {
                return name.clone();
            }
            let name = cluster_name("issuer", &url.host.to_string(), &mut taken);
            servers.push((name.clone(), url.clone()));
            name
        };
        self.auth.issuers = issuers::resolve(&self.settings.issuers, context, &mut cluster, findings);
        if let Some(keys) = &self.settings.keys {
            let context = issuers::Context { list: file.descend(["keys", "issuers"]), ..context };
            let signed = issuers::resolve(&keys.issuers, context, &mut cluster, findings);
            self.auth.api_keys =
                keys::resolve((keys, signed), &self.model, file, context.plain_http, &mut cluster, findings);
        }
        gates::resolve(&self.settings.auth, &mut self.auth, file, context.folder, &mut cluster, findings);
    }

    fn configure_limits(&mut self, file: View<'_>, findings: &mut Diagnostics) {
        let server = &mut self.limit_server;
        let mut cluster = |url: &Url| {
            let name = cluster_name("limits", &url.host.to_string(), &mut BTreeSet::new());
            *server = Some((name.clone(), url.clone()));
            name
        };
        let limits = limits::configure(&self.model, &self.settings, file, &mut cluster, findings);
        if self.settings.limits.native {
            self.auth.publish = limits.as_ref().map(envoy::native::published).unwrap_or_default();
            self.native_limits = limits;
        } else {
            self.ratelimit = limits;
        }
    }

    fn configure_analytics(&mut self, file: View<'_>, findings: &mut Diagnostics) {
        let Some(settings) = &self.settings.analytics else { return };
        let mut taken = BTreeSet::new();
        let servers = &mut self.event_servers;
        let mut cluster = |url: &Url| {
            if let Some((name, _)) = servers.iter().find(|(_, other)| other.origin() == url.origin()) {
                return name.clone();
            }
            let name = cluster_name("events", &url.host.to_string(), &mut taken);
            servers.push((name.clone(), url.clone()));
            name
        };
        let config = match analytics::configure(settings, file, &mut cluster) {
            Ok(config) => config,
            Err(problems) => return problems.into_iter().for_each(|problem| findings.push(problem)),
        };
        let config = AnalyticsConfig { apis: self.model.apis.iter().map(analytics::api).collect(), ..config };
        // What is wrong with the APIs has been said for the auth filter.
        let alone = AnalyticsConfig { apis: Vec::new(), ..config.clone() };
        if let Err(error) = Analytics::new(alone, Capabilities::default()) {
            let steps: Vec<&str> =
                error.path.split(['.', '[', ']']).filter(|step| !step.is_empty()).collect();
            let place = file.descend(["analytics"].into_iter().chain(steps)).place();
            findings.push(
                Diagnostic::error(format!("the analytics filter refuses this: {error}"))
                    .at(place)
                    .help("correct the value that is named"),
            );
        }
        self.analytics = Some(config);
    }
}

/// `defaults.modules` names the modules' folder or one of them, which the others lie beside; without it, they lie
/// beside the command. One that is named is taken for the first filter, whatever its file is called.
fn module(modules: Option<&str>, name: &str) -> String {
    let file = format!("{name}.wasm");
    match modules {
        Some(path) if path.ends_with(".wasm") && name == envoy::AUTH_MODULE => path.to_owned(),
        Some(path) if path.ends_with(".wasm") => Path::new(path).with_file_name(file).display().to_string(),
        Some(folder) => format!("{}/{file}", folder.trim_end_matches('/')),
        None => {
            let beside = std::env::current_exe().ok().map(|command| command.with_file_name(&file));
            beside.map_or(file, |path| path.display().to_string())
        }
    }
}

fn default_backend(settings: &Settings, file: View<'_>, findings: &mut Diagnostics) -> Option<Url> {
    let text = settings.defaults.backend.as_deref()?;
    findings.take(Url::parse(text).map_err(|problem| {
        Diagnostic::error(format!("the backend `{text}` {problem}"))
            .at(file.descend(["defaults", "backend"]).place())
            .help("write it as `http://localhost:3000`")
    }))
}

/// Two APIs at the same place: Envoy would send everything to the first.
fn distinct_locations(apis: &[Api], findings: &mut Diagnostics) {
    for (index, api) in apis.iter().enumerate() {
        let same = |other: &&Api| other.base_path == api.base_path && other.hosts == api.hosts;
        if let Some(other) = apis.iter().take(index).find(same) {
            let host = api.hosts.first().map_or("any host", String::as_str);
            findings.push(
                Diagnostic::error(format!(
                    "this API and that of {} both live at `{}` on {host}",
                    other.place, api.base_path
                ))
                .at(api.place.clone())
                .help("give one of them another base path: `x-wso2-basePath: /somewhere/else`"),
            );
        }
    }
}

/// A scheme that is decided upon and defined nowhere is a misspelt one, and so is an API.
fn known_names(settings: &Settings, apis: &[Api], file: View<'_>, findings: &mut Diagnostics) {
    // A definition that could not be read may have defined it.
    if findings.failed() {
        return;
    }
    for name in settings.auth.schemes.keys() {
        if !apis.iter().any(|api| api.schemes.contains(name)) {
            findings.push(
                Diagnostic::warning(format!("no definition has a security scheme `{name}`"))
                    .at(file.descend(["auth", "schemes", name.as_str()]).key_place())
                    .help("remove it, or write it as the definition does"),
            );
        }
    }
    let mut known = |name: &str, place| {
        if !apis.iter().any(|api| api.name == name) {
            let names: Vec<String> = apis.iter().map(|api| format!("`{}`", api.name)).collect();
            findings.push(
                Diagnostic::error(format!("there is no API `{name}`"))
                    .at(place)
                    .help(format!("the names are those that `enforcer check` prints: {}", names.join(", "))),
            );
        }
    };
    for name in settings.auth.life_cycles.keys() {
        known(name, file.descend(["auth", "life_cycles", name.as_str()]).key_place());
    }
    for (index, name) in settings.auth.opa.iter().flat_map(|opa| &opa.apis).enumerate() {
        known(name, file.descend(["auth", "opa", "apis", &index.to_string()]).place());
    }
    for (index, name) in settings.auth.xacml.iter().flat_map(|xacml| &xacml.apis).enumerate() {
        known(name, file.descend(["auth", "xacml", "apis", &index.to_string()]).place());
    }
    let sampled = settings.analytics.iter().flat_map(|analytics| &analytics.sampling.apis);
    for (index, rate) in sampled.enumerate() {
        known(&rate.api, file.descend(["analytics", "sampling", "apis", &index.to_string(), "api"]).place());
    }
}

/// `enforcer_api_petstore_1-0`: prefixed, so that it cannot be a cluster of the user's own; without dots, which
/// separate the parts of Envoy's statistics; and with a number when it is taken.
fn cluster_name(kind: &str, about: &str, taken: &mut BTreeSet<String>) -> String {
    let words: Vec<String> = about.split(' ').map(slug).filter(|word| !word.is_empty()).collect();
    let plain: String = words.join("_").chars().map(|c| if c.is_ascii() { c } else { '-' }).collect();
    let name = format!("enforcer_{kind}_{plain}");
    let numbered = (2_u32..).map(|number| format!("{name}_{number}"));
    let free = [name.clone()].into_iter().chain(numbered).find(|name| !taken.contains(name)).unwrap_or(name);
    taken.insert(free.clone());
    free
}
