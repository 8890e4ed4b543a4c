//! The stable codes of denials. `docs/codes.md` explains each: what it means and what to do.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Why an image is denied, as a stable kebab-case word. A code never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The signature lacks an annotation that the rule asks for.
    AnnotationMismatch,
    /// No attestation of the type that the rule asks for was found.
    AttestationMissing,
    /// An attestation says what the rule does not accept.
    AttestationRefused,
    /// The image is the canary, which is always denied, to see that the hook works.
    Canary,
    /// A certificate was not valid at the time that counts.
    CertificateExpired,
    /// A certificate was revoked by its issuer.
    CertificateRevoked,
    /// The node's clock is behind a time that somebody trusted has signed.
    ClockUnsynchronised,
    /// No answer in time.
    Deadline,
    /// A deny-list names the image, or the signature, key, certificate or identity that it would rest on.
    DeniedByList,
    /// The policy's rule denies the image by name or digest.
    DeniedByRule,
    /// The signer's certificate is trusted, its identity is not the one asked for.
    IdentityMismatch,
    /// A defect of assayd itself; the journal has it.
    Internal,
    /// What a transparency log says about the signature does not hold, or is missing.
    LogEntryInvalid,
    /// More bytes, items, depth or time than the table of limits allows.
    LimitExceeded,
    /// No rule matches and `unmatched` denies; or no statement of an authority is for the repository.
    NoMatchingRule,
    /// The plugin that the signature asks for says that it is not good.
    PluginRefused,
    /// The plugin that the signature asks for is not installed, is too old, or gave no valid answer.
    PluginUnavailable,
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
    /// The signature was made, or may have been made, before the rule's minimum signing time.
    SignatureTooOld,
    /// A good signature of another artifact.
    SubjectMismatch,
    /// A signature has critical attributes that nobody here understands.
    SignatureUnsupported,
    /// The countersignature of a timestamp authority does not hold.
    TimestampInvalid,
    /// A countersignature of a timestamp authority is needed, and there is none.
    TimestampRequired,
    /// The policy repository's metadata has expired, and so has its grace.
    TrustStale,
    /// No signature by the authority was found.
    Unsigned,
    /// The chain does not lead to a certificate of the trust stores.
    UntrustedSigner,
}

impl Code {
    /// Every code, for documentation and closed label sets.
    pub const ALL: [Self; 32] = [
        Self::AnnotationMismatch,
        Self::AttestationMissing,
        Self::AttestationRefused,
        Self::Canary,
        Self::CertificateExpired,
        Self::CertificateRevoked,
        Self::ClockUnsynchronised,
        Self::Deadline,
        Self::DeniedByList,
        Self::DeniedByRule,
        Self::IdentityMismatch,
        Self::Internal,
        Self::LimitExceeded,
        Self::LogEntryInvalid,
        Self::NoMatchingRule,
        Self::PluginRefused,
        Self::PluginUnavailable,
        Self::PolicyInvalid,
        Self::RegistryAuth,
        Self::RegistryUnavailable,
        Self::RequestMalformed,
        Self::RevocationUnknown,
        Self::SignatureExpired,
        Self::SignatureInvalid,
        Self::SignatureUnsupported,
        Self::SignatureTooOld,
        Self::SubjectMismatch,
        Self::TimestampInvalid,
        Self::TimestampRequired,
        Self::TrustStale,
        Self::Unsigned,
        Self::UntrustedSigner,
    ];

    /// The word that appears in reasons, journals and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AnnotationMismatch => "annotation-mismatch",
            Self::AttestationMissing => "attestation-missing",
            Self::AttestationRefused => "attestation-refused",
            Self::Canary => "canary",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateRevoked => "certificate-revoked",
            Self::ClockUnsynchronised => "clock-unsynchronised",
            Self::Deadline => "deadline",
            Self::DeniedByList => "denied-by-list",
            Self::DeniedByRule => "denied-by-rule",
            Self::IdentityMismatch => "identity-mismatch",
            Self::Internal => "internal",
            Self::LimitExceeded => "limit-exceeded",
            Self::LogEntryInvalid => "log-entry-invalid",
            Self::NoMatchingRule => "no-matching-rule",
            Self::PluginRefused => "plugin-refused",
            Self::PluginUnavailable => "plugin-unavailable",
            Self::PolicyInvalid => "policy-invalid",
            Self::RegistryAuth => "registry-auth",
            Self::RegistryUnavailable => "registry-unavailable",
            Self::RequestMalformed => "request-malformed",
            Self::RevocationUnknown => "revocation-unknown",
            Self::SignatureExpired => "signature-expired",
            Self::SignatureInvalid => "signature-invalid",
            Self::SignatureUnsupported => "signature-unsupported",
            Self::SignatureTooOld => "signature-too-old",
            Self::SubjectMismatch => "subject-mismatch",
            Self::TimestampInvalid => "timestamp-invalid",
            Self::TimestampRequired => "timestamp-required",
            Self::TrustStale => "trust-stale",
            Self::Unsigned => "unsigned",
            Self::UntrustedSigner => "untrusted-signer",
        }
    }
}

impl Code {
    /// Whether the answer is not known, as against known and bad. Only such a denial may a setting of the policy ever
    /// touch, and a retry may end differently.
    pub const fn is_inconclusive(self) -> bool {
        matches!(
            self,
            Self::ClockUnsynchronised
                | Self::Deadline
                | Self::Internal
                | Self::LimitExceeded
                | Self::PluginUnavailable
                | Self::RegistryAuth
                | Self::RegistryUnavailable
                | Self::RevocationUnknown
                | Self::TrustStale
        )
    }
}

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|code| code.as_str() == text)
            .ok_or(UnknownCode)
    }
}

/// A word that is no code of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a code of this version")]
pub struct UnknownCode;

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once_and_reads_back() {
        for (index, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code.as_str().parse(), Ok(code));
            assert!(
                Code::ALL.iter().skip(index + 1).all(|other| *other != code),
                "{code} is listed twice"
            );
        }
    }
}
