//! Trusted identities: who may sign (notation spec: trust-store-trust-policy.md#trusted-identities-constraints).

use std::fmt;

use thiserror::Error;
use x509_cert::name::Name;

use crate::untrusted::Untrusted;

/// The identities of a statement: here only the wildcard, every identity that a trust store vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedIdentities(());

impl TrustedIdentities {
    /// The wildcard `*`.
    pub const fn any() -> Self {
        Self(())
    }

    /// Recognises the subject of a signer's certificate.
    ///
    /// # Errors
    ///
    /// When it is none of the identities.
    pub fn recognises(&self, subject: &Name) -> Result<RecognisedIdentity, IdentityError> {
        Ok(RecognisedIdentity(subject.to_string().into()))
    }
}

/// The identity that a signer was recognised as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecognisedIdentity(Untrusted);

impl fmt::Display for RecognisedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a signer is not recognised.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the subject {0} is none of the trusted identities")]
pub struct IdentityError(Untrusted);
