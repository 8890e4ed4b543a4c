//! The image service of a containerd, as the kubelet uses it.

use std::path::Path;

use anyhow::Result;
use assay_proto::cri::image_service_client::ImageServiceClient;
use assay_proto::cri::{
    AuthConfig, Image, ImageSpec, ImageStatusRequest, ListImagesRequest, PullImageRequest, RemoveImageRequest,
};
use tonic::transport::{Channel, Endpoint};

/// What containerd said when it refused a pull: the text that the kubelet puts into the pod's event.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct PullError {
    /// The error's text.
    pub message: String,
}

impl PullError {
    /// Whether an image verifier refused the pull, as opposed to a failure before or after it.
    pub fn is_denial(&self) -> bool {
        self.message.contains("image verifier bindir blocked pull")
    }
}

/// A client of CRI's image service. Clones share one connection.
#[derive(Clone, Debug)]
pub struct Cri(ImageServiceClient<Channel>);

impl Cri {
    /// The client of a socket. It connects when it is first asked, and again when the other side was away.
    ///
    /// # Errors
    ///
    /// The path is no address.
    pub fn at(socket: &Path) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        Ok(Self(ImageServiceClient::new(endpoint.connect_lazy())))
    }

    /// Pulls as the kubelet does, with a user name and a password where a pod's imagePullSecrets have some.
    ///
    /// # Errors
    ///
    /// What containerd answered.
    pub async fn pull(&self, reference: &str, login: Option<(&str, &str)>) -> Result<(), PullError> {
        let auth = login.map(|(username, password)| AuthConfig {
            username: username.into(),
            password: password.into(),
        });
        let request = PullImageRequest {
            image: spec(reference),
            auth,
        };
        match self.0.clone().pull_image(request).await {
            Ok(_) => Ok(()),
            Err(status) => Err(PullError {
                message: status.message().to_owned(),
            }),
        }
    }

    /// Whether containerd holds the image, by any of its names.
    ///
    /// # Errors
    ///
    /// CRI did not answer.
    pub async fn has(&self, reference: &str) -> Result<bool> {
        let request = ImageStatusRequest { image: spec(reference) };
        Ok(self.0.clone().image_status(request).await?.into_inner().image.is_some())
    }

    /// All images that containerd holds.
    ///
    /// # Errors
    ///
    /// CRI did not answer.
    pub async fn images(&self) -> Result<Vec<Image>> {
        Ok(self
            .0
            .clone()
            .list_images(ListImagesRequest {})
            .await?
            .into_inner()
            .images)
    }

    /// Removes an image. What only it used goes later, in the background.
    ///
    /// # Errors
    ///
    /// containerd could not remove it.
    pub async fn remove(&self, reference: &str) -> Result<()> {
        let request = RemoveImageRequest { image: spec(reference) };
        self.0.clone().remove_image(request).await?;
        Ok(())
    }
}

fn spec(reference: &str) -> Option<ImageSpec> {
    Some(ImageSpec {
        image: reference.into(),
    })
}
