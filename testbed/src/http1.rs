//! Reading HTTP/1.1 messages (RFC 9112), for the servers and the client alike.
//!
//! Lenient on purpose: the testbed shows what came over the wire and leaves judging it to the test.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Fields;
use crate::tls::Stream;

/// The longest head or chunk line read: far above the 60 KiB of headers that Envoy allows.
const MAX_HEAD: u64 = 4 * 1024 * 1024;

/// One message as it came.
#[derive(Debug, Default)]
pub(crate) struct Message {
    /// Request line or status line, without the line end.
    pub(crate) start: Vec<u8>,
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// False when the connection ended before the body did.
    pub(crate) complete: bool,
}

/// What ends a body that announces neither a length nor chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unannounced {
    /// A request: there is none.
    NoBody,
    /// A response: the end of the connection.
    UntilClose,
}

/// Reads the start line and the fields; `None` when the connection ends before the first byte.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Message>> {
    let Some(start) = read_line(reader)? else { return Ok(None) };
    let fields = read_fields(reader)?;
    Ok(Some(Message { start, fields, complete: true, ..Message::default() }))
}

/// Reads the body that `message`'s fields announce, and its trailers.
pub(crate) fn read_body(
    reader: &mut impl BufRead,
    message: &mut Message,
    unannounced: Unannounced,
) -> io::Result<()> {
    let chunked =
        message.fields.all("transfer-encoding").any(|value| value.to_ascii_lowercase().ends_with(b"chunked"));
    let length = message.fields.text("content-length").and_then(|n| n.trim().parse::<u64>().ok());
    match length {
        _ if chunked => read_chunks(reader, message),
        Some(length) => {
            let got = reader.take(length).read_to_end(&mut message.body)?;
            message.complete = u64::try_from(got).is_ok_and(|got| got == length);
            Ok(())
        }
        None if unannounced == Unannounced::UntilClose => {
            reader.read_to_end(&mut message.body)?;
            Ok(())
        }
        None => Ok(()),
    }
}

fn read_chunks(reader: &mut impl BufRead, message: &mut Message) -> io::Result<()> {
    loop {
        let Some(line) = read_line(reader)? else {
            message.complete = false;
            return Ok(());
        };
        let digits = String::from_utf8_lossy(&line).split(';').next().unwrap_or_default().trim().to_owned();
        let size = u64::from_str_radix(&digits, 16)
            .map_err(|_| invalid(format!("`{digits}` is not a chunk size")))?;
        if size == 0 {
            message.trailers = read_fields(reader)?;
            return Ok(());
        }
        let got = reader.take(size).read_to_end(&mut message.body)?;
        if u64::try_from(got).is_ok_and(|got| got < size) {
            message.complete = false;
            return Ok(());
        }
        read_line(reader)?;
    }
}

fn read_fields(reader: &mut impl BufRead) -> io::Result<Fields> {
    let mut fields = Fields::new();
    loop {
        let line = read_line(reader)?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if line.is_empty() {
            return Ok(fields);
        }
        let mut halves = line.splitn(2, |&byte| byte == b':');
        match (halves.next(), halves.next()) {
            (Some(name), Some(value)) => fields.push(name, value.trim_ascii()),
            _ => return Err(invalid(format!("`{}` is no header field", String::from_utf8_lossy(&line)))),
        }
    }
}

/// One line without its end; `None` at the end of the stream.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.take(MAX_HEAD).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}

/// One chunk as it goes over the wire. An empty one would end the body, so it becomes nothing.
pub(crate) fn write_chunk(out: &mut Vec<u8>, chunk: &[u8]) {
    if !chunk.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
}

/// The last chunk and the trailers.
pub(crate) fn write_last_chunk(out: &mut Vec<u8>, trailers: &Fields) {
    out.extend_from_slice(b"0\r\n");
    trailers.write_to(out);
    out.extend_from_slice(b"\r\n");
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A socket on which everything together has to end before one deadline.
///
/// A timeout per read would never fire against a peer that sends a byte now and then.
#[derive(Debug)]
pub(crate) struct Timed {
    /// What has timeouts.
    pub(crate) socket: TcpStream,
    /// The same connection, or TLS on it.
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) deadline: Instant,
}

impl Timed {
    fn remaining(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.remaining()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.remaining()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(wire: &[u8], unannounced: Unannounced) -> Message {
        let mut reader = wire;
        let mut message = read_head(&mut reader).unwrap().unwrap();
        read_body(&mut reader, &mut message, unannounced).unwrap();
        message
    }

    #[test]
    fn keeps_order_duplicates_and_odd_bytes() {
        let message = read(b"GET / HTTP/1.1\r\nA: 1\r\nb:\xff \r\na:2\r\n\r\n", Unannounced::NoBody);
        assert_eq!(message.start, b"GET / HTTP/1.1");
        assert_eq!(message.fields.all("A").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(message.fields.get("B"), Some(&b"\xff"[..]));
        assert_eq!(message.fields.len(), 3);
    }

    #[test]
    fn reads_chunks_extensions_and_trailers() {
        let wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nT: 1\r\n\r\n";
        let message = read(wire, Unannounced::UntilClose);
        assert_eq!((message.body.as_slice(), message.complete), (&b"abcd"[..], true));
        assert_eq!(message.trailers.get("t"), Some(&b"1"[..]));
    }

    #[test]
    fn says_when_a_body_was_cut_short() {
        assert!(!read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", Unannounced::UntilClose).complete);
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc";
        assert!(!read(chunked, Unannounced::UntilClose).complete);
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\nabc", Unannounced::UntilClose).complete);
    }

    #[test]
    fn a_connection_that_ends_at_once_is_no_message() {
        assert!(read_head(&mut &b""[..]).unwrap().is_none());
        assert!(read_head(&mut &b"GET / HTT"[..]).is_err());
    }
}
