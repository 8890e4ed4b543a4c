//! The real `notation`, with a configuration folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::certificates::SigningIdentity;
use crate::peers::Peers;
use crate::process::{Finished, output};

/// The envelope that a signature is wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    Jws,
    Cose,
}

/// Where notation stores a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// As a manifest with a subject, found through the referrers API; the fallback tag where there is no such API.
    Referrers,
    /// Under the fallback tag, whatever the registry can do. This is notation's own default.
    FallbackTag,
}

/// How to sign.
#[derive(Clone, Debug)]
pub struct Sign {
    /// The name of a key that was added before.
    pub key: String,
    /// The envelope.
    pub format: Format,
    /// After how long the signature says that it expires, in whole seconds.
    pub expiry: Option<Duration>,
    /// Where the signature goes.
    pub storage: Storage,
    /// Further claims of the payload.
    pub user_metadata: Vec<(String, String)>,
}

impl Sign {
    /// A JWS that never expires, found through the referrers API.
    pub fn with(key: &str) -> Self {
        Self {
            key: key.into(),
            format: Format::Jws,
            expiry: None,
            storage: Storage::Referrers,
            user_metadata: vec![],
        }
    }

    /// The same in another envelope.
    pub fn format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// The same with an expiry.
    pub fn expiry(self, expiry: Duration) -> Self {
        Self {
            expiry: Some(expiry),
            ..self
        }
    }

    /// The same stored elsewhere.
    pub fn storage(self, storage: Storage) -> Self {
        Self { storage, ..self }
    }
}

/// notation with keys, trust stores and a policy of its own, in a folder that goes when it is dropped.
#[derive(Debug)]
pub struct Notation {
    program: PathBuf,
    directory: tempfile::TempDir,
}

impl Notation {
    /// A notation that knows no key and trusts nobody.
    ///
    /// # Errors
    ///
    /// No folder could be made.
    pub fn new(peers: &Peers) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("assay-notation-").tempdir()?;
        fs::create_dir(directory.path().join("config"))?;
        Ok(Self {
            program: peers.notation(),
            directory,
        })
    }

    /// Its configuration folder, `NOTATION_CONFIG`: trustpolicy.json and truststore/, which a policy of assayd may name.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    /// Makes an RSA-2048 key and a self-signed certificate with `notation cert generate-test`, and trusts it in the
    /// store `ca:NAME`.
    ///
    /// # Errors
    ///
    /// notation refused.
    pub async fn generate_test_key(&self, name: &str) -> Result<()> {
        self.run(&["cert", "generate-test", name]).await?.successful().map(drop)
    }

    /// Adds a key with its chain to the keys that can sign, as `notation key add` has them (signingkeys.json).
    ///
    /// # Errors
    ///
    /// The files cannot be written.
    pub fn add_key(&self, name: &str, identity: &SigningIdentity) -> Result<()> {
        let folder = self.config().join("localkeys");
        fs::create_dir_all(&folder)?;
        let (key, certificates) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.crt")));
        fs::write(&key, &identity.key_pem)?;
        fs::write(&certificates, &identity.chain_pem)?;

        let list = self.config().join("signingkeys.json");
        let mut keys: Value = match fs::read(&list) {
            Ok(bytes) => serde_json::from_slice(&bytes).context("signingkeys.json is not JSON")?,
            Err(_) => json!({ "keys": [] }),
        };
        let entry = json!({ "name": name, "keyPath": key, "certPath": certificates });
        keys["keys"]
            .as_array_mut()
            .context("signingkeys.json has no keys")?
            .push(entry);
        fs::write(list, keys.to_string()).context("cannot write signingkeys.json")
    }

    /// The certificate chain of a key, PEM, leaf first.
    ///
    /// # Errors
    ///
    /// There is no such key.
    pub fn chain(&self, key: &str) -> Result<String> {
        let path = self.config().join("localkeys").join(format!("{key}.crt"));
        fs::read_to_string(path).with_context(|| format!("notation knows no key {key}"))
    }

    /// Puts a certificate into a trust store: `trust("ca", "corp", &pem)`.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn trust(&self, kind: &str, store: &str, certificate_pem: &str) -> Result<()> {
        let folder = self.config().join("truststore/x509").join(kind).join(store);
        fs::create_dir_all(&folder)?;
        let number = fs::read_dir(&folder)?.count();
        fs::write(folder.join(format!("{number}.crt")), certificate_pem).context("cannot write the certificate")
    }

    /// Writes trustpolicy.json.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write_policy(&self, policy: &Value) -> Result<()> {
        let text = serde_json::to_vec_pretty(policy)?;
        fs::write(self.config().join("trustpolicy.json"), text).context("cannot write trustpolicy.json")
    }

    /// Writes a trustpolicy.json with one strict statement for all images, whose signers are `identities` (`["*"]` for
    /// anybody) under the trust store `ca:STORE`.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn trust_everywhere(&self, store: &str, identities: &[&str]) -> Result<()> {
        self.write_policy(&json!({
            "version": "1.0",
            "trustPolicies": [{
                "name": "everywhere",
                "registryScopes": ["*"],
                "signatureVerification": { "level": "strict" },
                "trustStores": [format!("ca:{store}")],
                "trustedIdentities": identities,
            }],
        }))
    }

    /// Signs `reference` (`127.0.0.1:5000/app@sha256:…`) over plain HTTP and stores the signature beside it.
    ///
    /// # Errors
    ///
    /// notation refused; the error is what it said.
    pub async fn sign(&self, reference: &str, how: &Sign) -> Result<()> {
        let format = match how.format {
            Format::Jws => "jws",
            Format::Cose => "cose",
        };
        let by_tag = how.storage == Storage::FallbackTag;
        let mut arguments = vec![
            "sign".to_owned(),
            "--insecure-registry".to_owned(),
            format!("--key={}", how.key),
            format!("--signature-format={format}"),
            format!("--force-referrers-tag={by_tag}"),
        ];
        arguments.extend(how.expiry.map(|expiry| format!("--expiry={}s", expiry.as_secs())));
        arguments.extend(
            how.user_metadata
                .iter()
                .map(|(name, value)| format!("--user-metadata={name}={value}")),
        );
        arguments.push(reference.to_owned());
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        self.run(&arguments).await?.successful().map(drop)
    }

    /// Verifies `reference` with the policy and the stores of this folder, saying why it refuses a signature.
    ///
    /// # Errors
    ///
    /// notation cannot be started; whether it accepted is in the result.
    pub async fn verify(&self, reference: &str) -> Result<Finished> {
        self.run(&["verify", "--verbose", "--insecure-registry", reference])
            .await
    }

    /// Runs notation with any arguments.
    ///
    /// # Errors
    ///
    /// notation cannot be started.
    pub async fn run(&self, arguments: &[&str]) -> Result<Finished> {
        output(self.command(arguments)).await
    }

    /// The command that [`Self::run`] runs, for whoever measures it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let below = |name: &str| -> PathBuf { Path::new(self.directory.path()).join(name) };
        let mut command = Command::new(&self.program);
        command
            .env("NOTATION_CONFIG", self.config())
            .env("NOTATION_CACHE", below("cache"));
        command
            .env("NOTATION_LIBEXEC", below("libexec"))
            .env("HOME", self.directory.path())
            .args(arguments);
        command
    }
}
