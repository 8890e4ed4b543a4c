//! CRI, as far as it is asked: which images are there, what runs, and a pull as the kubelet makes it. containerd serves it on
//! its own socket.

use std::path::{Path, PathBuf};

use assay_proto::cri::image_service_client::ImageServiceClient;
use assay_proto::cri::runtime_service_client::RuntimeServiceClient;
use assay_proto::cri::{
    Container, Image, ImageSpec, ListContainersRequest, ListImagesRequest, ListPodSandboxRequest, NamespaceMode,
    PodSandbox, PodSandboxStatusRequest, PullImageRequest, VersionRequest,
};
use assay_verify::limits::{CANARY_TIMEOUT, CRI_TIMEOUT, MAX_CRI_ANSWER};
use assay_verify::untrusted::Untrusted;
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// Why CRI gave no answer.
#[derive(Debug, Error)]
pub(in crate::ctl) enum CriError {
    #[error("CRI does not answer on {0}")]
    Away(PathBuf),
    #[error("CRI on {socket}: {message}")]
    Failed { socket: PathBuf, message: Untrusted },
}

/// A connection to CRI.
#[derive(Clone, Debug)]
pub(in crate::ctl) struct Cri {
    socket: PathBuf,
    channel: Channel,
}

impl Cri {
    /// Connects, and sees that CRI is served there.
    pub(in crate::ctl) async fn connect(socket: &Path) -> Result<Self, CriError> {
        let path = socket.to_owned();
        let connector = service_fn(move |_: Uri| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(UnixStream::connect(path).await?)) }
        });
        let endpoint = Endpoint::from_static("http://containerd").timeout(CANARY_TIMEOUT);
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|_| CriError::Away(socket.to_owned()))?;
        let cri = Self {
            socket: socket.to_owned(),
            channel,
        };
        cri.ask(cri.runtime().version(VersionRequest::default())).await?;
        Ok(cri)
    }

    fn images_client(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_CRI_ANSWER)
    }

    fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_CRI_ANSWER)
    }

    async fn ask<T>(&self, answer: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, CriError> {
        let failed = |message: &str| CriError::Failed {
            socket: self.socket.clone(),
            message: message.into(),
        };
        match tokio::time::timeout(CRI_TIMEOUT, answer).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(failed(status.message())),
            Err(_) => Err(failed("no answer in time")),
        }
    }

    /// The images of pods.
    pub(in crate::ctl) async fn images(&self) -> Result<Vec<Image>, CriError> {
        let mut client = self.images_client();
        Ok(self.ask(client.list_images(ListImagesRequest {})).await?.images)
    }

    /// The pods that there are.
    pub(in crate::ctl) async fn pods(&self) -> Result<Vec<PodSandbox>, CriError> {
        let mut client = self.runtime();
        Ok(self.ask(client.list_pod_sandbox(ListPodSandboxRequest {})).await?.items)
    }

    /// The containers of pods.
    pub(in crate::ctl) async fn containers(&self) -> Result<Vec<Container>, CriError> {
        let mut client = self.runtime();
        Ok(self
            .ask(client.list_containers(ListContainersRequest {}))
            .await?
            .containers)
    }

    /// Whether a pod uses the node's own network, as those do that make the network of the others.
    pub(in crate::ctl) async fn is_on_node_network(&self, pod: &str) -> Result<bool, CriError> {
        let mut client = self.runtime();
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: pod.to_owned(),
        };
        let status = self.ask(client.pod_sandbox_status(request)).await?.status;
        let namespaces = status.and_then(|status| status.linux?.namespaces?.options);
        Ok(namespaces.is_some_and(|options| options.network() == NamespaceMode::Node))
    }

    /// Pulls as the kubelet does. The error is the text that the kubelet puts into a pod's event.
    pub(in crate::ctl) async fn pull(&self, reference: &str) -> Result<(), String> {
        let request = PullImageRequest {
            image: Some(ImageSpec {
                image: reference.to_owned(),
            }),
            auth: None,
        };
        match tokio::time::timeout(CANARY_TIMEOUT, self.images_client().pull_image(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err(format!("no answer within {} s", CANARY_TIMEOUT.as_secs())),
        }
    }
}
