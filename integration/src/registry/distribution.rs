//! The real docker-registry, which has no referrers API: its clients use the fallback tag.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;
use url::Url;

use super::content::{NOTATION_SIGNATURE, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST};
use crate::image::{Blob, Image, push_blob, push_manifest};
use crate::peers::Peers;
use crate::process::Service;

/// A docker-registry on a loopback port of its own, in plain HTTP. Dropping it kills it and removes its files.
#[derive(Debug)]
pub struct Distribution {
    service: Service,
    host: String,
    directory: tempfile::TempDir,
}

impl Distribution {
    /// Starts the registry and waits until it answers.
    ///
    /// # Errors
    ///
    /// It does not come up; the error holds the end of its log.
    pub async fn start(peers: &Peers) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("assay-distribution-").tempdir()?;
        let path = directory.path();
        // The registry cannot report a port that it chose itself, so a free one is looked for.
        let host = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.to_string();
        let data = path.join("data");
        let configuration = format!(
            "version: 0.1\nlog: {{ level: warn, accesslog: {{ disabled: false }} }}\n\
             storage: {{ filesystem: {{ rootdirectory: \"{}\" }}, delete: {{ enabled: true }} }}\n\
             http: {{ addr: \"{host}\" }}\n",
            data.display()
        );
        fs::write(path.join("config.yml"), configuration).context("cannot write docker-registry's configuration")?;
        let mut command = Command::new(peers.docker_registry());
        command
            .arg("serve")
            .arg(path.join("config.yml"))
            .env("OTEL_TRACES_EXPORTER", "none");
        let service = Service::spawn("docker-registry", command, &path.join("registry.log"))?;
        let mut registry = Self {
            service,
            host: host.clone(),
            directory,
        };
        let answers = || {
            let url = format!("http://{host}/v2/");
            async move {
                crate::http_client()
                    .get(url)
                    .send()
                    .await
                    .is_ok_and(|answer| answer.status().is_success())
            }
        };
        registry.service.wait_until(answers).await?;
        Ok(registry)
    }

    /// Where it listens, as references name it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `127.0.0.1:5000/app` for `app`.
    pub fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// The folder that holds its files, gone when it is dropped.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Attaches a signature manifest around `envelope`, which may be anything, to an image of `repository`: as the only
    /// entry under the fallback tag (distribution-spec, "Referrers Tag Schema").
    ///
    /// # Errors
    ///
    /// The registry refused.
    pub async fn attach_signature(
        &self,
        repository: &str,
        image: &Image,
        media_type: &str,
        envelope: &[u8],
    ) -> Result<()> {
        let base = Url::parse(&format!("http://{}/v2/{repository}/", self.host))?;
        let (config, envelope) = (Blob::new(OCI_EMPTY, "{}"), Blob::new(media_type, envelope.to_vec()));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": NOTATION_SIGNATURE,
            "config": config.descriptor(),
            "layers": [envelope.descriptor()],
            "subject": image.descriptor(),
        });
        let manifest = Blob::new(OCI_MANIFEST, manifest.to_string());
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [manifest.descriptor()] });
        for blob in [&config, &envelope] {
            push_blob(&base, blob).await?;
        }
        push_manifest(&base, &manifest, &manifest.digest).await?;
        let tag = image.digest().replace(':', "-");
        push_manifest(&base, &Blob::new(OCI_INDEX, index.to_string()), &tag).await
    }

    /// The request lines of its access log (`GET /v2/app/manifests/v1`), in order.
    pub fn requests(&self) -> Vec<String> {
        let log = self.service.log();
        let request = |line: &str| {
            // Apache's combined format quotes the request: `… "GET /v2/ HTTP/1.1" 200 …`.
            let quoted = line.split('"').nth(1)?;
            let (request, version) = quoted.rsplit_once(' ')?;
            version.starts_with("HTTP/").then(|| request.to_owned())
        };
        log.lines().filter_map(request).collect()
    }

    /// The requests for the layers of `image`: GET only, because a HEAD moves no content.
    pub fn layer_requests(&self, image: &Image) -> Vec<String> {
        let mut requests = self.requests();
        requests.retain(|request| {
            let digest = request.rsplit('/').next().unwrap_or_default();
            request.starts_with("GET ") && image.layers().any(|layer| layer == digest)
        });
        requests
    }
}
