//! What became of a request.

use std::collections::BTreeMap;

use super::backend::BackendRequest;
use crate::host::HeaderMap;

/// A request under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handle {
    pub(crate) worker: usize,
    pub(crate) number: u64,
}

/// Why a request has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    /// The module has stopped the request.
    Request,
    /// The module has stopped the response.
    Response,
    /// The VM died while the stream was paused: nobody will ever continue it.
    VmDied,
    /// The backend has not answered yet.
    Backend,
}

/// What became of a request: what the client got, what the backend saw, what the access log would say.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub(crate) handle: Handle,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
    pub(crate) reset: bool,
    pub(crate) paused: Option<Paused>,
    pub(crate) backend: Option<BackendRequest>,
    pub(crate) ended: crate::host::Ended,
}

impl Outcome {
    /// The request, to look at it again with [`super::Harness::poll`].
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// The status that the client got; 0 if no response has started.
    pub fn status(&self) -> u16 {
        self.headers.text(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// All response headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The first value of a response header.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.text(name)
    }

    /// The response body, as far as it came.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The response body as text.
    pub fn body_str(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Response trailers.
    pub fn trailers(&self) -> &HeaderMap {
        &self.trailers
    }

    /// Why the request has not ended; `None` once it has.
    pub fn paused(&self) -> Option<Paused> {
        self.paused
    }

    /// Whether the client's stream was cut instead of ended.
    pub fn was_reset(&self) -> bool {
        self.reset
    }

    /// What the backend saw; `None` if nothing reached it.
    pub fn backend(&self) -> Option<&BackendRequest> {
        self.backend.as_ref()
    }

    /// `%RESPONSE_CODE_DETAILS%`; empty until the request has ended.
    pub fn details(&self) -> &str {
        &self.ended.details
    }

    /// Filter state at the end, such as `wasm.enforcer`.
    pub fn filter_state(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.ended.filter_state
    }

    /// How often the module made Envoy choose the route again.
    pub fn route_cache_clears(&self) -> u32 {
        self.ended.route_cache_clears
    }

    /// WebAssembly instructions of this request; 0 unless the module was loaded with [`crate::Module::metered`].
    pub fn instructions(&self) -> u64 {
        self.ended.instructions
    }
}
