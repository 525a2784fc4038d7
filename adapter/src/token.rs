//! Development tokens: a key that is made on the spot, and what is signed with it.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use enforcer_core::units::Span;
use jwt_simple::prelude::{Claims, ECDSAP256KeyPairLike as _, ES256KeyPair};
use serde_json::{Map, Value, json};

use crate::{diagnostic::Diagnostic, output::plain};

/// Who issues development tokens. `check` and `build` refuse it unless they are told otherwise.
pub const DEVELOPMENT_ISSUER: &str = "urn:enforcer:development";

/// The key set that verifies development tokens, in the folder of the key.
pub const JWKS_FILE: &str = "jwks.json";

const KEY_FILE: &str = "key.pem";

/// A signing key that never leaves its folder.
pub struct DevelopmentKey {
    key: ES256KeyPair,
    folder: PathBuf,
}

impl DevelopmentKey {
    /// The key in a folder; made there, readable by its owner only, when there is none.
    pub fn in_folder(folder: &Path) -> Result<Self, Diagnostic> {
        let path = folder.join(KEY_FILE);
        let key = match fs::read_to_string(&path) {
            Ok(pem) => ES256KeyPair::from_pem(&pem).map_err(|_| {
                Diagnostic::error(format!("`{}` does not hold a P-256 key", path.display()))
                    .help("remove the file; the next call makes a new key")
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(folder, &path)?,
            Err(error) => return Err(failed("read", &path, &error)),
        };
        let key = Self { key, folder: folder.to_owned() };
        key.publish()?;
        Ok(key)
    }

    /// Where the key set is that verifies the tokens.
    pub fn jwks_path(&self) -> PathBuf {
        self.folder.join(JWKS_FILE)
    }

    /// A token (RFC 7519, ES256) that is valid from now on for `ttl`. `claims` go before those made here:
    /// `iss`, `sub`, `iat`, `exp` and `jti`.
    pub fn sign(&self, claims: Map<String, Value>, ttl: Span) -> Result<String, Diagnostic> {
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let mut all = Map::new();
        all.insert("iss".to_owned(), json!(DEVELOPMENT_ISSUER));
        all.insert("sub".to_owned(), json!("developer"));
        all.insert("iat".to_owned(), json!(now));
        all.insert("exp".to_owned(), json!(now.saturating_add(ttl.duration().as_secs())));
        all.extend(claims);
        // The registered claims are among the others, so that they can be replaced: the library's own are unset.
        let mut token = Claims::with_custom_claims(all, jwt_simple::prelude::Duration::from_secs(0));
        token.issued_at = None;
        token.expires_at = None;
        token.invalid_before = None;
        if !token.custom.contains_key("jti") {
            token.create_nonce();
            token.jwt_id = token.nonce.take();
        }
        self.key
            .sign(token)
            .map_err(|error| Diagnostic::error(format!("the token cannot be signed: {error}")))
    }

    fn publish(&self) -> Result<(), Diagnostic> {
        let jwk: Value = serde_json::from_str(&self.key.public_key().to_jwk()).unwrap_or_default();
        let text = format!("{:#}\n", json!({"keys": [jwk]}));
        let path = self.jwks_path();
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        fs::write(&path, text).map_err(|error| failed("write", &path, &error))
    }
}

impl std::fmt::Debug for DevelopmentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DevelopmentKey in {}", self.folder.display())
    }
}

fn make(folder: &Path, path: &Path) -> Result<ES256KeyPair, Diagnostic> {
    let key = ES256KeyPair::generate();
    let pem = key.to_pem().map_err(|error| Diagnostic::error(format!("no key can be made: {error}")))?;
    fs::create_dir_all(folder).map_err(|error| failed("make", folder, &error))?;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(pem.as_bytes()))
        .map_err(|error| failed("write", path, &error))?;
    // A private key has no business in a repository, not even this one.
    let ignore = folder.join(".gitignore");
    fs::write(&ignore, "*\n").map_err(|error| failed("write", &ignore, &error))?;
    Ok(key)
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::environment(format!("cannot {doing} `{}`: {}", path.display(), plain(error)))
        .help("choose another folder with `--key-dir`")
}
