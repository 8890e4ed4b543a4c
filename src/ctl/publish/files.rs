//! The human files: everything below `files/`, strictly in the layout of a policy repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use assay_verify::document::Diagnostic;
use assay_verify::limits::{MAX_FLEET_FILE_SIZE, MAX_FLEET_FILES};
use assay_verify::untrusted::Untrusted;

use super::Stop;
use super::folder::{self, Folder};
use super::plan::Plan;
use crate::sync::layout::{
    CHANNELS_FOLDER, DENY_LIST_FILE, EXCEPTIONS_FILE, EXCEPTIONS_FOLDER, POLICY_FILE, REVOCATION_FOLDER,
};
use crate::sync::{Channel, Role, TargetPath};

/// Files by their paths in the repository.
pub(super) type Tree = BTreeMap<TargetPath, Arc<[u8]>>;

/// The ends of names of relayed revocation data.
const REVOCATION_ENDS: [&str; 4] = [".crl", ".ocsp", ".pem", ".der"];

/// Who signs a file.
pub(super) fn role_of(path: &TargetPath) -> Option<Role> {
    match path.as_str().split_once('/')?.0 {
        CHANNELS_FOLDER => Some(Role::Targets),
        REVOCATION_FOLDER => Some(Role::Revocations),
        EXCEPTIONS_FOLDER => Some(Role::Exceptions),
        _ => None,
    }
}

/// The channels that files are for.
pub(super) fn channels_of<'a>(paths: impl IntoIterator<Item = &'a TargetPath>) -> BTreeSet<Channel> {
    let channel = |path: &TargetPath| {
        let (folder, rest) = path.as_str().split_once('/')?;
        let (channel, _) = rest.split_once('/')?;
        (folder == CHANNELS_FOLDER).then(|| channel.parse().ok()).flatten()
    };
    paths.into_iter().filter_map(channel).collect()
}

/// What was found below `files/`.
pub(super) struct Found {
    pub(super) tree: Tree,
    /// What does not belong there, all of it.
    pub(super) problems: Vec<(Option<Role>, Diagnostic)>,
}

/// Reads the files of a folder.
pub(super) fn read(folder: &Folder, plan: &Plan) -> Result<Found, Stop> {
    let mut walk = Walk {
        plan,
        found: Found {
            tree: Tree::new(),
            problems: Vec::new(),
        },
    };
    walk.folder(&folder.files(), "")?;
    for channel in &plan.channels {
        let path = format!("{}/{POLICY_FILE}", channel.folder());
        if !walk.found.tree.keys().any(|known| known.as_str() == path) {
            let shown = folder.files().join(path).display().to_string();
            let help = "every channel of publish.toml has a policy";
            let problem = Diagnostic::error(&shown, "there is no such file").with_help(help);
            walk.found.problems.push((Some(Role::Targets), problem));
        }
    }
    let deny_list = format!("{REVOCATION_FOLDER}/{DENY_LIST_FILE}");
    if !walk.found.tree.keys().any(|known| known.as_str() == deny_list) {
        let shown = folder.files().join(deny_list).display().to_string();
        let help = "an empty one: {\"version\": 1, \"issued\": \"2026-01-31T00:00:00Z\", \"entries\": []}";
        let problem = Diagnostic::error(&shown, "there is no such file").with_help(help);
        walk.found.problems.push((Some(Role::Revocations), problem));
    }
    if walk.found.tree.len() > MAX_FLEET_FILES {
        let message = format!("more than {MAX_FLEET_FILES} files");
        let problem = Diagnostic::error(&folder.files().display().to_string(), message);
        walk.found.problems.push((None, problem));
    }
    Ok(walk.found)
}

struct Walk<'a> {
    plan: &'a Plan,
    found: Found,
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path, inside: &str) -> Result<(), Stop> {
        let failed = |error| Stop::io(path, &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort();
        for name in names {
            let path = path.join(&name);
            let name = name.to_string_lossy();
            let inside = if inside.is_empty() {
                name.into_owned()
            } else {
                format!("{inside}/{name}")
            };
            let metadata = path.symlink_metadata().map_err(|error| Stop::io(&path, &error))?;
            if metadata.is_symlink() {
                self.refuse(&inside, &path, "a symbolic link", "put the file itself there");
            } else if metadata.is_dir() {
                self.folder(&path, &inside)?;
            } else if metadata.is_file() {
                self.file(&path, &inside)?;
            } else {
                self.refuse(&inside, &path, "not a regular file", "");
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, inside: &str) -> Result<(), Stop> {
        let target = match inside.parse::<TargetPath>() {
            Ok(target) => target,
            Err(error) => {
                self.refuse(inside, path, &format!("it cannot be published: {error}"), "");
                return Ok(());
            }
        };
        if let Err((message, help)) = self.belongs(inside) {
            self.refuse(inside, path, &message, &help);
            return Ok(());
        }
        match folder::read(path, MAX_FLEET_FILE_SIZE) {
            Ok(Some(content)) => {
                self.found.tree.insert(target, content.into());
            }
            Ok(None) => {}
            Err(error) => self.refuse(inside, path, &error.to_string(), ""),
        }
        Ok(())
    }

    /// Whether nodes look at a file of this name.
    fn belongs(&self, inside: &str) -> Result<(), (String, String)> {
        let stray = |help: String| Err(("nodes do not look at it".to_owned(), help));
        match inside.split('/').collect::<Vec<_>>().as_slice() {
            [CHANNELS_FOLDER, channel, _, ..] => {
                if self.plan.channels.iter().any(|known| known.as_str() == *channel) {
                    return Ok(());
                }
                stray(format!(
                    "{} is none of the channels in publish.toml",
                    Untrusted::new(channel)
                ))
            }
            [REVOCATION_FOLDER, name] => {
                if *name == DENY_LIST_FILE || REVOCATION_ENDS.iter().any(|end| name.ends_with(end)) {
                    return Ok(());
                }
                let ends = REVOCATION_ENDS.join(", ");
                stray(format!(
                    "{REVOCATION_FOLDER}/ holds {DENY_LIST_FILE} and files that end with {ends}"
                ))
            }
            [EXCEPTIONS_FOLDER, EXCEPTIONS_FILE] => {
                if self.plan.roles.contains_key(&Role::Exceptions) {
                    return Ok(());
                }
                stray("publish.toml has no [role.exceptions], so nobody signs it".to_owned())
            }
            [EXCEPTIONS_FOLDER, ..] => stray(format!("{EXCEPTIONS_FOLDER}/ holds {EXCEPTIONS_FILE} alone")),
            _ => stray(format!(
                "{CHANNELS_FOLDER}/CHANNEL/…, {REVOCATION_FOLDER}/… and {EXCEPTIONS_FOLDER}/{EXCEPTIONS_FILE} are published"
            )),
        }
    }

    fn refuse(&mut self, inside: &str, path: &Path, message: &str, help: &str) {
        let problem = Diagnostic::error(&path.display().to_string(), message);
        let problem = if help.is_empty() {
            problem
        } else {
            problem.with_help(help)
        };
        let role = match inside.split('/').next() {
            Some(CHANNELS_FOLDER) => Some(Role::Targets),
            Some(REVOCATION_FOLDER) => Some(Role::Revocations),
            Some(EXCEPTIONS_FOLDER) => Some(Role::Exceptions),
            _ => None,
        };
        self.found.problems.push((role, problem));
    }
}
