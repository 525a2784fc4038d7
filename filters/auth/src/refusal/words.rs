//! What the log says of a refusal.

use std::fmt;

use super::*;

/// How much of a client's own text a log line repeats.
const MAX_QUOTED: usize = 64;

impl fmt::Display for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(issuer) = &self.issuer {
            write!(f, "token of issuer {}, kid {}: ", quoted(issuer), kid_of(self.kid.as_deref()))?;
        }
        Ok(())
    }
}

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
            Self::Subscription(problem) => f.write_str(match problem {
                SubscriptionProblem::Missing => "its application has not subscribed to this API",
                SubscriptionProblem::Blocked => "the subscription of its application is blocked",
                SubscriptionProblem::Inactive => "the subscription of its application is not approved",
                SubscriptionProblem::Unavailable => "the table of subscriptions is not available",
            }),
            Self::Decision(problem) => f.write_str(match problem {
                DecisionProblem::Denied => "the policy agent says no",
                DecisionProblem::Unavailable => "the policy agent cannot be asked",
                DecisionProblem::Unreadable => "the policy agent says neither yes nor no",
            }),
            Self::Unsigned => f.write_str("the token for the backend cannot be signed"),
            Self::ApiBlocked => f.write_str("the API is blocked"),
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
}
