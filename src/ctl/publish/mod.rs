//! `assayctl publish`: makes and maintains a fleet's policy repository from a folder of human files.
//!
//! ```text
//! FLEET/publish.toml   who signs what                        plan
//! FLEET/files/         what is published                     files, check
//! FLEET/staged/        what waits for signatures             published, sign
//! FLEET/repository/    what is served                        published, repository
//! ```
//!
//! Metadata is signed by the editor of the crate `tough`; before anything is put into `repository/`, all of it is walked
//! through with the client's crate, `sigstore-tuf`, and its files were loaded as a node loads them.

mod check;
mod deny;
mod diff;
mod files;
pub(in crate::ctl) mod folder;
mod init;
mod keys;
mod layout;
mod metadata;
mod plan;
mod prune;
mod published;
mod report;
mod repository;
mod serve_check;
mod sign;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use serde_json::json;

use assay_verify::Timestamp;
use assay_verify::document::{Diagnostic, Severity};
use assay_verify::untrusted::Untrusted;

use self::folder::Folder;
use self::keys::PrivateKey;
use self::plan::{Plan, ROLES};
use self::published::{Published, Staged};
use self::sign::Request;
use super::{DENIED, DONE, Failure, Output, decisions};
use crate::sync::Role;

#[derive(Subcommand)]
pub(super) enum Publish {
    /// Make a publisher's folder: keys or their names, a first root, a sample policy, an empty deny-list
    Init(Box<init::Init>),
    /// Check files/ with the code that nodes check it with; every error and warning with its place
    Check(Where),
    /// Show what will change: files, denials, and the verdicts of recorded decisions
    Diff {
        #[command(flatten)]
        folder: Where,
        /// Recorded decisions, JSON lines; exits 1 when an image that was admitted would be denied
        #[arg(long, value_name = "FILE")]
        decisions: Option<PathBuf>,
    },
    /// Sign what has changed with these keys, and publish what has enough signatures
    Sign(Sign),
    /// Add an entry to the deny-list
    Deny {
        #[command(flatten)]
        folder: Where,
        #[command(flatten)]
        entry: Box<deny::NewDenial>,
    },
    /// Add a break-glass exception, of at most a day
    Exception {
        #[command(flatten)]
        folder: Where,
        #[command(flatten)]
        exception: Box<deny::NewException>,
    },
    /// Prepare a new root by the keys and thresholds of publish.toml; holders of the old and the new keys then sign it
    Rotate(Where),
    /// Show versions, expiries, and what waits for signatures; exits 1 when something has to be signed anew
    Status(Where),
    /// Take a repository as a node does, and say whether nodes would accept it
    ServeCheck {
        #[command(flatten)]
        folder: Where,
        #[command(flatten)]
        asked: Box<serve_check::Visit>,
    },
    /// Write what is served as an OCI image layout, for oras, crane or skopeo to copy into a registry
    Layout {
        #[command(flatten)]
        folder: Where,
        /// The tag that it has in the layout
        #[arg(long, default_value = "latest")]
        tag: String,
        /// The tar to write
        out: PathBuf,
    },
    /// Remove files of repository/ that nothing refers to any more
    Prune {
        #[command(flatten)]
        folder: Where,
        /// Keep those that were written less long ago: readers may be on their way
        #[arg(long, value_name = "DURATION", default_value = "168h")]
        older_than: SignedDuration,
    },
    /// Print the id and the table for publish.toml of keys
    Key(init::ShowKey),
}

#[derive(Args)]
pub(super) struct Where {
    /// The publisher's folder
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
}

#[derive(Args)]
pub(super) struct Sign {
    #[command(flatten)]
    folder: Where,
    /// A private key, in PEM
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<PathBuf>,
    /// Only this role, and anew even if nothing changed
    #[arg(long, value_name = "ROLE", value_parser = parse_role)]
    role: Vec<Role>,
    /// Only a new timestamp, for a timer; files/ is not looked at
    #[arg(long, conflicts_with = "role")]
    timestamp_only: bool,
}

fn parse_role(text: &str) -> Result<Role, String> {
    let known = ROLES.map(Role::as_str).join(", ");
    let found = ROLES.into_iter().find(|role| role.as_str() == text);
    found.ok_or_else(|| format!("expected one of: {known}"))
}

/// Why something was not done.
#[derive(Debug)]
enum Stop {
    /// What is to be published is wrong.
    Refused(Vec<Diagnostic>),
    /// What was given does not do, or the disk does not.
    Usage(String),
}

impl Stop {
    fn usage(message: String) -> Self {
        Self::Usage(message)
    }

    fn io(path: &Path, error: &io::Error) -> Self {
        Self::Usage(format!("{}: {error}", Untrusted::new(path.display().to_string())))
    }
}

/// Runs a command.
pub(super) async fn run(output: Output, command: &Publish) -> Result<u8, Failure> {
    match execute(output, command).await {
        Ok(code) => Ok(code),
        Err(Stop::Usage(message)) => Err(Failure::Input(message)),
        Err(Stop::Refused(diagnostics)) => {
            match output {
                Output::Json => println!(
                    "{}",
                    json!({ "good": false, "diagnostics": report::diagnostics(&diagnostics) })
                ),
                Output::Human => {
                    diagnostics.iter().for_each(|one| println!("{one}"));
                    println!("refused: nothing was changed");
                }
            }
            Ok(DENIED)
        }
    }
}

async fn execute(output: Output, command: &Publish) -> Result<u8, Stop> {
    let now = Timestamp::now();
    match command {
        Publish::Init(asked) => init::run(output, asked).await,
        Publish::Check(at) => {
            let folder = Folder::open(&at.folder)?;
            check_files(output, &folder, &Plan::read(&folder)?, now)
        }
        Publish::Diff { folder, decisions } => {
            let folder = Folder::open(&folder.folder)?;
            let recorded = match decisions {
                Some(path) => Some(decisions::read(path).map_err(|failure| match failure {
                    Failure::Input(message) | Failure::Daemon(message) => Stop::Usage(message),
                })?),
                None => None,
            };
            diff::run(output, &folder, &Plan::read(&folder)?, recorded.as_deref(), now)
        }
        Publish::Sign(asked) => sign_with(output, asked, now).await,
        Publish::Deny { folder, entry } => deny::deny(output, &Folder::open(&folder.folder)?, entry, now),
        Publish::Exception { folder, exception } => {
            deny::exception(output, &Folder::open(&folder.folder)?, exception, now)
        }
        Publish::Rotate(at) => rotate(output, &Folder::open(&at.folder)?, now),
        Publish::Status(at) => {
            let folder = Folder::open(&at.folder)?;
            let published = Published::read(&folder)?;
            let staged = Staged::read(&folder, &published)?;
            let well = report::status(output, &Plan::read(&folder)?, &published, &staged, now);
            Ok(if well { DONE } else { DENIED })
        }
        Publish::ServeCheck { folder, asked } => serve_check::run(output, &folder.folder, asked).await,
        Publish::Layout { folder, tag, out } => {
            let digest = layout::write(&Folder::open(&folder.folder)?, tag, out)?;
            match output {
                Output::Json => println!(
                    "{}",
                    json!({ "layout": out.display().to_string(), "digest": digest.to_string() })
                ),
                Output::Human => {
                    let out = out.display();
                    println!("{out} holds {digest} as {tag}");
                    println!("  oras cp --from-oci-layout {out}:{tag} registry.corp.example/assayd/policy:stable");
                    println!(
                        "  skopeo copy oci-archive:{out}:{tag} docker://registry.corp.example/assayd/policy:stable"
                    );
                }
            }
            Ok(DONE)
        }
        Publish::Prune { folder, older_than } => {
            let folder = Folder::open(&folder.folder)?;
            let _held = folder.hold()?;
            let removed = prune::prune(&folder, older_than.unsigned_abs(), SystemTime::now())?;
            match output {
                Output::Json => {
                    let removed: Vec<String> = removed.iter().map(|path| path.display().to_string()).collect();
                    println!("{}", json!({ "removed": removed }));
                }
                Output::Human => {
                    removed.iter().for_each(|path| println!("removed {}", path.display()));
                    println!("{} files removed", removed.len());
                }
            }
            Ok(DONE)
        }
        Publish::Key(asked) => init::show_keys(output, asked),
    }
}

async fn sign_with(output: Output, asked: &Sign, now: Timestamp) -> Result<u8, Stop> {
    let folder = Folder::open(&asked.folder.folder)?;
    let plan = Plan::read(&folder)?;
    let mut keys: Vec<PrivateKey> = Vec::new();
    for path in &asked.key {
        let key = PrivateKey::read(path).map_err(|error| Stop::usage(format!("{}: {error}", path.display())))?;
        if keys.iter().all(|known| known.public.id != key.public.id) {
            keys.push(key);
        }
    }
    let only = if asked.timestamp_only {
        [Role::Timestamp].into()
    } else {
        asked.role.iter().copied().collect()
    };
    let _held = folder.hold()?;
    let outcome = sign::sign(&folder, &plan, &Request { keys, only, now }).await?;
    report::signed(output, &folder, &plan, &outcome);
    // A timer has to notice that it brought nothing.
    let failed = asked.timestamp_only && outcome.published.is_empty();
    Ok(if failed { DENIED } else { DONE })
}

fn rotate(output: Output, folder: &Folder, now: Timestamp) -> Result<u8, Stop> {
    let plan = Plan::read(folder)?;
    let _held = folder.hold()?;
    let root = sign::rotate(folder, &plan, now)?;
    let published = Published::read(folder)?;
    let before = published
        .root()
        .map(|kept| metadata::Holder::root(&kept.document.signed));
    let after = metadata::Holder::root(&root.signed);
    let who = |holder: &metadata::Holder| {
        let (ids, threshold) = holder.role(Role::Root).unwrap_or_default();
        let names: Vec<String> = ids.iter().map(|id| plan.name_of(id)).collect();
        (names, threshold)
    };
    let staged = published::file(folder, Role::Root);
    let served = published.root().map(|kept| &kept.document.signed);
    let changes = sign::root_changes(&plan, served, &root.signed);
    match output {
        Output::Json => {
            let list = |(names, threshold): (Vec<String>, u64)| json!({ "keys": names, "threshold": threshold });
            println!(
                "{}",
                json!({
                    "staged": staged.display().to_string(),
                    "version": root.signed.version,
                    "expires": root.signed.expires.to_string(),
                    "old": before.as_ref().map(|holder| list(who(holder))),
                    "new": list(who(&after)),
                    "changes": changes,
                })
            );
        }
        Output::Human => {
            println!(
                "root {} waits in {} for signatures",
                root.signed.version,
                staged.display()
            );
            changes.iter().for_each(|change| println!("  {change}"));
            for (word, holder) in before.iter().map(|holder| ("old", holder)).chain([("new", &after)]) {
                let (names, threshold) = who(holder);
                println!("  {threshold} of the {word} keys: {}", names.join(", "));
            }
            println!("Each holder: assayctl publish sign --key KEY.pem");
        }
    }
    Ok(DONE)
}

fn check_files(output: Output, folder: &Folder, plan: &Plan, now: Timestamp) -> Result<u8, Stop> {
    let found = files::read(folder, plan)?;
    let mut checked = check::check(&found.tree, now);
    checked
        .diagnostics
        .splice(0..0, found.problems.into_iter().map(|(_, problem)| problem));
    let good = checked.is_good();
    match output {
        Output::Json => {
            let channels: serde_json::Map<_, _> = checked
                .channels
                .iter()
                .map(|(channel, snapshot)| (channel.to_string(), json!(snapshot.revision())))
                .collect();
            println!(
                "{}",
                json!({ "good": good, "channels": channels, "diagnostics": report::diagnostics(&checked.diagnostics) })
            );
        }
        Output::Human => {
            checked.diagnostics.iter().for_each(|one| println!("{one}"));
            for (channel, snapshot) in &checked.channels {
                println!("channel {channel} is good: policy {}", snapshot.revision());
            }
            let count = |severity| {
                checked
                    .diagnostics
                    .iter()
                    .filter(|one| one.severity == severity)
                    .count()
            };
            println!(
                "{}: {} errors, {} warnings, {} files",
                if good { "good" } else { "refused" },
                count(Severity::Error),
                count(Severity::Warning),
                found.tree.len()
            );
        }
    }
    Ok(if good { DONE } else { DENIED })
}
