//! `assayctl publish serve-check`: takes a repository as a node does, with the client that nodes have.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use assay_verify::Timestamp;
use assay_verify::document::Diagnostic;
use assay_verify::limits::MAX_ROOT_METADATA_SIZE;

use super::Stop;
use super::folder::{self, Folder};
use super::plan::Plan;
use super::published::Published;
use super::report;
use crate::ctl::{DENIED, DONE, NOT_DECIDED, Output};
use crate::fetch;
use crate::sync::{
    Channel, Client, Generation, Refreshed, RepositoryAddress, Role, Signed, Store, SyncError, Traffic, Transport,
};
use crate::trust::{Floor, VerifiedFiles, load_fleet};

#[derive(Args)]
pub(in crate::ctl) struct Visit {
    /// An address as nodes have it, https://… or oci://…, or a folder [default: FOLDER/repository]
    address: Option<String>,
    /// The root that nodes pin [default: the oldest in FOLDER/repository]
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// A channel [default: those of publish.toml]
    #[arg(long, value_name = "NAME")]
    channel: Vec<Channel>,
    /// A certificate authority to trust for https beside the system's, in PEM
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Allow http, also to a registry
    #[arg(long)]
    plain_http: bool,
    /// The time to judge expiries by [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// What a node of one channel made of it.
struct Taken {
    channel: Channel,
    outcome: Result<(Generation, String, Vec<Diagnostic>), Refusal>,
    traffic: Traffic,
}

/// Why a node would not take it.
enum Refusal {
    Sync(SyncError),
    Files(Vec<Diagnostic>),
}

pub(super) async fn run(output: Output, folder: &Path, asked: &Visit) -> Result<u8, Stop> {
    let own = Folder::new(folder);
    let is_own = own.plan().is_file();
    let address = address(&own, asked)?;
    let root = root(&own, asked)?;
    let channels: BTreeSet<Channel> = match asked.channel.as_slice() {
        [] if is_own => Plan::read(&own)?.channels,
        [] => BTreeSet::from(["stable".parse().map_err(|error| Stop::usage(format!("{error}")))?]),
        named => named.iter().cloned().collect(),
    };
    let mut ca = Vec::new();
    for path in &asked.ca {
        ca.push(std::fs::read(path).map_err(|error| Stop::io(path, &error))?);
    }
    let now = asked.at.unwrap_or_else(Timestamp::now);
    let mut taken = Vec::new();
    for channel in channels {
        taken.push(take(&address, &root, channel, &ca, asked.plain_http, now).await?);
    }
    Ok(show(output, &address, &taken, now))
}

fn address(own: &Folder, asked: &Visit) -> Result<RepositoryAddress, Stop> {
    let text = match &asked.address {
        Some(address) if address.contains("://") => address.clone(),
        given => {
            let path = given.as_ref().map_or_else(|| own.repository(), PathBuf::from);
            // A publisher's own folder stands for what it serves.
            let path = if path.join("publish.toml").is_file() {
                path.join("repository")
            } else {
                path
            };
            let path = path.canonicalize().map_err(|error| Stop::io(&path, &error))?;
            format!("file://{}", path.display())
        }
    };
    RepositoryAddress::parse(&text, asked.plain_http).map_err(|error| Stop::usage(error.to_string()))
}

fn root(own: &Folder, asked: &Visit) -> Result<Vec<u8>, Stop> {
    if let Some(path) = &asked.root {
        let read = folder::read(path, MAX_ROOT_METADATA_SIZE).map_err(|error| Stop::io(path, &error))?;
        return read.ok_or_else(|| Stop::usage(format!("{}: there is no such file", path.display())));
    }
    let of_address = asked.address.as_ref().map(PathBuf::from).filter(|path| path.is_dir());
    for folder in [Some(own.path().to_owned()), of_address].into_iter().flatten() {
        if let Some(first) = Published::read(&Folder::new(&folder))?.roots.into_iter().next() {
            return Ok(first.bytes);
        }
    }
    Err(Stop::usage("which root do nodes pin? Name it with --root".to_owned()))
}

/// A node that has nothing but its pinned root.
async fn take(
    address: &RepositoryAddress,
    root: &[u8],
    channel: Channel,
    ca: &[Vec<u8>],
    plain_http: bool,
    now: Timestamp,
) -> Result<Taken, Stop> {
    let usage = |error: &dyn std::fmt::Display| Stop::usage(error.to_string());
    // Never written: nothing is committed.
    let state = Store::new("/nonexistent/assayctl");
    let mut client = Client::open(root, channel.clone(), state).map_err(|error| usage(&error))?;
    let mut config = fetch::FetchConfig::default();
    if let RepositoryAddress::Registry(reference) = address {
        let registry = fetch::RegistryConfig {
            plain_http,
            ..fetch::RegistryConfig::default()
        };
        config
            .registries
            .insert(reference.repository.host().to_owned(), registry);
    }
    let registries = fetch::Client::new(config, fetch::ProcessMemory::default()).map_err(|error| usage(&error))?;
    let transport = Transport::new(address.clone(), ca, &registries).map_err(|error| usage(&error))?;
    let outcome = match client.refresh(&transport, now).await {
        Err(error) => Err(Refusal::Sync(error)),
        Ok(Refreshed::Unchanged) => Err(Refusal::Files(vec![Diagnostic::error(
            "timestamp.json",
            "nothing was read",
        )])),
        Ok(Refreshed::Candidate(candidate)) => {
            let generation = candidate.generation().clone();
            let files = VerifiedFiles::new(generation.files().clone());
            match load_fleet(&files, channel.as_str(), &Floor::default(), now) {
                Ok(snapshot) => Ok((generation, snapshot.revision().to_owned(), snapshot.warnings)),
                Err(diagnostics) => Err(Refusal::Files(diagnostics)),
            }
        }
    };
    Ok(Taken {
        channel,
        outcome,
        traffic: transport.traffic(),
    })
}

fn show(output: Output, address: &RepositoryAddress, taken: &[Taken], now: Timestamp) -> u8 {
    match output {
        Output::Json => {
            let channels: Vec<Value> = taken.iter().map(Taken::to_json).collect();
            let good = taken.iter().all(|one| one.outcome.is_ok());
            println!(
                "{}",
                json!({ "address": address.to_string(), "good": good, "channels": channels })
            );
        }
        Output::Human => taken.iter().for_each(|one| one.print(address, now)),
    }
    let mut code = DONE;
    for one in taken {
        code = match &one.outcome {
            Ok(_) => code,
            Err(Refusal::Sync(error)) if error.is_transport() && code == DONE => NOT_DECIDED,
            Err(_) => DENIED,
        };
    }
    code
}

impl Taken {
    fn to_json(&self) -> Value {
        let Traffic { requests, bytes, .. } = self.traffic;
        let found = match &self.outcome {
            Ok((generation, revision, warnings)) => {
                let role = |(role, signed): (Role, Signed)| json!({ "role": role.as_str(), "version": signed.version, "expires": signed.expires.to_string() });
                json!({
                    "revision": revision,
                    "signed_at": generation.signed_at().map(|at| at.to_string()),
                    "roles": generation.versions().iter().map(role).collect::<Vec<_>>(),
                    "files": generation.files().len(),
                    "size": size(generation),
                    "diagnostics": report::diagnostics(warnings),
                })
            }
            Err(Refusal::Sync(error)) => json!({ "error": error.word(), "message": error.to_string() }),
            Err(Refusal::Files(diagnostics)) => json!({ "diagnostics": report::diagnostics(diagnostics) }),
        };
        json!({
            "channel": self.channel.as_str(),
            "good": self.outcome.is_ok(),
            "requests": requests,
            "bytes": bytes,
            "found": found,
        })
    }

    fn print(&self, address: &RepositoryAddress, now: Timestamp) {
        let channel = &self.channel;
        match &self.outcome {
            Ok((generation, revision, warnings)) => {
                println!("nodes of channel {channel} would take {address}: policy {revision}");
                for (role, signed) in generation.versions().iter() {
                    let left = report::left(signed.expires, now);
                    println!(
                        "  {:<11} version {:<4} expires {} ({left})",
                        role.as_str(),
                        signed.version,
                        signed.expires
                    );
                }
                if let Some(at) = generation.signed_at() {
                    println!("  signed at   {at}");
                }
                println!("  files       {}, {} bytes", generation.files().len(), size(generation));
                warnings.iter().for_each(|warning| println!("{warning}"));
            }
            Err(refusal) => {
                println!("nodes of channel {channel} would refuse {address}");
                match refusal {
                    Refusal::Sync(error) => println!("  {}: {error}", error.word()),
                    Refusal::Files(diagnostics) => diagnostics.iter().for_each(|one| println!("{one}")),
                }
            }
        }
        let Traffic { requests, bytes, .. } = self.traffic;
        println!("  asked       {requests} requests, {bytes} bytes for a node that has nothing");
    }
}

fn size(generation: &Generation) -> usize {
    generation.files().values().map(|content| content.len()).sum()
}
