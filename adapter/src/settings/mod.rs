//! `enforcer.yaml`: what an API definition does not say.

mod analytics;
mod auth;
mod check;
mod gates;
mod issuers;
mod kgateway;
mod limits;
mod read;

pub use analytics::{Analytics, Collector, Sink};
pub use auth::{Auth, Basic, ClientCertificates, Keys, KnownCertificate, Need, ScopeRule};
pub use check::check;
pub(crate) use check::check_cors;
pub use gates::{
    ApplicationList, BackendToken, Document, Opa, Revocation, RevocationList, SigningKey, Subscriptions,
    Xacml,
};
pub use issuers::{Endpoints, Introspection, Issuer};
pub use kgateway::{Attach, GatewayRef, Kgateway};
pub use limits::{LimitService, Limits};
pub(crate) use read::read_value;
pub use read::settings;

use std::collections::BTreeMap;

use enforcer_core::{mode::Mode, units::Span};
use enforcer_ratelimit::config::Tier;
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the gateway. Every key may be left out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `issuers: [...]`")]
pub struct Settings {
    /// Where the gateway listens. Absent: plain HTTP on `0.0.0.0:8080`.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// Who may issue tokens.
    #[serde(default)]
    pub issuers: Vec<Issuer>,
    /// How callers are authenticated.
    #[serde(default)]
    pub auth: Auth,
    /// Which API keys there are. Where they are in a request, the definitions' `apiKey` schemes say.
    #[serde(default)]
    pub keys: Option<Keys>,
    /// Which web pages of other origins may call. An API's own `x-wso2-cors` goes before it.
    #[serde(default)]
    pub cors: Option<Cors>,
    /// Allowances by name, beside WSO2's own.
    #[serde(default)]
    pub tiers: BTreeMap<String, Tier>,
    /// Who may call how often, beside the tiers that definitions name.
    #[serde(default)]
    pub limits: Limits,
    /// What is told of calls, and to whom. Absent: nothing but Envoy's own log and statistics.
    #[serde(default)]
    pub analytics: Option<Analytics>,
    /// What only the target `kgateway` needs.
    #[serde(default)]
    pub kgateway: Option<Kgateway>,
    /// What holds for every API that does not say otherwise.
    #[serde(default)]
    pub defaults: Defaults,
    /// `shadow`: decide, count and log, but let everything through.
    #[serde(default)]
    pub mode: Mode,
}

impl Settings {
    /// Those who issue tokens, and those who sign API keys.
    pub fn all_issuers(&self) -> impl Iterator<Item = &Issuer> {
        self.issuers.iter().chain(self.keys.iter().flat_map(|keys| &keys.issuers))
    }
}

/// An address the gateway listens on.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{port: 8080}`")]
pub struct Listener {
    /// IP address. `0.0.0.0`: every IPv4 address of the machine; `::`: every address.
    #[serde(default = "any_address")]
    pub address: String,
    pub port: u16,
    /// Absent: plain HTTP.
    #[serde(default)]
    pub tls: Option<Tls>,
}

impl Default for Listener {
    fn default() -> Self {
        Self { address: any_address(), port: 8080, tls: None }
    }
}

fn any_address() -> String {
    "0.0.0.0".to_owned()
}

/// TLS of a listener. Files are named as Envoy sees them.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{certificate: tls.crt, key: tls.key}`")]
pub struct Tls {
    /// PEM file with the certificate and those that lead to its root.
    pub certificate: String,
    /// PEM file with the private key.
    pub key: String,
    /// PEM file with the roots that client certificates must lead to.
    #[serde(default)]
    pub client_ca: Option<String>,
    /// Whether a client must show a certificate. Absent: `require` when there is a `client_ca`.
    #[serde(default)]
    pub client_certificate: Option<ClientCertificate>,
}

/// What happens to a client without a certificate. A certificate that is shown is always verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificate {
    /// The connection is refused.
    Require,
    /// The connection is accepted.
    Accept,
}

/// Cross-origin calls, answered by Envoy's own `cors` filter.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping such as `{allow_origins: [\"https://app.example.com\"]}`"
)]
pub struct Cors {
    /// `https://app.example.com`, `https://*.example.com`, or `*`.
    pub allow_origins: Vec<String>,
    /// Methods that a preflight allows.
    #[serde(default = "usual_methods")]
    pub allow_methods: Vec<String>,
    /// Request headers that a preflight allows.
    #[serde(default = "usual_headers")]
    pub allow_headers: Vec<String>,
    /// Response headers that scripts may read.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// Cookies and client certificates may be sent along.
    #[serde(default)]
    pub allow_credentials: bool,
    /// How long a browser may remember a preflight.
    #[serde(default)]
    pub max_age: Option<Span>,
}

pub(crate) fn usual_methods() -> Vec<String> {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].map(str::to_owned).to_vec()
}

pub(crate) fn usual_headers() -> Vec<String> {
    ["authorization", "content-type"].map(str::to_owned).to_vec()
}

/// What holds for every API that does not say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{timeout: 30s}`")]
pub struct Defaults {
    /// Host name that the APIs answer to: exact, `*.example.com`, or `*`. Absent: any.
    #[serde(default)]
    pub host: Option<String>,
    /// Where all requests go, in place of the definitions' `servers`: `http://localhost:3000`.
    #[serde(default)]
    pub backend: Option<String>,
    /// How long a backend may take for its whole response. Absent: 60 s, as in Choreo Connect; `0s`: no limit.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// How long a connection to a backend or issuer may take. Absent: 5 s.
    #[serde(default)]
    pub connect_timeout: Option<Span>,
    /// PEM file with the roots that backends and issuers are verified against, as Envoy sees it. Absent: the
    /// bundle of the system that `enforcer` runs on.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// The folder that holds the filters' modules, as Envoy sees it, or one of the modules. Absent: beside `enforcer`.
    #[serde(default)]
    pub modules: Option<String>,
    /// Whether several filters are one module or one each.
    #[serde(default)]
    pub filters: Packing,
    /// Envoy's admin interface. Absent: `127.0.0.1:9901`.
    #[serde(default)]
    pub admin: Option<Admin>,
    /// Where access log lines go: a file, or `none`. Absent: standard output.
    #[serde(default)]
    pub access_log: Option<String>,
}

/// How several filters are put into Envoy. One alone is a module of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// All in `bundle.wasm`: less memory, and less time for each request.
    #[default]
    Bundle,
    /// One module each: a failure of one does not take the others along.
    Separate,
}

/// Envoy's admin interface. It can stop Envoy: keep it on loopback.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{port: 9901}`")]
pub struct Admin {
    #[serde(default = "loopback")]
    pub address: String,
    pub port: u16,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: loopback(), port: 9901 }
    }
}

fn loopback() -> String {
    "127.0.0.1".to_owned()
}
