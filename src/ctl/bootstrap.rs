//! `assayctl bootstrap`: what a node needs before it can run assayd's own dependencies, proposed from what it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use assay_proto::cri::{Container, Image, PodSandbox};
use assay_verify::reference::Reference;
use assay_verify::untrusted::Untrusted;
use clap::Subcommand;
use serde_json::json;

use super::node::containerd::{Containerd, Which};
use super::node::cri::{Cri, CriError};
use super::{DENIED, DONE, Failure, Output};

/// Where the kubelet writes how it learned of a pod (kubernetes, pkg/kubelet/types/pod_update.go).
const CONFIG_SOURCE: &str = "kubernetes.io/config.source";

#[derive(Subcommand)]
pub(super) enum Bootstrap {
    /// Print a list from what runs on this node: the image of pods' own containers, static pods, and pods on the node's own
    /// network, such as network plugins. Read it before it is put into /etc/assayd/bootstrap.list
    Generate(Which),
}

/// A pod, as far as it matters whether a node needs it to start.
struct Pod {
    name: String,
    is_static: bool,
    is_on_node_network: bool,
}

/// What runs on a node.
struct Seen {
    sandbox_image: Option<String>,
    images: Vec<Image>,
    pods: BTreeMap<String, Pod>,
    containers: Vec<Container>,
}

/// What is proposed: why, by `repository@digest`.
type Proposal = BTreeMap<String, BTreeSet<String>>;

pub(super) async fn run(output: Output, command: &Bootstrap) -> Result<u8, Failure> {
    let Bootstrap::Generate(which) = command;
    let away = |error: &dyn std::fmt::Display| Failure::Daemon(error.to_string());
    let containerd = Containerd::inspect(which, Path::new("/proc")).await;
    let containerd = containerd.map_err(|error| away(&error))?;
    let seen = look(&containerd).await.map_err(|error| away(&error))?;
    let (proposal, missing) = propose(&seen);
    for what in &missing {
        eprintln!(
            "assayctl: {what}: its digest is not known, because it was not pulled from a registry; it is left out"
        );
    }
    match output {
        Output::Json => println!("{}", json!({ "images": proposal, "without_digest": missing })),
        Output::Human => {
            println!("# What the hook admits while assayd is away. Proposed by assayctl bootstrap generate: read it.");
            for (image, reasons) in &proposal {
                let reasons: Vec<_> = reasons.iter().map(|why| Untrusted::new(why).to_string()).collect();
                println!("{image}  # {}", reasons.join("; "));
            }
        }
    }
    Ok(if proposal.is_empty() { DENIED } else { DONE })
}

async fn look(containerd: &Containerd) -> Result<Seen, CriError> {
    let cri = Cri::connect(&containerd.effective.grpc.address).await?;
    let mut pods = BTreeMap::new();
    for sandbox in cri.pods().await? {
        let is_on_node_network = cri.is_on_node_network(&sandbox.id).await?;
        pods.insert(sandbox.id.clone(), pod(sandbox, is_on_node_network));
    }
    Ok(Seen {
        sandbox_image: containerd.effective.sandbox_image.clone(),
        images: cri.images().await?,
        pods,
        containers: cri.containers().await?,
    })
}

fn pod(sandbox: PodSandbox, is_on_node_network: bool) -> Pod {
    let source = sandbox.annotations.get(CONFIG_SOURCE).map(String::as_str);
    let metadata = sandbox.metadata.unwrap_or_default();
    Pod {
        name: format!("{}/{}", metadata.namespace, metadata.name),
        is_static: matches!(source, Some("file" | "http")),
        is_on_node_network,
    }
}

/// What the node needs to start, and what of it has no digest.
fn propose(seen: &Seen) -> (Proposal, BTreeSet<String>) {
    let (mut proposal, mut missing) = (Proposal::new(), BTreeSet::new());
    let mut add = |name: &str, why: String| {
        let digests = digests(&seen.images, name);
        if digests.is_empty() {
            missing.insert(name.to_owned());
        }
        for digest in digests {
            proposal.entry(digest).or_default().insert(why.clone());
        }
    };
    if let Some(image) = &seen.sandbox_image {
        add(image, "every pod's own container".to_owned());
    }
    for container in &seen.containers {
        let Some(pod) = seen.pods.get(&container.pod_sandbox_id) else {
            continue;
        };
        let why = match pod {
            Pod { is_static: true, .. } => "static pod",
            Pod {
                is_on_node_network: true,
                ..
            } => "on the node's own network",
            _ => continue,
        };
        let image = container.image.as_ref().map_or("", |image| image.image.as_str());
        let name = if container.image_ref.is_empty() {
            image
        } else {
            &container.image_ref
        };
        add(name, format!("{why} {}", pod.name));
    }
    (proposal, missing)
}

/// The canonical names with digests of the image that has this name: a tag, a name with a digest, or the digest of its configuration.
fn digests(images: &[Image], name: &str) -> BTreeSet<String> {
    let asked = name.parse::<Reference>().ok();
    let is_meant = |image: &&Image| {
        let mut names = image.repo_tags.iter().chain(&image.repo_digests);
        image.id == name || names.any(|one| asked.is_some() && one.parse().ok() == asked)
    };
    let found = images.iter().filter(is_meant).flat_map(|image| &image.repo_digests);
    // Canonical, and as a line of the list: what is not a reference could not be one.
    let canonical = found.filter_map(|digest| {
        let reference: Reference = digest.parse().ok()?;
        Some(format!("{}@{}", reference.repository, reference.digest?))
    });
    canonical.collect()
}

#[cfg(test)]
mod tests {
    use assay_proto::cri::ImageSpec;

    use super::*;

    fn image(id: &str, tag: &str, repository: &str, digit: char) -> Image {
        Image {
            id: id.to_owned(),
            repo_tags: vec![tag.to_owned()],
            repo_digests: match repository {
                "" => vec![],
                repository => vec![format!("{repository}@sha256:{}", digit.to_string().repeat(64))],
            },
            ..Image::default()
        }
    }

    fn container(pod: &str, image_ref: &str) -> Container {
        Container {
            pod_sandbox_id: pod.to_owned(),
            image_ref: image_ref.to_owned(),
            image: Some(ImageSpec::default()),
            ..Container::default()
        }
    }

    fn seen() -> Seen {
        let pod = |name: &str, is_static, is_on_node_network| Pod {
            name: name.to_owned(),
            is_static,
            is_on_node_network,
        };
        Seen {
            sandbox_image: Some("registry.k8s.io/pause:3.10".to_owned()),
            images: vec![
                image("sha256:p", "registry.k8s.io/pause:3.10", "registry.k8s.io/pause", 'a'),
                image("sha256:c", "quay.io/cilium/cilium:v1", "quay.io/cilium/cilium", 'b'),
                image("sha256:e", "registry.k8s.io/etcd:3", "registry.k8s.io/etcd", 'c'),
                image("sha256:x", "docker.io/library/app:1", "docker.io/library/app", 'd'),
                image("sha256:i", "docker.io/library/imported:1", "", ' '),
            ],
            pods: BTreeMap::from([
                ("1".to_owned(), pod("kube-system/cilium", false, true)),
                ("2".to_owned(), pod("kube-system/etcd", true, true)),
                ("3".to_owned(), pod("default/app", false, false)),
                ("4".to_owned(), pod("kube-system/imported", true, false)),
            ]),
            containers: vec![
                container("1", "sha256:c"),
                container("2", "sha256:e"),
                container("3", "sha256:x"),
                container("4", "sha256:i"),
                container("gone", "sha256:x"),
            ],
        }
    }

    #[test]
    fn what_a_node_needs_to_start_is_proposed_with_its_reason_and_nothing_else() {
        let (proposal, missing) = propose(&seen());
        let lines: Vec<_> = proposal
            .iter()
            .map(|(image, why)| format!("{} {}", image.split('@').next().unwrap(), why.first().unwrap()))
            .collect();
        assert_eq!(
            lines,
            [
                "quay.io/cilium/cilium on the node's own network kube-system/cilium",
                "registry.k8s.io/etcd static pod kube-system/etcd",
                "registry.k8s.io/pause every pod's own container",
            ]
        );
        assert_eq!(missing.into_iter().collect::<Vec<_>>(), ["sha256:i"]);
    }

    #[test]
    fn every_proposed_line_is_one_that_the_hook_reads() {
        let (proposal, _) = propose(&seen());
        for image in proposal.keys() {
            let line = crate::admission::bootstrap_list::parse(image.as_bytes());
            assert!(
                matches!(&line[..], [(1, crate::admission::bootstrap_list::Line::Image(_))]),
                "{image}"
            );
        }
    }
}
