use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::http1::{self, Message, Timed, Unannounced};
use crate::tls::{self, Stream};
use crate::{Certified, Error, Fields};

/// How long a whole exchange may take unless told otherwise. Well above what a busy machine needs.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP/1.1 client that sends exactly what it is told, right or wrong, and shows exactly what came back.
#[derive(Clone, Copy, Debug)]
pub struct RawClient {
    address: SocketAddr,
    timeout: Duration,
}

impl RawClient {
    /// A client of the server at this address; 10 seconds for each exchange.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, timeout: TIMEOUT }
    }

    /// Changes how long one exchange may take, from connecting to the last byte of the answer.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// One request on a connection of its own.
    pub fn send(&self, request: &Request) -> Result<Response, Error> {
        self.connect()?.send(request)
    }

    /// Bytes on a connection of their own, and the answer to them.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<Response, Error> {
        let mut connection = self.connect()?;
        connection.write(bytes)?;
        connection.read("")
    }

    /// Opens a connection to use step by step.
    pub fn connect(&self) -> Result<Connection, Error> {
        self.open(|socket| Ok(Box::new(socket)))
    }

    /// The same over TLS, showing a certificate if there is one. The server's is not looked at.
    pub fn connect_tls(&self, shown: Option<&Certified>) -> Result<Connection, Error> {
        self.open(|socket| tls::connect(socket, shown))
    }

    fn open(
        &self,
        stream: impl FnOnce(TcpStream) -> Result<Box<dyn Stream>, Error>,
    ) -> Result<Connection, Error> {
        let socket = TcpStream::connect_timeout(&self.address, self.timeout)
            .and_then(|socket| socket.set_nodelay(true).map(|()| socket));
        let sockets = socket.and_then(|socket| Ok((socket.try_clone()?, socket)));
        let (socket, other) = sockets.map_err(Error::io(format!("connect to {}", self.address)))?;
        let reader = BufReader::new(Timed { socket, stream: stream(other)?, deadline: Instant::now() });
        Ok(Connection { reader, timeout: self.timeout })
    }
}

/// An open connection. Dropping it closes it, also in the middle of a request.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<Timed>,
    timeout: Duration,
}

impl Connection {
    /// Sends a request and reads the answer to it.
    pub fn send(&mut self, request: &Request) -> Result<Response, Error> {
        let wire = request.to_wire();
        match request.piece {
            None => self.write(&wire)?,
            Some((size, pause)) => {
                for piece in wire.chunks(size.max(1)) {
                    self.write(piece)?;
                    std::thread::sleep(pause);
                }
            }
        }
        self.read(&request.method)
    }

    /// Writes bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.restart_clock();
        let stream = self.reader.get_mut();
        match stream.write_all(bytes).and_then(|()| stream.flush()) {
            // The server may have answered and closed before it read everything: the answer decides.
            Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                Ok(())
            }
            result => result.map_err(Error::io("send a request")),
        }
    }

    /// Reads the next final answer; interim ones (1xx other than 101) are skipped. The method decides whether a
    /// body can follow (RFC 9112 section 6.3); an empty one stands for any but `HEAD`.
    pub fn read(&mut self, method: &str) -> Result<Response, Error> {
        self.restart_clock();
        loop {
            let head = http1::read_head(&mut self.reader).map_err(read_error)?;
            let mut message =
                head.ok_or_else(|| Error::Http("the connection was closed unanswered".into()))?;
            let status = status_of(&message)?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            if method != "HEAD" && !matches!(status, 101 | 204 | 304) {
                self.read_body(&mut message)?;
            }
            return Ok(Response {
                status,
                headers: message.fields,
                body: message.body,
                trailers: message.trailers,
                complete: message.complete,
            });
        }
    }

    fn read_body(&mut self, message: &mut Message) -> Result<(), Error> {
        match http1::read_body(&mut self.reader, message, Unannounced::UntilClose) {
            Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {
                message.complete = false;
                Ok(())
            }
            result => result.map_err(read_error),
        }
    }

    fn restart_clock(&mut self) {
        let now = Instant::now();
        self.reader.get_mut().deadline = now.checked_add(self.timeout).unwrap_or(now);
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status code.
    pub status: u16,
    /// The header fields in wire order.
    pub headers: Fields,
    /// The body with its chunks put together.
    pub body: Vec<u8>,
    /// The trailer fields in wire order.
    pub trailers: Fields,
    /// False when the connection ended before the body did; `body` holds what arrived.
    pub complete: bool,
}

impl Response {
    /// The body as text; bytes that are not UTF-8 become U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request to be sent byte for byte as described: nothing is checked, added names keep their case.
///
/// `Host` is added at the front unless a header of that name is given, `Content-Length` or
/// `Transfer-Encoding` at the end where there is a body.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Fields,
    body: Body,
    piece: Option<(usize, Duration)>,
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Whole(Vec<u8>),
    Chunks(Vec<Vec<u8>>, Fields),
}

impl Request {
    /// A request with this method and raw request target.
    pub fn new(method: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            target: target.into(),
            headers: Fields::new(),
            body: Body::None,
            piece: None,
        }
    }

    /// `GET` of this raw request target.
    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    /// Adds a header field, also when one of that name is there.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Adds `Authorization: Bearer` and the token (RFC 6750 section 2.1).
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// Sends a body with its length.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Body::Whole(body.as_ref().to_vec());
        self
    }

    /// Sends a body in these chunks, and these trailers after it. Empty chunks are left out: they would end it.
    #[must_use]
    pub fn chunks<C: AsRef<[u8]>>(mut self, chunks: impl IntoIterator<Item = C>, trailers: Fields) -> Self {
        let chunks = chunks.into_iter().map(|chunk| chunk.as_ref().to_vec()).collect();
        self.body = Body::Chunks(chunks, trailers);
        self
    }

    /// Writes the request in pieces of `size` bytes with a pause after each, as a slow client does.
    #[must_use]
    pub fn in_pieces(mut self, size: usize, pause: Duration) -> Self {
        self.piece = Some((size, pause));
        self
    }

    /// The bytes that go over the wire.
    pub fn to_wire(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        if !self.headers.contains("host") {
            out.extend_from_slice(b"Host: localhost\r\n");
        }
        self.headers.write_to(&mut out);
        match &self.body {
            Body::None => out.extend_from_slice(b"\r\n"),
            Body::Whole(body) => {
                out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                out.extend_from_slice(body);
            }
            Body::Chunks(chunks, trailers) => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                chunks.iter().for_each(|chunk| http1::write_chunk(&mut out, chunk));
                http1::write_last_chunk(&mut out, trailers);
            }
        }
        out
    }
}

fn status_of(message: &Message) -> Result<u16, Error> {
    let line = String::from_utf8_lossy(&message.start);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    status.ok_or_else(|| Error::Http(format!("`{line}` is no status line")))
}

fn read_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData => Error::Http(error.to_string()),
        _ => Error::io("read the answer")(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EchoBackend, Reply};

    #[test]
    fn sends_chunks_trailers_and_single_bytes() {
        let backend = EchoBackend::start().unwrap();
        let request = Request::new("POST", "/")
            .chunks(["ab", "", "c"], Fields::new().with("T", "1"))
            .in_pieces(1, Duration::ZERO);
        RawClient::new(backend.address()).send(&request).unwrap();
        let received = backend.received();
        assert_eq!(received[0].body, b"abc");
        assert_eq!(received[0].trailers.get("t"), Some(&b"1"[..]));
    }

    #[test]
    fn uses_a_connection_again_and_knows_bodiless_answers() {
        let backend = EchoBackend::start().unwrap();
        let mut connection = RawClient::new(backend.address()).connect().unwrap();
        let head = connection.send(&Request::new("HEAD", "/")).unwrap();
        assert!(head.body.is_empty() && head.headers.contains("content-length"));
        backend.answer(Reply::status(204));
        assert_eq!(connection.send(&Request::get("/")).unwrap().status, 204);
        backend.answer(Reply::default().body("x"));
        assert_eq!(connection.send(&Request::get("/")).unwrap().body, b"x");
    }

    #[test]
    fn arbitrary_bytes_arrive() {
        let backend = EchoBackend::start().unwrap();
        let wire = b"GET /\xff HTTP/1.1\r\nhost: \x01\r\n\r\n";
        assert_eq!(RawClient::new(backend.address()).send_bytes(wire).unwrap().status, 200);
        assert_eq!(backend.received()[0].headers.get("host"), Some(&b"\x01"[..]));
    }
}
