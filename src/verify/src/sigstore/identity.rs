//! Which identities an authority of the policy accepts. Every matcher that is written down has to fit (CVE-2025-29778), and
//! regular expressions have to fit the whole text (CVE-2026-22772).

use std::collections::BTreeMap;

use thiserror::Error;

use super::fulcio::{Claim, Holder};

/// One accepted identity.
#[derive(Clone, Debug)]
pub struct IdentityMatcher {
    /// The identity provider.
    pub issuer: TextMatcher,
    /// The subject alternative name.
    pub subject: TextMatcher,
    /// Claims about the workload.
    pub claims: BTreeMap<Claim, TextMatcher>,
}

/// Text that is accepted.
#[derive(Clone, Debug)]
pub enum TextMatcher {
    /// Exactly this text.
    Exact(Box<str>),
    /// Whatever a linear-time regular expression matches from its beginning to its end.
    Pattern(AnchoredRegex),
}

/// A regular expression that matches whole texts only.
#[derive(Clone, Debug)]
pub struct AnchoredRegex {
    _regex: regex::Regex,
}

/// Why text is no regular expression that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct RegexError(String);

impl AnchoredRegex {
    /// Compiles an expression, as if it stood between `^(?:` and `)$`.
    ///
    /// # Errors
    ///
    /// When it is malformed, or takes more memory than the limit.
    pub fn new(expression: &str) -> Result<Self, RegexError> {
        let _ = expression;
        Err(RegexError("not compiled".to_owned()))
    }
}

impl IdentityMatcher {
    /// Whether it accepts the holder of a certificate. A claim that the certificate does not make fits nothing.
    pub fn accepts(&self, holder: &Holder) -> bool {
        let _ = holder;
        false
    }
}
