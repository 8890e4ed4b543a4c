//! The vectors and their MANIFEST, for every test binary that judges some of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where the vectors are: `ASSAY_VECTORS`, or `shared/vectors` beside the workspace.
#[expect(
    clippy::disallowed_methods,
    reason = "only the tests ask the environment, and only where files are"
)]
fn folder() -> PathBuf {
    let folder = std::env::var_os("ASSAY_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
        PathBuf::from,
    );
    let notation = folder.join("notation");
    assert!(
        notation.join("MANIFEST.tsv").is_file(),
        "the test vectors are not in {}: set ASSAY_VECTORS to the folder that has notation/MANIFEST.tsv",
        folder.display()
    );
    notation
}

/// The content of a file, by its name in the MANIFEST.
pub(crate) fn read(file: &str) -> Vec<u8> {
    let path = folder().join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of a table, comments left out.
pub(crate) fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split('\t').collect())
        .collect()
}

/// File and expected outcome of every row of the MANIFEST.
pub(crate) fn manifest() -> BTreeMap<String, String> {
    let text = String::from_utf8(read("MANIFEST.tsv")).unwrap();
    rows(&text)
        .into_iter()
        .skip(1)
        .map(|row| (row[0].to_owned(), row[6].to_owned()))
        .collect()
}
