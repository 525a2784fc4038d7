use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::sync::oneshot;

use crate::server::lock;
use crate::{Error, Fields, Received};

/// How a gRPC server answers one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrpcReply {
    /// With this message, after this long.
    Message(Vec<u8>, Duration),
    /// With this `grpc-status`.
    Status(u32),
}

/// Answers unary gRPC calls by HTTP/2 without TLS, until dropped.
pub struct GrpcServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

type Handler = dyn Fn(&[u8]) -> GrpcReply + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    received: Mutex<Vec<Received>>,
}

impl GrpcServer {
    /// Listens on this port of 127.0.0.1, 0 for a free one. The handler is given the message of each call.
    pub fn start_on(
        port: u16,
        handler: impl Fn(&[u8]) -> GrpcReply + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(Error::io(format!("listen on 127.0.0.1:{port}")))?;
        let address = listener.local_addr().map_err(Error::io("read the address of a listener"))?;
        listener.set_nonblocking(true).map_err(Error::io("prepare a listener"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::io("start a runtime"))?;
        let shared = Arc::new(Shared { handler: Box::new(handler), received: Mutex::default() });
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        // Dropping the runtime drops every connection.
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = accept(listener, serving) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The calls received, oldest first; the body is the message.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }
}

impl fmt::Debug for GrpcServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (connection, _) = listener.accept().await?;
        connection.set_nodelay(true)?;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let Ok(mut connection) = h2::server::handshake(connection).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                let shared = Arc::clone(&shared);
                // A caller that goes away in the middle is the caller's business.
                tokio::spawn(async move { serve(request, respond, &shared).await.ok() });
            }
        });
    }
}

async fn serve(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: &Shared,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let mut framed = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        framed.extend_from_slice(&piece);
    }
    // One byte says whether it is compressed, four how long it is.
    let message = framed.get(5..).unwrap_or_default();
    let mut headers = Fields::new();
    head.headers.iter().for_each(|(name, value)| headers.push(name.as_str(), value.as_bytes()));
    lock(&shared.received).push(Received {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        headers,
        body: message.to_vec(),
        trailers: Fields::new(),
    });
    let reply = (shared.handler)(message);
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    match reply {
        GrpcReply::Status(status) => {
            response.headers_mut().insert("grpc-status", HeaderValue::from(status));
            respond.send_response(response, true)?;
        }
        GrpcReply::Message(message, delay) => {
            tokio::time::sleep(delay).await;
            let length = u32::try_from(message.len()).map_err(|_| Reason::INTERNAL_ERROR)?;
            let mut framed = BytesMut::new();
            framed.put_u8(0);
            framed.put_u32(length);
            framed.put_slice(&message);
            let mut stream = respond.send_response(response, false)?;
            stream.send_data(framed.freeze(), false)?;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from(0));
            stream.send_trailers(trailers)?;
        }
    }
    Ok(())
}
