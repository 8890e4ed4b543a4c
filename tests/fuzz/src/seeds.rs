//! Seeds from the test vectors.

use std::path::{Path, PathBuf};

/// A folder of the vectors: `ASSAY_VECTORS`, or `shared/vectors` beside the workspace.
pub(crate) fn folder(family: &str) -> PathBuf {
    let folder = std::env::var_os("ASSAY_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
        PathBuf::from,
    );
    let family_folder = folder.join(family);
    assert!(
        family_folder.join("MANIFEST.tsv").is_file(),
        "the test vectors are not in {}: set ASSAY_VECTORS to the folder that has {family}/MANIFEST.tsv",
        folder.display()
    );
    family_folder
}

/// The contents of all files below a folder of the vectors of the Notary Project for which `wanted` says so, ordered by path.
///
/// # Panics
///
/// When there is none.
pub fn files(below: &str, wanted: impl Fn(&Path, &[u8]) -> bool) -> Vec<Vec<u8>> {
    files_below(&folder("notation").join(below), wanted)
}

/// The same of the vectors of sigstore.
///
/// # Panics
///
/// When there is none.
pub fn sigstore_files(below: &str, wanted: impl Fn(&Path, &[u8]) -> bool) -> Vec<Vec<u8>> {
    files_below(&folder("sigstore").join(below), wanted)
}

fn files_below(folder: &Path, wanted: impl Fn(&Path, &[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut folders = vec![folder.to_owned()];
    let mut paths = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
                .path();
            match path.is_dir() {
                true => folders.push(path),
                false => paths.push(path),
            }
        }
    }
    paths.sort();
    let read = |path: &PathBuf| std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let found: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| (path, read(path)))
        .filter(|(path, content)| wanted(path, content))
        .map(|(_, content)| content)
        .collect();
    assert!(!found.is_empty(), "no seed in {}", folder.display());
    found
}

/// Text as seeds.
pub fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
