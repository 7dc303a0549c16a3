//! Tests of hashes and merkle trees against known vectors, and against a simple calculation.

use data_encoding::HEXLOWER;

use super::*;

mod paths;
mod plan;
mod speed;

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// The tree by its definition: every leaf, every level.
fn slow_root(mut layer: Vec<Hash256>) -> Hash256 {
    while layer.len() > 1 {
        layer = layer.chunks(2).map(|pair| sha256(&pair.concat())).collect();
    }
    layer[0]
}

#[test]
fn known_hashes() {
    assert_eq!(hex(&sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    // SHA-256 of 64 zero bytes: two empty leaves.
    assert_eq!(hex(&padding_root(2)), "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b");
    assert_eq!(padding_root(1), [0; 32]);
}

#[test]
fn padding_counts_as_zeros() {
    for zeros in [0, 1, 4_095, 4_096, 4_097, 20_000] {
        let whole = [&b"data"[..], &vec![0; zeros]].concat();
        assert_eq!(sha1_padded(b"data", zeros), sha1(&whole), "{zeros}");
    }
}

#[test]
fn roots_are_those_of_the_whole_tree() {
    for len in [1, LEAF_LEN - 1, LEAF_LEN, LEAF_LEN + 1, 3 * LEAF_LEN, 5 * LEAF_LEN + 7, 8 * LEAF_LEN] {
        let data: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let mut leaves = Vec::new();
        leaf_hashes(&data, &mut leaves);
        assert_eq!(leaves.len(), len.div_ceil(LEAF_LEN));
        for width in [8, 16] {
            leaves.resize(width, [0; 32]);
            assert_eq!(data_root(&data, width), slow_root(leaves.clone()), "{len} {width}");
        }
    }
}

#[test]
fn a_file_is_the_tree_over_its_pieces() {
    let data: Vec<u8> = (0..7 * LEAF_LEN + 100).map(|at| (at / 100 % 256) as u8).collect();
    let pieces: Vec<Hash256> = data.chunks(2 * LEAF_LEN).map(|piece| data_root(piece, 2)).collect();
    assert_eq!(file_root(&pieces, 2 * LEAF_LEN as u32), data_root(&data, 8));
    // The fourth of three pieces is padding.
    let pieces = &pieces[..3];
    assert_eq!(file_root(pieces, 2 * LEAF_LEN as u32), data_root(&data[..6 * LEAF_LEN], 8));
}

#[test]
fn proofs_hold_for_the_node_the_place_and_the_root_only() {
    let leaves: Vec<Hash256> = (0..8u8).map(|n| sha256(&[n])).collect();
    let root = slow_root(leaves.clone());
    for (index, leaf) in leaves.iter().enumerate() {
        let pair = |at: usize| sha256(&leaves[at..at + 2].concat());
        let four = |at: usize| sha256(&[pair(at), pair(at + 2)].concat());
        let uncles = [leaves[index ^ 1], pair(((index / 2) ^ 1) * 2), four(((index / 4) ^ 1) * 4)];
        assert!(proves(*leaf, index, &uncles, &root));
        assert!(!proves(*leaf, index ^ 1, &uncles, &root));
        assert!(!proves(*leaf, index + 8, &uncles, &root));
        assert!(!proves(*leaf, index, &uncles[..2], &root));
        assert!(!proves(sha256(b"other"), index, &uncles, &root));
        assert!(!proves(*leaf, index, &uncles, &[0; 32]));
    }
    assert!(proves(root, 0, &[], &root));
}
