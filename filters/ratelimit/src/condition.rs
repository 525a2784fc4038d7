//! Conditions, ready to be tested.

use std::net::IpAddr;

use enforcer_core::{
    config::ConfigError,
    net::{Network, Range},
};
use regex_lite::{Regex, RegexBuilder};

use crate::{
    config::{Condition, Part, Test},
    parts::Request,
};

/// Longest value that a regular expression is tried on. It takes time in proportion to both.
const LONGEST: usize = 8 << 10;
/// Largest compiled regular expression, in bytes.
const LARGEST: usize = 64 << 10;

/// Conditions that must all hold.
#[derive(Debug, Default)]
pub struct All(Vec<Compiled>);

#[derive(Debug)]
struct Compiled {
    part: Part,
    test: Matcher,
    invert: bool,
}

#[derive(Debug)]
enum Matcher {
    Exact(String),
    Prefix(String),
    Regex(Regex),
    Cidr(Network),
    Range(Range),
}

impl All {
    /// Compiles conditions; errors are at `[index]`.
    pub fn new(conditions: Vec<Condition>) -> Result<Self, ConfigError> {
        let compiled = conditions.into_iter().enumerate().map(|(index, condition)| {
            let Condition { part, is, invert } = condition;
            let test =
                Matcher::new(is, &part).map_err(|why| ConfigError::at(format!("[{index}].is"), why))?;
            Ok(Compiled { part, test, invert })
        });
        Ok(Self(compiled.collect::<Result<_, ConfigError>>()?))
    }

    pub fn hold(&self, request: &Request<'_>) -> bool {
        self.0.iter().all(|condition| condition.holds(request))
    }
}

impl Matcher {
    fn new(test: Test, part: &Part) -> Result<Self, String> {
        Ok(match test {
            Test::Exact(text) => Self::Exact(text),
            Test::Prefix(text) => Self::Prefix(text),
            Test::Regex(text) => {
                let regex = RegexBuilder::new(&text).size_limit(LARGEST).build();
                Self::Regex(regex.map_err(|error| format!("`{text}` is no regular expression: {error}"))?)
            }
            Test::Cidr(_) | Test::Range(_) if *part != Part::ClientIp => {
                return Err("clients alone have addresses: say `part: client_ip`".to_owned());
            }
            Test::Cidr(text) => Self::Cidr(Network::parse(&text).ok_or_else(|| {
                format!("`{text}` is no network: write it as `10.0.0.0/8` or `2001:db8::/32`")
            })?),
            Test::Range(text) => Self::Range(Range::parse(&text).ok_or_else(|| {
                format!("`{text}` is no range: write it as `192.0.2.10-192.0.2.20`, the lower end first")
            })?),
        })
    }

    /// Whether a value is so; of addresses none is.
    fn fits(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => value == text.as_bytes(),
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Regex(regex) => {
                value.len() <= LONGEST && std::str::from_utf8(value).is_ok_and(|text| regex.is_match(text))
            }
            Self::Cidr(_) | Self::Range(_) => false,
        }
    }
}

impl Compiled {
    /// Inverted, one value that is otherwise is enough, and so is none.
    fn holds(&self, request: &Request<'_>) -> bool {
        let Self { part, test, invert } = self;
        let address = |is: &dyn Fn(IpAddr) -> bool| request.address().is_some_and(is) != *invert;
        match test {
            Matcher::Cidr(network) => address(&|address| network.contains(address)),
            Matcher::Range(range) => address(&|address| range.contains(address)),
            text => request.any_value(part, |value| text.fits(value) != *invert).unwrap_or(*invert),
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use enforcer_core::{
        host::{Host as _, MapKind},
        identity::Called,
        native::NativeHost,
    };
    use serde_json::{Value, json};

    use super::*;

    fn compile(conditions: Value) -> Result<All, ConfigError> {
        All::new(serde_json::from_value(conditions).unwrap())
    }

    fn hold(conditions: Value, address: &str, headers: &[(&str, &str)]) -> bool {
        let host = NativeHost::new()
            .with_headers(MapKind::RequestHeaders, headers.iter().copied())
            .with_attribute("source.address", address);
        let (map, called) = (host.headers(MapKind::RequestHeaders), Called::default());
        compile(conditions).unwrap().hold(&Request::new(&host, &map, &called, None))
    }

    fn of_header(is: &Value, value: &str) -> bool {
        hold(json!([{"part": {"header": "x"}, "is": is}]), "192.0.2.1:1", &[("x", value)])
    }

    #[test]
    fn values_are_compared() {
        assert!(of_header(&json!({"exact": "a"}), "a") && !of_header(&json!({"exact": "a"}), "A"));
        assert!(of_header(&json!({"prefix": "ab"}), "abc") && !of_header(&json!({"prefix": "ab"}), "xab"));
        assert!(of_header(&json!({"regex": "b+"}), "abc") && !of_header(&json!({"regex": "^b+$"}), "abc"));
        assert!(!of_header(&json!({"regex": "a"}), &"a".repeat(LONGEST + 1)));
    }

    #[test]
    fn adding_a_value_gets_round_nothing() {
        let twice = |is: &Value| {
            let part = json!([{"part": {"header": "x"}, "is": is}]);
            hold(part, "192.0.2.1:1", &[("x", "good"), ("x", "bad one")])
        };
        assert!(twice(&json!({"exact": "bad one"})) && twice(&json!({"prefix": "bad"})));
        assert!(twice(&json!({"regex": "^bad"})) && twice(&json!({"exact": "good,bad one"})));
        assert!(!twice(&json!({"exact": "bad"})));
        for values in [["good", "bad"], ["bad", "good"]] {
            let otherwise = json!([{"part": {"header": "x"}, "is": {"prefix": "good"}, "invert": true}]);
            assert!(hold(otherwise, "192.0.2.1:1", &values.map(|value| ("x", value))), "{values:?}");
        }
        let query = json!([{"part": {"query": "z"}, "is": {"exact": "1"}}]);
        assert!(hold(query, "192.0.2.1:1", &[(":path", "/?z=0&z=1")]));
        let cookie = json!([{"part": {"cookie": "z"}, "is": {"exact": "1"}}]);
        assert!(hold(cookie, "192.0.2.1:1", &[("cookie", "z=0; z=1")]));
    }

    #[test]
    fn networks_hold_addresses() {
        let within = |network: &str, address: &str| {
            hold(json!([{"part": "client_ip", "is": {"cidr": network}}]), address, &[])
        };
        assert!(within("10.0.0.0/8", "10.255.0.1:80") && !within("10.0.0.0/8", "11.0.0.1:80"));
        assert!(within("0.0.0.0/0", "203.0.113.9:1") && within("192.0.2.7", "192.0.2.7:1"));
        assert!(!within("192.0.2.7", "192.0.2.6:1") && !within("::/0", "192.0.2.6:1"));
        assert!(
            within("2001:db8::/32", "[2001:db8:ffff::1]:1") && !within("2001:db8::/32", "[2001:db9::1]:1")
        );
        assert!(!within("10.0.0.0/8", "/run/envoy.sock"), "no address is in no network");
        let between = |range: &str, address: &str| {
            hold(json!([{"part": "client_ip", "is": {"range": range}}]), address, &[])
        };
        assert!(
            between("192.0.2.5-192.0.2.7", "192.0.2.7:1") && !between("192.0.2.5-192.0.2.6", "192.0.2.7:1")
        );
        assert!(!between("0.0.0.0-255.255.255.255", "/run/envoy.sock"));
    }

    #[test]
    fn all_must_hold_and_each_can_be_inverted() {
        let both = json!([
            {"part": {"header": "x"}, "is": {"exact": "1"}},
            {"part": "client_ip", "is": {"cidr": "10.0.0.0/8"}, "invert": true},
        ]);
        assert!(hold(both.clone(), "192.0.2.1:1", &[("x", "1")]));
        assert!(!hold(both.clone(), "10.0.0.1:1", &[("x", "1")]));
        assert!(!hold(both, "192.0.2.1:1", &[]));
        let absent = json!([{"part": {"header": "x"}, "is": {"regex": ""}, "invert": true}]);
        assert!(hold(absent, "192.0.2.1:1", &[]), "what is absent is nothing, so its inverse holds");
        assert!(hold(json!([]), "192.0.2.1:1", &[]));
    }

    #[test]
    fn what_cannot_be_tested_is_refused() {
        let refused =
            |part: Value, is: Value| compile(json!([{"part": part, "is": is}])).unwrap_err().to_string();
        for network in ["10.0.0.0/33", "10.0.0/8", "::/129", "x", "10.0.0.0/-1", ""] {
            assert!(
                refused(json!("client_ip"), json!({"cidr": network})).contains("is no network"),
                "{network}"
            );
        }
        assert!(refused(json!("user"), json!({"cidr": "10.0.0.0/8"})).contains("client_ip"));
        assert!(refused(json!("user"), json!({"range": "10.0.0.1-10.0.0.2"})).contains("client_ip"));
        assert!(refused(json!("client_ip"), json!({"range": "10.0.0.2-10.0.0.1"})).contains("is no range"));
        assert!(refused(json!("user"), json!({"regex": "("})).starts_with("[0].is: `(` is no regular"));
        let large = "(a{900}){900}";
        assert!(refused(json!("user"), json!({"regex": large})).contains("no regular expression"));
    }
}
