//! `enforcer.yaml`: what an API definition does not say.

mod analytics;
mod check;
mod gates;
mod kgateway;
mod limits;
mod read;

pub use analytics::{Analytics, Collector, Sink};
pub use check::check;
pub(crate) use check::check_cors;
pub use gates::{
    ApplicationList, BackendToken, Document, Opa, Revocation, RevocationList, SigningKey, Subscriptions,
};
pub use kgateway::{GatewayRef, Kgateway};
pub use limits::{LimitService, Limits};
pub(crate) use read::read_value;
pub use read::settings;

use std::collections::BTreeMap;

use enforcer_auth::config::{
    Algorithm, ApiKey, CertificateSource, ClaimHeader, IntrospectionClient, LifeCycle, RequiredClaim,
    TokenSource, TokenType,
};
use enforcer_core::{
    fault::Dialect,
    mode::Mode,
    units::{ByteSize, Span},
};
use enforcer_ratelimit::config::Tier;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// An authorization server. `issuer` alone is enough for one that publishes its metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{issuer: https://idp.example.com}`")]
pub struct Issuer {
    /// The `iss` of its tokens, compared byte for byte.
    pub issuer: String,
    /// Its keys, as a JSON Web Key Set or in PEM: a URL, or a file whose content goes into the configuration.
    /// Absent: found at build time through `/.well-known/openid-configuration` or RFC 8414.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// Instead of keys: ask the issuer about each token. Tokens that are not JWTs are then taken for this issuer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<Introspection>,
    /// Endpoints of the issuer that the gateway passes through, for callers that reach nothing else. The filter does not
    /// need to know.
    #[serde(default, skip_serializing)]
    pub endpoints: Option<Endpoints>,
    /// One of these must be among the token's `aud`. Empty: `aud` is not looked at.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// Signature algorithms accepted. Absent: of each key the one that its `alg` names, else RS256 for RSA, ES256 or
    /// ES384 for EC by its curve, EdDSA for Ed25519, and none for a symmetric key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<Vec<Algorithm>>,
    /// Which `typ` a token's header must have: `at+jwt` for RFC 9068 alone. Absent: any that an access token has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typ: Option<TokenType>,
    /// Whether a token without `exp` is refused. Absent: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_exp: Option<bool>,
    /// Greatest age by `iat`, which must then be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// Claims that must be there.
    #[serde(default)]
    pub required_claims: Vec<RequiredClaim>,
    /// `jti` of tokens that are refused although nothing else is wrong with them.
    #[serde(default)]
    pub revoked: Vec<String>,
    /// Clock difference tolerated for `exp`, `nbf` and `iat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leeway: Option<Span>,
    /// Claim that names the client application. Absent: `azp`, else `client_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_claim: Option<String>,
    /// Claim that lists the scopes. Absent: `scope`, else `scp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes_claim: Option<String>,
    /// Claims handed to the backend in headers.
    #[serde(default)]
    pub claim_headers: Vec<ClaimHeader>,
    /// Further claims that limits look at.
    #[serde(default)]
    pub claims: Vec<String>,
    /// How long one fetch of the keys may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Age at which the keys are fetched again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Span>,
    /// Age at which keys that could not be refreshed are no longer trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_stale: Option<Span>,
    /// How soon after a fetch a token with an unknown key id may cause another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Span>,
}

/// Endpoints of an issuer at the gateway, each under its own name below `base_path`, with its URL at the issuer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{token: https://idp.example.com/oauth2/token}`")]
pub struct Endpoints {
    /// Path at the gateway that they are below.
    #[serde(default = "root")]
    pub base_path: String,
    /// RFC 6749 section 3.1.
    #[serde(default)]
    pub authorize: Option<String>,
    /// RFC 8628 section 3.1.
    #[serde(default)]
    pub device: Option<String>,
    /// RFC 7662. Only clients of the issuer may ask: it looks after that.
    #[serde(default)]
    pub introspect: Option<String>,
    /// RFC 7517 section 5.
    #[serde(default)]
    pub jwks: Option<String>,
    /// RFC 7009.
    #[serde(default)]
    pub revoke: Option<String>,
    /// RFC 6749 section 3.2.
    #[serde(default)]
    pub token: Option<String>,
    /// OpenID Connect Core 1.0 section 5.3.
    #[serde(default)]
    pub userinfo: Option<String>,
}

fn root() -> String {
    "/".to_owned()
}

/// An authorization server that is asked about tokens (RFC 7662).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{url: ..., client: {bearer: ...}}`")]
pub struct Introspection {
    /// `https://idp.example.com/introspect`.
    pub url: String,
    /// As whom to ask.
    pub client: IntrospectionClient,
    /// How long an answer may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How long a token is good without being asked about again, if it does not end before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// How long a bad token is refused without being asked about again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_for: Option<Span>,
}

/// How callers are authenticated.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{scopes: any}`")]
pub struct Auth {
    /// What operations need whose definition says nothing about security.
    #[serde(default)]
    pub default: Need,
    /// What a security scheme of the definition means, by its name. Needed for types that nothing verifies.
    #[serde(default)]
    pub schemes: BTreeMap<String, Need>,
    /// Which of the scopes listed for an operation a token must have.
    #[serde(default)]
    pub scopes: ScopeRule,
    /// How error bodies are written.
    #[serde(default)]
    pub errors: Dialect,
    /// Leave the token in the request for the backend.
    #[serde(default)]
    pub forward_token: bool,
    /// Where a token may be. Absent: the header that the APIs' `x-wso2-auth-header` names, else `authorization`, after
    /// the word `Bearer`.
    #[serde(default)]
    pub token_sources: Option<Vec<TokenSource>>,
    /// `realm` of `WWW-Authenticate`.
    #[serde(default)]
    pub realm: Option<String>,
    /// Memory for verified tokens on each worker, and a sixteenth of it more for forged ones; `0B` switches both off.
    #[serde(default)]
    pub token_cache: Option<ByteSize>,
    /// Longest token that is looked at.
    #[serde(default)]
    pub max_token: Option<ByteSize>,
    /// How many signatures each worker may check in a second that Envoy cannot check natively. Beyond it: 503.
    #[serde(default)]
    pub verification_budget: Option<u32>,
    /// Who has a password, for the definitions' schemes of `http: basic`.
    #[serde(default)]
    pub basic: Option<Basic>,
    /// Tokens and signed API keys that are refused although nothing else is wrong with them.
    #[serde(default)]
    pub revocation: Option<Revocation>,
    /// Whose client certificates are known, for the definitions' schemes of type `mutualTLS`.
    #[serde(default)]
    pub client_certificates: Option<ClientCertificates>,
    /// Who has subscribed to which API. Absent: nobody needs to.
    #[serde(default)]
    pub subscriptions: Option<Subscriptions>,
    /// A token for the backend that says who calls.
    #[serde(default)]
    pub backend_token: Option<BackendToken>,
    /// An Open Policy Agent that has the last word.
    #[serde(default)]
    pub opa: Option<Opa>,
    /// APIs that are not simply published, by their names.
    #[serde(default)]
    pub life_cycles: BTreeMap<String, LifeCycle>,
}

/// Client certificates.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{known: [{file: acme.crt, consumer: acme}]}`")]
pub struct ClientCertificates {
    /// Where a caller's certificate is. Absent: the caller shows it to a listener with `tls`.
    #[serde(default)]
    pub from: CertificateSource,
    /// The proxy that writes it to a header verifies it against a CA. Of a listener's own this is known by its
    /// `client_ca`.
    #[serde(default)]
    pub verified: bool,
    /// Whose certificates these are.
    pub known: Vec<KnownCertificate>,
}

/// A certificate, by one of `file`, `sha256`, `san` and `subject`, and whom it was given to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{file: acme.crt, consumer: acme}`")]
pub struct KnownCertificate {
    /// The certificate itself, in PEM. Its fingerprint goes into the configuration.
    #[serde(default)]
    pub file: Option<String>,
    /// SHA-256 of the certificate in DER, in hexadecimal.
    #[serde(default)]
    pub sha256: Option<String>,
    /// One of its alternative names: a URI or a DNS name. Only where certificates are verified.
    #[serde(default)]
    pub san: Option<String>,
    /// Its subject as Envoy writes it: `CN=alice,O=Acme`. Only where certificates are verified.
    #[serde(default)]
    pub subject: Option<String>,
    /// Who calls with it.
    pub consumer: String,
    /// The application that it was given to.
    #[serde(default)]
    pub application: String,
    /// The tier of its limits.
    #[serde(default)]
    pub tier: String,
    /// Names of the APIs that it is for. Empty: all.
    #[serde(default)]
    pub apis: Vec<String>,
}

/// Names and passwords.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{htpasswd: users.htpasswd}`")]
pub struct Basic {
    /// A file that `htpasswd -B -C 5` or `htpasswd -s` wrote. Its content goes into the configuration.
    pub htpasswd: String,
    /// How much of each second a worker may spend on passwords that it has not seen before. Beyond it: 503.
    #[serde(default)]
    pub budget: Option<Span>,
    /// Leave the password in the request for the backend.
    #[serde(default)]
    pub forward: bool,
}

/// Which API keys there are: those of a `list` or those at a `url`, and those that certain `issuers` sign.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{hash_key: ..., list: [...]}`")]
pub struct Keys {
    /// The key of the keyed hash under which API keys are listed, as text of at least 32 characters:
    /// `openssl rand -hex 32` makes one.
    #[serde(default)]
    pub hash_key: Option<String>,
    /// The keys themselves, by their hashes.
    #[serde(default)]
    pub list: Option<Vec<ApiKey>>,
    /// Where the list is: `{"keys": [...]}` in JSON, of at most 1 MiB, fetched by the filter and kept fresh.
    #[serde(default)]
    pub url: Option<String>,
    /// Who signs keys that are tokens themselves, as WSO2 API Manager's are; with the fields of other issuers. Such
    /// keys often have no `exp`: `require_exp: false` accepts them.
    #[serde(default)]
    pub issuers: Vec<Issuer>,
    /// How long one fetch of the list may take.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// Age at which the list is fetched again.
    #[serde(default)]
    pub refresh: Option<Span>,
    /// Age at which a list that could not be refreshed is no longer trusted.
    #[serde(default)]
    pub max_stale: Option<Span>,
    /// How soon after a fetch an unknown key may cause another one.
    #[serde(default)]
    pub cooldown: Option<Span>,
    /// Leave keys in the request for the backend.
    #[serde(default)]
    pub forward: bool,
}

/// What a caller must bring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// A valid bearer token of a configured issuer.
    #[default]
    Jwt,
    /// Nothing.
    Open,
}

/// Which of several scopes are enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScopeRule {
    /// Every one, as OpenAPI means it.
    #[default]
    All,
    /// One of them, as Choreo Connect means it.
    Any,
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
