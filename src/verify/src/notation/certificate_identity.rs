//! Identities that the Notary Project does not have: by the certificate's own digest, its key's, or an alternative name.
//!
//! A distinguished name needs C, ST and O, each once. Certificates without them, or with several organisational units,
//! cannot be named that way. These kinds exist in assayd's own policy only: in a trustpolicy.json they would be another
//! tool's plugin identities.

use std::fmt;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::digest::hex;
use crate::untrusted::Untrusted;
use crate::x509::certificate::Certificate;
use crate::x509::extensions::AlternativeName;

/// One certificate, one key, or everyone with an alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateIdentity {
    /// `x509.sha256`: the SHA-256 of the certificate's DER.
    Certificate([u8; 32]),
    /// `x509.spki`: the SHA-256 of its SubjectPublicKeyInfo. It survives a renewal with the same key.
    PublicKey([u8; 32]),
    /// `x509.san.dns`, `x509.san.uri`, `x509.san.email`: an alternative name, whole and without wildcards.
    AlternativeName(AlternativeName),
}

/// Why an identity is not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateIdentityError {
    /// Not a SHA-256.
    #[error("{0} is not a SHA-256: expected 64 hexadecimal digits, colons between them or not")]
    Digest(Untrusted),
    /// No kind that there is.
    #[error(
        "{0} is not a kind of identity: expected x509.subject, x509.sha256, x509.spki, x509.san.dns, .uri or .email"
    )]
    Kind(Untrusted),
    /// An empty name, or one that no certificate could have.
    #[error("\"{0}\" is not a name: expected printable ASCII without spaces")]
    Name(Untrusted),
}

impl CertificateIdentity {
    /// Reads an identity of one of these kinds; none where the kind is another.
    pub(super) fn read(kind: &str, value: &str) -> Option<Result<Self, CertificateIdentityError>> {
        let value = value.trim();
        let name = |make: fn(Box<str>) -> AlternativeName| {
            if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(CertificateIdentityError::Name(value.into()));
            }
            Ok(Self::AlternativeName(make(value.into())))
        };
        Some(match kind {
            "x509.sha256" => sha256(value).map(Self::Certificate),
            "x509.spki" => sha256(value).map(Self::PublicKey),
            "x509.san.dns" => name(|text| AlternativeName::Dns(text.to_ascii_lowercase().into())),
            "x509.san.uri" => name(AlternativeName::Uri),
            "x509.san.email" => name(AlternativeName::Email),
            // A misspelled kind would silently be left to a plugin.
            _ if kind.starts_with("x509.") => Err(CertificateIdentityError::Kind(kind.into())),
            _ => return None,
        })
    }

    /// Whether a signer's own certificate is meant.
    pub fn recognises(&self, certificate: &Certificate) -> bool {
        match self {
            Self::Certificate(digest) => certificate.fingerprint().as_bytes() == digest,
            Self::PublicKey(digest) => {
                <[u8; 32]>::from(Sha256::digest(certificate.subject_public_key_info_der())) == *digest
            }
            Self::AlternativeName(name) => certificate.extensions().alternative_names.contains(name),
        }
    }
}

/// As the policy writes it.
impl fmt::Display for CertificateIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(digest) => write!(f, "x509.sha256: {}", hex(digest)),
            Self::PublicKey(digest) => write!(f, "x509.spki: {}", hex(digest)),
            Self::AlternativeName(AlternativeName::Dns(name)) => write!(f, "x509.san.dns: {name}"),
            Self::AlternativeName(AlternativeName::Uri(name)) => write!(f, "x509.san.uri: {name}"),
            Self::AlternativeName(AlternativeName::Email(name)) => write!(f, "x509.san.email: {name}"),
        }
    }
}

/// The digest as OpenSSL prints it, with colons, or without.
fn sha256(text: &str) -> Result<[u8; 32], CertificateIdentityError> {
    let malformed = || CertificateIdentityError::Digest(text.into());
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    if digits.len() != 64 {
        return Err(malformed());
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| malformed())?;
        // A number may have a sign, a digest not.
        if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(malformed());
        }
        *byte = u8::from_str_radix(pair, 16).map_err(|_| malformed())?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Result<String, String>> {
        let (kind, value) = text.split_once(':').unwrap();
        let read = CertificateIdentity::read(kind, value)?;
        Some(
            read.map(|identity| identity.to_string())
                .map_err(|error| error.to_string()),
        )
    }

    #[test]
    fn reads_digests_with_colons_and_without() {
        let digits = "ab".repeat(32);
        let colons = ["AB"; 32].join(":");
        for text in [format!("x509.sha256: {digits}"), format!("x509.sha256:{colons}")] {
            assert_eq!(read(&text), Some(Ok(format!("x509.sha256: {digits}"))));
        }
        for bad in ["", "ab", "+a", &"zz".repeat(32), &format!("+{}", "a".repeat(63))] {
            let error = read(&format!("x509.spki: {bad}")).unwrap().unwrap_err();
            assert!(error.contains("expected 64 hexadecimal digits"), "{error}");
        }
    }

    #[test]
    fn reads_alternative_names_and_leaves_other_kinds_to_plugins() {
        assert_eq!(
            read("x509.san.dns: Build.Corp.example"),
            Some(Ok("x509.san.dns: build.corp.example".to_owned()))
        );
        assert!(read("x509.san.uri: ").unwrap().is_err());
        assert!(read("x509.san.email: a b").unwrap().is_err());
        assert_eq!(read("com.example.plugin:x"), None);
        assert!(read("x509.sha265:00").unwrap().unwrap_err().contains("is not a kind"));
    }
}
