//! `assayctl hook enable`: nothing is changed before it is known what would be denied.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::judge::{self, Judged};
use super::{Asks, Place, Places, State, failed, images};
use crate::ctl::node::cri::Cri;
use crate::ctl::node::hook_files::{RootFile, exchangeable_by_others};
use crate::ctl::node::place;
use crate::ctl::node::verifiers::{Folder, LINK};
use crate::ctl::publish::folder::{make_folder, put};
use crate::ctl::{Cli, DENIED, DONE, Failure, Output, connect};

#[derive(Args)]
pub(in crate::ctl) struct Enable {
    #[command(flatten)]
    place: Place,
    /// Admit every image, and say in the journal what would have been denied
    #[arg(long)]
    observe: bool,
    /// Judge the images of this file, one reference a line, rather than those that containerd has
    #[arg(long, value_name = "FILE")]
    images: Option<PathBuf>,
    /// Enable although images of this node would be denied, or cannot be judged, when they are pulled again
    #[arg(long)]
    accept_denials: bool,
    /// Enable although a registry in use refuses assayd's credentials, or asks for some
    #[arg(long)]
    accept_missing_credentials: bool,
}

pub(super) async fn run(cli: &Cli, asked: &Enable) -> Result<u8, Failure> {
    let places = asked.place.find().await?;
    check(&places)?;
    let client = connect(cli).await?;
    let unknown = |error: &dyn std::fmt::Display| {
        Failure::Daemon(format!(
            "the images of this node are not known: {error}; --images names them"
        ))
    };
    let images = match (&asked.images, &places.containerd) {
        (Some(file), _) => images::of_file(file)?,
        (None, Ok(containerd)) => {
            let cri = Cri::connect(&containerd.effective.grpc.address).await;
            images::of_node(&cri.map_err(|error| unknown(&error))?).await?
        }
        (None, Err(error)) => return Err(unknown(error)),
    };
    let judged = judge::all(client, &images).await;
    let refusal = refusal(asked, &judged).filter(|_| !asked.observe);
    if refusal.is_none() {
        put_in_place(&places, asked.observe)?;
    }
    let state = State::of(&places);
    match cli.output {
        Output::Json => {
            let images: Vec<_> = judged.iter().map(Judged::to_json).collect();
            let shown = json!({ "hook": state.to_json(&places), "refused": refusal, "images": images });
            println!("{shown}");
        }
        Output::Human => {
            judge::print(&judged);
            match &refusal {
                Some(why) => println!("Nothing is changed: {why}"),
                None => state.print(&places),
            }
        }
    }
    let asks = refusal.is_none() && state.asks == Asks::Yes;
    Ok(if asks { DONE } else { DENIED })
}

/// Why the hook is not enabled; none where it may be.
fn refusal(asked: &Enable, judged: &[Judged]) -> Option<String> {
    let lacking = judged.iter().filter(|judged| judged.lacks_credentials()).count();
    if lacking > 0 && !asked.accept_missing_credentials {
        return Some(format!(
            "of {lacking} of the images, the registry refuses assayd's credentials or asks for some (registry-auth). [[registry]] \
             of config.toml takes them; --accept-missing-credentials enables without"
        ));
    }
    let denied = judged
        .iter()
        .filter(|judged| judged.would_break() && !judged.lacks_credentials())
        .count();
    (denied > 0 && !asked.accept_denials).then(|| {
        format!(
            "{denied} of the images would be denied when they are pulled again. Mend the policy or the images, begin with --observe, \
             or enable all the same with --accept-denials"
        )
    })
}

/// What has to hold before a link is worth putting: a hook that only root can exchange, and a folder in which it is run.
fn check(places: &Places) -> Result<(), Failure> {
    let refuse = |message: String| Err(Failure::Input(message));
    let verifier = places.verifier.display();
    match fs::metadata(&places.verifier) {
        Err(error) => return refuse(format!("the hook {verifier}: {error}; --verifier names it")),
        Ok(metadata) if !metadata.is_file() || metadata.mode() & 0o111 == 0 => {
            return refuse(format!("the hook {verifier} is not an executable file"));
        }
        Ok(_) => {}
    }
    if let Some(fault) = exchangeable_by_others(&places.verifier) {
        return refuse(format!("containerd would run the hook {verifier} as root, and {fault}"));
    }
    let folder = places.bin_dir.display();
    match Folder::list(&places.bin_dir, &places.verifier) {
        Folder::Unset | Folder::Missing => Ok(()),
        Folder::Unreadable(error) => refuse(format!("{folder}: {error}")),
        listed @ Folder::Listed(_) => {
            if let Some(fault) = exchangeable_by_others(&places.bin_dir) {
                return refuse(format!("containerd runs as root what is in {folder}, and {fault}"));
            }
            let strays = listed.strays().filter(|entry| !entry.is_hook);
            let strays: Vec<_> = strays.map(|entry| entry.name.to_string_lossy().into_owned()).collect();
            if strays.is_empty() {
                return Ok(());
            }
            refuse(format!(
                "containerd runs every entry of {folder}, and denies every image because of {}: move it away",
                strays.join(", ")
            ))
        }
    }
}

/// Puts the flag and the link in place, in the order in which nothing is denied for a moment that would not be afterwards.
fn put_in_place(places: &Places, observe: bool) -> Result<(), Failure> {
    let (folder, flag) = (&places.bin_dir, &places.observe_flag);
    make_folder(folder).map_err(|error| failed(folder, &error))?;
    if observe && !matches!(State::of(places).observes, RootFile::Read(_)) {
        put(flag, b"assayctl hook enable --observe\n", 0o644).map_err(|error| failed(flag, &error))?;
    }
    let link = folder.join(LINK);
    place::link(&places.verifier, &link).map_err(|error| failed(&link, &error))?;
    if !observe {
        place::remove(flag).map_err(|error| failed(flag, &error))?;
    }
    Ok(())
}
