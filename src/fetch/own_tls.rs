//! What is particular about speaking TLS with one host: client certificates, and doing without verification where the
//! configuration says so. It is never used with another host.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use assay_verify::limits::CONNECT_TIMEOUT;

use super::hosts::LoadedHost;

/// What is particular about one host. By default, nothing.
#[derive(Debug, Default)]
pub(super) struct OwnTls {
    certificates: Vec<Arc<CertifiedKey>>,
    skip_verify: bool,
    dial_timeout: Option<Duration>,
}

impl OwnTls {
    /// Reads what a host tree says of a host. An error names the position of the certificate that cannot be used.
    pub(super) fn read(host: &LoadedHost) -> Result<Self, String> {
        let provider = aws_lc_rs::default_provider();
        let mut certificates = Vec::new();
        for (index, pair) in host.client.iter().enumerate() {
            let refuse = |cause: String| format!("client certificate {}: {cause}", index + 1);
            let chain = CertificateDer::pem_slice_iter(&pair.certificate)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| refuse(error.to_string()))?;
            if chain.is_empty() {
                return Err(refuse("its file holds no PEM certificate".to_owned()));
            }
            let key = PrivateKeyDer::from_pem_slice(&pair.key).map_err(|error| refuse(format!("its key: {error}")))?;
            let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| refuse(error.to_string()))?;
            certificates.push(Arc::new(certified));
        }
        Ok(Self {
            certificates,
            skip_verify: host.entry.skip_verify,
            dial_timeout: host.entry.dial_timeout,
        })
    }

    /// Whether the host is spoken to as any other is.
    pub(super) fn is_usual(&self) -> bool {
        self.certificates.is_empty() && !self.skip_verify && self.dial_timeout.is_none()
    }

    pub(super) fn apply(&self, mut tls: ClientConfig) -> ClientConfig {
        if !self.certificates.is_empty() {
            tls.client_auth_cert_resolver = Arc::new(Chosen(self.certificates.clone()));
        }
        if self.skip_verify {
            let provider = Arc::clone(tls.crypto_provider());
            tls.dangerous().set_certificate_verifier(Arc::new(Unverified(provider)));
        }
        tls
    }

    /// The configured time may only be the shorter one: a verification has no more.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.dial_timeout.unwrap_or(CONNECT_TIMEOUT).min(CONNECT_TIMEOUT)
    }
}

/// The first client certificate whose key can sign as the server wants.
#[derive(Debug)]
struct Chosen(Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for Chosen {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut certificates = self.0.iter();
        certificates
            .find(|certified| certified.key.choose_scheme(schemes).is_some())
            .cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Takes any certificate: `skip_verify` of a host tree. What is fetched proves itself by digest and signature; credentials
/// for the host may reach whoever answers in its place, which is what its configuration asks for.
struct Unverified(Arc<CryptoProvider>);

impl fmt::Debug for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unverified")
    }
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
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
