//! Addresses of clients, and the networks that they are in.

use std::net::{IpAddr, SocketAddr};

use crate::host::Host;

/// The client's address as Envoy knows it (`source.address`): the connection's, or the one in `x-forwarded-for` that
/// the listener is set to trust. IPv4 in an IPv6 address is IPv4.
pub fn client(host: &dyn Host) -> Option<IpAddr> {
    let address = host.attribute(&["source", "address"])?;
    let address: SocketAddr = std::str::from_utf8(&address).ok()?.parse().ok()?;
    Some(address.ip().to_canonical())
}

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

/// All addresses from one to another, both of them included: `192.0.2.10-192.0.2.20`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    last: IpAddr,
}

impl Range {
    /// Both ends are of one kind, and the first is not behind the last.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(Self { first, last })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        // All of IPv4 are before all of IPv6: between two of one kind there is none of the other.
        self.first <= address && address <= self.last
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::native::NativeHost;

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
    fn a_range_has_its_ends_and_what_is_between() {
        for (range, inside, outside) in [
            ("192.0.2.10-192.0.2.20", ["192.0.2.10", "192.0.2.20"], ["192.0.2.9", "192.0.2.21"]),
            ("10.0.0.250 - 10.0.1.5", ["10.0.0.255", "10.0.1.0"], ["10.0.1.6", "::10.0.1.0"]),
            ("2001:db8::1-2001:db8::ff", ["2001:db8::1", "2001:db8::ff"], ["2001:db8::100", "192.0.2.1"]),
            ("192.0.2.7-192.0.2.7", ["192.0.2.7"; 2], ["192.0.2.6", "192.0.2.8"]),
        ] {
            let range = Range::parse(range).unwrap();
            assert!(inside.iter().all(|address| range.contains(address.parse().unwrap())), "{range:?}");
            assert!(!outside.iter().any(|address| range.contains(address.parse().unwrap())), "{range:?}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "-", "10.0.0.1", "10.0.0.2-10.0.0.1", "10.0.0.1-::1", "10.0.0.1-10.0.0.2-10.0.0.3"] {
            assert_eq!(Range::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_client_has_an_address_unless_it_comes_by_a_file() {
        let of = |address: &str| client(&NativeHost::new().with_attribute("source.address", address));
        assert_eq!(of("192.0.2.7:80"), of("[::ffff:192.0.2.7]:81"));
        assert_eq!(of("[2001:db8::1]:80"), Some("2001:db8::1".parse().unwrap()));
        assert_eq!((of("/run/envoy.sock"), of("192.0.2.7"), client(&NativeHost::new())), (None, None, None));
    }
}
