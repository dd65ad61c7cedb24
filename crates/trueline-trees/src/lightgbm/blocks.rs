//! Many rows at once, where all splits are of numbers and all leaves are constants: LightGBM's codes in lanes, for `block`.

use super::columns::Columns;
use super::tree::{Node, Tree};
use crate::block::{self, Code, Lane, Places, Step, TooLarge, Trees};

/// The trees of a model as blocks of rows are scored with them, with codes of one byte or of two.
#[derive(Debug)]
pub(super) enum Blocks {
    Small(Trees<i8, f64>),
    Large(Trees<i16, f64>),
}

impl Blocks {
    /// Tree `i` adds to output `i % outputs`. None where a tree has categories, linear leaves or too many leaves.
    pub(super) fn of(trees: &[Tree], columns: &Columns, outputs: usize) -> Option<Self> {
        if trees.iter().any(|tree| !tree.formulas.is_empty()) {
            return None;
        }
        match columns.most() {
            most if most < i8::CODES => planted(trees, columns, outputs).ok().map(Self::Small),
            _ => planted(trees, columns, outputs).ok().map(Self::Large),
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Small(trees) => trees.heap_bytes(),
            Self::Large(trees) => trees.heap_bytes(),
        }
    }

    /// Adds the trees `range` to `sums`, which has `groups` numbers for each row of `rows`, `width` numbers per row. Answers
    /// how many rows that was done for: those at the end that are too few for a block are left.
    pub(super) fn add(
        &self,
        range: std::ops::Range<usize>,
        columns: &Columns,
        (rows, width): (&[f64], usize),
        (sums, groups): (&mut [f64], usize),
    ) -> usize {
        match self {
            Self::Small(trees) => added(trees, range, columns, (rows, width), (sums, groups)),
            Self::Large(trees) => added(trees, range, columns, (rows, width), (sums, groups)),
        }
    }
}

fn planted<C: Code>(planted: &[Tree], columns: &Columns, outputs: usize) -> Result<Trees<C, f64>, TooLarge> {
    let mut trees = Trees::new();
    for (number, tree) in planted.iter().enumerate() {
        let step = |(node, left): (&Node, &u32)| match *node {
            Node::Leaf(leaf) => Ok(Step::Leaf(tree.values[leaf])),
            Node::Numeric { feature, threshold, missing } => {
                let (column, rank) = columns.numeric(feature, missing, threshold);
                Ok(Step::Split { column, rank, left: *left as usize })
            }
            Node::Categorical { .. } => Err(TooLarge),
        };
        let steps = tree.nodes.iter().zip(&tree.left).map(step).collect::<Result<Vec<_>, _>>()?;
        trees.push(&steps, number % outputs)?;
    }
    Ok(trees)
}

fn added<C: Code>(
    trees: &Trees<C, f64>,
    range: std::ops::Range<usize>,
    columns: &Columns,
    (rows, width): (&[f64], usize),
    (sums, groups): (&mut [f64], usize),
) -> usize {
    let least = block::FEWEST_ROWS * width;
    if rows.len() < least {
        return 0;
    }
    let mut places = Places::new();
    let mut codes: Vec<Lane<C>> = vec![Lane::of(C::default()); columns.width()];
    let blocks = rows.chunks(block::ROWS * width).zip(sums.chunks_mut(block::ROWS * groups));
    let mut done = 0;
    for (rows, sums) in blocks.take_while(|(rows, _)| rows.len() >= least) {
        columns.encode_lanes(rows, width, &mut codes);
        trees.add(range.clone(), &codes, &mut places, sums, groups);
        done += rows.len() / width;
    }
    done
}

#[cfg(test)]
mod tests {
    use crate::Rows;
    use crate::lightgbm::Model;

    const FOREST: &[u8] = include_bytes!("../../tests/fixtures/forest.lightgbm.txt");
    const CATEGORIES: &[u8] = include_bytes!("../../tests/fixtures/categories.lightgbm.txt");
    const LINEAR: &[u8] = include_bytes!("../../tests/fixtures/linear.lightgbm.txt");

    #[test]
    fn rows_score_the_same_in_a_block_and_walked_with_what_is_missing_among_them() {
        let model = Model::from_bytes(FOREST).unwrap();
        assert!(model.forest.scores_blocks());
        // Two blocks and a rest that is too small for one; numbers on thresholds, zeros and NaN in each column.
        let numbers = [-2.164_491_357_152_103, 1e-35, 0.0, f64::NAN, -1.3, 8.0, -0.0, f64::INFINITY, 1.2];
        let columns = model.num_feature();
        let values: Vec<f64> =
            (0..150 * columns).map(|i| numbers[(i + i / numbers.len()) % numbers.len()]).collect();
        let mut together = vec![0.0; 150];
        model.predict(Rows::new(&values, columns).unwrap(), &mut together).unwrap();
        for (row, expected) in values.chunks(columns).zip(together) {
            let mut alone = [0.0];
            model.predict(Rows::new(row, columns).unwrap(), &mut alone).unwrap();
            assert_eq!(alone[0].to_bits(), expected.to_bits(), "{row:?}");
        }
    }

    #[test]
    fn what_is_no_split_of_numbers_or_no_plain_leaf_is_walked() {
        for bytes in [CATEGORIES, LINEAR] {
            assert!(!Model::from_bytes(bytes).unwrap().forest.scores_blocks());
        }
    }
}
