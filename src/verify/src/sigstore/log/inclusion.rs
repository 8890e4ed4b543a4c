//! Inclusion proofs: whether a leaf is in the tree of a root hash (RFC 6962 §2.1.1).

use sha2::{Digest as _, Sha256};

use super::InclusionError;

/// A hash of the tree: SHA-256, the only one that sigstore's logs use.
pub type TreeHash = [u8; 32];

/// The hash of a leaf (RFC 6962 §2.1). Its prefix keeps it apart from those of nodes.
pub fn leaf_hash(leaf: &[u8]) -> TreeHash {
    Sha256::new().chain_update([0]).chain_update(leaf).finalize().into()
}

fn node_hash(left: &TreeHash, right: &TreeHash) -> TreeHash {
    Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// Follows the path from the leaf `index` of a tree of `size` to its root, and compares that with `root`.
///
/// # Errors
///
/// When the leaf is outside of the tree, the path is not as long as its way up, or leads to another root.
pub fn verify(leaf: TreeHash, index: u64, size: u64, path: &[Box<[u8]>], root: &[u8]) -> Result<(), InclusionError> {
    let Some(last) = size.checked_sub(1).filter(|last| index <= *last) else {
        return Err(InclusionError::Index { index, size });
    };
    // Below the level at which the ways of this leaf and of the last one part, every node has a sibling, on the side that
    // the index says. From there on the way is along the right border of the tree, where all siblings are on the left, and
    // a node without one is its own parent: a sibling for every bit that is set.
    let inner = u64::BITS - (index ^ last).leading_zeros();
    let border = index.checked_shr(inner).unwrap_or_default().count_ones();
    let expected = (inner + border) as usize;
    if path.len() != expected {
        let found = path.len();
        return Err(InclusionError::Length { expected, found });
    }
    let mut hash = leaf;
    for (level, sibling) in path.iter().enumerate() {
        let sibling: &TreeHash = (**sibling)
            .try_into()
            .map_err(|_| InclusionError::HashLength(sibling.len()))?;
        let is_left = level < inner as usize && index.checked_shr(level as u32).is_some_and(|way| way & 1 == 0);
        hash = match is_left {
            true => node_hash(&hash, sibling),
            false => node_hash(sibling, &hash),
        };
    }
    match hash == *root {
        true => Ok(()),
        false => Err(InclusionError::Root),
    }
}
