//! Files of models: whatever they are, they are read or refused, and what was read scores rows, many as it does one.

use trueline_trees::{Model, Rows, ScoreError, lightgbm};

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
/// Enough rows for them to be decided as a block, and not one by one.
const ROWS: usize = 26;
/// What rows consist of, in turn: what is missing, on a threshold and beyond any.
const VALUES: [f32; 7] = [0.5, f32::NAN, -1.0, 0.0, 3.0, 1e30, -1e-36];

/// Reads the bytes as each kind of model, and scores rows by what was read.
///
/// # Panics
/// When rows are scored otherwise together than each alone.
pub fn models(bytes: &[u8]) {
    if let Ok(model) = Model::from_bytes(bytes) {
        score::<f32>(model.num_feature(), model.value_width(), |rows, out| model.predict(rows, out));
    }
    if let Ok(model) = lightgbm::Model::from_bytes(bytes) {
        score::<f64>(model.num_feature(), model.value_width(), |rows, out| model.predict(rows, out));
    }
}

/// Scores rows of so many columns together and each alone, unless they are too wide.
fn score<T: Copy + From<f32> + Into<f64>>(
    columns: usize,
    width: usize,
    predict: impl Fn(Rows<'_, T>, &mut [T]) -> Result<(), ScoreError>,
) {
    if !(1..=WIDEST).contains(&columns) || !(1..=WIDEST).contains(&width) {
        return;
    }
    let values: Vec<T> = VALUES.into_iter().cycle().take(ROWS * columns).map(T::from).collect();
    let scored = |values: &[T]| {
        let mut out = vec![T::from(0.0); values.len() / columns * width];
        let done = Rows::new(values, columns).and_then(|rows| predict(rows, &mut out));
        done.is_ok().then(|| out.into_iter().map(Into::into).collect::<Vec<f64>>())
    };
    let Some(together) = scored(&values) else { return };
    for (row, expected) in values.chunks(columns).zip(together.chunks(width)) {
        let alone = scored(row).unwrap_or_default();
        let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        assert!(alone.len() == width && alone.iter().zip(expected).all(same), "{alone:?} and {expected:?}");
    }
}

/// The models to start from.
#[must_use]
pub fn model_seeds() -> Vec<Vec<u8>> {
    TRAINED.iter().map(|bytes| bytes.to_vec()).collect()
}
