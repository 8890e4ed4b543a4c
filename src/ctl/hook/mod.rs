//! `assayctl hook`: whether containerd asks assayd. One symbolic link in the folder of image verifiers is all there is to it, and
//! a flag under which the hook only observes.

mod enable;
mod images;
mod judge;

use std::io;
use std::path::{Path, PathBuf};

use assay_verify::limits::MAX_OBSERVE_FLAG_SIZE;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::enable::Enable;
use super::node::containerd::{Containerd, ContainerdError, Which};
use super::node::effective::Verifiers;
use super::node::hook_files::{HookFiles, RootFile, VERIFIER};
use super::node::place;
use super::node::verifiers::{Folder, Kind};
use super::{Cli, DENIED, DONE, Failure, Output};

#[derive(Subcommand)]
pub(super) enum Hook {
    /// Have containerd ask assayd before it unpacks an image. Every image of this node is judged first, and nothing is changed
    /// where one would be denied
    Enable(Enable),
    /// Have containerd no longer ask. Needs neither assayd nor containerd to run
    Disable(Place),
    /// Say whether containerd asks, and whether the answer counts. Exits 0 when it asks and 1 when it does not
    Status(Place),
}

#[derive(Args)]
pub(super) struct Place {
    /// The folder of image verifiers [default: bin_dir of containerd's effective configuration]
    #[arg(long, value_name = "FOLDER")]
    bin_dir: Option<PathBuf>,
    /// The installed hook
    #[arg(long, value_name = "PROGRAM", default_value = VERIFIER)]
    verifier: PathBuf,
    /// The flag under which the hook only observes [default: /etc/assayd/observe, unless containerd's environment moves it]
    #[arg(long, value_name = "FILE")]
    observe_flag: Option<PathBuf>,
    #[command(flatten)]
    containerd: Which,
}

/// Where the parts of the hook belong on this node.
struct Places {
    bin_dir: PathBuf,
    verifier: PathBuf,
    observe_flag: PathBuf,
    settings: Verifiers,
    containerd: Result<Containerd, ContainerdError>,
}

impl Place {
    async fn find(&self) -> Result<Places, Failure> {
        let places = self.find_or_usual().await?;
        match (&self.bin_dir, &places.containerd) {
            (None, Err(error)) => Err(Failure::Input(format!(
                "the folder of image verifiers is not known: {error}; --bin-dir names it"
            ))),
            _ => Ok(places),
        }
    }

    /// The same, and containerd's own default where its configuration cannot be had.
    async fn find_or_usual(&self) -> Result<Places, Failure> {
        let containerd = Containerd::inspect(&self.containerd, Path::new("/proc")).await;
        let known = containerd.as_ref().ok();
        let usual = HookFiles::of(known.and_then(|containerd| containerd.running.as_ref()));
        let settings = known
            .map(|containerd| containerd.effective.verifiers.clone())
            .unwrap_or_default();
        let bin_dir = self.bin_dir.as_ref().unwrap_or(&settings.bin_dir);
        if bin_dir.as_os_str().is_empty() {
            return Err(Failure::Input(
                "containerd's bin_dir is empty, so it asks no verifier: assayctl doctor says how to set it".to_owned(),
            ));
        }
        Ok(Places {
            bin_dir: absolute(bin_dir)?,
            verifier: absolute(&self.verifier)?,
            observe_flag: absolute(self.observe_flag.as_ref().unwrap_or(&usual.observe_flag))?,
            settings,
            containerd,
        })
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let root = match error.kind() {
        io::ErrorKind::PermissionDenied => " (this takes root)",
        _ => "",
    };
    Failure::Input(format!("{}: {error}{root}", path.display()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Yes,
    No,
    /// It stands beyond `max_verifiers`.
    Skipped,
    /// It cannot be run, and containerd denies every image.
    Fails,
}

/// Whether containerd asks, as far as the folder says.
struct State {
    asks: Asks,
    observes: RootFile,
}

impl State {
    fn of(places: &Places) -> Self {
        let folder = Folder::list(&places.bin_dir, &places.verifier);
        let asks = match folder.hook() {
            None => Asks::No,
            Some((position, _)) if !places.settings.runs(position) => Asks::Skipped,
            Some((_, entry)) if entry.is != Kind::Program => Asks::Fails,
            Some(_) => Asks::Yes,
        };
        Self {
            asks,
            observes: RootFile::read(&places.observe_flag, MAX_OBSERVE_FLAG_SIZE),
        }
    }

    fn words(&self) -> (&'static str, &'static str) {
        match (self.asks, &self.observes) {
            (Asks::No, _) => ("disabled", "containerd does not ask assayd: every image is admitted"),
            (Asks::Skipped, _) => (
                "skipped",
                "the hook stands beyond max_verifiers: containerd skips it, and every image is admitted",
            ),
            (Asks::Fails, _) => ("broken", "the hook cannot be run: containerd denies every image"),
            (Asks::Yes, RootFile::Read(_)) => (
                "observing",
                "containerd asks assayd and admits every image: the hook only says what it would deny",
            ),
            (Asks::Yes, _) => (
                "enforcing",
                "containerd asks assayd, and what it denies is not unpacked",
            ),
        }
    }

    fn to_json(&self, places: &Places) -> Value {
        let not_obeyed = match &self.observes {
            RootFile::NotObeyed(fault) => Some(fault),
            _ => None,
        };
        json!({
            "state": self.words().0,
            "bin_dir": places.bin_dir.display().to_string(),
            "verifier": places.verifier.display().to_string(),
            "observe_flag": {
                "path": places.observe_flag.display().to_string(),
                "obeyed": matches!(self.observes, RootFile::Read(_)),
                "not_obeyed": not_obeyed,
            },
        })
    }

    fn print(&self, places: &Places) {
        let (word, sentence) = self.words();
        println!("{word}: {sentence}");
        println!("  folder        {}", places.bin_dir.display());
        println!("  hook          {}", places.verifier.display());
        let flag = places.observe_flag.display();
        match &self.observes {
            RootFile::Absent => {}
            RootFile::Read(_) => println!("  observe flag  {flag}"),
            RootFile::NotObeyed(fault) => println!("  observe flag  {flag} is not obeyed: {fault}"),
        }
        println!("Whether containerd is set up to ask at all: assayctl doctor");
    }
}

pub(super) async fn run(cli: &Cli, hook: &Hook) -> Result<u8, Failure> {
    match hook {
        Hook::Enable(asked) => enable::run(cli, asked).await,
        Hook::Disable(place) => disable(cli.output, &place.find_or_usual().await?),
        Hook::Status(place) => {
            let places = place.find().await?;
            let state = State::of(&places);
            match cli.output {
                Output::Json => println!("{}", state.to_json(&places)),
                Output::Human => state.print(&places),
            }
            Ok(if state.asks == Asks::Yes { DONE } else { DENIED })
        }
    }
}

fn disable(output: Output, places: &Places) -> Result<u8, Failure> {
    if let Err(error) = &places.containerd {
        eprintln!(
            "assayctl: {error}; the folder is taken to be {}",
            places.bin_dir.display()
        );
    }
    let mut removed = Vec::new();
    if let Folder::Listed(entries) = Folder::list(&places.bin_dir, &places.verifier) {
        for entry in entries.iter().filter(|entry| entry.is_hook) {
            let path = places.bin_dir.join(&entry.name);
            if entry.target.is_none() {
                return Err(Failure::Input(format!(
                    "{} is no symbolic link: assayctl did not put it there and leaves it alone; rm it to disable the hook",
                    path.display()
                )));
            }
            place::remove(&path).map_err(|error| failed(&path, &error))?;
            removed.push(path);
        }
    }
    // After the link: as long as the hook is asked, it would deny without the flag.
    place::remove(&places.observe_flag).map_err(|error| failed(&places.observe_flag, &error))?;
    match output {
        Output::Json => {
            let removed: Vec<_> = removed.iter().map(|path| path.display().to_string()).collect();
            println!("{}", json!({ "state": "disabled", "removed": removed }));
        }
        Output::Human if removed.is_empty() => println!("{} has no hook: nothing to do", places.bin_dir.display()),
        Output::Human => {
            for path in &removed {
                println!("removed {}", path.display());
            }
            println!("From the next pull on assayd is not asked, and its policy protects nothing.");
        }
    }
    Ok(DONE)
}
