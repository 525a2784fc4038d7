//! attacks.yaml, read and turned into requests.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::template::{self, Names};
use crate::{
    bytes::{base64url, latin1, unused_bits_set},
    forgery::{Forgery, forge},
    keys::{self, Key, Keys},
    site::{Scene, Wire, harness::now},
};

/// The list, with keys made for it.
pub(crate) struct List {
    written: Written,
    keys: Keys,
    /// Seconds since 1970.
    now: u64,
    good: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// What each key is.
    keys: BTreeMap<String, String>,
    key_sets: BTreeMap<String, Vec<Map<String, Value>>>,
    /// Of the filter, by scene.
    configurations: BTreeMap<String, Value>,
    attacks: BTreeMap<String, Vec<Attack>>,
}

/// One line of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attack {
    id: String,
    what: String,
    r#ref: String,
    verdict: String,
    #[serde(default = "main")]
    scene: String,
    #[serde(default = "rsa")]
    key: String,
    alg: Option<String>,
    mac: Option<String>,
    #[serde(default)]
    header: Map<String, Value>,
    #[serde(default)]
    claims: Map<String, Value>,
    header_text: Option<String>,
    claims_text: Option<String>,
    swap: Option<Map<String, Value>>,
    swap_header: Option<Map<String, Value>>,
    signature: Option<Forgery>,
    text: Option<String>,
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default = "get")]
    method: String,
    #[serde(default = "protected")]
    path: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
}

fn main() -> String {
    "main".to_owned()
}

fn rsa() -> String {
    "rsa".to_owned()
}

fn get() -> String {
    "GET".to_owned()
}

fn protected() -> String {
    "/protected/a".to_owned()
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    Accepted,
    /// With this in `%RESPONSE_CODE_DETAILS%`, after `enforcer_`.
    Refused(&'a str),
    /// With this status by Envoy's own parser; where there is none, by the filter.
    ByEnvoy(u16),
}

impl Attack {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn is_explained(&self) -> bool {
        !self.what.is_empty() && !self.r#ref.is_empty()
    }

    pub(crate) fn verdict(&self) -> Verdict<'_> {
        match (self.verdict.as_str(), self.verdict.strip_prefix("envoy ")) {
            ("accepted", _) => Verdict::Accepted,
            (_, Some(status)) => Verdict::ByEnvoy(status.parse().unwrap()),
            (reason, None) => Verdict::Refused(reason),
        }
    }
}

impl List {
    pub(crate) fn read() -> Self {
        let text = include_str!("../../attacks.yaml");
        let written: Written = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}"));
        let keys = written.keys.iter().fold(Keys::default(), |keys, (name, kind)| keys.with(name, key(kind)));
        let mut list = Self { written, keys, now: now().as_secs(), good: String::new() };
        let good = list.minted(&Attack::good());
        list.good = good;
        list
    }

    /// A token that nothing is wrong with.
    pub(crate) fn good(&self) -> String {
        self.good.clone()
    }

    pub(crate) fn classes(&self) -> impl Iterator<Item = (&str, &[Attack])> {
        self.written.attacks.iter().map(|(class, attacks)| (class.as_str(), attacks.as_slice()))
    }

    /// What the filter is configured with. Each key set is served by a cluster of its name.
    pub(crate) fn scenes(&self) -> Vec<Scene> {
        let set = |name: &String| Some((name.clone(), self.key_set(name)?));
        let clusters: BTreeMap<_, _> = self.written.key_sets.keys().filter_map(set).collect();
        let all = self.written.configurations.iter().map(|(name, written)| Scene {
            name: name.clone(),
            configuration: template::json(written, &self.names("", "")),
            clusters: clusters.clone(),
        });
        all.collect()
    }

    /// Every request of a scene.
    pub(crate) fn requests(&self, scene: &str) -> Vec<(&str, Verdict<'_>, Wire)> {
        let all = self.written.attacks.values().flatten().filter(|attack| attack.scene == scene);
        all.map(|attack| (attack.id.as_str(), attack.verdict(), self.wire(attack))).collect()
    }

    fn wire(&self, attack: &Attack) -> Wire {
        let token = self.minted(attack);
        let Some(request) = &attack.request else {
            return Wire::get("/protected/a").header("authorization", bearer(&token));
        };
        let names = self.names(&attack.key, &token);
        let wire =
            Wire { method: request.method.clone(), ..Wire::get(&template::text(&request.path, &names)) };
        request
            .headers
            .iter()
            .fold(wire, |wire, (name, value)| wire.header(name, latin1(&template::text(value, &names))))
    }

    /// A character a byte.
    fn minted(&self, attack: &Attack) -> String {
        let key = self.keys.named(&attack.key);
        let alg = attack.alg.as_deref().unwrap_or_else(|| match attack.mac {
            Some(_) => "HS256",
            None => key.usual_algorithm(),
        });
        let header = json!({"alg": alg, "typ": "JWT", "kid": attack.key});
        let claims = json!({
            "iss": "https://issuer.example", "aud": "gateway", "sub": "alice", "scope": "read",
            "jti": attack.id, "iat": self.now - 10, "exp": self.now + 600,
        });
        let names = self.names(&attack.key, "");
        let part = |usual: &Value, changed: &Map<String, Value>, text: Option<&str>| match text {
            Some(text) => base64url(latin1(&template::text(text, &names))),
            None => base64url(merged(usual, &template::object(changed, &names))),
        };
        let header_text = attack.header_text.as_deref();
        let signed = [
            part(&header, &attack.header, header_text),
            part(&claims, &attack.claims, attack.claims_text.as_deref()),
        ];
        let input = signed.join(".").into_bytes();
        let genuine = match &attack.mac {
            None => key.sign(alg, &input),
            Some(secret) => {
                keys::hmac(alg, &if secret.is_empty() { Vec::new() } else { key.as_secret(secret) }, &input)
            }
        };
        let signature = match attack.signature {
            Some(how) => forge(how, key, &input, genuine),
            None => genuine,
        };
        let [mut first, mut second] = signed;
        if let Some(swapped) = &attack.swap_header {
            first = part(&header, swapped, None);
        }
        if let Some(swapped) = &attack.swap {
            second = part(&claims, swapped, None);
        }
        let third = base64url(signature);
        match &attack.text {
            None => format!("{first}.{second}.{third}"),
            Some(text) => template::text(text, &Parts { segments: [&first, &second, &third], names: &names }),
        }
    }

    fn names<'a>(&'a self, key: &'a str, token: &'a str) -> Scope<'a> {
        Scope { list: self, key, token }
    }

    fn key_set(&self, name: &str) -> Option<Value> {
        let keys = self.written.key_sets.get(name)?.iter().map(|entry| {
            let mut members = entry.clone();
            let key = members.remove("key").unwrap();
            self.keys.published(key.as_str().unwrap(), &Value::Object(members))
        });
        Some(json!({"keys": keys.collect::<Vec<_>>()}))
    }
}

impl Attack {
    fn good() -> Self {
        serde_json::from_value(json!({"id": "good", "what": "", "ref": "", "verdict": "accepted"})).unwrap()
    }
}

fn bearer(token: &str) -> Vec<u8> {
    [b"Bearer ", latin1(token).as_slice()].concat()
}

/// JSON of these members with those changes.
fn merged(usual: &Value, changed: &Map<String, Value>) -> Vec<u8> {
    let mut members = usual.as_object().unwrap().clone();
    members.extend(changed.clone());
    members.retain(|_, value| !value.is_null());
    Value::Object(members).to_string().into_bytes()
}

fn key(kind: &str) -> Key {
    match kind.split(' ').collect::<Vec<_>>()[..] {
        ["RSA", bits] => Key::rsa(bits.parse().unwrap(), 65_537),
        ["RSA", bits, "e=3"] => Key::rsa(bits.parse().unwrap(), 3),
        ["P-256"] => Key::p256(),
        ["P-384"] => Key::p384(),
        ["Ed25519"] => Key::ed25519(),
        ["secret", bytes] => Key::secret(bytes.parse().unwrap()),
        _ => panic!("`{kind}` is no kind of key"),
    }
}

/// What can be named everywhere.
struct Scope<'a> {
    list: &'a List,
    key: &'a str,
    token: &'a str,
}

impl Names for Scope<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        let named = |kind: &str| name.strip_prefix(kind).and_then(|name| name.strip_prefix(' '));
        if let Some(offset) = name.strip_prefix("now") {
            let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().ok()? };
            return Some(self.list.now.checked_add_signed(offset)?.into());
        }
        if let Some(key) = named("jwk") {
            return Some(self.list.keys.named(key).jwk());
        }
        if let Some(key) = named("certificate") {
            return Some(self.list.keys.named(key).certificate().into());
        }
        if let Some(set) = named("key_set") {
            return self.list.key_set(set);
        }
        match name {
            "token" => Some(self.token.into()),
            "good" => Some(self.list.good.as_str().into()),
            "good signature" => Some(self.list.good.rsplit('.').next()?.into()),
            "key" => Some(self.key.into()),
            _ => None,
        }
    }
}

/// What the text of a whole token can name besides.
struct Parts<'a> {
    segments: [&'a str; 3],
    names: &'a Scope<'a>,
}

impl Names for Parts<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        let [header, claims, signature] = self.segments;
        match name {
            "header" => Some(header.into()),
            "claims" => Some(claims.into()),
            "signature" => Some(signature.into()),
            "unused bits" => Some(unused_bits_set(signature).into()),
            _ => self.names.value(name),
        }
    }
}
