//! `assayctl publish prune`: removes files that no node asks for any more.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Stop;
use super::folder::{Folder, is_unfinished};
use super::layout;
use super::published::parse_name;
use crate::sync::Role;
use crate::sync::layout::TARGETS_FOLDER;

/// Removes what is no part of the repository any more and was written longer ago than `age`. Roots stay: who has an old one
/// needs each of those after it.
pub(super) fn prune(folder: &Folder, age: Duration, now: SystemTime) -> Result<Vec<PathBuf>, Stop> {
    let base = folder.repository();
    let needed: BTreeSet<PathBuf> = layout::served(folder)?.keys().map(|path| base.join(path)).collect();
    let mut candidates = Vec::new();
    for entry in fs::read_dir(&base).map_err(|error| Stop::io(&base, &error))? {
        let path = entry.map_err(|error| Stop::io(&base, &error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_metadata = parse_name(name).is_some_and(|(_, role)| role != Role::Root);
        if is_metadata || is_unfinished(name) {
            candidates.push(path);
        }
    }
    walk(&base.join(TARGETS_FOLDER), &mut candidates)?;
    let mut removed = Vec::new();
    for path in candidates.into_iter().filter(|path| !needed.contains(path)) {
        let failed = |error| Stop::io(&path, &error);
        let written = fs::metadata(&path)
            .and_then(|metadata| metadata.modified())
            .map_err(failed)?;
        if now.duration_since(written).is_ok_and(|since| since >= age) {
            fs::remove_file(&path).map_err(failed)?;
            removed.push(path);
        }
    }
    Ok(removed)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Stop> {
    for entry in fs::read_dir(folder).map_err(|error| Stop::io(folder, &error))? {
        let entry = entry.map_err(|error| Stop::io(folder, &error))?;
        let kind = entry.file_type().map_err(|error| Stop::io(folder, &error))?;
        if kind.is_dir() {
            walk(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}
