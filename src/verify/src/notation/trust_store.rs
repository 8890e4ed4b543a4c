//! Trust stores: the certificates that a chain has to contain one of
//! (notation spec: trust-store-trust-policy.md#trust-store).

use std::collections::BTreeMap;
use std::sync::Arc;

use der::{Reader as _, SliceReader};
use thiserror::Error;
use x509_cert::der::pem;

use crate::limits::{MAX_TRUST_STORE_CERTIFICATES, MAX_TRUST_STORE_FILE_SIZE};
use crate::notation::statement::{TrustStoreKind, TrustStoreName};
use crate::untrusted::Untrusted;
use crate::x509::certificate::{Certificate, Fingerprint, ParseCertificateError};
use crate::x509::pem::pem_blocks;

/// The certificates of one store. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustStore {
    anchors: BTreeMap<Fingerprint, Certificate>,
}

/// All stores that statements may name.
#[derive(Clone, Debug, Default)]
pub struct TrustStores(pub BTreeMap<TrustStoreName, Arc<TrustStore>>);

/// Why files are not a trust store.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrustStoreError {
    /// There is no file.
    #[error("the trust store has no certificate")]
    Empty,
    /// More than [`MAX_TRUST_STORE_CERTIFICATES`].
    #[error("the trust store has more than {MAX_TRUST_STORE_CERTIFICATES} certificates")]
    TooManyCertificates,
    /// A file is not what it has to be.
    #[error("{file}: {cause}")]
    File {
        /// The name of the file.
        file: Untrusted,
        /// What is wrong.
        cause: TrustStoreFileError,
    },
}

/// Why a file is not one of a trust store. Positions count from 0.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrustStoreFileError {
    /// Larger than the limit.
    #[error("the file has {0} bytes, more than {MAX_TRUST_STORE_FILE_SIZE}")]
    TooLarge(usize),
    /// No certificate in it.
    #[error("the file has no certificate")]
    Empty,
    /// Neither PEM nor DER.
    #[error("the file is neither PEM nor DER: {0}")]
    Encoding(Untrusted),
    /// PEM of something else.
    #[error("the file has PEM of {0}: expected CERTIFICATE only")]
    OtherPem(Untrusted),
    /// A certificate that does not parse.
    #[error("certificate {position}: {cause}")]
    Certificate {
        /// Which of the file.
        position: usize,
        /// Why.
        cause: ParseCertificateError,
    },
    /// A leaf that others signed anchors nothing.
    #[error("certificate {position} ({subject}) is neither a CA nor self-signed")]
    NotAnAnchor {
        /// Which of the file.
        position: usize,
        /// Its subject.
        subject: Untrusted,
    },
    /// A store of timestamp authorities has roots only.
    #[error("certificate {position} ({subject}) is not a self-issued root CA")]
    NotARoot {
        /// Which of the file.
        position: usize,
        /// Its subject.
        subject: Untrusted,
    },
}

impl TrustStore {
    /// Reads a store from its files: each has PEM, one block or many, or DER, one certificate behind the other. A
    /// certificate that is there twice counts once.
    ///
    /// # Errors
    ///
    /// At the first file that is not right: a store that is only partly read would be a different one.
    pub fn from_files<'a>(
        kind: TrustStoreKind,
        files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, TrustStoreError> {
        let mut anchors = BTreeMap::new();
        for (name, content) in files {
            let certificates = read_file(kind, content).map_err(|cause| TrustStoreError::File {
                file: name.into(),
                cause,
            })?;
            anchors.extend(
                certificates
                    .into_iter()
                    .map(|certificate| (certificate.fingerprint(), certificate)),
            );
            if anchors.len() > MAX_TRUST_STORE_CERTIFICATES {
                return Err(TrustStoreError::TooManyCertificates);
            }
        }
        if anchors.is_empty() {
            return Err(TrustStoreError::Empty);
        }
        Ok(Self { anchors })
    }

    /// Whether the store has exactly this certificate, byte for byte.
    pub fn contains(&self, certificate: &Certificate) -> bool {
        self.anchors.get(&certificate.fingerprint()) == Some(certificate)
    }

    /// The certificates, by fingerprint.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> + Clone {
        self.anchors.values()
    }
}

fn read_file(kind: TrustStoreKind, content: &[u8]) -> Result<Vec<Certificate>, TrustStoreFileError> {
    if content.len() > MAX_TRUST_STORE_FILE_SIZE {
        return Err(TrustStoreFileError::TooLarge(content.len()));
    }
    let certificates = parse_file(content)?;
    if certificates.is_empty() {
        return Err(TrustStoreFileError::Empty);
    }
    for (position, certificate) in certificates.iter().enumerate() {
        let subject = || certificate.subject().to_string().into();
        let self_signed = || certificate.check_self_signed().is_ok();
        match kind {
            TrustStoreKind::CertificateAuthority | TrustStoreKind::SigningAuthority => {
                if !certificate.is_ca() && !self_signed() {
                    return Err(TrustStoreFileError::NotAnAnchor {
                        position,
                        subject: subject(),
                    });
                }
            }
            TrustStoreKind::TimestampAuthority => {
                if !certificate.is_ca() || !certificate.is_self_issued() || !self_signed() {
                    return Err(TrustStoreFileError::NotARoot {
                        position,
                        subject: subject(),
                    });
                }
            }
        }
    }
    Ok(certificates)
}

/// Parses the certificates of a file, whatever they may be used for: PEM where a line begins a block, else DER.
///
/// # Errors
///
/// When a block or certificate is malformed. Text outside of PEM blocks is ignored (RFC 7468 §2).
pub fn parse_file(content: &[u8]) -> Result<Vec<Certificate>, TrustStoreFileError> {
    let mut certificates = Vec::new();
    let mut add = |der: &[u8]| {
        if certificates.len() == MAX_TRUST_STORE_CERTIFICATES {
            return Err(TrustStoreFileError::Encoding("too many certificates".into()));
        }
        let position = certificates.len();
        let certificate =
            Certificate::from_der(der).map_err(|cause| TrustStoreFileError::Certificate { position, cause })?;
        certificates.push(certificate);
        Ok(())
    };
    let encoding = |error: &dyn std::fmt::Display| TrustStoreFileError::Encoding(error.to_string().into());

    let mut blocks = pem_blocks(content).peekable();
    if blocks.peek().is_some() {
        for block in blocks {
            let mut decoder = pem::Decoder::new_detect_wrap(block).map_err(|error| encoding(&error))?;
            if decoder.type_label() != "CERTIFICATE" {
                return Err(TrustStoreFileError::OtherPem(decoder.type_label().into()));
            }
            let mut der = Vec::new();
            add(decoder.decode_to_end(&mut der).map_err(|error| encoding(&error))?)?;
        }
    } else if !content.is_empty() {
        let mut reader = SliceReader::new(content).map_err(|error| encoding(&error))?;
        while !reader.is_finished() {
            add(reader.tlv_bytes().map_err(|error| encoding(&error))?)?;
        }
    }
    Ok(certificates)
}
