//! What of a call is shown: addresses cut, fields hashed or left out.

use std::net::IpAddr;

use enforcer_core::config::ConfigError;
use hmac_sha256::HMAC;

use crate::{
    config::{ClientIp, Fields, From},
    event::FIELDS,
    json,
};

/// Request and response headers that hold credentials: they never become a field.
const CREDENTIALS: [&str; 10] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "apikey",
    "api-key",
    "internal-key",
    "x-jwt-assertion",
    "x-wso2-client-certificate",
];

/// Checks what is said of fields.
pub fn check(fields: &Fields) -> Result<(), ConfigError> {
    for (index, added) in fields.add.iter().enumerate() {
        let at =
            |what: &str, problem: String| ConfigError::at(format!("fields.add[{index}].{what}"), problem);
        let taken = fields.add.iter().take(index).any(|other| other.name == added.name);
        if taken || FIELDS.contains(&added.name.as_str()) {
            return Err(at(
                "name",
                format!("there is a field `{}` already; choose another name", added.name),
            ));
        }
        // Names are written as they are.
        if added.name.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
            let problem = "a name has no quotes, backslashes and control characters; remove them";
            return Err(at("name", problem.to_owned()));
        }
        let (From::Header(header) | From::ResponseHeader(header)) = &added.from else { continue };
        if CREDENTIALS.contains(&header.to_ascii_lowercase().as_str()) {
            let problem = format!("`{header}` holds a credential, which never goes into an event; remove it");
            return Err(at("from", problem));
        }
    }
    for (list, names) in [("drop", &fields.drop), ("hash", &fields.hash)] {
        let known = |name: &str| FIELDS.contains(&name) || fields.add.iter().any(|added| added.name == name);
        if let Some((index, name)) = names.iter().enumerate().find(|(_, name)| !known(name)) {
            let problem = format!("there is no field `{name}`; docs/analytics.md lists them");
            return Err(ConfigError::at(format!("fields.{list}[{index}]"), problem));
        }
    }
    if !fields.hash.is_empty() && fields.hash_key.len() < 16 {
        let problem = "hashes need a key of at least 16 bytes, or they could be guessed; give a random one";
        return Err(ConfigError::at("fields.hash_key", problem));
    }
    Ok(())
}

/// A keyed hash: the first 16 hexadecimal digits of HMAC-SHA-256.
pub fn hashed(key: &str, text: &str) -> String {
    let digest = HMAC::mac(text.as_bytes(), key.as_bytes());
    json::text(|out| json::hex(out, digest.get(..8).unwrap_or(&digest)))
}

/// The address of `source.address` (`203.0.113.9:40312`, `[2001:db8::1]:40312`) as it may be shown. Empty if it is
/// none.
pub fn client_ip(source: &[u8], shown: ClientIp) -> String {
    let text = std::str::from_utf8(source).unwrap_or_default();
    let host = text.rsplit_once(':').map_or(text, |(host, _port)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let Ok(address) = host.parse::<IpAddr>() else { return String::new() };
    match (shown, address) {
        (ClientIp::Full, address) => address.to_string(),
        (ClientIp::Network, IpAddr::V4(v4)) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::from([a, b, c, 0]).to_string()
        }
        (ClientIp::Network, IpAddr::V6(v6)) => {
            let [a, b, c, ..] = v6.segments();
            IpAddr::from([a, b, c, 0, 0, 0, 0, 0]).to_string()
        }
    }
}

/// A country as a header gives it: two letters (ISO 3166), else none.
pub fn country(value: &[u8]) -> Option<[u8; 2]> {
    <[u8; 2]>::try_from(value).ok().filter(|letters| letters.iter().all(u8::is_ascii_uppercase))
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::config::Added;

    #[test]
    fn addresses_are_cut() {
        let network = |text: &str| client_ip(text.as_bytes(), ClientIp::Network);
        assert_eq!(network("203.0.113.9:40312"), "203.0.113.0");
        assert_eq!(network("[2001:db8:1:2::3]:80"), "2001:db8:1::");
        assert_eq!(network("/var/run/envoy.sock"), "");
        assert_eq!(client_ip(b"203.0.113.9:40312", ClientIp::Full), "203.0.113.9");
        assert_eq!(client_ip(b"\xff", ClientIp::Full), "");
    }

    #[test]
    fn hashes_depend_on_the_key() {
        // RFC 4231 section 4.3.
        assert_eq!(hashed("Jefe", "what do ya want for nothing?"), "5bdcc146bf60754e");
        assert_ne!(hashed("Jefe", "x"), hashed("Jim", "x"));
    }

    #[test]
    fn countries_are_two_letters() {
        assert_eq!(country(b"LK"), Some(*b"LK"));
        assert_eq!(country(b"secret"), None);
        assert_eq!(country(b"\xff\xff"), None);
    }

    #[test]
    fn mistakes_are_named() {
        let added =
            |name: &str, from| Fields { add: vec![Added { name: name.into(), from }], ..Fields::default() };
        for (fields, problem) in [
            (
                added("key", From::Header("X-Api-Key".into())),
                "fields.add[0].from: `X-Api-Key` holds a credential",
            ),
            (
                added("userIp", From::Claim("ip".into())),
                "fields.add[0].name: there is a field `userIp` already",
            ),
            (
                added("a\"b", From::Claim("ip".into())),
                "fields.add[0].name: a name has no quotes, backslashes and control characters",
            ),
            (
                Fields { drop: vec!["nothing".into()], ..Fields::default() },
                "fields.drop[0]: there is no field `nothing`",
            ),
            (
                Fields { hash: vec!["userIp".into()], ..Fields::default() },
                "fields.hash_key: hashes need a key",
            ),
        ] {
            let error = check(&fields).unwrap_err().to_string();
            assert!(error.starts_with(problem), "{error}");
        }
        let tenant = added("tenant", From::Header("x-tenant".into()));
        assert_eq!(check(&Fields { drop: vec!["tenant".into()], ..tenant }), Ok(()));
    }
}
