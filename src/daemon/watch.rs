//! Notices that policy or trust material changed on disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tracing::warn;

use crate::admission::Admission;

/// How long the disk must be quiet: an editor or a package manager changes several files one after another.
const QUIET: Duration = Duration::from_millis(300);

/// Reloads when something that the policy rests on changes, for as long as the daemon runs. Where the system cannot
/// watch, that is said, and SIGHUP and `assayctl reload` remain.
pub(super) async fn watch(admission: Admission) {
    let (sender, mut changes) = mpsc::channel(1);
    let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // Reading what was written is no change.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // A full channel already says that something changed.
            let _ = sender.try_send(());
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            warn!("the policy is not watched for changes ({error}): use SIGHUP or assayctl reload");
            return;
        }
    };
    let mut watched = BTreeSet::new();
    loop {
        let folders = admission
            .trust()
            .watched_paths()
            .iter()
            .map(|folder| nearest_folder(folder))
            .collect();
        rewatch(&mut watcher, &mut watched, folders);
        if changes.recv().await.is_none() {
            return;
        }
        while let Ok(Some(())) = tokio::time::timeout(QUIET, changes.recv()).await {}
        let admission = admission.clone();
        // A panic while loading leaves the policy in force as it is.
        let _ = tokio::task::spawn_blocking(move || admission.reload("files changed")).await;
    }
}

/// A folder that is not there yet is awaited in the nearest one that is.
fn nearest_folder(folder: &Path) -> PathBuf {
    folder
        .ancestors()
        .find(|ancestor| ancestor.is_dir())
        .unwrap_or(Path::new("/"))
        .to_owned()
}

/// Watches folders rather than files: most programs replace a file by renaming another over it.
fn rewatch(watcher: &mut RecommendedWatcher, watched: &mut BTreeSet<PathBuf>, folders: BTreeSet<PathBuf>) {
    for gone in watched.difference(&folders) {
        // It may have been deleted, which ended the watch already.
        let _ = watcher.unwatch(gone);
    }
    for new in folders.difference(watched) {
        if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
            warn!(
                "{} is not watched for changes ({error}): use SIGHUP or assayctl reload",
                new.display()
            );
        }
    }
    *watched = folders;
}
