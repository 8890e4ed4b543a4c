//! The vectors of sigstore and their MANIFEST.

use std::path::PathBuf;

/// Where the vectors are: `ASSAY_VECTORS`, or `shared/vectors` beside the workspace.
#[expect(
    clippy::disallowed_methods,
    reason = "only the tests ask the environment, and only where files are"
)]
pub(crate) fn folder() -> PathBuf {
    let folder = std::env::var_os("ASSAY_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
        PathBuf::from,
    );
    let sigstore = folder.join("sigstore");
    assert!(
        sigstore.join("MANIFEST.tsv").is_file(),
        "the test vectors are not in {}: set ASSAY_VECTORS to the folder that has sigstore/MANIFEST.tsv",
        folder.display()
    );
    sigstore
}

/// The content of a file, by its name in the MANIFEST.
pub(crate) fn read(file: &str) -> Vec<u8> {
    find(file).unwrap_or_else(|| panic!("{} has no {file}", folder().display()))
}

/// The content of a file that a case may have.
pub(crate) fn find(file: &str) -> Option<Vec<u8>> {
    let path = folder().join(file);
    path.is_file()
        .then(|| std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The text of a file.
pub(crate) fn text(file: &str) -> String {
    String::from_utf8(read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The names below a folder, in order.
pub(crate) fn names(below: &str) -> Vec<String> {
    let path = folder().join(below);
    let entries = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The rows of a table, comments left out.
pub(crate) fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
        .collect()
}

/// Every file of the MANIFEST, with what it says is expected.
pub(crate) fn manifest() -> Vec<(String, String)> {
    let text = text("MANIFEST.tsv");
    rows(&text)
        .into_iter()
        .skip(1)
        .map(|row| (row[0].to_owned(), row.get(4).copied().unwrap_or_default().to_owned()))
        .collect()
}
