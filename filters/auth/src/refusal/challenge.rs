//! `WWW-Authenticate`.

use super::*;

impl Refusal {
    /// The challenge of RFC 6750 section 3, for a password that of RFC 7617, for an API key or a certificate one of a
    /// scheme that nobody has registered; in the `choreo` dialect Choreo Connect's, which is the same for every failure
    /// of the credentials that it knows.
    pub(super) fn challenge(&self, realm: &str, dialect: Dialect) -> String {
        let realm = escaped(realm);
        let error = match (dialect, self) {
            // Browsers, for one, ask for a password only when told of this scheme (RFC 7617 section 2).
            (_, Self::Password(_)) => return format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
            (Dialect::Choreo, _) => INVALID_TOKEN,
            (Dialect::Problem, Self::ApiKey(_)) => return format!("ApiKey realm=\"{realm}\""),
            (Dialect::Problem, Self::Certificate(_)) => {
                return format!("ClientCertificate realm=\"{realm}\"");
            }
            (Dialect::Problem, Self::Missing) => return format!("Bearer realm=\"{realm}\""),
            (Dialect::Problem, Self::Scope { scopes, .. }) => {
                return format!(
                    "Bearer realm=\"{realm}\", error=\"insufficient_scope\", scope=\"{}\"",
                    escaped(scopes)
                );
            }
            (Dialect::Problem, _) => INVALID_TOKEN,
        };
        format!("Bearer realm=\"{realm}\", {error}")
    }
}

/// What goes between the quotes of a parameter (RFC 9110 section 5.6.4).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

const INVALID_TOKEN: &str = "error=\"invalid_token\", error_description=\"The provided token is invalid\"";
