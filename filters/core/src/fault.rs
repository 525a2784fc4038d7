//! What a refused caller is told: one catalogue, several dialects.
//!
//! Codes, statuses and texts are Choreo Connect's, so that clients written against it keep working
//! (its `GeneralErrorCodeConstants` and `APISecurityConstants`).

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{filter::Response, headers::HeaderMap};

/// Why a request ended, stable and machine readable: `%RESPONSE_CODE_DETAILS%` shows it.
/// Lower-case words joined by `_`, because Envoy replaces spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail(pub Cow<'static, str>);

impl Detail {
    pub const fn new(detail: &'static str) -> Self {
        Self(Cow::Borrowed(detail))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an error body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Choreo Connect's: `{"error_message", "code", "error_description"}`.
    #[default]
    Choreo,
    /// RFC 9457 `application/problem+json`, with the code as an extension member.
    Problem,
}

/// An entry of the catalogue. The message is what the code always says; the description says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    pub code: &'static str,
    pub status: u16,
    pub message: &'static str,
    /// Advice that follows every description of this code.
    pub hint: &'static str,
}

/// No API, or no operation of it, answers to this request.
pub const NOT_FOUND: Code = Code { code: "404", status: 404, message: "Not Found", hint: "" };
/// The request cannot be understood safely: see [`crate::path`].
pub const BAD_REQUEST: Code = Code { code: "400", status: 400, message: "Bad Request", hint: "" };
/// The body is larger than a filter may buffer.
pub const PAYLOAD_TOO_LARGE: Code = Code { code: "413", status: 413, message: "Payload Too Large", hint: "" };
/// Something the decision depends on is out of order; refused, because the alternative is to guess.
pub const UNCLASSIFIED: Code =
    Code { code: "900900", status: 500, message: "Unclassified Authentication Failure", hint: "" };
pub const INVALID_CREDENTIALS: Code = Code {
    code: "900901",
    status: 401,
    message: "Invalid Credentials",
    hint: "Make sure you have provided the correct security credentials",
};
/// The credential is genuine and does not allow this operation.
pub const FORBIDDEN: Code = Code {
    code: "900910",
    status: 403,
    message: "The access token does not allow you to access the requested resource",
    hint: "",
};
/// The quota of an API is used up.
pub const THROTTLED_API: Code = throttled("900800");
/// The quota of an operation is used up.
pub const THROTTLED_RESOURCE: Code = throttled("900802");
/// The quota of an application's subscription is used up.
pub const THROTTLED_SUBSCRIPTION: Code = throttled("900804");
/// The quota of an application is used up.
pub const THROTTLED_APPLICATION: Code = throttled("900803");
/// The quota of a policy of another kind is used up.
pub const THROTTLED_CUSTOM: Code = throttled("900806");
/// Too many requests of a subscription in a short time.
pub const THROTTLED_SUBSCRIPTION_BURST: Code = throttled("900807");
/// Too many requests of an application in a short time.
pub const THROTTLED_APPLICATION_BURST: Code = throttled("900809");
/// A quota cannot be counted.
pub const THROTTLE_UNAVAILABLE: Code = Code { status: 503, ..throttled("900800") };
/// The request is one of those that may not call.
pub const BLOCKED: Code = Code { code: "900805", status: 403, message: "Message blocked", hint: "" };

const fn throttled(code: &'static str) -> Code {
    Code { code, status: 429, message: "Message throttled out", hint: "" }
}

/// The credential is genuine, and not for this API, or not for callers like this one.
pub const RESOURCE_FORBIDDEN: Code = Code {
    code: "900908",
    status: 403,
    // The space at the end is Choreo Connect's.
    message: "Resource forbidden ",
    hint: "User is NOT authorized to access the Resource. API Subscription validation failed.",
};
/// The application's subscription to the API is blocked.
pub const SUBSCRIPTION_BLOCKED: Code = Code {
    code: "900907",
    status: 401,
    message: "The requested API is temporarily blocked",
    hint: "API Subscription is blocked",
};
/// The application's subscription to the API is not approved.
pub const SUBSCRIPTION_INACTIVE: Code =
    Code { code: "900909", status: 403, message: "The subscription to the API is inactive", hint: "" };
/// A policy decision point says no.
pub const POLICY_DENIED: Code = Code { code: "901101", status: 403, message: "Forbidden", hint: "" };
/// A policy decision point cannot be asked.
pub const POLICY_UNAVAILABLE: Code =
    Code { code: "901102", status: 500, message: "Internal Server Error", hint: "" };
/// A policy decision point does not answer the question.
pub const POLICY_UNREADABLE: Code = Code { code: "901103", ..POLICY_UNAVAILABLE };
/// The API is out of service.
pub const API_BLOCKED: Code = Code {
    code: "700700",
    status: 503,
    message: "API blocked",
    hint: "This API has been blocked temporarily. Please try again later or contact the system administrators.",
};
/// What would verify the credential cannot be reached.
pub const KEYS_UNAVAILABLE: Code =
    Code { code: "900900", status: 503, message: "Unclassified Authentication Failure", hint: "" };

/// A refusal: what the caller is told, and what the operator sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: Code,
    /// Ends without a period; may be empty when the code's hint says enough.
    pub description: Cow<'static, str>,
    pub detail: Detail,
    /// Further response headers: `www-authenticate`, `retry-after`.
    pub headers: Vec<(String, String)>,
    /// Of a type that is registered for problems (RFC 9457 section 4.2).
    pub problem: Option<Problem>,
}

/// A registered problem type and its extension member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub kind: &'static str,
    pub member: &'static str,
    pub value: Value,
}

impl Fault {
    pub fn new(code: Code, description: impl Into<Cow<'static, str>>, detail: &'static str) -> Self {
        let (description, detail) = (description.into(), Detail::new(detail));
        Self { code, description, detail, headers: Vec::new(), problem: None }
    }

    /// Gives it a registered problem type, with the extension member that belongs to it.
    #[must_use]
    pub fn of_kind(mut self, kind: &'static str, member: &'static str, value: Value) -> Self {
        self.problem = Some(Problem { kind, member, value });
        self
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The description with the code's hint: `specific. hint`.
    fn text(&self) -> Cow<'_, str> {
        match (self.description.as_ref(), self.code.hint) {
            (description, "") => description.into(),
            ("", hint) => hint.into(),
            (description, hint) => format!("{description}. {hint}").into(),
        }
    }

    /// The answer to a request. Envoy turns it into `grpc-status` and `grpc-message` where that is a gRPC call,
    /// whose message is meant to be read by people: no JSON.
    pub fn respond_to(self, request: &HeaderMap, dialect: Dialect) -> Response {
        let text = is_grpc(request).then(|| self.text().into_owned());
        let mut response = self.respond(dialect);
        if let Some(text) = text {
            response.body = text.into_bytes();
        }
        response
    }

    /// The answer in a dialect, whatever the request was.
    pub fn respond(self, dialect: Dialect) -> Response {
        let text = self.text();
        let (content_type, body) = match dialect {
            Dialect::Choreo => ("application/json", choreo_body(&self.code, &text)),
            Dialect::Problem => ("application/problem+json", problem_body(&self, &text)),
        };
        let mut headers = vec![("content-type".to_owned(), content_type.to_owned())];
        headers.extend(self.headers);
        Response { status: self.code.status, headers, body, detail: self.detail, identity: None }
    }
}

/// A gRPC call, as Envoy tells it from others.
fn is_grpc(request: &HeaderMap) -> bool {
    let rest = request.get("content-type").and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

#[derive(Serialize)]
struct ChoreoBody<'a> {
    error_message: &'a str,
    code: &'a str,
    error_description: &'a str,
}

fn choreo_body(code: &Code, description: &str) -> Vec<u8> {
    json(&ChoreoBody { error_message: code.message, code: code.code, error_description: description })
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: Cow<'static, str>,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(flatten)]
    member: Option<BTreeMap<&'static str, &'a Value>>,
}

fn problem_body(fault: &Fault, description: &str) -> Vec<u8> {
    let Fault { code, problem, .. } = fault;
    json(&ProblemBody {
        r#type: match problem {
            Some(problem) => problem.kind.into(),
            None => format!("urn:enforcer:fault:{}", code.code).into(),
        },
        title: code.message,
        status: code.status,
        detail: description,
        code: code.code,
        member: problem.as_ref().map(|problem| BTreeMap::from([(problem.member, &problem.value)])),
    })
}

/// Structs of strings and numbers always serialise; an empty body would be the least harm if not.
fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn choreo_connects_proven_example() {
        let fault = Fault::new(
            INVALID_CREDENTIALS,
            "Not a JWT token. Failed to decode the token header",
            "enforcer_auth_token_malformed",
        );
        let response = fault.respond(Dialect::Choreo);
        assert_eq!(response.status, 401);
        assert_eq!(
            String::from_utf8(response.body).unwrap(),
            r#"{"error_message":"Invalid Credentials","code":"900901","error_description":"Not a JWT token. Failed to decode the token header. Make sure you have provided the correct security credentials"}"#
        );
        assert_eq!(response.detail.as_str(), "enforcer_auth_token_malformed");
    }

    #[test]
    fn a_grpc_call_is_told_in_words() {
        let body = |kind: &str| {
            let mut request = HeaderMap::default();
            request.push("content-type", kind);
            let fault = Fault::new(INVALID_CREDENTIALS, "The token has expired", "d");
            String::from_utf8(fault.respond_to(&request, Dialect::Choreo).body).unwrap()
        };
        let text = "The token has expired. Make sure you have provided the correct security credentials";
        assert_eq!(body("application/grpc"), text);
        assert_eq!(body("application/grpc+proto"), text);
        assert!(body("application/grpc-web").starts_with('{'));
    }

    #[test]
    fn a_problem_carries_the_same_code() {
        let response = Fault::new(NOT_FOUND, "The requested resource is not available.", "enforcer_no_api")
            .with_header("allow", "GET")
            .respond(Dialect::Problem);
        let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(body["type"], "urn:enforcer:fault:404");
        assert_eq!(body["title"], "Not Found");
        assert_eq!(body["status"], 404);
        assert_eq!(response.headers[0].1, "application/problem+json");
        assert_eq!(response.headers[1], ("allow".to_owned(), "GET".to_owned()));
    }

    #[test]
    fn a_registered_problem_has_its_type_and_member() {
        let fault = Fault::new(THROTTLED_API, "", "d").of_kind("https://example.com/p", "what", "x".into());
        let body: Value = serde_json::from_slice(&fault.clone().respond(Dialect::Problem).body).unwrap();
        assert_eq!((&body["type"], &body["what"]), (&"https://example.com/p".into(), &"x".into()));
        let body: Value = serde_json::from_slice(&fault.respond(Dialect::Choreo).body).unwrap();
        assert_eq!(body.get("what"), None);
    }
}
