//! Project Wycheproof (C2SP/wycheproof): vectors made to break verifiers.

use std::{collections::BTreeMap, path::Path};

use enforcer_auth::{
    config::Algorithm,
    jwk::{Find, KeySet, Origin},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{accepts, corpora, json_file, key_set, verifies};
use crate::{
    bytes::{base64url, hex},
    page,
    site::{Scene, Site as _, Wire, harness::InHarness},
};

/// All files, in the order of the table, with the algorithm of those that are signatures alone.
const FILES: [(&str, Option<&str>); 22] = [
    ("json_web_signature_test", None),
    ("json_web_key_test", None),
    ("json_web_crypto_test", None),
    ("rsa_signature_2048_sha256_test", Some("RS256")),
    ("rsa_signature_2048_sha384_test", Some("RS384")),
    ("rsa_signature_2048_sha512_test", Some("RS512")),
    ("rsa_signature_3072_sha256_test", Some("RS256")),
    ("rsa_signature_4096_sha256_test", Some("RS256")),
    ("rsa_signature_4096_sha512_test", Some("RS512")),
    ("rsa_signature_8192_sha256_test", Some("RS256")),
    ("rsa_pss_2048_sha256_mgf1_32_test", Some("PS256")),
    ("rsa_pss_2048_sha384_mgf1_48_test", Some("PS384")),
    ("rsa_pss_3072_sha256_mgf1_32_test", Some("PS256")),
    ("rsa_pss_4096_sha384_mgf1_48_test", Some("PS384")),
    ("rsa_pss_4096_sha512_mgf1_64_test", Some("PS512")),
    ("rsa_pss_misc_test", Some("PS")),
    ("ecdsa_secp256r1_sha256_p1363_test", Some("ES256")),
    ("ecdsa_secp384r1_sha384_p1363_test", Some("ES384")),
    ("ed25519_test", Some("EdDSA")),
    ("hmac_sha256_test", Some("HS256")),
    ("hmac_sha384_test", Some("HS384")),
    ("hmac_sha512_test", Some("HS512")),
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

/// Tests of one key.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    tests: Vec<Test>,
    public: Option<Value>,
    private: Option<Value>,
    public_key_pem: Option<String>,
    key_size: Option<Value>,
    tag_size: Option<Value>,
    public_key: Option<Value>,
    sha: Option<String>,
    mgf_sha: Option<String>,
    s_len: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    tc_id: u32,
    #[serde(default)]
    comment: String,
    result: String,
    jws: Option<Value>,
    jwe: Option<Value>,
    key: Option<String>,
    msg: Option<String>,
    sig: Option<String>,
    tag: Option<String>,
}

#[test]
fn wycheproof() {
    let Some(corpora) = corpora() else { return };
    let mut table = "| file | tests | agree | disagree |\n|---|---|---|---|\n".to_owned();
    let mut unexplained = Vec::new();
    for (name, algorithm) in FILES {
        let file: File = serde_json::from_value(read(&corpora, name)).unwrap();
        let mut reasons: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        let mut tests = 0;
        for group in &file.test_groups {
            for (test, accepted) in verdicts(group, algorithm) {
                tests += 1;
                // `acceptable`: verifiers differ, and none of the two ways is wrong.
                if test.result == "acceptable" || accepted == (test.result == "valid") {
                    continue;
                }
                match reason(name, group, test, accepted) {
                    Some(reason) => reasons.entry(reason).or_default().push(test.tc_id),
                    None => unexplained.push(format!(
                        "{name} {}, {}: labelled {}, accepted: {accepted}",
                        test.tc_id, test.comment, test.result
                    )),
                }
            }
        }
        assert_eq!(tests, file.number_of_tests, "{name}");
        let disagree: usize = reasons.values().map(Vec::len).sum();
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by(|(_, ids), (_, others)| ids.cmp(others));
        let explained: Vec<_> = reasons.iter().map(|(why, ids)| format!("{}: {why}", ranges(ids))).collect();
        table.push_str(&format!("| {name} | {tests} | {} | {} |\n", tests - disagree, explained.join("; ")));
    }
    assert!(unexplained.is_empty(), "nobody has explained:\n{}", unexplained.join("\n"));
    page::keep_true("wycheproof", &table);
}

/// As tokens none of them is good, because no payload is claims: none may pass, and none may harm a worker.
#[test]
fn every_jws_through_the_module() {
    let Some(corpora) = corpora() else { return };
    let mut sent = 0;
    for by_host in [true, false] {
        let mut site = InHarness::start(&scene(&corpora), by_host);
        for (name, _) in &FILES[..3] {
            let file: File = serde_json::from_value(read(&corpora, name)).unwrap();
            for test in file.test_groups.iter().flat_map(|group| &group.tests) {
                let token = test.token();
                let seen = site.send("", &Wire::get("/").bearer(&token));
                assert!(seen.reached.is_none() && seen.status == 401, "{name} {}: {seen:?}", test.tc_id);
                sent += 1;
            }
        }
        let log = site.log();
        assert!(!log.iter().any(|line| line.contains("died")), "{}", log.join("\n"));
    }
    println!("{sent} requests, none let through");
}

/// With the keys that most of them are signed with.
fn scene(corpora: &Path) -> Scene {
    let file: File = serde_json::from_value(read(corpora, FILES[0].0)).unwrap();
    let keys: Vec<_> = file.test_groups[1..3].iter().map(|group| group.public.clone()).collect();
    Scene {
        name: "wycheproof".to_owned(),
        configuration: json!({"issuers": [{
            "issuer": "https://issuer.example",
            "jwks": {"remote": {"cluster": "issuer", "url": "https://issuer.example/jwks", "cooldown": "1h"}},
        }]}),
        clusters: BTreeMap::from([("issuer".to_owned(), json!({"keys": keys}))]),
    }
}

fn read(corpora: &Path, name: &str) -> Value {
    json_file(&corpora.join(format!("wycheproof/{name}.json")))
}

fn verdicts<'a>(group: &'a Group, algorithm: Option<&str>) -> Vec<(&'a Test, bool)> {
    let Some(algorithm) = algorithm else {
        let keys = key_set(group.public.as_ref().or(group.private.as_ref()).unwrap(), None);
        let verdict = |test: &Test| keys.as_ref().is_ok_and(|keys| accepts(keys, &test.token()));
        return group.tests.iter().map(|test| (test, verdict(test))).collect();
    };
    let algorithm =
        Algorithm::of_name(if algorithm == "PS" { group.nearest_pss() } else { algorithm }).unwrap();
    let shared = group
        .public_key_pem
        .as_ref()
        .map(|pem| KeySet::read(pem.as_bytes(), Origin::Inline, Some(&[algorithm])));
    let verdict = |test: &Test| {
        let secret = test.key.as_ref().map(|key| secret(key, algorithm));
        let Ok(keys) = shared.as_ref().or(secret.as_ref()).unwrap() else { return false };
        let Find::Keys(keys) = keys.find(None, algorithm) else { return false };
        let text = hex(test.msg.as_ref().unwrap());
        let signature = hex(test.sig.as_ref().or(test.tag.as_ref()).unwrap());
        verifies(keys[0], algorithm, &text, &signature)
    };
    group.tests.iter().map(|test| (test, verdict(test))).collect()
}

fn secret(key: &str, algorithm: Algorithm) -> Result<KeySet, String> {
    key_set(&json!({"kty": "oct", "alg": algorithm.name(), "k": base64url(hex(key))}), None)
}

/// Why we differ, where we do. The six of the JWS file that no strict verifier passes are named one by one.
fn reason(file: &str, group: &Group, test: &Test, accepted: bool) -> Option<&'static str> {
    if file == "json_web_signature_test" {
        return match (test.tc_id, accepted) {
            (346 | 350, false) => Some("labelled valid, but the key is for PS256 and the header says PS384"),
            (347 | 351, false) => Some("ES512, which is not supported, and the key says `ES521`"),
            (367 | 370, true) => Some("labelled invalid, but byte for byte the valid 357"),
            (372 | 373, false) => Some("labelled valid, but a segment has a `?`"),
            _ => None,
        };
    }
    if accepted {
        let is_roca = test.comment == "rejectsKeyWithRocaVulnerability";
        return is_roca.then_some("the key has ROCA's weakness, which is not looked for");
    }
    let sizes = (number(group.key_size.as_ref()), number(group.tag_size.as_ref()));
    match sizes {
        (Some(8192), None) => Some("RSA keys have 2048 to 4096 bits"),
        (_, None) if group.has_exponent_3() => Some("the exponent is 3; keys have 65537"),
        _ if group.is_no_jws_pss() => {
            Some("hash, mask hash or salt length that no JWS algorithm has (RFC 7518 3.5)")
        }
        (_, Some(tag)) if tag < hash_bits(file) => Some("the tag is cut; JWS has it whole (RFC 7518 3.2)"),
        (Some(key), Some(_)) if key < hash_bits(file) => {
            Some("the key is shorter than the hash (RFC 7518 3.2)")
        }
        _ if test.jwe.is_some() => Some("JWE: tokens are signed, not encrypted"),
        _ => None,
    }
}

fn number(written: Option<&Value>) -> Option<u64> {
    match written? {
        Value::String(digits) => digits.parse().ok(),
        other => other.as_u64(),
    }
}

fn hash_bits(file: &str) -> u64 {
    file.split(['_', 'a'])
        .find_map(|part| part.parse().ok().filter(|bits| [256, 384, 512].contains(bits)))
        .unwrap()
}

impl Group {
    fn has_exponent_3(&self) -> bool {
        let exponent = self.public_key.as_ref().and_then(|key| key["publicExponent"].as_str());
        exponent.is_some_and(|digits| digits.trim_start_matches('0') == "3")
    }

    /// The JWS algorithm with this hash, or any where none has it.
    fn nearest_pss(&self) -> &'static str {
        match self.sha.as_deref() {
            Some("SHA-384") => "PS384",
            Some("SHA-512") => "PS512",
            _ => "PS256",
        }
    }

    fn is_no_jws_pss(&self) -> bool {
        let Some(mask) = &self.mgf_sha else { return false };
        let salt = match self.sha.as_deref() {
            Some("SHA-256") => 32,
            Some("SHA-384") => 48,
            Some("SHA-512") => 64,
            _ => return true,
        };
        self.sha.as_ref() != Some(mask) || number(self.s_len.as_ref()) != Some(salt)
    }
}

impl Test {
    /// As it would come in a header; what is not in the compact form comes as it is.
    fn token(&self) -> String {
        match self.jws.as_ref().or(self.jwe.as_ref()).unwrap() {
            Value::String(compact) => compact.clone(),
            other => other.to_string(),
        }
    }
}

/// `1, 3-5`.
fn ranges(numbers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    let run = |(first, last): &(u32, u32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first}-{last}"),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_in_a_row_are_a_range() {
        assert_eq!(super::ranges(&[1, 2, 4, 6, 7, 8]), "1, 2, 4, 6-8");
        assert_eq!(super::hash_bits("hmac_sha384_test"), 384);
    }
}
