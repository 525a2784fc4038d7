//! A message's headers, exactly as the wire had them.

use std::fmt;

use crate::edits::HeaderEdit;

/// Headers in order, names and values as bytes: clients send values that are not UTF-8.
///
/// Kept in the one buffer that the host hands over (proxy-wasm's "pairs": a count, the lengths, then names
/// and values each ended by a zero byte), so that reading them costs two allocations, whatever their number.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HeaderMap {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    name: (usize, usize),
    value: (usize, usize),
}

/// Whether this is a `token` of RFC 9110 section 5.6.2, as names of headers are.
pub fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_token_byte)
}

/// `tchar` of RFC 9110 section 5.6.2.
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A header that must come once came more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated;

impl HeaderMap {
    /// Takes over a buffer in proxy-wasm's pairs encoding. What is malformed is left out, never a panic.
    pub fn from_pairs(bytes: Vec<u8>) -> Self {
        let entries = read_entries(&bytes);
        Self { bytes, entries }
    }

    /// The first value of a header. Credentials go through [`HeaderMap::single`].
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The first value of a header, if it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every value of a header, in order. `name` is lower case, as all names in HTTP/2 and in Envoy are.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// The only value of a header. Two values are an error: proxies and backends disagree on which counts.
    pub fn single(&self, name: &str) -> Result<Option<&[u8]>, Repeated> {
        let mut values = self.get_all(name);
        let first = values.next();
        if values.next().is_some() { Err(Repeated) } else { Ok(first) }
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().filter_map(|entry| {
            Some((self.bytes.get(entry.name.0..entry.name.1)?, self.bytes.get(entry.value.0..entry.value.1)?))
        })
    }

    /// Names for values, and values for names.
    #[must_use]
    pub fn swapped(mut self) -> Self {
        for entry in &mut self.entries {
            std::mem::swap(&mut entry.name, &mut entry.value);
        }
        self
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a header at the end.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let name = self.append(name.to_ascii_lowercase().as_bytes());
        let value = self.append(value.as_ref());
        self.entries.push(Entry { name, value });
    }

    /// Applies one edit, as the host would.
    pub fn apply(&mut self, edit: &HeaderEdit) {
        let (HeaderEdit::Remove(name) | HeaderEdit::Set(name, _)) = edit;
        let bytes = &self.bytes;
        self.entries.retain(|entry| bytes.get(entry.name.0..entry.name.1) != Some(name.as_bytes()));
        if let HeaderEdit::Set(name, value) = edit {
            self.push(name, value);
        }
    }

    fn append(&mut self, bytes: &[u8]) -> (usize, usize) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        (start, self.bytes.len())
    }
}

fn read_entries(bytes: &[u8]) -> Vec<Entry> {
    let Some((count, mut lengths)) = read_u32(bytes) else { return Vec::new() };
    // Eight bytes of lengths a pair: a count that the buffer cannot hold is a lie.
    let Some(mut at) = count.checked_mul(8).and_then(|n| n.checked_add(4)).filter(|n| *n <= bytes.len())
    else {
        return Vec::new();
    };
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let Some((name_size, rest)) = read_u32(lengths) else { break };
        let Some((value_size, rest)) = read_u32(rest) else { break };
        lengths = rest;
        let Some(name) = range(at, name_size) else { break };
        let Some(value) = name.1.checked_add(1).and_then(|start| range(start, value_size)) else { break };
        if value.1 > bytes.len() {
            break;
        }
        entries.push(Entry { name, value });
        at = value.1.saturating_add(1);
    }
    entries
}

fn range(start: usize, size: usize) -> Option<(usize, usize)> {
    Some((start, start.checked_add(size)?))
}

fn read_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*head)).ok()?, rest))
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for HeaderMap {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut map = Self::default();
        for (name, value) in headers {
            map.push(name.as_ref(), value);
        }
        map
    }
}

/// Names only: values may be credentials.
impl fmt::Debug for HeaderMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn pairs(headers: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut out = u32::try_from(headers.len()).unwrap().to_le_bytes().to_vec();
        for (name, value) in headers {
            out.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
            out.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        }
        for (name, value) in headers {
            out.extend_from_slice(name);
            out.push(0);
            out.extend_from_slice(value);
            out.push(0);
        }
        out
    }

    #[test]
    fn reads_what_the_host_wrote() {
        let map = HeaderMap::from_pairs(pairs(&[(b"a", b"1"), (b"b", b""), (b"a", b"\xff\x00")]));
        assert_eq!(map.get("a"), Some(&b"1"[..]));
        assert_eq!(map.get("b"), Some(&b""[..]));
        assert_eq!(map.get_all("a").collect::<Vec<_>>(), [&b"1"[..], b"\xff\x00"]);
        assert_eq!(map.single("a"), Err(Repeated));
        assert_eq!(map.single("b"), Ok(Some(&b""[..])));
        assert_eq!(map.single("c"), Ok(None));
    }

    #[test]
    fn a_list_is_pairs_without_values() {
        let list = HeaderMap::from_pairs(pairs(&[(b"1", b""), (b"", b""), (b"\xff", b"")])).swapped();
        assert_eq!(list.get_all("").collect::<Vec<_>>(), [&b"1"[..], b"", b"\xff"]);
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn every_truncation_is_read_without_a_panic() {
        let whole = pairs(&[(b"name", b"value"), (b"other", b"more")]);
        for end in 0..whole.len() {
            let map = HeaderMap::from_pairs(whole[..end].to_vec());
            assert!(map.iter().count() < 2 || end >= whole.len() - 1);
        }
        assert!(HeaderMap::from_pairs(vec![0xff; 64]).is_empty());
    }

    #[test]
    fn edits_replace_every_value() {
        let mut map = HeaderMap::from_iter([("x-a", "1"), ("X-A", "2"), ("x-b", "3")]);
        map.apply(&HeaderEdit::Set("x-a".into(), b"new".to_vec()));
        assert_eq!(map.get_all("x-a").collect::<Vec<_>>(), [b"new"]);
        map.apply(&HeaderEdit::Remove("x-b".into()));
        assert_eq!(map.iter().count(), 1);
    }
}
