//! The service behind Envoy: one thread that answers every request with the same few bytes.
//!
//! It must not be what limits a run and must not change between runs, so it reads no more of a request than its end.
//! Only of a POST, which carries a batch of events, is the head kept: it says how long the body is.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
};

use crate::Result;

const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{\"status\":\"ok\"}";
const END_OF_REQUEST: [u8; 4] = *b"\r\n\r\n";
/// The listener among the sockets that are waited for; connections count from 1.
const LISTENER: u64 = 0;

/// A kept-alive connection.
struct Connection {
    stream: TcpStream,
    /// The last bytes that were read, in which the end of a request may have begun.
    last: [u8; 4],
    /// The head of a POST, as far as it is here; empty in any other request.
    head: Vec<u8>,
    /// Whether the next byte begins a request.
    begins: bool,
    /// Of a body, still to come.
    body: usize,
}

/// Prints where it listens, then serves until it is stopped. For requests without bodies.
pub fn serve() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?);
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections = HashMap::new();
    let mut next = LISTENER;
    let mut events = Vec::with_capacity(64);
    let mut buffer = vec![0; 64 << 10];
    loop {
        epoll::wait(&poll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            if event.data.u64() == LISTENER {
                let Ok((stream, _)) = listener.accept() else { continue };
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                next = next.wrapping_add(1);
                epoll::add(&poll, &stream, EventData::new_u64(next), EventFlags::IN)?;
                connections.insert(next, Connection::new(stream));
            } else if let Some(connection) = connections.get_mut(&event.data.u64())
                && !connection.answer(&mut buffer)
            {
                connections.remove(&event.data.u64());
            }
        }
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self { stream, last: [0; 4], head: Vec::new(), begins: true, body: 0 }
    }

    /// Answers what has arrived; false when the connection is over.
    fn answer(&mut self, buffer: &mut [u8]) -> bool {
        let size = match self.stream.read(buffer) {
            Ok(0) => return false,
            Ok(size) => size,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        let mut left = buffer.get(..size).unwrap_or_default();
        while let Some((byte, rest)) = left.split_first() {
            if self.body > 0 {
                let (skipped, rest) = left.split_at(self.body.min(left.len()));
                self.body = self.body.saturating_sub(skipped.len());
                left = rest;
                if self.body == 0 && self.stream.write_all(RESPONSE).is_err() {
                    return false;
                }
                continue;
            }
            left = rest;
            if std::mem::replace(&mut self.begins, false) && *byte == b'P' || !self.head.is_empty() {
                self.head.push(*byte);
            }
            self.last.rotate_left(1);
            self.last[3] = *byte;
            if self.last == END_OF_REQUEST {
                self.begins = true;
                self.body = length(&std::mem::take(&mut self.head));
                if self.body == 0 && self.stream.write_all(RESPONSE).is_err() {
                    return false;
                }
            }
        }
        true
    }
}

/// `content-length` of a head, in lower case as Envoy writes it; 0 if there is none.
fn length(head: &[u8]) -> usize {
    let lines = head.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok());
    let mut lengths = lines.filter_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    lengths.next().unwrap_or(0)
}
