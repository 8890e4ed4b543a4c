//! The policy document: TOML into types that can only hold a policy with a meaning.
//!
//! Everything is checked here, and everything wrong is reported at once. Unknown keys are errors: a misspelled condition
//! would make a rule mean something else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::attestations::{self, Named, read_attestations};
use super::conditions::{self, Conditions};
use super::cosign::CosignDocument;
use super::cosign::read::read_cosign;
use super::duration::read_duration;
use super::pattern::Pattern;
use super::reachability::{Unreachable, unreachable};
use super::reference;
use crate::attestation::AttestationRequirement;
use crate::digest::Digest;
use crate::document::{Diagnostic, Entry, Known, Node, Place, Report, Table, Value, parse_toml, quoted};
use crate::limits::{
    MAX_LIST_LENGTH, MAX_PATTERN_COMPARISONS, MAX_POLICY_NAME_LENGTH, MAX_POLICY_SIZE, MAX_POLL_INTERVAL, MAX_RULES,
    MIN_POLL_INTERVAL,
};
use crate::notation::identity::IdentityKinds;
use crate::notation::statement::Level;
use crate::notation::trust_policy::{Scopes, Statement, TrustKeys, TrustNodes, read_trust};
use crate::untrusted::Untrusted;

#[cfg(test)]
mod tests;

/// The only version of the document.
const VERSION: i64 = 1;

/// A valid policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    unmatched: Unmatched,
    poll_interval: Option<Duration>,
    rules: Vec<Rule>,
    authorities: BTreeMap<AuthorityName, AuthorityDocument>,
}

/// What reading a document gives. There is a policy if and only if there are no errors.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The policy.
    pub policy: Option<Policy>,
    /// Every error and warning, in the order of the document.
    pub diagnostics: Vec<Diagnostic>,
}

/// What happens to images that no rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unmatched {
    /// They are admitted.
    Admit,
    /// They are admitted, and it is said that they would have been denied.
    Audit,
    /// They are denied.
    Deny,
}

impl Unmatched {
    /// The word in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Audit => "audit",
            Self::Deny => "deny",
        }
    }
}

/// Whether a rule's denials are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A denial is only said.
    Audit,
    /// A denial is a denial.
    #[default]
    Enforce,
}

/// A rule: for which images it is, and what it means for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    name: Box<str>,
    images: Option<Vec<Pattern>>,
    digests: Option<BTreeSet<Digest>>,
    effect: Effect,
    mode: Mode,
}

/// What a rule means for its images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// These digests are admitted, all others denied.
    AdmitDigests(BTreeSet<Digest>),
    /// Denied, for this reason, whatever the evidence.
    Deny(Box<str>),
    /// Admitted with evidence.
    Require {
        /// The evidence.
        requirements: Requirements,
        /// Digests that need none.
        admit_digests: BTreeSet<Digest>,
        /// What is asked of every signature.
        conditions: Conditions,
        /// Whether signatures on every child of an index that this node could run count as one on the index.
        accept_platform_signatures: bool,
        /// Whether a signature counts although the authority's level only logged that it is not authentic, or skipped
        /// its verification.
        accept_unverified: bool,
    },
}

/// The evidence that a rule asks for: signatures, attestations, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements {
    signatures: Option<Requirement>,
    attestations: Vec<AttestationRequirement>,
}

/// Which authorities have to vouch for an image: at least one of at least one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    authorities: Vec<AuthorityName>,
    needed: usize,
}

/// The name of an authority: letters, digits, `-`, `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityName(Box<str>);

/// Text that is no name of an authority.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("authority name \"{0}\" is not valid: expected at most {MAX_POLICY_NAME_LENGTH} letters, digits, '-' and '_'")]
pub struct ParseAuthorityNameError(Untrusted);

/// An authority as the document describes it. Its files are not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityDocument {
    /// What is trusted.
    pub source: AuthoritySource,
    /// Whether the files of its trust stores may be symbolic links that stay inside the store.
    pub follow_symlinks: bool,
    /// Where in the document it is described.
    pub place: Place,
}

/// What an authority trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthoritySource {
    /// One statement for every repository, with trust stores in the folder `notation` beside the policy.
    Notation(Statement),
    /// A standard Notation configuration folder, relative to the folder of the policy.
    NotationFolder(Box<str>),
    /// What cosign signs: keys or identities.
    Cosign(Box<CosignDocument>),
}

impl Policy {
    /// Reads a document. `file` is its name in the diagnostics.
    pub fn parse(file: &str, text: &str) -> Parsed {
        if text.len() > MAX_POLICY_SIZE {
            let message = format!("the policy has {} bytes, more than {MAX_POLICY_SIZE}", text.len());
            return Parsed {
                policy: None,
                diagnostics: vec![Diagnostic::error(file, message)],
            };
        }
        let mut report = Report::new(file, text);
        let policy = parse_toml(&mut report, text).and_then(|table| read_policy(&mut report, &table));
        Parsed {
            policy: policy.filter(|_| !report.has_errors()),
            diagnostics: report.finish(),
        }
    }

    /// What happens to images that no rule is for.
    pub fn unmatched(&self) -> Unmatched {
        self.unmatched
    }

    /// How often nodes are to ask the policy repository that this document came from, where it says so. A node has bounds of
    /// its own.
    pub fn poll_interval(&self) -> Option<Duration> {
        self.poll_interval
    }

    /// The rules in the order in which they are tried.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The authorities that rules may name.
    pub fn authorities(&self) -> &BTreeMap<AuthorityName, AuthorityDocument> {
        &self.authorities
    }
}

impl Rule {
    /// Its name, unique in its policy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The patterns of which one has to match, where the rule has any.
    pub fn images(&self) -> Option<&[Pattern]> {
        self.images.as_deref()
    }

    /// The digests of which the image has to be one, where the rule has any.
    pub fn digests(&self) -> Option<&BTreeSet<Digest>> {
        self.digests.as_ref()
    }

    /// What it means for its images.
    pub fn effect(&self) -> &Effect {
        &self.effect
    }

    /// Whether its denials are carried out. A rule that states a reason to deny always enforces it.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What it asks of every signature; nothing where it asks for none.
    pub fn conditions(&self) -> Option<&Conditions> {
        match &self.effect {
            Effect::Require { conditions, .. } => Some(conditions),
            Effect::AdmitDigests(_) | Effect::Deny(_) => None,
        }
    }

    /// Whether signatures on every child of an index that this node could run count as one on the index.
    pub fn accepts_platform_signatures(&self) -> bool {
        matches!(
            self.effect,
            Effect::Require {
                accept_platform_signatures: true,
                ..
            }
        )
    }

    /// Whether a signature counts although its authenticity was only logged or not verified.
    pub fn accepts_unverified(&self) -> bool {
        matches!(
            self.effect,
            Effect::Require {
                accept_unverified: true,
                ..
            }
        )
    }
}

impl Requirements {
    /// Both. Nothing where neither asks for anything: no evidence is no requirement.
    pub fn new(signatures: Option<Requirement>, attestations: Vec<AttestationRequirement>) -> Option<Self> {
        (signatures.is_some() || !attestations.is_empty()).then_some(Self {
            signatures,
            attestations,
        })
    }

    /// Which authorities have to have signed the image, where any has to.
    pub fn signatures(&self) -> Option<&Requirement> {
        self.signatures.as_ref()
    }

    /// The attestations, each of which has to be there.
    pub fn attestations(&self) -> &[AttestationRequirement] {
        &self.attestations
    }

    /// Every authority that has a part in it.
    pub fn authorities(&self) -> impl Iterator<Item = &AuthorityName> {
        let signers = self.signatures.iter().flat_map(Requirement::authorities);
        signers.chain(self.attestations.iter().map(AttestationRequirement::authority))
    }
}

impl Requirement {
    /// At least `needed` of these authorities. Nothing unless there are so many, all different, and at least one is
    /// needed.
    pub fn at_least(needed: usize, authorities: Vec<AuthorityName>) -> Option<Self> {
        let different: BTreeSet<&AuthorityName> = authorities.iter().collect();
        let valid = needed > 0 && needed <= authorities.len() && different.len() == authorities.len();
        valid.then_some(Self { authorities, needed })
    }

    /// The authorities, at least one, all different.
    pub fn authorities(&self) -> &[AuthorityName] {
        &self.authorities
    }

    /// How many have to vouch: at least one, at most all.
    pub fn needed(&self) -> usize {
        self.needed
    }
}

impl AuthorityName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AuthorityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AuthorityName {
    type Err = ParseAuthorityNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if text.is_empty() || text.len() > MAX_POLICY_NAME_LENGTH || !text.bytes().all(allowed) {
            return Err(ParseAuthorityNameError(text.into()));
        }
        Ok(Self(text.into()))
    }
}

fn read_policy(report: &mut Report<'_>, table: &Table) -> Option<Policy> {
    let table = report.known(table, &reference::DOCUMENT);
    match table.get("version") {
        None => report.error_with_help(0, "version is missing", format!("begin with: version = {VERSION}")),
        Some(node) => match report.integer("version", node) {
            Some(VERSION) | None => {}
            Some(other) => report.error(node.at, format!("version {other} is not supported: expected {VERSION}")),
        },
    }
    let unmatched = read_unmatched(report, table);
    let poll_interval = match table.get("poll_interval") {
        None => Some(None),
        Some(node) => {
            let range = MIN_POLL_INTERVAL..=MAX_POLL_INTERVAL;
            read_duration(report, "poll_interval", node, range, "\"60s\"").map(Some)
        }
    };
    let authorities = read_authorities(report, table);
    let rules = read_rules(report, table, &authorities);
    let unmatched = unmatched?;
    let poll_interval = poll_interval?;
    // Read with the places of the rules, which a rule itself does not keep.
    let (places, rules): (Vec<usize>, Vec<Option<Rule>>) = rules.into_iter().unzip();
    let rules: Vec<Rule> = rules.into_iter().collect::<Option<_>>()?;
    warn(report, table, unmatched, &rules, &places, &authorities);
    let authorities = authorities
        .into_iter()
        .filter_map(|(name, authority)| Some((name, authority.document?)))
        .collect();
    Some(Policy {
        unmatched,
        poll_interval,
        rules,
        authorities,
    })
}

fn read_unmatched(report: &mut Report<'_>, table: Known<'_>) -> Option<Unmatched> {
    const HELP: &str = "unmatched says what happens to images that no rule is for: \"deny\", \"audit\" or \"admit\"";
    let Some(node) = table.get("unmatched") else {
        report.error_with_help(0, "unmatched is missing", HELP);
        return None;
    };
    match report.text("unmatched", node)? {
        "admit" => Some(Unmatched::Admit),
        "audit" => Some(Unmatched::Audit),
        "deny" => Some(Unmatched::Deny),
        other => {
            report.error_with_help(node.at, format!("unmatched cannot be {}", quoted(other)), HELP);
            None
        }
    }
}

/// An authority of the document: its place, and its description if that is valid.
struct ReadAuthority {
    at: usize,
    document: Option<AuthorityDocument>,
}

impl ReadAuthority {
    /// Its description, where it is of the type cosign.
    fn cosign(&self) -> Option<&CosignDocument> {
        match &self.document.as_ref()?.source {
            AuthoritySource::Cosign(cosign) => Some(cosign),
            AuthoritySource::Notation(_) | AuthoritySource::NotationFolder(_) => None,
        }
    }

    /// Whether it is known to be of the type notation.
    fn is_notation(&self) -> bool {
        let source = self.document.as_ref().map(|document| &document.source);
        source.is_some_and(|source| !matches!(source, AuthoritySource::Cosign(_)))
    }
}

/// The authorities by name, invalid ones too: a rule that names one of those is not wrong itself.
fn read_authorities(report: &mut Report<'_>, table: Known<'_>) -> BTreeMap<AuthorityName, ReadAuthority> {
    let mut authorities = BTreeMap::new();
    let Some(node) = table.get("authority") else {
        return authorities;
    };
    let Some(table) = report.table("authority", node) else {
        return authorities;
    };
    if table.entries.len() > MAX_RULES {
        report.error(
            node.at,
            format!("{} authorities are more than {MAX_RULES}", table.entries.len()),
        );
        return authorities;
    }
    for entry in &table.entries {
        match entry.key.parse::<AuthorityName>() {
            Ok(name) => {
                let document = read_authority(report, &name, entry);
                authorities.insert(name, ReadAuthority { at: entry.at, document });
            }
            Err(error) => report.error(entry.at, error.to_string()),
        }
    }
    authorities
}

const TRUST_KEYS: TrustKeys = TrustKeys {
    level: "level",
    overrides: "override",
    verify_timestamp: "verify_timestamp",
    trust_stores: "trust_stores",
    trusted_identities: "trusted_identities",
    identity_kinds: IdentityKinds::Extended,
};

fn read_authority(report: &mut Report<'_>, name: &AuthorityName, entry: &Entry) -> Option<AuthorityDocument> {
    let table = report.table(&format!("authority {name}"), &entry.node)?;
    let Some(kind) = table.get("type") else {
        report.error_with_help(
            entry.at,
            format!("authority {name} is missing its type"),
            "write: type = \"notation\" or type = \"cosign\"",
        );
        return None;
    };
    let place = report.place(entry.at);
    match report.text("type", kind)? {
        "notation" => {}
        "cosign" => {
            let document = read_cosign(report, name.as_str(), entry.at, table)?;
            return Some(AuthorityDocument {
                source: AuthoritySource::Cosign(Box::new(document)),
                follow_symlinks: false,
                place,
            });
        }
        other => {
            let message = format!("authority type {} is unknown", quoted(other));
            report.error_with_help(kind.at, message, "the supported types are \"notation\" and \"cosign\"");
            return None;
        }
    }
    let inline = [
        "trust_stores",
        "trusted_identities",
        "level",
        "override",
        "verify_timestamp",
    ];
    let table = report.known(table, &reference::NOTATION);
    let follow_symlinks = match table.get("follow_symlinks") {
        None => false,
        Some(node) => report.boolean("follow_symlinks", node)?,
    };
    let Some(config) = table.entry("config") else {
        return read_statement(report, name, entry.at, table).map(|statement| AuthorityDocument {
            source: AuthoritySource::Notation(statement),
            follow_symlinks,
            place,
        });
    };
    for key in inline {
        if let Some(entry) = table.entry(key) {
            report.error_with_help(
                entry.at,
                format!("{key} cannot stand beside config"),
                format!("remove config and describe the authority here, or set {key} in the folder's trustpolicy.json"),
            );
        }
    }
    let folder = report.text("config", &config.node)?;
    if folder.is_empty() || folder.contains('\0') {
        report.error_with_help(
            config.node.at,
            "config names no folder",
            "write the folder that holds trustpolicy.json and truststore/, for example \"/etc/notation\"",
        );
        return None;
    }
    Some(AuthorityDocument {
        source: AuthoritySource::NotationFolder(folder.into()),
        follow_symlinks,
        place,
    })
}

fn read_statement(report: &mut Report<'_>, name: &AuthorityName, at: usize, table: Known<'_>) -> Option<Statement> {
    let nodes = TrustNodes {
        at,
        level: table.get("level"),
        overrides: table.get("override"),
        verify_timestamp: table.get("verify_timestamp"),
        trust_stores: table.get("trust_stores"),
        trusted_identities: table.get("trusted_identities"),
    };
    let trust = read_trust(report, &nodes, &TRUST_KEYS)?;
    if trust.level == Level::Skip {
        report.error_with_help(
            nodes.level.map_or(at, |node| node.at),
            format!("authority {name} verifies nothing: its level is skip"),
            "use strict, permissive or audit, or admit images without evidence by admit_digests in a rule",
        );
    }
    Some(Statement {
        name: name.as_str().into(),
        scopes: Scopes::Any,
        level: trust.level,
        verify_timestamp: trust.verify_timestamp,
        trust_stores: trust.trust_stores,
        identities: trust.identities,
    })
}

type Authorities = BTreeMap<AuthorityName, ReadAuthority>;

fn read_rules(report: &mut Report<'_>, table: Known<'_>, authorities: &Authorities) -> Vec<(usize, Option<Rule>)> {
    let Some(node) = table.get("rule") else {
        return Vec::new();
    };
    if matches!(node.value, Value::Table(_)) {
        report.error_with_help(node.at, "rule is one table", "rules are a list: write [[rule]]");
        return vec![(node.at, None)];
    }
    let Some(list) = report.list("rule", node) else {
        return vec![(node.at, None)];
    };
    if list.len() > MAX_RULES {
        report.error(node.at, format!("{} rules are more than {MAX_RULES}", list.len()));
        return vec![(node.at, None)];
    }
    let mut names = BTreeMap::new();
    list.iter()
        .map(|node| (node.at, read_rule(report, node, authorities, &mut names)))
        .collect()
}

fn read_rule(
    report: &mut Report<'_>,
    node: &Node,
    authorities: &Authorities,
    names: &mut BTreeMap<String, usize>,
) -> Option<Rule> {
    let table = report.table("a rule", node)?;
    let table = report.known(table, &reference::RULE);
    refuse_later_keys(report, table);
    let name = read_rule_name(report, node.at, table, names);
    let shown = name
        .as_deref()
        .map_or_else(|| "a rule".to_owned(), |name| format!("rule {}", quoted(name)));
    let images = read_patterns(report, "images", table);
    let digests = read_digests(report, "digests", table);
    let conditions = match (images, digests) {
        (Some(None), Some(None)) => {
            report.error_with_help(
                node.at,
                format!("{shown} has no condition"),
                "add images = [\"…\"] or digests = [\"sha256:…\"]; \"**\" is every image",
            );
            None
        }
        (images, digests) => images.zip(digests),
    };
    let effect = read_effect(report, node.at, &shown, table, authorities);
    let mode = read_choice(
        report,
        "mode",
        table,
        &[("enforce", Mode::Enforce), ("audit", Mode::Audit)],
    );
    if let (Some(Effect::Deny(_)), Some(Mode::Audit), Some(node)) = (&effect, mode, table.get("mode")) {
        report.error_with_help(
            node.at,
            format!("{shown} denies, and audit never overrides a deny"),
            "remove the mode, or the rule",
        );
    }
    let (images, digests) = conditions?;
    Some(Rule {
        name: name?.into(),
        images,
        digests: digests.map(|digests| digests.into_iter().collect()),
        effect: effect?,
        mode: mode?,
    })
}

/// Keys that have a meaning which this version cannot give them. Ignoring them would change the rule.
fn refuse_later_keys(report: &mut Report<'_>, table: Known<'_>) {
    let later = [
        (
            "namespaces",
            "rules by namespace are not supported: the containerd hook does not know the namespace of a pod",
            "match by images or digests",
        ),
        (
            "tags",
            "rules by tag are not supported: a tag says nothing reliable about what is unpacked",
            "match by images or digests",
        ),
    ];
    for (key, message, help) in later {
        if let Some(entry) = table.entry(key) {
            report.error_with_help(entry.at, message, help);
        }
    }
}

fn read_rule_name(
    report: &mut Report<'_>,
    at: usize,
    table: Known<'_>,
    names: &mut BTreeMap<String, usize>,
) -> Option<String> {
    let Some(node) = table.get("name") else {
        report.error_with_help(at, "a rule is missing its name", "add: name = \"…\"; denials show it");
        return None;
    };
    let name = report.shown("name", node, MAX_POLICY_NAME_LENGTH)?;
    if let Some(first) = names.insert(name.to_owned(), node.at) {
        let line = report.place(first).line;
        let message = format!("more than one rule is named {}", quoted(name));
        report.error_with_help(node.at, message, format!("the other is in line {line}: rename one"));
    }
    Some(name.to_owned())
}

fn read_effect(
    report: &mut Report<'_>,
    at: usize,
    shown: &str,
    table: Known<'_>,
    authorities: &Authorities,
) -> Option<Effect> {
    const HELP: &str = "write one of: deny = \"reason\", require = { all = [\"…\"] }, require_attestations = [{ … }], \
                        admit_digests = [\"sha256:…\"]";
    let admit_digests = read_digests(report, "admit_digests", table);
    let requirement = table
        .get("require")
        .map(|node| read_requirement(report, node, authorities));
    let attested = table.get(attestations::KEY).map(|node| {
        read_attestations(report, node, |name| match authorities.get(name) {
            None => Named::Unknown,
            Some(authority) if authority.is_notation() => Named::Notation,
            Some(_) => Named::Cosign,
        })
    });
    let conditions = conditions::read_conditions(report, table);
    let mut flag = |key| match table.get(key) {
        None => Some(false),
        Some(node) => report.boolean(key, node),
    };
    let accept_unverified = flag("accept_unverified");
    let accept_platform_signatures = flag("accept_platform_signatures");
    if requirement.is_none() && attested.is_some() {
        // What these ask of, or allow for, are signatures: a statement has neither.
        for key in ["annotations", "accept_unverified"] {
            if let Some(entry) = table.entry(key) {
                let message = format!("{key} has no meaning in {shown}: it requires no signature");
                report.error_with_help(entry.at, message, "remove it, or add require");
            }
        }
    }
    if requirement.is_none() && attested.is_none() {
        let flags = ["accept_unverified", "accept_platform_signatures"];
        for key in conditions::KEYS.into_iter().chain(flags) {
            if let Some(entry) = table.entry(key) {
                let message = format!("{key} has no meaning in {shown}: it requires no evidence");
                report.error_with_help(entry.at, message, "remove it, or add require");
            }
        }
    }
    if let Some(node) = table.get("deny") {
        for key in ["require", attestations::KEY, "admit_digests"] {
            if let Some(entry) = table.entry(key) {
                let message = format!("{shown} both denies and has {key}");
                report.error_with_help(entry.at, message, "a deny has no exceptions: put another rule above it");
            }
        }
        let reason = report.shown("the reason to deny", node, MAX_POLICY_NAME_LENGTH)?;
        return Some(Effect::Deny(reason.into()));
    }
    let admit_digests = admit_digests?;
    if requirement.is_none() && attested.is_none() {
        let Some(digests) = admit_digests else {
            report.error_with_help(at, format!("{shown} has no effect"), HELP);
            return None;
        };
        return Some(Effect::AdmitDigests(digests.into_iter().collect()));
    }
    // What is there and cannot be read is a problem, never the same as what is not there.
    let signatures = match requirement {
        None => None,
        Some(read) => Some(read?),
    };
    let attestations = match attested {
        None => Vec::new(),
        Some(read) => read?,
    };
    Some(Effect::Require {
        requirements: Requirements::new(signatures, attestations)?,
        admit_digests: admit_digests.unwrap_or_default().into_iter().collect(),
        conditions: conditions?,
        accept_platform_signatures: accept_platform_signatures?,
        accept_unverified: accept_unverified?,
    })
}

fn read_requirement(report: &mut Report<'_>, node: &Node, authorities: &Authorities) -> Option<Requirement> {
    const HELP: &str =
        "write { all = [\"…\"] }, { any = [\"…\"] } or { at_least = 2, of = [\"…\", \"…\"] } with names of authorities";
    let Value::Table(table) = &node.value else {
        report.error_with_help(
            node.at,
            format!("require must be a table, not {}", node.value.kind()),
            HELP,
        );
        return None;
    };
    let table = report.known(table, &reference::REQUIRE);
    let keys: Vec<&str> = ["all", "any", "at_least", "of"]
        .into_iter()
        .filter(|key| table.get(key).is_some())
        .collect();
    let list = match keys[..] {
        ["all"] => "all",
        ["any"] => "any",
        ["at_least", "of"] => "of",
        _ => {
            report.error_with_help(
                node.at,
                "require must be exactly one of all, any, and at_least with of",
                HELP,
            );
            return None;
        }
    };
    let list_node = table.get(list)?;
    let names = read_authority_names(report, list, list_node, authorities);
    let count = match &list_node.value {
        Value::List(items) => items.len(),
        _ => 0,
    };
    let needed = match (list, table.get("at_least")) {
        ("all", _) => Some(count),
        (_, None) => Some(1),
        (_, Some(node)) => {
            let needed = report.integer("at_least", node)?;
            let valid = usize::try_from(needed)
                .ok()
                .filter(|needed| (1..=count).contains(needed));
            if valid.is_none() && count > 0 {
                let message = format!("at_least is {needed}, but of has {count}");
                report.error_with_help(node.at, message, format!("expected 1 to {count}"));
            }
            valid
        }
    };
    Requirement::at_least(needed?, names?)
}

fn read_authority_names(
    report: &mut Report<'_>,
    key: &str,
    node: &Node,
    authorities: &Authorities,
) -> Option<Vec<AuthorityName>> {
    let texts = report.texts(key, node)?;
    if texts.is_empty() {
        report.error_with_help(node.at, format!("{key} is empty"), "name at least one authority");
        return None;
    }
    if texts.len() > MAX_LIST_LENGTH {
        report.error(
            node.at,
            format!("{key} has {} items, more than {MAX_LIST_LENGTH}", texts.len()),
        );
        return None;
    }
    let count = texts.len();
    let mut seen = BTreeSet::new();
    let mut names = Vec::with_capacity(count);
    for (at, text) in texts {
        match text.parse::<AuthorityName>() {
            Ok(name) if !seen.insert(name.clone()) => {
                report.error_with_help(
                    at,
                    format!("authority {name} is named twice"),
                    "one authority counts once",
                );
            }
            Ok(name) if authorities.contains_key(&name) => names.push(name),
            Ok(name) => {
                let known: Vec<&str> = authorities.keys().map(AuthorityName::as_str).take(10).collect();
                let help = match &known[..] {
                    [] => format!("add [authority.{name}]"),
                    known => format!("add [authority.{name}], or use one of: {}", known.join(", ")),
                };
                report.error_with_help(at, format!("authority {name} is not defined"), help);
            }
            Err(error) => report.error(at, error.to_string()),
        }
    }
    (names.len() == count).then_some(names)
}

pub(super) fn read_patterns(report: &mut Report<'_>, key: &str, table: Known<'_>) -> Option<Option<Vec<Pattern>>> {
    read_optional_list(report, key, table, |text| {
        text.parse::<Pattern>().map_err(|error| error.to_string())
    })
}

pub(super) fn read_digests(report: &mut Report<'_>, key: &str, table: Known<'_>) -> Option<Option<Vec<Digest>>> {
    read_optional_list(report, key, table, |text| {
        text.parse::<Digest>().map_err(|error| error.to_string())
    })
}

/// A list that may be absent, but not empty. Items that are there twice are errors.
pub(super) fn read_optional_list<T: PartialEq + Clone + Ord>(
    report: &mut Report<'_>,
    key: &str,
    table: Known<'_>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<Option<Vec<T>>> {
    let Some(node) = table.get(key) else {
        return Some(None);
    };
    let texts = report.texts(key, node)?;
    if texts.is_empty() {
        report.error_with_help(
            node.at,
            format!("{key} is empty"),
            "an empty list has no meaning: add items or remove it",
        );
        return None;
    }
    if texts.len() > MAX_LIST_LENGTH {
        report.error(
            node.at,
            format!("{key} has {} items, more than {MAX_LIST_LENGTH}", texts.len()),
        );
        return None;
    }
    let count = texts.len();
    let mut seen = BTreeSet::new();
    let mut items = Vec::with_capacity(count);
    for (at, text) in texts {
        match parse(text) {
            Ok(item) if seen.insert(item.clone()) => items.push(item),
            Ok(_) => report.error_with_help(at, format!("{} is in {key} twice", quoted(text)), "remove one"),
            Err(error) => report.error(at, error),
        }
    }
    (items.len() == count).then_some(Some(items))
}

/// One of a few words, or the default when the key is absent.
fn read_choice<T: Copy + Default>(
    report: &mut Report<'_>,
    key: &str,
    table: Known<'_>,
    choices: &[(&str, T)],
) -> Option<T> {
    let Some(node) = table.get(key) else {
        return Some(T::default());
    };
    let text = report.text(key, node)?;
    let found = choices.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let message = format!("{key} cannot be {}", quoted(text));
        report.error_with_help(node.at, message, format!("expected {}", words.join(" or ")));
    }
    found.map(|(_, choice)| *choice)
}

/// What is valid and probably not meant.
fn warn(
    report: &mut Report<'_>,
    table: Known<'_>,
    unmatched: Unmatched,
    rules: &[Rule],
    places: &[usize],
    authorities: &Authorities,
) {
    let at = |position: usize| places.get(position).copied().unwrap_or(0);
    let unmatched_at = table.get("unmatched").map_or(0, |node| node.at);
    if unmatched == Unmatched::Admit {
        report.warning(
            unmatched_at,
            "images that no rule is for are admitted without evidence",
            "use \"audit\" to find out which, then \"deny\"",
        );
    }
    let Unreachable {
        rules: found,
        unsearched,
    } = unreachable(rules, MAX_PATTERN_COMPARISONS);
    for (position, covering) in found {
        let (Some(rule), Some(other)) = (rules.get(position), rules.get(covering)) else {
            continue;
        };
        let message = format!(
            "rule {} can never decide: rules above are for all its images",
            quoted(&rule.name)
        );
        let line = report.place(at(covering)).line;
        let help = format!(
            "move it above rule {} in line {line}, or remove it",
            quoted(&other.name)
        );
        report.warning(at(position), message, help);
    }
    if let Some(position) = unsearched {
        let message = "the policy is too large to search for rules that can never decide from here on";
        report.warning(at(position), message, "use fewer, wider patterns");
    }
    for (position, rule) in rules.iter().enumerate() {
        let by_name = rule.digests.is_none() && matches!(rule.effect, Effect::Deny(_));
        if by_name && unmatched != Unmatched::Deny {
            let message = format!(
                "rule {} is no boundary: the same image under another name is admitted",
                quoted(&rule.name)
            );
            report.warning(at(position), message, "deny by digests, or set unmatched = \"deny\"");
        }
    }
    for (position, rule) in rules.iter().enumerate() {
        warn_of_cosign(report, at(position), rule, authorities);
    }
    let used: BTreeSet<&AuthorityName> = rules
        .iter()
        .filter_map(|rule| match &rule.effect {
            Effect::Require { requirements, .. } => Some(requirements.authorities()),
            Effect::AdmitDigests(_) | Effect::Deny(_) => None,
        })
        .flatten()
        .collect();
    for (name, authority) in authorities {
        if !used.contains(name) {
            report.warning(
                authority.at,
                format!("no rule requires authority {name}"),
                "name it in a rule, or remove it",
            );
        }
    }
}

/// What a rule says, and authorities of the type cosign give no meaning.
fn warn_of_cosign(report: &mut Report<'_>, at: usize, rule: &Rule, authorities: &Authorities) {
    let Effect::Require {
        requirements,
        conditions,
        accept_unverified,
        ..
    } = &rule.effect
    else {
        return;
    };
    let cosign = |name: &AuthorityName| authorities.get(name).and_then(ReadAuthority::cosign);
    let shown = quoted(&rule.name);
    if requirements.authorities().all(|name| cosign(name).is_some()) {
        // Where no signature is required, it is an error.
        if *accept_unverified && requirements.signatures().is_some() {
            let message =
                format!("accept_unverified changes nothing in rule {shown}: its authorities are of the type cosign");
            report.warning(
                at,
                message,
                "remove it: what it allows for are levels of the type notation",
            );
        }
        if !conditions.revocation_grace.is_zero() {
            let message =
                format!("revocation_grace changes nothing in rule {shown}: its authorities are of the type cosign");
            report.warning(
                at,
                message,
                "remove it and on_inconclusive: nobody is asked about revocation",
            );
        }
    }
    let attestors: BTreeSet<_> = requirements
        .attestations()
        .iter()
        .map(AttestationRequirement::authority)
        .collect();
    for name in attestors {
        if cosign(name).is_some_and(|authority| !authority.annotations.is_empty()) {
            let message =
                format!("the annotations of authority {name} are not asked of the attestations in rule {shown}");
            report.warning(at, message, "ask for what an attestation has to say by equals or cel");
        }
    }
}
