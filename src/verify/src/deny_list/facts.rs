//! What a deny-list may know of a signer.

use std::fmt;
use std::sync::Arc;

use der::Decode as _;
use sha2::{Digest as _, Sha256};
use x509_cert::name::Name as X509Name;

use crate::Timestamp;
use crate::digest::{Digest, hex};
use crate::x509::certificate::Certificate;
use crate::x509::loose_name::LooseAttribute;

/// Something that a signer is or has, and that an entry may name: the first sixteen bytes of a digest.
///
/// What has a digest is named by it, everything else by the SHA-256 of its text. Nobody finds a second text to so many bytes;
/// and whoever did would be denied more, not less.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name([u8; 16]);

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", hex(&self.0))
    }
}

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
        // Their order means nothing: see `loose_name`.
        issuer.sort();
        let start = serial.iter().position(|octet| *octet != 0).unwrap_or(serial.len());
        let serial = serial.get(start..).unwrap_or_default();
        let attributes = issuer.iter().map(|attribute| attribute.as_str().as_bytes());
        Self::of_parts("serial number", std::iter::once(serial).chain(attributes))
    }

    /// A certificate by its fingerprint, its key and its serial number.
    fn of_certificate(certificate: &Certificate) -> impl Iterator<Item = Self> {
        let key = Sha256::digest(certificate.subject_public_key_info_der());
        // What does not parse is the subject of no certificate that does: nobody can have issued this one.
        let issuer = X509Name::from_der(certificate.issuer_der()).ok();
        let serial_number = issuer.map(|issuer| {
            let issuer = LooseAttribute::of_name(&issuer).collect();
            Self::of_serial_number(issuer, certificate.serial_number())
        });
        let digests = [*certificate.fingerprint().as_bytes(), key.into()];
        let digests = digests.map(|digest| Self::of_sha256(&digest));
        digests.into_iter().chain(serial_number)
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

/// Everything of one verified signature, beside its digests, that an entry of a deny-list can name. Cloning shares it.
///
/// Every verdict that is remembered has it, so it is compact: 400 bytes for a signer and a timestamp authority with three
/// certificates each.
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

impl SignerFacts {
    /// The facts of a key that signs by itself: the SHA-256 of its `SubjectPublicKeyInfo`. Nobody says yet when it signed.
    pub(crate) fn of_key(fingerprint: &[u8; 32]) -> Self {
        Self::of_names(vec![Name::of_sha256(fingerprint)], None)
    }

    /// The facts of a chain, the signer's certificate first. Where an identity provider vouches for him, `keyless` is the
    /// provider and the subject. Nobody says yet when he signed.
    pub(crate) fn of_chain<'a>(
        chain: impl IntoIterator<Item = &'a Certificate>,
        keyless: Option<(&str, &str)>,
    ) -> Self {
        let mut names = Vec::new();
        for (position, certificate) in chain.into_iter().enumerate() {
            names.extend(Name::of_certificate(certificate));
            if position == 0 {
                let subject = LooseAttribute::of_name(certificate.subject());
                names.extend(subject.map(|attribute| Name::of_attribute(&attribute)));
            }
        }
        names.extend(keyless.map(|(issuer, subject)| Name::of_keyless(issuer, subject)));
        Self::of_names(names, None)
    }

    /// The same with the certificates of those who say when it was signed, and what they say.
    pub(crate) fn vouched_for<'a>(self, by: impl IntoIterator<Item = &'a Certificate>, made: Option<Made>) -> Self {
        let mut names = self.names.to_vec();
        names.extend(by.into_iter().flat_map(Name::of_certificate));
        Self::of_names(names, made)
    }

    pub(super) fn of_names(mut names: Vec<Name>, made: Option<Made>) -> Self {
        names.sort();
        names.dedup();
        let names = names.into();
        Self { names, made }
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
