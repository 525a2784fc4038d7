//! Addresses of backends and issuers.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// An absolute `http` or `https` URL without user, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub scheme: Scheme,
    pub host: Host,
    pub port: u16,
    /// `/`, or a path without a trailing slash.
    pub path: String,
}

/// A host name in lower case, or an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    Name(String),
    Ip(IpAddr),
}

impl Host {
    /// Whether it can only be this machine.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Self::Ip(ip) => ip.is_loopback(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => write!(f, "{ip}"),
        }
    }
}

impl Url {
    /// Reads a URL; the error says what is wrong with it, and continues `the URL ...`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            Some((scheme, _)) => {
                return Err(format!("has the scheme `{scheme}`; only http and https are supported"));
            }
            None => return Err("does not begin with `http://` or `https://`".to_owned()),
        };
        if rest.contains(['?', '#']) {
            return Err("has a query or fragment, which a server address cannot have".to_owned());
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        if authority.contains('@') {
            return Err("holds a user name; keep credentials out of definitions".to_owned());
        }
        let (host, port) = split_port(authority)?;
        Ok(Self {
            scheme,
            host: parse_host(host)?,
            port: port.unwrap_or(scheme.default_port()),
            path: base_path(path)?,
        })
    }

    /// `host`, or `host:port` when the port is not the scheme's own: what belongs into the `Host` header.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Scheme and authority.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.authority())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), if self.path == "/" { "" } else { &self.path })
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), String> {
    // The colons of an IPv6 address are inside brackets.
    let after_host = authority.rfind(']').map_or(0, |bracket| bracket.saturating_add(1));
    let colon =
        authority.get(after_host..).and_then(|rest| rest.find(':')).map(|at| at.saturating_add(after_host));
    let Some((host, port)) = colon.map(|at| authority.split_at(at)) else { return Ok((authority, None)) };
    match port.trim_start_matches(':') {
        "" => Ok((host, None)),
        digits => match digits.parse::<u16>() {
            Ok(port) if port > 0 => Ok((host, Some(port))),
            _ => Err(format!("has the port `{digits}`, which is not a number from 1 to 65535")),
        },
    }
}

fn parse_host(text: &str) -> Result<Host, String> {
    if let Some(v6) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return v6
            .parse::<Ipv6Addr>()
            .map(|ip| Host::Ip(ip.into()))
            .map_err(|_| format!("has a bad IPv6 address `{v6}`"));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Host::Ip(ip));
    }
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    if name.is_empty() {
        return Err("names no host".to_owned());
    }
    if !name.is_ascii() {
        return Err(format!("has the host `{name}`; write it in its ASCII form (`xn--...`)"));
    }
    if !is_host_name(&name) {
        return Err(format!("has a bad host name `{text}`"));
    }
    Ok(Host::Name(name))
}

/// Letters, digits, dashes, and underscores, which container networks use, in labels of 1 to 63.
pub fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}

/// A base path in its one form: begins with a slash and does not end with one, unless it is `/`.
pub fn base_path(path: &str) -> Result<String, String> {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return Ok("/".to_owned());
    }
    if !trimmed.starts_with('/') {
        return Err(format!("has a path that does not begin with `/`: `{path}`"));
    }
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@%".contains(&b))
    };
    if trimmed.split('/').skip(1).all(segment) {
        Ok(trimmed.to_owned())
    } else {
        Err(format!("has a path that is not plain: `{path}`; use segments of letters, digits and `-._~`"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_definitions_hold() {
        for (text, shown, port, path) in [
            ("https://API.example.com/v1/", "https://api.example.com/v1", 443, "/v1"),
            ("http://localhost:8080", "http://localhost:8080", 8080, "/"),
            ("http://[::1]:81/a", "http://[::1]:81/a", 81, "/a"),
            ("http://10.0.0.1/", "http://10.0.0.1", 80, "/"),
            ("HTTPS://a_b.svc:443//", "https://a_b.svc", 443, "/"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.port, url.path.as_str()), (shown, port, path));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, problem) in [
            ("/v1", "does not begin with"),
            ("ftp://x", "scheme `ftp`"),
            ("https://", "names no host"),
            ("https://u:p@x/", "user name"),
            ("https://x:99999/", "port `99999`"),
            ("https://x:0/", "port `0`"),
            ("https://x/a?b", "query"),
            ("https://x/a/../b", "not plain"),
            ("https://x/{v}", "not plain"),
            ("https://a b/", "bad host name"),
            ("https://münchen.de", "ASCII"),
            ("http://[::z]/", "IPv6"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_reads_its_own_output(text in "https?://\\PC*") {
            if let Ok(url) = Url::parse(&text) {
                prop_assert_eq!(Url::parse(&url.to_string()).unwrap(), url);
            }
        }
    }
}
