//! The middle: what every kind of definition is read into, and every kind of output is made from.

use enforcer_auth::config::KeySource;
use enforcer_core::units::Span;

use crate::{settings::Cors, source::Place, url::Url};

/// The APIs of one gateway, in the order of base paths within names.
#[derive(Debug, Default)]
pub struct ApiModel {
    pub apis: Vec<Api>,
}

/// An API as the gateway offers it, and where its requests go.
#[derive(Debug)]
pub struct Api {
    /// The title as a slug: `swagger-petstore`.
    pub name: String,
    pub version: String,
    /// Host names it answers to: exact, `*.example.com`. Empty: any.
    pub hosts: Vec<String>,
    /// Path below which it lives at the gateway: `/` or `/store/v1`, without a trailing slash.
    pub base_path: String,
    pub backend: Backend,
    /// Which keys that is for.
    pub key_types: KeyTypes,
    /// It is an endpoint of an issuer, whose backend is none of the APIs'.
    pub is_endpoint: bool,
    /// What operations need that do not say so themselves.
    pub access: Access,
    /// How much all its callers together may ask of it.
    pub tier: Option<NamedTier>,
    pub operations: Vec<Operation>,
    pub cors: Option<Cors>,
    /// How long the backend may take; `None`: no limit.
    pub timeout: Option<Span>,
    /// Lower-case name of the header with the token, and where the definition says so.
    pub token_header: Option<(String, Place)>,
    /// Names of its security schemes.
    pub schemes: Vec<String>,
    /// The definition's title, to point at.
    pub place: Place,
}

/// Where an API's requests go: to one of several equal servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Scheme and path are the same in all. Empty only where outputs leave routing to somebody else.
    pub servers: Vec<Url>,
}

impl Backend {
    /// Path below which the API lives at the backend.
    pub fn base_path(&self) -> &str {
        self.servers.first().map_or("/", |server| server.path.as_str())
    }
}

/// Which keys (Choreo Connect's `keytype`) an API's backend is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyTypes {
    /// All, of whatever type.
    All,
    Production,
    Sandbox,
    /// Those for production; those for the sandbox have this backend.
    Both(Backend),
}

/// A method on a path.
#[derive(Debug)]
pub struct Operation {
    /// `operationId`, else `GET /pets/{petId}`.
    pub id: String,
    /// Upper case.
    pub method: String,
    /// Path template below the base path.
    pub template: String,
    /// `None`: the API's.
    pub access: Option<Access>,
    /// How much all its callers together may ask of it.
    pub tier: Option<NamedTier>,
    pub place: Place,
}

/// The name of a tier, and where it is named.
#[derive(Debug, Clone)]
pub struct NamedTier {
    pub name: String,
    pub place: Place,
}

/// Alternatives, one of which a caller must satisfy. None at all: everybody may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access(pub Vec<Alternative>);

/// One way to be let in: with everything in it. With nothing in it: without credentials.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Alternative {
    /// A valid token that has these scopes.
    pub token: Option<Vec<String>>,
    /// The issuer that the token must be from; `None`: any that is configured.
    pub issuer: Option<String>,
    /// An API key in each of these places.
    pub keys: Vec<KeySource>,
    /// A name and its password.
    pub basic: bool,
    /// A client certificate that is known.
    pub certificate: bool,
}

impl Alternative {
    pub fn anonymous() -> Self {
        Self::default()
    }

    pub fn token(scopes: Vec<String>) -> Self {
        Self { token: Some(scopes), ..Self::default() }
    }
}

impl ApiModel {
    /// Every way to be let in anywhere.
    pub fn ways(&self) -> impl Iterator<Item = &Alternative> {
        self.apis.iter().flat_map(Api::accesses).flat_map(|Access(ways)| ways)
    }
}

impl Api {
    /// What its operations ask for, each for itself or as the API says for all.
    pub fn accesses(&self) -> impl Iterator<Item = &Access> {
        self.operations.iter().map(|operation| operation.access.as_ref().unwrap_or(&self.access))
    }
}

impl Access {
    pub fn open() -> Self {
        Self(Vec::new())
    }

    pub fn valid_token() -> Self {
        Self(vec![Alternative::token(Vec::new())])
    }

    /// Whether a token makes a difference.
    pub fn knows_token(&self) -> bool {
        self.0.iter().any(|way| way.token.is_some())
    }
}

/// A title as a name: lower-case letters and digits, everything else one dash.
pub fn slug(title: &str) -> String {
    let mut out = String::new();
    for c in title.chars() {
        if c.is_alphanumeric() {
            out.extend(c.to_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.truncate(out.trim_end_matches('-').len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_become_names() {
        assert_eq!(slug("Swagger Petstore - OpenAPI 3.0"), "swagger-petstore-openapi-3-0");
        assert_eq!(slug("  Überweisung (beta)! "), "überweisung-beta");
        assert_eq!(slug("!!!"), "");
    }
}
