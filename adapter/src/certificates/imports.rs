//! `client_certificates.yaml` of a WSO2 project: which certificates may call which API, and in which tier.

use std::path::Path;

use enforcer_auth::config::KnownCertificate;
use serde::Deserialize;

use super::fingerprint;
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    model::{ApiModel, slug},
    settings::read_value,
    source::{Source, View, parse},
};

/// What `apictl` exports.
#[derive(Debug, Deserialize)]
struct File {
    data: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// Who calls with it, for want of another name.
    alias: String,
    /// A file beside this one.
    certificate: String,
    #[serde(default)]
    tier_name: String,
    api_identifier: Api,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Api {
    api_name: String,
    version: String,
}

/// The certificates of one file: its path, and what `enforcer.yaml` calls it at `place`.
pub(super) fn read(
    (path, name): (&Path, &str),
    place: View<'_>,
    model: &ApiModel,
    findings: &mut Diagnostics,
) -> Vec<KnownCertificate> {
    let source = Source::read(path).map_err(|problem| {
        problem.at(place.place()).help("name a `client_certificates.yaml`, seen from enforcer.yaml")
    });
    let Some(document) = findings.take(source.and_then(|source| parse(&source))) else { return Vec::new() };
    let Some(file) = read_value::<File>(document.view(), document.view().node.to_json(), findings) else {
        return Vec::new();
    };
    let folder = path.parent().unwrap_or(path);
    let known = file.data.into_iter().filter_map(|entry| {
        let Entry { alias, certificate, tier_name, api_identifier: Api { api_name, version } } = entry;
        // A definition's title is the API's name there, too.
        let api = slug(&api_name);
        if !model.apis.iter().any(|one| one.name == api && one.version == version) {
            findings.push(
                Diagnostic::warning(format!(
                    "`{alias}` of `{name}` is for {api_name} {version}, which is not here"
                ))
                .at(place.place())
                .help("it counts for other versions of it; remove it if that is not wanted"),
            );
        }
        let sha256 = fingerprint(&folder.join(&certificate)).map_err(|problem| {
            Diagnostic::environment(format!("the certificate `{certificate}` of `{name}` {problem}"))
                .at(place.place())
                .help("put it beside that file, in PEM")
        });
        Some(KnownCertificate {
            sha256: Some(findings.take(sha256)?),
            san: None,
            subject: None,
            consumer: alias,
            application: String::new(),
            tier: tier_name,
            apis: vec![api],
        })
    });
    known.collect()
}
