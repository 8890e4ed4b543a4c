//! `assayctl support-bundle`: what a report of a fault needs, in one tar, whether or not the daemon runs. Nothing in it opens a
//! door: keys and credentials are never read, and what quotes them is redacted.

mod redact;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use assay_verify::Timestamp;
use assay_verify::limits::{MAX_SUPPORT_DECISIONS, MAX_SUPPORT_FILE};
use clap::Args;
use serde_json::json;
use tar::{Builder, EntryType, Header};
use toml::{Table, Value};

use self::redact::Keep;
use super::client::ControlClient;
use super::decision_log::{Position, read_on};
use super::doctor::{self, Doctor};
use super::node::command;
use super::node::containerd::Containerd;
use super::node::effective::{CRI_IMAGES, CRI_SERVICE, VERIFIER_PLUGIN};
use super::{Cli, DONE, Failure, Output, connect_to, render, sync};
use crate::admission::decision_log::Record;
use crate::daemon::config::{Config, DEFAULT_PATH};

/// The list of what is in the bundle and of what is not.
const CONTENTS: &str = "CONTENTS";

#[derive(Args)]
pub(super) struct SupportBundle {
    /// The tar; it must not be there yet [default: assayd-support-TIME.tar in this folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// assayd's configuration [default: /etc/assayd/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    doctor: Doctor,
}

/// What is in the bundle under one name, or why it is not.
struct Part {
    name: &'static str,
    content: Result<Vec<u8>, String>,
}

impl Part {
    fn new(name: &'static str, content: Result<impl Into<Vec<u8>>, String>) -> Self {
        // Why something is not there quotes others too.
        let content = content
            .map(Into::into)
            .map_err(|why| redact::text(&why).into_owned().replace('\n', " "));
        Self { name, content }
    }

    fn json(name: &'static str, content: Result<serde_json::Value, String>) -> Self {
        Self::new(name, content.map(|content| format!("{:#}\n", redact::json(content))))
    }

    fn text(name: &'static str, content: Result<String, String>) -> Self {
        Self::new(name, content.map(|content| redact::text(&content).into_owned()))
    }

    /// Its line in the list of contents.
    fn line(&self) -> String {
        match &self.content {
            Ok(content) => format!("{:<28} {} bytes\n", self.name, content.len()),
            Err(why) => format!("{:<28} MISSING: {why}\n", self.name),
        }
    }
}

pub(super) async fn run(cli: &Cli, asked: &SupportBundle) -> Result<u8, Failure> {
    let now = Timestamp::now();
    let name = format!("assayd-support-{}", now.to_string().replace([':', '-'], ""));
    let out = asked.out.clone().unwrap_or_else(|| format!("{name}.tar").into());
    // Before anything is collected: that takes seconds. Nobody else reads it until its owner hands it on.
    let mut created = OpenOptions::new();
    let file = created.write(true).create_new(true).mode(0o600).open(&out);
    let failed = |error: io::Error| Failure::Input(format!("{}: {error}", out.display()));
    let file = file.map_err(failed)?;
    let parts = collect(cli, asked).await;
    write(file, &name, now, &parts).map_err(failed)?;
    report(cli.output, &out, &parts);
    Ok(DONE)
}

async fn collect(cli: &Cli, asked: &SupportBundle) -> Vec<Part> {
    let config_file = asked.config.clone().unwrap_or_else(|| DEFAULT_PATH.into());
    // Broken configurations are what is reported: the defaults then say where things are. The error may quote a value.
    let loaded = Config::load(asked.config.as_deref());
    let refused = loaded.is_err();
    let loaded = loaded.unwrap_or_default();
    let socket = cli.socket.clone().unwrap_or_else(|| loaded.control_socket.clone());
    let mut parts = daemon(&socket).await;
    let containerd = Containerd::inspect(&asked.doctor.containerd, Path::new("/proc")).await;
    let containerd = containerd.map_err(|error| error.to_string());
    if refused {
        let why = format!(
            "assayctl refuses {}; sockets, policy and decisions were looked for in the default places",
            config_file.display()
        );
        parts.push(Part::new("places of config.toml", Err::<String, _>(why)));
    }
    parts.push(Part::text("versions.txt", Ok(versions(&containerd).await)));
    let report = doctor::examine(Some(&socket), &asked.doctor).await;
    parts.push(Part::json("doctor.json", Ok(report.to_json())));
    parts.push(Part::new("config.toml", redacted_file(&config_file, redact::CONFIG)));
    parts.push(Part::new(
        "policy-on-disk.toml",
        redacted_file(&loaded.policy, Keep::Public),
    ));
    parts.push(Part::new("decisions.jsonl", decisions(&loaded)));
    parts.push(Part::new(
        "containerd.toml",
        containerd.and_then(|containerd| tables(&containerd)),
    ));
    let release = ["/etc/os-release", "/usr/lib/os-release"].map(Path::new);
    let release = read(release[0]).or_else(|_| read(release[1]));
    parts.push(Part::text("os-release", release));
    parts
}

/// What the daemon says of itself.
async fn daemon(socket: &Path) -> Vec<Part> {
    let client = connect_to(Some(socket)).await;
    let client = client.map_err(Failure::into_message);
    let status = async |mut client: ControlClient| client.status().await.map(|status| render::status_json(&status));
    let synced = async |mut client: ControlClient| client.sync_status().await.map(|status| sync::to_json(&status));
    let metrics = async |mut client: ControlClient| client.metrics().await.map(|metrics| metrics.text);
    let policy = async |mut client: ControlClient| client.show_policy().await.map(|shown| shown.document);
    let policy = answered(&client, policy).await;
    vec![
        Part::json("status.json", answered(&client, status).await),
        Part::json("sync-status.json", answered(&client, synced).await),
        Part::text("metrics.txt", answered(&client, metrics).await),
        Part::new(
            "policy-in-force.toml",
            policy.and_then(|document| redact::document(&document, Keep::Public)),
        ),
    ]
}

/// What the daemon answers, where there is one.
async fn answered<T>(
    client: &Result<ControlClient, String>,
    ask: impl AsyncFn(ControlClient) -> Result<T, Failure>,
) -> Result<T, String> {
    ask(client.clone()?).await.map_err(Failure::into_message)
}

/// What runs here, in which version.
async fn versions(containerd: &Result<Containerd, String>) -> String {
    let line = |result: &Result<String, String>| match result {
        Ok(version) => version.trim().to_owned(),
        Err(why) => format!("unknown: {why}"),
    };
    let uname = command::output(Path::new("uname"), &["-srm"]).await;
    let systemd = command::output(Path::new("systemctl"), &["--version"]).await;
    let first = |printed: String| printed.lines().next().unwrap_or_default().to_owned();
    let containerd = containerd.as_ref().map(|containerd| containerd.version.to_string());
    format!(
        "assayctl {}\ncontainerd {}\nkernel {}\nsystemd {}\n",
        env!("CARGO_PKG_VERSION"),
        line(&containerd.map_err(Clone::clone)),
        line(&uname.map_err(|error| error.to_string())),
        line(&systemd.map(first).map_err(|error| error.to_string())),
    )
}

/// The tables of containerd's effective configuration that matter to image verifiers.
fn tables(containerd: &Containerd) -> Result<String, String> {
    let effective = &containerd.effective;
    let plugins = (effective.plugins.iter())
        .filter(|(name, _)| [VERIFIER_PLUGIN, CRI_IMAGES, CRI_SERVICE].contains(&name.as_str()))
        .map(|(name, table)| (name.clone(), table.clone()));
    let plugins = redact::redacted(plugins.collect(), redact::CONTAINERD);
    let files = std::iter::once(&containerd.config_file).chain(&containerd.imported);
    let list = |items: &[String]| Value::Array(items.iter().cloned().map(Value::String).collect());
    let mut shown = Table::new();
    let files: Vec<_> = files.map(|file| file.display().to_string()).collect();
    shown.insert("files".to_owned(), list(&files));
    shown.insert("disabled_plugins".to_owned(), list(&effective.disabled_plugins));
    shown.insert("plugins".to_owned(), Value::Table(plugins));
    toml::to_string_pretty(&shown).map_err(|error| error.to_string())
}

/// The last decisions, the oldest first.
fn decisions(config: &Config) -> Result<String, String> {
    let options = config
        .decision_log_options()
        .ok_or("this node keeps no decision log: [decision_log] in config.toml has files = 0")?;
    let directory = options.directory;
    if !directory.is_dir() {
        return Err(format!("{}: no decision log is there", directory.display()));
    }
    let mut last = VecDeque::new();
    let mut take = |line: &[u8]| {
        let Ok(record) = serde_json::from_slice::<Record>(line) else {
            return;
        };
        if last.len() == MAX_SUPPORT_DECISIONS {
            last.pop_front();
        }
        last.push_back(record);
    };
    read_on(&directory, &mut Position::default(), &mut take)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    let line = |record: &Record| {
        let value = serde_json::to_value(record).map_err(|error| error.to_string())?;
        Ok(format!("{}\n", redact::json(value)))
    };
    last.iter().map(line).collect()
}

fn redacted_file(path: &Path, keep: Keep) -> Result<String, String> {
    let text = read(path)?;
    redact::document(&text, keep).map_err(|why| format!("{}: {why}", path.display()))
}

/// A file of text, where it is no longer than one may be.
fn read(path: &Path) -> Result<String, String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_SUPPORT_FILE + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_SUPPORT_FILE {
        return Err(format!(
            "{}: it is longer than {MAX_SUPPORT_FILE} bytes",
            path.display()
        ));
    }
    Ok(text)
}

fn write(out: impl Write, folder: &str, now: Timestamp, parts: &[Part]) -> io::Result<()> {
    let mut archive = Builder::new(out);
    let mut append = |name: &str, content: &[u8]| {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or_default());
        archive.append_data(&mut header, format!("{folder}/{name}"), content)
    };
    let lines: String = parts.iter().map(Part::line).collect();
    append(CONTENTS, lines.as_bytes())?;
    for part in parts {
        if let Ok(content) = &part.content {
            append(part.name, content)?;
        }
    }
    archive.into_inner()?.flush()
}

fn report(output: Output, out: &Path, parts: &[Part]) {
    if output == Output::Json {
        let part = |part: &Part| json!({ "name": part.name, "missing": part.content.as_ref().err() });
        println!(
            "{}",
            json!({ "file": out.display().to_string(), "parts": parts.iter().map(part).collect::<Vec<_>>() })
        );
        return;
    }
    for part in parts {
        print!("{}", part.line());
    }
    println!("\nwritten to {}", out.display());
    println!(
        "Keys and credentials are not in it. Names of images, registries and hosts are: read it before you hand it on."
    );
}
