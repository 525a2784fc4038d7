//! What Envoy knows of a call that is over, read in one go.

use enforcer_core::{
    cx::Cx,
    headers::HeaderMap,
    host::{Attribute, Attributes},
};

/// In the order in which [`Reading::of`] takes them; those that metrics need come first.
const ALL: [Attribute; 11] = [
    usual("request", "duration"),
    perhaps("response", "backend_latency"),
    usual("response", "code"),
    usual("response", "flags"),
    perhaps("response", "code_details"),
    usual("request", "protocol"),
    usual("request", "total_size"),
    usual("response", "total_size"),
    usual("source", "address"),
    perhaps("upstream", "address"),
    perhaps("connection", "tls_version"),
];

const ATTRIBUTES: Attributes = &ALL;
const FOR_METRICS: Attributes = ATTRIBUTES.split_at(5).0;

/// The names of them all, dotted.
pub const NAMES: [&str; 11] = [
    "request.duration",
    "response.backend_latency",
    "response.code",
    "response.flags",
    "response.code_details",
    "request.protocol",
    "request.total_size",
    "response.total_size",
    "source.address",
    "upstream.address",
    "connection.tls_version",
];

const fn usual(map: &'static str, name: &'static str) -> Attribute {
    Attribute { path: [map, name], usual: true }
}

const fn perhaps(map: &'static str, name: &'static str) -> Attribute {
    Attribute { path: [map, name], usual: false }
}

/// One call by Envoy's own account. Absent numbers are zero, absent texts empty.
#[derive(Debug, Default)]
pub struct Reading<'a> {
    /// In nanoseconds.
    pub duration: u64,
    /// In nanoseconds: from the first byte sent to the last received. `None`: the backend was not reached.
    pub backend: Option<u64>,
    pub status: u16,
    pub flags: u64,
    pub details: &'a [u8],
    pub protocol: &'a [u8],
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// Address and port.
    pub source: &'a [u8],
    pub upstream: &'a [u8],
    pub tls: &'a [u8],
}

/// Reads the call in hand; all of it, or what metrics need: what is not read costs nothing.
pub fn read(cx: &Cx<'_>, all: bool) -> HeaderMap {
    cx.host.attributes(if all { ATTRIBUTES } else { FOR_METRICS })
}

impl<'a> Reading<'a> {
    /// Takes apart what [`read`] gave.
    pub fn of(values: &'a HeaderMap) -> Self {
        let mut values = values.iter();
        let mut next = || values.next().map(|(_, value)| value).unwrap_or_default();
        Self {
            duration: number(next()).unwrap_or(0),
            backend: number(next()),
            status: number(next()).and_then(|code| u16::try_from(code).ok()).unwrap_or(0),
            flags: number(next()).unwrap_or(0),
            details: next(),
            protocol: next(),
            request_bytes: number(next()).unwrap_or(0),
            response_bytes: number(next()).unwrap_or(0),
            source: next(),
            upstream: next(),
            tls: next(),
        }
    }
}

/// Eight bytes, little endian; `None` for none and for negative ones.
fn number(bytes: &[u8]) -> Option<u64> {
    let number = i64::from_le_bytes(<[u8; 8]>::try_from(bytes).ok()?);
    u64::try_from(number).ok()
}

/// The beginning of a text from a client or backend: what is not UTF-8 is replaced, control characters go.
pub fn text(bytes: &[u8], most: usize) -> Box<str> {
    let beginning = bytes.get(..most).unwrap_or(bytes);
    if let (true, Ok(plain)) = (beginning.iter().all(|b| matches!(b, b' '..=b'~')), str::from_utf8(beginning))
    {
        return plain.into();
    }
    let text = String::from_utf8_lossy(beginning);
    if text.chars().any(char::is_control) {
        text.chars().filter(|c| !c.is_control()).collect()
    } else {
        text.into()
    }
}

/// `HTTP/1.1` and the like.
pub fn protocol(name: &[u8]) -> &'static str {
    const KNOWN: [&str; 4] = ["HTTP/1.1", "HTTP/2", "HTTP/3", "HTTP/1.0"];
    KNOWN.into_iter().find(|known| known.as_bytes() == name).unwrap_or_default()
}

/// `TLSv1.3` and the like.
pub fn tls(name: &[u8]) -> &'static str {
    const KNOWN: [&str; 4] = ["TLSv1.3", "TLSv1.2", "TLSv1.1", "TLSv1"];
    KNOWN.into_iter().find(|known| known.as_bytes() == name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn numbers_are_eight_bytes() {
        assert_eq!(number(&7_i64.to_le_bytes()), Some(7));
        assert_eq!(number(&(-1_i64).to_le_bytes()), None);
        assert_eq!(number(b""), None);
        assert_eq!(number(b"1234567"), None);
    }

    #[test]
    fn texts_are_short_and_clean() {
        assert_eq!(&*text(b"plain", 9), "plain");
        assert_eq!(&*text(b"a\xff\nb\x00c", 9), "a\u{fffd}bc");
        assert_eq!(&*text(&[b'x'; 100], 9), "xxxxxxxxx");
    }

    #[test]
    fn what_is_read_is_what_is_announced() {
        let dotted = |attribute: &Attribute| attribute.path.join(".");
        assert_eq!(ATTRIBUTES.iter().map(dotted).collect::<Vec<_>>(), NAMES);
        assert_eq!(protocol(b"HTTP/2"), "HTTP/2");
        assert_eq!((protocol(b"x"), tls(b"TLSv1.3"), tls(b"\xff")), ("", "TLSv1.3", ""));
    }
}
