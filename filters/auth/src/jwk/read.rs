//! One JWK (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2).

use serde_json::{Map, Value};

use super::{Key, Unfit};
use crate::{
    config::Algorithm,
    der::{self, Parts},
    signature::{Material, UNCOMPRESSED},
    token::decode,
};

/// What only the owner of an asymmetric key should know.
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// Whether it is a symmetric key.
pub(super) fn is_secret(jwk: &Value) -> bool {
    jwk.get("kty").is_some_and(|kty| kty == "oct")
}

/// Reads a key. Members that are not known are ignored.
pub(super) fn jwk(jwk: &Value, allowed: Option<&[Algorithm]>) -> Result<Key, Unfit> {
    let jwk = Jwk(jwk.as_object().ok_or_else(|| faulty("not an object"))?);
    let kty = jwk.required("kty")?;
    if kty != "oct"
        && let Some(name) = PRIVATE.into_iter().find(|name| jwk.0.contains_key(*name))
    {
        return Err(Unfit::Faulty(format!(
            "`{name}` is there: this is a private key, known to all who can read it; replace it"
        )));
    }
    jwk.check_purpose()?;
    let kid = jwk.text("kid")?;
    let alg = jwk.algorithm()?;
    let crv = if matches!(kty, "EC" | "OKP") { jwk.required("crv")? } else { "" };
    match (kty, crv) {
        ("RSA", _) => {
            let (n, e) = (jwk.bytes("n")?, jwk.bytes("e")?);
            Key::public(Parts::Rsa { n: der::trimmed(&n), e: der::trimmed(&e) }, kid, alg, allowed)
        }
        ("EC", "P-256") => Key::public(Parts::P256(&jwk.point(32)?), kid, alg, allowed),
        ("EC", "P-384") => Key::public(Parts::P384(&jwk.point(48)?), kid, alg, allowed),
        ("OKP", "Ed25519") => Key::public(Parts::Ed25519(&jwk.bytes("x")?), kid, alg, allowed),
        ("oct", _) => Key::new(Material::Secret(jwk.bytes("k")?), kid, alg, allowed),
        _ => Err(Unfit::Other(format!("`kty` `{kty}` `crv` `{crv}` is not supported"))),
    }
}

struct Jwk<'a>(&'a Map<String, Value>);

impl<'a> Jwk<'a> {
    /// Whether the key is for checking signatures, by `use` and `key_ops`.
    fn check_purpose(&self) -> Result<(), Unfit> {
        if self.text("use")?.is_some_and(|purpose| purpose != "sig") {
            return Err(Unfit::Other("`use` is not `sig`".to_owned()));
        }
        match self.0.get("key_ops") {
            None | Some(Value::Null) => Ok(()),
            Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => {
                Ok(())
            }
            Some(Value::Array(_)) => Err(Unfit::Other("`key_ops` does not have `verify`".to_owned())),
            Some(_) => Err(faulty("`key_ops` is not an array")),
        }
    }

    fn algorithm(&self) -> Result<Option<Algorithm>, Unfit> {
        let named = |alg| {
            Algorithm::of_name(alg).ok_or_else(|| Unfit::Other(format!("`alg` `{alg}` is not supported")))
        };
        self.text("alg")?.map(named).transpose()
    }

    /// Both numbers of a point, of `size` bytes each, in the form of SEC 1.
    fn point(&self, size: usize) -> Result<Vec<u8>, Unfit> {
        let (x, y) = (self.bytes("x")?, self.bytes("y")?);
        if x.len() != size || y.len() != size {
            return Err(Unfit::Faulty(format!("`x` and `y` on this curve have {size} bytes each")));
        }
        Ok([&[UNCOMPRESSED][..], &x, &y].concat())
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, Unfit> {
        let problem = |_| Unfit::Faulty(format!("`{name}` is not base64url without padding"));
        decode(self.required(name)?).map_err(problem)
    }

    fn required(&self, name: &str) -> Result<&'a str, Unfit> {
        self.text(name)?.ok_or_else(|| Unfit::Faulty(format!("`{name}` is missing")))
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, Unfit> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Unfit::Faulty(format!("`{name}` is not a string"))),
        }
    }
}

fn faulty(problem: &str) -> Unfit {
    Unfit::Faulty(problem.to_owned())
}
