//! The list made anew from what its cases.json declares, with keys of our own.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    bytes::{base64url, decoded, unused_bits_set},
    forgery::{Forgery, forge},
    keys::{Key, Keys, hmac},
    site::{Scene, Wire, harness::now},
    vectors::corpora,
};

#[derive(Deserialize)]
pub(super) struct File {
    base_claims: Map<String, Value>,
    pub(super) cases: Vec<Case>,
}

#[derive(Deserialize)]
pub(super) struct Case {
    pub(super) id: String,
    pub(super) cat: String,
    pub(super) expect: Expect,
    /// What Envoy should answer, where only one answer is right.
    pub(super) http: Option<u16>,
    sign: Option<Sign>,
    hdr: Option<Map<String, Value>>,
    hdr_raw: Option<String>,
    claims: Option<Map<String, Value>>,
    pay_raw: Option<String>,
    fmt: Option<String>,
    #[serde(default)]
    post: Vec<String>,
    raw: Option<String>,
    pub(super) carry: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Expect {
    Accept,
    Reject,
    Either,
}

#[derive(Clone, Default, Deserialize)]
pub(super) struct Sign {
    alg: Option<String>,
    key: Option<String>,
    hmac: Option<String>,
    forge_e3: Option<String>,
    none: Option<u8>,
}

/// The list, with keys made for it.
pub(crate) struct List {
    pub(super) file: File,
    keys: Keys,
    now: u64,
}

const PUBLISHED: [(&str, &str, Option<&str>); 8] = [
    ("rsa1", "sig", Some("RS256")),
    ("ps1", "sig", Some("PS256")),
    ("ec1", "sig", Some("ES256")),
    ("ed1", "sig", Some("EdDSA")),
    ("rsaenc", "enc", Some("RSA-OAEP")),
    ("rsaops", "", Some("RS256")),
    ("rsa1024", "sig", Some("RS256")),
    ("rsae3", "sig", Some("RS256")),
];

impl List {
    pub(crate) fn read() -> Option<Self> {
        let path = corpora()?.join("jwt-attacks/cases.json");
        let file = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let rsa = ["rsa1", "ps1", "rsaenc", "rsaops", "evil", "old", "other"];
        let keys = rsa.iter().fold(Keys::default(), |keys, name| keys.with(name, Key::rsa(2048, 65_537)));
        let keys = keys
            .with("rsa1024", Key::rsa(1024, 65_537))
            .with("rsae3", Key::rsa(2048, 3))
            .with("ec1", Key::p256())
            .with("ed1", Key::ed25519());
        Some(Self { file, keys, now: now().as_secs() })
    }

    /// The policy that the list assumes.
    pub(crate) fn scene(&self) -> Scene {
        let keys = PUBLISHED.map(|(name, usage, _)| match usage {
            "" => self.keys.published(name, &json!({"key_ops": ["encrypt"], "alg": "RS256"})),
            _ => self.published(name),
        });
        Scene {
            name: "jwt-attacks".to_owned(),
            configuration: json!({
                "max_token": "64KiB",
                "verification_budget": 1000,
                "issuers": [{
                    "issuer": "https://idp.test",
                    "jwks": {"remote": {"cluster": "idp", "url": "https://idp.test/jwks", "cooldown": "1h"}},
                    "algorithms": ["RS256", "PS256", "ES256", "EdDSA"],
                    "audiences": ["gw"],
                    "leeway": "60s",
                    "revoked": ["revoked-1"],
                }],
                "apis": [{"name": "Attacked", "operations": [
                    {"path": "/protected/*", "security": [{"jwt": {"scopes": {"all_of": ["read"]}}}]},
                    {"path": "/open/*", "security": []},
                ]}],
            }),
            clusters: BTreeMap::from([("idp".to_owned(), json!({"keys": keys}))]),
        }
    }

    /// Every request of the list.
    pub(crate) fn requests(&self) -> Vec<(String, Wire)> {
        let all = self.file.cases.iter();
        all.flat_map(|case| self.wires(case).into_iter().map(|wire| (case.id.clone(), wire))).collect()
    }

    fn published(&self, name: &str) -> Value {
        let (_, usage, alg) = PUBLISHED.iter().find(|(published, ..)| *published == name).unwrap();
        self.keys.published(name, &json!({"use": usage, "alg": alg}))
    }

    /// One request, but for those that try several ways to the same place.
    pub(super) fn wires(&self, case: &Case) -> Vec<Wire> {
        let token = case.raw.as_deref().map_or_else(|| self.token(case), |raw| self.raw(raw));
        let get = || Wire::get("/protected/a");
        let authorization = |value: String| vec![get().header("authorization", value)];
        match case.carry.as_deref() {
            None | Some("raw_header_lf") => vec![get().bearer(&token)],
            Some("bearer_lower") => authorization(format!("bearer {token}")),
            Some("two_auth_good_bad") => vec![get().bearer(&token).bearer("a.b.c")],
            Some("query") => vec![Wire::get(&format!("/protected/a?access_token={token}"))],
            Some("bearer_list") => authorization(format!("Bearer {token}, Bearer {token}")),
            Some("no_scheme") => authorization(token),
            Some("glued") => authorization(format!("Bearer{token}")),
            Some("pct") => authorization(format!("Bearer {}", token.replace('.', "%2E"))),
            Some("path_evasion") => [
                "/open/..%2fprotected/a",
                "//protected/a",
                "/open;x=/../protected/a",
                "/open/%2e%2e/protected/a",
            ]
            .map(|path| Wire::get(path).bearer(&token))
            .to_vec(),
            Some(other) => panic!("`{other}` is no way to carry a token"),
        }
    }

    /// A text that is no token of the usual make.
    fn raw(&self, raw: &str) -> String {
        let jwe = |header: &str, key: &[u8], vector: usize, text: &[u8]| {
            let parts = [header.as_bytes(), key, &vec![0; vector], text, &[0; 16]];
            parts.map(base64url).join(".")
        };
        match raw {
            "$dots5000" => ".".repeat(5000),
            "$jwe_dir" => jwe(r#"{"alg":"dir","enc":"A128GCM"}"#, &[], 12, &[7; 40]),
            "$jwe_pbes2" => jwe(
                r#"{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2s":"AAAAAAAAAAAAAAAA","p2c":2147483647}"#,
                &[7; 24],
                12,
                &[7; 40],
            ),
            // As long as 20 MB of zeros are when they are compressed; nothing here will ever open it.
            "$jwe_zip" => jwe(r#"{"alg":"dir","enc":"A128GCM","zip":"DEF"}"#, &[], 12, &[0; 19_450]),
            "$jws_flat" => {
                let good = self.token(&Case::good());
                let parts: Vec<_> = good.split('.').collect();
                json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]}).to_string()
            }
            other => other.to_owned(),
        }
    }

    fn token(&self, case: &Case) -> String {
        let usual = Sign { alg: Some("RS256".into()), key: Some("rsa1".into()), ..Sign::default() };
        let sign = case.sign.clone().unwrap_or(usual);
        let input = format!("{}.{}", base64url(self.header(case, &sign)), base64url(self.payload(case)));
        let mut token = format!("{input}.{}", base64url(self.signature(&sign, input.as_bytes())));
        for change in &case.post {
            token = self.changed(change, &token, &sign);
        }
        token
    }

    fn header(&self, case: &Case, sign: &Sign) -> Vec<u8> {
        match case.hdr_raw.as_deref() {
            Some("$deephdr5000") => {
                let nested = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
                return format!(r#"{{"alg":"RS256","kid":"rsa1","d":{nested}}}"#).into_bytes();
            }
            Some(raw) => return raw.as_bytes().to_vec(),
            None => {}
        }
        let alg = sign.alg.as_deref().unwrap_or("none");
        let kid = sign.key.as_deref().unwrap_or("rsa1");
        let mut header = json!({"alg": alg, "typ": "JWT", "kid": kid});
        let members = header.as_object_mut().unwrap();
        self.set(members, case.hdr.iter().flatten());
        members.retain(|_, value| !value.is_null());
        written(&header, case.fmt.as_deref())
    }

    fn payload(&self, case: &Case) -> Vec<u8> {
        let mut claims = Map::new();
        self.set(&mut claims, &self.file.base_claims);
        if let Some(special) = &case.pay_raw {
            return self.special_payload(special, &Value::Object(claims));
        }
        self.set(&mut claims, case.claims.iter().flatten());
        written(&Value::Object(claims), case.fmt.as_deref())
    }

    fn special_payload(&self, special: &str, claims: &Value) -> Vec<u8> {
        let text = claims.to_string();
        let open = text.strip_suffix('}').unwrap();
        let exp = format!("\"exp\":{}", claims["exp"]);
        match special {
            "$badutf8" => [open.as_bytes(), b",\"x\":\"\xff\xfe\"}"].concat(),
            "$bom" => format!("\u{feff}{text}").into_bytes(),
            "$dup_exp" => text.replace(&exp, &format!("\"exp\":1,{exp}")).into_bytes(),
            "$dup_exp_esc" => {
                text.replace(&exp, &format!("\"exp\":1,{}", exp.replace("exp", "\\u0065xp"))).into_bytes()
            }
            "$trailing_comma" => format!("{open},}}").into_bytes(),
            "$nan_exp" => text.replace(&exp, "\"exp\":NaN").into_bytes(),
            "$json_garbage" => format!("{text}garbage").into_bytes(),
            "$deep20000" => {
                format!("{open},\"d\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000)).into_bytes()
            }
            "$inner_jws" => self.token(&Case::good()).into_bytes(),
            plain => plain.as_bytes().to_vec(),
        }
    }

    fn set<'a>(
        &self,
        members: &mut Map<String, Value>,
        changes: impl IntoIterator<Item = (&'a String, &'a Value)>,
    ) {
        for (name, value) in changes {
            match value {
                Value::Number(count) if name == "$many" => {
                    members.extend((0..count.as_u64().unwrap()).map(|n| (format!("c{n}"), n.into())));
                }
                Value::Object(value) if value.contains_key("$del") => drop(members.remove(name)),
                value => drop(members.insert(name.clone(), self.resolved(value))),
            }
        }
    }

    fn resolved(&self, value: &Value) -> Value {
        let named = |name: &str| value.get(name).cloned();
        if let Some(offset) = named("$now") {
            self.now.checked_add_signed(offset.as_i64().unwrap()).unwrap().into()
        } else if let Some(offset) = named("$nowf") {
            (self.now as f64 + offset.as_f64().unwrap()).into()
        } else if let Some(digits) = named("$big") {
            format!("{BIG}{}", digits.as_str().unwrap()).into()
        } else if let Some(key) = named("$jwk") {
            self.keys.named(key.as_str().unwrap()).jwk()
        } else if let Some(key) = named("$x5c") {
            self.keys.named(key.as_str().unwrap()).certificate().into()
        } else if let Value::Array(list) = value {
            list.iter().map(|value| self.resolved(value)).collect()
        } else {
            value.clone()
        }
    }

    fn signature(&self, sign: &Sign, input: &[u8]) -> Vec<u8> {
        if sign.none.is_some() {
            return Vec::new();
        }
        if let Some(secret) = &sign.hmac {
            return hmac("HS256", &self.secret(secret), input);
        }
        if let Some(name) = &sign.forge_e3 {
            return forge(Forgery::CubeRoot, self.keys.named(name), input, Vec::new());
        }
        self.keys.named(sign.key.as_ref().unwrap()).sign(sign.alg.as_ref().unwrap(), input)
    }

    fn secret(&self, written: &str) -> Vec<u8> {
        match written.split_once(':') {
            None => Vec::new(),
            Some(("text", secret)) => secret.as_bytes().to_vec(),
            Some(("jwk_json", name)) => self.published(name).to_string().into_bytes(),
            Some((form, name)) => self.keys.named(name).as_secret(form),
        }
    }

    /// What is done to a token after it has been signed.
    fn changed(&self, change: &str, token: &str, sign: &Sign) -> String {
        let parts: Vec<_> = token.split('.').collect();
        let [header, payload, signature] = parts[..] else { panic!("`{token}` has no three parts") };
        let forged = |how: Forgery| {
            let key = self.keys.named(sign.key.as_ref().unwrap());
            let bytes = forge(how, key, format!("{header}.{payload}").as_bytes(), decoded(signature));
            format!("{header}.{payload}.{}", base64url(bytes))
        };
        match change {
            "drop_sig" => format!("{header}.{payload}."),
            "drop_sig_dot" => format!("{header}.{payload}"),
            "flip_sig" => forged(Forgery::FirstBit),
            "trunc_sig" => forged(Forgery::Cut),
            "append_sig_zero" => forged(Forgery::ZerosAfter),
            "swap_payload_admin" => {
                let case = Case { claims: json!({"sub": "admin"}).as_object().cloned(), ..Case::good() };
                format!("{header}.{}.{signature}", base64url(self.payload(&case)))
            }
            "swap_header_typ" => {
                let other = base64url(r#"{"alg":"RS256","typ":"at+jwt","kid":"rsa1"}"#);
                format!("{other}.{payload}.{signature}")
            }
            "sig_zero64" | "sig_zero256" => forged(Forgery::Zeros),
            "sig_nn" => forged(Forgery::Order),
            "sig_r1s0" => {
                format!("{header}.{payload}.{}", base64url([vec![0; 31], vec![1], vec![0; 32]].concat()))
            }
            "sig_der" => forged(Forgery::Der),
            "sig_highs" => forged(Forgery::HighS),
            "ed_s_plus_l" => forged(Forgery::SPlusOrder),
            "other_sig" => {
                let case = Case { claims: json!({"jti": "zzz"}).as_object().cloned(), ..Case::good() };
                format!("{header}.{payload}.{}", self.token(&case).rsplit('.').next().unwrap())
            }
            "pad_sig" => format!("{token}=="),
            "pad_hdr" => format!("{header}==.{payload}.{signature}"),
            "stdalpha" => self.in_plain_base64(),
            "newline" => {
                let (start, end) = signature.split_at(50);
                format!("{header}.{payload}.{start}\n{end}")
            }
            "space_mid" => {
                let (start, end) = payload.split_at(20);
                format!("{header}.{start} {end}.{signature}")
            }
            "unused_bits" => format!("{header}.{payload}.{}", unused_bits_set(signature)),
            "extra_dot" => format!("{token}."),
            other => panic!("`{other}` is no change"),
        }
    }

    /// A token whose signature has characters in which the two alphabets differ.
    fn in_plain_base64(&self) -> String {
        let tokens = (0..200).map(|n| {
            let claims = json!({"jti": format!("s{n}")}).as_object().cloned();
            self.token(&Case { claims, ..Case::good() })
        });
        let token = tokens.into_iter().find(|token| token.rsplit('.').next().unwrap().contains(['-', '_']));
        let token = token.unwrap();
        let (input, signature) = token.rsplit_once('.').unwrap();
        format!("{input}.{}", signature.replace('-', "+").replace('_', "/"))
    }
}

/// Before the digits of a number that no JSON library would write.
const BIG: &str = "@@big@@";

fn written(members: &Value, format: Option<&str>) -> Vec<u8> {
    let text = match format {
        Some("pretty") => serde_json::to_string_pretty(members).unwrap(),
        _ => members.to_string(),
    };
    match text.split_once(&format!("\"{BIG}")) {
        Some((before, after)) => format!("{before}{}", after.replacen('"', "", 1)).into_bytes(),
        None => text.into_bytes(),
    }
}

impl Case {
    fn good() -> Self {
        serde_json::from_value(json!({"id": "", "cat": "", "expect": "accept"})).unwrap()
    }
}
