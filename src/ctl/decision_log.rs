//! `assayctl decisions`: the daemon's log of decisions, read from its files, whether or not the daemon runs.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use assay_verify::Timestamp;
use assay_verify::limits::MAX_DECISION_LINE;
use assay_verify::policy::Pattern;
use assay_verify::reference::Repository;
use assay_verify::untrusted::{Untrusted, one_line};
use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Span};
use notify::Watcher as _;

use super::{DENIED, DONE, Failure, Output};
use crate::admission::decision_log::{Record, files};
use crate::daemon::config::Config;

/// Which decisions are shown, and from where.
#[derive(Args)]
pub(super) struct Decisions {
    /// Only those with this verdict
    #[arg(long, value_enum)]
    verdict: Option<VerdictWord>,
    /// Only those with this code, e.g. unsigned
    #[arg(long)]
    code: Option<assay_verify::code::Code>,
    /// Only those of images that match this pattern, e.g. registry.example/prod/**, or of this digest
    #[arg(long, value_name = "PATTERN|DIGEST")]
    image: Option<Image>,
    /// Only those since this time, e.g. 2026-11-21T12:00:00Z, or so long ago, e.g. 2h or 7d
    #[arg(long, value_name = "TIME|AGE", value_parser = since)]
    since: Option<Timestamp>,
    /// Only those that this hook asked for
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
    /// Only the one with this id, or those whose id begins so
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Go on with what is decided from now on
    #[arg(long, short)]
    follow: bool,
    /// The folder of the log [default: as in /etc/assayd/config.toml]
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VerdictWord {
    Admit,
    Audit,
    Deny,
}

#[derive(Clone)]
enum Image {
    Pattern(Pattern),
    Digest(String),
}

impl std::str::FromStr for Image {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(digest) = text.parse::<assay_verify::digest::Digest>() {
            return Ok(Self::Digest(digest.to_string()));
        }
        text.parse().map(Self::Pattern).map_err(|error| format!("{error}"))
    }
}

fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let expected = || "expected a time such as 2026-11-21T12:00:00Z, or an age such as 15m, 2h or 7d".to_owned();
    // Days are 24 hours here.
    let age = match text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok()) {
        Some(days) => days.checked_mul(24 * 3600).map(SignedDuration::from_secs),
        None => text
            .parse::<Span>()
            .ok()
            .and_then(|span| SignedDuration::try_from(span).ok()),
    };
    let age = age.filter(|age| !age.is_negative()).ok_or_else(expected)?;
    Timestamp::now().checked_sub(age).map_err(|_| expected())
}

impl Decisions {
    fn wants(&self, record: &Record) -> bool {
        let verdict = self.verdict.is_none_or(|verdict| {
            record.verdict
                == match verdict {
                    VerdictWord::Admit => "admit",
                    VerdictWord::Audit => "audit",
                    VerdictWord::Deny => "deny",
                }
        });
        let image = self.image.as_ref().is_none_or(|image| match image {
            Image::Digest(digest) => record.digest == *digest,
            Image::Pattern(pattern) => (record.repository.parse::<Repository>()).is_ok_and(|one| pattern.matches(&one)),
        });
        verdict
            && image
            && self.code.is_none_or(|code| record.code == code.as_str())
            && self.since.is_none_or(|since| record.time >= since)
            && self.hook.as_ref().is_none_or(|hook| record.hook == *hook)
            && self.id.as_ref().is_none_or(|id| record.id.starts_with(id.as_str()))
    }
}

/// How often, and how long apart, it is looked for a file that is nowhere. Renaming all of them takes less than a millisecond.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// How far the log was read: in which file, by its inode, and where in it.
#[derive(Clone, Copy, Default)]
pub(super) struct Position {
    inode: u64,
    offset: u64,
}

/// The files of the log, the oldest first, with their inodes.
fn open_files(directory: &Path) -> std::io::Result<Vec<(u64, File)>> {
    let mut opened = Vec::new();
    for path in files(directory) {
        match File::open(&path) {
            Ok(file) => opened.push((file.metadata()?.ino(), file)),
            // It was the oldest, and had to go.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(std::io::Error::new(
                    error.kind(),
                    format!("{}: {error}", path.display()),
                ));
            }
        }
    }
    Ok(opened)
}

/// Reads what came after a position, and hands each whole line over.
pub(super) fn read_on(directory: &Path, position: &mut Position, take: &mut impl FnMut(&[u8])) -> std::io::Result<()> {
    let mut opened = open_files(directory)?;
    // While files get other names, the one that was read last can be seen under none. It is gone only if it stays so.
    for _ in 0..LOOKS {
        if position.inode == 0 || opened.iter().any(|(inode, _)| *inode == position.inode) {
            break;
        }
        std::thread::sleep(BETWEEN_LOOKS);
        opened = open_files(directory)?;
    }
    // Where the file is gone, all that is left is newer.
    let known = opened.iter().position(|(inode, _)| *inode == position.inode);
    for (inode, mut file) in opened.into_iter().skip(known.unwrap_or(0)) {
        if inode != position.inode {
            *position = Position { inode, offset: 0 };
        }
        file.seek(SeekFrom::Start(position.offset))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.by_ref().take(MAX_DECISION_LINE).read_until(b'\n', &mut line)?;
            // The rest of a line that is being written comes next time.
            if read == 0 || (line.last() != Some(&b'\n') && (read as u64) < MAX_DECISION_LINE) {
                break;
            }
            position.offset += read as u64;
            take(&line);
        }
    }
    Ok(())
}

/// Shows the decisions. Exits 1 where there is none to show.
pub(super) fn run(output: Output, asked: &Decisions) -> Result<u8, Failure> {
    let directory = match &asked.directory {
        Some(directory) => directory.clone(),
        None => {
            let config = Config::load(None).map_err(|error| Failure::Input(error.to_string()))?;
            config
                .decision_log_options()
                .map(|options| options.directory)
                .ok_or_else(|| {
                    Failure::Input(
                        "this node keeps no decision log: [decision_log] in config.toml has files = 0".to_owned(),
                    )
                })?
        }
    };
    if !directory.is_dir() {
        return Err(Failure::Input(format!(
            "{}: no decision log is there: has assayd decided anything yet, and may this user look?",
            directory.display()
        )));
    }
    let mut shown = 0_u64;
    let mut unreadable = 0_u64;
    let mut take = |line: &[u8]| match serde_json::from_slice::<Record>(line) {
        Ok(record) if asked.wants(&record) => {
            shown += 1;
            show(output, &record);
        }
        Ok(_) => {}
        Err(_) => unreadable += 1,
    };
    let failed = |error: std::io::Error| Failure::Input(format!("{}: {error}", directory.display()));
    let mut position = Position::default();
    // The watch begins before the first look, so that nothing falls between the two.
    let (changed, changes) = mpsc::sync_channel(1);
    let mut watcher = notify::recommended_watcher(move |_| {
        // A full channel already says so.
        let _ = changed.try_send(());
    })
    .map_err(|error| Failure::Input(format!("the log cannot be followed: {error}")))?;
    if asked.follow {
        (watcher.watch(&directory, notify::RecursiveMode::NonRecursive))
            .map_err(|error| Failure::Input(format!("the log cannot be followed: {error}")))?;
    }
    read_on(&directory, &mut position, &mut take).map_err(failed)?;
    if asked.follow {
        loop {
            // Where the system cannot watch, it is looked every other second.
            let _ = changes.recv_timeout(Duration::from_secs(2));
            read_on(&directory, &mut position, &mut take).map_err(failed)?;
        }
    }
    if unreadable > 0 {
        eprintln!("assayctl: {unreadable} lines are no decisions and were left out: a power cut leaves such");
    }
    Ok(if shown > 0 { DONE } else { DENIED })
}

fn show(output: Output, record: &Record) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let written = if output == Output::Json {
        serde_json::to_string(record)
            .map_err(std::io::Error::from)
            .and_then(|line| writeln!(out, "{line}"))
    } else {
        // The files are the daemon's, and what stands in them is shown as any text from outside.
        let field = |text: &str| Untrusted::new(text).to_string();
        let mut line = format!("{} {}", record.time, field(&record.verdict).to_uppercase());
        if !record.code.is_empty() {
            line += &format!(" {}", field(&record.code));
        }
        let image = match record.repository.as_str() {
            "" => "(malformed question)".to_owned(),
            repository => format!("{}@{}", field(repository), field(&record.digest)),
        };
        line += &format!(
            " {image}: {}",
            one_line(&record.reason, assay_verify::limits::MAX_REASON_LENGTH)
        );
        line += &format!(" (rule \"{}\", decision {})", field(&record.rule), field(&record.id));
        if record.missing_before > 0 {
            line += &format!(" [{} before it are missing]", record.missing_before);
        }
        writeln!(out, "{line}")
    };
    // Whoever read it has gone, as `head` does.
    if written.is_err() {
        std::process::exit(i32::from(DONE));
    }
}
