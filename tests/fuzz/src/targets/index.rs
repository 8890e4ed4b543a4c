//! What an index names.

use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::index::{ImageIndex, NotAnIndex};
use assay_verify::limits::MAX_INDEX_CHILDREN;
use assay_verify::platform::NodePlatform;

use super::platform::{self, Tree, fold};
use crate::{Target, shown};

/// Indexes of an image.
pub const TARGET: Target = Target {
    name: "index",
    seeds: platform::TARGET.seeds,
    words: platform::TARGET.words,
    check,
    inputs: 3_000,
};

/// Whatever is accepted leaves out no digest that a decoder which ignores case would read, and whatever a node could run of an
/// index is among what it names.
pub fn check(input: &[u8]) -> String {
    let index = Descriptor {
        media_type: MediaType::parse(MediaType::OCI_INDEX).expect("a media type"),
        digest: Digest::sha256(input),
        size: input.len() as u64,
    };
    let mut other = index.clone();
    other.size += 1;
    assert_eq!(
        ImageIndex::open(&other, input.into()),
        Err(NotAnIndex::WrongBytes(other.digest.clone()))
    );
    let opened = match ImageIndex::open(&index, input.into()) {
        Ok(opened) => opened,
        Err(error) => return shown::error(&error).replace('"', ""),
    };
    assert!(opened.children().len() <= MAX_INDEX_CHILDREN);
    let tree: Tree = serde_json::from_slice(input).expect("what is accepted is JSON");
    for list in under(&tree, "manifests") {
        let Tree::Array(entries) = list else { continue };
        for digest in entries.iter().flat_map(|entry| under(entry, "digest")) {
            let Tree::Text(digest) = digest else { continue };
            if let Ok(digest) = digest.parse() {
                assert!(opened.children().contains(&digest), "{digest} is named");
            }
        }
    }
    if let Ok(runnable) = opened.runnable(&NodePlatform::new("linux", "amd64")) {
        let named = |child: &Descriptor| opened.children().contains(&child.digest);
        assert!(runnable.children().iter().all(named));
    }
    format!("{} children", opened.children().len())
}

fn under<'a>(tree: &'a Tree, name: &str) -> Vec<&'a Tree> {
    match tree {
        Tree::Object(entries) => {
            let found = entries.iter().filter(|(key, _)| fold(key) == fold(name));
            found.map(|(_, value)| value).collect()
        }
        Tree::Array(_) | Tree::Text(_) | Tree::Other => Vec::new(),
    }
}
