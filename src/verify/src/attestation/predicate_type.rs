//! Predicate types: what a statement's predicate is (in-toto attestation: spec/v1/predicate.md).

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::limits::MAX_PREDICATE_TYPE_LENGTH;
use crate::sigstore::statement::COSIGN_SIGNATURE;
use crate::untrusted::Untrusted;

/// The type of cosign's custom predicates.
const CUSTOM: &str = "https://cosign.sigstore.dev/attestation/v1";
const SLSA_0_2: &str = "https://slsa.dev/provenance/v0.2";
const SLSA_1: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";
const CYCLONEDX: &str = "https://cyclonedx.org/bom";
const LINK: &str = "https://in-toto.io/Link/v1";
const VULNERABILITIES: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";
const OPENVEX: &str = "https://openvex.dev/ns";

/// cosign's short names (cosign cmd/cosign/cli/options/predicate.go).
const SHORT_NAMES: [(&str, &str); 10] = [
    ("custom", CUSTOM),
    ("cyclonedx", CYCLONEDX),
    ("link", LINK),
    ("openvex", OPENVEX),
    ("slsaprovenance", SLSA_0_2),
    ("slsaprovenance02", SLSA_0_2),
    ("slsaprovenance1", SLSA_1),
    ("spdx", SPDX),
    ("spdxjson", SPDX),
    ("vuln", VULNERABILITIES),
];

/// A predicate type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PredicateType(Box<str>);

/// Why text is no predicate type that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PredicateTypeError {
    /// Neither a short name nor a URI.
    #[error("{0} is neither a known short name nor a URI")]
    Unknown(Untrusted),
    /// That of an image's signature.
    #[error("{COSIGN_SIGNATURE} is the type of signatures, not of attestations")]
    Signature,
}

impl PredicateType {
    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The short names.
    pub fn short_names() -> impl Iterator<Item = &'static str> {
        SHORT_NAMES.into_iter().map(|(name, _)| name)
    }

    /// Whether it is SLSA's provenance of a version whose fields are known.
    pub fn is_provenance(&self) -> bool {
        matches!(self.as_str(), SLSA_0_2 | SLSA_1)
    }

    /// Whether it is SLSA's provenance 1.
    pub(super) fn is_provenance_1(&self) -> bool {
        self.as_str() == SLSA_1
    }

    /// Whether it is cosign's type for scans.
    pub fn is_vulnerability_scan(&self) -> bool {
        self.as_str() == VULNERABILITIES
    }
}

impl FromStr for PredicateType {
    type Err = PredicateTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((_, uri)) = SHORT_NAMES.into_iter().find(|(name, _)| *name == text) {
            return Ok(Self(uri.into()));
        }
        if text == COSIGN_SIGNATURE {
            return Err(PredicateTypeError::Signature);
        }
        let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
        let scheme = text.split_once(':').is_some_and(|(scheme, rest)| {
            scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && !rest.is_empty()
        });
        if !graphic || !scheme || text.len() > MAX_PREDICATE_TYPE_LENGTH {
            return Err(PredicateTypeError::Unknown(text.into()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for PredicateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_short_names_and_uris() {
        for (text, expected) in [
            ("slsaprovenance", Ok("https://slsa.dev/provenance/v0.2")),
            ("slsaprovenance02", Ok("https://slsa.dev/provenance/v0.2")),
            ("slsaprovenance1", Ok("https://slsa.dev/provenance/v1")),
            ("vuln", Ok("https://cosign.sigstore.dev/attestation/vuln/v1")),
            ("https://corp.example/review/v1", Ok("https://corp.example/review/v1")),
            ("urn:corp:review", Ok("urn:corp:review")),
            ("", Err("neither")),
            ("true", Err("neither")),
            ("SPDX", Err("neither")),
            ("https:", Err("neither")),
            (":x", Err("neither")),
            ("https://a b", Err("neither")),
            ("https://sigstore.dev/cosign/sign/v1", Err("not of attestations")),
        ] {
            match (text.parse::<PredicateType>(), expected) {
                (Ok(found), Ok(uri)) => assert_eq!(found.as_str(), uri),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{text}: {error}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
