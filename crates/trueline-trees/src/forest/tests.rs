//! Blocks of rows against the walk, to the bit, over forests and rows of any kind that both take.

use super::*;
use proptest::prelude::*;
use std::borrow::Cow;

/// What comparisons trip over, and what lies beside it.
const ODD: [f32; 12] = [
    0.0,
    -0.0,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    1e-45,
    -1e-45,
    1.0,
    1.000_000_1,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
];

fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        prop::sample::select(ODD.to_vec()),
        any::<f32>().prop_map(|x| if x.is_nan() { 0.5 } else { x }),
        (-300_i16..300).prop_map(|x| f32::from(x) / 8.0),
    ]
}

fn value() -> impl Strategy<Value = f32> {
    prop_oneof![6 => number(), 1 => Just(f32::NAN)]
}

/// What becomes of a node, if the tree has room for two more leaves: feature, where NaN goes, threshold.
type Split = (bool, u32, bool, f32);

fn splits(features: u32, most: usize) -> impl Strategy<Value = Vec<Split>> {
    prop::collection::vec((prop::bool::weighted(0.8), 0..features, any::<bool>(), number()), 0..most)
}

/// Grows a tree breadth first; what no split is left for is a leaf.
fn grown(splits: &[Split]) -> BreadthFirst<'static> {
    grown_with(splits, 2 * block::MOST_LEAVES)
}

fn grown_with(splits: &[Split], most: usize) -> BreadthFirst<'static> {
    let mut splits = splits.iter();
    let mut tree =
        BreadthFirst { nodes: Vec::new(), left: Vec::new(), depth: 0, vectors: Cow::Borrowed(&[]) };
    let mut depths = vec![0];
    while tree.nodes.len() < depths.len() {
        let depth = depths[tree.nodes.len()];
        tree.depth = depth;
        let split = splits.next().filter(|split| split.0 && depths.len() + 2 < most);
        let Some(&(_, feature, default_left, threshold)) = split else {
            let leaf = (tree.nodes.len() as f32).sin() * 10.0_f32.powi(tree.nodes.len() as i32 % 9 - 4);
            tree.nodes.push(Node::Leaf(leaf));
            tree.left.push(0);
            continue;
        };
        tree.nodes.push(Node::Numeric { feature, default_left, threshold });
        tree.left.push(depths.len() as u32);
        depths.extend([depth + 1; 2]);
    }
    tree
}

/// The sums of both ways, which begin with the same intercepts.
fn both_ways(forests: &[Vec<Split>], features: usize, rows: &[f32], groups: usize) -> [Vec<u32>; 2] {
    let planted: Vec<_> = (0..)
        .zip(forests)
        .map(|(i, splits)| Planted { tree: grown(splits), group: i % groups as u32, leaf: |x| x })
        .collect();
    let forest = Forest::plant(&planted, features);
    assert!(forest.blocks.is_some());
    let sums: Vec<f32> = (0..rows.len() / features * groups).map(|i| (i % groups) as f32 + 0.1).collect();
    let (mut blocks, mut walked) = (sums.clone(), sums);
    forest.add(0..planted.len(), rows, features, &mut blocks, groups);
    forest.walk(0..planted.len(), rows, features, &mut walked, groups);
    [blocks, walked].map(|sums| sums.into_iter().map(f32::to_bits).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn blocks_of_rows_score_as_the_walk_does(
        forests in prop::collection::vec(splits(3, 120), 1..6),
        rows in prop::collection::vec([value(), value(), value()], 16..150),
        groups in 1_usize..4,
    ) {
        let [blocks, walked] = both_ways(&forests, 3, rows.as_flattened(), groups);
        prop_assert_eq!(blocks, walked);
    }
}

#[test]
fn more_thresholds_than_a_byte_tells_apart_take_codes_of_two() {
    let splits = |tree: usize| (0..200).map(move |i| (true, 0, i % 3 == 0, (tree + 5 * i) as f32 / 7.0));
    let forests: Vec<Vec<Split>> = (0..4).map(|tree| splits(tree).collect()).collect();
    let trees: Vec<_> = forests.iter().map(|s| Planted { tree: grown(s), group: 0, leaf: |x| x }).collect();
    assert!(matches!(Blocks::of(&trees), Some(Blocks::Large(_))));
    let rows: Vec<f32> = (0..1_000).map(|i| if i % 17 == 0 { f32::NAN } else { i as f32 / 7.0 }).collect();
    let [blocks, walked] = both_ways(&forests, 1, &rows, 1);
    assert_eq!(blocks, walked);
}

#[test]
fn a_tree_with_more_leaves_than_a_byte_tells_apart_is_walked() {
    let of = |splits: usize| {
        let tree = grown_with(&vec![(true, 0, true, 0.5); splits], usize::MAX);
        Blocks::of(&[Planted { tree, group: 0, leaf: |x| x }]).is_some()
    };
    assert!(of(0) && of(255));
    assert!(!of(256));
}
