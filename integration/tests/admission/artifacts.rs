//! Artifacts that are no images: `assayctl verify` judges whatever has a digest in a registry.

use assay_integration::notation::Sign;
use serde_json::{Value, json};

use crate::lab::{Lab, PRODUCTION};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";

/// Puts an artifact into a repository and returns its digest. `shape` gets the descriptor of its one blob.
fn push(lab: &Lab, repository: &str, media_type: &str, shape: impl FnOnce(Value) -> Value, blob_type: &str) -> String {
    let content = lab.registry.content();
    let bytes = format!("the content of {repository}");
    content.put_blob(repository, "{}");
    let digest = content.put_blob(repository, bytes.clone());
    let manifest = shape(json!({ "mediaType": blob_type, "digest": digest, "size": bytes.len() }));
    content.put_manifest(repository, media_type, manifest.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn admits_signed_artifacts_of_every_kind_and_denies_their_unsigned_twins() {
    let lab = Lab::start(PRODUCTION).await;
    let empty = |media_type: &str| {
        let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        json!({ "mediaType": media_type, "digest": digest, "size": 2 })
    };
    let typed = |kind: &'static str| {
        let config = empty("application/vnd.oci.empty.v1+json");
        move |blob| {
            json!({
                "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind, "config": config, "layers": [blob],
            })
        }
    };
    let configured = |kind: &'static str| {
        let config = empty(kind);
        move |blob| json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [blob] })
    };
    let legacy =
        |kind: &'static str| move |blob| json!({ "mediaType": OCI_ARTIFACT, "artifactType": kind, "blobs": [blob] });
    for twin in ["signed", "unsigned"] {
        let repository = |kind: &str| format!("prod/{kind}-{twin}");
        let digests = [
            (
                "sbom",
                push(
                    &lab,
                    &repository("sbom"),
                    OCI_MANIFEST,
                    typed("application/spdx+json"),
                    "application/spdx+json",
                ),
            ),
            (
                "chart",
                push(
                    &lab,
                    &repository("chart"),
                    OCI_MANIFEST,
                    configured("application/vnd.cncf.helm.config.v1+json"),
                    "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
                ),
            ),
            (
                "bundle",
                push(
                    &lab,
                    &repository("bundle"),
                    OCI_MANIFEST,
                    configured("application/vnd.cncf.flux.config.v1+json"),
                    "application/vnd.cncf.flux.content.v1.tar+gzip",
                ),
            ),
            (
                "model",
                push(
                    &lab,
                    &repository("model"),
                    OCI_MANIFEST,
                    typed("application/vnd.cnai.model.manifest.v1+json"),
                    "application/vnd.cnai.model.weight.v1.raw",
                ),
            ),
            (
                "legacy",
                push(
                    &lab,
                    &repository("legacy"),
                    OCI_ARTIFACT,
                    legacy("application/spdx+json"),
                    "application/spdx+json",
                ),
            ),
        ];
        for (kind, digest) in digests {
            let reference = format!("{}@{digest}", lab.registry.repository(&repository(kind)));
            if twin == "signed" {
                lab.signers
                    .notation
                    .sign(&reference, &Sign::with("release"))
                    .await
                    .expect(kind);
            }
            let mark = lab.registry.log().mark();
            let finished = lab
                .assayd
                .assayctl(&["verify", &reference, "--output", "json"])
                .await
                .unwrap();
            let said: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{kind}: {finished:?}"));
            // A registry may answer that there is nothing where it has nothing of a kind that is asked for.
            let resolved = &lab.requests_by_assayd(mark)[0];
            let accepts = resolved.accept.as_deref().unwrap_or_default();
            assert!(
                accepts.contains(OCI_MANIFEST) && accepts.contains(OCI_ARTIFACT),
                "{accepts}"
            );
            let expected = match twin {
                "signed" => (Some(0), "admit", ""),
                _ => (Some(1), "deny", "unsigned"),
            };
            let verdict = (said["verdict"].as_str().unwrap(), said["code"].as_str().unwrap());
            assert_eq!((finished.code, verdict.0, verdict.1), expected, "{kind} {twin}: {said}");
            let media_type = if kind == "legacy" { OCI_ARTIFACT } else { OCI_MANIFEST };
            assert_eq!(
                (&said["digest"], &said["media_type"]),
                (&json!(digest), &json!(media_type))
            );
        }
    }
}
