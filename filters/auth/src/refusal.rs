//! Why a request is refused: what the caller is told, what the log says, what is counted.

use std::{fmt, time::Duration};

use enforcer_core::{
    fault::{self, Code, Fault},
    path,
};

use crate::token::Malformed;

/// Every way in which the auth filter says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The path has several meanings.
    Path(path::Refusal),
    /// No API, path or method like this.
    NoOperation,
    /// No bearer token where one is needed.
    Missing,
    /// Two credentials: it cannot be said which counts.
    Repeated,
    Malformed(Malformed),
    /// A claim that must be there is not, or is not of the right type.
    BadClaim(&'static str),
    /// The issuer is not configured.
    Issuer,
    /// The issuer is known, and not accepted for this operation.
    IssuerHere {
        expected: String,
    },
    Algorithm {
        got: String,
    },
    /// The issuer has no such key.
    Key,
    Signature,
    Expired {
        ago: Duration,
    },
    NotYetValid {
        early: Duration,
    },
    Audience {
        expected: String,
    },
    Scope {
        template: String,
        expected: String,
    },
    /// The issuer's keys cannot be had.
    KeysUnavailable,
}

/// What a refused token says of itself, for the log: unverified, and perhaps a lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claimed {
    pub issuer: Option<String>,
    pub kid: Option<String>,
}

impl fmt::Display for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(issuer) = &self.issuer {
            write!(f, "token of issuer {}, kid {}: ", quoted(issuer), kid_of(self.kid.as_deref()))?;
        }
        Ok(())
    }
}

/// How much of a client's own text a log line repeats.
const MAX_QUOTED: usize = 64;

impl Refusal {
    /// The stable word for logs, metrics and `%RESPONSE_CODE_DETAILS%`.
    pub fn detail(&self) -> &'static str {
        match self {
            Self::Path(_) => "enforcer_path_refused",
            Self::NoOperation => "enforcer_no_operation",
            Self::Missing => "enforcer_auth_token_missing",
            Self::Repeated => "enforcer_auth_token_repeated",
            Self::Malformed(_) | Self::BadClaim(_) => "enforcer_auth_token_malformed",
            Self::Issuer => "enforcer_auth_issuer_unknown",
            Self::IssuerHere { .. } => "enforcer_auth_issuer_refused",
            Self::Algorithm { .. } => "enforcer_auth_algorithm_refused",
            Self::Key => "enforcer_auth_key_unknown",
            Self::Signature => "enforcer_auth_signature_invalid",
            Self::Expired { .. } => "enforcer_auth_token_expired",
            Self::NotYetValid { .. } => "enforcer_auth_token_not_yet_valid",
            Self::Audience { .. } => "enforcer_auth_audience_refused",
            Self::Scope { .. } => "enforcer_auth_scope_missing",
            Self::KeysUnavailable => "enforcer_auth_keys_unavailable",
        }
    }

    /// The counter of this refusal alone.
    pub fn metric(&self) -> String {
        let word = self.detail();
        format!("enforcer.auth.refused.{}", word.strip_prefix("enforcer_").unwrap_or(word))
    }

    /// What the caller is told. Codes and the texts of Choreo Connect's own cases are Choreo Connect's.
    pub fn fault(&self, realm: &str) -> Fault {
        let (code, description): (Code, String) = match self {
            Self::Path(_) => (fault::BAD_REQUEST, "The request path is ambiguous".to_owned()),
            Self::NoOperation => (fault::NOT_FOUND, "The requested resource is not available.".to_owned()),
            Self::Missing | Self::Repeated => (fault::INVALID_CREDENTIALS, String::new()),
            Self::Malformed(_) => {
                (fault::INVALID_CREDENTIALS, "Not a JWT token. Failed to decode the token header".to_owned())
            }
            Self::Expired { .. } => (fault::INVALID_CREDENTIALS, "The token has expired".to_owned()),
            Self::NotYetValid { .. } => (fault::INVALID_CREDENTIALS, "The token is not valid yet".to_owned()),
            Self::BadClaim(_)
            | Self::Issuer
            | Self::IssuerHere { .. }
            | Self::Algorithm { .. }
            | Self::Key
            | Self::Signature
            | Self::Audience { .. } => (fault::INVALID_CREDENTIALS, "Invalid JWT token".to_owned()),
            Self::Scope { template, .. } => (
                fault::FORBIDDEN,
                format!(
                    "User is NOT authorized to access the Resource: {template}. Scope validation failed."
                ),
            ),
            Self::KeysUnavailable => {
                (fault::KEYS_UNAVAILABLE, "The token cannot be verified at the moment".to_owned())
            }
        };
        let fault = Fault::new(code, description, self.detail());
        match self {
            Self::Path(_) | Self::NoOperation => fault,
            Self::KeysUnavailable => fault.with_header("retry-after", "1"),
            _ => fault.with_header("www-authenticate", challenge(realm)),
        }
    }
}

/// Choreo Connect's challenge, the same for every failure of a credential (RFC 6750 section 3).
fn challenge(realm: &str) -> String {
    format!(
        "Bearer realm=\"{realm}\", error=\"invalid_token\", error_description=\"The provided token is invalid\""
    )
}

/// For the log: what was expected and what came. Never the token.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(refusal) => write!(f, "the path is ambiguous: {refusal}"),
            Self::NoOperation => f.write_str("no operation of an API has this host, path and method"),
            Self::Missing => f.write_str("a bearer token is needed, none came"),
            Self::Repeated => f.write_str("the token's header came more than once"),
            Self::Malformed(malformed) => write!(f, "not a token: {}", malformed.text()),
            Self::BadClaim(name) => write!(f, "the claim `{name}` is missing or has the wrong type"),
            Self::Issuer => f.write_str("this issuer is not configured"),
            Self::IssuerHere { expected } => write!(f, "this operation accepts the issuers `{expected}`"),
            Self::Algorithm { got } => write!(f, "algorithm {} is not allowed for this issuer", quoted(got)),
            Self::Key => f.write_str("the issuer has no such key for this algorithm"),
            Self::Signature => f.write_str("the signature does not fit the key"),
            Self::Expired { ago } => write!(f, "the token expired {ago:.0?} ago, leeway included"),
            Self::NotYetValid { early } => write!(f, "the token is valid in {early:.0?}"),
            Self::Audience { expected } => write!(f, "none of the audiences `{expected}` is in the token"),
            Self::Scope { template, expected } => write!(f, "`{template}` needs {expected}"),
            Self::KeysUnavailable => f.write_str("the issuer's keys are not available"),
        }
    }
}

fn kid_of(kid: Option<&str>) -> String {
    kid.map_or("(none)".to_owned(), quoted)
}

/// A client's text, shortened and without control characters, so that it cannot forge log lines.
fn quoted(text: &str) -> String {
    let shortened: String = text.chars().take(MAX_QUOTED).flat_map(char::escape_default).collect();
    let more = if text.chars().nth(MAX_QUOTED).is_some() { "..." } else { "" };
    format!("`{shortened}{more}`")
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn what_a_client_wrote_cannot_forge_a_line() {
        let issuer = Some(format!("x\n[info] all is well{}", "y".repeat(1000)));
        let line = Claimed { issuer, kid: Some("k\r".to_owned()) }.to_string();
        assert!(!line.contains('\n') && line.contains(r"x\n[info]") && line.len() < 200, "{line}");
    }

    #[test]
    fn the_challenge_is_choreo_connects() {
        let fault = Refusal::Missing.fault("Choreo Connect");
        assert_eq!(fault.headers[0].0, "www-authenticate");
        assert_eq!(
            fault.headers[0].1,
            r#"Bearer realm="Choreo Connect", error="invalid_token", error_description="The provided token is invalid""#
        );
        assert!(Refusal::NoOperation.fault("r").headers.is_empty());
    }

    #[test]
    fn every_refusal_has_its_own_counter_name() {
        assert_eq!(Refusal::Missing.metric(), "enforcer.auth.refused.auth_token_missing");
        assert_eq!(Refusal::NoOperation.metric(), "enforcer.auth.refused.no_operation");
    }
}
