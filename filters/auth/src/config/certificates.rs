//! Client certificates, as they are configured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;

/// Client certificates: where they are, and which there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificates {
    /// Where a caller's certificate is.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub from: CertificateSource,
    /// Whoever makes the connection, the listener or the proxy before it, verifies certificates against a CA. Without
    /// it anybody can make one with any name, so that only `sha256` tells who somebody is.
    #[serde(default, skip_serializing_if = "defaults::is_false")]
    pub verified: bool,
    /// Whose certificates these are. The first that fits counts, those by `sha256` before those by name.
    pub known: Vec<KnownCertificate>,
}

/// Where a caller's certificate is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateSource {
    /// The caller showed it to this listener.
    #[default]
    Connection,
    /// A proxy before Envoy writes what it was shown to `x-forwarded-client-cert`, as Envoy does. Of several elements
    /// the last counts. Envoy passes the header on with `forward_client_cert_details: ALWAYS_FORWARD_ONLY` or
    /// `FORWARD_ONLY` alone.
    Xfcc(TrustedProxies),
    /// A proxy writes the certificate to a header, in PEM in one line, or percent-encoded.
    Pem(PemHeader),
}

/// Proxies whose word is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustedProxies {
    /// SHA-256 fingerprints of the certificates that they show to this listener. Empty: everybody who can connect is
    /// believed, so that nobody but the proxy must be able to.
    pub proxies: Vec<String>,
}

/// A header with a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PemHeader {
    /// Choreo Connect's is `x-wso2-client-certificate`.
    pub header: String,
    /// As of `xfcc`.
    pub proxies: Vec<String>,
}

/// A certificate, and whom it was given to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KnownCertificate {
    /// SHA-256 of the certificate in DER, in hexadecimal, with colons or without:
    /// `openssl x509 -in alice.crt -noout -fingerprint -sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Or one of its alternative names: a URI or a DNS name. Envoy shows the first of each kind. Needs `verified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub san: Option<String>,
    /// Or its subject as Envoy writes it (RFC 2253): `CN=alice,O=Acme`. Needs `verified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Who calls with it.
    pub consumer: String,
    /// The application that it was given to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub application: String,
    /// The tier of its limits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tier: String,
    /// Names of the APIs that it is for. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apis: Vec<String>,
}
