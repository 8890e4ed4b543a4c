//! `assayctl trust`: trusted roots as files. Nothing here asks a network.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use assay_verify::Timestamp;
use assay_verify::limits::MAX_TRUSTED_ROOT_SIZE;
use assay_verify::policy::AuthorityName;
use assay_verify::policy::cosign::ShippedRoot;
use assay_verify::sigstore::trusted_root::{Lapse, Party, Standing, TrustedRoot};
use assay_verify::untrusted::Untrusted;
use clap::{Args, Subcommand};
use nix::fcntl::OFlag;
use serde_json::{Value, json};

use super::{DENIED, DONE, Failure, Output};
use crate::trust::{self, shipped::shipped};

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
    read_file(path).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))
}

/// Reads a regular file. What is looked at is what is read, whoever exchanges the name meanwhile.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut content = Vec::new();
    file.take(MAX_TRUSTED_ROOT_SIZE as u64 + 1).read_to_end(&mut content)?;
    if content.len() > MAX_TRUSTED_ROOT_SIZE {
        let message = format!("it has more than {MAX_TRUSTED_ROOT_SIZE} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(content)
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
    let lapses: Vec<_> = root.lapses(Timestamp::now()).iter().map(Lapse::to_string).collect();
    let user = nix::unistd::geteuid().as_raw();
    let refusal = trust::refusal(&asked.folder, &path, user, MAX_TRUSTED_ROOT_SIZE);
    match output {
        Output::Json => println!(
            "{}",
            json!({ "path": path.display().to_string(), "lapses": lapses, "refusal": refusal })
        ),
        Output::Human => {
            println!("{} is in place: {}", path.display(), parties(&root));
            for lapse in lapses {
                println!("  it has {lapse}");
            }
            match &refusal {
                Some(why) => println!("  assayd will refuse it: {why}"),
                None => println!("Name it in an authority: trusted_root = \"sigstore/{name}.json\""),
            }
        }
    }
    Ok(if refusal.is_none() { DONE } else { DENIED })
}

/// Makes a folder and those above it that are missing, for everybody to read and for their owner to write. Folders that
/// are there keep their modes: who made them decides.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above)?;
    }
    DirBuilder::new().mode(0o755).create(folder)?;
    // Whatever the umask of who runs this.
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

/// Writes the whole file or nothing: a daemon that watches the folder never reads half of one.
fn write(folder: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    make_folder(folder)?;
    let temporary = path.with_extension("json.new");
    // What an earlier run left behind is ours to remove; a file that somebody else puts there meanwhile is not written to.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.set_permissions(Permissions::from_mode(0o644)))
        .and_then(|()| file.sync_all());
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
            "role": party.role.as_str(),
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
                "  {:<28} {:<9} {} to {}  {}",
                party.role.as_str(),
                standing(party.standing(now)),
                moment(party.window.start),
                moment(party.window.end),
                Untrusted::new(party.operator),
            );
        }
    }
}

fn check(output: Output, roots: &[Named], now: Timestamp) -> u8 {
    let found: Vec<_> = roots
        .iter()
        .map(|named| (&named.name, named.root.lapses(now)))
        .collect();
    let is_good = |lapses: &[Lapse]| lapses.iter().all(|lapse| lapse.after.is_some());
    let told = |lapses: &[Lapse]| lapses.iter().map(Lapse::to_string).collect::<Vec<_>>();
    match output {
        Output::Json => {
            let found: Vec<_> = found
                .iter()
                .map(|(name, lapses)| json!({ "name": name, "good": is_good(lapses), "lapses": told(lapses) }))
                .collect();
            println!("{}", Value::Array(found));
        }
        Output::Human => {
            for (name, lapses) in &found {
                if lapses.is_empty() {
                    println!("{name} is good");
                } else {
                    println!("{name} has {}", told(lapses).join("; "));
                    println!("  get a newer trusted_root.json, and: assayctl trust add --replace FILE");
                }
            }
        }
    }
    if found.iter().all(|(_, lapses)| is_good(lapses)) {
        DONE
    } else {
        DENIED
    }
}
