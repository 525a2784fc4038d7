//! Numbers in JSON that comes in pieces: found as it streams past, in memory that does not grow with it.
//!
//! This is no validator. It follows strings and brackets as far as is needed to know where it is, so that nothing in a
//! text is taken for a member, and what is no JSON has no numbers.

use super::number;

/// Digits that are looked at; a longer number is as large as can be counted.
const LONGEST: usize = 32;

/// Finds one member, in a document or in several that follow one another, also as the elements of an array.
#[derive(Debug)]
pub struct Finder {
    /// Names of members, from the outside in.
    path: Vec<String>,
    /// How many objects and arrays are open.
    depth: usize,
    /// How many names of the path lead to where we are.
    matched: usize,
    /// In a string: what comes next.
    string: Option<Text>,
    /// The last string was the name that is looked for here.
    named: bool,
    /// After that name and its colon.
    value: bool,
    /// The number in hand.
    digits: Vec<u8>,
    found: Option<u64>,
}

/// A string that has begun.
#[derive(Debug, Clone, Copy)]
struct Text {
    /// How much of the name that is looked for it has been so far; `None`: it is another one.
    same: Option<usize>,
    escaped: bool,
}

impl Finder {
    /// Of `usage.total_tokens`.
    pub fn new(path: &str) -> Self {
        Self {
            path: path.split('.').map(str::to_owned).collect(),
            depth: 0,
            matched: 0,
            string: None,
            named: false,
            value: false,
            digits: Vec::new(),
            found: None,
        }
    }

    /// The last number that there was.
    pub fn found(&self) -> Option<u64> {
        self.found
    }

    /// Looks at the next bytes.
    pub fn read(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.step(*byte));
    }

    /// A document has ended, or broken off: whatever comes next is another one.
    pub fn restart(&mut self) {
        self.end_value();
        (self.depth, self.matched, self.string) = (0, 0, None);
    }

    fn step(&mut self, byte: u8) {
        if let Some(text) = self.string {
            self.string = self.in_string(text, byte);
            return;
        }
        match byte {
            b'"' => {
                self.value = false;
                self.string = Some(Text { same: self.wanted().map(|_| 0), escaped: false });
            }
            b':' => self.value = std::mem::take(&mut self.named),
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => {
                self.end_value();
                self.depth = self.depth.saturating_sub(1);
                self.matched = self.matched.min(self.depth.saturating_sub(1));
            }
            b',' => self.end_value(),
            byte if byte.is_ascii_whitespace() => {}
            byte if self.takes_digits() => self.digits.push(byte),
            _ => {}
        }
    }

    fn in_string(&mut self, Text { same, escaped }: Text, byte: u8) -> Option<Text> {
        match byte {
            _ if escaped => Some(Text { same: None, escaped: false }),
            b'\\' => Some(Text { same: None, escaped: true }),
            b'"' => {
                self.named = same.is_some_and(|same| self.wanted().is_some_and(|name| name.len() == same));
                None
            }
            byte => {
                let fits =
                    |same: &usize| self.wanted().and_then(|name| name.as_bytes().get(*same)) == Some(&byte);
                Some(Text { same: same.filter(fits).map(|same| same.saturating_add(1)), escaped: false })
            }
        }
    }

    /// Whether this is the value that is looked for.
    fn takes_digits(&self) -> bool {
        let last = self.matched.saturating_add(1) == self.path.len();
        self.value && last && self.digits.len() < LONGEST
    }

    /// The name that leads on from here.
    fn wanted(&self) -> Option<&String> {
        let here = self.depth == self.matched.saturating_add(1);
        self.path.get(self.matched).filter(|_| here)
    }

    fn open(&mut self, bracket: u8) {
        // The elements of an outermost array are documents.
        if self.depth > 0 || bracket == b'{' {
            self.depth = self.depth.saturating_add(1);
        }
        if std::mem::take(&mut self.value) && bracket == b'{' {
            self.matched = self.matched.saturating_add(1);
        }
        self.named = false;
    }

    fn end_value(&mut self) {
        if let Some(number) = number(&std::mem::take(&mut self.digits)) {
            self.found = Some(number);
        }
        (self.named, self.value) = (false, false);
    }
}

/// The data of server-sent events (WHATWG HTML section 9.2.6), as they stream past.
#[derive(Debug, Default)]
pub struct Events {
    /// How much of `data:` the line has been so far; `None`: it is another field, or data has begun.
    field: Option<usize>,
    data: bool,
    /// Something is on this line.
    begun: bool,
    /// The line before ended with a carriage return.
    returned: bool,
}

const DATA: &[u8] = b"data:";

/// What a byte of an event stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    Data(u8),
    /// The event is complete.
    End,
    /// A field's name, or what is in another field.
    Other,
}

impl Events {
    pub fn step(&mut self, byte: u8) -> Piece {
        let returned = std::mem::replace(&mut self.returned, byte == b'\r');
        match byte {
            b'\n' if returned => Piece::Other,
            b'\n' | b'\r' => {
                let begun = std::mem::take(&mut self.begun);
                self.data = false;
                if begun { Piece::Other } else { Piece::End }
            }
            byte if self.data => Piece::Data(byte),
            byte => {
                let at = if self.begun { self.field } else { Some(0) };
                self.begun = true;
                self.field = at.filter(|at| DATA.get(*at) == Some(&byte)).map(|at| at.saturating_add(1));
                self.data = self.field == Some(DATA.len());
                Piece::Other
            }
        }
    }
}

#[cfg(test)]
mod tests;
