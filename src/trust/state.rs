//! The snapshot in use. A broken policy never replaces a good one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use assay_verify::Timestamp;
use assay_verify::document::Diagnostic;

use super::load::{Loaded, load};
use super::snapshot::TrustSnapshot;

/// A policy that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// When it was read.
    pub at: Timestamp,
    /// Every error and warning.
    pub diagnostics: Vec<Diagnostic>,
}

/// The snapshot in use, and the one that was last rejected.
#[derive(Debug)]
pub struct TrustState {
    path: PathBuf,
    user: u32,
    current: ArcSwapOption<TrustSnapshot>,
    rejected: ArcSwapOption<Rejected>,
    /// What the last load looked at. Held while loading, so that one load follows another.
    watched: Mutex<BTreeSet<PathBuf>>,
}

impl TrustState {
    /// Nothing is loaded yet, and without a policy everything is denied. Files have to belong to root or to `user`.
    pub fn new(path: impl Into<PathBuf>, user: u32) -> Self {
        Self {
            path: path.into(),
            user,
            current: ArcSwapOption::empty(),
            rejected: ArcSwapOption::empty(),
            watched: Mutex::default(),
        }
    }

    /// The policy document.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The snapshot in use: the last good one. None if there has been none.
    pub fn current(&self) -> Option<Arc<TrustSnapshot>> {
        self.current.load_full()
    }

    /// The policy on disk, if it is broken and so not the one in use.
    pub fn rejected(&self) -> Option<Arc<Rejected>> {
        self.rejected.load_full()
    }

    /// The folders in which a change is a reason to reload.
    pub fn watched_paths(&self) -> BTreeSet<PathBuf> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads everything again. What is good replaces the snapshot at once and as a whole; its generation is a new one
    /// only if something in it differs. What is broken changes nothing but [`TrustState::rejected`].
    ///
    /// This blocks on files.
    ///
    /// # Errors
    ///
    /// What is wrong, when the policy or something it names is broken.
    pub fn reload(&self, now: Timestamp) -> Result<Arc<TrustSnapshot>, Arc<Rejected>> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let Loaded {
            outcome,
            watched: folders,
        } = load(&self.path, self.user, now);
        match outcome {
            Ok(mut snapshot) => {
                if let Some(last) = self.current() {
                    let same = last.fingerprint == snapshot.fingerprint;
                    snapshot.generation = if same { last.generation } else { last.generation + 1 };
                }
                *watched = folders;
                let snapshot = Arc::new(snapshot);
                self.current.store(Some(Arc::clone(&snapshot)));
                self.rejected.store(None);
                Ok(snapshot)
            }
            Err(diagnostics) => {
                // Both the broken policy and the one in use may become what they were.
                watched.extend(folders);
                let rejected = Arc::new(Rejected { at: now, diagnostics });
                self.rejected.store(Some(Arc::clone(&rejected)));
                Err(rejected)
            }
        }
    }
}
