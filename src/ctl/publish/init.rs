//! `assayctl publish init`: a new folder, and what to do next.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use assay_verify::Timestamp;
use assay_verify::limits::MAX_KEY_SIZE;

use super::Stop;
use super::folder::{self, Folder};
use super::keys::{NewKey, PrivateKey, PublicKey, spki_base64};
use super::metadata;
use super::plan::{Plan, ROLES, default_lifetime};
use super::report;
use super::sign::{self, Request};
use crate::ctl::Output;
use crate::sync::layout::{DENY_LIST_FILE, POLICY_FILE, REVOCATION_FOLDER};
use crate::sync::{Channel, Role};

/// The policy that a new channel has: nothing is admitted until somebody says what.
const SAMPLE_POLICY: &str = include_str!("../../../packaging/policy.toml");

#[derive(Args)]
pub(in crate::ctl) struct Init {
    /// The folder to make
    folder: PathBuf,
    /// A channel: nodes of each have a policy of their own [default: stable]
    #[arg(long, value_name = "NAME")]
    channel: Vec<Channel>,
    /// Where nodes will find the repository, e.g. https://policy.corp.example/assayd
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// How many of the root's keys have to sign
    #[arg(long, value_name = "N", default_value_t = 2)]
    root_threshold: usize,
    /// How many of the targets' keys have to sign a policy
    #[arg(long, value_name = "N", default_value_t = 1)]
    targets_threshold: usize,
    /// Make new keys, all of them, into FOLDER/keys; those of root and targets are meant to be moved away
    #[arg(long, conflicts_with_all = ["root_key", "targets_key", "revocations_key", "exceptions_key", "online_key"])]
    generate_keys: bool,
    /// A public key of the root, in PEM
    #[arg(long, value_name = "PUB")]
    root_key: Vec<PathBuf>,
    /// A public key of those who sign policies
    #[arg(long, value_name = "PUB")]
    targets_key: Vec<PathBuf>,
    /// A public key of those who sign deny-lists
    #[arg(long, value_name = "PUB")]
    revocations_key: Vec<PathBuf>,
    /// A public key of those who sign exceptions; without one there are none
    #[arg(long, value_name = "PUB")]
    exceptions_key: Vec<PathBuf>,
    /// A public key that signs snapshots and timestamps, on a machine that is always there
    #[arg(long, value_name = "PUB")]
    online_key: Vec<PathBuf>,
}

/// A key of the new plan.
struct Planned {
    name: String,
    public: String,
    roles: Vec<Role>,
    /// The private half, where it was made here.
    private_pem: Option<String>,
}

impl Init {
    /// The groups of keys: their word in names, the roles they sign for, those that are given, and how many are made.
    fn groups(&self) -> [(&'static str, &'static [Role], &[PathBuf], usize); 5] {
        [
            // One may be lost.
            ("root", &[Role::Root], &self.root_key, self.root_threshold + 1),
            (
                "targets",
                &[Role::Targets],
                &self.targets_key,
                self.targets_threshold + 1,
            ),
            ("revocations", &[Role::Revocations], &self.revocations_key, 1),
            ("exceptions", &[Role::Exceptions], &self.exceptions_key, 1),
            ("online", &[Role::Snapshot, Role::Timestamp], &self.online_key, 1),
        ]
    }

    fn keys(&self) -> Result<Vec<Planned>, Stop> {
        let mut keys: Vec<Planned> = Vec::new();
        for (word, roles, given, count) in self.groups() {
            if self.generate_keys {
                for number in 1..=count {
                    let key = NewKey::generate().map_err(|error| Stop::usage(error.to_string()))?;
                    keys.push(Planned {
                        name: format!("{word}-{number}"),
                        public: key.public,
                        roles: roles.to_vec(),
                        private_pem: Some(key.private_pem),
                    });
                }
                continue;
            }
            if given.is_empty() && word != "exceptions" {
                let message = format!("there is no --{word}-key: give the public keys, or --generate-keys to make all");
                return Err(Stop::usage(message));
            }
            for (number, path) in given.iter().enumerate() {
                let public = read_public(path)?;
                // One key may sign for several roles.
                match keys.iter_mut().find(|key| key.public == public) {
                    Some(known) => known.roles.extend(roles),
                    None => keys.push(Planned {
                        name: format!("{word}-{}", number + 1),
                        public,
                        roles: roles.to_vec(),
                        private_pem: None,
                    }),
                }
            }
        }
        Ok(keys)
    }
}

fn read_public(path: &Path) -> Result<String, Stop> {
    let text = read_text(path)?;
    spki_base64(&text).map_err(|error| Stop::usage(format!("{}: {error}", path.display())))
}

fn read_text(path: &Path) -> Result<String, Stop> {
    let content = folder::read(path, MAX_KEY_SIZE).map_err(|error| Stop::io(path, &error))?;
    let content = content.ok_or_else(|| Stop::usage(format!("{}: there is no such file", path.display())))?;
    String::from_utf8(content).map_err(|_| Stop::usage(format!("{}: not a key in PEM", path.display())))
}

/// Makes the folder. Whatever is there already stays as it is.
pub(super) async fn run(output: Output, asked: &Init) -> Result<u8, Stop> {
    let path = &asked.folder;
    if path.exists() && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Stop::usage(format!(
            "{} is there already and not empty: nothing was changed",
            path.display()
        )));
    }
    let channels = match asked.channel.as_slice() {
        [] => vec!["stable".parse().map_err(|error| Stop::usage(format!("{error}")))?],
        named => named.to_vec(),
    };
    let keys = asked.keys()?;
    let text = plan_text(asked, &channels, &keys);
    let folder = Folder::new(path);
    // Before anything is written: what is given may contradict itself.
    let plan = Plan::parse(&folder.plan().display().to_string(), &text).map_err(Stop::Refused)?;

    let now = Timestamp::now();
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| Stop::io(&path, &error)
    };
    for channel in &channels {
        let policy = folder.files().join(channel.folder()).join(POLICY_FILE);
        folder::create(&policy, SAMPLE_POLICY.as_bytes(), 0o644).map_err(failed(&policy))?;
    }
    let deny_list = folder.files().join(REVOCATION_FOLDER).join(DENY_LIST_FILE);
    let empty = super::deny::write_list(metadata::second(now), &[]);
    folder::create(&deny_list, empty.as_bytes(), 0o644).map_err(failed(&deny_list))?;
    let mut private = Vec::new();
    for key in &keys {
        if let Some(pem) = &key.private_pem {
            let path = folder.keys().join(format!("{}.pem", key.name));
            folder::create(&path, pem.as_bytes(), 0o600).map_err(failed(&path))?;
            private.push(path);
        }
    }
    // Private keys and the lock are nobody else's.
    let ignored = path.join(".gitignore");
    folder::create(&ignored, b"/keys/\n/.lock\n", 0o644).map_err(failed(&ignored))?;
    folder::make_folder(&folder.repository()).map_err(failed(&folder.repository()))?;
    let plan_path = folder.plan();
    folder::create(&plan_path, text.as_bytes(), 0o644).map_err(failed(&plan_path))?;

    let _held = folder.hold()?;
    let root = sign::rotate(&folder, &plan, now)?;
    let is_of_root = |path: &&PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("root-"))
    };
    let mut root_keys = Vec::new();
    for path in private.iter().filter(is_of_root) {
        root_keys.push(PrivateKey::read(path).map_err(|error| Stop::usage(format!("{}: {error}", path.display())))?);
    }
    let mut outcome = sign::Outcome::default();
    if root_keys.is_empty() {
        outcome.waiting.push(sign::Waiting {
            role: Role::Root,
            version: Some(root.signed.version),
            why: format!("0 of {} signatures", asked.root_threshold),
        });
    } else {
        let request = Request {
            keys: root_keys,
            only: [Role::Root].into(),
            now,
        };
        outcome = sign::sign(&folder, &plan, &request).await?;
    }
    report::made(output, &folder, &plan, &private, &outcome);
    Ok(crate::ctl::DONE)
}

/// The text of a new publish.toml.
fn plan_text(asked: &Init, channels: &[Channel], keys: &[Planned]) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let named: Vec<String> = channels.iter().map(|channel| quoted(channel.as_str())).collect();
    let url = match &asked.url {
        Some(url) => format!("url = {}\n", quoted(url)),
        None => "# url = \"https://policy.corp.example/assayd\"\n".to_owned(),
    };
    let mut text = format!(
        "# How this fleet's policy repository is published: docs/publishing.md describes it.\n\
         # What is published is everything below files/. Check with `assayctl publish check`.\n\
         \n\
         version  = 1\n\
         \n\
         # A channel is a folder files/channels/NAME in the shape of /etc/assayd. A node follows one.\n\
         channels = [{}]\n\
         \n\
         # Where nodes find the repository.\n\
         {url}\
         \n\
         # Public keys. The id is TUF's: compare it with the key's holder. `assayctl publish key FILE` prints such a table.\n",
        named.join(", ")
    );
    // Writing to a String cannot fail.
    for key in keys {
        let id = PublicKey::parse(&key.public).map(|key| key.id).unwrap_or_default();
        let _ = writeln!(
            text,
            "[key.{}]\nid     = {}\npublic = {}\n",
            key.name,
            quoted(&id),
            quoted(&key.public)
        );
    }
    text.push_str(
        "# Who signs what, how many of them have to, and how long it counts. What is signed anew before a third of its\n\
         # lifetime is left never expires.\n\
         #\n\
         #   root         says which keys count: offline; changed with `assayctl publish rotate`\n\
         #   targets      signs the policies and trust material of every channel: offline\n\
         #   revocations  signs deny-lists and relayed CRLs, which can only deny: at hand day and night\n\
         #   exceptions   signs break-glass exceptions, of at most a day each; without it there are none\n\
         #   snapshot     says what belongs together: online\n\
         #   timestamp    says that nothing is newer, every hour: online\n",
    );
    for role in ROLES {
        let of_role: Vec<&Planned> = keys.iter().filter(|key| key.roles.contains(&role)).collect();
        if of_role.is_empty() && role == Role::Exceptions {
            continue;
        }
        let names: Vec<String> = of_role.iter().map(|key| quoted(&key.name)).collect();
        let threshold = match role {
            Role::Root => asked.root_threshold,
            Role::Targets => asked.targets_threshold,
            _ => 1,
        };
        let _ = writeln!(
            text,
            "[role.{role}]\nkeys      = [{}]\nthreshold = {threshold}\nlifetime  = \"{}\"\n",
            names.join(", "),
            default_lifetime(role)
        );
    }
    text
}

#[derive(Args)]
pub(in crate::ctl) struct ShowKey {
    /// Private or public keys, in PEM
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// `assayctl publish key`: the tables of keys for publish.toml.
pub(super) fn show_keys(output: Output, asked: &ShowKey) -> Result<u8, Stop> {
    let mut shown = Vec::new();
    for path in &asked.files {
        let failed = |error| Stop::usage(format!("{}: {error}", path.display()));
        let text = read_text(path)?;
        let base64 = match PrivateKey::read(path) {
            Ok(key) => key.public.spki_base64().map_err(failed)?,
            Err(_) => spki_base64(&text).map_err(failed)?,
        };
        let key = PublicKey::parse(&base64).map_err(failed)?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
        let plain = |character: char| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '-'
            }
        };
        let name: String = stem.chars().map(plain).collect();
        shown.push((name, key.id, base64));
    }
    report::keys(output, &shown);
    Ok(crate::ctl::DONE)
}
