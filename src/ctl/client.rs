//! The connection to a running assayd.

use std::path::PathBuf;
use std::time::Duration;

use assay_proto::v1 as proto;
use assay_proto::v1::control_client;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::Failure;

/// Longer than the daemon's own deadline for gathering: an explanation may wait for a slow registry.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Messages that wait until the daemon takes them.
const IN_FLIGHT: usize = 4;

/// Asks the control service.
#[derive(Clone)]
pub(super) struct ControlClient {
    client: control_client::ControlClient<Channel>,
}

impl ControlClient {
    /// Connects to the control socket.
    pub(super) async fn connect(socket: PathBuf) -> Result<Self, Failure> {
        let away = format!(
            "assayd does not answer on {}: is it running (systemctl status assayd), and may this user ask?",
            socket.display()
        );
        let connector = service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(UnixStream::connect(socket).await?)) }
        });
        let endpoint = Endpoint::from_static("http://assayd").timeout(TIMEOUT);
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|_| Failure::Daemon(away))?;
        Ok(Self {
            client: control_client::ControlClient::new(channel),
        })
    }

    pub(super) async fn status(&mut self) -> Result<proto::StatusResponse, Failure> {
        self.client
            .status(proto::StatusRequest {})
            .await
            .map(tonic::Response::into_inner)
            .map_err(Failure::from)
    }

    pub(super) async fn reload(&mut self) -> Result<proto::ReloadResponse, Failure> {
        self.client
            .reload(proto::ReloadRequest {})
            .await
            .map(tonic::Response::into_inner)
            .map_err(Failure::from)
    }

    pub(super) async fn sync_status(&mut self) -> Result<proto::SyncStatusResponse, Failure> {
        self.client
            .sync_status(proto::SyncStatusRequest {})
            .await
            .map(tonic::Response::into_inner)
            .map_err(Failure::from)
    }

    pub(super) async fn sync_now(&mut self) -> Result<proto::SyncStatusResponse, Failure> {
        self.client
            .sync_now(proto::SyncNowRequest {})
            .await
            .map(tonic::Response::into_inner)
            .map_err(Failure::from)
    }

    pub(super) async fn metrics(&mut self) -> Result<proto::MetricsResponse, Failure> {
        self.client
            .metrics(proto::MetricsRequest {})
            .await
            .map(tonic::Response::into_inner)
            .map_err(Failure::from)
    }

    pub(super) async fn show_policy(&mut self) -> Result<proto::ShowPolicyResponse, Failure> {
        self.client
            .show_policy(proto::ShowPolicyRequest {})
            .await
            .map(tonic::Response::into_inner)
            .map_err(Failure::from)
    }

    pub(super) async fn explain(&mut self, reference: &str) -> Result<proto::ExplainResponse, Failure> {
        let request = proto::ExplainRequest {
            reference: reference.to_owned(),
        };
        self.client
            .explain(request)
            .await
            .map(tonic::Response::into_inner)
            .map_err(Failure::from)
    }

    pub(super) async fn tree(&mut self, reference: &str) -> Result<proto::TreeResponse, Failure> {
        let request = proto::TreeRequest {
            reference: reference.to_owned(),
        };
        self.client
            .tree(request)
            .await
            .map(tonic::Response::into_inner)
            .map_err(Failure::from)
    }

    pub(super) async fn cache_stats(&mut self) -> Result<proto::CacheStatsResponse, Failure> {
        self.client
            .cache_stats(proto::CacheStatsRequest {})
            .await
            .map(tonic::Response::into_inner)
            .map_err(Failure::from)
    }

    pub(super) async fn clear_cache(&mut self) -> Result<proto::ClearCacheResponse, Failure> {
        self.client
            .clear_cache(proto::ClearCacheRequest {})
            .await
            .map(tonic::Response::into_inner)
            .map_err(Failure::from)
    }

    /// Everything that a judgement of an image may need, in parts.
    pub(super) async fn export_evidence(
        &mut self,
        reference: &str,
    ) -> Result<Streaming<proto::ExportEvidenceResponse>, Failure> {
        let request = proto::ExportEvidenceRequest {
            reference: reference.to_owned(),
        };
        Ok(self.client.export_evidence(request).await?.into_inner())
    }

    /// Begins to import the evidence of an image: where the daemon is answered, and what it asks.
    pub(super) async fn import_evidence(
        &mut self,
        first: proto::import_evidence_request::Part,
    ) -> Result<
        (
            mpsc::Sender<proto::ImportEvidenceRequest>,
            Streaming<proto::ImportEvidenceResponse>,
        ),
        Failure,
    > {
        let (outgoing, requests) = mpsc::channel(IN_FLIGHT);
        // There is room for the first.
        let _ = outgoing.send(proto::ImportEvidenceRequest { part: Some(first) }).await;
        let events = self.client.import_evidence(ReceiverStream::new(requests)).await?;
        Ok((outgoing, events.into_inner()))
    }

    /// Judges images of this node. Answers come as they are known.
    pub(super) async fn judge_images(
        &mut self,
        parts: Vec<proto::judge_images_request::Part>,
    ) -> Result<Streaming<proto::JudgeImagesResponse>, Failure> {
        let parts = parts
            .into_iter()
            .map(|part| proto::JudgeImagesRequest { part: Some(part) });
        Ok(self.client.judge_images(tokio_stream::iter(parts)).await?.into_inner())
    }

    /// Every image with stored evidence, as it stands now.
    pub(super) async fn inventory(&mut self) -> Result<Streaming<proto::InventoryResponse>, Failure> {
        Ok(self.client.inventory(proto::InventoryRequest {}).await?.into_inner())
    }
}
