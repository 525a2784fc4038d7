//! Header maps with Envoy's rules.

use std::fmt;

use super::slots::MapKind;

/// Headers in order. Names are lower-case; values are bytes, for clients send anything.
///
/// Pseudo-headers (`:path`, `:status`) are entries like others, and come first.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct HeaderMap(Vec<(String, Vec<u8>)>);

impl HeaderMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first value of a header, as the ABI's single-header read gives it.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    /// The first value of a header as text; bytes that are not UTF-8 come out as `U+FFFD`.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// All values of a header, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_slice())
    }

    /// All values joined with `,`, as the attribute `request.headers.<name>` has them.
    pub fn joined(&self, name: &str) -> Option<Vec<u8>> {
        let values: Vec<_> = self.all(name).collect();
        (!values.is_empty()).then(|| values.join(&b","[..]))
    }

    /// Appends a value; one that is there under the same name stays.
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.insert(name.to_ascii_lowercase(), value.as_ref().to_vec());
    }

    /// Appends a value as Envoy does: a header that has one slot keeps one value, the new joined to the old.
    pub(crate) fn append(&mut self, kind: MapKind, name: &str, value: &[u8]) {
        let name = kind.canonical(name);
        match self.0.iter_mut().find(|(n, _)| *n == name && kind.joins(n)) {
            Some((_, old)) if !old.is_empty() && !value.is_empty() => *old = [old, value].join(&b","[..]),
            Some((_, old)) => old.extend_from_slice(value),
            None => self.insert(name, value.to_vec()),
        }
    }

    /// The map as Envoy would have built it from these headers.
    pub(crate) fn received(self, kind: MapKind) -> Self {
        let mut map = Self::new();
        for (name, value) in self.0 {
            map.append(kind, &name, &value);
        }
        map
    }

    /// Replaces all values of a header with one.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.remove(name);
        self.insert(name.to_ascii_lowercase(), value.as_ref().to_vec());
    }

    /// Removes all values of a header.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    /// Entries in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> + Clone {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_slice()))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all names and values, the ABI's `proxy_get_header_map_size`.
    pub fn byte_size(&self) -> usize {
        self.0.iter().fold(0, |sum: usize, (n, v)| sum.saturating_add(n.len()).saturating_add(v.len()))
    }

    fn insert(&mut self, name: String, value: Vec<u8>) {
        let at = if name.starts_with(':') {
            self.0.iter().position(|(n, _)| !n.starts_with(':')).unwrap_or(self.0.len())
        } else {
            self.0.len()
        };
        self.0.insert(at, (name, value));
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for HeaderMap {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        let mut map = Self::new();
        for (name, value) in pairs {
            map.add(name.as_ref(), value);
        }
        map
    }
}

impl fmt::Debug for HeaderMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(n, v)| (n, String::from_utf8_lossy(v)))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(map: &HeaderMap) -> Vec<String> {
        map.iter().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value))).collect()
    }

    #[test]
    fn a_header_with_one_slot_never_has_two_values() {
        let twice = [("Authorization", "a"), ("x-api-key", "a"), ("Authorization", "b"), ("x-api-key", "b")];
        let map = HeaderMap::from_iter(twice);
        assert_eq!(lines(&map), ["authorization=a", "x-api-key=a", "authorization=b", "x-api-key=b"]);
        assert_eq!(
            lines(&map.received(MapKind::Request)),
            ["authorization=a,b", "x-api-key=a", "x-api-key=b"]
        );
    }

    #[test]
    fn a_replaced_header_goes_last_and_pseudo_headers_stay_first() {
        let mut map =
            HeaderMap::from_iter([(":path", "/"), (":method", "GET"), ("a", "1"), ("b", "2"), ("a", "3")]);
        map.set("a", "9");
        map.set(":path", "/new");
        assert_eq!(lines(&map), [":method=GET", ":path=/new", "b=2", "a=9"]);
    }

    #[test]
    fn values_are_bytes_and_names_are_case_insensitive() {
        let mut map = HeaderMap::new();
        map.add("X", [0xff, 0xfe]);
        assert_eq!(map.get("x"), Some(&[0xff, 0xfe][..]));
        assert_eq!(map.text("X").unwrap(), "\u{fffd}\u{fffd}");
    }
}
