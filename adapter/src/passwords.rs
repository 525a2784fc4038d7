//! `auth.basic`: the file of names and passwords, for the definitions' schemes of `http: basic`.

use std::path::{Path, PathBuf};

use enforcer_auth::config::Basic;
use serde::Deserialize as _;
use serde_json::json;

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    model::ApiModel,
    settings::Settings,
    source::{View, read_text},
};

/// The file, which lies beside `enforcer.yaml` unless its path says otherwise.
pub fn file(settings: &Settings, folder: &Path) -> Option<PathBuf> {
    settings.auth.basic.as_ref().map(|basic| folder.join(&basic.htpasswd))
}

/// Names and passwords as the filter is configured with them.
pub fn resolve(
    settings: &Settings,
    model: &ApiModel,
    folder: &Path,
    document: View<'_>,
    findings: &mut Diagnostics,
) -> Option<Basic> {
    let basic = settings.auth.basic.as_ref()?;
    let view = document.descend(["auth", "basic"]);
    let mut ways = model.ways();
    if !ways.any(|way| way.basic) {
        findings.push(
            Diagnostic::warning("no operation asks for a password").at(view.key_place()).help(
                "ask for one in a definition, by a security scheme of `type: http, scheme: basic`; or remove this",
            ),
        );
        return None;
    }
    let path = file(settings, folder)?;
    let content = findings.take(read_text(&path).map_err(|error| {
        Diagnostic::environment(format!("`{}` cannot be read: {error}", path.display()))
            .at(view.descend(["htpasswd"]).place())
            .help("name a file that `htpasswd -B -C 5` wrote, seen from enforcer.yaml")
    }))?;
    let mut config = Basic::deserialize(json!({ "htpasswd": content })).ok()?;
    config.forward = basic.forward;
    if let Some(budget) = basic.budget {
        config.budget = budget;
    }
    Some(config)
}
