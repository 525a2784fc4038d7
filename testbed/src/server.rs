//! The small HTTP/1.1 server under the backend and the identity provider.

use std::fmt;
use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::http1::{self, Unannounced};
use crate::{Error, Fields};

/// A request as a server received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The method, such as `GET`.
    pub method: String,
    /// The request target exactly as it came, query included, nothing decoded.
    pub path: String,
    /// The header fields in wire order.
    pub headers: Fields,
    /// The body with its chunks put together.
    pub body: Vec<u8>,
    /// The trailer fields in wire order.
    pub trailers: Fields,
}

/// How a server answers from now on. The default is 200 with the server's own body, at once.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Fields,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) trailers: Option<Fields>,
    pub(crate) delay: Duration,
    pub(crate) pace: Duration,
    pub(crate) reset: bool,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            status: 200,
            headers: Fields::new(),
            body: None,
            trailers: None,
            delay: Duration::ZERO,
            pace: Duration::ZERO,
            reset: false,
        }
    }
}

impl Reply {
    /// The server's own body with this HTTP status.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// The server's own answer after a pause.
    pub fn slow(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// The server's own answer: its head at once, then a byte of the body each time so long has passed.
    pub fn dripping(pace: Duration) -> Self {
        Self { pace, ..Self::default() }
    }

    /// Closes the connection without a byte of an answer.
    pub fn reset() -> Self {
        Self { reset: true, ..Self::default() }
    }

    /// Adds a header field. `content-length` and `transfer-encoding` are the server's.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Sends this body in place of the server's own.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// Sends the body in chunks with these trailers after it.
    #[must_use]
    pub fn chunked(mut self, trailers: Fields) -> Self {
        self.trailers = Some(trailers);
        self
    }

    /// Waits this long before the first byte.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    fn to_wire(&self, method: &str) -> Vec<u8> {
        let body = self.body.as_deref().unwrap_or_default();
        let mut out = format!("HTTP/1.1 {} Testbed\r\n", self.status).into_bytes();
        self.headers.write_to(&mut out);
        // RFC 9110 section 8.6: no content-length in 1xx and 204.
        let bodiless = self.status < 200 || self.status == 204;
        match &self.trailers {
            _ if bodiless => out.extend_from_slice(b"\r\n"),
            None => {
                out.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
                if method != "HEAD" && self.status != 304 {
                    out.extend_from_slice(body);
                }
            }
            Some(trailers) => {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                if method != "HEAD" && self.status != 304 {
                    body.chunks(body.len().div_ceil(2).max(1))
                        .for_each(|chunk| http1::write_chunk(&mut out, chunk));
                    http1::write_last_chunk(&mut out, trailers);
                }
            }
        }
        out
    }
}

type Handler = dyn Fn(Received) -> Reply + Send + Sync;

/// Accepts on one loopback port, a thread a connection, until dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    handler: Box<Handler>,
    stopping: AtomicBool,
    /// Connections to cut when the server stops: a thread in `read` notices nothing else.
    open: Mutex<Vec<(u64, TcpStream)>>,
}

impl Server {
    /// Listens on 127.0.0.1; port 0 lets the kernel choose.
    pub(crate) fn start(
        port: u16,
        handler: impl Fn(Received) -> Reply + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(Error::io(format!("listen on 127.0.0.1:{port}")))?;
        let address = listener.local_addr().map_err(Error::io("read the address of a listener"))?;
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            stopping: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // The acceptor sits in `accept`: one connection wakes it.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().ok();
        }
        for (_, connection) in lock(&self.shared.open).drain(..) {
            connection.shutdown(Shutdown::Both).ok();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (id, connection) in (0..).zip(listener.incoming()) {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(connection) = connection else { continue };
        let Ok(twin) = connection.try_clone() else { continue };
        lock(&shared.open).push((id, twin));
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A client that goes away in the middle is the client's business.
            serve(&connection, &shared).ok();
            lock(&shared.open).retain(|(open, _)| *open != id);
            connection.shutdown(Shutdown::Both).ok();
        });
    }
}

fn serve(connection: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    let mut writer = connection;
    while let Some(mut message) = http1::read_head(&mut reader)? {
        http1::read_body(&mut reader, &mut message, Unannounced::NoBody)?;
        if !message.complete {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&message.start).into_owned();
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let reply = (shared.handler)(Received {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: message.fields,
            body: message.body,
            trailers: message.trailers,
        });
        std::thread::sleep(reply.delay);
        if reply.reset {
            return Ok(());
        }
        let wire = reply.to_wire(method);
        if reply.pace.is_zero() {
            writer.write_all(&wire)?;
        } else {
            drip(writer, &wire, reply.pace)?;
        }
    }
    Ok(())
}

/// Writes an answer's head, and then its body byte by byte.
fn drip(mut writer: &TcpStream, wire: &[u8], pace: Duration) -> std::io::Result<()> {
    const END: &[u8] = b"\r\n\r\n";
    let end = wire.windows(END.len()).position(|window| window == END);
    let (head, body) = wire.split_at(end.map_or(wire.len(), |end| end.saturating_add(END.len())));
    writer.write_all(head)?;
    for byte in body {
        std::thread::sleep(pace);
        writer.write_all(std::slice::from_ref(byte))?;
    }
    Ok(())
}

/// The content of a mutex, also after a panic in a thread that held it: no holder leaves it half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
