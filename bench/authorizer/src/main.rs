//! A minimal server for Envoy's ext_authz: one thread, and no more than whether there is a bearer token.

use std::net::Ipv4Addr;

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// `CheckResponse` of `envoy.service.auth.v3` with an empty `ok_response`.
const ALLOWED: &[u8] = &[0x0a, 0x00, 0x1a, 0x00];
/// `CheckResponse` with the status `UNAUTHENTICATED` and a `denied_response` of 401.
const DENIED: &[u8] = &[0x0a, 0x02, 0x08, 0x10, 0x12, 0x05, 0x0a, 0x03, 0x08, 0x91, 0x03];
const BEARER: &[u8] = b"Bearer ";

/// Prints where it listens, then serves until it is stopped.
fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(connection(stream));
        }
    })
}

async fn connection(stream: TcpStream) {
    // A connection that breaks is Envoy's to open again.
    let _ = stream.set_nodelay(true);
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(async move {
            let _ = check(request, respond).await;
        });
    }
}

async fn check(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) -> Result<()> {
    let mut body = request.into_body();
    let mut message = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        message.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len())?;
    }
    let allowed = message.windows(BEARER.len()).any(|window| window == BEARER);
    let answer = if allowed { ALLOWED } else { DENIED };
    let mut framed = BytesMut::with_capacity(16);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(answer.len())?);
    framed.put_slice(answer);
    let response = Response::builder().header("content-type", "application/grpc").body(())?;
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(framed.freeze(), false)?;
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
    stream.send_trailers(trailers)?;
    Ok(())
}
