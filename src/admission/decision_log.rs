//! Every decision as a line of JSON on the node's disk, for who looks at it later without the journal.
//!
//! A thread of its own writes them. Verdicts never wait for it: they leave a copy in a bounded queue, and where that is full, or
//! the disk is, the line is lost, counted and said. Files are bounded by size and count.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use assay_verify::Timestamp;
use assay_verify::limits::{DRAIN_TIMEOUT, MAX_DECISION_BATCH, MAX_QUEUED_DECISIONS};
use assay_verify::untrusted::Untrusted;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::events::DECISION_LOG;
use super::pipeline::Decision;
use super::question::{Hook, Question};
use super::verdict::Outcome;

/// A line of the log. What reads it takes lines with fewer and with more fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// When it was decided.
    pub time: Timestamp,
    /// The same as in the journal and in the answer.
    pub id: String,
    /// Who asked.
    pub hook: String,
    /// The canonical repository; empty where the question was malformed.
    pub repository: String,
    /// The digest; empty where the question was malformed.
    pub digest: String,
    /// Of the manifest or index.
    pub media_type: String,
    /// Of the manifest or index.
    pub size: u64,
    /// `admit`, `audit` or `deny`.
    pub verdict: String,
    /// The code of a denial, also where audit mode overrode it.
    pub code: String,
    /// The rule that decided.
    pub rule: String,
    /// The revision of policy and trust material.
    pub policy: String,
    /// How much work it took.
    pub cache: String,
    /// How long the asker waited.
    pub duration_us: u64,
    /// What was found, for people.
    pub reason: String,
    /// Decisions before this one that could not be written.
    #[serde(skip_serializing_if = "is_zero")]
    pub missing_before: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Where the log is, and how much of it is kept.
#[derive(Clone, Debug)]
pub struct DecisionLogOptions {
    /// Its folder.
    pub directory: PathBuf,
    /// The bytes of a file before the next is begun.
    pub file_size: u64,
    /// How many files are kept, the current one included.
    pub files: u32,
}

/// The file that is written to. Those before it have `.1`, `.2` and so on behind the name.
pub const CURRENT: &str = "decisions.jsonl";

/// The files of a log, the oldest first.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let before = (1..).map(|number| directory.join(format!("{CURRENT}.{number}")));
    let mut files: Vec<_> = before.take_while(|path| path.is_file()).collect();
    files.reverse();
    files.extend(Some(directory.join(CURRENT)).filter(|path| path.is_file()));
    files
}

enum Message {
    Decided(Box<(Timestamp, Option<Question>, Option<Hook>, Decision)>),
    Stop(SyncSender<()>),
}

/// What became of decisions, counted.
#[derive(Debug, Default)]
pub struct DecisionCounts {
    /// Lines that were written.
    pub written: AtomicU64,
    /// Lost, because the thread was behind.
    pub dropped_by_queue: AtomicU64,
    /// Lost, because the disk did not take them.
    pub dropped_by_disk: AtomicU64,
    /// Whether the disk took the last ones.
    pub degraded: AtomicBool,
}

/// The log's handle. Clones share one log.
#[derive(Clone)]
pub struct DecisionLog {
    queue: SyncSender<Message>,
    counts: Arc<DecisionCounts>,
}

impl DecisionLog {
    /// Starts the log's thread. A folder that cannot be made or written is said, counted and tried again with the next decision.
    ///
    /// # Errors
    ///
    /// When the system refuses a thread.
    pub fn start(options: DecisionLogOptions) -> io::Result<Self> {
        let (queue, messages) = sync_channel(MAX_QUEUED_DECISIONS);
        let counts = Arc::<DecisionCounts>::default();
        let writer = Writer {
            options,
            counts: counts.clone(),
            open: None,
            reported: 0,
        };
        thread::Builder::new()
            .name("decisions".into())
            .spawn(move || writer.run(&messages))?;
        Ok(Self { queue, counts })
    }

    /// What became of decisions.
    pub fn counts(&self) -> &DecisionCounts {
        &self.counts
    }

    /// Leaves a decision for the thread. Never waits.
    pub(super) fn record(&self, now: Timestamp, question: Option<&Question>, hook: Option<Hook>, decision: &Decision) {
        let message = Message::Decided(Box::new((now, question.cloned(), hook, decision.clone())));
        if self.queue.try_send(message).is_err() {
            self.counts.dropped_by_queue.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what is in the queue, and ends the thread. Blocks for as long as that takes, at most [`DRAIN_TIMEOUT`].
    pub fn shut_down(&self) {
        let (done, ended) = sync_channel(1);
        // A full queue says that the disk hangs: then nothing more is to be had.
        if self.queue.try_send(Message::Stop(done)).is_ok() {
            let _ = ended.recv_timeout(DRAIN_TIMEOUT);
        }
    }
}

/// The file that is written to.
struct Open {
    file: File,
    length: u64,
}

struct Writer {
    options: DecisionLogOptions,
    counts: Arc<DecisionCounts>,
    open: Option<Open>,
    /// How many of those that were dropped have been said.
    reported: u64,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            let mut lines = Vec::new();
            let mut count = 0;
            let mut stop = None;
            let mut next = Some(message);
            let dropped = self.dropped();
            while let Some(message) = next.take() {
                match message {
                    Message::Stop(done) => stop = Some(done),
                    Message::Decided(decided) => {
                        let (now, question, hook, decision) = *decided;
                        let mut record = record(now, question.as_ref(), hook, &decision);
                        if count == 0 {
                            record.missing_before = dropped - self.reported;
                        }
                        // Strings and numbers always have a form in JSON, and memory takes them.
                        let _ = serde_json::to_writer(&mut lines, &record);
                        lines.push(b'\n');
                        count += 1;
                    }
                }
                if stop.is_none() && lines.len() < MAX_DECISION_BATCH {
                    next = messages.try_recv().ok();
                }
            }
            if count > 0 {
                self.write(&lines, count, dropped);
            }
            if let Some(done) = stop {
                // A power cut takes what was written last; an orderly end does not.
                let _ = self.open.as_ref().map(|open| open.file.sync_data());
                let _ = done.send(());
                return;
            }
        }
    }

    fn dropped(&self) -> u64 {
        self.counts.dropped_by_queue.load(Ordering::Relaxed) + self.counts.dropped_by_disk.load(Ordering::Relaxed)
    }

    fn write(&mut self, lines: &[u8], count: u64, dropped: u64) {
        let was_degraded = self.counts.degraded.load(Ordering::Relaxed);
        match self.append(lines) {
            Ok(()) => {
                self.counts.written.fetch_add(count, Ordering::Relaxed);
                self.counts.degraded.store(false, Ordering::Relaxed);
                if dropped > self.reported || was_degraded {
                    info!(
                        message_id = DECISION_LOG,
                        "the decision log is written again; it lacks {} decisions, which the journal has",
                        dropped - self.reported
                    );
                }
                self.reported = dropped;
            }
            Err(error) => {
                self.counts.degraded.store(true, Ordering::Relaxed);
                self.counts.dropped_by_disk.fetch_add(count, Ordering::Release);
                if !was_degraded {
                    warn!(
                        message_id = DECISION_LOG,
                        "the decision log in {} cannot be written: {error}; verdicts go on, and the journal has them",
                        self.options.directory.display()
                    );
                }
            }
        }
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        if open.length > 0 && open.length + lines.len() as u64 > self.options.file_size {
            open.file.sync_data()?;
            self.rotate()?;
            open = self.open()?;
        }
        if let Err(error) = open.file.write_all(lines) {
            // Half a line is none. Where it cannot be taken back, the next opening ends it.
            let _ = open.file.set_len(open.length);
            return Err(error);
        }
        open.length += lines.len() as u64;
        self.open = Some(open);
        Ok(())
    }

    fn open(&self) -> io::Result<Open> {
        fs::create_dir_all(&self.options.directory)?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(self.options.directory.join(CURRENT))?;
        let mut length = file.metadata()?.len();
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            // A power cut may have left half a line.
            if last != *b"\n" {
                file.write_all(b"\n")?;
                length += 1;
            }
        }
        Ok(Open { file, length })
    }

    fn rotate(&self) -> io::Result<()> {
        let name = |number: u32| match number {
            0 => self.options.directory.join(CURRENT),
            _ => self.options.directory.join(format!("{CURRENT}.{number}")),
        };
        let last = self.options.files.saturating_sub(1);
        // Fewer files may be kept now than before.
        let mut beyond = last.max(1);
        while name(beyond).is_file() {
            fs::remove_file(name(beyond))?;
            beyond += 1;
        }
        for number in (0..last).rev() {
            match fs::rename(name(number), name(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if last == 0 {
            fs::remove_file(name(0))?;
        }
        Ok(())
    }
}

fn record(now: Timestamp, question: Option<&Question>, hook: Option<Hook>, decision: &Decision) -> Record {
    let verdict = &decision.verdict;
    let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
    Record {
        time: now,
        id: decision.id.to_string(),
        hook: hook.map_or("unknown", Hook::as_str).to_owned(),
        repository: question.map(|asked| asked.repository.to_string()).unwrap_or_default(),
        digest: question
            .map(|asked| asked.descriptor.digest.to_string())
            .unwrap_or_default(),
        media_type: question
            .map(|asked| Untrusted::new(asked.descriptor.media_type.to_string()).to_string())
            .unwrap_or_default(),
        size: question.map_or(0, |asked| asked.descriptor.size),
        verdict: match verdict.outcome {
            Outcome::Admit(_) => "admit",
            Outcome::Audited(_) => "audit",
            Outcome::Deny(_) => "deny",
        }
        .to_owned(),
        code: verdict
            .outcome
            .denial()
            .map_or("", |denial| denial.code.as_str())
            .to_owned(),
        rule: text(&verdict.rule),
        policy: text(&verdict.revision),
        cache: decision.cache.as_str().to_owned(),
        duration_us: u64::try_from(decision.duration.as_micros()).unwrap_or(u64::MAX),
        reason: verdict.finding(),
        missing_before: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use assay_verify::code::Code;
    use uuid::Uuid;

    use super::super::pipeline::CacheState;
    use super::super::verdict::{Denial, Verdict};
    use super::*;

    fn decision() -> Decision {
        Decision {
            id: Uuid::now_v7(),
            verdict: Arc::new(Verdict {
                outcome: Outcome::Deny(Denial::new(Code::Unsigned, "no signature")),
                rule: Some("apps".into()),
                revision: None,
            }),
            cache: CacheState::Gathered,
            duration: Duration::from_millis(2),
        }
    }

    fn question() -> Question {
        let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let described = Some(("application/vnd.oci.image.manifest.v1+json", digest, 5));
        Question::parse("r.example/app", digest, described, Hook::ContainerdImageVerifier).unwrap()
    }

    fn start(directory: &Path, file_size: u64, files: u32) -> DecisionLog {
        DecisionLog::start(DecisionLogOptions {
            directory: directory.into(),
            file_size,
            files,
        })
        .unwrap()
    }

    fn read(directory: &Path) -> Vec<Record> {
        let texts = files(directory)
            .into_iter()
            .map(|file| fs::read_to_string(file).unwrap());
        let lines: Vec<_> = texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    fn record_one(log: &DecisionLog, decision: &Decision) {
        let hook = Some(Hook::ContainerdImageVerifier);
        log.record(Timestamp::UNIX_EPOCH, Some(&question()), hook, decision);
    }

    #[test]
    fn a_decision_is_a_line_with_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("decisions");
        let log = start(&directory, 1 << 20, 2);
        let decided = decision();
        record_one(&log, &decided);
        log.shut_down();
        let [line] = read(&directory).try_into().unwrap();
        assert_eq!(line.id, decided.id.to_string());
        assert_eq!(
            (line.repository.as_str(), line.code.as_str()),
            ("r.example/app", "unsigned")
        );
        assert_eq!((line.verdict.as_str(), line.duration_us), ("deny", 2000));
    }

    #[test]
    fn files_are_bounded_by_size_and_count_and_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut last = String::new();
        for _ in 0..20 {
            // Each life is one batch.
            let log = start(folder.path(), 1000, 3);
            let decided = decision();
            record_one(&log, &decided);
            log.shut_down();
            last = decided.id.to_string();
        }
        let found = files(folder.path());
        assert_eq!(found.len(), 3);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        assert!(found.iter().all(|file| fs::metadata(file).unwrap().len() <= 1000));
        assert_eq!(read(folder.path()).last().unwrap().id, last);
    }

    #[test]
    fn half_a_line_of_before_costs_no_other() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CURRENT), "{\"id\":\"torn").unwrap();
        let log = start(folder.path(), 1 << 20, 2);
        record_one(&log, &decision());
        log.shut_down();
        assert_eq!(read(folder.path()).len(), 1);
    }

    #[test]
    fn a_full_disk_loses_lines_counts_them_and_says_so_in_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let current = folder.path().join(CURRENT);
        symlink("/dev/full", &current).unwrap();
        let log = start(folder.path(), 1 << 20, 2);
        record_one(&log, &decision());
        // The thread takes one after the other: once the first is counted, the disk has been tried.
        while log.counts().dropped_by_disk.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        assert!(log.counts().degraded.load(Ordering::Relaxed));
        fs::remove_file(&current).unwrap();
        record_one(&log, &decision());
        log.shut_down();
        let [line] = read(folder.path()).try_into().unwrap();
        assert_eq!(line.missing_before, 1);
        assert!(!log.counts().degraded.load(Ordering::Relaxed));
    }

    #[test]
    fn a_full_queue_loses_the_decision_and_never_waits() {
        // Nobody takes from this queue.
        let (queue, _messages) = sync_channel(1);
        let log = DecisionLog {
            queue,
            counts: Arc::default(),
        };
        record_one(&log, &decision());
        record_one(&log, &decision());
        assert_eq!(log.counts().dropped_by_queue.load(Ordering::Relaxed), 1);
    }
}
