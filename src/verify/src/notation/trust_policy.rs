//! `trustpolicy.oci.json` and `trustpolicy.json`, as notation reads them
//! (notation spec: trust-store-trust-policy.md#oci-trust-policy).
//!
//! Where notation and its specification differ, the stricter side counts. On top of notation: keys that it would ignore
//! are warnings; keys given twice, or in another case, are errors; and repositories are compared under their canonical
//! names.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{Diagnostic, Node, Report, Table, fold_key, parse_json, quoted};
use crate::limits::{MAX_LIST_LENGTH, MAX_POLICY_NAME_LENGTH, MAX_POLICY_SIZE, MAX_RULES};
use crate::notation::identity::{IdentityKinds, TrustedIdentities};
use crate::notation::statement::{
    Action, Checks, Level, ParseTrustStoreNameError, RevocationAction, TrustStoreKind, TrustStoreName,
};
use crate::reference::Repository;

#[cfg(test)]
mod tests;

/// The only version of the document.
const VERSION: &str = "1.0";

/// When a timestamp of a signature is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VerifyTimestamp {
    /// Only when a certificate of the chain has expired.
    AfterCertificateExpiry,
    /// For every signature.
    #[default]
    Always,
}

/// Which repositories a statement is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scopes {
    /// Every repository that no other statement names.
    Any,
    /// These.
    Repositories(Vec<Repository>),
}

/// How signatures of some repositories are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its name, unique in its policy.
    pub name: Box<str>,
    /// For which repositories it is.
    pub scopes: Scopes,
    /// What a failed check means.
    pub level: Level,
    /// When a timestamp is looked at. Without a timestamp store, never.
    pub verify_timestamp: VerifyTimestamp,
    /// Where signers' chains lead to. Empty if and only if the level is skip.
    pub trust_stores: Vec<TrustStoreName>,
    /// Whose signatures count. Nobody's, if the level is skip.
    pub identities: TrustedIdentities,
}

/// A valid trust policy: at least one statement, and at most one for any repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustPolicy {
    statements: Vec<Statement>,
    by_repository: BTreeMap<Repository, usize>,
    any: Option<usize>,
}

/// What reading a document gives. There is a policy if and only if there are no errors.
#[derive(Clone, Debug)]
pub struct ParsedTrustPolicy {
    /// The policy.
    pub policy: Option<TrustPolicy>,
    /// Every error and warning, in the order of the document.
    pub diagnostics: Vec<Diagnostic>,
}

impl TrustPolicy {
    /// Reads a document. `file` is its name in the diagnostics.
    pub fn parse(file: &str, text: &str) -> ParsedTrustPolicy {
        let mut seen = Seen::default();
        let (statements, diagnostics) =
            parse_statements(file, text, |report, node| read_statement(report, node, &mut seen));
        ParsedTrustPolicy {
            policy: statements.map(Self::index),
            diagnostics,
        }
    }

    /// A policy of one statement for every repository, as an authority in assayd's own policy describes it.
    pub fn for_every_repository(statement: Statement) -> Self {
        Self::index(vec![Statement {
            scopes: Scopes::Any,
            ..statement
        }])
    }

    fn index(statements: Vec<Statement>) -> Self {
        let mut by_repository = BTreeMap::new();
        let mut any = None;
        for (index, statement) in statements.iter().enumerate() {
            match &statement.scopes {
                Scopes::Any => any = Some(index),
                Scopes::Repositories(repositories) => {
                    by_repository.extend(repositories.iter().cloned().map(|repository| (repository, index)));
                }
            }
        }
        Self {
            statements,
            by_repository,
            any,
        }
    }

    /// The statement for a repository: the one that names it, else the one for all others.
    pub fn applicable(&self, repository: &Repository) -> Option<&Statement> {
        let index = self.by_repository.get(repository).copied().or(self.any)?;
        self.statements.get(index)
    }

    /// The statements in the order of the document.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Every trust store that a statement names, once.
    pub fn trust_stores(&self) -> BTreeSet<&TrustStoreName> {
        self.statements
            .iter()
            .flat_map(|statement| &statement.trust_stores)
            .collect()
    }
}

/// The keys of the trust part of a statement, as the document's format spells them.
pub(crate) struct TrustKeys {
    pub(crate) level: &'static str,
    pub(crate) overrides: &'static str,
    pub(crate) verify_timestamp: &'static str,
    pub(crate) trust_stores: &'static str,
    pub(crate) trusted_identities: &'static str,
    pub(crate) identity_kinds: IdentityKinds,
}

const JSON_KEYS: TrustKeys = TrustKeys {
    level: "\"level\"",
    overrides: "\"override\"",
    verify_timestamp: "\"verifyTimestamp\"",
    trust_stores: "\"trustStores\"",
    trusted_identities: "\"trustedIdentities\"",
    identity_kinds: IdentityKinds::Standard,
};

/// Where the trust part of a statement stands.
pub(crate) struct TrustNodes<'n> {
    /// The statement, for problems with what is absent.
    pub(crate) at: usize,
    pub(crate) level: Option<&'n Node>,
    pub(crate) overrides: Option<&'n Node>,
    pub(crate) verify_timestamp: Option<&'n Node>,
    pub(crate) trust_stores: Option<&'n Node>,
    pub(crate) trusted_identities: Option<&'n Node>,
}

/// The trust part of a statement.
pub(crate) struct Trust {
    pub(crate) level: Level,
    pub(crate) verify_timestamp: VerifyTimestamp,
    pub(crate) trust_stores: Vec<TrustStoreName>,
    pub(crate) identities: TrustedIdentities,
}

/// Reads a document of either kind, for images or for blobs. There are statements if and only if there are no errors.
pub(super) fn parse_statements<S>(
    file: &str,
    text: &str,
    read: impl FnMut(&mut Report<'_>, &Node) -> Option<S>,
) -> (Option<Vec<S>>, Vec<Diagnostic>) {
    if text.len() > MAX_POLICY_SIZE {
        let message = format!("the trust policy has {} bytes, more than {MAX_POLICY_SIZE}", text.len());
        return (None, vec![Diagnostic::error(file, message)]);
    }
    let mut report = Report::new(file, text);
    let statements = parse_json(&mut report, text)
        .and_then(|root| read_document(&mut report, &root, read))
        .filter(|_| !report.has_errors());
    (statements, report.finish())
}

fn read_document<S>(
    report: &mut Report<'_>,
    root: &Node,
    mut read: impl FnMut(&mut Report<'_>, &Node) -> Option<S>,
) -> Option<Vec<S>> {
    let table = report.table("a trust policy", root)?;
    warn_ignored(report, table, &["version", "trustPolicies"]);
    match table.get("version") {
        None => report.error(root.at, format!("\"version\" is missing: expected \"{VERSION}\"")),
        Some(node) => match report.text("\"version\"", node) {
            Some(VERSION) | None => {}
            Some(other) => report.error(
                node.at,
                format!("version {} is not supported: expected \"{VERSION}\"", quoted(other)),
            ),
        },
    }
    let Some(node) = table.get("trustPolicies") else {
        report.error(
            root.at,
            "\"trustPolicies\" is missing: a trust policy needs at least one statement",
        );
        return None;
    };
    let list = report.list("\"trustPolicies\"", node)?;
    if list.is_empty() {
        report.error(
            node.at,
            "\"trustPolicies\" is empty: a trust policy needs at least one statement",
        );
    }
    if list.len() > MAX_RULES {
        report.error(node.at, format!("{} statements are more than {MAX_RULES}", list.len()));
        return None;
    }
    Some(list.iter().filter_map(|item| read(report, item)).collect())
}

/// What may be in one statement of the document only.
#[derive(Default)]
struct Seen {
    names: BTreeSet<String>,
    wildcard: bool,
    repositories: BTreeSet<Repository>,
}

fn read_statement(report: &mut Report<'_>, node: &Node, seen: &mut Seen) -> Option<Statement> {
    let table = report.table("a statement", node)?;
    let known = [
        "name",
        "registryScopes",
        "signatureVerification",
        "trustStores",
        "trustedIdentities",
    ];
    if let Some(entry) = table.entry("globalPolicy") {
        report.error_with_help(
            entry.at,
            "\"globalPolicy\" belongs to a policy for blobs",
            "name the repositories in \"registryScopes\"",
        );
    }
    warn_ignored(report, table, &[&known[..], &["globalPolicy"]].concat());
    let name = read_name(report, node.at, table, &mut seen.names);
    let scopes = read_scopes(report, node.at, table, seen);
    let trust = read_signature_verification(report, node.at, table);
    let (name, scopes, trust) = (name?, scopes?, trust?);
    if trust.level == Level::Skip && scopes == Scopes::Any {
        let at = table.get("signatureVerification").map_or(node.at, |node| node.at);
        report.error_with_help(
            at,
            format!("statement {} skips verification for every repository", quoted(&name)),
            "the specification forbids \"skip\" with the scope \"*\": name the repositories",
        );
    }
    Some(Statement {
        name: name.into(),
        scopes,
        level: trust.level,
        verify_timestamp: trust.verify_timestamp,
        trust_stores: trust.trust_stores,
        identities: trust.identities,
    })
}

/// Reads the name of a statement, and adds it to those of the document.
pub(super) fn read_name(
    report: &mut Report<'_>,
    at: usize,
    table: &Table,
    names: &mut BTreeSet<String>,
) -> Option<String> {
    let Some(node) = table.get("name") else {
        report.error(at, "a statement is missing its \"name\"");
        return None;
    };
    let name = report.text("\"name\"", node)?;
    if name.is_empty() {
        report.error(node.at, "a statement's \"name\" is empty");
    } else if name.len() > MAX_POLICY_NAME_LENGTH {
        report.error(
            node.at,
            format!("the name has {} bytes, more than {MAX_POLICY_NAME_LENGTH}", name.len()),
        );
    } else if !names.insert(name.to_owned()) {
        report.error_with_help(
            node.at,
            format!("more than one statement is named {}", quoted(name)),
            "statement names must be unique",
        );
    }
    Some(name.to_owned())
}

fn read_scopes(report: &mut Report<'_>, at: usize, table: &Table, seen: &mut Seen) -> Option<Scopes> {
    let Some(node) = table.get("registryScopes") else {
        report.error(at, "a statement is missing its \"registryScopes\"");
        return None;
    };
    let texts = report.texts("\"registryScopes\"", node)?;
    if texts.is_empty() {
        report.error(
            node.at,
            "\"registryScopes\" is empty: the statement has zero registry scopes",
        );
    }
    if texts.len() > MAX_LIST_LENGTH {
        report.error(
            node.at,
            format!("{} scopes are more than {MAX_LIST_LENGTH}", texts.len()),
        );
        return None;
    }
    let alone = texts.len() == 1;
    let mut repositories = Vec::with_capacity(texts.len());
    let mut any = false;
    for (at, text) in texts {
        if text == "*" {
            any = true;
            if !alone {
                report.error(at, "the wildcard scope \"*\" cannot be used together with other scopes");
            } else if std::mem::replace(&mut seen.wildcard, true) {
                report.error(at, "the registry scope \"*\" is present in more than one statement");
            }
            continue;
        }
        let Some(repository) = read_scope(report, at, text) else {
            continue;
        };
        if seen.repositories.insert(repository.clone()) {
            repositories.push(repository);
        } else {
            report.error_with_help(
                at,
                format!("the registry scope {} is present more than once", quoted(text)),
                "a repository belongs to one statement of the document, and is named there once",
            );
        }
    }
    Some(if any {
        Scopes::Any
    } else {
        Scopes::Repositories(repositories)
    })
}

/// A scope is `domain[:port]/repository`, always with its domain: no tag, digest, scheme, prefix or wildcard.
fn read_scope(report: &mut Report<'_>, at: usize, text: &str) -> Option<Repository> {
    const HELP: &str = "expected domain[:port]/repository, without scheme, tag, digest or wildcard";
    if text.contains('*') {
        let message = format!("registry scope {} has wild cards that are not valid", quoted(text));
        report.error_with_help(at, message, "only \"*\" alone stands for every repository");
        return None;
    }
    let repository = match text.parse::<Repository>() {
        Ok(repository) if text.contains('/') => repository,
        Ok(_) => {
            let message = format!("registry scope {} is not valid: it names no registry", quoted(text));
            report.error_with_help(at, message, HELP);
            return None;
        }
        Err(error) => {
            report.error_with_help(
                at,
                format!("registry scope {} is not valid: {error}", quoted(text)),
                HELP,
            );
            return None;
        }
    };
    let domain = text.split('/').next().unwrap_or_default();
    // notation takes what stands before the first slash for a domain; everybody else for a folder on Docker Hub.
    if !(domain.contains(['.', ':']) || domain.eq_ignore_ascii_case("localhost")) {
        let message = format!(
            "registry scope {} is ambiguous: is {} a registry?",
            quoted(text),
            quoted(domain)
        );
        report.error_with_help(at, message, "write docker.io/… or the registry with its port");
        return None;
    }
    Some(repository)
}

/// Reads what a statement of either kind says about trust.
pub(super) fn read_signature_verification(report: &mut Report<'_>, at: usize, table: &Table) -> Option<Trust> {
    let Some(node) = table.get("signatureVerification") else {
        report.error(at, "a statement is missing its \"signatureVerification\"");
        return None;
    };
    let verification = report.table("\"signatureVerification\"", node)?;
    warn_ignored(report, verification, &["level", "override", "verifyTimestamp"]);
    let nodes = TrustNodes {
        at,
        level: verification.get("level"),
        overrides: verification.get("override"),
        verify_timestamp: verification.get("verifyTimestamp"),
        trust_stores: table.get("trustStores"),
        trusted_identities: table.get("trustedIdentities"),
    };
    read_trust(report, &nodes, &JSON_KEYS)
}

/// Reads the trust part of a statement, in either format.
pub(crate) fn read_trust(report: &mut Report<'_>, nodes: &TrustNodes<'_>, keys: &TrustKeys) -> Option<Trust> {
    let level = read_level(report, nodes, keys);
    let verify_timestamp = match nodes.verify_timestamp {
        None => Some(VerifyTimestamp::default()),
        Some(node) => read_verify_timestamp(report, node, keys),
    };
    let skip = level == Some(Level::Skip);
    let trust_stores = read_trust_stores(report, nodes, keys, skip);
    let identities = read_identities(report, nodes, keys, skip);
    Some(Trust {
        level: level?,
        verify_timestamp: verify_timestamp?,
        trust_stores: trust_stores?,
        identities: identities?,
    })
}

fn read_level(report: &mut Report<'_>, nodes: &TrustNodes<'_>, keys: &TrustKeys) -> Option<Level> {
    let Some(node) = nodes.level else {
        report.error(
            nodes.at,
            format!("{} is missing: expected strict, permissive, audit or skip", keys.level),
        );
        return None;
    };
    let checks = match report.text(keys.level, node)? {
        "strict" => Checks::STRICT,
        "permissive" => Checks::PERMISSIVE,
        "audit" => Checks::AUDIT,
        "skip" => {
            if let Some(overrides) = nodes.overrides {
                report.error(
                    overrides.at,
                    format!("{} has no meaning with the level skip", keys.overrides),
                );
            }
            return Some(Level::Skip);
        }
        other => {
            let message = format!(
                "level {} is unknown: expected strict, permissive, audit or skip",
                quoted(other)
            );
            report.error(node.at, message);
            return None;
        }
    };
    match nodes.overrides {
        None => Some(Level::Verify(checks)),
        Some(overrides) => read_overrides(report, overrides, keys, checks).map(Level::Verify),
    }
}

fn read_overrides(report: &mut Report<'_>, node: &Node, keys: &TrustKeys, mut checks: Checks) -> Option<Checks> {
    let table = report.table(keys.overrides, node)?;
    for entry in &table.entries {
        let Some(text) = report.text(&quoted(&entry.key), &entry.node) else {
            continue;
        };
        let action = match text {
            "enforce" => Some(RevocationAction::Enforce),
            "log" => Some(RevocationAction::Log),
            "skip" => Some(RevocationAction::Skip),
            _ => None,
        };
        let two = match action {
            Some(RevocationAction::Enforce) => Some(Action::Enforce),
            Some(RevocationAction::Log) => Some(Action::Log),
            Some(RevocationAction::Skip) | None => None,
        };
        let (valid, expected) = match entry.key.as_str() {
            "authenticity" => (two.map(|action| checks.authenticity = action), "enforce or log"),
            "authenticTimestamp" => (two.map(|action| checks.authentic_timestamp = action), "enforce or log"),
            "expiry" => (two.map(|action| checks.expiry = action), "enforce or log"),
            "revocation" => (action.map(|action| checks.revocation = action), "enforce, log or skip"),
            "integrity" => {
                report.error(entry.at, "\"integrity\" verification cannot be overridden");
                continue;
            }
            other => {
                let message = format!("check {} is unknown", quoted(other));
                let help = "expected authenticity, authenticTimestamp, expiry or revocation";
                report.error_with_help(entry.at, message, help);
                continue;
            }
        };
        if valid.is_none() {
            let message = format!("action {} for {} is not valid", quoted(text), quoted(&entry.key));
            report.error_with_help(entry.node.at, message, format!("expected {expected}"));
        }
    }
    Some(checks)
}

fn read_verify_timestamp(report: &mut Report<'_>, node: &Node, keys: &TrustKeys) -> Option<VerifyTimestamp> {
    match report.text(keys.verify_timestamp, node)? {
        // notation reads an empty value as an absent one.
        "" | "always" => Some(VerifyTimestamp::Always),
        "afterCertExpiry" => Some(VerifyTimestamp::AfterCertificateExpiry),
        other => {
            let message = format!(
                "{} {} is unknown: expected always or afterCertExpiry",
                keys.verify_timestamp,
                quoted(other)
            );
            report.error(node.at, message);
            None
        }
    }
}

fn read_trust_stores(
    report: &mut Report<'_>,
    nodes: &TrustNodes<'_>,
    keys: &TrustKeys,
    skip: bool,
) -> Option<Vec<TrustStoreName>> {
    let texts = match nodes.trust_stores {
        None => Vec::new(),
        Some(node) => report.texts(keys.trust_stores, node)?,
    };
    let at = nodes.trust_stores.map_or(nodes.at, |node| node.at);
    if skip && !texts.is_empty() {
        report.error(at, format!("{} has no meaning with the level skip", keys.trust_stores));
    }
    if !skip && texts.is_empty() {
        let help = "a level other than skip needs trust stores and trusted identities";
        report.error_with_help(at, format!("{} is missing or empty", keys.trust_stores), help);
    }
    if texts.len() > MAX_LIST_LENGTH {
        report.error(
            at,
            format!("{} trust stores are more than {MAX_LIST_LENGTH}", texts.len()),
        );
        return None;
    }
    let mut stores: Vec<TrustStoreName> = Vec::with_capacity(texts.len());
    for (at, text) in texts {
        let name: Result<TrustStoreName, ParseTrustStoreNameError> = text.parse();
        match name {
            Ok(name) if stores.contains(&name) => {
                report.warning(
                    at,
                    format!("the trust store {} is named twice", quoted(text)),
                    "remove one",
                );
            }
            Ok(name) => stores.push(name),
            Err(error) => report.error(at, error.to_string()),
        }
    }
    let is_timestamp = |name: &TrustStoreName| name.kind == TrustStoreKind::TimestampAuthority;
    if !stores.is_empty() && stores.iter().all(is_timestamp) {
        report.warning(
            at,
            format!(
                "{} names timestamp stores only: no signer is trusted",
                keys.trust_stores
            ),
            "add a store of the type ca or signingAuthority",
        );
    }
    if let Some(node) = nodes.verify_timestamp.filter(|_| !stores.iter().any(is_timestamp)) {
        report.warning(
            node.at,
            format!("{} has no effect: no timestamp store is named", keys.verify_timestamp),
            format!("add a store of the type tsa to {}, or remove it", keys.trust_stores),
        );
    }
    Some(stores)
}

fn read_identities(
    report: &mut Report<'_>,
    nodes: &TrustNodes<'_>,
    keys: &TrustKeys,
    skip: bool,
) -> Option<TrustedIdentities> {
    let texts = match nodes.trusted_identities {
        None => Vec::new(),
        Some(node) => report.texts(keys.trusted_identities, node)?,
    };
    let at = nodes.trusted_identities.map_or(nodes.at, |node| node.at);
    if skip {
        if !texts.is_empty() {
            report.error(
                at,
                format!("{} has no meaning with the level skip", keys.trusted_identities),
            );
        }
        return Some(TrustedIdentities::nobody());
    }
    if texts.is_empty() {
        let help = "a level other than skip needs trust stores and trusted identities";
        report.error_with_help(at, format!("{} is missing or empty", keys.trusted_identities), help);
        return None;
    }
    if texts.len() > MAX_LIST_LENGTH {
        report.error(
            at,
            format!("{} trusted identities are more than {MAX_LIST_LENGTH}", texts.len()),
        );
        return None;
    }
    let items: Vec<&str> = texts.iter().map(|(_, text)| *text).collect();
    match TrustedIdentities::parse(&items, keys.identity_kinds) {
        Ok(identities) => {
            for (at, text) in texts {
                if TrustedIdentities::is_for_plugins(text, keys.identity_kinds) {
                    let message = format!("only a plugin can judge the trusted identity {}", quoted(text));
                    let help = "signatures that name no plugin with this capability are not trusted by it";
                    report.warning(at, message, help);
                }
            }
            Some(identities)
        }
        Err(problems) => {
            for problem in problems {
                let at = texts.get(problem.index).map_or(at, |(at, _)| *at);
                report.error(at, problem.error.to_string());
            }
            None
        }
    }
}

/// Keys that notation ignores, and keys that it reads although they are spelled in another case.
pub(super) fn warn_ignored(report: &mut Report<'_>, table: &Table, known: &[&str]) {
    for entry in report.unknown(table, known) {
        let folded = fold_key(&entry.key);
        match known.iter().find(|known| fold_key(known) == folded) {
            Some(meant) => report.error_with_help(
                entry.at,
                format!("key {} differs from \"{meant}\" in case", quoted(&entry.key)),
                format!("notation reads it as \"{meant}\", other readers ignore it: write \"{meant}\""),
            ),
            None => {
                let message = format!("unknown key {}", quoted(&entry.key));
                report.warning(
                    entry.at,
                    message,
                    "notation ignores it: remove it, or correct its spelling",
                );
            }
        }
    }
}
