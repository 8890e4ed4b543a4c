//! What a fleet's policy may not relax on this node.
//!
//! The floor is root's, on the node: who publishes a fleet's policy cannot lower it. A policy below it is refused as a whole,
//! so that no node ever runs a policy that nobody wrote.

use assay_verify::document::Diagnostic;
use assay_verify::policy::{Mode, Policy, Unmatched};

/// The least that a fleet's policy has to demand. The default leaves everything to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The most that `unmatched` may let through.
    pub unmatched: Unmatched,
    /// Whether rules may have `mode = "audit"`.
    pub audit: bool,
    /// Whether rules may have `accept_unverified = true`.
    pub accept_unverified: bool,
    /// Whether the fleet's exceptions count. Those of the node itself always do.
    pub exceptions: bool,
}

impl Default for Floor {
    fn default() -> Self {
        Self {
            unmatched: Unmatched::Admit,
            audit: true,
            accept_unverified: true,
            exceptions: true,
        }
    }
}

impl Floor {
    /// Everything in which a policy lies below.
    pub(super) fn violations(&self, file: &str, policy: &Policy) -> Vec<Diagnostic> {
        let refused = |what: String, setting: &str| {
            let help = format!("the configuration of this node has [floor] {setting}");
            Diagnostic::error(file, what).with_help(help)
        };
        let mut violations = Vec::new();
        let (asked, allowed) = (policy.unmatched(), self.unmatched);
        if laxity(asked) > laxity(allowed) {
            violations.push(refused(
                format!("unmatched = \"{}\" is below this node's floor", asked.as_str()),
                &format!("unmatched = \"{}\"", allowed.as_str()),
            ));
        }
        for rule in policy.rules() {
            let name = rule.name();
            if !self.audit && rule.mode() == Mode::Audit {
                let what = format!("rule \"{name}\": mode = \"audit\" is below this node's floor");
                violations.push(refused(what, "audit = false"));
            }
            if !self.accept_unverified && rule.accepts_unverified() {
                let what = format!("rule \"{name}\": accept_unverified is below this node's floor");
                violations.push(refused(what, "accept_unverified = false"));
            }
        }
        violations
    }
}

const fn laxity(unmatched: Unmatched) -> u8 {
    match unmatched {
        Unmatched::Deny => 0,
        Unmatched::Audit => 1,
        Unmatched::Admit => 2,
    }
}
