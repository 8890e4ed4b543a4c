//! The real `notation`, with a configuration folder of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::certificates::SigningIdentity;
use crate::peers::Peers;
use crate::process::{Finished, output};
use crate::timestamp::TimestampAuthority;

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
    /// Who puts a time to the signature.
    pub timestamp: Option<TimestampFrom>,
}

/// A timestamp authority, as a signer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampFrom {
    /// Where it takes queries.
    pub url: String,
    /// The root that its certificate must lead to, PEM.
    pub root_pem: String,
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
            timestamp: None,
        }
    }

    /// The same with one more claim in the payload.
    pub fn claim(mut self, name: &str, value: &str) -> Self {
        self.user_metadata.push((name.into(), value.into()));
        self
    }

    /// The same with a timestamp from this authority.
    pub fn timestamped(self, authority: &TimestampAuthority) -> Self {
        let timestamp = TimestampFrom {
            url: authority.url(),
            root_pem: authority.root_pem().to_owned(),
        };
        Self {
            timestamp: Some(timestamp),
            ..self
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

/// When a policy asks for a timestamp of a signature (trust-store-trust-policy.md#signature-verification-details).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyTimestamp {
    /// Of every signature.
    Always,
    /// Once a certificate of the signer's chain has expired.
    AfterCertExpiry,
}

/// The one statement of a trustpolicy.json, for all images.
#[derive(Clone, Debug)]
pub struct Statement {
    /// `strict`, `permissive`, `audit` or `skip`.
    pub level: &'static str,
    /// Validations with another action than the level's: `("revocation", "log")`.
    pub overrides: Vec<(&'static str, &'static str)>,
    /// When it asks for a timestamp, where it says so. It is heeded only with a store of the kind `tsa`.
    pub verify_timestamp: Option<VerifyTimestamp>,
    /// Trust stores: `ca:corp`, `tsa:public`.
    pub stores: Vec<String>,
    /// Who may sign: `*`, `x509.subject: …`.
    pub identities: Vec<String>,
}

impl Statement {
    /// A strict statement.
    pub fn strict(stores: &[&str], identities: &[&str]) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            level: "strict",
            overrides: vec![],
            verify_timestamp: None,
            stores: owned(stores),
            identities: owned(identities),
        }
    }

    /// The same with a word on when it asks for a timestamp.
    pub fn verify_timestamp(self, when: VerifyTimestamp) -> Self {
        Self {
            verify_timestamp: Some(when),
            ..self
        }
    }

    /// The policy, for [`Notation::write_policy`].
    pub fn policy(&self) -> Value {
        let mut verification = json!({ "level": self.level });
        if !self.overrides.is_empty() {
            let overrides = self
                .overrides
                .iter()
                .map(|(name, action)| ((*name).to_owned(), json!(action)));
            verification["override"] = Value::Object(overrides.collect());
        }
        if let Some(when) = self.verify_timestamp {
            verification["verifyTimestamp"] = json!(match when {
                VerifyTimestamp::Always => "always",
                VerifyTimestamp::AfterCertExpiry => "afterCertExpiry",
            });
        }
        json!({
            "version": "1.0",
            "trustPolicies": [{
                "name": "everywhere",
                "registryScopes": ["*"],
                "signatureVerification": verification,
                "trustStores": self.stores,
                "trustedIdentities": self.identities,
            }],
        })
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
        self.write_policy(&Statement::strict(&[&format!("ca:{store}")], identities).policy())
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
        // notation reads the root once, when it starts.
        let root = tempfile::Builder::new()
            .suffix(".pem")
            .tempfile_in(self.directory.path())?;
        if let Some(timestamp) = &how.timestamp {
            fs::write(root.path(), &timestamp.root_pem)?;
            arguments.push(format!("--timestamp-url={}", timestamp.url));
            arguments.push(format!("--timestamp-root-cert={}", root.path().display()));
        }
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
        self.verify_with(reference, &[]).await
    }

    /// The same with further arguments: `--user-metadata=build=7`, `--plugin-config=name=value`.
    ///
    /// # Errors
    ///
    /// notation cannot be started; whether it accepted is in the result.
    pub async fn verify_with(&self, reference: &str, further: &[&str]) -> Result<Finished> {
        let arguments = ["verify", "--verbose", "--insecure-registry"].into_iter();
        let arguments: Vec<_> = arguments.chain(further.iter().copied()).chain([reference]).collect();
        self.run(&arguments).await
    }

    /// The folder of its caches, `NOTATION_CACHE`: `crl/` has the CRLs that it keeps.
    pub fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// The folder of its plugins, `NOTATION_LIBEXEC`: a plugin is `plugins/NAME/notation-NAME`.
    pub fn libexec(&self) -> PathBuf {
        self.directory.path().join("libexec")
    }

    /// Installs an executable as the plugin `name`.
    ///
    /// # Errors
    ///
    /// The link cannot be made.
    pub fn install_plugin(&self, name: &str, program: &Path) -> Result<()> {
        let folder = self.libexec().join("plugins").join(name);
        fs::create_dir_all(&folder)?;
        // Not a copy: a child that another thread forks meanwhile would hold it open for writing, and it could not be run.
        let link = folder.join(format!("notation-{name}"));
        symlink(program, link).with_context(|| format!("cannot link to {}", program.display()))
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
        let mut command = Command::new(&self.program);
        command
            .env("NOTATION_CONFIG", self.config())
            .env("NOTATION_CACHE", self.cache());
        command
            .env("NOTATION_LIBEXEC", self.libexec())
            .env("HOME", self.directory.path())
            .args(arguments);
        command
    }
}
