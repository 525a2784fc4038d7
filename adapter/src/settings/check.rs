//! What types cannot say about `enforcer.yaml`.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Cors, Settings};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    openapi::is_header_name,
    source::View,
    url::is_host_name,
};

/// Reports values that are well formed and still cannot work. `file` is what the settings were read from.
pub fn check(settings: &Settings, file: View<'_>, findings: &mut Diagnostics) {
    listeners(settings, file, findings);
    headers(settings, file, findings);
    if let Some(cors) = &settings.cors {
        findings.take(check_cors(cors).map_err(|problem| problem.at(file.descend(["cors"]).key_place())));
    }
    let bad = |host: &&str| *host != "*" && !is_host_name(host.strip_prefix("*.").unwrap_or(host));
    if let Some(host) = settings.defaults.host.as_deref().filter(bad) {
        findings.push(
            Diagnostic::error(format!("`{host}` is not a host name"))
                .at(file.descend(["defaults", "host"]).place())
                .help("write `api.example.com`, `*.example.com`, or `*` for any"),
        );
    }
}

fn listeners(settings: &Settings, file: View<'_>, findings: &mut Diagnostics) {
    let mut ports = BTreeSet::new();
    for (index, listener) in settings.listeners.iter().enumerate() {
        let view = file.descend(["listeners", index.to_string().as_str()]);
        if listener.address.parse::<IpAddr>().is_err() {
            findings.push(
                Diagnostic::error(format!("`{}` is not an IP address", listener.address))
                    .at(view.descend(["address"]).place())
                    .help("write `0.0.0.0` for every IPv4 address of the machine, or `::` for every address"),
            );
        }
        if !ports.insert(listener.port) {
            findings.push(
                Diagnostic::error(format!("the port {} is taken by another listener", listener.port))
                    .at(view.descend(["port"]).place())
                    .help("give each listener a port of its own"),
            );
        }
        if let Some(tls) =
            listener.tls.as_ref().filter(|tls| tls.client_certificate.is_some() && tls.client_ca.is_none())
        {
            let key = view.descend(["tls", "client_certificate"]);
            findings.push(
                Diagnostic::error("client certificates cannot be verified without `client_ca`")
                    .at(key.key_place())
                    .help(format!(
                        "add the file with their roots beside `certificate: {}`: `client_ca: ca.crt`",
                        tls.certificate
                    )),
            );
        }
    }
}

fn headers(settings: &Settings, file: View<'_>, findings: &mut Diagnostics) {
    let mut check = |name: &str, path: &[&str]| {
        if !is_header_name(name) {
            findings.push(
                Diagnostic::error(format!("`{name}` is not the name of a header in lower case"))
                    .at(file.descend(path.iter().copied()).place())
                    .help("write it as `x-user`: lower-case letters, digits and dashes"),
            );
        }
    };
    if let Some(header) = &settings.auth.token_header {
        check(header, &["auth", "token_header"]);
    }
    for (number, issuer) in settings.issuers.iter().enumerate() {
        let number = number.to_string();
        for (position, mapping) in issuer.claim_headers.iter().enumerate() {
            check(&mapping.header, &["issuers", &number, "claim_headers", &position.to_string(), "header"]);
        }
    }
}

/// Fetch Standard, section 3.3.5: a credentialed answer must not be for everybody. Envoy would name each
/// caller's origin instead, which browsers cannot tell from permission.
pub(crate) fn check_cors(cors: &Cors) -> Result<(), Diagnostic> {
    if cors.allow_origins.is_empty() {
        return Err(Diagnostic::error("no origin is allowed, so that the policy does nothing")
            .help("list the origins that may call: `allow_origins: [\"https://app.example.com\"]`"));
    }
    if cors.allow_credentials && cors.allow_origins.iter().any(|origin| origin == "*") {
        return Err(Diagnostic::error(
            "every origin may call with the user's cookies: `*` together with credentials",
        )
        .help("list the origins that may, or leave out the credentials"));
    }
    Ok(())
}
