//! What is asked of containerd: its images, and which appear.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use containerd_client::Client;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::{
    GetImageRequest, Image, ImageCreate, ListImagesRequest, ListNamespacesRequest, SubscribeRequest,
};
use containerd_client::types::Envelope;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use serde::Serialize;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::channel;

/// The list of a namespace's images: what containerd itself sends at most.
const MAX_LIST_SIZE: usize = 16 * 1024 * 1024;

/// The events that are asked for (containerd pkg/filters): whatever becomes of images, in every namespace.
const FILTER: &str = "topic~=\"^/images/\"";

/// Topics of containerd's events (containerd core/metadata/images.go).
const APPEARED: [&str; 2] = ["/images/create", "/images/update"];

/// One name of an image in one namespace, as containerd has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NodeImage {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
}

/// A name that an event says now leads to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Appeared {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// containerd, by its socket.
pub(crate) struct Containerd {
    socket: PathBuf,
    client: Client,
    /// containerd answers who subscribes with the first event, whenever that is.
    patient: Client,
}

impl Containerd {
    pub(crate) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            client: Client::from(channel::to(socket)),
            patient: Client::from(channel::patient_to(socket)),
        }
    }

    /// Every image of every namespace.
    pub(crate) async fn images(&self) -> Result<Vec<NodeImage>> {
        let namespaces = self.client.namespaces().list(ListNamespacesRequest::default()).await;
        let namespaces = namespaces.map_err(|status| self.failed("namespaces", &status))?;
        let mut images = Vec::new();
        for namespace in namespaces.into_inner().namespaces {
            let request = within(&namespace.name, ListImagesRequest::default())?;
            let listed = self.images_client().list(request).await;
            let listed = listed.map_err(|status| self.failed("images", &status))?;
            images.extend((listed.into_inner().images.into_iter()).map(|image| of(&namespace.name, image)));
        }
        Ok(images)
    }

    /// The image that a name leads to; none where it does not any more.
    pub(crate) async fn image(&self, appeared: &Appeared) -> Result<Option<NodeImage>> {
        let request = GetImageRequest {
            name: appeared.name.clone(),
        };
        match self.images_client().get(within(&appeared.namespace, request)?).await {
            Ok(found) => Ok(found.into_inner().image.map(|image| of(&appeared.namespace, image))),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.failed("an image", &status)),
        }
    }

    /// The events about images, from the moment at which the first is waited for.
    pub(crate) fn events(&self) -> Events {
        let request = SubscribeRequest {
            filters: vec![FILTER.to_owned()],
        };
        let mut client = self.patient.events();
        let subscribed = async move { client.subscribe(request).await.map(tonic::Response::into_inner) };
        Events(stream::once(subscribed).try_flatten().boxed())
    }

    fn images_client(&self) -> ImagesClient<Channel> {
        self.client.images().max_decoding_message_size(MAX_LIST_SIZE)
    }

    fn failed(&self, what: &str, status: &Status) -> anyhow::Error {
        // What lies below a transport error says more than the status.
        let source = std::error::Error::source(status).map(|source| format!(": {source}"));
        anyhow::anyhow!(
            "containerd at {} does not tell its {what}: {}{}",
            self.socket.display(),
            status.message(),
            source.unwrap_or_default()
        )
    }
}

/// A request about one namespace (containerd pkg/namespaces/grpc.go).
fn within<T>(namespace: &str, request: T) -> Result<Request<T>> {
    let name: MetadataValue<Ascii> = namespace
        .parse()
        .with_context(|| format!("containerd has a namespace that cannot be asked for: {namespace:?}"))?;
    let mut request = Request::new(request);
    request.metadata_mut().insert("containerd-namespace", name);
    Ok(request)
}

fn of(namespace: &str, image: Image) -> NodeImage {
    let target = image.target.unwrap_or_default();
    NodeImage {
        namespace: namespace.to_owned(),
        name: image.name,
        media_type: target.media_type,
        digest: target.digest,
        // containerd's sizes are signed, and never negative.
        size: u64::try_from(target.size).unwrap_or_default(),
    }
}

/// Events, as they come.
pub(crate) struct Events(BoxStream<'static, Result<Envelope, Status>>);

impl Events {
    /// The next name that leads to another image than before; none where it is another event.
    ///
    /// # Errors
    ///
    /// When containerd ends the stream: some may be lost, and everything has to be looked at again.
    pub(crate) async fn next(&mut self) -> Result<Option<Appeared>> {
        match self.0.next().await {
            Some(Ok(envelope)) => appeared(envelope),
            Some(Err(status)) => bail!("containerd's events end: {}", status.message()),
            None => bail!("containerd's events end"),
        }
    }
}

fn appeared(envelope: Envelope) -> Result<Option<Appeared>> {
    if !APPEARED.contains(&envelope.topic.as_str()) {
        return Ok(None);
    }
    // ImageUpdate has the same fields.
    let event = envelope.event.unwrap_or_default();
    let image = ImageCreate::decode(event.value.as_slice()).context("containerd sends an event that cannot be read")?;
    Ok(Some(Appeared {
        namespace: envelope.namespace,
        name: image.name,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(topic: &str, value: Vec<u8>) -> Envelope {
        let mut envelope = Envelope {
            namespace: "k8s.io".into(),
            topic: topic.into(),
            ..Envelope::default()
        };
        envelope.event.get_or_insert_default().value = value;
        envelope
    }

    #[test]
    fn an_image_appears_when_a_name_is_made_or_moved() {
        let event = ImageCreate {
            name: "r.example/app:v1".into(),
            ..ImageCreate::default()
        };
        let named = Appeared {
            namespace: "k8s.io".into(),
            name: "r.example/app:v1".into(),
        };
        for (topic, expected) in [
            ("/images/create", Some(&named)),
            ("/images/update", Some(&named)),
            ("/images/delete", None),
        ] {
            let found = appeared(envelope(topic, event.encode_to_vec())).unwrap();
            assert_eq!(found.as_ref(), expected, "{topic}");
        }
        assert!(appeared(envelope("/images/create", vec![0xff])).is_err());
    }
}
