//! What tells the backend who calls, as it is configured.

use std::collections::BTreeMap;

use enforcer_core::units::{ByteSize, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::defaults;

/// A token for the backend that says who calls: WSO2's `X-JWT-Assertion`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendToken {
    /// Who signs it. The first key signs; the public halves of all are in the key set, so that the next key can be
    /// known before it signs, and the last one as long as its tokens live.
    pub keys: Vec<SigningKey>,
    /// The header that carries it. What a client sends under this name is removed.
    #[serde(default = "defaults::assertion", skip_serializing_if = "defaults::is_assertion")]
    pub header: String,
    /// Its `iss`.
    #[serde(default = "defaults::wso2_issuer", skip_serializing_if = "defaults::is_wso2_issuer")]
    pub issuer: String,
    /// What precedes the names of WSO2's claims, and a slash; empty: nothing.
    #[serde(default = "defaults::dialect", skip_serializing_if = "defaults::is_dialect")]
    pub dialect: String,
    /// How its parts are written.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub encoding: Encoding,
    /// How long it is good. It is used again for nine tenths of that.
    #[serde(default = "defaults::hour", skip_serializing_if = "defaults::is_hour")]
    pub ttl: Span,
    /// Further claims, the same in all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Value>,
    /// Claims of the caller's token that are not handed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_claims: Vec<String>,
    /// The path at which the filter answers with the key set, for everybody: `/.well-known/jwks`. Absent: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_path: Option<String>,
    /// Memory for tokens that are used again, on each worker.
    #[serde(default = "defaults::token_cache", skip_serializing_if = "defaults::is_token_cache")]
    pub cache: ByteSize,
}

/// A private key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SigningKey {
    /// Its `kid`.
    pub kid: String,
    /// PKCS #8 in PEM (`PRIVATE KEY`): of P-256 for ES256, or of RSA for RS256, which needs Envoy 1.37 or later.
    pub private_key: String,
    /// A certificate of this key, in PEM (`CERTIFICATE`): the token then says `x5t` in WSO2's form, the SHA-1 of the
    /// certificate in hexadecimal, and that in base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// How the parts of a token are written. Never with padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// As RFC 7515 has it.
    #[default]
    Base64url,
    /// In the alphabet with `+` and `/`, as Choreo Connect does where it is told to; what reads JWTs by the book does not
    /// take it.
    Base64,
}
