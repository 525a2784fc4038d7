//! Why a request is refused: what the caller is told, what the log says, what is counted.

use std::{borrow::Cow, fmt, time::Duration};

use enforcer_core::{
    fault::{self, Code, Dialect, Fault},
    path,
    units::Span,
};

use crate::{key_type::NoBackend, token::Malformed};

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
    /// The token is of another kind, by its `typ`.
    Kind,
    /// Only the holder of some key may use the token (`cnf`), and whoever sent it has not shown it.
    Bound,
    Revoked,
    /// There is no list of revoked tokens to look in.
    RevocationUnavailable,
    RequiredClaim {
        name: String,
    },
    TooOld {
        max_age: Span,
    },
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
        /// How many of them are needed.
        how_many: &'static str,
        /// Separated by spaces.
        scopes: String,
    },
    /// No API key that would do.
    ApiKey(KeyProblem),
    /// No name and password that would do.
    Password(PasswordProblem),
    /// No client certificate that would do.
    Certificate(CertificateProblem),
    /// The credential is good, and there is no backend for it.
    Backend(NoBackend),
    /// The authorization server does not know the token, or it is no longer good.
    Inactive,
    /// The authorization server that would know cannot be asked.
    IntrospectionUnavailable,
    /// The issuer's keys cannot be had.
    KeysUnavailable,
    /// The worker has spent what it may on signatures.
    Busy,
}

/// What is wrong with an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyProblem {
    /// None where one is needed.
    Missing,
    Unknown,
    Expired,
    /// It is for other APIs.
    Api,
    /// It is for callers elsewhere.
    Address,
    /// It is for other web pages.
    Referer,
    /// Two keys, of different consumers.
    Mixed,
    /// There is no list to look in.
    Unavailable,
}

/// What is wrong with a name and password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordProblem {
    /// None where they are needed.
    Missing,
    /// Not a name and a password in base64.
    Malformed,
    /// Nobody has this name, or another password. Which of the two is nobody's business.
    Wrong,
    /// The worker has spent what it may on passwords.
    Busy,
}

/// What is wrong with a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateProblem {
    /// None where one is needed.
    Missing,
    Unknown,
    /// It is for other APIs.
    Api,
    /// A proxy tells of it in words that cannot be read.
    Unreadable,
}

impl From<CertificateProblem> for Refusal {
    fn from(problem: CertificateProblem) -> Self {
        Self::Certificate(problem)
    }
}

impl From<PasswordProblem> for Refusal {
    fn from(problem: PasswordProblem) -> Self {
        Self::Password(problem)
    }
}

impl From<KeyProblem> for Refusal {
    fn from(problem: KeyProblem) -> Self {
        Self::ApiKey(problem)
    }
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
        self.names().0
    }

    /// The counter of this refusal alone.
    pub fn metric(&self) -> &'static str {
        self.names().1
    }

    /// How much it says of why all alternatives failed: a good credential that may not do this says most, one that
    /// did not come says least.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Missing
            | Self::ApiKey(KeyProblem::Missing)
            | Self::Password(PasswordProblem::Missing)
            | Self::Certificate(CertificateProblem::Missing) => 0,
            Self::Scope { .. }
            | Self::Certificate(CertificateProblem::Api)
            | Self::ApiKey(KeyProblem::Api | KeyProblem::Address | KeyProblem::Referer) => 2,
            _ => 1,
        }
    }

    /// Detail and counter.
    fn names(&self) -> (&'static str, &'static str) {
        macro_rules! named {
            ($word:literal) => {
                (concat!("enforcer_", $word), concat!("enforcer.auth.refused.", $word))
            };
        }
        match self {
            Self::Path(_) => named!("path_refused"),
            Self::NoOperation => named!("no_operation"),
            Self::Missing => named!("auth_token_missing"),
            Self::Repeated => named!("auth_token_repeated"),
            Self::Malformed(_) | Self::BadClaim(_) => named!("auth_token_malformed"),
            Self::Issuer => named!("auth_issuer_unknown"),
            Self::IssuerHere { .. } => named!("auth_issuer_refused"),
            Self::Algorithm { .. } => named!("auth_algorithm_refused"),
            Self::Key => named!("auth_key_unknown"),
            Self::Signature => named!("auth_signature_invalid"),
            Self::Kind => named!("auth_type_refused"),
            Self::Bound => named!("auth_token_bound"),
            Self::Revoked => named!("auth_token_revoked"),
            Self::RevocationUnavailable => named!("auth_revocation_unavailable"),
            Self::RequiredClaim { .. } => named!("auth_claim_refused"),
            Self::TooOld { .. } => named!("auth_token_too_old"),
            Self::Expired { .. } => named!("auth_token_expired"),
            Self::NotYetValid { .. } => named!("auth_token_not_yet_valid"),
            Self::Audience { .. } => named!("auth_audience_refused"),
            Self::Scope { .. } => named!("auth_scope_missing"),
            Self::ApiKey(problem) => match problem {
                KeyProblem::Missing => named!("auth_api_key_missing"),
                KeyProblem::Unknown => named!("auth_api_key_unknown"),
                KeyProblem::Expired => named!("auth_api_key_expired"),
                KeyProblem::Api => named!("auth_api_key_api_refused"),
                KeyProblem::Address => named!("auth_api_key_address_refused"),
                KeyProblem::Referer => named!("auth_api_key_referer_refused"),
                KeyProblem::Mixed => named!("auth_api_keys_mixed"),
                KeyProblem::Unavailable => named!("auth_api_keys_unavailable"),
            },
            Self::Password(problem) => match problem {
                PasswordProblem::Missing => named!("auth_password_missing"),
                PasswordProblem::Malformed => named!("auth_password_malformed"),
                PasswordProblem::Wrong => named!("auth_password_wrong"),
                PasswordProblem::Busy => named!("auth_password_busy"),
            },
            Self::Certificate(problem) => match problem {
                CertificateProblem::Missing => named!("auth_certificate_missing"),
                CertificateProblem::Unknown => named!("auth_certificate_unknown"),
                CertificateProblem::Api => named!("auth_certificate_api_refused"),
                CertificateProblem::Unreadable => named!("auth_certificate_unreadable"),
            },
            Self::Backend(_) => named!("auth_key_type_refused"),
            Self::Inactive => named!("auth_token_inactive"),
            Self::IntrospectionUnavailable => named!("auth_introspection_unavailable"),
            Self::KeysUnavailable => named!("auth_keys_unavailable"),
            Self::Busy => named!("auth_busy"),
        }
    }

    /// What the caller is told. Codes and the texts of Choreo Connect's own cases are Choreo Connect's.
    pub fn fault(&self, realm: &str, dialect: Dialect) -> Fault {
        let (code, description): (Code, Cow<'static, str>) = match self {
            Self::Path(_) => (fault::BAD_REQUEST, "The request path is ambiguous".into()),
            Self::NoOperation => (fault::NOT_FOUND, "The requested resource is not available.".into()),
            Self::Missing
            | Self::Repeated
            | Self::ApiKey(KeyProblem::Missing)
            | Self::Password(PasswordProblem::Missing)
            // Choreo Connect tells them all the same.
            | Self::Certificate(_) => (fault::INVALID_CREDENTIALS, "".into()),
            Self::Password(PasswordProblem::Malformed | PasswordProblem::Wrong) => {
                (fault::INVALID_CREDENTIALS, "Invalid username or password".into())
            }
            Self::Password(PasswordProblem::Busy) => {
                (fault::KEYS_UNAVAILABLE, "The password cannot be verified at the moment".into())
            }
            Self::ApiKey(KeyProblem::Unknown | KeyProblem::Expired | KeyProblem::Mixed) => {
                (fault::INVALID_CREDENTIALS, "Invalid API key".into())
            }
            Self::ApiKey(KeyProblem::Api | KeyProblem::Address | KeyProblem::Referer) => {
                (fault::RESOURCE_FORBIDDEN, "".into())
            }
            Self::Malformed(_) => {
                (fault::INVALID_CREDENTIALS, "Not a JWT token. Failed to decode the token header".into())
            }
            Self::Expired { .. } | Self::TooOld { .. } => {
                (fault::INVALID_CREDENTIALS, "The token has expired".into())
            }
            Self::NotYetValid { .. } => (fault::INVALID_CREDENTIALS, "The token is not valid yet".into()),
            Self::BadClaim(_)
            | Self::Issuer
            | Self::IssuerHere { .. }
            | Self::Algorithm { .. }
            | Self::Key
            | Self::Signature
            | Self::Kind
            | Self::Bound
            | Self::Revoked
            | Self::Inactive
            | Self::RequiredClaim { .. }
            | Self::Audience { .. } => (fault::INVALID_CREDENTIALS, "Invalid JWT token".into()),
            Self::Backend(none) => (
                fault::INVALID_CREDENTIALS,
                match none {
                    NoBackend::Production => "Production key offered to an API with no production endpoint",
                    NoBackend::Sandbox => "Sandbox key offered to an API with no sandbox endpoint",
                    NoBackend::UnknownType => "Invalid key type.",
                }
                .into(),
            ),
            Self::Scope { template, .. } => (
                fault::FORBIDDEN,
                format!(
                    "User is NOT authorized to access the Resource: {template}. Scope validation failed."
                )
                .into(),
            ),
            Self::ApiKey(KeyProblem::Unavailable) => {
                (fault::KEYS_UNAVAILABLE, "The API key cannot be verified at the moment".into())
            }
            Self::KeysUnavailable
            | Self::IntrospectionUnavailable
            | Self::RevocationUnavailable
            | Self::Busy => (fault::KEYS_UNAVAILABLE, "The token cannot be verified at the moment".into()),
        };
        let fault = Fault::new(code, description, self.detail());
        match self {
            Self::Path(_) | Self::NoOperation => fault,
            Self::KeysUnavailable
            | Self::IntrospectionUnavailable
            | Self::RevocationUnavailable
            | Self::Busy
            | Self::Password(PasswordProblem::Busy)
            | Self::ApiKey(KeyProblem::Unavailable) => fault.with_header("retry-after", "1"),
            _ => fault.with_header("www-authenticate", self.challenge(realm, dialect)),
        }
    }

    /// The challenge of RFC 6750 section 3, for a password that of RFC 7617, for an API key or a
    /// certificate one of a scheme that nobody has registered; in the `choreo` dialect Choreo Connect's, which is the same for every failure of the
    /// credentials that it knows.
    fn challenge(&self, realm: &str, dialect: Dialect) -> String {
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

/// For the log: what was expected and what came. Never the token.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(refusal) => write!(f, "the path is ambiguous: {refusal}"),
            Self::NoOperation => f.write_str("no operation of an API has this host, path and method"),
            Self::Missing => f.write_str("a bearer token is needed, none came"),
            Self::Repeated => f.write_str("there are two credentials, or two values in the place of one"),
            Self::Malformed(malformed) => write!(f, "not a token: {}", malformed.text()),
            Self::BadClaim(name) => write!(f, "the claim `{name}` is missing or has the wrong type"),
            Self::Issuer => f.write_str("this issuer is not configured"),
            Self::IssuerHere { expected } => write!(f, "this operation accepts the issuers `{expected}`"),
            Self::Algorithm { got } => write!(f, "algorithm {} is not allowed for this issuer", quoted(got)),
            Self::Key => f.write_str("the issuer has no such key for this algorithm"),
            Self::Signature => f.write_str("the signature does not fit the key"),
            Self::Kind => f.write_str("its `typ` is not that of an access token of this issuer"),
            Self::Bound => f.write_str("it is bound to a key (`cnf`) that the caller has not shown"),
            Self::Revoked => f.write_str("it is among the revoked"),
            Self::RevocationUnavailable => f.write_str("the list of revoked tokens is not available"),
            Self::RequiredClaim { name } => {
                write!(f, "the required claim `{name}` is missing or has another value")
            }
            Self::TooOld { max_age } => write!(f, "the token was issued more than {max_age} ago"),
            Self::Expired { ago } => write!(f, "the token expired {} s ago, leeway included", ago.as_secs()),
            Self::NotYetValid { early } => write!(f, "the token is valid in {} s", early.as_secs()),
            Self::Audience { expected } => write!(f, "none of the audiences `{expected}` is in the token"),
            Self::Scope { template, how_many, scopes } => {
                write!(f, "`{template}` needs {how_many} the scopes `{scopes}`")
            }
            Self::ApiKey(problem) => f.write_str(match problem {
                KeyProblem::Missing => "an API key is needed, none came",
                KeyProblem::Unknown => "no such API key is listed",
                KeyProblem::Expired => "the API key has expired",
                KeyProblem::Api => "the API key is for other APIs",
                KeyProblem::Address => "the API key may not be used from this address",
                KeyProblem::Referer => "the API key may not be used from this page",
                KeyProblem::Mixed => "the API keys are of different consumers",
                KeyProblem::Unavailable => "the list of API keys is not available",
            }),
            Self::Password(problem) => f.write_str(match problem {
                PasswordProblem::Missing => "a name and a password are needed, none came",
                PasswordProblem::Malformed => "what follows `Basic` is no name and password in base64",
                PasswordProblem::Wrong => "nobody has this name and password",
                PasswordProblem::Busy => "this worker checks as many new passwords as `basic.budget` allows",
            }),
            Self::Certificate(problem) => f.write_str(match problem {
                CertificateProblem::Missing => "a client certificate is needed, none came",
                CertificateProblem::Unknown => "nobody here has this client certificate",
                CertificateProblem::Api => "the client certificate is for other APIs",
                CertificateProblem::Unreadable => "the proxy's header with the certificate cannot be read",
            }),
            Self::Backend(none) => f.write_str(match none {
                NoBackend::Production => "it is for production, which this API does not have",
                NoBackend::Sandbox => "it is for the sandbox, which this API does not have",
                NoBackend::UnknownType => "its `keytype` is neither `PRODUCTION` nor `SANDBOX`",
            }),
            Self::Inactive => f.write_str("the authorization server says that it is not active"),
            Self::IntrospectionUnavailable => f.write_str("the authorization server cannot be asked about it"),
            Self::KeysUnavailable => f.write_str("the issuer's keys are not available"),
            Self::Busy => f.write_str(
                "this worker checks as many signatures as `verification_budget` allows, or asks about as many tokens \
                 as it may",
            ),
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
        let fault = Refusal::Missing.fault("Choreo Connect", Dialect::Choreo);
        assert_eq!(fault.headers[0].0, "www-authenticate");
        assert_eq!(
            fault.headers[0].1,
            r#"Bearer realm="Choreo Connect", error="invalid_token", error_description="The provided token is invalid""#
        );
        assert!(Refusal::NoOperation.fault("r", Dialect::Choreo).headers.is_empty());
    }

    #[test]
    fn the_problem_dialect_has_the_parameters_of_rfc_6750() {
        let challenge = |refusal: Refusal| refusal.fault("r", Dialect::Problem).headers[0].1.clone();
        assert_eq!(challenge(Refusal::Missing), r#"Bearer realm="r""#);
        assert!(challenge(Refusal::Signature).starts_with(r#"Bearer realm="r", error="invalid_token""#));
        let scope =
            Refusal::Scope { template: "/a".to_owned(), how_many: "all of", scopes: "a b".to_owned() };
        assert_eq!(challenge(scope), r#"Bearer realm="r", error="insufficient_scope", scope="a b""#);
    }

    #[test]
    fn every_refusal_has_its_own_counter_name() {
        assert_eq!(Refusal::Missing.metric(), "enforcer.auth.refused.auth_token_missing");
        assert_eq!(Refusal::NoOperation.metric(), "enforcer.auth.refused.no_operation");
    }
}
