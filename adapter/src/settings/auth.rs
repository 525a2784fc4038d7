//! `auth` and `keys`: how callers are authenticated.

use std::collections::BTreeMap;

use enforcer_auth::config::{ApiKey, CertificateSource, LifeCycle, TokenSource};
use enforcer_core::{
    fault::Dialect,
    units::{ByteSize, Span},
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{BackendToken, Issuer, Opa, Revocation, Subscriptions, Xacml};

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
    /// A policy decision point in its place, which is asked in XACML.
    #[serde(default)]
    pub xacml: Option<Xacml>,
    /// Hosts whose keys, lists and decisions may be fetched over plain HTTP, because the way to them is safe: a mesh, a
    /// network of one's own. This machine needs no mention.
    #[serde(default)]
    pub plain_http: Vec<String>,
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
    #[serde(default)]
    pub known: Vec<KnownCertificate>,
    /// Files `client_certificates.yaml` of WSO2's projects, relative to this one: more of them, with API and tier.
    #[serde(default)]
    pub imports: Vec<String>,
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
