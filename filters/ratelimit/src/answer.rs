//! What callers are told.

use std::time::Duration;

use enforcer_core::fault::{self, Code, Fault};

use crate::{
    calendar,
    config::{Headers, Level, RetryAfter},
    rate::{Rate, Standing},
    tiers::Kind,
};

/// A limit that a request was counted by.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'p> {
    /// Of the policy.
    pub name: &'p str,
    pub kind: Kind,
    pub rate: &'p Rate,
    pub standing: Standing,
    /// There was not enough: how long until there would be.
    pub over: Option<Duration>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A limit of this level is used up.
    Over { level: Level, burst: bool },
    /// It is one of those that may not call.
    Blocked,
    /// Other workers kept writing the counter.
    Contended,
    /// The service that counts for several Envoys does not answer.
    Unanswered,
    /// Another version of the filters has written who calls.
    Unreadable,
}

/// Detail, counter, code.
type Names = (&'static str, &'static str, Code);

impl Refusal {
    /// The stable word for logs and `%RESPONSE_CODE_DETAILS%`.
    pub fn detail(self) -> &'static str {
        self.names().0
    }

    /// The counter of this refusal alone.
    pub fn metric(self) -> &'static str {
        self.names().1
    }

    fn names(self) -> Names {
        macro_rules! named {
            ($word:literal, $code:ident) => {
                (
                    concat!("enforcer_ratelimit_", $word),
                    concat!("enforcer.ratelimit.refused.", $word),
                    fault::$code,
                )
            };
        }
        match self {
            Self::Over { level: Level::Api, .. } => named!("api", THROTTLED_API),
            Self::Over { level: Level::Resource, .. } => named!("resource", THROTTLED_RESOURCE),
            Self::Over { level: Level::Subscription, burst: false } => {
                named!("subscription", THROTTLED_SUBSCRIPTION)
            }
            Self::Over { level: Level::Subscription, burst: true } => {
                named!("subscription_burst", THROTTLED_SUBSCRIPTION_BURST)
            }
            Self::Over { level: Level::Application, burst: false } => {
                named!("application", THROTTLED_APPLICATION)
            }
            Self::Over { level: Level::Application, burst: true } => {
                named!("application_burst", THROTTLED_APPLICATION_BURST)
            }
            Self::Over { level: Level::Custom, .. } => named!("custom", THROTTLED_CUSTOM),
            Self::Blocked => named!("blocked", BLOCKED),
            Self::Contended => named!("contended", THROTTLE_UNAVAILABLE),
            Self::Unanswered => named!("unanswered", THROTTLE_UNAVAILABLE),
            Self::Unreadable => named!("identity_unreadable", UNCLASSIFIED),
        }
    }

    /// The answer. `counted`: the limits that were looked at.
    pub fn fault(self, counted: &[Counted<'_>], headers: Headers, now: Duration) -> Fault {
        let (detail, _, code) = self.names();
        let description = match self {
            Self::Over { .. } => "You have exceeded your quota",
            Self::Blocked => "You have been blocked from accessing the resource",
            Self::Contended | Self::Unanswered => "The quota cannot be counted at the moment",
            Self::Unreadable => "The caller is not known",
        };
        let fault = Fault::new(code, description, detail);
        match self {
            Self::Over { .. } => {
                let over: Vec<Counted<'_>> =
                    counted.iter().filter(|counted| counted.over.is_some()).copied().collect();
                let wait = over.iter().filter_map(|counted| counted.over).max().unwrap_or_default();
                let violated: Vec<String> = over.iter().map(Counted::label).collect();
                let fault = fault
                    .with_header("retry-after", retry_after(wait, headers.retry_after, now))
                    .of_kind(QUOTA_EXCEEDED, "violated-policies", violated.into());
                let fields = fields(&over, headers, now).into_iter();
                fields.fold(fault, |fault, (name, value)| fault.with_header(name, value))
            }
            Self::Contended | Self::Unanswered => {
                fault.with_header("retry-after", retry_after(Duration::ZERO, headers.retry_after, now))
            }
            Self::Blocked | Self::Unreadable => fault,
        }
    }
}

/// The problem type of draft-ietf-httpapi-ratelimit-headers-10, section 5.1.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

impl Counted<'_> {
    /// The policy's name, and which of its limits.
    fn label(&self) -> String {
        let suffix = match self.kind {
            Kind::Quota => "",
            Kind::Cost => "-cost",
            Kind::Burst => "-burst",
            Kind::Bandwidth(_) => "-bandwidth",
        };
        format!("{}{suffix}", self.name)
    }
}

/// `RateLimit` and its like, with names in lower case.
pub fn fields(counted: &[Counted<'_>], headers: Headers, now: Duration) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    if headers.rate_limit && !counted.is_empty() {
        let list = |item: fn(&Counted<'_>) -> String| counted.iter().map(item).collect::<Vec<_>>().join(", ");
        // Both are lists of strings with parameters (RFC 9651); names consist of letters, digits, `-` and `_`.
        fields.push((
            "ratelimit-policy",
            list(|one| {
                let window = seconds(one.rate.period.duration()).max(1);
                let unit = match one.kind {
                    Kind::Quota | Kind::Burst => "",
                    Kind::Bandwidth(_) => ";qu=\"content-bytes\"",
                    Kind::Cost => ";qu=\"cost\"",
                };
                format!("\"{}\";q={}{unit};w={window}", one.label(), one.rate.limit)
            }),
        ));
        fields.push((
            "ratelimit",
            list(|one| {
                let reset = seconds(one.over.unwrap_or(one.standing.reset));
                format!("\"{}\";r={};t={reset}", one.label(), one.standing.remaining)
            }),
        ));
    }
    let requests = counted.iter().filter(|one| matches!(one.kind, Kind::Quota | Kind::Burst));
    let scarcest = requests.min_by_key(|one| one.standing.remaining);
    if let (true, Some(one)) = (headers.x_rate_limit, scarcest) {
        let reset = now.saturating_add(one.over.unwrap_or(one.standing.reset));
        fields.push(("x-ratelimit-limit", one.rate.limit.to_string()));
        fields.push(("x-ratelimit-remaining", one.standing.remaining.to_string()));
        fields.push(("x-ratelimit-reset", seconds(reset).to_string()));
    }
    fields
}

/// At least a second: who is told nothing would try at once.
fn retry_after(wait: Duration, form: RetryAfter, now: Duration) -> String {
    let wait = wait.max(Duration::from_secs(1));
    match form {
        RetryAfter::Seconds => seconds(wait).to_string(),
        RetryAfter::Date => calendar::http_date(Duration::from_secs(seconds(now.saturating_add(wait)))),
    }
}

/// Whole seconds, a begun one included.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use enforcer_core::fault::Dialect;

    use super::*;
    use crate::rate::Algorithm;

    const NOW: Duration = Duration::from_millis(784_111_777_250);
    const ALL: Headers =
        Headers { retry_after: RetryAfter::Seconds, rate_limit: true, x_rate_limit: true, on_allowed: true };

    fn counted<'p>(name: &'p str, rate: &'p Rate, remaining: u64, over: Option<u64>) -> Counted<'p> {
        let standing = Standing { remaining, reset: Duration::from_millis(12_001) };
        Counted { name, kind: Kind::Quota, rate, standing, over: over.map(Duration::from_millis) }
    }

    #[test]
    fn allowed_requests_are_told_every_limit() {
        let day = Rate::new(Algorithm::Gcra, 1000, "1d".parse().unwrap()).unwrap();
        let second = Rate::new(Algorithm::Gcra, 5, "500ms".parse().unwrap()).unwrap();
        let burst = Counted { kind: Kind::Burst, ..counted("client", &second, 4, None) };
        let fields = fields(&[counted("client", &day, 990, None), burst], ALL, NOW);
        assert_eq!(
            fields,
            [
                ("ratelimit-policy", r#""client";q=1000;w=86400, "client-burst";q=5;w=1"#.to_owned()),
                ("ratelimit", r#""client";r=990;t=13, "client-burst";r=4;t=13"#.to_owned()),
                ("x-ratelimit-limit", "5".to_owned()),
                ("x-ratelimit-remaining", "4".to_owned()),
                ("x-ratelimit-reset", "784111790".to_owned()),
            ]
        );
        assert!(super::fields(&[], ALL, NOW).is_empty());
    }

    #[test]
    fn a_refusal_names_what_was_violated_and_when_to_come_back() {
        let rate = Rate::new(Algorithm::Window, 10, "1m".parse().unwrap()).unwrap();
        let counted = [counted("client", &rate, 3, None), counted("api", &rate, 0, Some(30_500))];
        let refusal = Refusal::Over { level: Level::Api, burst: false };
        let response = refusal.fault(&counted, ALL, NOW).respond(Dialect::Problem);
        assert_eq!((response.status, response.detail.as_str()), (429, "enforcer_ratelimit_api"));
        let header = |name: &str| {
            let mut found = response.headers.iter().filter(|(given, _)| given == name);
            found.next().map(|(_, value)| value.as_str())
        };
        assert_eq!(header("retry-after"), Some("31"));
        assert_eq!(header("ratelimit"), Some(r#""api";r=0;t=31"#));
        let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(body["type"], QUOTA_EXCEEDED);
        assert_eq!(body["violated-policies"], serde_json::json!(["api"]));
        assert_eq!(body["code"], "900800");
    }

    #[test]
    fn choreo_connect_says_when_by_the_clock() {
        let rate = Rate::new(Algorithm::Window, 10, "1m".parse().unwrap()).unwrap();
        let refusal = Refusal::Over { level: Level::Subscription, burst: true };
        let headers = Headers { rate_limit: false, ..Headers::default() };
        let fault = refusal.fault(&[counted("plan", &rate, 0, Some(1))], headers, NOW);
        let response = fault.respond(Dialect::Choreo);
        assert_eq!(response.headers[1].1, "Sun, 06 Nov 1994 08:49:39 GMT", "never early");
        assert_eq!(
            String::from_utf8(response.body).unwrap(),
            r#"{"error_message":"Message throttled out","code":"900807","error_description":"You have exceeded your quota"}"#
        );
        assert_eq!(response.headers.len(), 2);
    }

    #[test]
    fn blocked_is_not_throttled() {
        let response = Refusal::Blocked.fault(&[], ALL, NOW).respond(Dialect::Choreo);
        assert_eq!((response.status, response.headers.len()), (403, 1));
        assert_eq!(Refusal::Blocked.metric(), "enforcer.ratelimit.refused.blocked");
    }
}
