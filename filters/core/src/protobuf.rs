//! The little of the protobuf wire format that filters speak: numbers, and whatever has a length.

/// A message that is being written. What is zero or empty may be left out: that is what absence means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty message with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Adds a string, some bytes or an embedded message. Field numbers are below 16.
    #[must_use]
    pub fn bytes(mut self, number: u8, value: &[u8]) -> Self {
        self.0.push(number << 3 | LENGTH);
        self.number(u64::try_from(value.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(value);
        self
    }

    /// Adds an unsigned number or an enumeration's.
    #[must_use]
    pub fn uint(mut self, number: u8, value: u64) -> Self {
        self.0.push(number << 3 | VARINT);
        self.number(value);
        self
    }

    fn number(&mut self, mut rest: u64) {
        while rest >= 0x80 {
            self.0.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
            rest >>= 7;
        }
        self.0.push(u8::try_from(rest).unwrap_or(0));
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED32: u8 = 5;

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number; signed ones in two's complement.
    Uint(u64),
    /// A string, some bytes or an embedded message.
    Bytes(&'a [u8]),
    /// One of a fixed size, which nothing here reads.
    Fixed,
}

/// The message is none: it ends too early, or has a type that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Every field of a message with its number, in the order in which they were written.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

/// See [`fields`]. Ends after what is malformed.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(Malformed))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match u8::try_from(tag & 7).ok()? {
            VARINT => Value::Uint(self.varint()?),
            FIXED64 => self.take(8).map(|_| Value::Fixed)?,
            LENGTH => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            FIXED32 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Message::default().uint(2, 300);
        let long = vec![b'x'; 200];
        let message = Message::default().bytes(1, b"enforcer").uint(3, u64::MAX).bytes(2, inner.as_ref());
        let message = message.bytes(15, &long).into_bytes();
        let read: Vec<_> = fields(&message).map(Result::unwrap).collect();
        let expected = [
            (1, Value::Bytes(b"enforcer")),
            (3, Value::Uint(u64::MAX)),
            (2, Value::Bytes(&[0x10, 0xac, 0x02])),
            (15, Value::Bytes(&long)),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn fields_of_a_fixed_size_are_passed_over() {
        let message = [0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x15, 1, 2, 3, 4, 0x08, 7];
        let read: Vec<_> = fields(&message).map(Result::unwrap).collect();
        assert_eq!(read, [(1, Value::Fixed), (2, Value::Fixed), (1, Value::Uint(7))]);
    }

    #[test]
    fn what_is_malformed_ends_the_message() {
        for message in [&[0x08][..], &[0x0a, 5, 1], &[0x0b], &[0x09, 1], &[0x08, 0x80], &[0xff; 11]] {
            assert_eq!(fields(message).collect::<Vec<_>>(), [Err(Malformed)], "{message:?}");
        }
        let huge = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(fields(&huge).collect::<Vec<_>>(), [Err(Malformed)]);
    }
}
