//! What credentials and limits need beside the gateway: asked once in a while, so that it takes no part in what is measured.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use enforcer_core::protobuf::Message;
use enforcer_testbed::{EchoBackend, GrpcReply, GrpcServer, Reply};
use serde_json::{Value, json};

use crate::{
    Result,
    gateway::{SCOPE, cluster},
};

/// The clusters of what is here.
pub const INTROSPECTION: &str = "introspection";
pub const REVOCATIONS: &str = "revocations";
pub const LIMITS: &str = "limits";

/// Tokens of the list.
const REVOKED: usize = 1_000_000;
/// An entry of the compact form: eight bytes of a hash, four of its end.
const ENTRY: usize = 12;
/// Entries of a page, which has less than 1 MiB.
const PAGE: usize = 80_000;

/// An authorization server, a rate limit service, and a list of revoked tokens.
#[derive(Debug)]
pub struct Services {
    introspection: EchoBackend,
    limits: GrpcServer,
    revocations: SocketAddr,
}

impl Services {
    /// Starts them; they last as long as this process.
    pub fn start() -> Result<Self> {
        let introspection = EchoBackend::start()?;
        let scope = format!("openid profile email {SCOPE}");
        let known = json!({"active": true, "sub": "alice", "client_id": "shop-web", "scope": scope});
        let json = Reply::default().header("content-type", "application/json");
        introspection.answer(json.body(known.to_string()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let revocations = listener.local_addr()?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(|| serve_pages(stream));
            }
        });
        Ok(Self { introspection, limits: GrpcServer::start_on(0, |_| grant())?, revocations })
    }

    /// For the bootstrap.
    pub fn clusters(&self) -> [Value; 3] {
        [
            cluster(INTROSPECTION, self.introspection.address(), false),
            cluster(REVOCATIONS, self.revocations, false),
            cluster(LIMITS, self.limits.address(), true),
        ]
    }
}

/// A `RateLimitResponse`: OK, and more is left than a run can use in the hour until it ends.
fn grant() -> GrpcReply {
    const OK: u64 = 1;
    let hour = Message::default().uint(1, 3_600);
    let status = Message::default().uint(1, OK).uint(3, u32::MAX.into()).bytes(4, hour.as_ref());
    let answer = Message::default().uint(1, OK).bytes(2, status.as_ref());
    GrpcReply::Message(answer.into_bytes(), Duration::ZERO)
}

/// Answers the requests of one connection with the page that each asks for.
fn serve_pages(stream: TcpStream) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream).lines();
    loop {
        let first = lines.next()?.ok()?;
        while !lines.next()?.ok()?.is_empty() {}
        let cursor = first.split_once("cursor=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        writer.write_all(&page(cursor.unwrap_or(0))).ok()?;
    }
}

/// The answer with the entries from this one on.
fn page(cursor: usize) -> Vec<u8> {
    let end = cursor.saturating_add(PAGE).min(REVOKED);
    // Hashes, as far as anyone can tell: an odd number times the position takes each value once.
    let hash = |position: usize| (position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let entries = (cursor..end).flat_map(|position| hash(position).into_iter().chain([0xff; 4]));
    let length = end.saturating_sub(cursor).saturating_mul(ENTRY);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nnext-cursor: {end}\r\ncontent-length: {length}\r\n\r\n"
    );
    head.into_bytes().into_iter().chain(entries).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_the_whole_list() {
        let mut cursor = 0;
        let mut bytes = 0;
        while cursor < REVOKED {
            let page = page(cursor);
            let text = String::from_utf8_lossy(&page);
            let (_, rest) = text.split_once("next-cursor: ").unwrap();
            let (next, rest) = rest.split_once("\r\n").unwrap();
            let length: usize =
                rest.strip_prefix("content-length: ").unwrap().split_once('\r').unwrap().0.parse().unwrap();
            assert!(page.ends_with(&[0xff; 4]) && length <= 1 << 20);
            (cursor, bytes) = (next.parse().unwrap(), bytes + length);
        }
        assert_eq!((cursor, bytes), (REVOKED, REVOKED * ENTRY));
    }
}
