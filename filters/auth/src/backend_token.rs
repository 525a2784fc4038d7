//! What tells the backend who calls: a token of our own, with the claims of WSO2's `X-JWT-Assertion`.
//! Source: `AbstractAPIMgtGatewayJWTGenerator` of carbon-apimgt.

use std::time::Duration;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use enforcer_core::{
    cache::{Cache, Weigh},
    config::ConfigError,
    cx::Cx,
    fault::Detail,
    filter::{Capabilities, Response},
    headers::HeaderMap,
    identity::Caller,
};
use serde_json::{Map, Value, json};

use crate::{
    config::{self, Api, Encoding},
    source::may_be_written,
};

mod key;

use key::PrivateKey;

/// Makes tokens, and remembers them.
#[derive(Debug)]
pub struct BackendTokens {
    config: config::BackendToken,
    key: PrivateKey,
    /// Header and dot, encoded.
    head: String,
    /// What comes before the names of WSO2's claims.
    prefix: String,
    key_set: Vec<u8>,
    made: Cache<Text>,
}

#[derive(Debug)]
struct Text(String);

impl Weigh for Text {
    fn weight(&self) -> usize {
        self.0.len()
    }
}

/// Whom a token is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    pub caller: &'a Caller,
    /// The caller's own token: its text and its claims.
    pub token: Option<(&'a [u8], &'a Map<String, Value>)>,
    pub api: Option<&'a Api>,
}

/// Claims of a token that are its own affair, and those that are handed on under other names.
const NOT_HANDED_ON: [&str; 10] =
    ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "application", "tierInfo", "subscribedAPIs"];
/// What the gateway says under the dialect.
const OURS: [&str; 14] = [
    "subscriber",
    "applicationid",
    "applicationname",
    "applicationtier",
    "apiname",
    "apicontext",
    "version",
    "tier",
    "keytype",
    "usertype",
    "enduser",
    "enduserTenantId",
    "applicationUUId",
    "applicationAttributes",
];
/// Shortest life of a token.
const LEAST_TTL: Duration = Duration::from_secs(10);

impl BackendTokens {
    pub fn new(config: config::BackendToken, capabilities: Capabilities) -> Result<Self, ConfigError> {
        let mut keys = Vec::with_capacity(config.keys.len());
        for (index, signing) in config.keys.iter().enumerate() {
            let at = |member: &'static str| {
                move |problem: String| ConfigError::at(format!("keys[{index}].{member}"), problem)
            };
            let key = PrivateKey::read(&signing.private_key, capabilities).map_err(at("private_key"))?;
            let x5t = signing.certificate.as_ref().map(|pem| key.thumbprint(pem)).transpose();
            keys.push((&signing.kid, key, x5t.map_err(at("certificate"))?));
        }
        let public: Vec<Value> = keys.iter().map(|(kid, key, _)| key.to_jwk(kid)).collect();
        let Some((kid, key, x5t)) = keys.into_iter().next() else {
            return Err(ConfigError::at("keys", "no key: nobody could sign; give one"));
        };
        if config.ttl.duration() < LEAST_TTL {
            return Err(ConfigError::at("ttl", format!("`{}` is less than `10s`", config.ttl)));
        }
        if !may_be_written(&config.header) {
            let problem = format!("`{}` is not a header that can carry a token", config.header);
            return Err(ConfigError::at("header", problem));
        }
        if config.jwks_path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return Err(ConfigError::at("jwks_path", "not a path: it begins with `/`"));
        }
        let mut head = json!({"typ": "JWT", "alg": key.algorithm(), "kid": kid});
        if let (Some(x5t), Some(members)) = (x5t, head.as_object_mut()) {
            members.insert("x5t".to_owned(), x5t.into());
        }
        let prefix = match config.dialect.as_str() {
            "" | "/" => config.dialect.clone(),
            dialect => format!("{}/", dialect.trim_end_matches('/')),
        };
        Ok(Self {
            head: format!("{}.", config.encoding.encode(head.to_string())),
            prefix,
            key_set: json!({"keys": public}).to_string().into_bytes(),
            made: Cache::new(config.cache.as_usize()),
            key,
            config,
        })
    }

    /// The header's name, in lower case.
    pub fn header(&self) -> String {
        self.config.header.to_ascii_lowercase()
    }

    /// Where the key set is.
    pub fn key_set_path(&self) -> Option<&str> {
        self.config.jwks_path.as_deref()
    }

    /// The key set, if that is what a request asks for.
    pub fn key_set(&self, headers: &HeaderMap) -> Option<Response> {
        let wanted = self.key_set_path()?.as_bytes();
        let path = headers.get(":path")?.split(|byte| *byte == b'?').next()?;
        let reads = matches!(headers.get(":method")?, b"GET" | b"HEAD");
        (reads && path == wanted).then(|| Response {
            status: 200,
            headers: vec![
                ("content-type".to_owned(), "application/jwk-set+json".to_owned()),
                ("cache-control".to_owned(), "max-age=300".to_owned()),
            ],
            body: self.key_set.clone(),
            detail: Detail::new("enforcer_auth_key_set"),
            identity: None,
        })
    }

    /// The token for the backend; `None`: it cannot be signed.
    pub fn make(&mut self, about: About<'_>, cx: &Cx<'_>) -> Option<String> {
        let now = cx.host.now();
        let name = name(about);
        if let Some(Text(known)) = self.made.get(&name, now) {
            cx.host.count("enforcer.auth.backend_token.reused", 1);
            return Some(known.clone());
        }
        let claims = self.claims(about, cx);
        let encoding = self.config.encoding;
        let signed = format!("{}{}", self.head, encoding.encode(claims.to_string()));
        let signature = self.key.sign(signed.as_bytes(), cx.host)?;
        cx.host.count("enforcer.auth.backend_token.made", 1);
        let token = format!("{signed}.{}", encoding.encode(signature));
        let reused_for = self.config.ttl.duration().saturating_mul(9).checked_div(10).unwrap_or_default();
        self.made.insert(&name, Text(token.clone()), now.saturating_add(reused_for));
        Some(token)
    }

    fn claims(&self, about: About<'_>, cx: &Cx<'_>) -> Value {
        let mut claims = Map::new();
        let issued = cx.host.now().as_secs();
        let jti = format!("{:016x}{:016x}", cx.host.random(), cx.host.random());
        claims.insert("iss".to_owned(), self.config.issuer.clone().into());
        claims.insert("iat".to_owned(), issued.into());
        claims.insert("exp".to_owned(), issued.saturating_add(self.config.ttl.duration().as_secs()).into());
        claims.insert("jti".to_owned(), jti.into());
        let About { caller, token, api } = about;
        let told = token.map(|(_, claims)| claims);
        let application = told.and_then(|claims| claims.get("application")).and_then(Value::as_object);
        let of_application = |name: &str| text(application.and_then(|members| members.get(name)));
        let keytype = text(told.and_then(|claims| claims.get("keytype")));
        for (name, value) in [
            ("subscriber", of_application("owner")),
            ("applicationid", of_application("id")),
            ("applicationname", either(&caller.application, of_application("name"))),
            ("applicationtier", of_application("tier")),
            ("apiname", api.map_or_else(String::new, |api| api.name.clone())),
            ("apicontext", api.map_or_else(String::new, |api| api.base_path.clone())),
            ("version", api.map_or_else(String::new, |api| api.version.clone())),
            ("tier", caller.tier.clone()),
            ("keytype", either(&keytype, "PRODUCTION".to_owned())),
            ("usertype", "Application_User".to_owned()),
            ("enduser", either(&caller.subject, caller.consumer.clone())),
            // Choreo Connect knows no tenants, and says so with each.
            ("enduserTenantId", "0".to_owned()),
            ("applicationUUId", of_application("uuid")),
        ] {
            if !value.is_empty() {
                claims.insert(format!("{}{name}", self.prefix), value.into());
            }
        }
        if let Some(attributes @ Value::Object(_)) = application.and_then(|members| members.get("attributes"))
        {
            claims.insert(format!("{}applicationAttributes", self.prefix), attributes.clone());
        }
        for (name, value) in &self.config.claims {
            claims.entry(name.clone()).or_insert_with(|| value.clone());
        }
        for (name, value) in told.into_iter().flatten() {
            // Where the gateway has nothing to say, nobody else speaks for it.
            let ours = name.strip_prefix(&*self.prefix).is_some_and(|name| OURS.contains(&name));
            let kept = !ours && !NOT_HANDED_ON.contains(&name.as_str());
            if kept && !self.config.excluded_claims.contains(name) {
                claims.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        Value::Object(claims)
    }
}

impl Encoding {
    fn encode(self, bytes: impl AsRef<[u8]>) -> String {
        match self {
            Self::Base64url => URL_SAFE_NO_PAD.encode(bytes),
            Self::Base64 => STANDARD_NO_PAD.encode(bytes),
        }
    }
}

/// Everything that a token's content follows from, the caller's own token last.
fn name(About { caller, token, api }: About<'_>) -> Vec<u8> {
    let Caller { subject, consumer, application, tier, .. } = caller;
    let (api, version) = api.map_or(("", ""), |api| (&api.name, &api.version));
    let mut name = Vec::with_capacity(128);
    for part in [api, version, application, tier, subject, consumer] {
        name.extend_from_slice(part.as_bytes());
        name.push(0);
    }
    name.extend_from_slice(token.map_or(&[], |(text, _)| text));
    name
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn either(first: &str, second: String) -> String {
    if first.is_empty() { second } else { first.to_owned() }
}

#[cfg(test)]
mod tests;
