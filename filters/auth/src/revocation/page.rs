//! What a list of revoked tokens looks like.
//!
//! * Compact, `application/octet-stream`: for each token twelve bytes, which are the first eight of the SHA-256 of its
//!   `jti` or of what is signed, and its end in seconds since 1970 as an unsigned integer, the highest byte first;
//!   all bits set stand for no end.
//! * `{"revoked": [{"jti": "5f0d9d3c", "expires": 1767225600}, {"signed": "<SHA-256 in hexadecimal>"}]}`
//! * As WSO2 API Manager's `/internal/data/v1/revokedjwt` gives it: `[{"jwt_signature": "5f0d9d3c", "expiry_time":
//!   1767225600000}]`, where the signature is a `jti`.

use serde::Deserialize;

use super::table::Fingerprint;
use crate::api_keys::from_hex;

/// Bytes of an entry.
pub(super) const ENTRY: usize = 12;

/// The compact form of whatever form a page has. `compact`: the answer said that it is that.
pub(super) fn read(body: &[u8], compact: bool) -> Result<Vec<u8>, String> {
    if compact {
        return match body.as_chunks::<ENTRY>() {
            (_, []) => Ok(body.to_vec()),
            _ => Err(format!("the answer has {} bytes, which is no multiple of {ENTRY}", body.len())),
        };
    }
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => {
            let list: Vec<Wso2> = parse(body)?;
            Ok(list
                .iter()
                .flat_map(|token| encode(Fingerprint::of(token.id.as_bytes()), token.end()))
                .collect())
        }
        _ => {
            let List { revoked } = parse(body)?;
            let mut entries = Vec::with_capacity(revoked.len().saturating_mul(ENTRY));
            for (index, token) in revoked.iter().enumerate() {
                let print = token.print().map_err(|problem| format!("revoked[{index}]: {problem}"))?;
                entries.extend(encode(print, seconds(token.expires)));
            }
            Ok(entries)
        }
    }
}

/// The entries of a compact page.
pub(super) fn entries(page: &[u8]) -> impl Iterator<Item = (Fingerprint, u32)> {
    let (entries, _) = page.as_chunks::<ENTRY>();
    entries.iter().map(|[a, b, c, d, e, f, g, h, end @ ..]| {
        (Fingerprint::from_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), u32::from_be_bytes(*end))
    })
}

fn encode(print: Fingerprint, end: u32) -> impl Iterator<Item = u8> {
    print.to_bytes().into_iter().chain(end.to_be_bytes())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    revoked: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    #[serde(default)]
    jti: Option<String>,
    #[serde(default)]
    signed: Option<String>,
    #[serde(default)]
    expires: Option<u64>,
}

/// Whatever else it says is left alone: it is somebody else's form.
#[derive(Deserialize)]
struct Wso2 {
    #[serde(rename = "jwt_signature")]
    id: String,
    /// In milliseconds.
    #[serde(default, rename = "expiry_time")]
    end: Option<u64>,
}

impl Token {
    fn print(&self) -> Result<Fingerprint, &'static str> {
        match (&self.jti, &self.signed) {
            (Some(id), None) => Ok(Fingerprint::of(id.as_bytes())),
            (None, Some(hash)) => {
                let hash = from_hex(hash)
                    .ok_or("`signed` is not 64 hexadecimal digits, as `sha256sum` prints them")?;
                Ok(Fingerprint::of_hash(&hash))
            }
            _ => Err("give either `jti` or `signed`"),
        }
    }
}

impl Wso2 {
    fn end(&self) -> u32 {
        seconds(self.end.map(|end| end.div_ceil(1000)))
    }
}

fn seconds(end: Option<u64>) -> u32 {
    end.and_then(|end| u32::try_from(end).ok()).unwrap_or(u32::MAX)
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the answer is no list of revoked tokens: {error}"))
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn read_json(json: &str) -> Result<Vec<(Fingerprint, u32)>, String> {
        read(json.as_bytes(), false).map(|page| entries(&page).collect())
    }

    #[test]
    fn every_form_says_the_same() {
        let expected = vec![(Fingerprint::of(b"5f0d9d3c"), 1_767_225_600), (Fingerprint::of(b"b"), u32::MAX)];
        let json = r#"{"revoked": [{"jti": "5f0d9d3c", "expires": 1767225600},
            {"signed": "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"}]}"#;
        assert_eq!(read_json(json).unwrap(), expected);
        let wso2 = r#"[{"jwt_signature": "5f0d9d3c", "expiry_time": 1767225599001, "x": 1}, {"jwt_signature": "b"}]"#;
        assert_eq!(read_json(wso2).unwrap(), expected);
        let compact = read(json.as_bytes(), false).unwrap();
        assert_eq!(entries(&read(&compact, true).unwrap()).collect::<Vec<_>>(), expected);
    }

    /// `printf %s 5f0d9d3c | sha256sum`.
    #[test]
    fn the_compact_form_is_as_documented() {
        let page = read(br#"{"revoked": [{"jti": "5f0d9d3c", "expires": 258}]}"#, false).unwrap();
        assert_eq!(page, [&hmac_sha256::Hash::hash(b"5f0d9d3c")[..8], &[0, 0, 1, 2]].concat());
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (json, problem) in [
            ("<html>", "no list of revoked tokens"),
            ("", "no list of revoked tokens"),
            ("{}", "no list of revoked tokens"),
            (r#"{"revoked": [{"jti": "a"}, {}]}"#, "revoked[1]: give either"),
            (r#"{"revoked": [{"jti": "a", "signed": "b"}]}"#, "give either"),
            (r#"{"revoked": [{"signed": "b"}]}"#, "64 hexadecimal digits"),
            (r#"[{"jti": "a"}]"#, "no list of revoked tokens"),
        ] {
            let error = read_json(json).unwrap_err();
            assert!(error.contains(problem), "{json}: {error}");
        }
        assert!(read(b"{\"revoked\": []}", true).unwrap_err().contains("no multiple"));
        assert_eq!(read_json(r#"{"revoked": []}"#), Ok(Vec::new()));
    }
}
