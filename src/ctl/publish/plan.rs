//! `publish.toml`: who signs what, how many of them have to, and how long it counts.
//!
//! Read strictly: every problem with its place, and an unknown key is one.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;
use toml::Spanned;

use assay_verify::document::{Diagnostic, Place};
use assay_verify::limits::{MAX_FLEET_LIFETIME, MAX_POLICY_SIZE};
use assay_verify::policy::AuthorityName;
use assay_verify::untrusted::Untrusted;

use super::Stop;
use super::folder::{self, Folder};
use super::keys::PublicKey;
use crate::sync::{Channel, Role};

/// The roles that a repository has, each before those that name its metadata.
pub(super) const ROLES: [Role; 6] = [
    Role::Root,
    Role::Targets,
    Role::Revocations,
    Role::Exceptions,
    Role::Snapshot,
    Role::Timestamp,
];

/// How a fleet's repository is published.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) channels: BTreeSet<Channel>,
    /// Where nodes find it.
    pub(super) url: Option<String>,
    /// By their names.
    pub(super) keys: BTreeMap<String, PublicKey>,
    pub(super) roles: BTreeMap<Role, RolePlan>,
}

/// Who signs for a role.
#[derive(Clone, Debug)]
pub(super) struct RolePlan {
    /// Names of keys.
    pub(super) keys: Vec<String>,
    /// How many of them have to.
    pub(super) threshold: NonZeroU64,
    /// How long what they sign counts.
    pub(super) lifetime: Duration,
}

/// How long a role's metadata counts, unless the plan says otherwise: what offline keys sign outlives a holiday, and what
/// says that nothing is newer is signed every hour.
pub(super) const fn default_lifetime(role: Role) -> &'static str {
    match role {
        Role::Root => "365d",
        Role::Targets | Role::Snapshot | Role::Revocations | Role::Exceptions => "90d",
        Role::Timestamp => "24h",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: Spanned<i64>,
    channels: Vec<Spanned<String>>,
    url: Option<String>,
    #[serde(default)]
    key: BTreeMap<Spanned<String>, KeyTable>,
    role: BTreeMap<Spanned<String>, RoleTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTable {
    id: Option<Spanned<String>>,
    public: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleTable {
    keys: Spanned<Vec<Spanned<String>>>,
    threshold: Spanned<i64>,
    lifetime: Option<Spanned<String>>,
}

impl Plan {
    /// Reads the plan of a folder.
    pub(super) fn read(folder: &Folder) -> Result<Self, Stop> {
        let path = folder.plan();
        let content = folder::read(&path, MAX_POLICY_SIZE).map_err(|error| Stop::io(&path, &error))?;
        let content = content.ok_or_else(|| Stop::usage(format!("{} is missing", path.display())))?;
        let file = path.display().to_string();
        match String::from_utf8(content) {
            Ok(text) => Self::parse(&file, &text).map_err(Stop::Refused),
            Err(_) => Err(Stop::Refused(vec![Diagnostic::error(&file, "not UTF-8 text")])),
        }
    }

    pub(super) fn parse(file: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let document: Document = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let message = Untrusted::from(error.message()).to_string();
            vec![Diagnostic::error(file, message).at(place(text, at))]
        })?;
        let mut reader = Reader {
            file,
            text,
            problems: Vec::new(),
        };
        let plan = reader.plan(document);
        match plan {
            Some(plan) if reader.problems.is_empty() => Ok(plan),
            _ => Err(reader.problems),
        }
    }

    /// The keys of a role.
    pub(super) fn keys_of(&self, role: Role) -> impl Iterator<Item = &PublicKey> {
        let names = self
            .roles
            .get(&role)
            .map(|plan| plan.keys.as_slice())
            .unwrap_or_default();
        names.iter().filter_map(|name| self.keys.get(name))
    }

    /// The roles that have a key.
    pub(super) fn roles_of(&self, id: &str) -> Vec<Role> {
        let has = |role: &Role| self.keys_of(*role).any(|key| key.id == id);
        ROLES.into_iter().filter(has).collect()
    }

    /// What a key is called, for people.
    pub(super) fn name_of(&self, id: &str) -> String {
        match self.keys.iter().find(|(_, key)| key.id == id) {
            Some((name, _)) => name.clone(),
            None => format!("key {}", id.get(..12).unwrap_or(id)),
        }
    }

    pub(super) fn lifetime(&self, role: Role) -> Duration {
        self.roles.get(&role).map_or(Duration::ZERO, |plan| plan.lifetime)
    }
}

/// A place in a text, as editors count.
pub(super) fn place(text: &str, at: usize) -> Place {
    let before = text.get(..at).unwrap_or_default();
    Place {
        line: before.matches('\n').count() + 1,
        column: before.chars().rev().take_while(|character| *character != '\n').count() + 1,
    }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    problems: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn error<T>(&mut self, at: &Spanned<T>, message: String, help: &str) {
        let place = place(self.text, at.span().start);
        let problem = Diagnostic::error(self.file, message).at(place);
        self.problems.push(if help.is_empty() {
            problem
        } else {
            problem.with_help(help)
        });
    }

    fn plan(&mut self, document: Document) -> Option<Plan> {
        if *document.version.get_ref() != 1 {
            let message = format!("version {} is not supported: expected 1", document.version.get_ref());
            self.error(&document.version, message, "");
        }
        let mut channels = BTreeSet::new();
        for channel in &document.channels {
            match channel.get_ref().parse::<Channel>() {
                Ok(parsed) if channels.contains(&parsed) => {
                    self.error(channel, format!("channel {parsed} is named twice"), "");
                }
                Ok(parsed) => {
                    channels.insert(parsed);
                }
                Err(error) => self.error(channel, error.to_string(), ""),
            }
        }
        let (keys, names) = self.keys(&document.key);
        let mut roles = BTreeMap::new();
        for (name, table) in &document.role {
            match ROLES.into_iter().find(|role| role.as_str() == name.get_ref()) {
                Some(role) => {
                    if let Some(plan) = self.role(role, table, &names) {
                        roles.insert(role, plan);
                    }
                }
                None => {
                    let shown = Untrusted::new(name.get_ref());
                    let known = ROLES.map(Role::as_str).join(", ");
                    self.error(
                        name,
                        format!("there is no role {shown}"),
                        &format!("expected one of: {known}"),
                    );
                }
            }
        }
        for role in ROLES {
            let is_named = document.role.keys().any(|name| name.get_ref() == role.as_str());
            if !is_named && role != Role::Exceptions {
                let problem = Diagnostic::error(self.file, format!("[role.{role}] is missing"));
                self.problems
                    .push(problem.with_help("every role but exceptions has to be there"));
            }
        }
        if channels.is_empty() {
            let problem = Diagnostic::error(self.file, "there is no channel");
            self.problems.push(problem.with_help("write: channels = [\"stable\"]"));
        }
        Some(Plan {
            channels,
            url: document.url,
            keys,
            roles,
        })
    }

    /// The keys that can be used, and the names of all.
    fn keys(
        &mut self,
        tables: &BTreeMap<Spanned<String>, KeyTable>,
    ) -> (BTreeMap<String, PublicKey>, BTreeSet<String>) {
        let mut keys: BTreeMap<String, PublicKey> = BTreeMap::new();
        for (name, table) in tables {
            // The rules of an authority's name: what is safe in a path and a line.
            if name.get_ref().parse::<AuthorityName>().is_err() {
                let message = format!("{} cannot be a key's name", Untrusted::new(name.get_ref()));
                self.error(name, message, "expected letters, digits, '-' and '_'");
                continue;
            }
            let key = match PublicKey::parse(table.public.get_ref()) {
                Ok(key) => key,
                Err(error) => {
                    let help = "public is the base64 of a SubjectPublicKeyInfo: assayctl publish key FILE prints it";
                    self.error(&table.public, error.to_string(), help);
                    continue;
                }
            };
            if let Some(id) = &table.id
                && id.get_ref() != &key.id
            {
                let message = format!("the id of this key is {}", key.id);
                self.error(
                    id,
                    message,
                    "compare it with the key's holder: one of the two was exchanged",
                );
            }
            if let Some((other, _)) = keys.iter().find(|(_, other)| other.id == key.id) {
                let message = format!(
                    "{} and {} are one key",
                    Untrusted::new(name.get_ref()),
                    Untrusted::new(other)
                );
                self.error(name, message, "one key counts once, whatever it is called");
                continue;
            }
            keys.insert(name.get_ref().clone(), key);
        }
        let names = tables.keys().map(|name| name.get_ref().clone()).collect();
        (keys, names)
    }

    fn role(&mut self, role: Role, table: &RoleTable, names: &BTreeSet<String>) -> Option<RolePlan> {
        let mut keys: Vec<String> = Vec::new();
        for key in table.keys.get_ref() {
            let shown = Untrusted::new(key.get_ref());
            if !names.contains(key.get_ref()) {
                self.error(key, format!("there is no [key.{shown}]"), "");
            } else if keys.contains(key.get_ref()) {
                self.error(key, format!("{shown} is named twice"), "one key counts once");
            } else {
                keys.push(key.get_ref().clone());
            }
        }
        let count = keys.len();
        let threshold = u64::try_from(*table.threshold.get_ref()).ok().and_then(NonZeroU64::new);
        let threshold = threshold.filter(|threshold| threshold.get() <= count as u64);
        if threshold.is_none() {
            let message = format!("the threshold of {role} cannot be {}", table.threshold.get_ref());
            let help = format!("it is at least 1, and at most the number of its keys, {count}");
            self.error(&table.threshold, message, &help);
        }
        let lifetime = match &table.lifetime {
            None => lifetime(default_lifetime(role)),
            Some(text) => {
                let read = lifetime(text.get_ref());
                if read.is_none() {
                    let shown = Untrusted::new(text.get_ref());
                    let most = MAX_FLEET_LIFETIME.as_secs() / (24 * 3600);
                    let help = format!("expected a duration of at most {most} days, such as \"24h\" or \"90d\"");
                    self.error(text, format!("the lifetime of {role} cannot be {shown}"), &help);
                }
                read
            }
        };
        Some(RolePlan {
            keys,
            threshold: threshold?,
            lifetime: lifetime?,
        })
    }
}

/// Whole seconds, at least one.
fn lifetime(text: &str) -> Option<Duration> {
    let (days, rest) = match text.strip_suffix('d') {
        Some(days) => (days.trim().parse::<u64>().ok()?, None),
        None => (0, Some(text)),
    };
    let seconds = match rest {
        None => days.checked_mul(24 * 3600)?,
        Some(text) => u64::try_from(text.parse::<SignedDuration>().ok()?.as_secs()).ok()?,
    };
    let read = Duration::from_secs(seconds);
    (seconds > 0 && read <= MAX_FLEET_LIFETIME).then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::publish::keys::NewKey;

    fn plan(change: impl Fn(String) -> String) -> Result<Plan, Vec<String>> {
        let key = NewKey::generate().unwrap().public;
        let role = |name: &str| format!("[role.{name}]\nkeys = [\"jane\"]\nthreshold = 1\n");
        let roles: String = ROLES.map(|name| role(name.as_str())).concat();
        let text = format!("version = 1\nchannels = [\"stable\"]\n[key.jane]\npublic = \"{key}\"\n{roles}");
        Plan::parse("publish.toml", &change(text))
            .map_err(|problems| problems.iter().map(Diagnostic::one_line).collect())
    }

    #[test]
    fn lifetimes_have_defaults() {
        let plan = plan(|text| text).unwrap();
        assert_eq!(plan.lifetime(Role::Root), Duration::from_secs(365 * 24 * 3600));
        assert_eq!(plan.lifetime(Role::Timestamp), Duration::from_secs(24 * 3600));
        assert_eq!(plan.roles_of(&plan.keys["jane"].id), ROLES);
    }

    #[test]
    fn every_problem_is_told_with_its_place() {
        let problems = plan(|text| {
            text.replace("version = 1", "version = 2")
                .replace("[\"stable\"]", "[\"stable\", \"../x\"]")
                .replace(
                    "[role.snapshot]\nkeys = [\"jane\"]",
                    "[role.snapshot]\nkeys = [\"joe\"]",
                )
                .replace("[role.exceptions]", "[role.others]")
                .replace("[role.root]", "[key.\"a b\"]\npublic = \"\"\n[role.root]")
        })
        .unwrap_err();
        let found = |text: &str| {
            assert!(
                problems.iter().any(|problem| problem.contains(text)),
                "{text}: {problems:#?}"
            )
        };
        found("publish.toml:1:11: error: version 2 is not supported");
        found("publish.toml:2:23: error: ../x is not a channel");
        found("there is no [key.joe]");
        found("the threshold of snapshot cannot be 1");
        found("there is no role others");
        found("a b cannot be a key's name");
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_place() {
        let problems = plan(|text| text.replace("channels", "chanels")).unwrap_err();
        assert!(
            problems[0].starts_with("publish.toml:2:1: error: unknown field"),
            "{problems:?}"
        );
    }

    #[test]
    fn an_exchanged_key_is_noticed_by_its_id() {
        let problems = plan(|text| text.replace("[key.jane]", "[key.jane]\nid = \"00\"")).unwrap_err();
        assert!(problems[0].contains("the id of this key is "), "{problems:?}");
    }

    #[test]
    fn one_key_under_two_names_is_refused() {
        let problems = plan(|text| {
            let table = text
                .split("[key.jane]")
                .nth(1)
                .unwrap()
                .split("[role")
                .next()
                .unwrap()
                .to_owned();
            text.replace("[role.root]", &format!("[key.joe]{table}[role.root]"))
        })
        .unwrap_err();
        assert!(
            problems[0].contains("joe and jane are one key") || problems[0].contains("jane and joe are one key"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_lifetime_is_days_or_a_duration() {
        assert_eq!(lifetime("90d"), Some(Duration::from_secs(90 * 24 * 3600)));
        assert_eq!(lifetime("24h"), Some(Duration::from_secs(24 * 3600)));
        for wrong in ["", "0d", "0s", "-1h", "99999d", "soon", "1y"] {
            assert_eq!(lifetime(wrong), None, "{wrong}");
        }
    }
}
