//! The ledger on disk: one change a line, and now and then the whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use assay_verify::Timestamp;
use assay_verify::limits::{MAX_LEDGER_IMAGES, MAX_LEDGER_SIZE};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{Entry, Named, Past, Shared, Standing, State};
use crate::admission::events::LEDGER;

const FILE: &str = "ledger.jsonl";
/// What becomes the file when it is whole.
const NEW: &str = "ledger.jsonl.new";

/// How long the disk is left alone after it took nothing.
const PAUSE: Duration = Duration::from_secs(10);

/// A line of the file. What is not known to this version is passed over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// It is known what is here.
    Watching { since: Timestamp },
    Image {
        digest: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repository: Option<String>,
        standing: String,
        at: Timestamp,
    },
    /// A hook was told no about what may have been here.
    DeniedSince {
        digest: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repository: Option<String>,
        at: Timestamp,
    },
    Gone {
        digest: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repository: Option<String>,
    },
}

impl Line {
    pub(super) fn image(image: &Named, standing: Standing, at: Timestamp) -> Self {
        Self::Image {
            digest: image.digest.to_string(),
            repository: image.repository.as_ref().map(ToString::to_string),
            standing: word(standing).to_owned(),
            at,
        }
    }

    pub(super) fn denied_since(image: &Named, at: Timestamp) -> Self {
        Self::DeniedSince {
            digest: image.digest.to_string(),
            repository: image.repository.as_ref().map(ToString::to_string),
            at,
        }
    }

    pub(super) fn gone(image: &Named) -> Self {
        Self::Gone {
            digest: image.digest.to_string(),
            repository: image.repository.as_ref().map(ToString::to_string),
        }
    }

    pub(super) fn append_to(&self, text: &mut Vec<u8>) {
        // Strings and times always have a form in JSON, and memory takes them.
        let _ = serde_json::to_writer(&mut *text, self);
        text.push(b'\n');
    }

    /// What it says comes true. False where it says nothing that can be read.
    fn apply(self, state: &mut State) -> bool {
        match self {
            Self::Watching { since } => state.watching = Some(since),
            Self::Image {
                digest,
                repository,
                standing,
                at,
            } => {
                let (Some(image), Some(standing)) = (named(&digest, repository.as_deref()), standing_of(&standing))
                else {
                    return false;
                };
                if state.images.len() >= MAX_LEDGER_IMAGES {
                    state.make_room();
                }
                let present = false;
                state.denied_since.remove(&image);
                state.images.insert(image, Entry { standing, at, present });
            }
            Self::DeniedSince { digest, repository, at } => {
                let Some(image) = named(&digest, repository.as_deref()) else {
                    return false;
                };
                // Of what is not known there is nothing to take back.
                if state.images.contains_key(&image) {
                    state.denied_since.insert(image, at);
                }
            }
            Self::Gone { digest, repository } => {
                let Some(image) = named(&digest, repository.as_deref()) else {
                    return false;
                };
                state.denied_since.remove(&image);
                state.images.remove(&image);
            }
        }
        true
    }
}

fn named(digest: &str, repository: Option<&str>) -> Option<Named> {
    Some(Named {
        digest: digest.parse().ok()?,
        repository: repository.map(str::parse).transpose().ok()?,
    })
}

const fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Admitted => "admitted",
        Standing::Denied => "denied",
        Standing::Before => "before",
        Standing::Past(Past::NeverAsked) => "past-never-asked",
        Standing::Past(Past::Denied) => "past-denied",
        Standing::Past(Past::OtherName) => "past-other-name",
    }
}

fn standing_of(text: &str) -> Option<Standing> {
    let past = Past::ALL.map(Standing::Past);
    let every = [Standing::Admitted, Standing::Denied, Standing::Before];
    every.into_iter().chain(past).find(|standing| word(*standing) == text)
}

/// Writes what changes.
pub(super) struct Writer {
    directory: PathBuf,
    /// Where lines are appended; none where everything has to be written anew.
    open: Option<File>,
    /// Lines of the file, roughly.
    length: usize,
}

impl Writer {
    /// Reads what is there.
    pub(super) fn open(directory: &Path, state: &mut State) -> Self {
        let path = directory.join(FILE);
        match read(&path, state) {
            Ok(0) => {}
            Ok(unreadable) => warn!(
                message_id = LEDGER,
                "{unreadable} lines of {} cannot be read: what they say is forgotten",
                path.display()
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                *state = State::default();
                warn!(
                    message_id = LEDGER,
                    "{} cannot be read and begins anew: {error}; images that are here count as having been here before",
                    path.display()
                );
            }
        }
        // The first change writes the whole: what was torn or superseded goes with it.
        state.rewrite = false;
        Self {
            directory: directory.to_owned(),
            open: None,
            length: 0,
        }
    }

    /// Writes changes until the ledger is shut down.
    pub(super) fn run(mut self, shared: &Shared) {
        loop {
            let mut state = shared.lock();
            while state.pending.is_empty() && !state.rewrite && !state.stopping {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let stopping = state.stopping;
            let entries = state.images.len();
            let whole = state.rewrite || self.open.is_none() || self.length > 2 * entries + 1_000;
            let nothing = state.pending.is_empty() && !state.rewrite;
            let text = if whole {
                state.dump()
            } else {
                std::mem::take(&mut state.pending)
            };
            state.pending.clear();
            state.rewrite = false;
            state.writing = true;
            drop(state);
            let written = match (nothing, whole) {
                (true, _) => Ok(()),
                (false, true) => self.write_whole(&text),
                (false, false) => self.append(&text),
            };
            if let Ok(()) = written {
                let lines = text.iter().filter(|byte| **byte == b'\n').count();
                self.length = if whole { lines } else { self.length + lines };
            }
            self.conclude(shared, written, stopping);
            if stopping {
                return;
            }
        }
    }

    /// Says what came of it, and waits where the disk takes nothing.
    fn conclude(&mut self, shared: &Shared, written: io::Result<()>, stopping: bool) {
        let mut state = shared.lock();
        state.writing = false;
        if stopping {
            state.stopping = false;
        }
        match written {
            Ok(()) => {
                shared.changed.notify_all();
                if state.degraded.take().is_some() {
                    drop(state);
                    info!(
                        message_id = LEDGER,
                        "the ledger of admissions is written again, as a whole"
                    );
                }
            }
            Err(error) => {
                self.open = None;
                state.rewrite = true;
                let message = error.to_string();
                shared.changed.notify_all();
                if state.degraded.replace(message.clone()).is_none() {
                    warn!(
                        message_id = LEDGER,
                        "the ledger of admissions in {} cannot be written: {message}; it is kept in memory, and after a restart \
                         images that were admitted since may be reported as having come past the hook",
                        self.directory.display()
                    );
                }
                if !stopping {
                    let awaited = shared.changed.wait_timeout_while(state, PAUSE, |state| !state.stopping);
                    drop(awaited);
                }
            }
        }
    }

    fn append(&mut self, text: &[u8]) -> io::Result<()> {
        let file = self.open.as_mut().ok_or_else(|| io::Error::other("it is not open"))?;
        file.write_all(text)?;
        file.sync_data()
    }

    /// Writes everything beside the file and exchanges them, so that a power failure leaves one of the two.
    fn write_whole(&mut self, text: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let (new, path) = (self.directory.join(NEW), self.directory.join(FILE));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.directory)?.sync_all()?;
        // It goes on where it ends.
        self.open = Some(file);
        Ok(())
    }
}

/// Reads the file and returns how many lines say nothing; half a line at the end is what a power failure leaves.
fn read(path: &Path, state: &mut State) -> io::Result<usize> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_LEDGER_SIZE {
        return Err(io::Error::other(format!("{length} bytes, more than {MAX_LEDGER_SIZE}")));
    }
    let mut unreadable = 0;
    for line in BufReader::new(io::Read::take(file, MAX_LEDGER_SIZE)).split(b'\n') {
        let understood = serde_json::from_slice::<Line>(&line?).is_ok_and(|line| line.apply(state));
        unreadable += usize::from(!understood);
    }
    Ok(unreadable)
}
