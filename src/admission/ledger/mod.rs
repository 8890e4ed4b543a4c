//! What hooks were told about images, kept over restarts and long after a verdict is forgotten; and which of the images that
//! containerd has came here without that.
//!
//! ```text
//! a hook is told ─▶ admitted | denied ┐
//!                                     ├─▶ assay-gate reports what is there ─▶ it was admitted, or it came past the hook
//! there before anybody watched ───────┘
//! ```
//!
//! What counts is the image under its name: an image that was admitted as one and is there as another was never judged as
//! that. Memory is what is asked; a thread of its own writes it down ([`file`]), and no verdict waits for that. A power failure
//! can cost the last moments, and then an image that was admitted in them is reported: a false alarm, and never a silence. That it is
//! watched is on disk before anything else is said.

mod file;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use assay_verify::Timestamp;
use assay_verify::digest::Digest;
use assay_verify::limits::{DRAIN_TIMEOUT, LEDGER_ROOM, MAX_LEDGER_IMAGES, MAX_PENDING_LEDGER};
use assay_verify::reference::{Reference, Repository};

use self::file::{Line, Writer};

/// Where the ledger is.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// The folder of its file.
    pub directory: PathBuf,
    /// The images that the hook admits without asking. It is read when something was not asked about.
    pub bootstrap_list: PathBuf,
}

/// An image under one of its names; none where containerd has it by an id alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// What would be unpacked.
    pub digest: Digest,
    /// Under which name.
    pub repository: Option<Repository>,
}

impl Named {
    /// Reads a name as containerd has it. CRI also gives every image its id for a name, which is no reference, although it can
    /// be read as one.
    pub fn parse(name: &str, digest: Digest) -> Self {
        let repository = match name.parse::<Digest>() {
            Ok(_) => None,
            Err(_) => name.parse::<Reference>().ok().map(|reference| reference.repository),
        };
        Self { digest, repository }
    }
}

/// How an image came to be here, or was kept from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Admitted,
    Denied,
    /// There before anybody watched.
    Before,
    /// There without having been admitted, and said.
    Past(Past),
}

/// How an image that is here was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Past {
    /// No hook was asked: an import, a local pull, another client.
    NeverAsked,
    /// A hook was told no, and it is here all the same.
    Denied,
    /// It was admitted under another name.
    OtherName,
}

impl Past {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::NeverAsked, Self::Denied, Self::OtherName];

    /// The word in journals and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeverAsked => "never-asked",
            Self::Denied => "denied",
            Self::OtherName => "other-name",
        }
    }
}

/// What is known of an image that may be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It was admitted.
    Admitted,
    /// A hook was told no.
    Denied,
    /// It was there before anybody watched.
    Before,
    /// Nobody asked.
    Never,
    /// It was admitted under another name.
    UnderAnotherName,
}

/// What the last reports came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Images under their names, all in all.
    pub images: usize,
    /// Those of them that came past the hook, in the order of [`Past::ALL`].
    pub past: [usize; Past::ALL.len()],
    /// When everything was last reported; where that was before the start, when that was first. None where it never was.
    pub reported_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    standing: Standing,
    /// Since when it stands so.
    at: Timestamp,
    /// Whether it was there when that was last told.
    present: bool,
}

/// The ledger's handle. Clones share one ledger.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
    bootstrap_list: Arc<PathBuf>,
}

struct Shared {
    state: Mutex<State>,
    /// There is something to write, or it is over.
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct State {
    images: BTreeMap<Named, Entry>,
    /// Those of them that a hook was told no about while they may have been here, and when: it counts once they are gone.
    denied_since: BTreeMap<Named, Timestamp>,
    /// Since when it is known what is here; none while that was never told.
    watching: Option<Timestamp>,
    reported_at: Option<Timestamp>,
    /// Changes that are not on disk.
    pending: Vec<u8>,
    /// What was pending is being written.
    writing: bool,
    /// Everything has to be written, and not only what changed.
    rewrite: bool,
    stopping: bool,
    /// Why the disk does not have it; none while it does.
    degraded: Option<String>,
}

impl State {
    fn set(&mut self, image: Named, standing: Standing, at: Timestamp, present: bool) {
        if self.images.len() >= MAX_LEDGER_IMAGES && !self.images.contains_key(&image) {
            self.make_room();
        }
        self.log(&Line::image(&image, standing, at));
        self.denied_since.remove(&image);
        self.images.insert(image, Entry { standing, at, present });
    }

    fn deny_once_gone(&mut self, image: Named, at: Timestamp) {
        if !self.denied_since.contains_key(&image) {
            self.log(&Line::denied_since(&image, at));
            self.denied_since.insert(image, at);
        }
    }

    fn remove(&mut self, image: &Named) {
        self.denied_since.remove(image);
        if self.images.remove(image).is_some() {
            self.log(&Line::gone(image));
        }
    }

    /// Forgets the oldest, those first that are not here.
    fn make_room(&mut self) {
        let mut oldest: Vec<_> = (self.images.iter())
            .map(|(image, entry)| (entry.present, entry.at, image.clone()))
            .collect();
        oldest.sort_unstable();
        for (_, _, image) in oldest.into_iter().take(LEDGER_ROOM) {
            self.denied_since.remove(&image);
            self.images.remove(&image);
        }
        self.rewrite = true;
    }

    fn log(&mut self, line: &Line) {
        if self.rewrite {
            return;
        }
        line.append_to(&mut self.pending);
        if self.pending.len() > MAX_PENDING_LEDGER {
            self.pending.clear();
            self.rewrite = true;
        }
    }

    /// Everything, as it is written.
    fn dump(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Some(since) = self.watching {
            Line::Watching { since }.append_to(&mut text);
        }
        for (image, entry) in &self.images {
            Line::image(image, entry.standing, entry.at).append_to(&mut text);
        }
        for (image, at) in &self.denied_since {
            Line::denied_since(image, *at).append_to(&mut text);
        }
        text
    }

    /// Every name of the same bytes.
    fn names_of<'a>(&'a self, digest: &'a Digest) -> impl Iterator<Item = (&'a Named, &'a Entry)> {
        let first = Named {
            digest: digest.clone(),
            repository: None,
        };
        self.images
            .range(first..)
            .take_while(|(image, _)| image.digest == *digest)
    }

    /// How the other names of the same bytes stand: an admission counts before what came past the hook.
    fn standing_of_others(&self, image: &Named) -> Option<Standing> {
        let others = (self.names_of(&image.digest)).filter(|(other, _)| *other != image);
        let standings: Vec<_> = others.map(|(_, entry)| entry.standing).collect();
        let is_here = |standing: &&Standing| **standing != Standing::Denied;
        let admitted = standings.iter().find(|standing| **standing == Standing::Admitted);
        admitted.or_else(|| standings.iter().find(is_here)).copied()
    }

    fn admitted_as_another(&self, image: &Named) -> bool {
        let mut names = self.names_of(&image.digest);
        names.any(|(other, entry)| other != image && entry.standing == Standing::Admitted)
    }
}

impl Ledger {
    /// Reads the ledger and starts its thread. What cannot be read is said, and it begins anew: then what is here counts as
    /// having been here before.
    ///
    /// # Errors
    ///
    /// When the system refuses a thread.
    pub fn open(options: LedgerOptions) -> io::Result<Self> {
        let mut state = State::default();
        let writer = Writer::open(&options.directory, &mut state);
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let writing = shared.clone();
        thread::Builder::new()
            .name("ledger".into())
            .spawn(move || writer.run(&writing))?;
        Ok(Self {
            shared,
            bootstrap_list: Arc::new(options.bootstrap_list),
        })
    }

    /// The images that the hook admits without asking.
    pub(super) fn bootstrap_list(&self) -> &PathBuf {
        &self.bootstrap_list
    }

    /// Remembers that an image was admitted under a name.
    pub(super) fn admitted(&self, repository: &Repository, digest: &Digest, now: Timestamp) {
        let image = Named {
            digest: digest.clone(),
            repository: Some(repository.clone()),
        };
        let mut state = self.shared.lock();
        let known = state.images.get(&image).copied();
        let stays = |entry: Entry| entry.standing == Standing::Admitted && !state.denied_since.contains_key(&image);
        if known.is_some_and(stays) {
            return;
        }
        state.set(image, Standing::Admitted, now, known.is_some_and(|entry| entry.present));
        self.wake(state);
    }

    /// Remembers that a hook was told no. What is here already came here otherwise, and stays what it is until it goes.
    pub(super) fn denied(&self, repository: &Repository, digest: &Digest, now: Timestamp) {
        let image = Named {
            digest: digest.clone(),
            repository: Some(repository.clone()),
        };
        let mut state = self.shared.lock();
        let told = state.reported_at;
        // What came since everything was last told may be here as well; so may everything, until that was told once.
        let may_be_here = |entry: &Entry| entry.present || told.is_none_or(|told| entry.at > told);
        match state.images.get(&image) {
            Some(entry) if entry.standing == Standing::Denied => return,
            Some(entry) if may_be_here(entry) => state.deny_once_gone(image, now),
            _ => state.set(image, Standing::Denied, now, false),
        }
        self.wake(state);
    }

    /// Takes what containerd has, all of it or what appeared, and returns what came past the hook and was not known to. With
    /// the first report of everything, what was not asked about counts as having been here before; until then nothing can
    /// be said of what appears.
    pub(super) fn report(
        &self,
        images: Vec<Named>,
        all: bool,
        is_exempt: impl Fn(&Named) -> bool,
        now: Timestamp,
    ) -> Vec<(Named, Past)> {
        let mut state = self.shared.lock();
        let first = state.watching.is_none();
        if first && !all {
            return Vec::new();
        }
        if all {
            for entry in state.images.values_mut() {
                entry.present = false;
            }
        }
        let mut found = Vec::new();
        let (named, by_id): (Vec<_>, Vec<_>) = images.into_iter().partition(|image| image.repository.is_some());
        // An id is one more name of an image that has others; alone, it is the image's.
        for image in named.into_iter().chain(by_id) {
            if image.repository.is_none()
                && state
                    .names_of(&image.digest)
                    .any(|(other, entry)| other.repository.is_some() && entry.present)
            {
                continue;
            }
            if let Some(entry) = state.images.get_mut(&image) {
                entry.present = true;
                if entry.standing != Standing::Denied {
                    continue;
                }
            }
            let was_denied = state.images.contains_key(&image);
            // CRI gives every image its id for a name, which stays when the others go: then it is what they were.
            let inherited = match image.repository {
                None => state.standing_of_others(&image),
                Some(_) => None,
            };
            let standing = if first {
                Standing::Before
            } else if let Some(standing) = inherited {
                state.set(image, standing, now, true);
                continue;
            } else if is_exempt(&image) {
                Standing::Admitted
            } else if was_denied {
                Standing::Past(Past::Denied)
            } else if state.admitted_as_another(&image) {
                Standing::Past(Past::OtherName)
            } else {
                Standing::Past(Past::NeverAsked)
            };
            state.set(image.clone(), standing, now, true);
            if let Standing::Past(past) = standing {
                found.push((image, past));
            }
        }
        if all {
            // The last that a hook was told of these was no, and they are not here.
            let denied: Vec<_> = (state.denied_since.iter())
                .filter(|(image, _)| state.images.get(image).is_none_or(|entry| !entry.present))
                .map(|(image, at)| (image.clone(), *at))
                .collect();
            for (image, at) in denied {
                state.set(image, Standing::Denied, at, false);
            }
            // What goes and comes back without a pull is another arrival. What was admitted stays admitted.
            let gone: Vec<_> = (state.images.iter())
                .filter(|(_, entry)| !entry.present && matches!(entry.standing, Standing::Before | Standing::Past(_)))
                .map(|(image, _)| image.clone())
                .collect();
            for image in gone {
                state.remove(&image);
            }
            if first {
                state.watching = Some(now);
                state.log(&Line::Watching { since: now });
            }
            state.reported_at = Some(now);
        }
        self.wake(state);
        if first {
            // From now on it is told what comes. A daemon that died without that on disk would take everything for old.
            self.wait_until_written();
        }
        found
    }

    /// Waits until the disk has everything, or it is known that it does not take it.
    fn wait_until_written(&self) {
        let state = self.shared.lock();
        let is_under_way = |state: &mut State| {
            (state.writing || state.rewrite || !state.pending.is_empty()) && state.degraded.is_none()
        };
        let waited = (self.shared.changed).wait_timeout_while(state, DRAIN_TIMEOUT, is_under_way);
        drop(waited);
    }

    /// What is known of an image; none while nobody watches and nothing else is known.
    pub fn asked(&self, image: &Named) -> Option<Asked> {
        let state = self.shared.lock();
        Some(match state.images.get(image).map(|entry| entry.standing) {
            Some(Standing::Admitted) => Asked::Admitted,
            Some(Standing::Denied | Standing::Past(Past::Denied)) => Asked::Denied,
            Some(Standing::Before) => Asked::Before,
            _ if state.admitted_as_another(image) => match image.repository {
                Some(_) => Asked::UnderAnotherName,
                None => Asked::Admitted,
            },
            _ if state.watching.is_none() => return None,
            _ => Asked::Never,
        })
    }

    /// What is here, as far as that was told.
    pub fn presence(&self) -> Presence {
        let state = self.shared.lock();
        let mut presence = Presence {
            reported_at: state.reported_at.or(state.watching),
            ..Presence::default()
        };
        for entry in state.images.values().filter(|entry| entry.present) {
            presence.images += 1;
            if let Standing::Past(past) = entry.standing
                && let Some(count) = presence.past.get_mut(past as usize)
            {
                *count += 1;
            }
        }
        presence
    }

    /// Why the ledger cannot be written; none while it can.
    pub fn degraded(&self) -> Option<String> {
        self.shared.lock().degraded.clone()
    }

    /// Writes what is not written yet, and ends the thread. Blocks for as long as that takes, at most a few seconds.
    pub fn shut_down(&self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        self.shared.changed.notify_all();
        let ended = |state: &mut State| state.stopping;
        // The thread takes the flag back when it is done.
        let waited = (self.shared.changed).wait_timeout_while(state, DRAIN_TIMEOUT, ended);
        drop(waited);
    }

    fn wake(&self, state: MutexGuard<'_, State>) {
        let something = !state.pending.is_empty() || state.rewrite;
        drop(state);
        if something {
            self.shared.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
