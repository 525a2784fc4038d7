//! `x-forwarded-client-cert`, as Envoy writes it: elements between commas, `key=value` between semicolons, values with
//! commas, semicolons or equals signs in double quotes, and backslashes before quotes in them.

use super::Name;

/// What one proxy tells of one certificate.
#[derive(Debug)]
pub(super) struct Element<'a>(Vec<(&'a str, String)>);

impl<'a> Element<'a> {
    /// That of the proxy next to this Envoy: each adds its own behind the others'. `None`: it cannot be read.
    pub(super) fn last(value: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(value).ok()?;
        let last = split(text, b',')?.pop()?;
        let pairs = split(last, b';')?.into_iter().map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((key.trim(), unquoted(value.trim())))
        });
        pairs.collect::<Option<_>>().map(Self)
    }

    /// SHA-256 of the certificate, in hexadecimal. Two make none.
    pub(super) fn hash(&self) -> Option<&str> {
        let mut hashes = self.all("Hash");
        hashes.next().filter(|_| hashes.next().is_none())
    }

    /// What the certificate can be known by.
    pub(super) fn names(&self) -> Vec<Name> {
        let alternatives =
            self.all("URI").chain(self.all("DNS")).map(|name| Name::Alternative(name.to_owned()));
        let subject = self.all("Subject").map(|subject| Name::Subject(subject.to_owned()));
        alternatives.chain(subject).filter(|name| !name.is_empty()).collect()
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        let named = self.0.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(key));
        named.map(|(_, value)| value.as_str())
    }
}

/// The parts between separators that are not quoted. `None`: a quote does not end.
fn split(text: &str, separator: u8) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => {
                parts.push(text.get(start..at)?);
                start = at.saturating_add(1);
            }
            _ => {}
        }
    }
    parts.push(text.get(start..)?);
    (!quoted).then_some(parts)
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        out.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    out
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn the_last_element_counts() {
        let value = br#"Hash=aa;URI=spiffe://far,By=spiffe://me;Hash=bb;Subject="CN=a \"b\",O=c;d";URI=spiffe://x;DNS=x.example.com;DNS=y"#;
        let element = Element::last(value).unwrap();
        assert_eq!(element.hash(), Some("bb"));
        let alternative = |name: &str| Name::Alternative(name.to_owned());
        let subject = Name::Subject(r#"CN=a "b",O=c;d"#.to_owned());
        assert_eq!(
            element.names(),
            [alternative("spiffe://x"), alternative("x.example.com"), alternative("y"), subject]
        );
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        for value in ["", "Hash", "Hash=aa,", r#"Hash=aa;Subject="CN=a"#, r#"Subject="a\"#, "\u{e9}"] {
            assert!(Element::last(value.as_bytes()).is_none(), "{value}");
        }
        assert_eq!(Element::last(b"Hash=aa;Hash=bb").unwrap().hash(), None);
        assert_eq!(Element::last(b"URI=spiffe://x").unwrap().hash(), None);
        assert!(Element::last(b"Hash=\xff").is_none());
        assert!(Element::last(br#"Hash="aa;URI=x""#).unwrap().names().is_empty());
    }
}
