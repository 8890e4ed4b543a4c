//! What is told to assayd.

use std::path::{Path, PathBuf};

use anyhow::Result;
use assay_proto::v1 as proto;
use assay_proto::v1::control_client::ControlClient;
use assay_proto::v1::report_images_request::Part;
use tonic::transport::Channel;

use crate::channel;
use crate::containerd::NodeImage;

/// assayd, by its control socket.
pub(crate) struct Assayd {
    socket: PathBuf,
    channel: Channel,
}

impl Assayd {
    pub(crate) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            channel: channel::to(socket),
        }
    }

    /// Tells what there is, all of it or what appeared.
    pub(crate) async fn report(&self, all: bool, images: Vec<NodeImage>) -> Result<proto::ReportImagesResponse> {
        let options = Part::Options(proto::ReportImagesOptions { all });
        let parts = std::iter::once(options).chain(images.into_iter().map(part));
        let parts = parts.map(|part| proto::ReportImagesRequest { part: Some(part) });
        let answer = ControlClient::new(self.channel.clone())
            .report_images(futures_util::stream::iter(parts.collect::<Vec<_>>()))
            .await;
        answer.map(tonic::Response::into_inner).map_err(|status| {
            anyhow::anyhow!(
                "assayd takes no report on {}: {}",
                self.socket.display(),
                status.message()
            )
        })
    }
}

fn part(image: NodeImage) -> Part {
    Part::Image(proto::NodeImage {
        namespace: image.namespace,
        name: image.name,
        target: Some(proto::Descriptor {
            media_type: image.media_type,
            digest: image.digest,
            size: image.size,
        }),
    })
}
