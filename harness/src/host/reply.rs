//! Responses that are made here and not by an upstream (`Http::Utility::prepareLocalReply`).

use super::{headers::HeaderMap, slots::MapKind};

/// A local reply, before it is fitted to the request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LocalReply {
    pub(crate) code: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) details: String,
}

impl LocalReply {
    /// A reply of Envoy itself.
    pub(crate) fn of_envoy(code: u16, body: &str, grpc_status: Option<u32>, details: &str) -> Self {
        Self { code, body: body.into(), headers: Vec::new(), grpc_status, details: details.into() }
    }

    /// Headers and body as they enter the response path: gRPC callers get 200 and a trailers-only status.
    pub(crate) fn build(self, grpc_request: bool) -> (HeaderMap, Vec<u8>) {
        let mut headers = HeaderMap::new();
        headers.set(":status", self.code.to_string());
        for (name, value) in &self.headers {
            headers.append(MapKind::Response, name, value);
        }
        if grpc_request {
            headers.set(":status", "200");
            headers.set("content-type", "application/grpc");
            if headers.get("grpc-status").is_none() {
                headers.set("grpc-status", self.grpc_status.unwrap_or(grpc_status(self.code)).to_string());
            }
            if !self.body.is_empty() {
                headers.set("grpc-message", percent_encode(&self.body));
            }
            headers.remove("content-length");
            return (headers, Vec::new());
        }
        if self.body.is_empty() {
            headers.remove("content-length");
            headers.remove("content-type");
        } else {
            headers.set("content-length", self.body.len().to_string());
            if headers.get("content-type").is_none() {
                headers.set("content-type", "text/plain");
            }
        }
        (headers, self.body)
    }
}

/// Whether Envoy takes a request for gRPC: by content type alone.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get("content-type").is_some_and(|value| {
        value.strip_prefix(b"application/grpc").is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
    })
}

/// `Grpc::Utility::httpToGrpcStatus`.
pub(super) fn grpc_status(code: u16) -> u32 {
    match code {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// `PercentEncoding::encode` as gRPC wants messages: control bytes, `%` and everything beyond `~`.
fn percent_encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if matches!(byte, b' '..=b'~') && *byte != b'%' {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, body: &str, headers: &[(&str, &str)]) -> LocalReply {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        LocalReply { headers, ..LocalReply::of_envoy(code, body, None, "") }
    }

    #[test]
    fn a_body_gets_a_length_and_a_type() {
        let (headers, body) = reply(401, "no", &[("x", "y"), ("content-length", "99")]).build(false);
        assert_eq!(headers.get("content-length"), Some(&b"2"[..]));
        assert_eq!(headers.get("content-type"), Some(&b"text/plain"[..]));
        assert_eq!(headers.get("x"), Some(&b"y"[..]));
        assert_eq!(body, b"no");
    }

    #[test]
    fn without_a_body_there_is_neither() {
        let (headers, _) = reply(204, "", &[("content-type", "a/b"), ("content-length", "3")]).build(false);
        assert_eq!(headers, HeaderMap::from_iter([(":status", "204")]));
    }

    #[test]
    fn grpc_callers_get_a_status_and_the_body_as_message() {
        let (headers, body) = reply(401, "no\n100%", &[]).build(true);
        assert_eq!(headers.get(":status"), Some(&b"200"[..]));
        assert_eq!(headers.get("grpc-status"), Some(&b"16"[..]));
        assert_eq!(headers.get("grpc-message"), Some(&b"no%0A100%25"[..]));
        assert_eq!(body, b"");
    }

    #[test]
    fn only_the_grpc_content_types_are_grpc() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&HeaderMap::from_iter([("content-type", value)])), expected, "{value}");
        }
    }
}
