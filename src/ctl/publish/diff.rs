//! `assayctl publish diff`: what will change, in files and for images.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use similar::TextDiff;

use assay_verify::Timestamp;
use assay_verify::digest::Digest;
use assay_verify::untrusted::{Untrusted, escape};

use super::Stop;
use super::check::{self, Checked};
use super::files::{self, Tree};
use super::folder::Folder;
use super::metadata;
use super::plan::Plan;
use super::published::Published;
use super::report;
use crate::ctl::decisions::{self, Compared, Known};
use crate::ctl::{DENIED, DONE, Output};
use crate::sync::layout::{DENY_LIST_FILE, REVOCATION_FOLDER};
use crate::sync::{Channel, TargetPath};

/// The characters of one line that are shown. A policy has none that are longer.
const LINE: usize = 400;

/// One file that differs.
struct Changed<'a> {
    path: &'a TargetPath,
    old: Option<&'a [u8]>,
    new: Option<&'a [u8]>,
}

/// Shows what differs between what is published and the files.
pub(super) fn run(
    output: Output,
    folder: &Folder,
    plan: &Plan,
    recorded: Option<&[Known]>,
    now: Timestamp,
) -> Result<u8, Stop> {
    let published = Published::read(folder)?;
    let old = published.tree(folder)?;
    let found = files::read(folder, plan)?;
    let new = found.tree;
    let paths: BTreeSet<&TargetPath> = old.keys().chain(new.keys()).collect();
    let changed = paths.into_iter().filter_map(|path| {
        let (old, new) = (old.get(path).map(|bytes| &**bytes), new.get(path).map(|bytes| &**bytes));
        (old != new).then_some(Changed { path, old, new })
    });
    let changed: Vec<Changed<'_>> = changed.collect();
    let (added, removed) = denials(&old, &new);
    let mut checked = check::check(&new, now);
    checked
        .diagnostics
        .splice(0..0, found.problems.into_iter().map(|(_, problem)| problem));
    let before = check::check(&old, now);
    let compared = recorded.map(|recorded| by_channel(recorded, &before, &checked, now));
    let keys_change = match published.root() {
        Some(root) => {
            let root = &root.document.signed;
            let asked = metadata::root(plan, root.version, root.expires)?;
            !metadata::same_keys(root, &asked)
        }
        None => true,
    };

    let denies = compared
        .iter()
        .flatten()
        .any(|(_, compared)| compared.denies_what_was_admitted());
    match output {
        Output::Json => {
            let compared = compared.iter().flatten();
            let compared: serde_json::Map<String, Value> = compared
                .map(|(channel, compared)| (channel.to_string(), compared.to_json()))
                .collect();
            println!(
                "{}",
                json!({
                    "files": changed.iter().map(Changed::to_json).collect::<Vec<_>>(),
                    "denials": { "added": added, "removed": removed },
                    "root_keys_change": keys_change,
                    "good": checked.is_good(),
                    "diagnostics": report::diagnostics(&checked.diagnostics),
                    "decisions": compared,
                })
            );
        }
        Output::Human => {
            for one in &changed {
                one.print();
            }
            for (word, entries) in [("denied from now on", &added), ("no longer denied", &removed)] {
                for entry in entries {
                    println!("{word}: {}", escape(entry, LINE));
                }
            }
            if keys_change {
                println!("publish.toml asks for another root: assayctl publish rotate");
            }
            for diagnostic in &checked.diagnostics {
                println!("{diagnostic}");
            }
            if changed.is_empty() {
                println!("no file has changed");
            }
            for (channel, compared) in compared.iter().flatten() {
                println!("channel {channel}:");
                compared.print();
            }
        }
    }
    let good = checked.is_good() && !denies;
    Ok(if good { DONE } else { DENIED })
}

/// What each channel's policy would say, compared with the one that is published.
fn by_channel(recorded: &[Known], before: &Checked, after: &Checked, now: Timestamp) -> Vec<(Channel, Compared)> {
    let compared = after.channels.iter().map(|(channel, new)| {
        let old = before.channels.get(channel);
        (channel.clone(), decisions::compare(recorded, old, new, now))
    });
    compared.collect()
}

/// The entries of the deny-list that are added and removed, as they are written.
fn denials(old: &Tree, new: &Tree) -> (Vec<String>, Vec<String>) {
    let entries = |tree: &Tree| -> BTreeSet<String> {
        let path = format!("{REVOCATION_FOLDER}/{DENY_LIST_FILE}");
        let content = tree.iter().find(|(known, _)| known.as_str() == path);
        let list: Option<Value> = content.and_then(|(_, content)| serde_json::from_slice(content).ok());
        let entries = list.as_ref().and_then(|list| list.get("entries")?.as_array());
        entries.into_iter().flatten().map(Value::to_string).collect()
    };
    let (old, new) = (entries(old), entries(new));
    (
        new.difference(&old).cloned().collect(),
        old.difference(&new).cloned().collect(),
    )
}

impl Changed<'_> {
    fn word(&self) -> &'static str {
        match (self.old, self.new) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        }
    }

    /// Both as text, where both are.
    fn texts(&self) -> Option<(&str, &str)> {
        let text = |bytes: Option<&'_ [u8]>| -> Option<()> {
            let text = std::str::from_utf8(bytes.unwrap_or_default()).ok()?;
            (!text.contains('\0')).then_some(())
        };
        text(self.old)?;
        text(self.new)?;
        let old = std::str::from_utf8(self.old.unwrap_or_default()).ok()?;
        let new = std::str::from_utf8(self.new.unwrap_or_default()).ok()?;
        Some((old, new))
    }

    fn unified(&self) -> Option<String> {
        let (old, new) = self.texts()?;
        let path = self.path.as_str();
        let diff = TextDiff::from_lines(old, new);
        let unified = diff
            .unified_diff()
            .context_radius(3)
            .header(&format!("published/{path}"), &format!("files/{path}"))
            .to_string();
        Some(unified)
    }

    fn to_json(&self) -> Value {
        let digest = |bytes: Option<&[u8]>| bytes.map(|bytes| Digest::sha256(bytes).to_string());
        json!({
            "path": self.path.as_str(),
            "change": self.word(),
            "old": digest(self.old),
            "new": digest(self.new),
            "diff": self.unified(),
        })
    }

    fn print(&self) {
        println!("{} {}", self.word(), Untrusted::new(self.path.as_str()));
        match self.unified() {
            Some(unified) => unified.lines().for_each(|line| println!("  {}", escape(line, LINE))),
            None => {
                let digest = |bytes: Option<&[u8]>| {
                    bytes.map_or_else(|| "nothing".to_owned(), |bytes| Digest::sha256(bytes).to_string())
                };
                println!("  {} becomes {}", digest(self.old), digest(self.new));
            }
        }
    }
}
