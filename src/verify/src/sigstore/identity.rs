//! Which identities an authority of the policy accepts. Every matcher that is written down has to fit (CVE-2025-29778),
//! and regular expressions have to fit the whole text (CVE-2026-22772).

use std::collections::BTreeMap;
use std::fmt;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

use super::fulcio::{Claim, Holder};
use crate::limits::{MAX_REGEX_LENGTH, MAX_REGEX_SIZE};
use crate::untrusted::Untrusted;

/// One accepted identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityMatcher {
    /// The identity provider.
    pub issuer: TextMatcher,
    /// The subject alternative name.
    pub subject: TextMatcher,
    /// Claims about the workload.
    pub claims: BTreeMap<Claim, TextMatcher>,
}

/// Text that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextMatcher {
    /// Exactly this text.
    Exact(Box<str>),
    /// Whatever a linear-time regular expression matches from its beginning to its end.
    Pattern(AnchoredRegex),
}

/// A regular expression that matches whole texts only. Two are equal when they are written alike.
#[derive(Clone, Debug)]
pub struct AnchoredRegex {
    written: Box<str>,
    compiled: Regex,
}

/// Why text is no regular expression that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegexError {
    /// More than [`MAX_REGEX_LENGTH`].
    #[error("the regular expression has {0} bytes, more than {MAX_REGEX_LENGTH}")]
    TooLong(usize),
    /// Nothing: it would accept the empty text alone, which nobody means.
    #[error("the regular expression is empty")]
    Empty,
    /// More than [`MAX_REGEX_SIZE`].
    #[error("the regular expression takes more than {MAX_REGEX_SIZE} bytes of memory")]
    TooLarge,
    /// Not of the syntax of the `regex` crate, which has no look-around and no back-references.
    #[error("the regular expression is malformed: {0}")]
    Syntax(Untrusted),
}

/// Which matcher of an identity does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The identity provider's.
    Issuer,
    /// The subject's.
    Subject,
    /// That of a claim, which the certificate makes otherwise or not at all.
    Claim(Claim),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer => f.write_str("issuer"),
            Self::Subject => f.write_str("subject"),
            Self::Claim(claim) => claim.fmt(f),
        }
    }
}

impl AnchoredRegex {
    /// Compiles an expression, as if it stood between `^(?:` and `)$`.
    ///
    /// # Errors
    ///
    /// When it is malformed, or takes more memory than the limit.
    pub fn new(expression: &str) -> Result<Self, RegexError> {
        if expression.is_empty() {
            return Err(RegexError::Empty);
        }
        if expression.len() > MAX_REGEX_LENGTH {
            return Err(RegexError::TooLong(expression.len()));
        }
        // Alone first: `a)|(?:b` is no expression, but would be one between the anchors, and would leave both.
        compile(expression)?;
        let compiled = compile(&format!(r"\A(?:{expression})\z"))?;
        Ok(Self {
            written: expression.into(),
            compiled,
        })
    }

    /// Whether it matches the whole text. The time is linear in the text.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// The expression as it is written.
    pub fn as_str(&self) -> &str {
        &self.written
    }
}

fn compile(expression: &str) -> Result<Regex, RegexError> {
    RegexBuilder::new(expression)
        .size_limit(MAX_REGEX_SIZE)
        .dfa_size_limit(MAX_REGEX_SIZE)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => RegexError::TooLarge,
            error => RegexError::Syntax(error.to_string().into()),
        })
}

impl PartialEq for AnchoredRegex {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for AnchoredRegex {}

impl TextMatcher {
    /// Whether it accepts the text.
    pub fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Exact(expected) => **expected == *text,
            Self::Pattern(regex) => regex.matches(text),
        }
    }
}

impl fmt::Display for TextMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => Untrusted::new(text).fmt(f),
            Self::Pattern(regex) => write!(f, "/{}/", Untrusted::new(regex.as_str())),
        }
    }
}

impl IdentityMatcher {
    /// Whether it accepts the holder of a certificate. A claim that the certificate does not make fits nothing.
    pub fn accepts(&self, holder: &Holder) -> bool {
        self.mismatch(holder).is_none()
    }

    /// The first matcher that does not fit; none where all do.
    pub fn mismatch(&self, holder: &Holder) -> Option<Mismatch> {
        if !holder
            .issuer
            .as_deref()
            .is_some_and(|issuer| self.issuer.accepts(issuer))
        {
            return Some(Mismatch::Issuer);
        }
        if !self.subject.accepts(&holder.subject) {
            return Some(Mismatch::Subject);
        }
        self.claims
            .iter()
            .find(|(claim, matcher)| !holder.claims.get(claim).is_some_and(|text| matcher.accepts(text)))
            .map(|(claim, _)| Mismatch::Claim(*claim))
    }

    /// What it asks for, in one line of printable ASCII, for messages.
    pub fn describe(&self) -> String {
        let mut line = format!("subject {}, issuer {}", self.subject, self.issuer);
        for (claim, matcher) in &self.claims {
            line.push_str(&format!(", {claim} {matcher}"));
        }
        line
    }
}

#[cfg(test)]
mod tests;
