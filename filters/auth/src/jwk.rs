//! Key sets: which keys an issuer signs with, and what each may be used for.
//!
//! A set is a JWK set (RFC 7517) or PEM (RFC 7468). Each key is pinned, when it is read, to the algorithms that
//! tokens signed with it may name, so that no token can have a key used in another way (RFC 8725 section 3.1).

use enforcer_core::host::Host;
use serde_json::Value;

use crate::{
    config::Algorithm,
    der::{NoKey, Parts},
    json,
    pem::Block,
    signature::{self, Material},
};

mod read;

/// Sets with more keys, or longer, are refused.
const MAX_KEYS: usize = 64;
const MAX_BYTES: usize = 256 << 10;
/// How many keys without names are tried on one token.
const MAX_TRIED: usize = 4;

const NEITHER: &str = "neither a JSON object `{\"keys\": [...]}` nor PEM";

/// The usable keys of an issuer.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    /// Keys in PEM have no names, so that what a token says in `kid` means nothing.
    named: bool,
    faults: Vec<String>,
}

/// A key, pinned to the algorithms that it may be used with.
#[derive(Debug)]
pub struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    material: Material,
    /// Subject public key info in DER, for the host's verification; empty for a secret.
    spki: Vec<u8>,
}

/// Who wrote a key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Whoever wrote the configuration: a faulty key is a mistake to be mended there.
    Inline,
    /// The issuer, who published it: a faulty key is passed over. Secrets are not published.
    Remote,
}

/// Which keys may have signed a token.
#[derive(Debug)]
pub enum Find<'a> {
    /// One of these, to be tried in order: one key, or a few in PEM.
    Keys(Vec<&'a Key>),
    /// The key that the token names, or every key there is, is for other algorithms.
    WrongAlgorithm,
    /// The token names no key, and several would do.
    Ambiguous,
    Unknown,
}

/// How a signature was checked; counted, so that an operator sees which way is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    ByHost,
    InRust,
}

/// Why a key of a set is not used.
#[derive(Debug, PartialEq, Eq)]
enum Unfit {
    /// It is meant for something else (RFC 7517 section 5: such keys are ignored).
    Other(String),
    /// It is meant for signatures, and wrong.
    Faulty(String),
}

impl Checked {
    /// The counter of this way.
    pub fn metric(self) -> &'static str {
        match self {
            Self::ByHost => "enforcer.auth.verify.host",
            Self::InRust => "enforcer.auth.verify.rust",
        }
    }
}

impl KeySet {
    /// Reads a set in either form, told apart by its first character. `allowed`: the algorithms that the issuer
    /// is limited to. An error if no key can be used, because the set could verify nothing.
    pub fn read(bytes: &[u8], origin: Origin, allowed: Option<&[Algorithm]>) -> Result<Self, String> {
        if bytes.len() > MAX_BYTES {
            return Err(format!("{} bytes; at most {MAX_BYTES} are read", bytes.len()));
        }
        let named = bytes.trim_ascii_start().starts_with(b"{");
        let found = if named { in_json(bytes, origin, allowed) } else { in_pem(bytes, allowed) }?;
        let mut set = Self { keys: Vec::new(), named, faults: Vec::new() };
        let mut others = Vec::new();
        for (place, key) in found {
            match key {
                Ok(key) => set.add(key).map_err(|problem| format!("{place}: {problem}"))?,
                Err(Unfit::Other(problem)) => others.push(format!("{place}: {problem}")),
                Err(Unfit::Faulty(problem)) => set.faults.push(format!("{place}: {problem}")),
            }
        }
        match set.faults.first() {
            Some(fault) if origin == Origin::Inline => Err(fault.clone()),
            None if set.keys.is_empty() && others.is_empty() => Err("there is no key in it".to_owned()),
            _ if set.keys.is_empty() => {
                Err(format!("no usable key: {}", [set.faults, others].concat().join("; ")))
            }
            _ => Ok(set),
        }
    }

    /// What is wrong with keys that were passed over although signatures are what they are for.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The keys that may have signed a token of this `kid` and `alg`. Without a `kid`, only a set with a single
    /// key of that algorithm says which.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Find<'_> {
        let kid = kid.filter(|_| self.named);
        let is_meant = |key: &&Key| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid));
        let meant = || self.keys.iter().filter(is_meant);
        let fitting = meant().filter(|key| key.algorithms.contains(&algorithm));
        let fitting: Vec<_> = fitting.take(MAX_TRIED).collect();
        match fitting.len() {
            0 if kid.is_some() && meant().next().is_some() => Find::WrongAlgorithm,
            0 => Find::Unknown,
            2.. if self.named => Find::Ambiguous,
            _ => Find::Keys(fitting),
        }
    }

    fn add(&mut self, key: Key) -> Result<(), String> {
        if let Some(kid) = &key.kid
            && self.keys.iter().any(|other| other.is_twin_of(&key))
        {
            return Err(format!("another key has the `kid` `{kid}` already"));
        }
        self.keys.push(key);
        Ok(())
    }
}

/// Keys or why they are not, each with its place for messages.
type Found = Vec<(String, Result<Key, Unfit>)>;

fn in_json(bytes: &[u8], origin: Origin, allowed: Option<&[Algorithm]>) -> Result<Found, String> {
    let set = json::object(bytes).ok_or_else(|| match serde_json::from_slice::<Value>(bytes) {
        Err(error) => format!("not JSON: {error}"),
        Ok(_) => "an object has a name twice".to_owned(),
    })?;
    let Some(Value::Array(jwks)) = set.get("keys") else {
        return Err("not a key set: `keys` is missing, or is not an array".to_owned());
    };
    check_count(jwks.len())?;
    let (secret, public): (Vec<_>, Vec<_>) = jwks.iter().partition(|jwk| read::is_secret(jwk));
    match (secret.is_empty(), public.is_empty(), origin) {
        (false, false, _) => {
            return Err("symmetric keys beside others: give each kind a set of its own".to_owned());
        }
        (false, _, Origin::Remote) => {
            return Err("symmetric keys at a URL: a secret belongs inline, in the configuration".to_owned());
        }
        _ => {}
    }
    let key = |(index, jwk)| (format!("keys[{index}]"), read::jwk(jwk, allowed));
    Ok(jwks.iter().enumerate().map(key).collect())
}

fn in_pem(bytes: &[u8], allowed: Option<&[Algorithm]>) -> Result<Found, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| NEITHER)?;
    let blocks = Block::all(text)?;
    if blocks.is_empty() {
        return Err(NEITHER.to_owned());
    }
    check_count(blocks.len())?;
    if let Some(private) = blocks.iter().find(|block| block.is_private()) {
        return Err(format!("there is a `{}` in it: give public keys only", private.label()));
    }
    let key = |(index, block): (usize, &Block<'_>)| {
        (format!("PEM block {} (`{}`)", index.saturating_add(1), block.label()), of_block(block, allowed))
    };
    Ok(blocks.iter().enumerate().map(key).collect())
}

/// Before any is read, because that takes time.
fn check_count(keys: usize) -> Result<(), String> {
    if keys > MAX_KEYS { Err(format!("{keys} keys; at most {MAX_KEYS} are read")) } else { Ok(()) }
}

fn of_block(block: &Block<'_>, allowed: Option<&[Algorithm]>) -> Result<Key, Unfit> {
    let der = block.decode().ok_or_else(|| Unfit::Faulty("not base64".to_owned()))?;
    match block.key(&der) {
        Ok(parts) => Key::public(parts, None, None, allowed),
        Err(NoKey::Malformed) => Err(Unfit::Faulty("not what its first line says, in DER".to_owned())),
        Err(NoKey::Unsupported) => Err(Unfit::Other("not a kind of key that is supported".to_owned())),
    }
}

impl Key {
    fn public(
        parts: Parts<'_>,
        kid: Option<&str>,
        alg: Option<Algorithm>,
        allowed: Option<&[Algorithm]>,
    ) -> Result<Self, Unfit> {
        let material = Material::public(parts).map_err(|problem| Unfit::Faulty(problem.to_owned()))?;
        Ok(Self { spki: parts.to_spki(), ..Self::new(material, kid, alg, allowed)? })
    }

    /// `alg`: what the key says of itself.
    fn new(
        material: Material,
        kid: Option<&str>,
        alg: Option<Algorithm>,
        allowed: Option<&[Algorithm]>,
    ) -> Result<Self, Unfit> {
        let kind = material.kind();
        let mut algorithms = match (alg, allowed) {
            (Some(alg), _) if !material.fits(alg) => {
                let problem = format!("`alg` is `{}`, and this is a {kind} key", alg.name());
                return Err(Unfit::Faulty(problem));
            }
            (Some(alg), _) => vec![alg],
            (None, Some(allowed)) => allowed.to_vec(),
            (None, None) => material.usual().into_iter().collect(),
        };
        algorithms.retain(|algorithm| {
            material.fits(*algorithm) && allowed.is_none_or(|allowed| allowed.contains(algorithm))
        });
        if algorithms.is_empty() {
            return Err(match allowed {
                Some(_) => Unfit::Other(format!("the issuer's `algorithms` have none for this {kind} key")),
                None => Unfit::Faulty(format!("a {kind} key needs an `alg`")),
            });
        }
        algorithms.retain(|algorithm| material.is_strong_enough(*algorithm));
        if algorithms.is_empty() {
            return Err(Unfit::Faulty("`k` is shorter than the output of the hash function".to_owned()));
        }
        Ok(Self { kid: kid.map(str::to_owned), algorithms, material, spki: Vec::new() })
    }

    /// A token could mean either. Keys without a `kid` are never meant by name.
    fn is_twin_of(&self, other: &Self) -> bool {
        self.kid.is_some()
            && self.kid == other.kid
            && self.algorithms.iter().any(|algorithm| other.algorithms.contains(algorithm))
    }

    /// Checks a signature: by the host where it can (ten to forty times faster), else in here. Both give the
    /// same verdict: no signature is good by an algorithm that the key is not for.
    pub fn verify(
        &self,
        algorithm: Algorithm,
        host: &dyn Host,
        by_host: bool,
        text: &[u8],
        signature: &[u8],
    ) -> (bool, Checked) {
        if !self.algorithms.contains(&algorithm) {
            return (false, Checked::InRust);
        }
        if by_host && signature::is_for_host(algorithm) {
            let Some(signature) = self.material.for_host(signature) else {
                return (false, Checked::ByHost);
            };
            let hash = signature::hash(algorithm);
            if let Some(verdict) = host.verify_signature(hash, &self.spki, &signature, text) {
                return (verdict, Checked::ByHost);
            }
        }
        (self.material.verify(algorithm, text, signature), Checked::InRust)
    }

    /// How much of the verification budget a check takes: one for each half of a millisecond that it keeps the
    /// worker (measured in a VM: RSA 0.1 to 0.4 ms, EdDSA 0.5, ES256 1.3, ES384 4.5). Nothing by the host, nor for
    /// an HMAC.
    pub fn weight(&self, algorithm: Algorithm, by_host: bool) -> u32 {
        match self.material {
            Material::Secret(_) => 0,
            _ if by_host && signature::is_for_host(algorithm) => 0,
            Material::Rsa(_) | Material::Ed25519(_) => 1,
            Material::P256(_) => 3,
            Material::P384(_) => 9,
        }
    }
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
