//! What all sections ask: a registry, a daemon and a notation.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::notation::Sign;
use assay_integration::{Assayd, Image, Notation, Peers, Registry};
use assay_proto::v1::control_client::ControlClient;
use assay_proto::v1::image_verifier_client::ImageVerifierClient;
use assay_proto::v1::{CacheState, ClearCacheRequest, Descriptor, Hook, Verdict, VerifyRequest, VerifyResponse};
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};

/// A registry with an image that notation signed, and a daemon and a notation that trust its signer.
pub(crate) struct Lab {
    pub(crate) registry: Registry,
    pub(crate) notation: Notation,
    pub(crate) assayd: Assayd,
    pub(crate) image: Image,
}

pub(crate) const REPOSITORY: &str = "prod/app";

impl Lab {
    pub(crate) async fn new(peers: &Peers) -> Result<Self> {
        let registry = Registry::start().await?;
        let notation = Notation::new(peers)?;
        let trust = Trust::new()?;
        notation.add_key("release", &trust.signer)?;
        notation.trust("ca", "corp", &trust.authority.certificate_pem())?;
        notation.trust_everywhere("corp", &[&trust.release.trusted_identity()])?;
        let image = Image::tiny("compared")?;
        image.store(registry.content(), REPOSITORY, "v1");
        let assayd = trust.daemon(&registry).start().await?;
        let lab = Self {
            registry,
            notation,
            assayd,
            image,
        };
        let reference = lab.reference(&lab.image);
        lab.notation.sign(&reference, &Sign::with("release")).await?;
        lab.notation.verify(&reference).await?.successful()?;
        Ok(lab)
    }

    pub(crate) fn reference(&self, image: &Image) -> String {
        format!("{}@{}", self.registry.repository(REPOSITORY), image.digest())
    }

    pub(crate) fn question(&self, image: &Image) -> VerifyRequest {
        question(&self.registry.repository(REPOSITORY), &image.descriptor())
    }

    /// [`exec`] of this daemon about an image of this registry.
    pub(crate) fn exec(&self, program: &Path, image: &Image) -> Result<Duration> {
        let name = format!("{}:v1", self.registry.repository(REPOSITORY));
        exec(program, &self.assayd, &name, image)
    }

    pub(crate) fn exec_notation(&self, image: &Image) -> Result<Duration> {
        let mut command = self
            .notation
            .command(&["verify", "--insecure-registry", &self.reference(image)]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let status = command.status()?;
        let took = started.elapsed();
        ensure!(status.success(), "notation verify ended with {status}");
        Ok(took)
    }

    pub(crate) async fn clear_cache(&self) -> Result<()> {
        clear_cache(&self.assayd).await
    }
}

/// Makes a daemon forget everything.
pub(crate) async fn clear_cache(assayd: &Assayd) -> Result<()> {
    let mut control = ControlClient::new(connect(&assayd.control_socket()).await?);
    control.clear_cache(ClearCacheRequest {}).await?;
    Ok(())
}

/// The hook as containerd runs it, with the program given: an empty one gets the same.
pub(crate) fn exec(program: &Path, assayd: &Assayd, name: &str, image: &Image) -> Result<Duration> {
    let descriptor = image.descriptor().to_string();
    let mut command = Command::new(program);
    command
        .args(["-name", name, "-digest", image.digest()])
        .args(["-stdin-media-type", "application/vnd.oci.descriptor.v1+json"])
        .env_clear()
        .envs(assayd.hook_environment())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let started = Instant::now();
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // The empty program does not read.
        let _: std::io::Result<()> = stdin.write_all(descriptor.as_bytes());
    }
    let status = child.wait()?;
    let took = started.elapsed();
    ensure!(status.success(), "{} ended with {status}", program.display());
    Ok(took)
}

/// Who signs, and the daemon that trusts them.
pub(crate) struct Trust {
    authority: Authority,
    release: Profile,
    pub(crate) signer: SigningIdentity,
}

impl Trust {
    pub(crate) fn new() -> Result<Self> {
        let authority = Authority::root(&Profile::named("Corp Root"))?;
        let release = Profile::named("release");
        let signer = authority.issue(&release)?;
        Ok(Self {
            authority,
            release,
            signer,
        })
    }

    pub(crate) fn daemon(&self, registry: &Registry) -> assay_integration::assayd::Builder {
        let policy = policy(registry, &self.release, &["ca:corp"]);
        Assayd::builder()
            .policy(&policy)
            .file(
                "notation/truststore/x509/ca/corp/root.pem",
                self.authority.certificate_pem(),
            )
            .plain_http(&registry.host())
    }
}

/// A policy that asks for a signature by `signer` under these trust stores, strictly.
pub(crate) fn policy(registry: &Registry, signer: &Profile, stores: &[&str]) -> String {
    let stores = json!(stores);
    format!(
        r#"version   = 1
unmatched = "deny"

[authority.corp]
type               = "notation"
trust_stores       = {stores}
trusted_identities = ["{}"]
level              = "strict"

[[rule]]
name    = "production"
images  = ["{}/prod/**"]
require = {{ all = ["corp"] }}
"#,
        signer.trusted_identity(),
        registry.host()
    )
}

pub(crate) fn question(repository: &str, descriptor: &Value) -> VerifyRequest {
    let text = |name: &str| descriptor[name].as_str().unwrap_or_default().to_owned();
    VerifyRequest {
        name: format!("{repository}:v1"),
        digest: text("digest"),
        descriptor: Some(Descriptor {
            media_type: text("mediaType"),
            digest: text("digest"),
            size: descriptor["size"].as_u64().unwrap_or_default(),
        }),
        hook: Hook::ContainerdImageVerifier.into(),
        context: HashMap::new(),
    }
}

pub(crate) async fn connect(socket: &Path) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
    endpoint
        .connect()
        .await
        .with_context(|| format!("nobody answers at {}", socket.display()))
}

/// Asks, and takes nothing but an admit with this much work.
pub(crate) async fn ask(
    client: &mut ImageVerifierClient<Channel>,
    question: VerifyRequest,
    work: CacheState,
) -> Result<()> {
    let answer: VerifyResponse = client.verify(question).await?.into_inner();
    ensure!(
        answer.verdict() == Verdict::Admit && answer.cache() == work,
        "expected an admit ({work:?}), got {answer:?}"
    );
    Ok(())
}
