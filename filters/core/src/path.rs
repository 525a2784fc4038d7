//! Request paths in one spelling, or not at all.
//!
//! A path has many spellings: `/pets`, `/%70ets`, `//pets`, `/x/../pets`. A filter that matches one of them
//! while the backend serves another can be walked around. Envoy can normalise paths before the filters run,
//! but whether it does is not ours to know, so:
//!
//! * spellings that RFC 3986 calls equivalent become one ([`CanonicalPath`]);
//! * spellings on whose meaning servers disagree are refused ([`Refusal`]), never repaired.
//!
//! The canonical path is for matching only; what the backend gets is the client's own spelling.

use std::{borrow::Cow, fmt};

/// The path of a request in the one spelling that templates are matched against.
///
/// Starts with `/`, is ASCII, has no empty, `.` or `..` segments (a trailing slash is kept), and every byte
/// that is not a `pchar` of RFC 3986 section 3.3 is an upper-case percent-escape. Escapes of unreserved
/// characters are decoded (section 6.2.2.2), and so are those of `!$&'()*+,=:@`: a backend that decodes before
/// it routes cannot tell `/users/5%3Apromote` from `/users/5:promote`, so neither may the matcher. `%2F` stays
/// and does not split a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalPath<'a> {
    path: Cow<'a, str>,
    query: Option<&'a [u8]>,
    as_written: usize,
}

impl<'a> CanonicalPath<'a> {
    /// Reads the `:path` of a request: path and query. Copies nothing when it is canonical already.
    pub fn parse(raw: &'a [u8]) -> Result<Self, Refusal> {
        let (path, query) = split_query(raw);
        if path.first() != Some(&b'/') {
            return Err(Refusal::NotAbsolute);
        }
        query.map_or(Ok(()), check_query)?;
        let canonical = respell(path)?;
        check_segments(&canonical)?;
        let as_written = match &canonical {
            Cow::Borrowed(path) => path.len(),
            Cow::Owned(spelt) => path.iter().zip(spelt.as_bytes()).take_while(|(a, b)| a == b).count(),
        };
        Ok(Self { path: canonical, query, as_written })
    }

    /// The canonical path, without the query.
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// What follows the first `?`, exactly as it came.
    pub fn query(&self) -> Option<&'a [u8]> {
        self.query
    }

    /// How many leading bytes the client wrote in canonical spelling. Envoy's routes compare bytes: beyond
    /// this point they may see another path than the filter does.
    pub fn as_written(&self) -> usize {
        self.as_written
    }
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Not `/...`: an absolute URL (which Envoy takes apart before filters see it), `*`, or nothing.
    NotAbsolute,
    /// `//`: some servers merge slashes, others do not.
    EmptySegment,
    /// `.` or `..` as a segment, plain or escaped, also between `%2F` and `%5C`.
    DotSegment,
    /// `\`, which some servers take for `/`.
    Backslash,
    /// `;`: some servers cut parameters off a segment, others do not.
    Semicolon,
    /// A control character or a space; or, escaped, NUL (which cuts strings short in C) or a line break (which
    /// forges headers and log lines further on). Other escaped control characters are data.
    Control,
    /// A byte above 127 that is not escaped.
    NotAscii,
    /// `#`: clients keep fragments to themselves.
    Fragment,
    /// `%` without two hexadecimal digits.
    BadEscape,
    /// `%252e` and its like: harmless decoded once, structure, NUL or line breaks when decoded twice.
    DoubleEscape,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "it does not start with `/`",
            Self::EmptySegment => "it has an empty segment (`//`)",
            Self::DotSegment => "it has a dot segment (`/./` or `/../`)",
            Self::Backslash => "it has a backslash",
            Self::Semicolon => "it has a semicolon",
            Self::Control => "it has a control character or a space",
            Self::NotAscii => "it has a non-ASCII byte that is not percent-encoded",
            Self::Fragment => "it has a fragment (`#`)",
            Self::BadEscape => "it has a `%` that no two hexadecimal digits follow",
            Self::DoubleEscape => "it is percent-encoded twice",
        })
    }
}

impl std::error::Error for Refusal {}

/// Literal text of a template (no `/`) in canonical spelling. Unlike a client, an author may write `é`.
pub(crate) fn canonical_text(text: &str) -> Result<Cow<'_, str>, Refusal> {
    if text.is_ascii() {
        return respell(text.as_bytes());
    }
    let mut escaped = String::with_capacity(text.len().saturating_mul(2));
    for byte in text.bytes() {
        if byte.is_ascii() { escaped.push(char::from(byte)) } else { push_escape(byte, &mut escaped) }
    }
    Ok(Cow::Owned(respell(escaped.as_bytes())?.into_owned()))
}

/// Refuses segments that would mean something else to some server. Only the last one may be empty.
pub(crate) fn check_segments(path: &str) -> Result<(), Refusal> {
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err(Refusal::EmptySegment);
        }
        check_segment(segment)?;
    }
    Ok(())
}

/// [`check_segments`] for one segment.
pub(crate) fn check_segment(segment: &str) -> Result<(), Refusal> {
    match segment {
        "." | ".." => Err(Refusal::DotSegment),
        _ if segment.contains('%') => check_escapes(segment),
        _ => Ok(()),
    }
}

/// What a canonical segment would turn into if its escapes were decoded, once or twice.
fn check_escapes(segment: &str) -> Result<(), Refusal> {
    if segment.split("%2F").flat_map(|part| part.split("%5C")).any(is_dots) {
        return Err(Refusal::DotSegment);
    }
    let decoded_twice = segment.split("%25").skip(1).filter_map(|rest| hex_pair(&mut rest.bytes()));
    for byte in decoded_twice {
        if matches!(byte, b'.' | b'/' | b'\\' | b'%' | b';') || is_harmful(byte) {
            return Err(Refusal::DoubleEscape);
        }
    }
    Ok(())
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

fn split_query(raw: &[u8]) -> (&[u8], Option<&[u8]>) {
    let length = raw.iter().position(|byte| *byte == b'?').unwrap_or(raw.len());
    match raw.split_at_checked(length) {
        Some((path, query)) => (path, query.split_first().map(|(_, query)| query)),
        None => (raw, None),
    }
}

/// The query plays no part in matching; only what breaks the message apart is refused.
fn check_query(query: &[u8]) -> Result<(), Refusal> {
    match query.iter().find(|byte| **byte == b'#' || **byte == b' ' || byte.is_ascii_control()) {
        None => Ok(()),
        Some(b'#') => Err(Refusal::Fragment),
        Some(_) => Err(Refusal::Control),
    }
}

/// Every escape in its one spelling; segments are not looked at.
fn respell(path: &[u8]) -> Result<Cow<'_, str>, Refusal> {
    if path.iter().all(|byte| is_plain(*byte)) {
        return std::str::from_utf8(path).map(Cow::Borrowed).map_err(|_| Refusal::NotAscii);
    }
    let mut spelt = String::with_capacity(path.len());
    let mut bytes = path.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            _ if is_plain(byte) => spelt.push(char::from(byte)),
            b'%' => {
                let byte = hex_pair(&mut bytes).ok_or(Refusal::BadEscape)?;
                if is_harmful(byte) {
                    return Err(Refusal::Control);
                }
                let plain = is_plain(byte) && byte != b'/';
                if plain { spelt.push(char::from(byte)) } else { push_escape(byte, &mut spelt) }
            }
            b'\\' => return Err(Refusal::Backslash),
            b';' => return Err(Refusal::Semicolon),
            b'#' => return Err(Refusal::Fragment),
            b' ' => return Err(Refusal::Control),
            _ if byte.is_ascii_control() => return Err(Refusal::Control),
            _ if !byte.is_ascii() => return Err(Refusal::NotAscii),
            // `"<>?[]^`{|}`: not allowed in a path, yet sent by clients; nobody gives them a meaning.
            _ => push_escape(byte, &mut spelt),
        }
    }
    // An escape that is in canonical spelling already is no reason to own the path.
    match std::str::from_utf8(path) {
        Ok(same) if same == spelt => Ok(Cow::Borrowed(same)),
        _ => Ok(Cow::Owned(spelt)),
    }
}

/// `pchar` of RFC 3986 section 3.3 without escapes and `;`, and the `/` between segments.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'='
                | b':'
                | b'@'
        )
}

/// Control characters that do harm even when they come escaped.
fn is_harmful(byte: u8) -> bool {
    matches!(byte, 0 | b'\r' | b'\n')
}

/// The byte that the next two hexadecimal digits mean.
fn hex_pair(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let mut digit = || char::from(bytes.next()?).to_digit(16);
    let (high, low) = (digit()?, digit()?);
    u8::try_from(high.checked_mul(16)?.checked_add(low)?).ok()
}

fn push_escape(byte: u8, out: &mut String) {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0').to_ascii_uppercase();
    out.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
}

#[cfg(test)]
mod tests;
