//! The service behind Envoy's route.

use std::{fmt, sync::Arc, time::Duration};

use crate::host::{Frame, HeaderMap};

/// How the backend answers requests that get through. The default says 200 with no body.
#[derive(Clone)]
pub struct Backend {
    pub(crate) headers: HeaderMap,
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) delay: Duration,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Answers,
    Hangs,
    By(Arc<dyn Fn(&BackendRequest) -> Backend + Send + Sync>),
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("headers", &self.headers)
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}

impl Default for Backend {
    fn default() -> Self {
        Self::status(200)
    }
}

impl Backend {
    /// Answers with this status.
    pub fn status(status: u16) -> Self {
        Self {
            headers: HeaderMap::from_iter([(":status", status.to_string())]),
            chunks: Vec::new(),
            trailers: None,
            delay: Duration::ZERO,
            kind: Kind::Answers,
        }
    }

    /// Reads requests and never answers.
    pub fn hang() -> Self {
        Self { kind: Kind::Hangs, ..Self::default() }
    }

    /// Decides for each request.
    pub fn by(decide: impl Fn(&BackendRequest) -> Self + Send + Sync + 'static) -> Self {
        Self { kind: Kind::By(Arc::new(decide)), ..Self::default() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.add(name, value);
        self
    }

    /// The whole body at once, with its length declared.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.headers.set("content-length", body.as_ref().len().to_string());
        self.chunks = vec![body.as_ref().to_vec()];
        self
    }

    /// The body in pieces; each arrives by itself.
    #[must_use]
    pub fn chunks<B: AsRef<[u8]>>(mut self, chunks: impl IntoIterator<Item = B>) -> Self {
        self.chunks = chunks.into_iter().map(|chunk| chunk.as_ref().to_vec()).collect();
        self
    }

    /// Adds a trailer.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.trailers.get_or_insert_default().add(name, value);
        self
    }

    /// Answers later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Delay and pieces of the answer; `None` never comes.
    pub(crate) fn answer(&self, request: &BackendRequest) -> Option<(Duration, Vec<Frame>)> {
        match &self.kind {
            Kind::Hangs => None,
            Kind::By(decide) => {
                let (delay, frames) = decide(request).answer(request)?;
                Some((self.delay.saturating_add(delay), frames))
            }
            Kind::Answers => {
                let body_allowed = request.headers.get(":method") != Some(b"HEAD");
                let chunks = if body_allowed { self.chunks.clone() } else { Vec::new() };
                Some((self.delay, frames(self.headers.clone(), chunks, self.trailers.clone(), true)))
            }
        }
    }
}

/// The pieces in which a message arrives. HTTP/1 tells the end of a body with an empty piece of its own.
pub(crate) fn frames(
    headers: HeaderMap,
    chunks: Vec<Vec<u8>>,
    trailers: Option<HeaderMap>,
    http1: bool,
) -> Vec<Frame> {
    let only_headers = chunks.is_empty() && trailers.is_none();
    let mut frames = vec![Frame::Headers { headers, end_of_stream: only_headers }];
    frames.extend(chunks.into_iter().map(|data| Frame::Data { data, end_of_stream: false }));
    match (trailers, frames.last_mut()) {
        (Some(trailers), _) => frames.push(Frame::Trailers(trailers)),
        (None, Some(Frame::Data { end_of_stream, .. })) if !http1 => *end_of_stream = true,
        (None, Some(Frame::Data { .. })) => {
            frames.push(Frame::Data { data: Vec::new(), end_of_stream: true })
        }
        (None, _) => {}
    }
    frames
}

/// What the backend saw of a request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BackendRequest {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
    /// Whether the request arrived to its end. Not if the module refused it half-way.
    pub complete: bool,
}

impl BackendRequest {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.text(name)
    }

    /// `:path`.
    pub fn path(&self) -> String {
        self.headers.text(":path").unwrap_or_default()
    }

    /// The body as text.
    pub fn body_str(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn receive(&mut self, frame: Frame) {
        match frame {
            Frame::Headers { headers, end_of_stream } => {
                self.headers = headers;
                self.complete = end_of_stream;
            }
            Frame::Data { data, end_of_stream } => {
                self.body.extend(data);
                self.complete = end_of_stream;
            }
            Frame::Trailers(trailers) => {
                self.trailers = trailers;
                self.complete = true;
            }
        }
    }
}
