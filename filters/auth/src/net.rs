//! Where a caller is, and where a credential may be used from.

use std::net::{IpAddr, SocketAddr};

use enforcer_core::{cx::Cx, headers::HeaderMap};

/// An address or a network: `203.0.113.7`, `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// How many leading bits count.
    prefix: u32,
}

impl Network {
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, prefix)| (a, Some(prefix)));
        let address: IpAddr = address.trim().parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(longest), |prefix| prefix.trim().parse().ok())?;
        (prefix <= longest).then_some(Self { address, prefix })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        // Shifting everything out leaves nothing that could differ.
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let differ = ours.to_bits() ^ other.to_bits();
                differ.checked_shr(32_u32.saturating_sub(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let differ = ours.to_bits() ^ other.to_bits();
                differ.checked_shr(128_u32.saturating_sub(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// The caller's address as Envoy knows it: the connection's, or the one in `x-forwarded-for` that the listener is
/// set to trust. An IPv4 address in IPv6's clothes counts as what it is.
pub fn client(cx: &Cx<'_>) -> Option<IpAddr> {
    let address = cx.host.attribute(&["source", "address"])?;
    let address: SocketAddr = str::from_utf8(&address).ok()?.parse().ok()?;
    Some(address.ip().to_canonical())
}

/// Longest `Referer` that is looked at.
const MAX_REFERER: usize = 2 << 10;

/// Whether the page that a request says it comes from is one of these, in which `*` stands for any text.
pub fn comes_from(patterns: &[String], headers: &HeaderMap) -> bool {
    let referer = headers.single("referer").ok().flatten().and_then(|referer| str::from_utf8(referer).ok());
    let referer = referer.filter(|referer| referer.len() <= MAX_REFERER && !referer.contains(' '));
    referer.is_some_and(|referer| patterns.iter().any(|pattern| is_like(pattern, referer)))
}

/// Each text between two stars is taken where it occurs first, which leaves most for those after it.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((first, others)) = pattern.split_once('*') else { return pattern == text };
    let (middle, last) = others.rsplit_once('*').unwrap_or(("", others));
    let rest = text.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
    let mut pieces = middle.split('*');
    rest.is_some_and(|rest| pieces.try_fold(rest, |rest, piece| Some(rest.split_once(piece)?.1)).is_some())
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn is_in(network: &str, address: &str) -> bool {
        Network::parse(network).unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_has_the_addresses_of_its_prefix() {
        for (network, inside, outside) in [
            ("203.0.113.7", "203.0.113.7", "203.0.113.6"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.9.9.9/8", "10.0.0.1", "9.255.255.255"),
            ("192.0.2.128/25", "192.0.2.255", "192.0.2.127"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
            ("::1/128", "::1", "::"),
        ] {
            assert!(is_in(network, inside) && !is_in(network, outside), "{network}");
        }
        assert!(is_in("0.0.0.0/0", "255.1.2.3") && !is_in("0.0.0.0/0", "::1"));
        assert!(is_in("::/0", "ffff::") && !is_in("::/0", "1.2.3.4"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in
            ["", "10.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "a.example", "1.2.3.4:80"]
        {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, good) in [
            ("https://a.example/", "https://a.example/"),
            ("https://a.example/*", "https://a.example/x?y"),
            ("https://*.example/*", "https://a.b.example/"),
            ("*a*b*", "xaxbx"),
            ("*", ""),
            ("a*", "a"),
            ("*a*a", "aa"),
        ] {
            assert!(is_like(pattern, good), "{pattern} {good}");
        }
        for (pattern, bad) in [
            ("https://a.example/", "https://a.example/x"),
            ("https://a.example/*", "https://a.example.evil/"),
            ("*.example", "a.example.evil"),
            ("ab*ba", "aba"),
            ("*a*b*", "ba"),
            ("*a*a", "a"),
        ] {
            assert!(!is_like(pattern, bad), "{pattern} {bad}");
        }
    }
}
