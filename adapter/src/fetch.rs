//! The little HTTP that the command itself speaks: an issuer's metadata, and a definition for `init`.

use std::{io::Read as _, path::Path, time::Duration};

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::{output::plain, source::read_file};

/// The largest answer that is read. Key sets and metadata have a few kilobytes, definitions a few megabytes.
const MAX_BYTES: u64 = 16 << 20;

/// Where systems keep the roots they trust: Debian and Alpine, Fedora, SUSE, macOS and BSD.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The system's bundle of roots.
pub fn system_ca_file() -> Option<&'static str> {
    BUNDLES.into_iter().find(|path| Path::new(path).is_file())
}

/// Downloads a URL. Redirects are followed within https only; the error is one line for people.
pub fn get(url: &str, ca_file: Option<&str>) -> Result<Vec<u8>, String> {
    // Which cryptography TLS is made of is chosen once for the process. A second time is no mistake.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .max_redirects(3)
        .https_only(url.starts_with("https://"));
    let system = system_ca_file();
    if let Some(path) = ca_file.or(system) {
        config = config.tls_config(TlsConfig::builder().root_certs(roots(path)?).build());
    }
    let mut response = config
        .build()
        .new_agent()
        .get(url)
        .header("accept", "application/json")
        .call()
        .map_err(|error| reason(&error))?;
    let mut body = Vec::new();
    let read = response.body_mut().as_reader().take(MAX_BYTES.saturating_add(1)).read_to_end(&mut body);
    match read {
        Ok(_) if u64::try_from(body.len()).is_ok_and(|length| length <= MAX_BYTES) => Ok(body),
        Ok(_) => Err(format!("the answer is larger than {MAX_BYTES} bytes")),
        Err(error) => Err(plain(&error)),
    }
}

fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => plain(error),
        ureq::Error::StatusCode(status) => format!("the answer has the status {status}"),
        other => other.to_string(),
    }
}

fn roots(path: &str) -> Result<RootCerts, String> {
    let pem =
        read_file(Path::new(path)).map_err(|error| format!("cannot read the CA file `{path}`: {error}"))?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(format!("the CA file `{path}` holds no certificate"));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}
