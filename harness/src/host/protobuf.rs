//! The little of the protobuf wire format that foreign functions and `GrpcService` need.

/// A field's number and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    Number(u64, u64),
    Bytes(u64, &'a [u8]),
}

/// All fields of a message in order; `None` if the bytes are not a message.
pub(crate) fn parse(mut bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = tag >> 3;
        if number == 0 || number > 0x1fff_ffff {
            return None;
        }
        fields.push(match tag & 7 {
            0 => Field::Number(number, varint(&mut bytes)?),
            1 => Field::Number(number, u64::from_le_bytes(fixed(&mut bytes)?)),
            2 => {
                let len = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(len)?;
                bytes = rest;
                Field::Bytes(number, value)
            }
            5 => Field::Number(number, u64::from(u32::from_le_bytes(fixed(&mut bytes)?))),
            _ => return None,
        });
    }
    Some(fields)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (value, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*value)
}

/// Appends a length-delimited field, unless it is empty: proto3 leaves defaults out.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u8, value: &[u8]) {
    if value.is_empty() {
        return;
    }
    out.push(number << 3 | 2);
    let mut len = value.len();
    while len >= 0x80 {
        out.push(len.to_le_bytes()[0] | 0x80);
        len >>= 7;
    }
    out.push(len.to_le_bytes()[0]);
    out.extend_from_slice(value);
}

/// Appends a boolean field, unless it is false.
pub(crate) fn put_bool(out: &mut Vec<u8>, number: u8, value: bool) {
    if value {
        out.extend_from_slice(&[number << 3, 1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_back() {
        let long = vec![7; 300];
        let mut out = Vec::new();
        put_bytes(&mut out, 2, &long);
        put_bool(&mut out, 1, true);
        put_bool(&mut out, 3, false);
        put_bytes(&mut out, 4, b"");
        assert_eq!(parse(&out), Some(vec![Field::Bytes(2, &long), Field::Number(1, 1)]));
    }

    #[test]
    fn names_that_happen_to_be_messages_are_recognised() {
        // Field 12, 14 bytes long is not there: `analytics` parses because `a` is field 12, fixed64, and so on.
        assert!(parse(b"analytics").is_some());
        assert!(parse(b"users").is_some());
        assert!(parse(b"idp").is_none());
    }
}
