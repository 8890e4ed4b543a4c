//! `trustpolicy.blob.json`, as notation reads it (notation spec: trust-store-trust-policy.md#blob-trust-policy): how
//! signatures of files are judged.
//!
//! A file comes from nowhere in particular, so a statement has no scopes. Whoever verifies names it; one may be global,
//! for those who name none. Everything else is as in a policy for images, and read by the same code.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::document::{Diagnostic, Node, Report, Table, quoted};
use crate::notation::identity::TrustedIdentities;
use crate::notation::signature::Terms;
use crate::notation::statement::{Level, TrustStoreName};
use crate::notation::trust_policy::{
    VerifyTimestamp, parse_statements, read_name, read_signature_verification, warn_ignored,
};
use crate::untrusted::Untrusted;

#[cfg(test)]
mod tests;

/// How signatures of files are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobStatement {
    /// Its name, unique in its policy.
    pub name: Box<str>,
    /// Whether it is for those who name no statement.
    pub global: bool,
    /// What a failed check means.
    pub level: Level,
    /// When a timestamp is looked at. Without a timestamp store, never.
    pub verify_timestamp: VerifyTimestamp,
    /// Where signers' chains lead to. Empty if and only if the level is skip.
    pub trust_stores: Vec<TrustStoreName>,
    /// Whose signatures count. Nobody's, if the level is skip.
    pub identities: TrustedIdentities,
}

impl BlobStatement {
    /// What it asks of a signature; nothing where its level is skip.
    pub fn terms(&self) -> Option<Terms<'_>> {
        match &self.level {
            Level::Skip => None,
            Level::Verify(checks) => Some(Terms {
                checks,
                verify_timestamp: self.verify_timestamp,
                trust_stores: &self.trust_stores,
                identities: &self.identities,
            }),
        }
    }
}

/// A valid trust policy for files: at least one statement, and at most one that is global. That one verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobTrustPolicy {
    statements: Vec<BlobStatement>,
}

/// What reading a document gives. There is a policy if and only if there are no errors.
#[derive(Clone, Debug)]
pub struct ParsedBlobTrustPolicy {
    /// The policy.
    pub policy: Option<BlobTrustPolicy>,
    /// Every error and warning, in the order of the document.
    pub diagnostics: Vec<Diagnostic>,
}

/// Why no statement is for a file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoStatement {
    /// None has the name.
    #[error("the trust policy has no statement named \"{name}\"; it has {known}")]
    Named {
        /// The name that was asked for.
        name: Untrusted,
        /// The names that there are.
        known: Untrusted,
    },
    /// None was named, and none is global.
    #[error("no statement of the trust policy is global: name one of {known}, or give one \"globalPolicy\": true")]
    Global {
        /// The names that there are.
        known: Untrusted,
    },
}

impl BlobTrustPolicy {
    /// Reads a document. `file` is its name in the diagnostics.
    pub fn parse(file: &str, text: &str) -> ParsedBlobTrustPolicy {
        let mut seen = Seen::default();
        let (statements, diagnostics) =
            parse_statements(file, text, |report, node| read_statement(report, node, &mut seen));
        ParsedBlobTrustPolicy {
            policy: statements.map(|statements| Self { statements }),
            diagnostics,
        }
    }

    /// The statement of a name; without a name, the global one.
    ///
    /// # Errors
    ///
    /// When there is none. A name that does not exist never falls back to the global statement.
    pub fn applicable(&self, name: Option<&str>) -> Result<&BlobStatement, NoStatement> {
        let found = self.statements.iter().find(|statement| match name {
            Some(name) => *statement.name == *name,
            None => statement.global,
        });
        found.ok_or_else(|| {
            let names: Vec<_> = self.statements.iter().map(|statement| &*statement.name).collect();
            let known = names.join(", ").into();
            match name {
                Some(name) => NoStatement::Named {
                    name: name.into(),
                    known,
                },
                None => NoStatement::Global { known },
            }
        })
    }

    /// The statements in the order of the document.
    pub fn statements(&self) -> &[BlobStatement] {
        &self.statements
    }
}

/// What may be in one statement of the document only.
#[derive(Default)]
struct Seen {
    names: BTreeSet<String>,
    global: bool,
}

fn read_statement(report: &mut Report<'_>, node: &Node, seen: &mut Seen) -> Option<BlobStatement> {
    let table = report.table("a statement", node)?;
    let known = [
        "name",
        "globalPolicy",
        "signatureVerification",
        "trustStores",
        "trustedIdentities",
    ];
    if let Some(entry) = table.entry("registryScopes") {
        report.error_with_help(
            entry.at,
            "\"registryScopes\" belongs to a policy for images",
            "a file has no repository: name the statement when you verify, or give it \"globalPolicy\": true",
        );
    }
    warn_ignored(report, table, &[&known[..], &["registryScopes"]].concat());
    let name = read_name(report, node.at, table, &mut seen.names);
    let global = read_global(report, table, seen);
    let trust = read_signature_verification(report, node.at, table);
    let (name, global, trust) = (name?, global?, trust?);
    if global && trust.level == Level::Skip {
        let at = table.get("signatureVerification").map_or(node.at, |node| node.at);
        report.error_with_help(
            at,
            format!("the global statement {} skips verification", quoted(&name)),
            "the specification forbids \"skip\" with \"globalPolicy\": name such a statement when you verify",
        );
    }
    Some(BlobStatement {
        name: name.into(),
        global,
        level: trust.level,
        verify_timestamp: trust.verify_timestamp,
        trust_stores: trust.trust_stores,
        identities: trust.identities,
    })
}

fn read_global(report: &mut Report<'_>, table: &Table, seen: &mut Seen) -> Option<bool> {
    let Some(node) = table.get("globalPolicy") else {
        return Some(false);
    };
    let global = report.boolean("\"globalPolicy\"", node)?;
    if global && std::mem::replace(&mut seen.global, true) {
        report.error_with_help(
            node.at,
            "more than one statement has \"globalPolicy\": true",
            "only one statement can be the one for those who name none",
        );
    }
    Some(global)
}
