//! What containerd asks of an image: through the real hook, or over gRPC without it.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use assay_proto::v1::image_verifier_client::ImageVerifierClient;
use assay_proto::v1::{Descriptor, Hook, VerifyRequest, VerifyResponse};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tonic::transport::Channel;

use crate::assayd::{Assayd, program};
use crate::process::Finished;

/// May the bytes of this descriptor be unpacked under this name?
#[derive(Clone, Debug)]
pub struct Question {
    /// The image's name, with its tag.
    pub name: String,
    /// The descriptor that the name resolved to.
    pub descriptor: Value,
}

impl Question {
    /// Asks about a descriptor under a name.
    pub fn new(name: impl Into<String>, descriptor: Value) -> Self {
        Self {
            name: name.into(),
            descriptor,
        }
    }

    fn digest(&self) -> &str {
        self.descriptor["digest"].as_str().unwrap_or_default()
    }

    /// The question as the hook sends it.
    pub fn request(&self) -> VerifyRequest {
        VerifyRequest {
            name: self.name.clone(),
            digest: self.digest().to_owned(),
            descriptor: Some(Descriptor {
                media_type: self.descriptor["mediaType"].as_str().unwrap_or_default().to_owned(),
                digest: self.digest().to_owned(),
                size: self.descriptor["size"].as_u64().unwrap_or_default(),
            }),
            hook: Hook::ContainerdImageVerifier.into(),
            context: [].into(),
        }
    }

    /// Asks over gRPC, on a connection of [`Assayd::channel`].
    ///
    /// # Errors
    ///
    /// The daemon does not answer.
    pub async fn grpc(&self, channel: Channel) -> Result<VerifyResponse> {
        Ok(ImageVerifierClient::new(channel)
            .verify(self.request())
            .await?
            .into_inner())
    }

    /// Execs a hook as containerd does, as a user of one's choice: the image on the command line, its descriptor on
    /// standard input.
    ///
    /// # Errors
    ///
    /// The hook cannot be started.
    pub async fn exec(&self, hook: &Path, assayd: &Assayd, user: u32) -> Result<Child> {
        let mut command = Command::new(hook);
        command
            .args(["-name", &self.name, "-digest", self.digest()])
            .args(["-stdin-media-type", "application/vnd.oci.descriptor.v1+json"])
            .envs(assayd.hook_environment())
            .uid(user)
            .gid(user)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {}", hook.display()))?;
        let mut input = child.stdin.take().context("the hook has no standard input")?;
        input.write_all(self.descriptor.to_string().as_bytes()).await?;
        Ok(child)
    }

    /// Asks through the project's own hook, as root.
    ///
    /// # Errors
    ///
    /// The hook is not built or cannot be started.
    pub async fn hook(&self, assayd: &Assayd) -> Result<Finished> {
        let child = self.exec(&program("assay-verifier")?, assayd, 0).await?;
        Ok(child.wait_with_output().await?.into())
    }
}
