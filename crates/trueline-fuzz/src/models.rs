//! Files of models: whatever they are, they are read or refused, and what was read scores a row.

use trueline_trees::{Model, Rows, lightgbm};

/// Models that were trained for the tests of the scorer.
const TRAINED: [&[u8]; 7] = [
    include_bytes!("../../trueline-trees/tests/fixtures/dart.json"),
    include_bytes!("../../trueline-trees/tests/fixtures/dart.ubj"),
    include_bytes!("../../trueline-trees/tests/fixtures/categories.json"),
    include_bytes!("../../trueline-trees/tests/fixtures/categories.ubj"),
    include_bytes!("../../trueline-trees/tests/fixtures/linear.lightgbm.txt"),
    include_bytes!("../../trueline-trees/tests/fixtures/categories.lightgbm.txt"),
    include_bytes!("../../trueline-trees/tests/fixtures/forest.lightgbm.txt"),
];
/// Wider rows are not scored here: a file may say that it takes millions.
const WIDEST: usize = 1 << 12;

/// Reads the bytes as each kind of model, and scores a row by what was read.
pub fn models(bytes: &[u8]) {
    if let Ok(model) = Model::from_bytes(bytes)
        && model.num_feature() <= WIDEST
        && model.value_width() <= WIDEST
    {
        let row = vec![0.5; model.num_feature()];
        let mut out = vec![0.0; model.value_width()];
        if let Ok(rows) = Rows::new(&row, row.len()) {
            drop(model.predict(rows, &mut out));
        }
    }
    if let Ok(model) = lightgbm::Model::from_bytes(bytes)
        && model.num_feature() <= WIDEST
        && model.value_width() <= WIDEST
    {
        let row = vec![0.5; model.num_feature()];
        let mut out = vec![0.0; model.value_width()];
        if let Ok(rows) = Rows::new(&row, row.len()) {
            drop(model.predict(rows, &mut out));
        }
    }
}

/// The models to start from.
#[must_use]
pub fn model_seeds() -> Vec<Vec<u8>> {
    TRAINED.iter().map(|bytes| bytes.to_vec()).collect()
}
