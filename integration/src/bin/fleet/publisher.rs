//! The owner of the policy repository: publishes it into the folder that nginx serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use assay_integration::certificates::{Authority, Profile};
use assay_verify::Timestamp;
use assay_verify::digest::Digest;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::policy_repository::{Files, REVOCATIONS, Repository, SNAPSHOT, TARGETS, TIMESTAMP};

/// How many images are denied before the first revocation.
const DENIED: usize = 20;
/// How long everything is valid: longer than any run.
const VALID: Duration = Duration::from_secs(24 * 3600);
/// The channel that all nodes follow.
pub(crate) const CHANNEL: &str = "stable";
const TIMESTAMP_FILE: &str = "timestamp.json";

pub(crate) struct Publisher {
    repository: Repository,
    folder: PathBuf,
    denied: Vec<Value>,
    policies: usize,
    published: Files,
}

impl Publisher {
    /// A repository with a policy, an authority's certificate, a deny-list and no exceptions, in `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let mut repository = Repository::new();
        let end = Timestamp::now() + VALID;
        for expires in repository.expires.values_mut() {
            *expires = end;
        }
        repository.targets.clear();
        repository.files = Files::new();
        let authority = Authority::root(&Profile::named("Corp Root"))?;
        let certificate = format!("channels/{CHANNEL}/notation/truststore/x509/ca/corp/root.pem");
        repository.put(TARGETS, &certificate, &authority.certificate_pem());
        let mut publisher = Self {
            repository,
            folder: folder.to_owned(),
            denied: Vec::new(),
            policies: 0,
            published: Files::new(),
        };
        for _ in 0..DENIED {
            publisher.deny();
        }
        publisher.put_policy();
        publisher.put_deny_list();
        publisher.repository.publish_root(&[]);
        publisher.publish()?;
        Ok(publisher)
    }

    /// The root that nodes pin.
    pub(crate) fn pinned(&self) -> Vec<u8> {
        self.repository.pinned()
    }

    /// How many entries the deny-list has.
    pub(crate) fn denied(&self) -> usize {
        self.denied.len()
    }

    /// Denies one more image. Returns the moment from which nodes can learn it.
    pub(crate) fn revoke(&mut self) -> Result<Instant> {
        self.deny();
        self.put_deny_list();
        self.repository.bump(&[REVOCATIONS, SNAPSHOT, TIMESTAMP]);
        self.publish()
    }

    /// Publishes another policy.
    pub(crate) fn change_policy(&mut self) -> Result<Instant> {
        self.put_policy();
        self.repository.bump(&[TARGETS, SNAPSHOT, TIMESTAMP]);
        self.publish()
    }

    /// Says anew that all is as it was.
    pub(crate) fn sign_again(&mut self) -> Result<Instant> {
        self.repository.bump(&[TIMESTAMP]);
        self.publish()
    }

    /// The size of each file that is served now, by its name without version and hash.
    pub(crate) fn sizes(&self) -> Vec<(String, usize)> {
        let mut sizes = Vec::new();
        for role in ["root", TIMESTAMP, SNAPSHOT, TARGETS, REVOCATIONS] {
            let length = self
                .repository
                .files
                .get(&self.repository.file(role))
                .map_or(0, Vec::len);
            sizes.push((format!("{role}.json"), length));
        }
        for targets in self.repository.targets.values() {
            sizes.extend(targets.iter().map(|(path, content)| (path.clone(), content.len())));
        }
        sizes
    }

    fn deny(&mut self) {
        let number = self.denied.len();
        self.denied.push(json!({
            "image": Digest::sha256(&number.to_le_bytes()).to_string(),
            "reason": "malicious dependency in a build of the payment service",
            "reference": format!("INC-{number}"),
            "at": Timestamp::now().to_string(),
        }));
    }

    fn put_deny_list(&mut self) {
        let list = json!({ "version": 1, "issued": Timestamp::now().to_string(), "entries": self.denied });
        self.repository
            .put(REVOCATIONS, "revocation/deny.json", &list.to_string());
    }

    fn put_policy(&mut self) {
        self.policies += 1;
        let policy = format!(
            "version   = 1\nunmatched = \"deny\"\n\n\
             [authority.corp]\ntype = \"notation\"\ntrust_stores       = [\"ca:corp\"]\n\
             trusted_identities = [\"x509.subject: C=US, ST=WA, O=Corp, CN=release\"]\nlevel = \"strict\"\n\n\
             [[rule]]\nname    = \"production {}\"\nimages  = [\"registry.corp.example/prod/**\"]\n\
             require = {{ all = [\"corp\"] }}\nmode    = \"enforce\"\n",
            self.policies
        );
        let path = format!("channels/{CHANNEL}/policy.toml");
        self.repository.put(TARGETS, &path, &policy);
    }

    /// Writes what is new. The timestamp comes last and in one step: with it the rest begins to count.
    fn publish(&mut self) -> Result<Instant> {
        self.repository.signed_at = json!(Timestamp::now().to_string());
        self.repository.publish();
        let files = self.repository.files.clone();
        for (name, content) in &files {
            if name != TIMESTAMP_FILE && self.published.get(name) != Some(content) {
                self.write(name, content)?;
            }
        }
        let timestamp = files.get(TIMESTAMP_FILE).context("there is no timestamp")?;
        self.write(TIMESTAMP_FILE, timestamp)?;
        self.published = files;
        Ok(Instant::now())
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let unfinished = path.with_extension("new");
        fs::write(&unfinished, content)?;
        fs::rename(&unfinished, &path).with_context(|| format!("cannot publish {}", path.display()))
    }
}
