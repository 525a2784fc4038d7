//! TLS: certificates that sign themselves, and clients that show one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rsa::sha2::{Digest, Sha256};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::Error;
use crate::pem::pem;

/// A certificate and its private key (P-256).
#[derive(Clone)]
pub struct Certified {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) name: String,
}

impl std::fmt::Debug for Certified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certified").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Certified {
    /// The certificate as `CERTIFICATE`.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// The private key as `PRIVATE KEY`.
    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key)
    }

    /// SHA-256 of the certificate in DER.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    /// As Envoy writes it.
    pub fn subject(&self) -> String {
        format!("CN={}", self.name)
    }

    /// The first alternative name of type URI.
    pub fn uri(&self) -> String {
        format!("spiffe://example.com/{}", self.name)
    }

    /// The first alternative name of type DNS.
    pub fn dns(&self) -> String {
        format!("{}.example.com", self.name)
    }
}

/// What a connection goes over.
pub(crate) trait Stream: Read + Write + Send + std::fmt::Debug {}

impl<S: Read + Write + Send + std::fmt::Debug> Stream for S {}

/// Speaks TLS over a connection, and shows a certificate if there is one. The server may be anybody.
pub(crate) fn connect(socket: TcpStream, shown: Option<&Certified>) -> Result<Box<dyn Stream>, Error> {
    let failed = |error: rustls::Error| Error::Http(format!("TLS: {error}"));
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let config = match shown {
        None => config.with_no_client_auth(),
        Some(shown) => {
            let key = PrivatePkcs8KeyDer::from(shown.key.clone());
            let chain = vec![CertificateDer::from(shown.certificate.clone())];
            config.with_client_auth_cert(chain, key.into()).map_err(failed)?
        }
    };
    let name = ServerName::try_from("localhost").map_err(|error| Error::Http(error.to_string()))?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(failed)?;
    Ok(Box::new(StreamOwned::new(connection, socket)))
}

/// Takes every server's certificate: it is the testbed's own.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
