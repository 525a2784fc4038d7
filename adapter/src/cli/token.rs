//! `enforcer token`

use std::{path::PathBuf, process::ExitCode};

use enforcer_core::units::Span;
use serde_json::{Map, Value, json};

use super::Shell;
use crate::{
    diagnostic::Diagnostic,
    token::{DEVELOPMENT_ISSUER, DevelopmentKey},
};

/// Print a token for trying things out, signed with a throw-away key
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Scope that the token has; may be repeated
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// Claim to add or replace; JSON values are taken as such
    #[arg(long, value_name = "NAME=VALUE", value_parser = claim)]
    claim: Vec<(String, Value)>,
    /// How long the token is valid
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = ttl)]
    ttl: Span,
    /// Folder of the key, made on first use, and of the key set that verifies its tokens
    #[arg(long, value_name = "DIR", default_value = ".enforcer")]
    key_dir: PathBuf,
}

pub(super) fn run(arguments: &Arguments, shell: &Shell) -> ExitCode {
    match token(arguments, shell) {
        Ok(token) => {
            shell.print_result(&token);
            ExitCode::SUCCESS
        }
        Err(finding) => shell.fail(finding),
    }
}

fn token(arguments: &Arguments, shell: &Shell) -> Result<String, Diagnostic> {
    let key = DevelopmentKey::in_folder(&arguments.key_dir)?;
    shell.detail(format_args!("issuer {DEVELOPMENT_ISSUER}, keys in {}", key.jwks_path().display()));
    let mut claims = Map::new();
    if !arguments.scope.is_empty() {
        claims.insert("scope".to_owned(), json!(arguments.scope.join(" ")));
    }
    claims.extend(arguments.claim.iter().cloned());
    key.sign(claims, arguments.ttl)
}

fn ttl(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|error| format!("{error}"))?;
    if span.duration().as_secs() == 0 {
        return Err("the token would have expired already; give at least `1s`".to_owned());
    }
    Ok(span)
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| json!(value))))
}
