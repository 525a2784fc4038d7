//! The headers that Envoy keeps in one slot: a second value is joined to the first with a comma, so that a module can
//! never see two. Seen on Envoy 1.40 by sending and adding each header twice. `Authorization` is among them;
//! `X-Api-Key` and `Cookie` are not.

/// Which kind of map a header is in: the slots differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapKind {
    Request,
    Response,
    RequestTrailers,
    ResponseTrailers,
}

impl MapKind {
    /// Whether a second value of this header is joined to the first.
    pub(crate) fn joins(self, name: &str) -> bool {
        match self {
            Self::Request => REQUEST.contains(&name) || BOTH.contains(&name),
            Self::Response => RESPONSE.contains(&name) || BOTH.contains(&name),
            Self::ResponseTrailers => matches!(name, "grpc-status" | "grpc-message"),
            Self::RequestTrailers => false,
        }
    }

    /// The name under which Envoy keeps a header: `Host` of a request is its authority.
    pub(crate) fn canonical(self, name: &str) -> String {
        let name = name.to_ascii_lowercase();
        if self == Self::Request && name == "host" { ":authority".to_owned() } else { name }
    }
}

const BOTH: [&str; 12] = [
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-envoy-attempt-count",
    "x-request-id",
];

const REQUEST: [&str; 51] = [
    ":authority",
    ":method",
    ":path",
    ":protocol",
    ":scheme",
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "authorization",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "pragma",
    "referer",
    "te",
    "user-agent",
    "x-client-trace-id",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-stream-duration-ms",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];

const RESPONSE: [&str; 26] = [
    ":status",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "date",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "last-modified",
    "location",
    "proxy-status",
    "server",
    "vary",
    "x-envoy-decorator-operation",
    "x-envoy-degraded",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-ratelimited",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
    "x-envoy-upstream-service-time",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_differ_by_kind_of_map() {
        for (name, request, response) in [
            ("authorization", true, false),
            ("x-api-key", false, false),
            ("cookie", false, false),
            ("vary", false, true),
            ("content-type", true, true),
            ("set-cookie", false, false),
            ("www-authenticate", false, false),
        ] {
            assert_eq!(MapKind::Request.joins(name), request, "{name}");
            assert_eq!(MapKind::Response.joins(name), response, "{name}");
        }
    }

    #[test]
    fn trailers_have_no_slots_but_the_grpc_status() {
        assert!(MapKind::ResponseTrailers.joins("grpc-status"));
        assert!(!MapKind::ResponseTrailers.joins("content-type"));
        assert!(!MapKind::RequestTrailers.joins("grpc-status"));
    }
}
