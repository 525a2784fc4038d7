//! Credentials, good and bad, each in a file that curl can send: `curl -H @FILE`.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use enforcer_testbed::base64url;
use serde_json::Value;

use crate::Outcome;
use crate::workshop::{Workshop, succeed};

/// Long enough for any demo.
const LIFETIME: &str = "12h";

/// The header of a request that carries a token.
#[derive(Clone)]
pub(crate) struct Credential {
    /// Lower-case name, as the gateway expects it.
    pub(crate) name: String,
    pub(crate) value: String,
    /// Holds both, as a line of an HTTP request.
    pub(crate) file: PathBuf,
}

/// Makes tokens with `enforcer token`, for a user named alice.
pub(crate) struct Mint<'a> {
    pub(crate) workshop: &'a Workshop,
    /// The header that the gateway takes tokens from.
    pub(crate) header: &'a str,
}

/// Makes the key in the workshop, and the key set that the settings name: the first token does.
pub(crate) fn make_key(workshop: &Workshop) -> Outcome<()> {
    succeed(workshop.enforcer().arg("token")).map(|_| ())
}

impl Mint<'_> {
    /// A token of the trusted issuer with these scopes.
    pub(crate) fn token(&self, scopes: &[String], claims: &[&str]) -> Outcome<String> {
        let mut command = self.workshop.enforcer();
        command.args(["token", "--ttl", LIFETIME]);
        for claim in ["sub=alice"].iter().chain(claims) {
            command.args(["--claim", claim]);
        }
        for scope in scopes {
            command.args(["--scope", scope]);
        }
        Ok(succeed(&mut command)?.result.trim().to_owned())
    }

    /// Puts a token into the file of this name.
    pub(crate) fn credential(&self, file: &str, token: &str) -> Outcome<Credential> {
        let credential = Credential {
            name: self.header.to_owned(),
            value: format!("Bearer {token}"),
            file: self.workshop.folder().join(file),
        };
        fs::write(&credential.file, format!("{}: {}\n", credential.name, credential.value))?;
        Ok(credential)
    }
}

/// A token with other claims under the signature that it had before.
pub(crate) fn forged(token: &str, changes: &[(&str, &str)]) -> Outcome<String> {
    let mut segments = token.split('.');
    let (Some(header), Some(claims), Some(signature)) = (segments.next(), segments.next(), segments.next())
    else {
        return Err(format!("`enforcer token` printed `{token}`").into());
    };
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    if let Some(claims) = claims.as_object_mut() {
        for (name, value) in changes {
            claims.insert((*name).to_owned(), (*value).into());
        }
    }
    Ok(format!("{header}.{}.{signature}", base64url(claims.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forging_keeps_the_signature() {
        let token = format!("e30.{}.c2ln", base64url(r#"{"exp":1,"sub":"alice"}"#));
        let forged = forged(&token, &[("sub", "mallory")]).unwrap();
        assert_eq!(forged, format!("e30.{}.c2ln", base64url(r#"{"exp":1,"sub":"mallory"}"#)));
    }
}
