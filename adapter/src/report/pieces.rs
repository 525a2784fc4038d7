//! Cuts what a file of events is made of into pieces, in bounded memory.
//!
//! A piece is a JSON object, wherever it stands: on a line of its own, over several lines, or in an array; or a line of
//! text, as logs have them. What is cut short is a piece of its own, so that it spoils nothing after it.

use std::io::{self, BufRead};

/// No batch that a collector takes is larger, in bytes.
const LONGEST: usize = 32 << 20;

/// A part of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A whole JSON object, as far as its braces tell.
    Object(Vec<u8>),
    /// A line that begins with something else.
    Line(Vec<u8>),
    /// An object that ends too early, or is too long.
    Broken(&'static str),
}

/// The pieces of an input, one after the other.
#[derive(Debug)]
pub struct Pieces<R> {
    input: R,
    /// Of what comes next, from 1.
    line: u64,
}

impl<R: BufRead> Pieces<R> {
    pub fn new(input: R) -> Self {
        Self { input, line: 1 }
    }

    /// The next piece and the line on which it begins, from 1; `None` at the end.
    pub fn piece(&mut self) -> io::Result<Option<(u64, Piece)>> {
        loop {
            let Some(byte) = self.peek()? else { return Ok(None) };
            let line = self.line;
            let piece = match byte {
                // Arrays of objects need no more than this: what is between their members is skipped.
                b' ' | b'\t' | b'\r' | b'\n' | b',' | b']' => {
                    self.skip();
                    continue;
                }
                b'{' => self.object()?,
                b'[' => {
                    self.skip();
                    match self.peek()? {
                        Some(b'{' | b'[' | b']' | b' ' | b'\t' | b'\r' | b'\n') | None => continue,
                        // `[2026-01-01 ...`: a line of a log.
                        Some(_) => self.rest_of_line(vec![b'['])?,
                    }
                }
                _ => self.rest_of_line(Vec::new())?,
            };
            return Ok(Some((line, piece)));
        }
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.input.fill_buf() {
                Ok(buffer) => return Ok(buffer.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on by the byte that was looked at.
    fn skip(&mut self) {
        if self.input.fill_buf().is_ok_and(|buffer| buffer.first() == Some(&b'\n')) {
            self.line = self.line.saturating_add(1);
        }
        self.input.consume(1);
    }

    fn rest_of_line(&mut self, mut text: Vec<u8>) -> io::Result<Piece> {
        let mut whole = true;
        while let Some(byte) = self.peek()? {
            if byte == b'\n' {
                break;
            }
            let buffer = self.input.fill_buf()?;
            let upto = buffer.iter().position(|byte| *byte == b'\n').unwrap_or(buffer.len());
            whole &= text.len().saturating_add(upto) <= LONGEST;
            if whole {
                text.extend_from_slice(buffer.get(..upto).unwrap_or_default());
            }
            self.input.consume(upto);
        }
        Ok(if whole { Piece::Line(text) } else { Piece::Broken("too long") })
    }

    /// From an opening brace to the one that closes it.
    fn object(&mut self) -> io::Result<Piece> {
        let mut text = Vec::new();
        let mut scan = Scan::default();
        loop {
            let Some(first) = self.peek()? else { return Ok(Piece::Broken("cut short")) };
            if scan.line_began && !goes_on(first) {
                return Ok(Piece::Broken("cut short"));
            }
            let buffer = self.input.fill_buf()?;
            let (used, end) = scan.over(buffer);
            text.extend_from_slice(buffer.get(..used).unwrap_or_default());
            self.input.consume(used);
            match end {
                Some(End::Closed) => return Ok(Piece::Object(text)),
                Some(End::InText) => return Ok(Piece::Broken("cut short")),
                Some(End::Line) => self.line = self.line.saturating_add(1),
                None => {}
            }
            if text.len() > LONGEST {
                self.rest_of_line(Vec::new())?;
                return Ok(Piece::Broken("too long"));
            }
        }
    }
}

/// Whether a line that begins so belongs to an object that was begun before it. Objects over several lines are
/// indented; a line of a log, or the next object, is not.
fn goes_on(first: u8) -> bool {
    matches!(first, b' ' | b'\t' | b'\r' | b'\n' | b'}' | b']' | b'"' | b',')
}

/// Where a scan stops.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Behind the last brace.
    Closed,
    /// Behind the end of a line, between two tokens.
    Line,
    /// Before the end of a line, within a text.
    InText,
}

/// How far an object has been looked through.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    text: bool,
    escaped: bool,
    /// What comes next is the first byte of a line.
    line_began: bool,
}

impl Scan {
    /// How many bytes of the buffer belong to the object, and why no more.
    fn over(&mut self, buffer: &[u8]) -> (usize, Option<End>) {
        self.line_began = false;
        for (index, byte) in buffer.iter().enumerate() {
            let end = match (byte, self.text) {
                (b'\n', true) => return (index, Some(End::InText)),
                (b'\n', false) => {
                    self.line_began = true;
                    Some(End::Line)
                }
                (_, true) => {
                    self.text = self.escaped || *byte != b'"';
                    self.escaped = !self.escaped && *byte == b'\\';
                    None
                }
                (b'"', false) => {
                    self.text = true;
                    None
                }
                (b'{', false) => {
                    self.depth = self.depth.saturating_add(1);
                    None
                }
                (b'}', false) => {
                    self.depth = self.depth.saturating_sub(1);
                    (self.depth == 0).then_some(End::Closed)
                }
                _ => None,
            };
            if end.is_some() {
                return (index.saturating_add(1), end);
            }
        }
        (buffer.len(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces and their lines, read so many bytes at a time.
    fn cut(text: &str, at_a_time: usize) -> Vec<(u64, String)> {
        let mut pieces = Pieces::new(io::BufReader::with_capacity(at_a_time, text.as_bytes()));
        let mut all = Vec::new();
        while let Some((line, piece)) = pieces.piece().unwrap() {
            let shown = match piece {
                Piece::Object(text) | Piece::Line(text) => String::from_utf8(text).unwrap(),
                Piece::Broken(why) => format!("<{why}>"),
            };
            all.push((line, shown));
        }
        all
    }

    #[test]
    fn objects_are_found_in_lines_arrays_and_over_lines() {
        let object = r#"{"a":"}\"{","b":[{}]}"#;
        let pretty = "{\n  \"a\": {\n    \"b\": 1\n  }\n}";
        for (text, lines) in [
            (format!("{object}\n{object}\n"), [1, 2]),
            (format!("[{object},{object}]"), [1, 1]),
            (format!("[\n  {object},\n  {object}\n]\n"), [2, 3]),
            (format!("\n\r\n{object}{object}"), [3, 3]),
        ] {
            for at_a_time in [1, 2, 7, 1000] {
                let wanted = lines.map(|line| (line, object.to_owned()));
                assert_eq!(cut(&text, at_a_time), wanted, "{text}");
            }
        }
        assert_eq!(cut(&format!("{pretty}\n{pretty}"), 3), [(1, pretty.into()), (6, pretty.into())]);
    }

    #[test]
    fn lines_of_logs_are_pieces() {
        let text = "[2026-01-01 00:00:00.000][7][info] a {\"b\":1}\nplain\n{\"c\":2}\n";
        let lines = text.lines().enumerate().map(|(index, line)| (index as u64 + 1, line.to_owned()));
        assert_eq!(cut(text, 5), lines.collect::<Vec<_>>());
    }

    #[test]
    fn what_is_cut_short_spoils_nothing_after_it() {
        let broken = || "<cut short>".to_owned();
        assert_eq!(cut("{\"a\":\"b\n{\"c\":1}", 4), [(1, broken()), (2, "{\"c\":1}".into())]);
        assert_eq!(cut("{\"a\":\n{\"c\":1}", 4), [(1, broken()), (2, "{\"c\":1}".into())]);
        assert_eq!(cut("{\"a\":1", 4), [(1, broken())]);
    }

    #[test]
    fn what_is_too_long_is_left_out() {
        struct Endless;
        impl io::Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                buffer.fill(b'x');
                Ok(buffer.len())
            }
        }
        let long = io::Read::take(Endless, 40 << 20);
        let input = io::Read::chain(io::Read::chain(&b"{\""[..], long), &b"\n{}"[..]);
        let mut pieces = Pieces::new(io::BufReader::new(input));
        assert_eq!(pieces.piece().unwrap(), Some((1, Piece::Broken("too long"))));
        assert_eq!(pieces.piece().unwrap(), Some((2, Piece::Object(b"{}".to_vec()))));
    }
}
