//! Trees as RFC 6962 defines them: its recursive formulas word for word, against the loop that judges.

use sha2::{Digest as _, Sha256};

use super::super::InclusionError;
use super::super::inclusion::{leaf_hash, verify};

/// The largest power of two smaller than n.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// The Merkle tree hash (RFC 6962 §2.1).
pub(super) fn tree_hash(leaves: &[&[u8]]) -> [u8; 32] {
    match leaves {
        [] => Sha256::digest(b"").into(),
        [leaf] => Sha256::digest([b"\x00", *leaf].concat()).into(),
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            Sha256::digest([&b"\x01"[..], &tree_hash(left), &tree_hash(right)].concat()).into()
        }
    }
}

/// The Merkle audit path (RFC 6962 §2.1.1).
pub(super) fn path(m: usize, leaves: &[&[u8]]) -> Vec<Box<[u8]>> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, sibling) = match m < k {
        true => (path(m, left), tree_hash(right)),
        false => (path(m - k, right), tree_hash(left)),
    };
    path.push(sibling.into());
    path
}

#[test]
fn every_leaf_of_every_small_tree_is_proved_and_no_other() {
    let names: Vec<String> = (0..40).map(|leaf| leaf.to_string()).collect();
    for size in 1..=names.len() {
        let leaves: Vec<&[u8]> = names.iter().take(size).map(|name| name.as_bytes()).collect();
        let root = tree_hash(&leaves);
        for (index, leaf) in leaves.iter().enumerate() {
            let path = path(index, &leaves);
            for other in 0..size as u64 + 2 {
                let outcome = verify(leaf_hash(leaf), other, size as u64, &path, &root);
                assert_eq!(
                    outcome.is_ok(),
                    other == index as u64,
                    "leaf {index} of {size} as {other}"
                );
            }
        }
    }
}

#[test]
fn refuses_what_is_no_path_to_the_root() {
    let leaves: Vec<&[u8]> = vec![b"0", b"1", b"2", b"3", b"4", b"5", b"6"];
    let (root, leaf, good) = (tree_hash(&leaves), leaf_hash(b"3"), path(3, &leaves));
    assert_eq!(verify(leaf, 3, 7, &good, &root), Ok(()));
    assert_eq!(
        verify(leaf, 7, 7, &good, &root),
        Err(InclusionError::Index { index: 7, size: 7 })
    );
    assert_eq!(
        verify(leaf, 0, 0, &[], &root),
        Err(InclusionError::Index { index: 0, size: 0 })
    );
    let length = |found| Err(InclusionError::Length { expected: 3, found });
    assert_eq!(verify(leaf, 3, 7, &good[1..], &root), length(2));
    assert_eq!(verify(leaf, 3, 7, &[&good[..], &good[..1]].concat(), &root), length(4));
    let mut short = good.clone();
    short[1] = short[1][1..].into();
    assert_eq!(verify(leaf, 3, 7, &short, &root), Err(InclusionError::HashLength(31)));
    for position in 0..good.len() {
        let mut flipped = good.clone();
        flipped[position][0] ^= 1;
        assert_eq!(verify(leaf, 3, 7, &flipped, &root), Err(InclusionError::Root));
    }
    assert_eq!(verify(leaf, 3, 7, &good, &root[1..]), Err(InclusionError::Root));
    assert_eq!(verify(leaf_hash(b"4"), 3, 7, &good, &root), Err(InclusionError::Root));
    // The hash of a node is none of a leaf: leaves and nodes are told apart by their first byte.
    assert_ne!(leaf_hash(b""), <[u8; 32]>::from(Sha256::digest(b"")));
}

#[test]
fn the_largest_tree_is_no_exception() {
    let expected = Err(InclusionError::Length { expected: 64, found: 0 });
    assert_eq!(
        verify([0; 32], u64::MAX - 1, u64::MAX, &[], &[]),
        Err(InclusionError::Length { expected: 63, found: 0 })
    );
    assert_eq!(verify([0; 32], 0, u64::MAX, &[], &[]), expected);
    let refused = Err(InclusionError::Index {
        index: u64::MAX,
        size: u64::MAX,
    });
    assert_eq!(verify([0; 32], u64::MAX, u64::MAX, &[], &[]), refused);
}
