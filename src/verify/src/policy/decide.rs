//! Finds the rule of an image. Rules are tried from top to bottom, and the first whose conditions hold decides.

use std::fmt;

use super::document::{Effect, Policy, Requirements, Rule, Unmatched};
use crate::digest::Digest;
use crate::reference::Repository;
use crate::untrusted::Untrusted;

/// What the policy says about an image before any evidence is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// The rule admits this digest; no evidence is needed.
    AdmitDigest {
        /// The rule.
        rule: &'a Rule,
    },
    /// The rule denies the image. Where the reason is stated by the rule, its mode is always enforce.
    Deny {
        /// The rule.
        rule: &'a Rule,
        /// Why.
        reason: DenyReason<'a>,
    },
    /// Evidence decides.
    Require {
        /// The rule.
        rule: &'a Rule,
        /// What it asks for.
        requirements: &'a Requirements,
    },
    /// No rule is for the image.
    Unmatched(Unmatched),
}

/// Why a rule denies an image by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyReason<'a> {
    /// The rule admits digests only, and this is none of them.
    DigestNotListed,
    /// What `deny = "…"` states.
    Stated(&'a str),
}

impl fmt::Display for DenyReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DigestNotListed => f.write_str("the digest is none of those that the rule admits"),
            Self::Stated(reason) => Untrusted::from(*reason).fmt(f),
        }
    }
}

impl Policy {
    /// What the policy says about an image.
    pub fn decide(&self, repository: &Repository, digest: &Digest) -> Decision<'_> {
        match self.rules().iter().find(|rule| rule.is_for(repository, digest)) {
            Some(rule) => rule.decide(digest),
            None => Decision::Unmatched(self.unmatched()),
        }
    }
}

impl Rule {
    /// Whether the conditions of the rule hold: all that are given.
    pub fn is_for(&self, repository: &Repository, digest: &Digest) -> bool {
        let images = self
            .images()
            .is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(repository)));
        images && self.digests().is_none_or(|digests| digests.contains(digest))
    }

    fn decide(&self, digest: &Digest) -> Decision<'_> {
        match self.effect() {
            Effect::Deny(reason) => Decision::Deny {
                rule: self,
                reason: DenyReason::Stated(reason),
            },
            Effect::AdmitDigests(digests) if digests.contains(digest) => Decision::AdmitDigest { rule: self },
            Effect::AdmitDigests(_) => Decision::Deny {
                rule: self,
                reason: DenyReason::DigestNotListed,
            },
            Effect::Require { admit_digests, .. } if admit_digests.contains(digest) => {
                Decision::AdmitDigest { rule: self }
            }
            Effect::Require { requirements, .. } => Decision::Require {
                rule: self,
                requirements,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter for what is decided, and the rule.
    fn decide(policy: &str, image: &str, content: &[u8]) -> String {
        let text =
            format!("version = 1\n{policy}\n[authority.corp]\ntype = \"notation\"\nconfig = \"/etc/notation\"\n");
        let parsed = Policy::parse("p.toml", &text);
        let policy = parsed.policy.unwrap_or_else(|| panic!("{:?}", parsed.diagnostics));
        match policy.decide(&image.parse().unwrap(), &Digest::sha256(content)) {
            Decision::AdmitDigest { rule } => format!("admit {}", rule.name()),
            Decision::Deny { rule, reason } => format!("deny {}: {reason}", rule.name()),
            Decision::Require { rule, requirements } => {
                let needed = requirements.signatures().map_or(0, |one| one.needed());
                format!("require {} {needed}", rule.name())
            }
            Decision::Unmatched(unmatched) => format!("unmatched {unmatched:?}"),
        }
    }

    fn rules() -> String {
        let digest = Digest::sha256(b"known");
        format!(
            r#"
            unmatched = "deny"
            [[rule]]
            name = "withdrawn"
            digests = ["{}"]
            deny = "withdrawn after incident 4711"
            [[rule]]
            name = "pause"
            images = ["registry.k8s.io/pause"]
            admit_digests = ["{digest}"]
            [[rule]]
            name = "both"
            images = ["a.example/both/*"]
            admit_digests = ["{digest}"]
            require = {{ all = ["corp"] }}
            [[rule]]
            name = "prod"
            images = ["a.example/**"]
            require = {{ any = ["corp"] }}
            [[rule]]
            name = "known there"
            images = ["b.example/**"]
            digests = ["{digest}"]
            deny = "no"
            "#,
            Digest::sha256(b"bad")
        )
    }

    #[test]
    fn the_first_rule_whose_conditions_hold_decides() {
        let rules = rules();
        let check = |image, content: &[u8], expected| assert_eq!(decide(&rules, image, content), expected, "{image}");
        check("registry.k8s.io/pause", b"known", "admit pause");
        check(
            "registry.k8s.io/pause",
            b"other",
            "deny pause: the digest is none of those that the rule admits",
        );
        check(
            "registry.k8s.io/pause",
            b"bad",
            "deny withdrawn: withdrawn after incident 4711",
        );
        check("a.example/both/x", b"known", "admit both");
        check("a.example/both/x", b"other", "require both 1");
        check("a.example/both/x/y", b"known", "require prod 1");
        check("b.example/x", b"known", "deny known there: no");
        check("b.example/x", b"other", "unmatched Deny");
        check("alpine", b"known", "unmatched Deny");
    }

    #[test]
    fn a_policy_without_rules_leaves_every_image_unmatched() {
        let text = "version = 1\nunmatched = \"audit\"\n";
        let policy = Policy::parse("p.toml", text).policy.unwrap();
        let decision = policy.decide(&"alpine".parse().unwrap(), &Digest::sha256(b""));
        assert_eq!(decision, Decision::Unmatched(Unmatched::Audit));
    }

    /// Two exceptions that each let a little pass, and together everything (GHSA-gg4x-fgg2-h9w9): what a rule further down
    /// lets pass adds nothing to the one that decides.
    #[test]
    fn exceptions_of_two_rules_never_combine() {
        let digest = |content: &[u8]| Digest::sha256(content);
        let rules = format!(
            r#"
            unmatched = "deny"
            [[rule]]
            name = "strict"
            images = ["a.example/**"]
            admit_digests = ["{}"]
            require = {{ all = ["corp"] }}
            [[rule]]
            name = "other"
            images = ["a.example/x"]
            admit_digests = ["{}"]
            "#,
            digest(b"one"),
            digest(b"other")
        );
        assert_eq!(decide(&rules, "a.example/x", b"one"), "admit strict");
        assert_eq!(decide(&rules, "a.example/x", b"other"), "require strict 1");
    }
}
