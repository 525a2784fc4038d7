//! `issuers`: who may issue tokens.

use enforcer_auth::config::{Algorithm, ClaimHeader, IntrospectionClient, RequiredClaim, TokenType};
use enforcer_core::units::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
