//! API keys, as they are configured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HeaderSource, Issuer, RemoteDocument, TokenSource, defaults};

/// API keys: where requests carry them, and which there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeys {
    /// Where keys are, by the names that operations ask for.
    pub schemes: Vec<ApiKeyScheme>,
    /// Keys that are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<ListedKeys>,
    /// Keys that are signed tokens, as WSO2 API Manager issues them: who signs. Such keys
    /// often have no `exp`: `require_exp: false` accepts them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed: Vec<Issuer>,
    /// Leave keys in the request for the backend.
    #[serde(default, skip_serializing_if = "defaults::is_false")]
    pub forward: bool,
}

/// What OpenAPI calls a security scheme of type `apiKey`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyScheme {
    pub name: String,
    /// Where its key is. A request with keys in two of these places, or two in one, is refused.
    pub sources: Vec<KeySource>,
    /// Which kind of signed keys is accepted there.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub token_type: KeyType,
}

/// `token_type` of a signed key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum KeyType {
    /// What WSO2's developer portal issues to subscribers.
    #[default]
    #[serde(rename = "apiKey")]
    ApiKey,
    /// What WSO2's publisher portal issues for trying an API out, to be sent as `Internal-Key`.
    InternalKey,
}

/// API keys that are listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListedKeys {
    /// The key of the keyed hash under which they are listed, as text of at least 32 characters. Without it, a
    /// list that leaks does not let anybody try out likely keys.
    pub hash_key: String,
    /// Which keys there are.
    pub keys: ApiKeyList,
}

/// A place in a request where a key may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// Name of a header whose value is the key.
    Header(String),
    /// Name of a query parameter. Such keys end up in logs: avoid them.
    Query(String),
    /// Name of a cookie.
    Cookie(String),
}

/// Which keys there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApiKeyList {
    /// These.
    Inline(Vec<ApiKey>),
    /// Those in a document of at most 1 MiB, `{"keys": [...]}`, fetched through an Envoy cluster.
    Remote(RemoteDocument),
}

/// A key and whom it was given to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// HMAC-SHA256 of the key under `hash_key`, in hexadecimal:
    /// `printf %s "$KEY" | openssl dgst -sha256 -hmac "$HASH_KEY"`.
    pub hash: String,
    /// Who calls with it.
    pub consumer: String,
    /// The application that it was given to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub application: String,
    /// The tier of its limits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tier: String,
    /// When it ends, in seconds since 1970. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Names of the APIs that it is for. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<String>,
    /// Addresses and networks (`203.0.113.7`, `10.0.0.0/8`, `2001:db8::/32`) that it may be used from. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_ips: Vec<String>,
    /// What `Referer` must be, `*` standing for any text: `https://*.example.com/*`. Empty: anything. It guards
    /// against other people's pages, not against other programs, which can send any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_referers: Vec<String>,
}

impl KeyType {
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "apiKey" => Some(Self::ApiKey),
            "InternalKey" => Some(Self::InternalKey),
            _ => None,
        }
    }
}

impl From<KeySource> for TokenSource {
    fn from(source: KeySource) -> Self {
        match source {
            KeySource::Header(name) => Self::Header(HeaderSource { name, scheme: String::new() }),
            KeySource::Query(name) => Self::Query(name),
            KeySource::Cookie(name) => Self::Cookie(name),
        }
    }
}
