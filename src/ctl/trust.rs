//! `assayctl trust`: trusted roots as files. Nothing here asks a network.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use assay_verify::Timestamp;
use assay_verify::limits::{MAX_TRUSTED_ROOT_SIZE, TRUSTED_ROOT_NOTICE};
use assay_verify::policy::AuthorityName;
use assay_verify::policy::cosign::ShippedRoot;
use assay_verify::sigstore::trusted_root::{Coverage, Party, Role, Standing, TrustedRoot};
use assay_verify::untrusted::Untrusted;
use clap::{Args, Subcommand};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{DENIED, DONE, Failure, Output};
use crate::trust::shipped::shipped;

#[derive(Subcommand)]
pub(super) enum Trust {
    /// Check a trusted_root.json and put it where policies name it: sigstore/NAME.json beside the policy
    Add(Add),
    /// Show the logs and authorities of trusted roots, and when each counts
    Show(Roots),
    /// Say how long trusted roots can still vouch for new signatures; exits 1 when one cannot
    Check(Roots),
}

#[derive(Args)]
pub(super) struct Add {
    /// The trusted_root.json
    file: PathBuf,
    /// The name to give it [default: the file's]
    #[arg(long)]
    name: Option<String>,
    /// The folder of trusted roots
    #[arg(long, value_name = "DIR", default_value = "/etc/assayd/sigstore")]
    folder: PathBuf,
    /// Replace a trusted root of this name
    #[arg(long)]
    replace: bool,
}

#[derive(Args)]
pub(super) struct Roots {
    /// Files, or public-good or github for the copies that assayd brings along [default: those two, and all in
    /// /etc/assayd/sigstore]
    roots: Vec<PathBuf>,
    /// The time to judge at, e.g. 2026-11-21T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// Where trusted roots lie, unless another folder is named.
const FOLDER: &str = "/etc/assayd/sigstore";

/// A trusted root and what it is called.
struct Named {
    name: String,
    root: TrustedRoot,
}

pub(super) fn run(output: Output, command: &Trust) -> Result<u8, Failure> {
    match command {
        Trust::Add(asked) => add(output, asked),
        Trust::Show(asked) => {
            show(
                output,
                &read_all(&asked.roots)?,
                asked.at.unwrap_or_else(Timestamp::now),
            );
            Ok(DONE)
        }
        Trust::Check(asked) => Ok(check(
            output,
            &read_all(&asked.roots)?,
            asked.at.unwrap_or_else(Timestamp::now),
        )),
    }
}

/// Reads a trusted root: a file, or one that assayd brings along.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    if let Some(root) = ShippedRoot::ALL
        .into_iter()
        .find(|root| path == Path::new(root.as_str()))
    {
        return Ok(shipped(root).json.to_vec());
    }
    let unreadable = |error: std::io::Error| Failure::Input(format!("{}: {error}", path.display()));
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_TRUSTED_ROOT_SIZE as u64 {
        let shown = path.display();
        return Err(Failure::Input(format!(
            "{shown}: it has {size} bytes, a trusted root has at most {MAX_TRUSTED_ROOT_SIZE}"
        )));
    }
    fs::read(path).map_err(unreadable)
}

fn parse(path: &Path, json: &[u8]) -> Result<TrustedRoot, Failure> {
    TrustedRoot::parse(json).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))
}

fn read_all(named: &[PathBuf]) -> Result<Vec<Named>, Failure> {
    let paths = if named.is_empty() {
        everything()?
    } else {
        named.to_vec()
    };
    let read = |path: &PathBuf| {
        Ok(Named {
            name: path.display().to_string(),
            root: parse(path, &read(path)?)?,
        })
    };
    paths.iter().map(read).collect()
}

fn everything() -> Result<Vec<PathBuf>, Failure> {
    let mut paths: Vec<_> = ShippedRoot::ALL.into_iter().map(|root| root.as_str().into()).collect();
    let entries = match fs::read_dir(FOLDER) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(paths),
        Err(error) => return Err(Failure::Input(format!("{FOLDER}: {error}"))),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|error| Failure::Input(format!("{FOLDER}: {error}")))?
            .path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    paths.extend(files);
    Ok(paths)
}

fn add(output: Output, asked: &Add) -> Result<u8, Failure> {
    let json = read(&asked.file)?;
    let root = parse(&asked.file, &json)?;
    let stem = || asked.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = asked.name.clone().or_else(stem).unwrap_or_default();
    // The rules of an authority's name: a file's name that is safe in a path, a policy and a line.
    if name.parse::<AuthorityName>().is_err() {
        let shown = Untrusted::new(&name);
        return Err(Failure::Input(format!(
            "\"{shown}\" cannot be a trusted root's name: give one of letters, digits, '-' and '_' with --name"
        )));
    }
    let path = asked.folder.join(format!("{name}.json"));
    if path.exists() && !asked.replace {
        let shown = path.display();
        return Err(Failure::Input(format!(
            "{shown} is there already: --replace replaces it"
        )));
    }
    write(&asked.folder, &path, &json).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
    let now = Timestamp::now();
    match output {
        Output::Json => println!(
            "{}",
            json!({ "path": path.display().to_string(), "lapses": lapses(&root, now) })
        ),
        Output::Human => {
            println!("{} is in place: {}", path.display(), parties(&root));
            for line in lapses(&root, now) {
                println!("  {line}");
            }
            println!("Name it in an authority: trusted_root = \"sigstore/{name}.json\"");
        }
    }
    Ok(DONE)
}

/// Writes the whole file or nothing: a daemon that watches the folder never reads half of one.
fn write(folder: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let temporary = path.with_extension("json.new");
    // What an earlier run left behind is ours to remove; a file that somebody else puts there meanwhile is not written to.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&temporary)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, path)) {
        fs::remove_file(&temporary).ok();
        return Err(error);
    }
    fs::File::open(folder)?.sync_all()
}

fn parties(root: &TrustedRoot) -> String {
    format!(
        "{} transparency logs, {} certificate logs, {} certificate authorities, {} timestamp authorities",
        root.logs.len(),
        root.certificate_logs.len(),
        root.certificate_authorities.len(),
        root.timestamp_authorities.len()
    )
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Log => "transparency log",
        Role::CertificateLog => "certificate log",
        Role::CertificateAuthority => "certificate authority",
        Role::TimestampAuthority => "timestamp authority",
    }
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Announced => "announced",
        Standing::Current => "current",
        Standing::Lapsed => "lapsed",
    }
}

fn show(output: Output, roots: &[Named], now: Timestamp) {
    let party_json = |party: &Party<'_>| {
        json!({
            "role": role(party.role),
            "operator": Untrusted::new(party.operator).to_string(),
            "standing": standing(party.standing(now)),
            "from": party.window.start.map(|at| at.to_string()),
            "until": party.window.end.map(|at| at.to_string()),
        })
    };
    if output == Output::Json {
        let shown: Vec<Value> = roots
            .iter()
            .map(|named| {
                let parties: Vec<_> = named.root.parties().iter().map(party_json).collect();
                json!({ "name": named.name, "parties": parties })
            })
            .collect();
        println!("{}", Value::Array(shown));
        return;
    }
    for named in roots {
        println!("{}", named.name);
        for party in named.root.parties() {
            let moment = |at: Option<Timestamp>| at.map_or_else(|| "open".to_owned(), |at| at.to_string());
            println!(
                "  {:<21} {:<9} {} to {}  {}",
                role(party.role),
                standing(party.standing(now)),
                moment(party.window.start),
                moment(party.window.end),
                Untrusted::new(party.operator),
            );
        }
    }
}

/// One line for each role that ends soon, or has nobody left.
fn lapses(root: &TrustedRoot, now: Timestamp) -> Vec<String> {
    let notice = SignedDuration::try_from(TRUSTED_ROOT_NOTICE).unwrap_or(SignedDuration::MAX);
    let soon = now.checked_add(notice).unwrap_or(Timestamp::MAX);
    let present = root.parties();
    let roles = Role::ALL
        .into_iter()
        .filter(|wanted| present.iter().any(|party| party.role == *wanted));
    roles
        .filter_map(|wanted| match root.coverage(wanted, now) {
            Coverage::Open => None,
            Coverage::Until(end) if end > soon => None,
            Coverage::Until(end) => Some(format!("no {} can vouch for new signatures after {end}", role(wanted))),
            Coverage::None => Some(format!("no {} can vouch for new signatures", role(wanted))),
        })
        .collect()
}

fn check(output: Output, roots: &[Named], now: Timestamp) -> u8 {
    let has_nobody = |root: &TrustedRoot| {
        let parties = root.parties();
        let mut roles = Role::ALL
            .into_iter()
            .filter(|wanted| parties.iter().any(|party| party.role == *wanted));
        roles.any(|wanted| root.coverage(wanted, now) == Coverage::None)
    };
    let lapsed = roots.iter().any(|named| has_nobody(&named.root));
    match output {
        Output::Json => {
            let found: Vec<_> = roots
                .iter()
                .map(|named| {
                    json!({ "name": named.name, "good": !has_nobody(&named.root), "lapses": lapses(&named.root, now) })
                })
                .collect();
            println!("{}", Value::Array(found));
        }
        Output::Human => {
            for named in roots {
                let lines = lapses(&named.root, now);
                if lines.is_empty() {
                    println!("{} is good", named.name);
                } else {
                    println!("{}: {}", named.name, lines.join("; "));
                    println!("  get a newer trusted_root.json, and: assayctl trust add --replace FILE");
                }
            }
        }
    }
    if lapsed { DENIED } else { DONE }
}
