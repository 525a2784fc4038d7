//! Public keys and certificates in PEM (RFC 7468).

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::der::{NoKey, Parts};

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// What is between `-----BEGIN <label>-----` and `-----END <label>-----`.
#[derive(Debug, PartialEq, Eq)]
pub struct Block<'a> {
    label: &'a str,
    base64: &'a str,
}

impl<'a> Block<'a> {
    /// The blocks of a text, in order. Whatever else is in it is explanation, and ignored (section 5.2).
    pub fn all(mut text: &'a str) -> Result<Vec<Self>, String> {
        let mut blocks = Vec::new();
        while let Some((_, rest)) = text.split_once(BEGIN) {
            let (label, rest) =
                rest.split_once(DASHES).ok_or("a line begins with `-----BEGIN`, and does not end")?;
            let end = format!("-----END {label}-----");
            let (base64, rest) = rest.split_once(&end).ok_or_else(|| format!("there is no `{end}`"))?;
            blocks.push(Self { label, base64 });
            text = rest;
        }
        Ok(blocks)
    }

    pub fn label(&self) -> &'a str {
        self.label
    }

    /// Whether it says of itself that nobody should read it.
    pub fn is_private(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    /// What is encoded in it. `None`: it is not base64.
    pub fn decode(&self) -> Option<Vec<u8>> {
        let digits: Vec<u8> = self.base64.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        STANDARD.decode(digits).ok()
    }

    /// The key in what was decoded. Of a certificate the key alone is taken: neither its dates nor its signature
    /// are checked, because whoever configured it trusts the key, and WSO2 too accepts one that has expired.
    pub fn key<'d>(&self, der: &'d [u8]) -> Result<Parts<'d>, NoKey> {
        match self.label {
            "PUBLIC KEY" => Parts::of_spki(der),
            "RSA PUBLIC KEY" => Parts::of_rsa(der),
            "CERTIFICATE" => Parts::of_certificate(der),
            _ => Err(NoKey::Unsupported),
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn read(text: &str) -> Vec<(&str, Option<Vec<u8>>)> {
        Block::all(text).unwrap().iter().map(|block| (block.label(), block.decode())).collect()
    }

    #[test]
    fn blocks_are_found_among_explanations() {
        let text = concat!(
            "subject=CN = a\n-----BEGIN A-----\nAAEC\nAw==\n-----END A-----\nand\r\n",
            "-----BEGIN B C-----\r\nBA==\r\n-----END B C-----\r\nthat is all",
        );
        assert_eq!(read(text), [("A", Some(vec![0, 1, 2, 3])), ("B C", Some(vec![4]))]);
        assert_eq!(read("no key here"), []);
    }

    #[test]
    fn lines_may_have_been_joined() {
        assert_eq!(read("-----BEGIN A----- AAEC Aw== -----END A-----"), [("A", Some(vec![0, 1, 2, 3]))]);
    }

    #[test]
    fn what_is_not_base64_is_not_decoded() {
        for bad in ["AAE", "A?==", "AAEC=", "AB==", "-----BEGIN B-----"] {
            assert_eq!(read(&format!("-----BEGIN A-----{bad}-----END A-----")), [("A", None)], "{bad}");
        }
    }

    #[test]
    fn blocks_have_an_end() {
        let problem = |text: &str| Block::all(text).unwrap_err();
        assert_eq!(problem("-----BEGIN A-----\nAAEC\n-----END B-----"), "there is no `-----END A-----`");
        assert_eq!(problem("-----BEGIN A-----\nAAEC\n-----END A"), "there is no `-----END A-----`");
        assert!(problem("-----BEGIN A").contains("does not end"));
    }
}
