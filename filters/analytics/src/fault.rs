//! Why a call failed, in the words of Choreo Connect's events.
//!
//! `errorType` and `errorMessage` are `FaultCategory` and `FaultSubCategories` of WSO2's analytics publisher;
//! `errorCode` is the code of the fault catalogue, of Synapse's transport (101xxx) where the backend was not
//! reached, or the HTTP status. A call failed when something before the backend answered it with an error, or the
//! connection to the backend broke. An error that the backend itself answered is a response.

use enforcer_core::{fault as catalogue, identity::Identity};

/// A failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    /// `errorMessage`.
    pub message: &'static str,
    /// `errorCode`.
    pub code: u32,
}

/// `errorType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Auth,
    Throttled,
    TargetConnectivity,
    Other,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "AUTH",
            Self::Throttled => "THROTTLED",
            Self::TargetConnectivity => "TARGET_CONNECTIVITY",
            Self::Other => "OTHER",
        }
    }
}

const UNCLASSIFIED: &str = "UNCLASSIFIED";
const OTHER: &str = "OTHER";
const AUTHENTICATION: &str = "AUTHENTICATION_FAILURE";
const AUTHORIZATION: &str = "AUTHORIZATION_FAILURE";
const NOT_FOUND: &str = "RESOURCE_NOT_FOUND";
const BLOCKED: &str = "BLOCKED";
const BURST: &str = "BURST_CONTROL_LIMIT_EXCEEDED";
const TIMEOUT: &str = "CONNECTION_TIMEOUT";
const SUSPENDED: &str = "CONNECTION_SUSPENDED";

/// What is known of how a call ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ending<'a> {
    /// The status that the client got; 0: none.
    pub status: u16,
    /// `response.flags`: Envoy's response flags as bits, in the order of `CoreResponseFlag`.
    pub flags: u64,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: &'a str,
    /// What the filters published of the caller.
    pub identity: Option<&'a Identity>,
}

/// What a filter of ours refuses with begins so.
const OURS: &str = "enforcer_";

impl Ending<'_> {
    /// Whether the answer is the backend's.
    pub fn from_backend(&self) -> bool {
        self.details == "via_upstream"
    }

    /// Why the call failed; `None` if it did not.
    pub fn fault(&self) -> Option<Fault> {
        if self.details.starts_with(OURS) {
            return (self.status >= 400).then(|| self.ours());
        }
        if let Some(fault) = self.unreached() {
            return Some(fault);
        }
        let failed = self.status >= 400 || self.status == 0;
        (failed && !self.from_backend()).then(|| self.native())
    }

    /// What a filter would have refused, had it not been in shadow mode.
    pub fn shadow(&self) -> &str {
        let fault = self.identity.map_or("", |identity| &identity.fault);
        if self.details == fault { "" } else { fault }
    }

    /// A refusal by one of our filters, by its detail.
    fn ours(&self) -> Fault {
        let word = self.details.strip_prefix(OURS).unwrap_or_default();
        match word.split_once('_') {
            Some(("ratelimit", level)) => throttled(level, self.status),
            Some(("auth", _)) => self.refused(word),
            _ => {
                let message = match self.status {
                    404 => NOT_FOUND,
                    405 => "METHOD_NOT_ALLOWED",
                    _ => UNCLASSIFIED,
                };
                Fault { kind: Kind::Other, message, code: self.status.into() }
            }
        }
    }

    fn refused(&self, word: &str) -> Fault {
        let (message, code) = match (word, self.status) {
            ("auth_scope_missing", _) => (AUTHORIZATION, 900_910),
            (_, 401) => (AUTHENTICATION, 900_901),
            _ => (OTHER, 900_900),
        };
        Fault { kind: Kind::Auth, message, code }
    }

    /// The backend, or the way to it, failed: by response flag.
    fn unreached(&self) -> Option<Fault> {
        /// Bit, `errorMessage`, `errorCode`; what says more comes first.
        const CAUSES: [(u32, &str, u32); 14] = [
            (2, TIMEOUT, 101_504),   // UT: the backend did not answer in time
            (19, TIMEOUT, 101_504),  // UMSDR: upstream_max_stream_duration_reached
            (22, TIMEOUT, 101_504),  // DT: max_stream_duration
            (7, SUSPENDED, 101_503), // UO: circuit breaker
            (1, SUSPENDED, 101_503), // UH: no healthy host
            (0, SUSPENDED, 101_503), // LH: local service failed its health check
            (5, OTHER, 101_503),     // UF: connection failed
            (26, OTHER, 101_503),    // DF: name not resolved
            (24, OTHER, 101_503),    // NC: no such cluster
            (4, OTHER, 101_505),     // UR: reset by the backend
            (6, OTHER, 101_505),     // UC: connection closed
            (23, OTHER, 101_506),    // UPE: protocol error of the backend
            (15, OTHER, 101_500),    // URX: retries exhausted
            (14, OTHER, 101_001),    // DC: the client went away
        ];
        let (_, message, code) = CAUSES.iter().find(|(bit, ..)| self.has(*bit))?;
        Some(Fault { kind: Kind::TargetConnectivity, message, code: *code })
    }

    fn has(&self, bit: u32) -> bool {
        self.flags.checked_shr(bit).unwrap_or(0) & 1 == 1
    }

    /// A local reply of a filter that is not ours, or of Envoy itself.
    fn native(&self) -> Fault {
        const RATE_LIMITED: u32 = 11;
        const UNAUTHORIZED: u32 = 12;
        let begins = |beginning: &str| self.details.starts_with(beginning);
        let code = u32::from(self.status);
        let fault = |kind, message| Fault { kind, message, code };
        if self.has(RATE_LIMITED)
            || begins("local_rate_limited")
            || begins("request_rate_limited")
            || self.status == 429
        {
            fault(Kind::Throttled, OTHER)
        } else if begins("rbac_access_denied") {
            fault(Kind::Auth, AUTHORIZATION)
        } else if self.has(UNAUTHORIZED) || begins("jwt_authn") || begins("ext_authz") {
            fault(Kind::Auth, if self.status == 401 { AUTHENTICATION } else { AUTHORIZATION })
        } else if begins("route_not_found") || self.status == 404 {
            fault(Kind::Other, NOT_FOUND)
        } else if self.status == 405 {
            fault(Kind::Other, "METHOD_NOT_ALLOWED")
        } else {
            fault(Kind::Other, UNCLASSIFIED)
        }
    }
}

/// A refusal of the rate limit filter, by the level in its detail; the code is that of its answer.
fn throttled(level: &str, status: u16) -> Fault {
    let (message, code) = match level {
        "blocked" => (BLOCKED, catalogue::BLOCKED),
        "api" => ("API_LEVEL_LIMIT_EXCEEDED", catalogue::THROTTLED_API),
        "resource" => ("RESOURCE_LEVEL_LIMIT_EXCEEDED", catalogue::THROTTLED_RESOURCE),
        "subscription" => ("SUBSCRIPTION_LIMIT_EXCEEDED", catalogue::THROTTLED_SUBSCRIPTION),
        "subscription_burst" => (BURST, catalogue::THROTTLED_SUBSCRIPTION_BURST),
        "application" => ("APPLICATION_LEVEL_LIMIT_EXCEEDED", catalogue::THROTTLED_APPLICATION),
        "application_burst" => (BURST, catalogue::THROTTLED_APPLICATION_BURST),
        "custom" => ("CUSTOM_POLICY_LIMIT_EXCEEDED", catalogue::THROTTLED_CUSTOM),
        "contended" | "unanswered" => (OTHER, catalogue::THROTTLE_UNAVAILABLE),
        // Nothing was used up: it is not known who calls.
        "identity_unreadable" => return Fault { kind: Kind::Auth, message: OTHER, code: 900_900 },
        _ => return Fault { kind: Kind::Throttled, message: OTHER, code: status.into() },
    };
    let code = code.code.parse().unwrap_or(status.into());
    Fault { kind: Kind::Throttled, message, code }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn fault(status: u16, flags: u64, details: &str) -> Option<(&'static str, &'static str, u32)> {
        let ending = Ending { status, flags, details, identity: None };
        ending.fault().map(|fault| (fault.kind.name(), fault.message, fault.code))
    }

    #[test]
    fn what_the_backend_answers_is_a_response() {
        assert_eq!(fault(200, 0, "via_upstream"), None);
        assert_eq!(fault(503, 0, "via_upstream"), None);
        assert_eq!(fault(204, 0, "enforcer_auth_options"), None);
        assert_eq!(fault(200, 0, "direct_response"), None);
    }

    #[test]
    fn our_refusals_have_choreo_connects_names() {
        let auth = |word, code| Some(("AUTH", word, code));
        assert_eq!(fault(401, 0, "enforcer_auth_token_expired"), auth("AUTHENTICATION_FAILURE", 900_901));
        assert_eq!(fault(403, 0, "enforcer_auth_scope_missing"), auth("AUTHORIZATION_FAILURE", 900_910));
        assert_eq!(fault(503, 0, "enforcer_auth_busy"), auth("OTHER", 900_900));
        assert_eq!(fault(404, 0, "enforcer_no_operation"), Some(("OTHER", "RESOURCE_NOT_FOUND", 404)));
        let limit = |word, code| Some(("THROTTLED", word, code));
        assert_eq!(fault(429, 0, "enforcer_ratelimit_api"), limit("API_LEVEL_LIMIT_EXCEEDED", 900_800));
        assert_eq!(fault(403, 0, "enforcer_ratelimit_blocked"), limit("BLOCKED", 900_805));
        let burst = limit("BURST_CONTROL_LIMIT_EXCEEDED", 900_809);
        assert_eq!(fault(429, 0, "enforcer_ratelimit_application_burst"), burst);
        assert_eq!(fault(500, 0, "enforcer_ratelimit_identity_unreadable"), auth("OTHER", 900_900));
        assert_eq!(fault(429, 0, "enforcer_ratelimit_something"), limit("OTHER", 429));
    }

    #[test]
    fn native_filters_are_told_by_flags_and_details() {
        let denied = "rbac_access_denied_matched_policy[none]";
        assert_eq!(fault(403, 0, denied), Some(("AUTH", "AUTHORIZATION_FAILURE", 403)));
        let jwt = "jwt_authn_access_denied{Jwt_is_missing}";
        assert_eq!(fault(401, 0, jwt), Some(("AUTH", "AUTHENTICATION_FAILURE", 401)));
        assert_eq!(fault(429, 1 << 11, ""), Some(("THROTTLED", "OTHER", 429)));
        assert_eq!(fault(404, 1 << 8, "route_not_found"), Some(("OTHER", "RESOURCE_NOT_FOUND", 404)));
        assert_eq!(fault(500, 0, "lua_response"), Some(("OTHER", "UNCLASSIFIED", 500)));
    }

    #[test]
    fn a_backend_that_cannot_be_reached_is_told_by_the_flag() {
        let target = |word, code| Some(("TARGET_CONNECTIVITY", word, code));
        assert_eq!(fault(504, 1 << 2, "upstream_response_timeout"), target("CONNECTION_TIMEOUT", 101_504));
        assert_eq!(fault(503, 1 << 1, "no_healthy_upstream"), target("CONNECTION_SUSPENDED", 101_503));
        assert_eq!(fault(503, 1 << 5 | 1 << 15, "upstream_reset"), target("OTHER", 101_503));
        assert_eq!(fault(0, 1 << 14, "downstream_remote_disconnect"), target("OTHER", 101_001));
    }

    #[test]
    fn a_fault_that_did_not_end_the_call_is_a_shadow() {
        let identity = Identity { fault: "enforcer_auth_token_expired".into(), ..Identity::default() };
        let ending =
            |details| Ending { status: 200, details, identity: Some(&identity), ..Ending::default() };
        assert_eq!(ending("via_upstream").shadow(), "enforcer_auth_token_expired");
        assert_eq!(ending("enforcer_auth_token_expired").shadow(), "");
    }
}
