//! A trust policy statement: under which level, stores and identities a signature is judged
//! (notation spec: trust-store-trust-policy.md#trust-policy-properties).

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::untrusted::Untrusted;

/// What a trust store anchors (notation spec: trust-store-trust-policy.md#trust-store).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustStoreKind {
    /// Signers under the scheme `notary.x509`.
    CertificateAuthority,
    /// Signers under the scheme `notary.x509.signingAuthority`.
    SigningAuthority,
    /// Timestamp authorities.
    TimestampAuthority,
}

impl TrustStoreKind {
    /// The word in a policy, and the name of the folder.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CertificateAuthority => "ca",
            Self::SigningAuthority => "signingAuthority",
            Self::TimestampAuthority => "tsa",
        }
    }
}

/// The name of a trust store, `ca:corp`. Safe as a path component: `[a-zA-Z0-9_.-]+`, and neither `.` nor `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustStoreName {
    /// What it anchors.
    pub kind: TrustStoreKind,
    name: Box<str>,
}

impl TrustStoreName {
    /// The name without the kind: the name of the folder.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Why text does not name a trust store.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseTrustStoreNameError {
    /// No colon.
    #[error("malformed trust store value {0}: expected <type>:<name>")]
    NoKind(Untrusted),
    /// A kind that there is not.
    #[error("unsupported trust store type {0}: expected ca, signingAuthority or tsa")]
    UnknownKind(Untrusted),
    /// Not a folder name.
    #[error("unsupported trust store name \"{0}\": expected letters, digits, '_', '.' and '-'")]
    Name(Untrusted),
}

impl FromStr for TrustStoreName {
    type Err = ParseTrustStoreNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = text
            .split_once(':')
            .ok_or_else(|| ParseTrustStoreNameError::NoKind(text.into()))?;
        let kind = match kind {
            "ca" => TrustStoreKind::CertificateAuthority,
            "signingAuthority" => TrustStoreKind::SigningAuthority,
            "tsa" => TrustStoreKind::TimestampAuthority,
            _ => return Err(ParseTrustStoreNameError::UnknownKind(kind.into())),
        };
        let valid = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if !valid || name == "." || name == ".." {
            return Err(ParseTrustStoreNameError::Name(name.into()));
        }
        Ok(Self {
            kind,
            name: name.into(),
        })
    }
}

impl fmt::Display for TrustStoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.name)
    }
}

/// What a failed check means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The signature is rejected.
    Enforce,
    /// The failure is reported and judging goes on.
    Log,
}

/// What is done about revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RevocationAction {
    /// A revoked or unknown certificate rejects the signature.
    Enforce,
    /// It is reported.
    Log,
    /// It is not checked.
    Skip,
}

/// The verification level with its overrides applied
/// (notation spec: trust-store-trust-policy.md#signature-verification-details).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Nothing is fetched or verified.
    Skip,
    /// Integrity is always enforced; the other checks as given.
    Verify(Checks),
}

/// The checks whose failure a level may turn into a report.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checks {
    /// The chain leads to a trust store and the signer is a trusted identity.
    pub authenticity: Action,
    /// The certificates were valid at the time that counts.
    pub authentic_timestamp: Action,
    /// The signature has not expired.
    pub expiry: Action,
    /// No certificate is revoked.
    pub revocation: RevocationAction,
}

impl Checks {
    /// Everything enforced.
    pub const STRICT: Self = Self {
        authenticity: Action::Enforce,
        authentic_timestamp: Action::Enforce,
        expiry: Action::Enforce,
        revocation: RevocationAction::Enforce,
    };
    /// Integrity and authenticity enforced, the rest reported.
    pub const PERMISSIVE: Self = Self {
        authenticity: Action::Enforce,
        authentic_timestamp: Action::Log,
        expiry: Action::Log,
        revocation: RevocationAction::Log,
    };
    /// Integrity enforced, the rest reported.
    pub const AUDIT: Self = Self {
        authenticity: Action::Log,
        authentic_timestamp: Action::Log,
        expiry: Action::Log,
        revocation: RevocationAction::Log,
    };
}
