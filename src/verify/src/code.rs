//! The stable codes of denials. `docs/codes.md` explains each: what it means and what to do.

use std::fmt;

/// Why an image is denied, as a stable kebab-case word. A code never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// A certificate was not valid at the time that counts.
    CertificateExpired,
    /// No answer in time.
    Deadline,
    /// The policy's rule denies the image by name or digest.
    DeniedByRule,
    /// The signer's certificate is trusted, its identity is not the one asked for.
    IdentityMismatch,
    /// More bytes, items, depth or time than the table of limits allows.
    LimitExceeded,
    /// No rule matches and `unmatched` denies.
    NoMatchingRule,
    /// There is no good policy.
    PolicyInvalid,
    /// The registry refused the credentials, or there are none.
    RegistryAuth,
    /// The registry could not be reached or failed.
    RegistryUnavailable,
    /// The question is not well-formed.
    RequestMalformed,
    /// The revocation status of a certificate is not known.
    RevocationUnknown,
    /// The signature's own expiry has passed.
    SignatureExpired,
    /// The envelope, its signature or its certificates are not what the specification asks for.
    SignatureInvalid,
    /// A good signature of another artifact.
    SubjectMismatch,
    /// A signature needs a plugin or understands attributes that this version does not.
    SignatureUnsupported,
    /// No signature by the authority was found.
    Unsigned,
    /// The chain does not lead to a certificate of the trust stores.
    UntrustedSigner,
}

impl Code {
    /// Every code, for documentation and closed label sets.
    pub const ALL: [Self; 17] = [
        Self::CertificateExpired,
        Self::Deadline,
        Self::DeniedByRule,
        Self::IdentityMismatch,
        Self::LimitExceeded,
        Self::NoMatchingRule,
        Self::PolicyInvalid,
        Self::RegistryAuth,
        Self::RegistryUnavailable,
        Self::RequestMalformed,
        Self::RevocationUnknown,
        Self::SignatureExpired,
        Self::SignatureInvalid,
        Self::SignatureUnsupported,
        Self::SubjectMismatch,
        Self::Unsigned,
        Self::UntrustedSigner,
    ];

    /// The word that appears in reasons, journals and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CertificateExpired => "certificate-expired",
            Self::Deadline => "deadline",
            Self::DeniedByRule => "denied-by-rule",
            Self::IdentityMismatch => "identity-mismatch",
            Self::LimitExceeded => "limit-exceeded",
            Self::NoMatchingRule => "no-matching-rule",
            Self::PolicyInvalid => "policy-invalid",
            Self::RegistryAuth => "registry-auth",
            Self::RegistryUnavailable => "registry-unavailable",
            Self::RequestMalformed => "request-malformed",
            Self::RevocationUnknown => "revocation-unknown",
            Self::SignatureExpired => "signature-expired",
            Self::SignatureInvalid => "signature-invalid",
            Self::SignatureUnsupported => "signature-unsupported",
            Self::SubjectMismatch => "subject-mismatch",
            Self::Unsigned => "unsigned",
            Self::UntrustedSigner => "untrusted-signer",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
