//! Inclusion proofs of RFC 6962, good and bad.

use assay_verify::sigstore::log::inclusion;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::read::{files_below, folder, read};

#[test]
fn every_vector_of_an_inclusion_proof_has_its_outcome() {
    let folder = folder().join("sigstore-rust/merkle/merkle/testdata/inclusion");
    let mut files = Vec::new();
    files_below(&folder, &mut files);
    let mut judged = [0, 0];
    for file in files {
        let vector: Value = serde_json::from_slice(&read(&file)).unwrap();
        let decode = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
        let proof = vector["proof"].as_array().map(Vec::as_slice).unwrap_or_default();
        let proof: Vec<Box<[u8]>> = proof.iter().map(|hash| decode(hash).into()).collect();
        let (index, size) = (
            vector["leafIdx"].as_u64().unwrap(),
            vector["treeSize"].as_u64().unwrap(),
        );
        let outcome = match decode(&vector["leafHash"]).try_into() {
            Ok(leaf) => inclusion::verify(leaf, index, size, &proof, &decode(&vector["root"])).is_ok(),
            // A hash of another length cannot even be asked about.
            Err(_) => false,
        };
        let is_refused = vector["wantErr"].as_bool().unwrap();
        assert_eq!(outcome, !is_refused, "{}: {}", file.display(), vector["desc"]);
        judged[usize::from(is_refused)] += 1;
    }
    assert!(judged[0] >= 6 && judged[1] >= 90, "only {judged:?} vectors were found");
}
