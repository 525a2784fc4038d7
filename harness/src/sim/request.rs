//! Requests of a test.

use super::backend::frames;
use crate::host::{Frame, HeaderMap, Value};

/// A request. HTTP/1.1 to `localhost` from 127.0.0.1 unless said otherwise.
#[derive(Debug, Clone)]
pub struct Request {
    headers: HeaderMap,
    chunks: Vec<Vec<u8>>,
    trailers: Option<HeaderMap>,
    http1: bool,
    pub(crate) worker: Option<usize>,
    pub(crate) attributes: Vec<(Vec<String>, Value)>,
}

impl Request {
    /// A request with this method and path; the path may have a query.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            headers: HeaderMap::from_iter([
                (":authority", "localhost"),
                (":path", path),
                (":method", method),
                (":scheme", "http"),
            ]),
            chunks: Vec::new(),
            trailers: None,
            http1: true,
            worker: None,
            attributes: Vec::new(),
        }
    }

    /// A GET.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A POST; give it a body.
    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    /// `:authority`, with or without port.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        let rest = self.headers.iter().filter(|(name, _)| *name != ":authority");
        self.headers = [(":authority", host.as_bytes())].into_iter().chain(rest).collect();
        self
    }

    /// Adds a header; a second one of the same name does not replace the first.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.add(name, value);
        self
    }

    /// `Authorization: Bearer <token>`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// The whole body at once, with its length declared.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.headers.set("content-length", body.as_ref().len().to_string());
        self.chunks = vec![body.as_ref().to_vec()];
        self
    }

    /// The body in pieces; each reaches the module by itself.
    #[must_use]
    pub fn chunks<B: AsRef<[u8]>>(mut self, chunks: impl IntoIterator<Item = B>) -> Self {
        self.headers.remove("content-length");
        self.chunks = chunks.into_iter().map(|chunk| chunk.as_ref().to_vec()).collect();
        self
    }

    /// Adds a trailer: then no piece of the body has end_of_stream.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.trailers.get_or_insert_default().add(name, value);
        self
    }

    /// HTTP/2: the last piece of a body has end_of_stream; HTTP/1.1 tells it with an empty piece.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http1 = false;
        self.attribute("request.protocol", "HTTP/2")
    }

    /// The worker that gets it; otherwise they take turns.
    #[must_use]
    pub fn worker(mut self, worker: usize) -> Self {
        self.worker = Some(worker);
        self
    }

    /// The client's address, as `address:port`.
    #[must_use]
    pub fn from(self, address: &str) -> Self {
        self.attribute("source.address", address)
    }

    /// An Envoy attribute, such as `xds.route_name`; its parts are separated by dots.
    #[must_use]
    pub fn attribute(mut self, path: &str, value: impl Into<Value>) -> Self {
        self.attributes.push((path.split('.').map(str::to_owned).collect(), value.into()));
        self
    }

    /// Dynamic metadata of a namespace, as another filter would have set it.
    #[must_use]
    pub fn metadata(mut self, namespace: &str, value: &serde_json::Value) -> Self {
        let path = ["metadata", "filter_metadata", namespace].map(str::to_owned).to_vec();
        self.attributes.push((path, Value::from_json(value)));
        self
    }

    /// The pieces, with what Envoy's connection manager adds to the headers.
    pub(crate) fn into_frames(mut self, request_id: &str) -> Vec<Frame> {
        let scheme = self.headers.get(":scheme").unwrap_or(b"http").to_vec();
        for (name, value) in
            [("x-forwarded-proto", scheme.as_slice()), ("x-request-id", request_id.as_bytes())]
        {
            if self.headers.get(name).is_none() {
                self.headers.add(name, value);
            }
        }
        frames(self.headers, self.chunks, self.trailers, self.http1)
    }
}
