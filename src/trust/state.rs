//! The snapshot in use. A broken policy never replaces a good one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use assay_verify::Timestamp;
use assay_verify::deny_list::DenyList;
use assay_verify::document::Diagnostic;

use super::files::VerifiedFiles;
use super::floor::Floor;
use super::load::{Additions, Loaded, Origin, load_additions, load_fleet, load_policy, load_proposed};
use super::snapshot::TrustSnapshot;

/// A policy that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// When it was read.
    pub at: Timestamp,
    /// Every error and warning.
    pub diagnostics: Vec<Diagnostic>,
}

/// Which policy of a repository a node takes, and what that may not relax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetPolicy {
    /// The channel.
    pub channel: String,
    /// What the policy may not relax.
    pub floor: Floor,
}

/// The snapshot in use, and the one that was last rejected.
///
/// The policy comes from this node's disk or from a policy repository, never from both. What this node adds (its own
/// deny-list and exceptions, beside its own policy) counts either way.
#[derive(Debug)]
pub struct TrustState {
    path: PathBuf,
    user: u32,
    fleet: Option<FleetPolicy>,
    current: ArcSwapOption<TrustSnapshot>,
    rejected: ArcSwapOption<Rejected>,
    /// Held while loading, so that one load follows another.
    loading: Mutex<Loading>,
}

#[derive(Debug, Default)]
struct Loading {
    /// What the last load looked at.
    watched: BTreeSet<PathBuf>,
    /// The generation of the policy repository in force.
    files: Option<VerifiedFiles>,
    /// What this node added when it could last be read.
    additions: Option<Additions>,
    /// Denials of an update that could not come into force as a whole.
    at_once: DenyList,
}

impl TrustState {
    /// Nothing is loaded yet, and without a policy everything is denied. Files have to belong to root or to `user`.
    pub fn new(path: impl Into<PathBuf>, user: u32) -> Self {
        Self {
            path: path.into(),
            user,
            fleet: None,
            current: ArcSwapOption::empty(),
            rejected: ArcSwapOption::empty(),
            loading: Mutex::default(),
        }
    }

    /// The same, with the policy of a repository in place of that on disk. Beside `path` lies what this node adds.
    pub fn of_fleet(path: impl Into<PathBuf>, user: u32, fleet: FleetPolicy) -> Self {
        Self {
            fleet: Some(fleet),
            ..Self::new(path, user)
        }
    }

    /// The policy document on disk.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which policy of a repository this node takes; none where it has its own.
    pub fn fleet(&self) -> Option<&FleetPolicy> {
        self.fleet.as_ref()
    }

    /// The snapshot in use: the last good one. None if there has been none.
    pub fn current(&self) -> Option<Arc<TrustSnapshot>> {
        self.current.load_full()
    }

    /// What is broken and so not in use.
    pub fn rejected(&self) -> Option<Arc<Rejected>> {
        self.rejected.load_full()
    }

    /// The folders in which a change is a reason to reload.
    pub fn watched_paths(&self) -> BTreeSet<PathBuf> {
        self.lock().watched.clone()
    }

    /// Reads everything again. What is good replaces the snapshot at once and as a whole; its generation is a new one
    /// only if something in its policy or trust material differs. What is broken changes nothing but
    /// [`TrustState::rejected`]; so a deny-list of this node that is broken leaves the last good one in force.
    ///
    /// This blocks on files.
    ///
    /// # Errors
    ///
    /// What is wrong, when something is broken.
    pub fn reload(&self, now: Timestamp) -> Result<Arc<TrustSnapshot>, Arc<Rejected>> {
        self.load(&mut self.lock(), now)
    }

    /// Whether a generation of the policy repository could come into force, with every error and warning.
    ///
    /// # Errors
    ///
    /// Where it could not.
    pub fn validate(&self, files: &VerifiedFiles, now: Timestamp) -> Result<TrustSnapshot, Vec<Diagnostic>> {
        match &self.fleet {
            Some(fleet) => load_fleet(files, &fleet.channel, &fleet.floor, now),
            None => Err(vec![Diagnostic::error(
                "config.toml",
                "this node has a policy of its own: there is no [fleet]",
            )]),
        }
    }

    /// Brings a generation of the policy repository into force.
    ///
    /// # Errors
    ///
    /// Where it could not, or what this node adds is broken.
    pub fn activate(&self, files: VerifiedFiles, now: Timestamp) -> Result<Arc<TrustSnapshot>, Arc<Rejected>> {
        let mut loading = self.lock();
        if let Err(diagnostics) = self.validate(&files, now) {
            return Err(self.reject(diagnostics, now));
        }
        loading.files = Some(files);
        // Its own deny-list comes into force with it.
        loading.at_once = DenyList::default();
        self.load(&mut loading, now)
    }

    /// Reads a policy that is proposed, in place of the one that this node takes. It comes into force nowhere. What is denied and
    /// what is excepted stays as it is. This blocks on files.
    ///
    /// # Errors
    ///
    /// Every error and warning, where one of them is an error.
    pub fn propose(&self, document: &str, now: Timestamp) -> Result<TrustSnapshot, Vec<Diagnostic>> {
        let (files, additions) = {
            let loading = self.lock();
            (loading.files.clone(), loading.additions.clone())
        };
        let origin = match (&self.fleet, &files) {
            (None, _) => Origin::Disk(&self.path, self.user),
            (Some(fleet), Some(files)) => Origin::Fleet(files, fleet),
            (Some(_), None) => {
                return Err(vec![Diagnostic::error(
                    "the policy repository",
                    "no generation of it is on this node yet",
                )]);
            }
        };
        let mut proposed = load_proposed(document, origin, now)?;
        proposed.is_proposed = true;
        match (self.current(), additions) {
            (Some(current), _) => {
                proposed.denials = Arc::clone(&current.denials);
                proposed.exceptions.clone_from(&current.exceptions);
            }
            (None, Some(additions)) => proposed = proposed.with(&additions),
            (None, None) => {}
        }
        Ok(proposed)
    }

    /// Denies from now on what a list names that comes from where the policy comes from, but cannot come into force with it: a
    /// denial can only add. It is forgotten when a generation comes into force.
    pub fn deny_at_once(&self, list: &DenyList) {
        let mut loading = self.lock();
        loading.at_once = loading.at_once.union(list);
        if let Some(current) = self.current() {
            let mut snapshot = TrustSnapshot::clone(&current);
            snapshot.denials = Arc::new(snapshot.denials.union(list));
            self.current.store(Some(Arc::new(snapshot)));
        }
    }

    fn load(&self, loading: &mut Loading, now: Timestamp) -> Result<Arc<TrustSnapshot>, Arc<Rejected>> {
        let Loaded {
            outcome,
            watched: mut folders,
        } = match &self.fleet {
            None => load_policy(&self.path, self.user, now),
            Some(fleet) => Loaded {
                outcome: match &loading.files {
                    Some(files) => load_fleet(files, &fleet.channel, &fleet.floor, now),
                    None => Err(vec![Diagnostic::error(
                        "the policy repository",
                        "no generation of it is on this node yet",
                    )]),
                },
                watched: BTreeSet::new(),
            },
        };
        let (additions, beside) = load_additions(&self.path, self.user);
        folders.extend(beside);
        let mut problems = Vec::new();
        match additions {
            Ok(additions) => loading.additions = Some(additions),
            Err(errors) => problems.extend(errors),
        }
        let snapshot = match (outcome, &loading.additions) {
            (Ok(snapshot), Some(additions)) => Some(snapshot.with(additions)),
            (Ok(_), None) => None,
            (Err(errors), _) => {
                problems.splice(0..0, errors);
                None
            }
        };
        if let Some(mut snapshot) = snapshot {
            snapshot.denials = Arc::new(snapshot.denials.union(&loading.at_once));
            if let Some(last) = self.current() {
                let same = last.fingerprint == snapshot.fingerprint;
                snapshot.generation = if same { last.generation } else { last.generation + 1 };
            }
            self.current.store(Some(Arc::new(snapshot)));
        }
        match self.current() {
            Some(snapshot) if problems.is_empty() => {
                loading.watched = folders;
                self.rejected.store(None);
                Ok(snapshot)
            }
            _ => {
                // Both what is broken and what is in use may become what they were.
                loading.watched.extend(folders);
                Err(self.reject(problems, now))
            }
        }
    }

    fn reject(&self, diagnostics: Vec<Diagnostic>, at: Timestamp) -> Arc<Rejected> {
        let rejected = Arc::new(Rejected { at, diagnostics });
        self.rejected.store(Some(Arc::clone(&rejected)));
        rejected
    }

    fn lock(&self) -> MutexGuard<'_, Loading> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
