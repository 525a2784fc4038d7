//! Why a request is refused: what the caller is told, what the log says, what is counted.

mod challenge;
mod words;

use std::{borrow::Cow, time::Duration};

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
    /// The application may not use this API.
    Subscription(SubscriptionProblem),
    /// A policy decision point does not say yes.
    Decision(DecisionProblem),
    /// The token for the backend cannot be signed.
    Unsigned,
    /// The API is out of service.
    ApiBlocked,
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

/// What is wrong with an application's subscription to an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionProblem {
    /// There is none.
    Missing,
    /// It is blocked.
    Blocked,
    /// It is not approved.
    Inactive,
    /// There is no table to look in.
    Unavailable,
}

/// What a policy decision point says in place of yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecisionProblem {
    Denied,
    /// Nothing: it cannot be asked.
    Unavailable,
    /// Neither yes nor no.
    Unreadable,
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
            | Self::Subscription(_)
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
            Self::Subscription(problem) => match problem {
                SubscriptionProblem::Missing => named!("auth_subscription_missing"),
                SubscriptionProblem::Blocked => named!("auth_subscription_blocked"),
                SubscriptionProblem::Inactive => named!("auth_subscription_inactive"),
                SubscriptionProblem::Unavailable => named!("auth_subscriptions_unavailable"),
            },
            Self::Decision(problem) => match problem {
                DecisionProblem::Denied => named!("auth_decision_denied"),
                DecisionProblem::Unavailable => named!("auth_decision_unavailable"),
                DecisionProblem::Unreadable => named!("auth_decision_unreadable"),
            },
            Self::Unsigned => named!("auth_backend_token_unsigned"),
            Self::ApiBlocked => named!("auth_api_blocked"),
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
            Self::Subscription(SubscriptionProblem::Missing) => (fault::RESOURCE_FORBIDDEN, "".into()),
            Self::Subscription(SubscriptionProblem::Blocked) => (fault::SUBSCRIPTION_BLOCKED, "".into()),
            Self::Subscription(SubscriptionProblem::Inactive) => (fault::SUBSCRIPTION_INACTIVE, "".into()),
            Self::Subscription(SubscriptionProblem::Unavailable) => {
                (fault::KEYS_UNAVAILABLE, "The subscription cannot be verified at the moment".into())
            }
            Self::Decision(DecisionProblem::Denied) => (fault::POLICY_DENIED, "".into()),
            Self::Decision(DecisionProblem::Unavailable) => (fault::POLICY_UNAVAILABLE, "".into()),
            Self::Decision(DecisionProblem::Unreadable) => (fault::POLICY_UNREADABLE, "".into()),
            Self::Unsigned => (fault::UNCLASSIFIED, "".into()),
            Self::ApiBlocked => (fault::API_BLOCKED, "".into()),
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
            Self::Path(_) | Self::NoOperation | Self::Decision(_) | Self::Unsigned | Self::ApiBlocked => {
                fault
            }
            Self::KeysUnavailable
            | Self::IntrospectionUnavailable
            | Self::RevocationUnavailable
            | Self::Busy
            | Self::Password(PasswordProblem::Busy)
            | Self::Subscription(SubscriptionProblem::Unavailable)
            | Self::ApiKey(KeyProblem::Unavailable) => fault.with_header("retry-after", "1"),
            _ => fault.with_header("www-authenticate", self.challenge(realm, dialect)),
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

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
