//! The real `cosign` of both series, each with a home folder of its own.
//!
//! cosign 2 signs a small JSON text and stores it under a tag (`sha256-….sig`); cosign 3 signs an in-toto statement and
//! stores a bundle as a referrer. How each is told so is written down here once.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rcgen::string::Ia5String;
use rcgen::{CustomExtension, SanType};
use serde_json::Value;

use crate::certificates::{Authority, Profile};
use crate::openssl::OpenSsl;
use crate::peers::Peers;
use crate::process::{Finished, output};
use crate::sigstore_services::{SigstoreServices, identity_token};

/// Terms of validity begin before anything here was made.
const FROM: &str = "start-time=2024-01-01T00:00:00Z";

/// The issuer of a token, in Fulcio's certificates.
const ISSUER_AS_TEXT: [u64; 9] = [1, 3, 6, 1, 4, 1, 57264, 1, 1];
const ISSUER: [u64; 9] = [1, 3, 6, 1, 4, 1, 57264, 1, 8];

/// Which cosign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// cosign 2: signatures under tags.
    Two,
    /// cosign 3: bundles among the referrers.
    Three,
}

/// The keys that cosign imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum KeyType {
    P256,
    P384,
    P521,
    Rsa2048,
    Rsa4096,
    Ed25519,
}

impl KeyType {
    /// Every kind of key.
    pub const ALL: [Self; 6] = [
        Self::P256,
        Self::P384,
        Self::P521,
        Self::Rsa2048,
        Self::Rsa4096,
        Self::Ed25519,
    ];

    /// The arguments of `openssl genpkey`.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::P256 => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Self::P384 => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
            Self::P521 => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
            Self::Rsa2048 => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            Self::Rsa4096 => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"],
            Self::Ed25519 => &["-algorithm", "ED25519"],
        }
    }
}

/// A key pair in cosign's files, which both series read. The password is empty.
#[derive(Clone, Debug)]
pub struct KeyPair {
    folder: Arc<tempfile::TempDir>,
    public_pem: String,
}

impl KeyPair {
    /// The public key: `-----BEGIN PUBLIC KEY-----`.
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The file with the public key.
    pub fn public_file(&self) -> PathBuf {
        self.folder.path().join("cosign.pub")
    }

    fn private_file(&self) -> PathBuf {
        self.folder.path().join("cosign.key")
    }
}

/// A key with a certificate of an authority that is no Fulcio.
#[derive(Clone, Debug)]
pub struct CertifiedKey {
    /// The key pair.
    pub key: KeyPair,
    /// Its certificate, PEM.
    pub certificate_pem: String,
    /// The certificates above it up to the root, PEM.
    pub issuers_pem: String,
    /// The root, PEM.
    pub root_pem: String,
    /// What the certificate says of its owner.
    pub identity: Identity,
}

impl CertifiedKey {
    /// A P-256 key and a certificate of `authority` for it, which names its owner as Fulcio's certificates do.
    ///
    /// # Errors
    ///
    /// The certificate cannot be made, or cosign does not take the key.
    pub async fn issue(cosign: &Cosign, authority: &Authority, identity: &Identity) -> Result<Self> {
        let subject = Ia5String::try_from(identity.subject.clone()).context("a subject beyond ASCII")?;
        let issued = authority.issue_with(&Profile::named("release"), |parameters| {
            parameters.subject_alt_names = vec![SanType::URI(subject)];
            // Fulcio's oid-info.md: first as plain text, and since 2022 as a UTF8String.
            let (first, second) = (ISSUER_AS_TEXT, ISSUER);
            let text = identity.issuer.as_bytes();
            parameters.custom_extensions.extend([
                CustomExtension::from_oid_content(&first, text.to_vec()),
                CustomExtension::from_oid_content(&second, utf8_string(text)),
            ]);
        })?;
        let issuers = issued.chain_pem.strip_prefix(&issued.certificate_pem);
        Ok(Self {
            key: cosign.import_key(&issued.key_pem).await?,
            issuers_pem: issuers.unwrap_or_default().to_owned(),
            root_pem: issued.anchor_pem,
            certificate_pem: issued.certificate_pem,
            identity: identity.clone(),
        })
    }
}

/// A UTF8String in DER, of less than 128 bytes.
fn utf8_string(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX).min(127);
    [&[0x0c, length], text].concat()
}

/// Who signs without a key of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The issuer of the token.
    pub issuer: String,
    /// The subject alternative name.
    pub subject: String,
    /// What else the token says, by the names that GitHub gives it: `repository`, `ref`.
    pub claims: Vec<(&'static str, String)>,
}

impl Identity {
    /// `ci@example.test`, as `https://issuer.test` knows it.
    pub fn ci() -> Self {
        Self::new("https://issuer.test", "ci@example.test")
    }

    /// Somebody of whom the token says no more.
    pub fn new(issuer: &str, subject: &str) -> Self {
        Self {
            issuer: issuer.into(),
            subject: subject.into(),
            claims: vec![],
        }
    }

    /// The release workflow of `acme/app` on GitHub, on its branch `main`.
    pub fn workflow() -> Self {
        let claims = [
            ("event_name", "push"),
            ("ref", "refs/heads/main"),
            ("repository", "acme/app"),
            ("repository_owner", "acme"),
            ("runner_environment", "github-hosted"),
        ];
        Self {
            claims: claims.map(|(name, value)| (name, value.to_owned())).to_vec(),
            ..Self::new(
                "https://token.actions.githubusercontent.com",
                "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main",
            )
        }
    }
}

/// Who signs.
#[derive(Clone, Debug)]
pub enum Signer {
    /// Whoever has this key.
    Key(KeyPair),
    /// Whoever has a token that Fulcio takes.
    Keyless(Identity),
    /// Whoever has the key of this certificate.
    Certified(CertifiedKey),
}

/// Where a signature is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// Nowhere.
    None,
    /// A Rekor that answers with signed entry timestamps.
    RekorV1,
    /// A Rekor of tiles, which answers without a time. cosign 3 only.
    RekorV2,
}

/// Where a signature is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// What the series does by itself: under a tag, or a bundle among the referrers.
    Own,
    /// cosign 2: a signature as under a tag, among the referrers (`--registry-referrers-mode=oci-1-1`).
    Referrers,
    /// cosign 3: the format of cosign 2, under a tag (`--new-bundle-format=false`).
    OldFormat,
}

/// A statement about an image: `cosign attest` instead of `cosign sign`.
#[derive(Clone, Debug)]
pub struct Predicate {
    /// A name that cosign knows (`slsaprovenance1`), or an address.
    pub kind: String,
    /// What is stated.
    pub value: Value,
}

/// How to sign.
#[derive(Clone, Debug)]
pub struct Sign<'a> {
    /// Who.
    pub signer: Signer,
    /// Whose Fulcio, Rekor and timestamp authority. Without a key there must be some.
    pub services: Option<&'a SigstoreServices>,
    /// Where it is logged.
    pub log: Log,
    /// Whether a timestamp authority puts a time to it.
    pub timestamp: bool,
    /// Where it is stored.
    pub storage: Storage,
    /// Further claims (`-a`).
    pub annotations: Vec<(String, String)>,
    /// Whether the images of an index are signed too.
    pub recursive: bool,
    /// Another repository for the signature (`COSIGN_REPOSITORY`): `127.0.0.1:5000/signatures`.
    pub repository: Option<String>,
    /// What is attested, if it is no signature.
    pub predicate: Option<Predicate>,
}

impl<'a> Sign<'a> {
    /// With a key, and nothing else.
    pub fn key(key: &KeyPair) -> Self {
        Self::by(Signer::Key(key.clone()))
    }

    /// With the key of a certificate, and nothing else.
    pub fn certified(key: &CertifiedKey) -> Self {
        Self::by(Signer::Certified(key.clone()))
    }

    /// Without a key: Fulcio certifies one for the occasion, Rekor v1 logs it.
    pub fn keyless(identity: &Identity, services: &'a SigstoreServices) -> Self {
        Self::by(Signer::Keyless(identity.clone())).logged(Log::RekorV1, services)
    }

    fn by(signer: Signer) -> Self {
        Self {
            signer,
            services: None,
            log: Log::None,
            timestamp: false,
            storage: Storage::Own,
            annotations: vec![],
            recursive: false,
            repository: None,
            predicate: None,
        }
    }

    /// The same logged there.
    pub fn logged(self, log: Log, services: &'a SigstoreServices) -> Self {
        Self {
            log,
            services: Some(services),
            ..self
        }
    }

    /// The same with a timestamp from there.
    pub fn timestamped(self, services: &'a SigstoreServices) -> Self {
        Self {
            timestamp: true,
            services: Some(services),
            ..self
        }
    }

    /// The same stored elsewhere.
    pub fn storage(self, storage: Storage) -> Self {
        Self { storage, ..self }
    }

    /// The same with one more claim.
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.push((name.into(), value.into()));
        self
    }

    /// The same for every image of an index too.
    pub fn recursive(self) -> Self {
        Self {
            recursive: true,
            ..self
        }
    }

    /// The same stored in another repository.
    pub fn repository(self, repository: &str) -> Self {
        Self {
            repository: Some(repository.into()),
            ..self
        }
    }

    /// An attestation instead of a signature.
    pub fn attesting(self, kind: &str, value: Value) -> Self {
        Self {
            predicate: Some(Predicate {
                kind: kind.into(),
                value,
            }),
            ..self
        }
    }
}

/// Whom a verification trusts.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Whoever has this key.
    Key(KeyPair),
    /// Whom Fulcio knows by this name; and, where it says so, for this repository of GitHub.
    Keyless(Identity),
    /// Whom Fulcio knows by a name that this regular expression matches, of this issuer.
    Matching {
        /// The issuer.
        issuer: String,
        /// The expression. cosign does not ask that it matches the whole name.
        subject: String,
    },
    /// Whom the authority with this root (and these certificates below it) knows by this name.
    Certified {
        /// The name.
        identity: Identity,
        /// The certificates below the root, PEM; may be none.
        intermediates_pem: String,
        /// The root, PEM.
        root_pem: String,
    },
}

/// How to verify.
#[derive(Clone, Debug)]
pub struct Verify<'a> {
    /// Whom to trust.
    pub trust: Trust,
    /// Whose services to trust.
    pub services: Option<&'a SigstoreServices>,
    /// Whether it must be logged.
    pub logged: bool,
    /// Whether a timestamp counts.
    pub timestamped: bool,
    /// Where to look.
    pub storage: Storage,
    /// The claims to find.
    pub annotations: Vec<(String, String)>,
    /// Another repository of signatures.
    pub repository: Option<String>,
    /// The kind of attestation to find, in place of a signature.
    pub predicate: Option<String>,
    /// What the statement has to be, in CUE (`--policy`).
    pub statement: Option<String>,
}

impl<'a> Verify<'a> {
    /// What a signature that was made like this should pass.
    pub fn of(how: &Sign<'a>) -> Self {
        let trust = match &how.signer {
            Signer::Key(key) => Trust::Key(key.clone()),
            Signer::Keyless(identity) => Trust::Keyless(identity.clone()),
            Signer::Certified(certified) => Trust::Certified {
                identity: certified.identity.clone(),
                intermediates_pem: certified
                    .issuers_pem
                    .strip_suffix(&certified.root_pem)
                    .unwrap_or_default()
                    .to_owned(),
                root_pem: certified.root_pem.clone(),
            },
        };
        Self {
            trust,
            services: how.services,
            logged: how.log != Log::None,
            timestamped: how.timestamp,
            storage: how.storage,
            annotations: how.annotations.clone(),
            repository: how.repository.clone(),
            predicate: how.predicate.as_ref().map(|predicate| predicate.kind.clone()),
            statement: None,
        }
    }

    /// The same for another signer.
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }
}

/// cosign with a home folder of its own, which goes when it is dropped.
#[derive(Debug)]
pub struct Cosign {
    series: Series,
    program: PathBuf,
    version: String,
    /// The cosign that imports keys: 2.5.0 takes no PKCS #8 of today's openssl. Both read what it makes of them.
    importer: PathBuf,
    openssl: OpenSsl,
    folder: tempfile::TempDir,
}

impl Cosign {
    /// A cosign of this series.
    ///
    /// # Errors
    ///
    /// It cannot be fetched, or no folder made.
    pub fn new(peers: &Peers, series: Series) -> Result<Self> {
        let (program, version) = match series {
            Series::Two => peers.cosign2()?,
            Series::Three => peers.cosign3()?,
        };
        Ok(Self {
            series,
            program,
            version,
            importer: peers.cosign3()?.0,
            openssl: OpenSsl::find(peers)?,
            folder: tempfile::Builder::new().prefix("assay-cosign-").tempdir()?,
        })
    }

    /// Which series it is.
    pub fn series(&self) -> Series {
        self.series
    }

    /// Its Debian version, for reports: `3.1.1-2`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A new key pair: openssl makes it, `cosign import-key-pair` takes it.
    ///
    /// # Errors
    ///
    /// openssl or cosign refused.
    pub async fn generate_key(&self, kind: KeyType) -> Result<KeyPair> {
        let folder = tempfile::Builder::new().prefix("assay-cosign-key-").tempdir()?;
        let arguments = ["genpkey", "-out", "key.pem"].iter().chain(kind.options());
        let arguments: Vec<_> = arguments.copied().collect();
        self.openssl.run(folder.path(), &arguments).await?;
        self.import(folder).await
    }

    /// A key pair from a private key in PKCS #8, PEM.
    ///
    /// # Errors
    ///
    /// cosign refused.
    pub async fn import_key(&self, key_pem: &str) -> Result<KeyPair> {
        let folder = tempfile::Builder::new().prefix("assay-cosign-key-").tempdir()?;
        fs::write(folder.path().join("key.pem"), key_pem)?;
        self.import(folder).await
    }

    async fn import(&self, folder: tempfile::TempDir) -> Result<KeyPair> {
        let key = folder.path().join("key.pem").display().to_string();
        let prefix = folder.path().join("cosign").display().to_string();
        let arguments = ["import-key-pair", "--key", &key, "--output-key-prefix", &prefix];
        output(self.command_of(&self.importer, &arguments))
            .await?
            .successful()
            .context("cosign takes no such key")?;
        let public_pem = fs::read_to_string(folder.path().join("cosign.pub"))?;
        Ok(KeyPair {
            folder: Arc::new(folder),
            public_pem,
        })
    }

    /// Signs `reference` (`127.0.0.1:5000/app@sha256:…`) over plain HTTP, or attests to it.
    ///
    /// # Errors
    ///
    /// cosign refused; the error is what it said. Or it cannot do this at all: cosign 2 knows no Rekor v2.
    pub async fn sign(&self, reference: &str, how: &Sign<'_>) -> Result<()> {
        let scratch = tempfile::tempdir_in(self.folder.path())?;
        let file = |name: &str| scratch.path().join(name).display().to_string();
        let mut arguments = vec![];
        match &how.predicate {
            None => arguments.push("sign".to_owned()),
            Some(predicate) => {
                fs::write(file("predicate.json"), predicate.value.to_string())?;
                arguments.extend(["attest".to_owned(), "--type".to_owned(), predicate.kind.clone()]);
                arguments.extend(["--predicate".to_owned(), file("predicate.json")]);
            }
        }
        let key = match &how.signer {
            Signer::Key(key) => Some(key),
            Signer::Certified(certified) => Some(&certified.key),
            Signer::Keyless(identity) => {
                let token = identity_token(&identity.issuer, &identity.subject, &identity.claims);
                arguments.push(format!("--identity-token={token}"));
                None
            }
        };
        arguments.extend(key.map(|key| format!("--key={}", key.private_file().display())));
        if let Signer::Certified(certified) = &how.signer {
            fs::write(file("certificate.pem"), &certified.certificate_pem)?;
            fs::write(file("issuers.pem"), &certified.issuers_pem)?;
            arguments.push(format!("--certificate={}", file("certificate.pem")));
            arguments.push(format!("--certificate-chain={}", file("issuers.pem")));
        }
        if self.series == Series::Two || how.storage == Storage::OldFormat {
            arguments.extend(self.services_of_the_old_format(how)?);
        } else {
            self.write_signing_config(how, &file("signing-config.json")).await?;
            arguments.push(format!("--signing-config={}", file("signing-config.json")));
            // cosign verifies what it signed with this root, which knows no other authority's certificates.
            let services = how.services.filter(|_| !matches!(how.signer, Signer::Certified(_)));
            let root = services.map(SigstoreServices::trusted_root_file);
            arguments.extend(root.map(|root| format!("--trusted-root={}", root.display())));
        }
        if how.storage == Storage::Referrers {
            arguments.push("--registry-referrers-mode=oci-1-1".to_owned());
        }
        arguments.extend(
            how.annotations
                .iter()
                .map(|(name, value)| format!("--annotations={name}={value}")),
        );
        arguments.extend(how.recursive.then(|| "--recursive".to_owned()));
        arguments.extend(["--allow-http-registry".to_owned(), reference.to_owned()]);

        let mut command = self.command(&arguments);
        command.envs(how.services.iter().flat_map(|services| services.environment()));
        command.envs(
            how.repository
                .iter()
                .map(|repository| ("COSIGN_REPOSITORY", repository)),
        );
        // The referrers mode is an experiment, and so it stayed.
        command.envs((how.storage == Storage::Referrers).then_some(("COSIGN_EXPERIMENTAL", "1")));
        output(command).await?.successful().map(drop)
    }

    fn services_of_the_old_format(&self, how: &Sign<'_>) -> Result<Vec<String>> {
        let mut arguments = vec![];
        if self.series == Series::Three {
            arguments.extend(["--new-bundle-format=false", "--use-signing-config=false"].map(str::to_owned));
        }
        match how.log {
            Log::None => arguments.push("--tlog-upload=false".to_owned()),
            Log::RekorV1 => {}
            Log::RekorV2 => bail!("the old format has no Rekor v2"),
        }
        if let Some(services) = how.services {
            let url = services.url();
            arguments.extend([format!("--fulcio-url={url}"), format!("--rekor-url={url}")]);
            let timestamp = how.timestamp.then(|| services.timestamp_url());
            arguments.extend(timestamp.map(|url| format!("--timestamp-server-url={url}")));
        }
        Ok(arguments)
    }

    /// What cosign 3 is told of services: nothing, so that it asks none, or those that `how` names.
    async fn write_signing_config(&self, how: &Sign<'_>, file: &str) -> Result<()> {
        let mut arguments = vec![
            "signing-config".to_owned(),
            "create".to_owned(),
            format!("--out={file}"),
        ];
        if let Some(services) = how.services {
            let url = services.url();
            arguments.push(format!("--fulcio=url={url},api-version=1,{FROM},operator=mock"));
            arguments.push(format!("--oidc-provider=url={url},api-version=1,{FROM},operator=mock"));
            let version = match how.log {
                Log::None => None,
                Log::RekorV1 => Some(1),
                Log::RekorV2 => Some(2),
            };
            if let Some(version) = version {
                arguments.push(format!("--rekor=url={url},api-version={version},{FROM},operator=mock"));
                arguments.push("--rekor-config=ANY".to_owned());
            }
            if how.timestamp {
                let url = services.timestamp_url();
                arguments.push(format!("--tsa=url={url},api-version=1,{FROM},operator=mock"));
                arguments.push("--tsa-config=ANY".to_owned());
            }
        }
        output(self.command(&arguments)).await?.successful().map(drop)
    }

    /// Verifies `reference`.
    ///
    /// # Errors
    ///
    /// cosign cannot be started; whether it accepted is in the result, and what it found in its output.
    pub async fn verify(&self, reference: &str, how: &Verify<'_>) -> Result<Finished> {
        output(self.verification(reference, how).await?).await
    }

    /// The command that [`Self::verify`] runs, for whoever measures it.
    ///
    /// # Errors
    ///
    /// A trusted root cannot be made.
    pub async fn verification(&self, reference: &str, how: &Verify<'_>) -> Result<Command> {
        let mut arguments = match &how.predicate {
            None => vec!["verify".to_owned()],
            Some(kind) => vec!["verify-attestation".to_owned(), format!("--type={kind}")],
        };
        match &how.trust {
            Trust::Key(key) => arguments.push(format!("--key={}", key.public_file().display())),
            Trust::Keyless(identity) | Trust::Certified { identity, .. } => {
                arguments.push(format!("--certificate-identity={}", identity.subject));
                arguments.push(format!("--certificate-oidc-issuer={}", identity.issuer));
                let claims = identity.claims.iter();
                arguments.extend(
                    claims
                        .filter(|(name, _)| *name == "repository")
                        .map(|(_, repository)| format!("--certificate-github-workflow-repository={repository}")),
                );
            }
            Trust::Matching { issuer, subject } => {
                arguments.push(format!("--certificate-identity-regexp={subject}"));
                arguments.push(format!("--certificate-oidc-issuer={issuer}"));
            }
        }
        if !how.logged {
            arguments.push("--insecure-ignore-tlog".to_owned());
        }
        let old = self.series == Series::Two;
        if let Some(statement) = &how.statement {
            let file = self.kept_folder()?.join("policy.cue");
            fs::write(&file, statement)?;
            arguments.push(format!("--policy={}", file.display()));
        }
        if how.timestamped {
            arguments.push("--use-signed-timestamps".to_owned());
        }
        if how.storage == Storage::Referrers {
            arguments.push("--experimental-oci11".to_owned());
        }
        arguments.extend(
            how.annotations
                .iter()
                .map(|(name, value)| format!("--annotations={name}={value}")),
        );
        if let Trust::Certified { .. } = &how.trust {
            arguments.push("--insecure-ignore-sct".to_owned());
            arguments.extend(self.authority(&how.trust, how.services).await?);
        } else if let (false, Some(services)) = (old, how.services) {
            arguments.push(format!("--trusted-root={}", services.trusted_root_file().display()));
        }
        if old {
            arguments.push("--offline".to_owned());
        }
        arguments.extend(["--allow-http-registry".to_owned(), reference.to_owned()]);
        let mut command = self.command(&arguments);
        if old {
            command.envs(how.services.iter().flat_map(|services| services.environment()));
        }
        command.envs(
            how.repository
                .iter()
                .map(|repository| ("COSIGN_REPOSITORY", repository)),
        );
        Ok(command)
    }

    /// The arguments that make a certificate authority trusted that is no Fulcio.
    async fn authority(&self, trust: &Trust, services: Option<&SigstoreServices>) -> Result<Vec<String>> {
        if self.series == Series::Three {
            let root = self.trusted_root(trust, services).await?;
            return Ok(vec![format!("--trusted-root={}", root.display())]);
        }
        let Trust::Certified {
            intermediates_pem,
            root_pem,
            ..
        } = trust
        else {
            return Ok(vec![]);
        };
        let folder = self.kept_folder()?;
        let (roots, intermediates) = (folder.join("roots.pem"), folder.join("intermediates.pem"));
        fs::write(&roots, root_pem)?;
        fs::write(&intermediates, intermediates_pem)?;
        let mut arguments = vec![format!("--ca-roots={}", roots.display())];
        if !intermediates_pem.is_empty() {
            arguments.push(format!("--ca-intermediates={}", intermediates.display()));
        }
        Ok(arguments)
    }

    /// A trusted root by `cosign trusted-root create`, for a certificate authority that is no Fulcio and the timestamp
    /// authority of `services`. The file is kept as long as this cosign.
    ///
    /// # Errors
    ///
    /// The trust is in no authority, or this is cosign 2, which makes none.
    pub async fn trusted_root(&self, trust: &Trust, services: Option<&SigstoreServices>) -> Result<PathBuf> {
        let Trust::Certified {
            intermediates_pem,
            root_pem,
            ..
        } = trust
        else {
            bail!("only a certificate authority makes a trusted root")
        };
        let folder = self.kept_folder()?;
        let (chain, file) = (folder.join("chain.pem"), folder.join("trusted_root.json"));
        fs::write(&chain, [intermediates_pem.as_str(), root_pem].concat())?;
        let mut arguments = ["trusted-root", "create"].map(str::to_owned).to_vec();
        arguments.push(format!(
            "--fulcio=url=https://ca.example.test,certificate-chain={},{FROM}",
            chain.display()
        ));
        if let Some(services) = services {
            let (url, chain) = (services.timestamp_url(), services.timestamp_chain_file());
            arguments.push(format!("--tsa=url={url},certificate-chain={},{FROM}", chain.display()));
        }
        arguments.push(format!("--out={}", file.display()));
        output(self.command(&arguments)).await?.successful()?;
        Ok(file)
    }

    fn kept_folder(&self) -> Result<PathBuf> {
        Ok(tempfile::tempdir_in(self.folder.path())?.keep())
    }

    /// Runs cosign with any arguments.
    ///
    /// # Errors
    ///
    /// cosign cannot be started.
    pub async fn run(&self, arguments: &[&str]) -> Result<Finished> {
        output(self.command(arguments)).await
    }

    /// The command that [`Self::run`] runs, for whoever measures it.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        self.command_of(&self.program, arguments)
    }

    fn command_of<S: AsRef<OsStr>>(&self, program: &Path, arguments: &[S]) -> Command {
        let mut command = Command::new(program);
        command
            .env("HOME", self.folder.path())
            .env("COSIGN_PASSWORD", "")
            .env("COSIGN_YES", "true")
            .args(arguments);
        command
    }
}
