//! The images of this node, by the names under which they would be pulled again.

use std::collections::BTreeSet;
use std::path::Path;

use assay_proto::cri::Image;
use assay_verify::limits::{MAX_NODE_IMAGES, MAX_PROGRAM_OUTPUT};
use assay_verify::reference::Reference;
use assay_verify::untrusted::Untrusted;

use crate::ctl::Failure;
use crate::ctl::node::cri::Cri;
use crate::ctl::publish::folder::read;

/// The images that containerd has for pods.
pub(super) async fn of_node(cri: &Cri) -> Result<BTreeSet<String>, Failure> {
    let images = cri.images().await.map_err(|error| Failure::Daemon(error.to_string()))?;
    bounded(images.iter().flat_map(names).collect())
}

/// The names of one image. Those with a digest say what is here; of an image that was imported without one, only the registry
/// can say what its name stands for.
fn names(image: &Image) -> Vec<String> {
    let names = match image.repo_digests.is_empty() {
        true => &image.repo_tags,
        false => &image.repo_digests,
    };
    let readable = names.iter().filter(|name| name.parse::<Reference>().is_ok());
    readable.cloned().collect()
}

/// The images that a file lists, one a line; `#` begins a comment.
pub(super) fn of_file(path: &Path) -> Result<BTreeSet<String>, Failure> {
    let failed = |what: &dyn std::fmt::Display| Failure::Input(format!("{}: {what}", path.display()));
    let content = read(path, MAX_PROGRAM_OUTPUT).map_err(|error| failed(&error))?;
    let content = content.ok_or_else(|| failed(&"there is no such file"))?;
    let text = String::from_utf8(content).map_err(|_| failed(&"not UTF-8"))?;
    let mut images = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let name = line.split('#').next().unwrap_or_default().trim();
        if name.is_empty() {
            continue;
        }
        name.parse::<Reference>()
            .map_err(|error| failed(&format!("line {number}: {}", Untrusted::new(error.to_string()))))?;
        images.insert(name.to_owned());
    }
    bounded(images)
}

fn bounded(images: BTreeSet<String>) -> Result<BTreeSet<String>, Failure> {
    match images.len() {
        count if count > MAX_NODE_IMAGES => Err(Failure::Input(format!("{count} images, more than {MAX_NODE_IMAGES}"))),
        _ => Ok(images),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_by_its_digest_where_it_has_one() {
        let digest = format!("registry.example/app@sha256:{}", "a".repeat(64));
        let image = |tags: &[&str], digests: &[&str]| Image {
            repo_tags: tags.iter().map(ToString::to_string).collect(),
            repo_digests: digests.iter().map(ToString::to_string).collect(),
            ..Image::default()
        };
        let tag = "registry.example/app:v1";
        assert_eq!(names(&image(&[tag], &[&digest])), [digest.as_str()]);
        assert_eq!(names(&image(&[tag], &[])), [tag]);
        assert!(names(&image(&["not a name"], &[])).is_empty());
    }

    #[test]
    fn a_file_lists_one_image_a_line_and_a_mistake_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("images");
        std::fs::write(
            &file,
            "# all\nalpine:3.20 # base\n\nalpine:3.20\nregistry.example/app:v1\n",
        )
        .unwrap();
        let images = of_file(&file).ok().unwrap();
        assert_eq!(
            images.into_iter().collect::<Vec<_>>(),
            ["alpine:3.20", "registry.example/app:v1"]
        );
        std::fs::write(&file, "alpine\nA B\n").unwrap();
        let Err(Failure::Input(said)) = of_file(&file) else {
            panic!("it is refused")
        };
        assert!(said.contains("line 2: "), "{said}");
    }
}
