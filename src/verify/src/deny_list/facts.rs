//! What a deny-list may know of a signer.

use std::sync::Arc;

use der::Decode as _;
use sha2::{Digest as _, Sha256};
use x509_cert::name::Name as X509Name;

use crate::Timestamp;
use crate::digest::Digest;
use crate::x509::certificate::Certificate;
use crate::x509::loose_name::LooseAttribute;

/// Something that a signer is or has, and that an entry may name: the first half of a SHA-256.
///
/// What has a digest is named by it, everything else by the digest of its text. Nobody finds a second text to a half of that
/// length; and whoever did would be denied more, not less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name([u8; 16]);

impl Name {
    pub(super) fn of_digest(digest: &Digest) -> Self {
        Self(digest.head())
    }

    /// What is known by its SHA-256.
    fn of_sha256(digest: &[u8; 32]) -> Self {
        let mut head = [0; 16];
        for (byte, from) in head.iter_mut().zip(digest) {
            *byte = *from;
        }
        Self(head)
    }

    /// A certificate by its issuer's name and its serial number, as encoded.
    pub(super) fn of_serial_number(mut issuer: Vec<LooseAttribute>, serial: &[u8]) -> Self {
        // A set: see `loose_name`.
        issuer.sort();
        let start = serial.iter().position(|octet| *octet != 0).unwrap_or(serial.len());
        let serial = serial.get(start..).unwrap_or_default();
        let attributes = issuer.iter().map(|attribute| attribute.as_str().as_bytes());
        Self::of_parts("serial number", std::iter::once(serial).chain(attributes))
    }

    /// An attribute of a signer's subject.
    pub(super) fn of_attribute(attribute: &LooseAttribute) -> Self {
        Self::of_parts("subject", [attribute.as_str().as_bytes()])
    }

    /// Whom an identity provider vouches for.
    pub(super) fn of_keyless(issuer: &str, subject: &str) -> Self {
        Self::of_parts("keyless", [issuer.as_bytes(), subject.as_bytes()])
    }

    fn of_parts<'a>(kind: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in std::iter::once(kind.as_bytes()).chain(parts) {
            // Their lengths keep the parts apart.
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Self::of_sha256(&hash.finalize().into())
    }
}

/// Everything of one verified signature, beside its digests, that an entry of a deny-list can name: compact, because every
/// verdict that is remembered has it. Cloning shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerFacts {
    /// Sorted, each once.
    names: Arc<[Name]>,
    made: Option<Made>,
}

/// Between which moments a signature was made, as far as somebody else than its signer says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Not before its certificate began: that it is vouched for while the certificate lasts says so. A timestamp does not,
    /// because anybody can have an old signature stamped again.
    pub after: Timestamp,
    /// By the earliest of the times that a timestamp authority or a log vouches for: then it was there.
    pub by: Timestamp,
}

/// Who signs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signatory<'a> {
    /// The holder of a key: the SHA-256 of its `SubjectPublicKeyInfo`.
    Key(&'a [u8; 32]),
    /// The holder of a certificate.
    Certificate {
        /// The certificate.
        leaf: &'a Certificate,
        /// The identity provider and the subject for whom it vouches, where there is one.
        keyless: Option<(&'a str, &'a str)>,
    },
}

impl SignerFacts {
    /// The facts of a signer and of every certificate that his signature rests on, his own among them.
    pub(crate) fn new<'a>(
        signer: Signatory<'a>,
        certificates: impl IntoIterator<Item = &'a Certificate>,
        made: Option<Made>,
    ) -> Self {
        let mut names = Vec::new();
        for certificate in certificates {
            let key = Sha256::digest(certificate.subject_public_key_info_der());
            names.push(Name::of_sha256(certificate.fingerprint().as_bytes()));
            names.push(Name::of_sha256(&key.into()));
            // A name that does not parse is that of no certificate that does.
            if let Ok(issuer) = X509Name::from_der(certificate.issuer_der()) {
                let issuer = LooseAttribute::of_name(&issuer).collect();
                names.push(Name::of_serial_number(issuer, certificate.serial_number()));
            }
        }
        match signer {
            Signatory::Key(key) => names.push(Name::of_sha256(key)),
            Signatory::Certificate { leaf, keyless } => {
                let subject = LooseAttribute::of_name(leaf.subject());
                names.extend(subject.map(|attribute| Name::of_attribute(&attribute)));
                names.extend(keyless.map(|(issuer, subject)| Name::of_keyless(issuer, subject)));
            }
        }
        names.sort();
        names.dedup();
        Self {
            names: names.into(),
            made,
        }
    }

    /// Sorted, each once.
    pub(super) fn names(&self) -> &[Name] {
        &self.names
    }

    /// Between which moments the signature was made; nothing where nobody else says so.
    pub fn made(&self) -> Option<Made> {
        self.made
    }
}
