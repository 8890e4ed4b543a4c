//! A journal for one daemon, in journald's native protocol (systemd: JOURNAL_NATIVE_PROTOCOL).
//!
//! The socket has one path for the whole machine. The daemon sees a folder of its own there, so that a machine's journald is
//! not disturbed, and daemons of tests that run at once do not share one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Where journald listens.
const FOLDER: &str = "/run/systemd/journal";

/// How long an entry may be, datagrams being sent whole.
const LONGEST: usize = 1 << 18;

/// How often it is looked for an entry that is awaited.
const LOOK: Duration = Duration::from_millis(20);

/// An entry: values by field names.
pub type Entry = BTreeMap<String, String>;

/// What was written so far.
#[derive(Debug)]
pub struct Journal {
    entries: Arc<Mutex<Vec<Entry>>>,
    folder: tempfile::TempDir,
}

/// A place in a journal, to ask for what came after it.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Journal {
    /// Listens until it is dropped.
    ///
    /// # Errors
    ///
    /// No socket could be made.
    pub fn listen() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("assay-journal-").tempdir()?;
        let socket = UnixDatagram::bind(folder.path().join("socket")).context("cannot bind the journal's socket")?;
        socket.set_read_timeout(Some(LOOK))?;
        let entries = Arc::<Mutex<Vec<Entry>>>::default();
        let kept = Arc::downgrade(&entries);
        std::thread::spawn(move || {
            let mut buffer = vec![0; LONGEST];
            while let Some(entries) = kept.upgrade() {
                if let Ok(length) = socket.recv(&mut buffer) {
                    lock(&entries).push(fields(&buffer[..length]));
                }
            }
        });
        Ok(Self { entries, folder })
    }

    /// All entries, in order.
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.entries).clone()
    }

    /// The present end.
    pub fn mark(&self) -> Mark {
        Mark(lock(&self.entries).len())
    }

    /// The entries that came after `mark`.
    pub fn since(&self, mark: Mark) -> Vec<Entry> {
        lock(&self.entries).get(mark.0..).unwrap_or_default().to_vec()
    }

    /// The first entry after `mark` with this message id of which `is` holds, as soon as it comes.
    ///
    /// # Errors
    ///
    /// It does not come within `patience`; then the error holds all that came.
    pub async fn wait_for(
        &self,
        mark: Mark,
        message_id: &str,
        patience: Duration,
        is: impl Fn(&Entry) -> bool,
    ) -> Result<Entry> {
        let started = Instant::now();
        let wanted = |entry: &Entry| entry.get("MESSAGE_ID").is_some_and(|id| id == message_id) && is(entry);
        loop {
            let entries = self.since(mark);
            if let Some(entry) = entries.iter().find(|entry| wanted(entry)) {
                return Ok(entry.clone());
            }
            if started.elapsed() > patience {
                bail!("no such entry {message_id} within {patience:?}:\n{}", shown(&entries));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// All messages with their ids, a line each.
    pub fn text(&self) -> String {
        shown(&self.entries())
    }

    /// What stands before a program's command line, so that this is its journal.
    pub(crate) fn within(&self) -> Vec<OsString> {
        let script = format!("mkdir -p {FOLDER} && mount --bind \"$0\" {FOLDER} && exec \"$@\"");
        let mut words: Vec<OsString> = ["unshare", "--mount", "--", "sh", "-c"].map(OsString::from).into();
        words.push(script.into());
        words.push(self.folder.path().into());
        words
    }
}

fn shown(entries: &[Entry]) -> String {
    let of = |entry: &Entry, field: &str| entry.get(field).cloned().unwrap_or_default();
    let lines = entries.iter().map(|entry| {
        format!(
            "{} {} {}",
            of(entry, "MESSAGE_ID"),
            of(entry, "ASSAY_CACHE"),
            of(entry, "MESSAGE")
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn lock(entries: &Mutex<Vec<Entry>>) -> MutexGuard<'_, Vec<Entry>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The fields of an entry: `NAME=value`, or the name alone, a length of eight bytes and the value.
fn fields(mut entry: &[u8]) -> Entry {
    let mut fields = Entry::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (text(&entry[..end]), &entry[end + 1..]);
        entry = rest;
        if let Some((name, value)) = line.split_once('=') {
            fields.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let Some((length, rest)) = entry.split_first_chunk::<8>() else {
            break;
        };
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some(value) = rest.get(..length) else { break };
        fields.insert(line, text(value));
        entry = rest.get(length + 1..).unwrap_or_default();
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_a_line_feed_comes_with_its_length() {
        let entry = b"PRIORITY=4\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\nASSAY_CODE=x\n";
        let expected = [("ASSAY_CODE", "x"), ("MESSAGE", "a\nb"), ("PRIORITY", "4")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(fields(entry), Entry::from(expected));
        assert!(fields(b"MESSAGE\n\xff\0\0\0\0\0\0\0a\n").is_empty());
    }
}
