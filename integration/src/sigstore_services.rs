//! Fulcio with its certificate transparency log, Rekor v1 and v2 and a timestamp authority, for the real cosign and
//! without the internet: `integration/sigstore/services.mjs` around the npm package `@sigstore/mock`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::peers::Peers;
use crate::process::Service;

/// Which version of which packages is installed.
const LOCK_FILE: &str = "package-lock.json";

/// What the services do wrong from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Timestamps have a fraction of a second (RFC 3161 §2.4.2 allows it).
    FractionalTime,
    /// Rekor v1 answers without a signed entry timestamp.
    NoSignedEntryTimestamp,
    /// Rekor v1 answers with the entry that was logged before.
    PreviousEntry,
}

impl Misbehaviour {
    const ALL: [Self; 3] = [Self::FractionalTime, Self::NoSignedEntryTimestamp, Self::PreviousEntry];

    /// As services.mjs has it.
    fn name(self) -> &'static str {
        match self {
            Self::FractionalTime => "fractional_time",
            Self::NoSignedEntryTimestamp => "no_signed_entry_timestamp",
            Self::PreviousEntry => "previous_entry",
        }
    }
}

/// A sigstore of its own, with keys that nobody else has, until it is dropped. Two of them trust each other in nothing.
#[derive(Debug)]
pub struct SigstoreServices {
    service: Service,
    url: String,
    trusted_root: Value,
    folder: tempfile::TempDir,
}

impl SigstoreServices {
    /// Starts the services on a loopback port. The first call installs what they are made of, with npm.
    ///
    /// # Errors
    ///
    /// There is no node or npm, a package cannot be installed, or the services do not come up.
    pub async fn start(peers: &Peers) -> Result<Self> {
        let modules = installed(peers)?;
        let folder = tempfile::Builder::new().prefix("assay-sigstore-").tempdir()?;
        let mut command = Command::new("node");
        command
            .arg(source().join("services.mjs"))
            .arg(modules)
            .arg(folder.path());
        let mut service = Service::spawn("sigstore services", command, &folder.path().join("log"))?;
        let ready = folder.path().join("ready.json");
        service.wait_until(|| std::future::ready(ready.is_file())).await?;
        let said: Value = serde_json::from_slice(&fs::read(&ready)?)?;
        let url = said["url"].as_str().context("ready.json names no address")?.to_owned();
        let trusted_root = serde_json::from_slice(&fs::read(folder.path().join("trusted_root.json"))?)?;
        Ok(Self {
            service,
            url,
            trusted_root,
            folder,
        })
    }

    /// Where Fulcio and both Rekors are: `http://127.0.0.1:8000`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the timestamp authority takes queries.
    pub fn timestamp_url(&self) -> String {
        format!("{}/api/v1/timestamp", self.url)
    }

    /// What trusts all of them: Fulcio's root, the transparency log's key, the keys of Rekor v1 (the first of `tlogs`) and
    /// v2, and the timestamp authority.
    pub fn trusted_root(&self) -> &Value {
        &self.trusted_root
    }

    /// The file with [`Self::trusted_root`].
    pub fn trusted_root_file(&self) -> PathBuf {
        self.folder.path().join("trusted_root.json")
    }

    /// The file with the timestamp authority's certificates, PEM, the signing one first.
    pub fn timestamp_chain_file(&self) -> PathBuf {
        self.folder.path().join("tsa-chain.pem")
    }

    /// The variables through which cosign 2 knows these services without a trusted root.
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("SIGSTORE_ROOT_FILE", "fulcio.pem"),
            ("SIGSTORE_REKOR_PUBLIC_KEY", "rekor.pub"),
            ("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", "ctfe.pub"),
            ("SIGSTORE_TSA_CERTIFICATE_FILE", "tsa-chain.pem"),
        ]
        .map(|(name, file)| (name, self.folder.path().join(file)))
    }

    /// Switches a misbehaviour on.
    ///
    /// # Errors
    ///
    /// The services are gone.
    pub async fn misbehave(&self, how: Misbehaviour) -> Result<()> {
        self.set(&[how], true).await
    }

    /// Switches every misbehaviour off.
    ///
    /// # Errors
    ///
    /// The services are gone.
    pub async fn behave(&self) -> Result<()> {
        self.set(&Misbehaviour::ALL, false).await
    }

    async fn set(&self, which: &[Misbehaviour], on: bool) -> Result<()> {
        let body: serde_json::Map<_, _> = which.iter().map(|how| (how.name().to_owned(), json!(on))).collect();
        let request = crate::http_client().post(format!("{}/behaviour", self.url));
        let answer = request.body(Value::Object(body).to_string()).send().await?;
        answer.error_for_status().context("the services refuse")?;
        Ok(())
    }

    /// What was asked of the services, a line each: method, path, status and, where they refused, why.
    pub fn log(&self) -> String {
        self.service.log()
    }
}

/// An identity token of this issuer for this subject, good for an hour. The services look at no signature of it, and take
/// the subject from the claim `email`.
pub fn identity_token(issuer: &str, subject: &str, further: &[(&str, String)]) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let mut claims = json!({
        "iss": issuer,
        "sub": subject,
        "email": subject,
        "email_verified": true,
        "aud": "sigstore",
        "iat": now,
        "exp": now + 60 * 60,
    });
    for (name, value) in further {
        claims[*name] = json!(value);
    }
    let parts = [json!({ "alg": "RS256", "typ": "JWT" }), claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{}.{}", parts.join("."), URL_SAFE_NO_PAD.encode("signature"))
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sigstore")
}

/// The folder whose node_modules has what the committed lock file names, installed by the first who needs it.
fn installed(peers: &Peers) -> Result<PathBuf> {
    let (folder, _lock) = peers.locked()?;
    let folder = folder.join("sigstore-services");
    let wanted = fs::read(source().join(LOCK_FILE)).context("cannot read the lock file of the sigstore services")?;
    // Written last: what an interrupted installation left is not taken for a whole one.
    let complete = folder.join("installed.json");
    if fs::read(&complete).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    fs::create_dir_all(&folder)?;
    for file in ["package.json", LOCK_FILE] {
        fs::copy(source().join(file), folder.join(file))?;
    }
    eprintln!("peers: installing @sigstore/mock with npm");
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .current_dir(&folder);
    let output = npm
        .output()
        .context("cannot run npm: the sigstore services need Node.js 20 or later, with npm")?;
    ensure!(
        output.status.success(),
        "npm cannot install the sigstore services: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    fs::write(complete, wanted)?;
    Ok(folder)
}
