//! What a request consists of, as far as limits look at it.

use std::{borrow::Cow, cell::OnceCell, hash::Hasher, net::IpAddr};

use enforcer_core::{
    headers::HeaderMap,
    host::Host,
    identity::{Called, Caller, Identity, versioned},
    net,
};

use crate::{config::Part, counters};

/// A request and who makes it.
#[expect(missing_debug_implementations, reason = "a host has none")]
pub struct Request<'a> {
    pub host: &'a dyn Host,
    pub headers: &'a HeaderMap,
    pub called: &'a Called,
    /// `None`: nobody vouches for the caller.
    pub caller: Option<&'a Caller>,
    address: OnceCell<Option<IpAddr>>,
}

impl<'a> Request<'a> {
    pub fn new(
        host: &'a dyn Host,
        headers: &'a HeaderMap,
        called: &'a Called,
        identity: Option<&'a Identity>,
    ) -> Self {
        let caller = identity.map(|identity| &*identity.caller).filter(|caller| caller.is_known());
        Self { host, headers, called, caller, address: OnceCell::new() }
    }

    /// The client's address, as Envoy trusts it. IPv4 in an IPv6 address is IPv4.
    pub fn address(&self) -> Option<IpAddr> {
        *self.address.get_or_init(|| net::client(self.host))
    }

    /// A part as conditions see it.
    pub fn value(&self, part: &Part) -> Option<Cow<'a, [u8]>> {
        let text = |text: &'a str| (!text.is_empty()).then_some(Cow::Borrowed(text.as_bytes()));
        match part {
            Part::Api => {
                let Called { api, version, .. } = self.called;
                if version.is_empty() { text(api) } else { Some(versioned(api, version).into_bytes().into()) }
            }
            Part::Operation => text(&self.called.operation),
            Part::Consumer => text(&self.caller?.consumer),
            Part::Application => text(self.caller?.account()),
            Part::Subscription => {
                let (account, api) = (text(self.caller?.account())?, self.value(&Part::Api)?);
                Some([&account, &b":"[..], &api].concat().into())
            }
            Part::User => text(&self.caller?.subject),
            Part::ClientIp => Some(self.address()?.to_string().into_bytes().into()),
            Part::Header(name) => joined(self.headers.get_all(name).map(Cow::Borrowed)),
            Part::Query(name) => joined(parameters(self.headers, name)),
            Part::Cookie(name) => joined(cookies(self.headers, name).map(Cow::Borrowed)),
            Part::Claim(name) => self.caller?.claims.get(name).and_then(|claim| text(claim)),
            Part::Constant(value) => Some(Cow::Owned(value.clone().into_bytes())),
        }
    }

    /// Whether a part is so; `None`: it is absent. Of what a client can send several times it is enough that one value
    /// is, or all of them together, joined by commas: a client that adds another one gets round nothing.
    pub fn any_value(&self, part: &Part, is: impl Fn(&[u8]) -> bool) -> Option<bool> {
        let mut count = 0_usize;
        let mut counted = |value: &[u8]| {
            count = count.saturating_add(1);
            is(value)
        };
        let one = match part {
            Part::Header(name) => self.headers.get_all(name).any(&mut counted),
            Part::Query(name) => parameters(self.headers, name).any(|value| counted(&value)),
            Part::Cookie(name) => cookies(self.headers, name).any(&mut counted),
            part => return self.value(part).map(|value| is(&value)),
        };
        match count {
            0 => None,
            1 => Some(one),
            _ => Some(one || self.value(part).is_some_and(|value| is(&value))),
        }
    }

    /// What stands for a part that a known caller lacks: by its owner it is told from others.
    fn stand_in(&self, part: &Part) -> Option<&'a str> {
        Some(self.caller.filter(|_| is_of_caller(part))?.owner())
    }

    /// A part as a rate limit service is told it: its name, and its text. What is no UTF-8 is told as well as it can be,
    /// and of what is long the beginning and a digest, so that other values are other texts.
    pub fn tell(&self, part: &Part, ipv6_prefix: u8) -> (String, String) {
        let name = match part {
            Part::Api => "api".to_owned(),
            Part::Operation => "operation".to_owned(),
            Part::Consumer => "consumer".to_owned(),
            Part::Application => "application".to_owned(),
            Part::Subscription => "subscription".to_owned(),
            Part::User => "user".to_owned(),
            Part::ClientIp => "client_ip".to_owned(),
            Part::Header(name) => format!("header.{name}"),
            Part::Query(name) => format!("query.{name}"),
            Part::Cookie(name) => format!("cookie.{name}"),
            Part::Claim(name) => format!("claim.{name}"),
            Part::Constant(_) => "constant".to_owned(),
        };
        let value = match part {
            Part::ClientIp => self.address().map(|address| masked(address, ipv6_prefix).to_string()),
            Part::Operation => {
                let api = self.value(&Part::Api).unwrap_or_default();
                let operation = self.value(part).unwrap_or_default();
                Some(String::from_utf8_lossy(&[&api, &b":"[..], &operation].concat()).into_owned())
            }
            part => self.value(part).map(|value| match value.get(..LONGEST) {
                None => String::from_utf8_lossy(&value).into_owned(),
                Some(beginning) => {
                    format!("{}#{:016x}", String::from_utf8_lossy(beginning), counters::digest(&value))
                }
            }),
        };
        let value = value.or_else(|| self.stand_in(part).map(|owner| format!(" {owner}")));
        (name, value.unwrap_or_default())
    }

    /// Adds a part to a key. `false`: nobody vouches for the caller, and nothing can be counted by who that is.
    ///
    /// Subjects, consumers and claims mean something within their issuer only, which therefore is in the key.
    pub fn feed(&self, part: &Part, ipv6_prefix: u8, key: &mut impl Hasher) -> bool {
        if is_of_caller(part) {
            let Some(caller) = self.caller else { return false };
            write(key, caller.issuer.as_bytes());
        }
        match part {
            Part::ClientIp => match self.address() {
                Some(address) => write(key, &network(address, ipv6_prefix)),
                None => write(key, b""),
            },
            Part::Api | Part::Operation => {
                write(key, self.called.api.as_bytes());
                write(key, self.called.version.as_bytes());
                if *part == Part::Operation {
                    write(key, self.called.operation.as_bytes());
                }
            }
            part => match self.value(part) {
                Some(value) => write(key, &value),
                None => {
                    write(key, b"");
                    if let Some(owner) = self.stand_in(part) {
                        write(key, owner.as_bytes());
                    }
                }
            },
        }
        true
    }
}

/// Whether only an identity has it.
pub fn is_of_caller(part: &Part) -> bool {
    matches!(part, Part::Consumer | Part::Application | Part::Subscription | Part::User | Part::Claim(_))
}

/// Length first, so that `a` and `bc` are another key than `ab` and `c`.
fn write(key: &mut impl Hasher, value: &[u8]) {
    key.write(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    key.write(value);
}

/// Of a longer value a rate limit service is told a digest.
const LONGEST: usize = 256;

/// The bytes of an address, of IPv6 the first bits alone.
fn network(address: IpAddr, ipv6_prefix: u8) -> Vec<u8> {
    match masked(address, ipv6_prefix) {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An address, of IPv6 the first bits alone: networks give whole prefixes to one customer.
fn masked(address: IpAddr, ipv6_prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let rest = 128_u32.saturating_sub(u32::from(ipv6_prefix));
            let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

fn joined<'a>(mut values: impl Iterator<Item = Cow<'a, [u8]>>) -> Option<Cow<'a, [u8]>> {
    let first = values.next()?;
    match values.next() {
        None => Some(first),
        Some(second) => {
            let all: Vec<Cow<'_, [u8]>> = [first, second].into_iter().chain(values).collect();
            Some(all.join(&b',').into())
        }
    }
}

/// The values of a query parameter, `+` and escapes undone in name and value.
fn parameters<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = Cow<'a, [u8]>> {
    let target = headers.get(":path").unwrap_or_default();
    let query =
        target.iter().position(|byte| *byte == b'?').and_then(|at| target.get(at.saturating_add(1)..));
    let query = query.unwrap_or_default().split(|byte| *byte == b'#').next().unwrap_or_default();
    query.split(|byte| *byte == b'&').filter_map(move |pair| {
        let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (given, value) = pair.split_at_checked(end)?;
        let named = *unescape(given) == *name.as_bytes();
        named.then(|| unescape(value.strip_prefix(b"=").unwrap_or(value)))
    })
}

fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let digits = (*first == b'%').then(|| tail.split_first_chunk::<2>()).flatten();
        let escaped = digits.and_then(|(digits, after)| {
            let digits =
                std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_hexdigit));
            Some((u8::from_str_radix(digits?, 16).ok()?, after))
        });
        (bytes, rest) = match escaped {
            Some((byte, after)) => (push(bytes, byte), after),
            None => (push(bytes, if *first == b'+' { b' ' } else { *first }), tail),
        };
    }
    bytes.into()
}

fn push(mut bytes: Vec<u8>, byte: u8) -> Vec<u8> {
    bytes.push(byte);
    bytes
}

/// The values of a cookie (RFC 6265 section 5.4).
fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all("cookie").flat_map(|line| line.split(|byte| *byte == b';')).filter_map(move |cookie| {
        let cookie = cookie.trim_ascii();
        let value = cookie.strip_prefix(name.as_bytes())?.trim_ascii_start().strip_prefix(b"=")?;
        Some(value.trim_ascii_start())
    })
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use enforcer_core::{host::MapKind, identity, native::NativeHost};

    use super::*;

    struct World(NativeHost, Called, Option<Identity>);

    fn world(headers: &[(&str, &str)]) -> World {
        let host = NativeHost::new()
            .with_headers(MapKind::RequestHeaders, headers.iter().copied())
            .with_attribute("source.address", "192.0.2.7:1234");
        let called =
            Called { api: "pets".into(), version: "1".into(), operation: "list".into(), ..Called::default() };
        World(host, called, None)
    }

    impl World {
        fn with_caller(mut self, caller: Caller) -> Self {
            let caller = Caller { issuer: "idp".into(), ..caller };
            self.2 = Some(Identity { caller: identity::Part::new(caller), ..Identity::default() });
            self
        }

        fn value(&self, part: &Part) -> Option<String> {
            let headers = self.0.headers(MapKind::RequestHeaders);
            let request = Request::new(&self.0, &headers, &self.1, self.2.as_ref());
            request.value(part).map(|value| String::from_utf8_lossy(&value).into_owned())
        }

        /// `None`: cannot be counted by these.
        fn key(&self, parts: &[Part]) -> Option<Vec<u8>> {
            let headers = self.0.headers(MapKind::RequestHeaders);
            let request = Request::new(&self.0, &headers, &self.1, self.2.as_ref());
            let mut key = Bytes::default();
            parts.iter().all(|part| request.feed(part, 64, &mut key)).then_some(key.0)
        }
    }

    #[derive(Default)]
    struct Bytes(Vec<u8>);

    impl Hasher for Bytes {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }

        fn finish(&self) -> u64 {
            0
        }
    }

    #[test]
    fn every_part_has_its_value() {
        let headers = [
            (":path", "/pets?a=1&b=x+y%2Fz&a=2&%63=3&d"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("cookie", "k=v; l=w"),
        ];
        let caller = Caller {
            subject: "alice".into(),
            consumer: "app-7".into(),
            claims: [("plan".to_owned(), "gold".to_owned())].into(),
            ..Caller::default()
        };
        let world = world(&headers).with_caller(caller);
        let text = str::to_owned;
        for (part, value) in [
            (Part::Api, "pets:1"),
            (Part::Operation, "list"),
            (Part::Consumer, "app-7"),
            (Part::Application, "app-7"),
            (Part::Subscription, "app-7:pets:1"),
            (Part::User, "alice"),
            (Part::ClientIp, "192.0.2.7"),
            (Part::Header(text("x-a")), "1,2"),
            (Part::Query(text("a")), "1,2"),
            (Part::Query(text("b")), "x y/z"),
            (Part::Query(text("c")), "3"),
            (Part::Query(text("d")), ""),
            (Part::Cookie(text("l")), "w"),
            (Part::Claim(text("plan")), "gold"),
            (Part::Constant(text("all")), "all"),
        ] {
            assert_eq!(world.value(&part).as_deref(), Some(value), "{part:?}");
        }
        for part in [
            Part::Header(text("x-b")),
            Part::Query(text("e")),
            Part::Cookie(text("m")),
            Part::Claim(text("x")),
        ] {
            assert_eq!(world.value(&part), None, "{part:?}");
        }
    }

    #[test]
    fn nobody_is_counted_as_somebody() {
        let anonymous = world(&[]);
        for part in
            [Part::User, Part::Consumer, Part::Application, Part::Subscription, Part::Claim("a".into())]
        {
            assert_eq!(anonymous.key(&[Part::Api, part]), None);
        }
        assert!(anonymous.key(&[Part::Header("x-a".into())]).is_some(), "absent counts as empty");
        let nobody = Identity { fault: "none".into(), ..Identity::default() };
        assert_eq!(World(anonymous.0, anonymous.1, Some(nobody)).key(&[Part::Consumer]), None);
    }

    #[test]
    fn who_has_no_issuer_is_somebody_all_the_same() {
        let mut world = world(&[]);
        let key = Caller { consumer: "acme".into(), application: "shop".into(), ..Caller::default() };
        world.2 = Some(Identity { caller: identity::Part::new(key), ..Identity::default() });
        assert_eq!(world.value(&Part::Subscription).as_deref(), Some("shop:pets:1"));
        assert!(world.key(&[Part::Consumer]).is_some());
    }

    #[test]
    fn whoever_has_no_name_is_told_by_another() {
        let by = |part: Part, consumer: &str, subject: &str| {
            let caller = Caller { consumer: consumer.into(), subject: subject.into(), ..Caller::default() };
            world(&[]).with_caller(caller).key(&[part])
        };
        assert!(by(Part::User, "", "").is_some(), "a verified token is not free because it lacks a subject");
        assert_ne!(by(Part::User, "acme", ""), by(Part::User, "shop", ""));
        assert_ne!(by(Part::User, "acme", ""), by(Part::User, "", "acme"), "a user of that name is another");
        assert_ne!(by(Part::Consumer, "", "alice"), by(Part::Consumer, "", "bob"));
        assert_ne!(by(Part::Claim("plan".into()), "acme", ""), by(Part::Claim("plan".into()), "shop", ""));
    }

    #[test]
    fn keys_are_told_apart() {
        let two = |a: &str, b: &str| {
            world(&[("a", a), ("b", b)]).key(&[Part::Header("a".into()), Part::Header("b".into())])
        };
        assert_ne!(two("a", "bc"), two("ab", "c"));
        let of = |issuer: &str| {
            let mut world = world(&[]).with_caller(Caller { subject: "alice".into(), ..Caller::default() });
            let caller = Caller { issuer: issuer.into(), subject: "alice".into(), ..Caller::default() };
            world.2 = Some(Identity { caller: identity::Part::new(caller), ..Identity::default() });
            world.key(&[Part::User])
        };
        assert_ne!(of("a"), of("b"), "another issuer's alice is another");
    }

    #[test]
    fn clients_are_counted_by_address() {
        let key = |address: &str| {
            let World(host, called, identity) = world(&[]);
            World(host.with_attribute("source.address", address), called, identity).key(&[Part::ClientIp])
        };
        assert_eq!(key("192.0.2.7:1"), key("[::ffff:192.0.2.7]:2"));
        assert_ne!(key("192.0.2.7:1"), key("192.0.2.8:1"));
        assert_eq!(key("[2001:db8:0:1::1]:1"), key("[2001:db8:0:1:ffff::]:1"));
        assert_ne!(key("[2001:db8:0:1::1]:1"), key("[2001:db8:0:2::1]:1"));
        assert_eq!(key("/run/envoy.sock"), key("nonsense"), "no address: all together");
    }

    #[test]
    fn odd_queries_are_read_without_a_panic() {
        for query in ["?", "?=", "?a=%", "?a=%z1", "?a=%+1", "?&&=&a", "?a=1#b=2", "#?a=1"] {
            let world = world(&[(":path", query)]);
            let _ = world.value(&Part::Query("a".into()));
            assert_ne!(world.value(&Part::Query("b".into())).as_deref(), Some("2"));
        }
    }
}
