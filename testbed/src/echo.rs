use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::server::{Server, lock};
use crate::{Error, Received, Reply};

/// A backend that answers with what it received.
///
/// The body of its answer is JSON: `{"method": "GET", "path": "/pets?limit=1", "headers": [["host", "a.example"],
/// ...], "body": ""}`, with `"trailers"` like `"headers"` when there were any. Names and values are strings of one
/// character a byte (ISO 8859-1), so that bytes outside UTF-8 survive.
#[derive(Debug)]
pub struct EchoBackend {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    arrived: Condvar,
    reply: Mutex<Reply>,
}

impl EchoBackend {
    /// Starts on a free port.
    pub fn start() -> Result<Self, Error> {
        Self::start_on(0)
    }

    /// Starts on this port of 127.0.0.1; 0 for a free one.
    pub fn start_on(port: u16) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let handling = Arc::clone(&shared);
        let server = Server::start(port, move |request| handling.handle(request))?;
        Ok(Self { server, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The requests received since the start or the last [`EchoBackend::clear`], oldest first.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// Waits until `count` requests have been received, and returns all there are.
    pub fn wait_for(&self, count: usize, limit: Duration) -> Result<Vec<Received>, Error> {
        let received = lock(&self.shared.received);
        let (received, _) = self
            .shared
            .arrived
            .wait_timeout_while(received, limit, |received| received.len() < count)
            .unwrap_or_else(PoisonError::into_inner);
        if received.len() < count {
            let what = format!("request {count} at the backend");
            let context = format!("it received {}", received.len());
            return Err(Error::Timeout { what, limit, context });
        }
        Ok(received.clone())
    }

    /// Forgets the requests received so far.
    pub fn clear(&self) {
        lock(&self.shared.received).clear();
    }

    /// Changes how requests are answered from now on; a reply without a body echoes.
    pub fn answer(&self, reply: Reply) {
        *lock(&self.shared.reply) = reply;
    }
}

impl Shared {
    fn handle(&self, request: Received) -> Reply {
        let mut reply = lock(&self.reply).clone();
        if reply.body.is_none() {
            reply = reply.header("content-type", "application/json").body(echo(&request).to_string());
        }
        lock(&self.received).push(request);
        self.arrived.notify_all();
        reply
    }
}

fn echo(request: &Received) -> Value {
    let pairs = |fields: &crate::Fields| -> Vec<Value> {
        fields.iter().map(|(name, value)| json!([latin1(name), latin1(value)])).collect()
    };
    let mut document = json!({
        "method": request.method,
        "path": request.path,
        "headers": pairs(&request.headers),
        "body": latin1(&request.body),
    });
    if let (Some(object), false) = (document.as_object_mut(), request.trailers.is_empty()) {
        object.insert("trailers".into(), pairs(&request.trailers).into());
    }
    document
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fields, RawClient, Request};

    #[test]
    fn echoes_bytes_duplicates_and_the_raw_path() {
        let backend = EchoBackend::start().unwrap();
        let request =
            Request::new("PUT", "/a%2Fb/../c?q=%20").header("x", "1").header("X", b"\xff").body("hi");
        let answer = RawClient::new(backend.address()).send(&request).unwrap();
        let echo: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, &echo["path"]), (200, &json!("/a%2Fb/../c?q=%20")));
        assert_eq!((&echo["method"], &echo["body"]), (&json!("PUT"), &json!("hi")));
        let headers = echo["headers"].as_array().unwrap();
        assert!(headers.contains(&json!(["x", "1"])) && headers.contains(&json!(["X", "\u{ff}"])), "{echo}");

        let received = backend.received();
        assert_eq!(received[0].headers.all("x").collect::<Vec<_>>(), [&b"1"[..], b"\xff"]);
        backend.clear();
        assert!(backend.received().is_empty());
    }

    #[test]
    fn answers_as_told() {
        let backend = EchoBackend::start().unwrap();
        let client = RawClient::new(backend.address());
        backend
            .answer(Reply::status(418).header("a", "b").body("teapot").chunked(Fields::new().with("t", "1")));
        let answer = client.send(&Request::get("/")).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (418, &b"teapot"[..]));
        assert_eq!((answer.headers.get("a"), answer.trailers.get("t")), (Some(&b"b"[..]), Some(&b"1"[..])));

        backend.answer(Reply::reset());
        assert!(client.send(&Request::get("/")).is_err());
        backend.answer(Reply::slow(Duration::from_secs(60)));
        let hasty = client.timeout(Duration::from_millis(50));
        assert!(hasty.send(&Request::get("/")).unwrap_err().is_timeout());
        backend.answer(Reply::dripping(Duration::from_secs(60)).body("ab"));
        assert!(hasty.send(&Request::get("/")).unwrap_err().is_timeout());
        backend.answer(Reply::dripping(Duration::from_millis(1)).body("ab"));
        assert_eq!(client.send(&Request::get("/")).unwrap().body, b"ab");
    }

    #[test]
    fn waits_for_requests_and_gives_up() {
        let backend = EchoBackend::start().unwrap();
        assert!(backend.wait_for(1, Duration::from_millis(10)).unwrap_err().is_timeout());
        RawClient::new(backend.address()).send(&Request::get("/")).unwrap();
        assert_eq!(backend.wait_for(1, Duration::from_secs(1)).unwrap().len(), 1);
    }

    #[test]
    fn stops_listening_when_dropped() {
        let backend = EchoBackend::start().unwrap();
        let client = RawClient::new(backend.address());
        let mut kept = client.connect().unwrap();
        kept.send(&Request::get("/")).unwrap();
        drop(backend);
        assert!(kept.send(&Request::get("/")).is_err(), "an open connection outlived its server");
        assert!(client.connect().is_err());
    }
}
