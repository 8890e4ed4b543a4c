//! Which children of an image index a node could run (OCI image specification: image-index.md).
//!
//! Where a signature on the index is missing, a rule may accept one on each of these. So the list errs towards too many:
//! what the node probably never runs needs a signature, rather than what it may run needing none.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use crate::descriptor::{Descriptor, MediaType};
use crate::digest::Digest;
use crate::limits::{MAX_MANIFEST_SIZE, MAX_RUNNABLE_CHILDREN};
use crate::manifest::{Index, ParseManifestError};

/// What a node runs, in Go's words: `linux`, `amd64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlatform {
    os: Box<str>,
    architecture: Box<str>,
}

/// The children of one index that a node could run: at least one, each once. Only the index' own bytes make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnableChildren {
    index: Descriptor,
    children: Vec<Descriptor>,
}

/// Why an index has no children that signatures could stand for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunnableChildrenError {
    /// The bytes are not the index.
    #[error("the bytes are not those of the index {0}")]
    WrongBytes(Digest),
    /// Not an index, or malformed.
    #[error(transparent)]
    Index(#[from] ParseManifestError),
    /// An entry is malformed, so it is not known what it leads to.
    #[error("the index has a malformed entry")]
    MalformedEntry,
    /// Nothing that the node could run.
    #[error("the index has nothing that this node could run")]
    Nothing,
    /// More than [`MAX_RUNNABLE_CHILDREN`].
    #[error("the index has {0} children that this node could run, more than {MAX_RUNNABLE_CHILDREN}")]
    TooMany(usize),
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

#[derive(Deserialize)]
struct Entry {
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Entries {
    manifests: Vec<Entry>,
}

impl NodePlatform {
    /// A platform by the names of Rust's `std::env::consts` or of Go.
    pub fn new(os: &str, architecture: &str) -> Self {
        Self {
            os: os.to_ascii_lowercase().into(),
            architecture: canonical(architecture).into(),
        }
    }

    /// Whether the node could run what an index says is for this platform. containerd falls back to the 32-bit
    /// architecture of the same family, so it counts. BuildKit marks attestations with `unknown/unknown`, which no
    /// platform matches; whatever else is not said is taken for runnable.
    fn could_run(&self, platform: &Platform) -> bool {
        let (os, architecture) = (platform.os.to_ascii_lowercase(), canonical(&platform.architecture));
        if os == "unknown" && architecture == "unknown" {
            return false;
        }
        let same_family = match &*self.architecture {
            "amd64" => ["amd64", "386"].contains(&&*architecture),
            "arm64" => ["arm64", "arm"].contains(&&*architecture),
            own => own == architecture,
        };
        (os.is_empty() || os == *self.os) && (architecture.is_empty() || same_family)
    }
}

/// containerd's normalisation of architectures.
fn canonical(architecture: &str) -> String {
    let lower = architecture.to_ascii_lowercase();
    match lower.as_str() {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "armhf" | "armel" => "arm",
        "i386" | "x86" => "386",
        "loongarch64" => "loong64",
        "powerpc64" => "ppc64le",
        other => other,
    }
    .to_owned()
}

impl RunnableChildren {
    /// Reads them from the bytes of `index`. Children without a platform, of an unknown type, and nested indexes count.
    ///
    /// # Errors
    ///
    /// When the bytes are not the index, malformed in any entry, or there are none or too many.
    pub fn of(index: &Descriptor, json: &[u8], node: &NodePlatform) -> Result<Self, RunnableChildrenError> {
        if json.len() > MAX_MANIFEST_SIZE || !index.describes(json) {
            return Err(RunnableChildrenError::WrongBytes(index.digest.clone()));
        }
        let parsed = Index::parse(&index.media_type, json)?;
        let said: Entries = serde_json::from_slice(json).map_err(|_| RunnableChildrenError::MalformedEntry)?;
        // A listing of referrers leaves malformed entries out; here one could be what the node unpacks.
        if parsed.entries.len() != said.manifests.len() {
            return Err(RunnableChildrenError::MalformedEntry);
        }
        let mut children = BTreeMap::new();
        for (entry, said) in parsed.entries.into_iter().zip(said.manifests) {
            let manifest = [MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST]
                .iter()
                .any(|known| entry.descriptor.media_type == *known);
            let runnable = match said.platform {
                Some(platform) if manifest => node.could_run(&platform),
                _ => true,
            };
            if runnable
                && children
                    .insert(entry.descriptor.digest.clone(), entry.descriptor.clone())
                    .is_some_and(|other| other != entry.descriptor)
            {
                return Err(RunnableChildrenError::MalformedEntry);
            }
        }
        match children.len() {
            0 => Err(RunnableChildrenError::Nothing),
            count if count > MAX_RUNNABLE_CHILDREN => Err(RunnableChildrenError::TooMany(count)),
            _ => Ok(Self {
                index: index.clone(),
                children: children.into_values().collect(),
            }),
        }
    }

    /// The index.
    pub fn index(&self) -> &Descriptor {
        &self.index
    }

    /// The children.
    pub fn children(&self) -> &[Descriptor] {
        &self.children
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(name: &str, media_type: &str, platform: &str) -> String {
        let digest = Digest::sha256(name.as_bytes());
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":1{platform}}}"#)
    }

    fn platform(os: &str, architecture: &str) -> String {
        format!(r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#)
    }

    fn runnable(children: &[String]) -> Result<usize, RunnableChildrenError> {
        let json = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, children.join(","));
        let index = Descriptor {
            media_type: MediaType::parse(MediaType::OCI_INDEX).unwrap(),
            digest: Digest::sha256(json.as_bytes()),
            size: json.len() as u64,
        };
        let node = NodePlatform::new("linux", "x86_64");
        RunnableChildren::of(&index, json.as_bytes(), &node).map(|found| found.children().len())
    }

    #[test]
    fn counts_what_the_node_could_run_and_what_is_not_known() {
        for (media_type, platform, counts) in [
            (MediaType::OCI_MANIFEST, platform("linux", "amd64"), true),
            (MediaType::OCI_MANIFEST, platform("Linux", "X86_64"), true),
            (MediaType::DOCKER_MANIFEST, platform("linux", "386"), true),
            (MediaType::OCI_MANIFEST, platform("linux", "arm64"), false),
            (MediaType::OCI_MANIFEST, platform("windows", "amd64"), false),
            (MediaType::OCI_MANIFEST, platform("unknown", "unknown"), false),
            (MediaType::OCI_MANIFEST, platform("", "amd64"), true),
            (MediaType::OCI_MANIFEST, platform("linux", ""), true),
            (MediaType::OCI_MANIFEST, String::new(), true),
            (MediaType::OCI_MANIFEST, r#","platform":null"#.to_owned(), true),
            (MediaType::OCI_INDEX, platform("windows", "amd64"), true),
            ("application/x", platform("windows", "amd64"), true),
        ] {
            let expected = if counts {
                Ok(1)
            } else {
                Err(RunnableChildrenError::Nothing)
            };
            assert_eq!(
                runnable(&[child("a", media_type, &platform)]),
                expected,
                "{media_type} {platform}"
            );
        }
    }

    #[test]
    fn a_malformed_entry_hides_nothing() {
        let good = child("a", MediaType::OCI_MANIFEST, "");
        let bad = r#"{"mediaType":"application/x","digest":"md5:1","size":1}"#.to_owned();
        assert_eq!(
            runnable(&[good.clone(), bad]),
            Err(RunnableChildrenError::MalformedEntry)
        );
        let twice = child("a", MediaType::DOCKER_MANIFEST, "");
        assert_eq!(
            runnable(&[good.clone(), twice]),
            Err(RunnableChildrenError::MalformedEntry)
        );
        assert_eq!(runnable(&[good.clone(), good]), Ok(1));
    }

    #[test]
    fn an_index_has_few_children_for_one_node() {
        let children: Vec<_> = (0..=MAX_RUNNABLE_CHILDREN)
            .map(|number| child(&number.to_string(), MediaType::OCI_MANIFEST, ""))
            .collect();
        assert_eq!(
            runnable(&children),
            Err(RunnableChildrenError::TooMany(MAX_RUNNABLE_CHILDREN + 1))
        );
        assert_eq!(runnable(&children[1..]), Ok(MAX_RUNNABLE_CHILDREN));
    }

    #[test]
    fn only_the_bytes_of_the_index_count() {
        let index = Descriptor {
            media_type: MediaType::parse(MediaType::OCI_INDEX).unwrap(),
            digest: Digest::sha256(b"other"),
            size: 2,
        };
        let node = NodePlatform::new("linux", "amd64");
        assert_eq!(
            RunnableChildren::of(&index, b"{}", &node),
            Err(RunnableChildrenError::WrongBytes(index.digest.clone()))
        );
    }
}
