//! Every image that containerd has, in every namespace. assay-gate lists them, assayd judges them, and no layer is fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use assay_proto::v1 as proto;
use assay_proto::v1::judge_images_request::Part;
use assay_verify::digest::Digest;
use assay_verify::limits::{EVIDENCE_PIECE, MAX_NODE_IMAGES, MAX_POLICY_SIZE};
use serde::Deserialize;
use serde_json::json;

use super::{Inventory, Row};
use crate::admission::ledger::Named;
use crate::ctl::Failure;
use crate::ctl::client::ControlClient;
use crate::ctl::node::command;
use crate::ctl::node::containerd::{Containerd, Which};
use crate::ctl::progress::Progress;
use crate::ctl::publish::folder::read;

/// What these are not.
pub(super) const NOT_IN_IT: &str = "Images of other runtimes (Docker's own store, Podman, CRI-O) are not in it.";

/// A line of `assay-gate list`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Listed {
    namespace: String,
    name: String,
    media_type: String,
    digest: String,
    size: u64,
}

/// An image under one name, and where containerd has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Image {
    listed: Listed,
    named: Named,
    namespaces: BTreeSet<String>,
}

pub(super) async fn rows(asked: &Inventory, mut client: ControlClient) -> Result<Vec<Row>, Failure> {
    let policy = asked.what_if.as_deref().map(proposed).transpose()?;
    let (images, unreadable) = images(listed(&asked.gate, &asked.containerd).await?)?;
    let options = Part::Options(proto::JudgeImagesOptions { offline: asked.offline });
    let policy = policy.unwrap_or_default();
    let pieces = policy
        .chunks(EVIDENCE_PIECE)
        .map(|piece| Part::Policy(piece.to_owned()));
    let parts = std::iter::once(options)
        .chain(pieces)
        .chain(images.iter().map(|image| Part::Image(on_the_wire(&image.listed))));
    let mut answers = client.judge_images(parts.collect()).await?;
    let mut progress = Progress::new();
    let mut judged = BTreeMap::new();
    while let Some(answer) = answers.message().await? {
        judged.insert(answer.position, answer);
        progress.show(|| format!("judged {} of {} images", judged.len(), images.len()));
    }
    drop(progress);
    if judged.len() < images.len() {
        return Err(Failure::unexpected(format!(
            "{} of {} images were judged",
            judged.len(),
            images.len()
        )));
    }
    let answers = images.into_iter().zip(judged.into_values());
    let rows = answers.map(|(image, answer)| row(image, answer));
    Ok(rows.chain(unreadable.into_iter().map(unreadable_row)).collect())
}

/// A policy that is proposed, as it is: assayd reads it.
fn proposed(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |what: &dyn std::fmt::Display| Failure::Input(format!("{}: {what}", path.display()));
    let content = read(path, MAX_POLICY_SIZE).map_err(|error| failed(&error))?;
    let content = content.ok_or_else(|| failed(&"there is no such file"))?;
    match content.is_empty() {
        true => Err(failed(&"it is empty")),
        false => Ok(content),
    }
}

async fn listed(gate: &Path, which: &Which) -> Result<Vec<Listed>, Failure> {
    let containerd = Containerd::inspect(which, Path::new("/proc")).await;
    let containerd = containerd.map_err(|error| Failure::Daemon(error.to_string()))?;
    let address = &containerd.effective.grpc.address;
    let printed = command::output(gate, &[Path::new("list"), Path::new("--address"), address.as_ref()]).await;
    let printed = printed.map_err(|error| {
        let help = if error.is_absent() { "; --gate names it" } else { "" };
        Failure::Daemon(format!("containerd's images are not known: {error}{help}"))
    })?;
    let lines = printed.lines().map(serde_json::from_str);
    lines
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::Daemon(format!("{} prints what cannot be read: {error}", gate.display())))
}

/// One image for each name that a policy can tell from others. Tags are no part of what is judged, and an id is one more name. What
/// has a digest that cannot be read is handed back.
fn images(listed: Vec<Listed>) -> Result<(Vec<Image>, Vec<Listed>), Failure> {
    let (mut images, mut unreadable) = (BTreeMap::<Named, Image>::new(), Vec::new());
    for one in listed {
        let Ok(digest) = one.digest.parse::<Digest>() else {
            unreadable.push(one);
            continue;
        };
        let named = Named::parse(&one.name, digest);
        let namespace = one.namespace.clone();
        let image = images.entry(named.clone()).or_insert_with(|| Image {
            listed: one,
            named,
            namespaces: BTreeSet::new(),
        });
        image.namespaces.insert(namespace);
    }
    let with_name: BTreeSet<_> = (images.keys())
        .filter(|named| named.repository.is_some())
        .map(|named| named.digest.clone())
        .collect();
    images.retain(|named, _| named.repository.is_some() || !with_name.contains(&named.digest));
    if images.len() > MAX_NODE_IMAGES {
        return Err(Failure::Input(format!(
            "{} images, more than {MAX_NODE_IMAGES}",
            images.len()
        )));
    }
    let mut images: Vec<_> = images.into_values().collect();
    images.sort_by(|one, other| {
        (&one.named.repository, &one.named.digest).cmp(&(&other.named.repository, &other.named.digest))
    });
    Ok((images, unreadable))
}

fn on_the_wire(listed: &Listed) -> proto::NodeImage {
    proto::NodeImage {
        namespace: listed.namespace.clone(),
        name: listed.name.clone(),
        target: Some(descriptor(listed)),
    }
}

fn descriptor(listed: &Listed) -> proto::Descriptor {
    proto::Descriptor {
        media_type: listed.media_type.clone(),
        digest: listed.digest.clone(),
        size: listed.size,
    }
}

fn row(image: Image, answer: proto::JudgeImagesResponse) -> Row {
    let name = match &image.named.repository {
        Some(repository) => repository.to_string(),
        None => image.listed.name.clone(),
    };
    let (asked, remark) = match answer.asked() {
        proto::Asked::Unspecified => ("unknown", None),
        proto::Asked::Admitted => ("admitted", None),
        proto::Asked::Denied => ("denied", Some("the hook was told to deny it, and it is here")),
        proto::Asked::Before => ("before", None),
        proto::Asked::Never => ("never", Some("it came past the hook: nobody asked")),
        proto::Asked::UnderAnotherName => (
            "other-name",
            Some("it came past the hook: it was admitted under another name"),
        ),
    };
    Row {
        name: name.into(),
        descriptor: descriptor(&image.listed),
        verdict: answer.verdict,
        details: vec![("namespaces", json!(image.namespaces)), ("asked", json!(asked))],
        remark,
    }
}

fn unreadable_row(listed: Listed) -> Row {
    Row {
        descriptor: descriptor(&listed),
        name: listed.name.into(),
        verdict: None,
        details: vec![("namespaces", json!([listed.namespace])), ("asked", json!("unknown"))],
        remark: Some("assayd cannot read its digest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(namespace: &str, name: &str, figure: char) -> Listed {
        Listed {
            namespace: namespace.into(),
            name: name.into(),
            media_type: "application/vnd.oci.image.index.v1+json".into(),
            digest: format!("sha256:{}{figure}", "a".repeat(63)),
            size: 7,
        }
    }

    #[test]
    fn one_image_for_each_name_that_a_policy_can_tell_apart() {
        let id = format!("sha256:{}", "c".repeat(64));
        let mut sha384 = listed("k8s.io", "r.example/odd:v1", '3');
        sha384.digest = format!("sha384:{}", "b".repeat(96));
        let found = images(vec![
            sha384.clone(),
            listed("k8s.io", "r.example/app:v1", '1'),
            listed("k8s.io", "r.example/app:v2", '1'),
            listed("k8s.io", &id, '1'),
            listed("moby", "r.example/app:v1", '1'),
            listed("k8s.io", "r.example/other:v1", '1'),
            listed("k8s.io", &id, '2'),
        ]);
        let (found, unreadable) = found.ok().unwrap();
        assert_eq!(unreadable, [sha384]);
        let shown: Vec<_> = (found.iter())
            .map(|image| {
                let repository = image.named.repository.as_ref().map(ToString::to_string);
                (repository.unwrap_or_default(), image.namespaces.len())
            })
            .collect();
        let expected = [("", 1), ("r.example/app", 2), ("r.example/other", 1)];
        assert_eq!(shown, expected.map(|(name, count)| (name.to_owned(), count)));
    }
}
