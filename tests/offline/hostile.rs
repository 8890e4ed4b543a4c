//! Bundles that somebody changed, made up or broke on the way.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assay_proto::v1 as proto;
use assay_proto::v1::control_client::ControlClient;
use assay_proto::v1::evidence_content::Kind;
use assay_proto::v1::import_evidence_request::Part;
use assay_proto::v1::import_evidence_response::Event;
use assay_verify::digest::Digest;
use assay_verify::limits::{EVIDENCE_PIECE, MAX_REFERRERS};
use assayd::admission::Question;
use assayd::hooks::evidence::descriptor_to_wire;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Endpoint, Uri};

use crate::bundles::{BY_BOTH, BY_RELEASE, Bundle, go_dark, import, served};
use crate::lab::{Lab, Node, assert_admitted};

/// The files of a tar.
type Files = BTreeMap<String, Vec<u8>>;

fn unpack(path: &Path) -> Files {
    let mut archive = tar::Archive::new(fs::File::open(path).unwrap());
    let mut files = Files::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        files.insert(name, content);
    }
    files
}

fn pack(folder: &TempDir, files: &Files) -> PathBuf {
    let path = folder.path().join("changed.tar");
    let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Written as it is: the library refuses names that lead elsewhere.
        let field = header.as_old_mut().name.as_mut_slice();
        if name.len() < field.len() {
            field[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, content.as_slice()).unwrap();
        } else {
            builder.append_data(&mut header, name, content.as_slice()).unwrap();
        }
    }
    builder.finish().unwrap();
    path
}

/// Changes the list of a bundle.
fn relist(files: &mut Files, change: impl FnOnce(&mut Vec<Value>)) {
    let index = files.get_mut("index.json").unwrap();
    let mut json: Value = serde_json::from_slice(index).unwrap();
    change(json["manifests"].as_array_mut().unwrap());
    *index = json.to_string().into_bytes();
}

fn put_blob(files: &mut Files, content: &[u8]) -> Digest {
    let digest = Digest::sha256(content);
    files.insert(format!("blobs/sha256/{}", digest.hex()), content.to_vec());
    digest
}

/// A signed image, its bundle, and a node that has nothing.
async fn prepared(rule: &str) -> (Lab, Value, Bundle, Node) {
    let mut lab = Lab::new().await;
    let image = lab.index(&[lab.image("own"), lab.image("other")]);
    lab.sign_by_corp(&image);
    lab.sign_by_release(&image);
    let (exporter, bundle) = (served(&lab, rule).await, Bundle::new());
    bundle.export(&exporter, &[&lab.reference(&image)]).await.ended_with(0);
    let node = served(&lab, rule).await;
    go_dark(&mut lab).await;
    (lab, image, bundle, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_bundle_in_which_any_byte_that_counts_was_changed_nothing_is_kept() {
    let (lab, image, bundle, node) = prepared(BY_BOTH).await;
    let (good, folder) = (unpack(&bundle.path()), TempDir::new().unwrap());
    let empty = format!("blobs/sha256/{}", Digest::sha256(b"{}").hex());
    let mut changed = 0;
    for (name, content) in &good {
        // Other tools ask for it, and no judgement.
        if *name == empty {
            continue;
        }
        for place in [0, content.len() / 2, content.len() - 1] {
            let mut files = good.clone();
            files.get_mut(name).unwrap()[place] ^= 1;
            // Each time one that knows nothing: what is proved once is kept, answers as well.
            let node = served(&lab, BY_BOTH).await;
            let ran = import(&node, &pack(&folder, &files), &[]).await;
            let is_list = matches!(name.as_str(), "index.json" | "oci-layout");
            assert!(ran.code != 0 || is_list, "{name} at {place}: {ran:?}");
            if ran.code != 0 {
                assert!(!node.has_any_evidence().await, "{name} at {place}");
                changed += 1;
            }
        }
    }
    assert!(changed >= 20, "{changed}");
    import(&node, &pack(&folder, &good), &[]).await.ended_with(0);
    assert_admitted(&node.judge(&lab.question(&image)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_was_cut_off_anywhere_keeps_nothing_that_is_not_whole() {
    let (_lab, _, bundle, node) = prepared(BY_BOTH).await;
    let (whole, folder) = (fs::read(bundle.path()).unwrap(), TempDir::new().unwrap());
    let path = folder.path().join("cut.tar");
    // A tar ends with two empty blocks, which nobody misses.
    for length in (0..whole.len() - 2048).step_by(whole.len() / 40) {
        fs::write(&path, &whole[..length]).unwrap();
        let ran = import(&node, &path, &[]).await.ended_with(2);
        assert!(ran.stderr.contains("is not an OCI image layout"), "{length}: {ran:?}");
        assert!(!node.has_any_evidence().await, "{length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_in_a_bundle_harms_nothing_and_leads_nowhere() {
    let (lab, image, bundle, node) = prepared(BY_BOTH).await;
    let (mut files, folder) = (unpack(&bundle.path()), TempDir::new().unwrap());
    let outside = folder.path().join("outside");
    for name in [
        format!("..{}", outside.display()),
        "../../../../../../../../tmp/assay-outside".to_owned(),
        "/tmp/assay-outside".to_owned(),
        "blobs/sha256/../../../outside".to_owned(),
        format!("blobs/sha256/{}", "0".repeat(64)),
        "blobs/md5/x".to_owned(),
        "x".repeat(200),
    ] {
        files.insert(name, b"junk".to_vec());
    }
    // A stranger's signature, an answer to another query, an answer that is none, and an artifact of nobody's.
    let blob = put_blob(&mut files, b"not an answer");
    for query in [
        r#"{"kind":"crl","addresses":["http://crl.example/other.crl"]}"#,
        r#"{"kind":"crl","addresses":["http://crl.example/corp.crl"]}"#,
        "nonsense",
    ] {
        let manifest = json!({
            "schemaVersion": 2,
            "artifactType": "application/vnd.assayd.revocation-answer.v1+json",
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}").to_string(), "size": 2 },
            "layers": [{ "mediaType": "application/pkix-crl", "digest": blob.to_string(), "size": 13 }],
            "annotations": { "vnd.assayd.revocation.query": query },
        })
        .to_string();
        let digest = put_blob(&mut files, manifest.as_bytes());
        relist(&mut files, |entries| {
            entries.push(json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/vnd.assayd.revocation-answer.v1+json",
                "digest": digest.to_string(),
                "size": manifest.len(),
            }));
        });
    }
    relist(&mut files, |entries| {
        entries.push(
            json!({ "mediaType": "application/x", "digest": blob.to_string(), "size": 13, "artifactType": "a/b" }),
        );
    });
    import(&node, &pack(&folder, &files), &[]).await.ended_with(0);
    assert_admitted(&node.judge(&lab.question(&image)).await);
    assert!(!outside.exists() && !Path::new("/tmp/assay-outside").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_entries_are_read_and_more_than_the_limit_are_refused() {
    let (lab, image, bundle, node) = prepared(BY_RELEASE).await;
    let (good, folder) = (unpack(&bundle.path()), TempDir::new().unwrap());
    let entry = |number: usize| {
        let digest = Digest::sha256(number.to_string().as_bytes());
        json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest.to_string(), "size": 1 })
    };
    for (count, code) in [(10_000, 0), (MAX_REFERRERS, 2)] {
        let mut files = good.clone();
        relist(&mut files, |entries| entries.extend((0..count).map(entry)));
        import(&node, &pack(&folder, &files), &[]).await.ended_with(code);
    }
    assert_admitted(&node.judge(&lab.question(&image)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_evidence_of_one_image_says_nothing_of_another_with_its_name() {
    let (lab, image, bundle, node) = prepared(BY_RELEASE).await;
    let (mut files, folder) = (unpack(&bundle.path()), TempDir::new().unwrap());
    let evil = format!(
        r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"x":"{}"}}}}"#,
        image["digest"]
    );
    let digest = put_blob(&mut files, evil.replace('"', "'").replace('\'', "\"").as_bytes());
    let size = files[&format!("blobs/sha256/{}", digest.hex())].len();
    relist(&mut files, |entries| {
        for entry in entries {
            if entry["digest"] == image["digest"] {
                entry["digest"] = digest.to_string().into();
                entry["size"] = size.into();
            }
            // The signatures are filed under the other's name.
            if let Some(name) = entry.pointer_mut("/annotations/org.opencontainers.image.ref.name") {
                *name = format!("sha256-{}.sig", digest.hex()).into();
            }
        }
    });
    let reference = format!("{}@{digest}", lab.registry.repository("app"));
    let ran = import(&node, &pack(&folder, &files), &[&reference])
        .await
        .ended_with(1)
        .json();
    assert_eq!(ran["images"][0]["code"], "subject-mismatch");
    assert!(!node.has_any_evidence().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_repository_whose_names_lead_elsewhere_is_refused_before_anything_is_written() {
    let lab = Lab::new().await;
    let node = served(&lab, BY_RELEASE).await;
    let folder = TempDir::new().unwrap();
    for title in ["../outside", "/tmp/assay-outside", "a/../../outside", "a//b", "", ".x"] {
        let mut files = Files::from([
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            (
                "index.json".to_owned(),
                br#"{"schemaVersion":2,"manifests":[]}"#.to_vec(),
            ),
        ]);
        let timestamp = put_blob(&mut files, br#"{"signed":{"version":1}}"#);
        let layer = |title: &str| {
            json!({
                "mediaType": "application/octet-stream",
                "digest": timestamp.to_string(),
                "size": 24,
                "annotations": { "org.opencontainers.image.title": title },
            })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}").to_string(), "size": 2 },
            "layers": [layer("timestamp.json"), layer(title)],
        })
        .to_string();
        let digest = put_blob(&mut files, manifest.as_bytes());
        relist(&mut files, |entries| {
            entries.push(json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/vnd.assayd.policy-repository.v1+json",
                "digest": digest.to_string(),
                "size": manifest.len(),
            }));
        });
        let place = folder.path().join("repository");
        let ran = import(
            &node,
            &pack(&folder, &files),
            &["--policy-repository-to", place.to_str().unwrap()],
        )
        .await;
        assert!(
            ran.stderr.contains("is no place in a policy repository"),
            "{title:?}: {ran:?}"
        );
        ran.ended_with(2);
        assert!(!place.exists() && !folder.path().join("outside").exists(), "{title:?}");
    }
}

/// Speaks with the daemon itself: `answer` gets each event and says what is sent.
async fn converse(
    node: &Node,
    question: &Question,
    mut answer: impl FnMut(Event) -> Vec<Part>,
) -> Result<proto::ImportedVerdict, tonic::Status> {
    let socket = node.socket();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    let channel = Endpoint::from_static("http://assayd")
        .connect_with_connector(connector)
        .await
        .unwrap();
    let (outgoing, requests) = tokio::sync::mpsc::channel(1024);
    let say = async |part| {
        let message = proto::ImportEvidenceRequest { part: Some(part) };
        // The daemon may have heard enough.
        let _ = outgoing.send(message).await;
    };
    let descriptor = descriptor_to_wire(&question.descriptor);
    say(Part::Image(proto::ImportedImage {
        reference: format!("{}@{}", question.repository, question.descriptor.digest),
        descriptor: Some(descriptor),
    }))
    .await;
    let mut client = ControlClient::new(channel);
    let mut events = client
        .import_evidence(ReceiverStream::new(requests))
        .await?
        .into_inner();
    while let Some(message) = events.message().await? {
        match message.event.unwrap() {
            Event::Imported(verdict) => return Ok(verdict),
            event => {
                for part in answer(event) {
                    say(part).await;
                }
            }
        }
    }
    panic!("it broke off")
}

fn content(kind: Kind) -> Part {
    Part::Content(proto::EvidenceContent { kind: Some(kind) })
}

fn image_of(question: &Question, size: u64) -> Part {
    let descriptor = proto::Descriptor {
        size,
        ..descriptor_to_wire(&question.descriptor)
    };
    content(Kind::Image(proto::ImageContent {
        descriptor: Some(descriptor),
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_what_was_not_asked_for_is_not_heard_any_more_and_nothing_is_kept() {
    let (lab, image, _, node) = prepared(BY_RELEASE).await;
    let question = lab.question(&image);
    let blob = |size: u64| {
        content(Kind::Blob(proto::SignatureBlobContent {
            descriptor: Some(proto::Descriptor {
                size,
                ..descriptor_to_wire(&question.descriptor)
            }),
            position: 0,
        }))
    };
    let manifest = |size: u64| {
        content(Kind::Manifest(proto::SignatureManifestContent {
            descriptor: Some(proto::Descriptor {
                size,
                ..descriptor_to_wire(&question.descriptor)
            }),
            tag: String::new(),
        }))
    };
    let answers: Vec<Vec<Part>> = vec![
        vec![Part::Data(b"x".to_vec())],
        vec![content(Kind::Answer(proto::RevocationAnswerContent::default()))],
        vec![image_of(&question, u64::MAX)],
        vec![image_of(&question, 2), Part::Data(b"xyz".to_vec())],
        vec![image_of(&question, 2), Part::Data(Vec::new())],
        vec![blob(2)],
        vec![manifest(u64::MAX)],
        vec![manifest(2), Part::Data(b"{}".to_vec())],
        vec![manifest(1 << 20), Part::NothingElse(proto::NothingElse::default())],
        vec![Part::Image(proto::ImportedImage::default())],
    ];
    for parts in answers {
        let verdict = converse(&node, &question, |_| parts.clone()).await.unwrap();
        let code = verdict.verdict.unwrap().code;
        assert_eq!(
            (code.as_str(), verdict.kept),
            ("registry-unavailable", false),
            "{parts:?}"
        );
        assert!(!node.has_any_evidence().await, "{parts:?}");
    }
    // A message larger than any is not read.
    let large = Part::Data(vec![0; 4 * EVIDENCE_PIECE]);
    let verdict = converse(&node, &question, |_| vec![large.clone()]).await;
    assert!(verdict.is_err() || !verdict.unwrap().kept);
    assert!(!node.has_any_evidence().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_begins_with_a_question_that_is_well_formed() {
    let (lab, image, _, node) = prepared(BY_RELEASE).await;
    let good = lab.question(&image);
    let mut other = good.clone();
    other.descriptor.digest = Digest::sha256(b"other");
    // An image of which nothing is brought is unsigned, as far as anybody knows.
    let nothing = |_| vec![Part::NothingElse(proto::NothingElse::default())];
    let verdict = converse(&node, &other, nothing).await.unwrap();
    assert_eq!(verdict.verdict.unwrap().code, "unsigned");
    let said = |_| {
        vec![Part::NothingElse(proto::NothingElse {
            incomplete: "a \u{1b}[31mred\u{1b}[0m herring".to_owned(),
            unread: String::new(),
        })]
    };
    let verdict = converse(&node, &other, said).await.unwrap().verdict.unwrap();
    assert_eq!(verdict.code, "registry-unavailable");
    assert!(
        verdict.reason.is_ascii() && !verdict.reason.contains('\u{1b}'),
        "{}",
        verdict.reason
    );
}
