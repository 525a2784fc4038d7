//! What the user configures.

use enforcer_core::{
    fault::Dialect,
    mode::Mode,
    units::{ByteSize, Span},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of the auth filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// Who may issue tokens. A token's `iss` must equal one of these exactly.
    pub issuers: Vec<Issuer>,
    /// What is protected, and how. Absent: every request needs a valid token.
    /// Present: a request that matches none of the operations is refused with 404.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<Api>,
    /// Header that carries `Bearer <token>`. Lower case.
    #[serde(default = "authorization", skip_serializing_if = "is_authorization")]
    pub token_header: String,
    /// Leave the token in the request for the backend.
    #[serde(default, skip_serializing_if = "is_false")]
    pub forward_token: bool,
    /// How error bodies are written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub errors: Dialect,
    /// `shadow`: decide, count and log, but let everything through.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Mode,
    /// `realm` of `WWW-Authenticate`.
    #[serde(default = "choreo_connect", skip_serializing_if = "is_choreo_connect")]
    pub realm: String,
    /// Memory for verified tokens on each worker; `0B` switches the cache off.
    #[serde(default = "cache_size", skip_serializing_if = "is_cache_size")]
    pub token_cache: ByteSize,
}

/// An authorization server whose tokens are accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The `iss` of its tokens, compared byte for byte.
    pub issuer: String,
    /// Where its public keys are.
    pub jwks: Jwks,
    /// One of these must be among the token's `aud`. Empty: `aud` is not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Signature algorithms accepted from this issuer.
    #[serde(default = "algorithms", skip_serializing_if = "is_algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// Clock difference tolerated for `exp` and `nbf`.
    #[serde(default = "leeway", skip_serializing_if = "is_leeway")]
    pub leeway: Span,
    /// Claim that names the client application. Absent: `azp`, else `client_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_claim: Option<String>,
    /// Claim that lists the scopes, as a space-separated string or an array. Absent: `scope`, else `scp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes_claim: Option<String>,
    /// Claims handed to the backend in headers. The client's own headers of these names are removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claim_headers: Vec<ClaimHeader>,
}

/// Where an issuer's keys are (RFC 7517).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Jwks {
    /// The key set itself: `{"keys": [...]}`.
    Inline(serde_json::Value),
    /// A URL, fetched through an Envoy cluster.
    Remote(RemoteJwks),
}

/// A key set that is fetched and kept fresh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoteJwks {
    /// Name of the Envoy cluster that reaches the URL's host.
    pub cluster: String,
    /// `https://idp.example.com/jwks`. Scheme and port are the cluster's business.
    pub url: String,
    /// How long one fetch may take.
    #[serde(default = "fetch_timeout", skip_serializing_if = "is_fetch_timeout")]
    pub timeout: Span,
    /// Age at which the keys are fetched again, in the background.
    #[serde(default = "refresh", skip_serializing_if = "is_refresh")]
    pub refresh: Span,
    /// Age at which keys that could not be refreshed are no longer trusted.
    #[serde(default = "max_stale", skip_serializing_if = "is_max_stale")]
    pub max_stale: Span,
    /// How soon after a fetch a token with an unknown key id may cause another one.
    #[serde(default = "cooldown", skip_serializing_if = "is_cooldown")]
    pub cooldown: Span,
}

/// A claim that becomes a request header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimHeader {
    pub claim: String,
    /// Lower case. Replaces what the client sent; removed when the token has no such claim.
    pub header: String,
}

/// Signature algorithms (RFC 7518 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    RS256,
    ES256,
}

/// An API: where it is, and what it consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Host names: exact, `*.example.com`, or `*`. Empty: any. Chosen among as Envoy chooses virtual hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Path prefix of every operation, on segment borders.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    pub base_path: String,
    /// What operations ask for that do not say so themselves. Absent: a valid token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<Vec<Requirement>>,
    /// Empty: everything below the base path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
}

/// One operation of an API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Shown in identity, metrics and logs. Absent: the path template.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Template below the base path: `/pets/{petId}`, `/files/*`, `/report*`, `/pets/{id}.json`.
    pub path: String,
    /// `GET`, `POST`, ... Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Alternatives, one of which must hold. `[]`: open. Absent: the API's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<Vec<Requirement>>,
}

/// Credentials that are needed together. An empty requirement (`{}`) lets the anonymous caller in too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// A bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtRequirement>,
}

/// What a bearer token must satisfy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtRequirement {
    /// Issuers accepted here. Empty: any that is configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<String>,
    /// Scopes asked for. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
}

/// Which scopes are enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scopes {
    /// Every one of them, as OpenAPI means it.
    AllOf(Vec<String>),
    /// One of them, as Choreo Connect means it.
    AnyOf(Vec<String>),
}

fn authorization() -> String {
    "authorization".to_owned()
}

fn is_authorization(header: &String) -> bool {
    *header == authorization()
}

fn choreo_connect() -> String {
    "Choreo Connect".to_owned()
}

fn is_choreo_connect(realm: &String) -> bool {
    *realm == choreo_connect()
}

fn root() -> String {
    "/".to_owned()
}

fn is_root(path: &String) -> bool {
    *path == root()
}

fn cache_size() -> ByteSize {
    ByteSize::from_bytes(4 << 20)
}

fn is_cache_size(size: &ByteSize) -> bool {
    *size == cache_size()
}

fn algorithms() -> Vec<Algorithm> {
    vec![Algorithm::RS256, Algorithm::ES256]
}

fn is_algorithms(list: &Vec<Algorithm>) -> bool {
    *list == algorithms()
}

fn leeway() -> Span {
    Span::from_secs(5)
}

fn is_leeway(span: &Span) -> bool {
    *span == leeway()
}

fn fetch_timeout() -> Span {
    Span::from_secs(5)
}

fn is_fetch_timeout(span: &Span) -> bool {
    *span == fetch_timeout()
}

fn refresh() -> Span {
    Span::from_secs(300)
}

fn is_refresh(span: &Span) -> bool {
    *span == refresh()
}

fn max_stale() -> Span {
    Span::from_secs(3600)
}

fn is_max_stale(span: &Span) -> bool {
    *span == max_stale()
}

fn cooldown() -> Span {
    Span::from_secs(10)
}

fn is_cooldown(span: &Span) -> bool {
    *span == cooldown()
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
