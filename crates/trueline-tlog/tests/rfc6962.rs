//! The tree against published vectors and against the definitions of RFC 6962, for every size and position.
//! Vectors: leaves and roots of certificate-transparency's reference tests (transparency-dev/merkle, testonly).

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use proptest::prelude::*;
use trueline_tlog::merkle::{
    ProofError, consistency_proof, inclusion_proof, root, tree_root, verify_consistency, verify_inclusion,
};
use trueline_tlog::{Appender, Frontier, Hash, leaf_hash, node_hash};

const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn hash(hex: &str) -> Hash {
    Hash::from_hex(hex).unwrap()
}

fn published_leaves() -> Vec<Hash> {
    LEAVES.iter().map(|entry| leaf_hash(&hex::decode(entry).unwrap())).collect()
}

fn numbered_leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

/// MTH as RFC 6962 §2.1 writes it, with the split found by counting up.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves.len() {
        0 => Hash::EMPTY_ROOT,
        1 => leaves[0],
        length => {
            let mut split = 1;
            while split * 2 < length {
                split *= 2;
            }
            node_hash(&naive_root(&leaves[..split]), &naive_root(&leaves[split..]))
        }
    }
}

#[test]
fn roots_of_published_leaves_are_the_published_roots() {
    let leaves = published_leaves();
    let mut frontier = Frontier::new();
    for (size, expected) in ROOTS.iter().enumerate() {
        assert_eq!(root(&leaves[..size]).to_hex(), *expected);
        assert_eq!(frontier.root().to_hex(), *expected);
        assert_eq!(tree_root(&mut leaves.as_slice(), size as u64).unwrap(), hash(expected));
        if let Some(leaf) = leaves.get(size) {
            frontier.push(*leaf);
        }
    }
}

#[test]
fn proofs_of_published_leaves_are_the_published_proofs() {
    let leaves = published_leaves();
    let nodes = &mut leaves.as_slice();
    let sixth = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(inclusion_proof(nodes, 5, 8).unwrap(), sixth.map(hash));
    let six_to_eight = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(consistency_proof(nodes, 6, 8).unwrap(), six_to_eight.map(hash));
    let two_to_five = [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ];
    assert_eq!(consistency_proof(nodes, 2, 5).unwrap(), two_to_five.map(hash));
}

#[test]
fn every_inclusion_proof_of_small_trees_holds_and_no_other() {
    let leaves = numbered_leaves(70);
    for size in 1..=70u64 {
        let nodes = &mut &leaves[..size as usize];
        let root = root(nodes);
        for index in 0..size {
            let leaf = leaves[index as usize];
            let proof = inclusion_proof(nodes, index, size).unwrap();
            assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));
            let other = leaf_hash(b"another entry");
            assert_eq!(verify_inclusion(&other, index, size, &proof, &root), Err(ProofError::RootMismatch));
            for position in (0..size).filter(|position| *position != index) {
                assert!(verify_inclusion(&leaf, position, size, &proof, &root).is_err());
            }
            let longer = [proof.as_slice(), &[other]].concat();
            assert_eq!(verify_inclusion(&leaf, index, size, &longer, &root), Err(ProofError::WrongLength));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(verify_inclusion(&leaf, index, size, shorter, &root).is_err());
            }
        }
        assert_eq!(verify_inclusion(&leaves[0], size, size, &[], &root), Err(ProofError::OutOfRange));
        assert!(inclusion_proof(nodes, size, size).is_err());
    }
}

#[test]
fn every_consistency_proof_of_small_trees_holds_and_no_other() {
    let leaves = numbered_leaves(70);
    let roots: Vec<_> = (0..=70).map(|size| root(&leaves[..size])).collect();
    let wrong = leaf_hash(b"another tree");
    for second in 0..=70u64 {
        for first in 0..=second {
            let (old, new) = (&roots[first as usize], &roots[second as usize]);
            let proof = consistency_proof(&mut leaves.as_slice(), first, second).unwrap();
            assert_eq!(verify_consistency(first, second, &proof, old, new), Ok(()));
            assert!(verify_consistency(first, second, &proof, &wrong, new).is_err());
            if first > 0 {
                assert!(verify_consistency(first, second, &proof, old, &wrong).is_err());
            }
            let longer = [proof.as_slice(), &[wrong]].concat();
            assert!(verify_consistency(first, second, &longer, old, new).is_err());
            for changed in 0..proof.len() {
                let mut mutated = proof.clone();
                mutated[changed].0[7] ^= 1;
                assert!(verify_consistency(first, second, &mutated, old, new).is_err());
            }
            if let Some((_, shorter)) = proof.split_last() {
                assert!(verify_consistency(first, second, shorter, old, new).is_err());
            }
        }
    }
    assert!(consistency_proof(&mut leaves.as_slice(), 5, 4).is_err());
    assert_eq!(verify_consistency(5, 4, &[], &roots[5], &roots[4]), Err(ProofError::OutOfRange));
}

#[test]
fn hashes_are_written_and_read_in_hex_and_base64() {
    let hash = leaf_hash(b"x");
    assert_eq!(hash.to_string().parse(), Ok(hash));
    assert_eq!(Hash::from_hex(&format!("{hash:x}")), Ok(hash));
    assert_eq!(Hash::EMPTY_ROOT.to_string(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    assert!(Hash::from_base64("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU").is_err());
    assert!(Hash::from_base64("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=").is_err());
    assert!(Hash::from_hex("00").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn incremental_root_is_the_naive_root(size in 0u64..2100) {
        let leaves = numbered_leaves(size);
        let mut appender = Appender::new();
        for leaf in &leaves {
            appender.push(*leaf);
        }
        prop_assert_eq!(appender.size(), size);
        prop_assert_eq!(appender.root(), naive_root(&leaves));
    }

    #[test]
    fn proofs_of_larger_trees_hold(size in 1u64..2100, at in any::<u64>(), before in any::<u64>()) {
        let leaves = numbered_leaves(size);
        let nodes = &mut leaves.as_slice();
        let (index, first) = (at % size, before % (size + 1));
        let root = naive_root(&leaves);

        let proof = inclusion_proof(nodes, index, size).unwrap();
        let leaf = leaves[index as usize];
        prop_assert_eq!(verify_inclusion(&leaf, index, size, &proof, &root), Ok(()));
        let mut mutated = leaf;
        mutated.0[(at % 32) as usize] ^= 0x10;
        prop_assert!(verify_inclusion(&mutated, index, size, &proof, &root).is_err());

        let old = naive_root(&leaves[..first as usize]);
        let proof = consistency_proof(nodes, first, size).unwrap();
        prop_assert_eq!(verify_consistency(first, size, &proof, &old, &root), Ok(()));
    }
}
