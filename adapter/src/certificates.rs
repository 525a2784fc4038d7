//! `auth.client_certificates`: whose certificates are known, and what listeners have to do for it.

mod imports;

use std::path::{Path, PathBuf};

use enforcer_auth::{
    certificates::fingerprint_of_pem,
    config::{AuthConfig, CertificateSource, ClientCertificates, KnownCertificate},
};

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    model::ApiModel,
    settings::{self, Settings},
    source::{View, read_file},
};

/// The files of certificates, which lie beside `enforcer.yaml` unless their paths say otherwise.
pub fn files(settings: &Settings, folder: &Path) -> impl Iterator<Item = PathBuf> {
    let certificates = settings.auth.client_certificates.iter();
    certificates.flat_map(|certificates| {
        let known = certificates.known.iter().filter_map(|known| known.file.as_ref());
        known.chain(&certificates.imports).map(|file| folder.join(file))
    })
}

/// Client certificates as the filter is configured with them.
pub fn resolve(
    settings: &Settings,
    model: &ApiModel,
    folder: &Path,
    document: View<'_>,
    findings: &mut Diagnostics,
) -> Option<ClientCertificates> {
    let certificates = settings.auth.client_certificates.as_ref()?;
    let view = document.descend(["auth", "client_certificates"]);
    let mut ways = model.ways();
    if !ways.any(|way| way.certificate) {
        findings.push(
            Diagnostic::warning("no operation asks for a client certificate").at(view.key_place()).help(
                "ask for one in a definition, by a security scheme of `type: mutualTLS`; or remove this",
            ),
        );
        return None;
    }
    let mut encrypted = settings.listeners.iter().filter_map(|listener| listener.tls.as_ref()).peekable();
    let of_connection = certificates.from == CertificateSource::Connection;
    if of_connection && encrypted.peek().is_none() {
        findings.push(
            Diagnostic::warning("no listener has `tls`, so that nobody can show it a certificate")
                .at(view.key_place())
                .help("add `tls: {certificate: tls.crt, key: tls.key}` to one, or let the listener that the filters go \
                       into ask for certificates"),
        );
    }
    let verified = match of_connection {
        true => encrypted.peek().is_some() && encrypted.all(|tls| tls.client_ca.is_some()),
        false => certificates.verified,
    };
    let mut known = Vec::new();
    for (index, one) in certificates.known.iter().enumerate() {
        let view = view.descend(["known", index.to_string().as_str()]);
        known.extend(findings.take(resolve_one(one, folder, view)));
    }
    for (index, file) in certificates.imports.iter().enumerate() {
        let view = view.descend(["imports", index.to_string().as_str()]);
        known.extend(imports::read((&folder.join(file), file), view, model, findings));
    }
    Some(ClientCertificates { from: certificates.from.clone(), verified, known })
}

fn resolve_one(
    one: &settings::KnownCertificate,
    folder: &Path,
    view: View<'_>,
) -> Result<KnownCertificate, Diagnostic> {
    let sha256 = match &one.file {
        Some(_) if one.sha256.is_some() => {
            return Err(Diagnostic::error("the certificate is named by `file` and by `sha256`")
                .at(view.descend(["sha256"]).key_place())
                .help("keep one of the two"));
        }
        Some(file) => Some(fingerprint(&folder.join(file)).map_err(|problem| {
            Diagnostic::environment(format!("the certificate `{file}` {problem}"))
                .at(view.descend(["file"]).place())
                .help("name a file with a certificate in PEM, seen from enforcer.yaml")
        })?),
        None => one.sha256.clone(),
    };
    Ok(KnownCertificate {
        sha256,
        san: one.san.clone(),
        subject: one.subject.clone(),
        consumer: one.consumer.clone(),
        application: one.application.clone(),
        tier: one.tier.clone(),
        apis: one.apis.clone(),
    })
}

/// Of the first certificate in a file: those after it lead to its root.
fn fingerprint(path: &Path) -> Result<String, String> {
    let text = read_file(path).map_err(|error| format!("cannot be read: {error}"))?;
    let fingerprint = fingerprint_of_pem(&text).ok_or("has no `BEGIN CERTIFICATE` with base64 behind it")?;
    Ok(fingerprint.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether the filter looks at what is shown to the listener.
pub fn are_asked_for(auth: &AuthConfig) -> bool {
    auth.client_certificates.as_ref().is_some_and(|certificates| match &certificates.from {
        CertificateSource::Connection => true,
        CertificateSource::Xfcc(trusted) => !trusted.proxies.is_empty(),
        CertificateSource::Pem(header) => !header.proxies.is_empty(),
    })
}

/// Envoy's `forward_client_cert_details`, without which it removes `x-forwarded-client-cert`. From a proxy that shows
/// a certificate itself, the header is passed on with that certificate alone.
pub fn forwarded(auth: &AuthConfig) -> Option<&'static str> {
    match &auth.client_certificates.as_ref()?.from {
        CertificateSource::Xfcc(trusted) if trusted.proxies.is_empty() => Some("ALWAYS_FORWARD_ONLY"),
        CertificateSource::Xfcc(_) => Some("FORWARD_ONLY"),
        CertificateSource::Connection | CertificateSource::Pem(_) => None,
    }
}
