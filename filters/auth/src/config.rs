//! What the user configures.

use enforcer_core::{
    fault::Dialect,
    mode::Mode,
    units::{ByteSize, Span},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod api_keys;
mod backend_token;
mod basic;
mod certificates;
mod decision;
mod defaults;
mod introspection;
mod patience;
mod published;
mod revocation;
mod subscriptions;

pub use api_keys::{ApiKey, ApiKeyList, ApiKeyScheme, ApiKeys, KeySource, KeyType, ListedKeys};
pub use backend_token::{BackendToken, Encoding, SigningKey};
pub use basic::Basic;
pub use certificates::{CertificateSource, ClientCertificates, KnownCertificate, PemHeader, TrustedProxies};
pub use decision::{DecisionPart, Opa, Xacml};
pub use introspection::{Introspection, IntrospectionClient};
pub use published::Published;
pub use revocation::{Revocation, RevocationList, RevokedToken, Unavailable};
pub use subscriptions::{
    Application, ApplicationList, ConsumerKey, LifeCycle, Subscription, SubscriptionState, Subscriptions,
};

impl AuthConfig {
    /// The names of all Envoy clusters that the filter calls.
    pub fn clusters_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let (signed, listed) = match &mut self.api_keys {
            Some(keys) => (keys.signed.as_mut_slice(), keys.listed.as_mut()),
            None => (&mut [][..], None),
        };
        let issuers = self.issuers.iter_mut().chain(signed).filter_map(|issuer| match &mut issuer.jwks {
            Jwks::Remote(document) => Some(&mut document.cluster),
            Jwks::Introspection(server) => Some(&mut server.cluster),
            Jwks::Inline(_) | Jwks::Pem(_) => None,
        });
        let listed = listed.and_then(|listed| match &mut listed.keys {
            ApiKeyList::Remote(document) => Some(&mut document.cluster),
            ApiKeyList::Inline(_) => None,
        });
        let revoked = self.revocation.iter_mut().filter_map(|revocation| revocation.list.as_mut());
        let subscribed = self.subscriptions.iter_mut().filter_map(|table| match &mut table.applications {
            Some(ApplicationList::Remote(document)) => Some(&mut document.cluster),
            Some(ApplicationList::Inline(_)) | None => None,
        });
        let asked = self.opa.iter_mut().map(|opa| &mut opa.cluster);
        let asked = asked.chain(self.xacml.iter_mut().map(|point| &mut point.cluster));
        issuers.chain(listed).chain(revoked.map(|list| &mut list.cluster)).chain(subscribed).chain(asked)
    }
}

/// Configuration of the auth filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// Who may issue tokens. A token's `iss` must equal one of these exactly. May be left out where nothing asks
    /// for a token.
    #[serde(default)]
    pub issuers: Vec<Issuer>,
    /// API keys: where requests carry them and which there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<ApiKeys>,
    /// Names and passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
    /// Tokens and signed API keys that are refused although nothing else is wrong with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Revocation>,
    /// Client certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificates: Option<ClientCertificates>,
    /// Who has subscribed to which API. Absent: nobody needs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriptions: Option<Subscriptions>,
    /// A token for the backend that says who calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_token: Option<BackendToken>,
    /// An Open Policy Agent that has the last word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opa: Option<Opa>,
    /// The same in XACML. There is one last word: `opa` or `xacml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xacml: Option<Xacml>,
    /// What is protected, and how. Absent: every request needs a valid token, or, where there is no issuer, one of
    /// the other credentials. Present: a request that matches none of the operations is refused with 404.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<Api>,
    /// Where a token may be. Absent: `Authorization: Bearer <token>`. A request with tokens in two places,
    /// or two in one, is refused (RFC 6750 section 2).
    #[serde(default = "defaults::token_sources", skip_serializing_if = "defaults::is_token_sources")]
    pub token_sources: Vec<TokenSource>,
    /// Leave the token in the request for the backend.
    #[serde(default, skip_serializing_if = "defaults::is_false")]
    pub forward_token: bool,
    /// Parts of the identity that are published singly, too, as filter state `wasm.enforcer_user` and so on: for filters
    /// of Envoy's own. Those that a caller has not are not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<Published>,
    /// How error bodies are written.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub errors: Dialect,
    /// `shadow`: decide, count and log, but let everything through.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub mode: Mode,
    /// `realm` of `WWW-Authenticate`.
    #[serde(default = "defaults::choreo_connect", skip_serializing_if = "defaults::is_choreo_connect")]
    pub realm: String,
    /// Memory for tokens that were verified, on each worker, and a sixteenth of it more for those whose
    /// signature was found wrong; `0B` switches both caches off.
    #[serde(default = "defaults::token_cache", skip_serializing_if = "defaults::is_token_cache")]
    pub token_cache: ByteSize,
    /// Longest token that is looked at.
    #[serde(default = "defaults::max_token", skip_serializing_if = "defaults::is_max_token")]
    pub max_token: ByteSize,
    /// How many signatures each worker may check in a second that Envoy cannot check natively (PS*, EdDSA, and
    /// all but HS* where it lacks `verify_signature`): each takes the worker up to half a millisecond. ES256 counts
    /// as three, ES384 as nine. Beyond it: 503.
    #[serde(
        default = "defaults::verification_budget",
        skip_serializing_if = "defaults::is_verification_budget"
    )]
    pub verification_budget: u32,
}

/// A place in a request where a token may be. Each is looked at only if it is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenSource {
    Header(HeaderSource),
    /// Name of a query parameter (RFC 6750 section 2.3). Such tokens end up in logs: avoid them.
    Query(String),
    /// Name of a cookie.
    Cookie(String),
}

/// A header that carries a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderSource {
    pub name: String,
    /// Authentication scheme (RFC 9110 section 11.1) before the token, in upper or lower case; empty: the
    /// value is the token.
    #[serde(default = "defaults::scheme", skip_serializing_if = "defaults::is_scheme")]
    pub scheme: String,
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
    /// Signature algorithms accepted from this issuer. Absent: of each key the one that its `alg` names, else
    /// RS256 for RSA, ES256 or ES384 for EC by its curve, EdDSA for Ed25519, and none for a symmetric key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<Vec<Algorithm>>,
    /// Which `typ` the token's header must have. Absent: any that an access token has.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub typ: TokenType,
    /// Whether a token without `exp` is refused.
    #[serde(default = "defaults::yes", skip_serializing_if = "defaults::is_yes")]
    pub require_exp: bool,
    /// Greatest age by `iat`, which must then be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// Claims that must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_claims: Vec<RequiredClaim>,
    /// `jti` of tokens that are refused although nothing else is wrong with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<String>,
    /// Clock difference tolerated for `exp`, `nbf` and `iat`.
    #[serde(default = "defaults::leeway", skip_serializing_if = "defaults::is_leeway")]
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
    /// Further claims for the filters behind this one, such as keys of rate limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<String>,
}

/// Where an issuer's keys are (RFC 7517).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Jwks {
    /// The key set itself: `{"keys": [...]}`. One of symmetric keys (`kty: oct`) is accepted here only, and
    /// must hold no others.
    Inline(serde_json::Value),
    /// Public keys (`PUBLIC KEY`, `RSA PUBLIC KEY`) and certificates (`CERTIFICATE`) in PEM (RFC 7468).
    Pem(String),
    /// A URL that gives either, fetched through an Envoy cluster.
    Remote(RemoteDocument),
    /// No keys: the issuer is asked about each token (RFC 7662). All tokens that are not JWTs are taken for this
    /// issuer's, so that one at most may be so.
    Introspection(Introspection),
}

/// A document that is fetched and kept fresh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoteDocument {
    /// Name of the Envoy cluster that reaches the URL's host.
    pub cluster: String,
    /// `https://idp.example.com/jwks`. Scheme and port are the cluster's business.
    pub url: String,
    /// How long one fetch may take.
    #[serde(default = "defaults::fetch_timeout", skip_serializing_if = "defaults::is_fetch_timeout")]
    pub timeout: Span,
    /// Age at which it is fetched again, in the background.
    #[serde(default = "defaults::refresh", skip_serializing_if = "defaults::is_refresh")]
    pub refresh: Span,
    /// Age at which what could not be refreshed is no longer trusted.
    #[serde(default = "defaults::max_stale", skip_serializing_if = "defaults::is_max_stale")]
    pub max_stale: Span,
    /// How soon after a fetch a token with an unknown key id, or an unknown API key, may cause another one.
    #[serde(default = "defaults::cooldown", skip_serializing_if = "defaults::is_cooldown")]
    pub cooldown: Span,
}

/// What `typ` in a token's header must say. A media type without its `application/`, in upper or lower case
/// (RFC 7515 section 4.1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TokenType {
    /// `JWT`, `at+jwt`, or nothing: not a token of another kind, such as `logout+jwt` (RFC 8725 section 3.11).
    #[default]
    #[serde(rename = "any")]
    Any,
    /// `at+jwt` alone (RFC 9068 section 4).
    #[serde(rename = "at+jwt")]
    AtJwt,
}

/// A claim that a token must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequiredClaim {
    /// Its name; where no claim has it, dots lead into objects: `realm_access.roles`.
    pub claim: String,
    /// It must be one of these, or a list that has one of them. Empty: it must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<String>,
}

/// A claim that becomes a request header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimHeader {
    pub claim: String,
    /// Lower case. Replaces what the client sent; removed when the token has no such claim.
    pub header: String,
}

/// Signature algorithms (RFC 7518 section 3.1, RFC 8037). ES512 is not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    /// On Ed25519.
    EdDSA,
    HS256,
    HS384,
    HS512,
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
    #[serde(default = "defaults::root", skip_serializing_if = "defaults::is_root")]
    pub base_path: String,
    /// Whether it can be called at all.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub life_cycle: LifeCycle,
    /// What operations ask for that do not say so themselves. Absent: a valid token, or, where there is no issuer,
    /// one of the other credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<Vec<Requirement>>,
    /// Backends for production and for sandbox keys. Absent: one for all, which routes choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<Clusters>,
    /// Empty: everything below the base path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
}

/// An API's backends. Where both are there, `x-wso2-cluster-header` tells Envoy's routes which of them it is
/// (`cluster_header`, or a route that matches it). A credential whose `keytype` has none is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clusters {
    /// The Envoy cluster for `keytype: PRODUCTION`, for credentials that have none, and for callers without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub production: Option<String>,
    /// The Envoy cluster for `keytype: SANDBOX`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
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
    /// An API key of each of these schemes, by name; all of one consumer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_keys: Vec<String>,
    /// A name and its password.
    #[serde(default, skip_serializing_if = "defaults::is_false")]
    pub basic: bool,
    /// A client certificate that is known.
    #[serde(default, skip_serializing_if = "defaults::is_false")]
    pub certificate: bool,
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

impl Algorithm {
    const ALL: [(Self, &'static str); 12] = [
        (Self::RS256, "RS256"),
        (Self::RS384, "RS384"),
        (Self::RS512, "RS512"),
        (Self::PS256, "PS256"),
        (Self::PS384, "PS384"),
        (Self::PS512, "PS512"),
        (Self::ES256, "ES256"),
        (Self::ES384, "ES384"),
        (Self::EdDSA, "EdDSA"),
        (Self::HS256, "HS256"),
        (Self::HS384, "HS384"),
        (Self::HS512, "HS512"),
    ];

    /// The algorithm of this `alg`, letter for letter.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(algorithm, _)| *algorithm)
    }

    /// Its `alg`.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(algorithm, _)| *algorithm == self).map_or("", |(_, name)| name)
    }
}
