//! What `assayctl publish` prints.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use assay_verify::Timestamp;
use assay_verify::document::Diagnostic;

use super::folder::Folder;
use super::metadata::is_about_to_expire;
use super::plan::{Plan, ROLES};
use super::published::{Published, Staged};
use super::sign::Outcome;
use crate::ctl::{Output, policy};
use crate::sync::Role;

pub(super) fn diagnostics(diagnostics: &[Diagnostic]) -> Value {
    diagnostics.iter().map(policy::to_json).collect()
}

/// How long is left, for people.
pub(super) fn left(expires: Timestamp, now: Timestamp) -> String {
    let seconds = expires.duration_since(now).as_secs();
    match seconds {
        ..=0 => "expired".to_owned(),
        1..=7199 => format!("{} min left", seconds / 60),
        7200..=172_799 => format!("{} h left", seconds / 3600),
        _ => format!("{} days left", seconds / 86_400),
    }
}

fn names(plan: &Plan, ids: &[String]) -> String {
    signers(plan, ids).join(", ")
}

/// Who signed, by name.
fn signers(plan: &Plan, ids: &[String]) -> Vec<String> {
    let mut names: Vec<String> = ids.iter().map(|id| plan.name_of(id)).collect();
    names.sort();
    names
}

fn outcome_json(plan: &Plan, outcome: &Outcome) -> Value {
    let signed: Vec<Value> = outcome
        .signed
        .iter()
        .map(|(role, version, ids)| json!({ "role": role.as_str(), "version": version, "by": signers(plan, ids) }))
        .collect();
    let published: Vec<Value> = outcome
        .published
        .iter()
        .map(|(role, version, expires)| {
            json!({ "role": role.as_str(), "version": version, "expires": expires.to_string() })
        })
        .collect();
    let waiting: Vec<Value> = outcome
        .waiting
        .iter()
        .map(|one| json!({ "role": one.role.as_str(), "version": one.version, "why": one.why }))
        .collect();
    let written: Vec<String> = outcome.written.iter().map(|path| path.display().to_string()).collect();
    json!({
        "signed": signed,
        "published": published,
        "waiting": waiting,
        "written": written,
        "diagnostics": diagnostics(&outcome.warnings),
        "notes": outcome.notes,
    })
}

fn outcome_lines(plan: &Plan, outcome: &Outcome) {
    for warning in &outcome.warnings {
        println!("{warning}");
    }
    for (role, version, ids) in &outcome.signed {
        println!("signed     {role} {version} by {}", names(plan, ids));
    }
    for one in &outcome.waiting {
        let version = one.version.map(|version| format!(" {version}")).unwrap_or_default();
        println!("waits      {}{version}: {}", one.role, one.why);
    }
    for (role, version, expires) in &outcome.published {
        println!("published  {role} {version}, expires {expires}");
    }
    for note in &outcome.notes {
        println!("note       {note}");
    }
}

/// What signing came to.
pub(super) fn signed(output: Output, folder: &Folder, plan: &Plan, outcome: &Outcome) {
    match output {
        Output::Json => println!("{}", outcome_json(plan, outcome)),
        Output::Human => {
            outcome_lines(plan, outcome);
            if outcome.published.is_empty() {
                println!("nothing new is published");
            } else {
                println!("upload {}, timestamp.json last", folder.repository().display());
            }
        }
    }
}

/// A new folder, and what to do next.
pub(super) fn made(output: Output, folder: &Folder, plan: &Plan, private: &[PathBuf], outcome: &Outcome) {
    let is_offline = |path: &&PathBuf| {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        name.starts_with("root-") || name.starts_with("targets-")
    };
    let offline: Vec<String> = private
        .iter()
        .filter(is_offline)
        .map(|path| path.display().to_string())
        .collect();
    let shown = folder.path().display();
    let channel = plan
        .channels
        .iter()
        .next()
        .map(|channel| channel.as_str())
        .unwrap_or_default();
    let url = plan.url.as_deref().unwrap_or("https://policy.corp.example/assayd");
    let section =
        format!("[fleet]\nrepository = \"{url}\"\nroot       = \"fleet-root.json\"\nchannel    = \"{channel}\"\n");
    let root = folder.repository().join("1.root.json");
    if output == Output::Json {
        println!(
            "{}",
            json!({
                "folder": shown.to_string(),
                "offline_keys": offline,
                "root": root.exists().then(|| root.display().to_string()),
                "fleet": section,
                "outcome": outcome_json(plan, outcome),
            })
        );
        return;
    }
    println!("{shown} is made");
    outcome_lines(plan, outcome);
    println!("\nNext:");
    if !offline.is_empty() {
        println!("  Move these keys to where no network reaches, each to its holder:");
        offline.iter().for_each(|key| println!("    {key}"));
    }
    if !root.exists() {
        println!("  Every holder of a root key signs: assayctl publish sign --folder {shown} --key ROOT.pem");
    }
    println!(
        "  Edit {}, then: assayctl publish check --folder {shown}",
        folder.files().display()
    );
    println!(
        "  Sign: assayctl publish sign --folder {shown} --key TARGETS.pem --key REVOCATIONS.pem … --key ONLINE.pem"
    );
    println!("  Serve {} from any static server", folder.repository().display());
    println!(
        "  On every node put {} to /etc/assayd/fleet-root.json, and into /etc/assayd/config.toml:\n",
        root.display()
    );
    section.lines().for_each(|line| println!("    {line}"));
}

/// Tables of keys for publish.toml: name, id, base64.
pub(super) fn keys(output: Output, keys: &[(String, String, String)]) {
    match output {
        Output::Json => {
            let keys = keys
                .iter()
                .map(|(name, id, public)| json!({ "name": name, "id": id, "public": public }));
            println!("{}", keys.collect::<Value>());
        }
        Output::Human => {
            for (name, id, public) in keys {
                println!("[key.{name}]\nid     = \"{id}\"\npublic = \"{public}\"\n");
            }
        }
    }
}

/// An entry that was added to a file.
pub(super) fn added(output: Output, plan: &Plan, role: Role, path: &Path, entry: &str) {
    let roles = [role, Role::Snapshot, Role::Timestamp];
    let mut keys: Vec<String> = Vec::new();
    for role in roles {
        for name in plan.roles.get(&role).into_iter().flat_map(|plan| &plan.keys) {
            if !keys.contains(name) {
                keys.push(name.clone());
            }
        }
    }
    match output {
        Output::Json => println!(
            "{}",
            json!({ "file": path.display().to_string(), "entry": entry, "keys": keys })
        ),
        Output::Human => {
            println!(
                "{} now has\n  {}",
                path.display(),
                entry.trim_end().replace('\n', "\n  ")
            );
            println!(
                "Publish it with keys of {role}, snapshot and timestamp, of {}:",
                keys.join(", ")
            );
            println!(
                "  assayctl publish sign --key {}.pem --key ONLINE.pem",
                role.as_str().to_ascii_uppercase()
            );
        }
    }
}

/// What is published, what waits, and until when all of it counts. Whether all is well.
pub(super) fn status(output: Output, plan: &Plan, published: &Published, staged: &Staged, now: Timestamp) -> bool {
    let states = ROLES.into_iter().filter(|role| plan.roles.contains_key(role));
    let states: Vec<State> = states
        .map(|role| State::of(role, plan, published, staged, now))
        .collect();
    match output {
        Output::Json => {
            let good = states.iter().all(|state| !state.soon);
            println!(
                "{}",
                json!({ "good": good, "roles": states.iter().map(State::to_json).collect::<Vec<_>>() })
            );
        }
        Output::Human => states.iter().for_each(|state| state.print(now)),
    }
    states.iter().all(|state| !state.soon)
}

/// One role of a repository.
struct State {
    role: Role,
    version: Option<NonZeroU64>,
    expires: Option<Timestamp>,
    /// Whether it has to be signed anew, or for the first time.
    soon: bool,
    threshold: u64,
    keys: Vec<String>,
    /// The version that waits, and how many signatures it has.
    staged: Option<(NonZeroU64, usize)>,
}

impl State {
    fn of(role: Role, plan: &Plan, published: &Published, staged: &Staged, now: Timestamp) -> Self {
        let expires = published.expires(role);
        let lifetime = plan.lifetime(role);
        let planned = plan.roles.get(&role);
        Self {
            role,
            version: published.version(role),
            expires,
            soon: expires.is_none_or(|expires| is_about_to_expire(expires, lifetime, now)),
            threshold: planned.map_or(0, |planned| planned.threshold.get()),
            keys: planned.map(|planned| planned.keys.clone()).unwrap_or_default(),
            staged: match role {
                Role::Root => staged
                    .root
                    .as_ref()
                    .map(|root| (root.signed.version, root.signatures.len())),
                _ => {
                    let waiting = staged.targets.get(&role);
                    waiting.map(|waiting| (waiting.signed.version, waiting.signatures.len()))
                }
            },
        }
    }

    fn to_json(&self) -> Value {
        let staged = self
            .staged
            .map(|(version, signatures)| json!({ "version": version, "signatures": signatures }));
        json!({
            "role": self.role.as_str(),
            "version": self.version,
            "expires": self.expires.map(|expires| expires.to_string()),
            "about_to_expire": self.soon,
            "threshold": self.threshold,
            "keys": self.keys,
            "staged": staged,
        })
    }

    fn print(&self, now: Timestamp) {
        let state = match (self.version, self.expires) {
            (Some(version), Some(expires)) => {
                let mark = if self.soon { "  SIGN ANEW" } else { "" };
                format!("version {version:<4} expires {expires} ({}){mark}", left(expires, now))
            }
            _ => "not published".to_owned(),
        };
        println!("{:<11} {state}", self.role.as_str());
        println!("            {} of {}", self.threshold, self.keys.join(", "));
        if let Some((version, signatures)) = self.staged {
            println!("            staged: version {version} with {signatures} signatures");
        }
    }
}
