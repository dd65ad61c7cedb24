//! Files that were damaged or made to harm: reading them gives a model or an error, never a panic, and a model that
//! was read scores. The models under `fixtures` come from XGBoost (`make_models.py --fixtures`).
#![allow(clippy::unwrap_used, clippy::expect_used)] // Clippy knows only `#[test]` functions as tests.

use proptest::prelude::*;
use trueline_trees::{Booster, Categories, FeatureType, LoadError, Meaning, Model, Rows};

const FIXTURES: [&[u8]; 4] = [
    include_bytes!("fixtures/categories.json"),
    include_bytes!("fixtures/categories.ubj"),
    include_bytes!("fixtures/dart.json"),
    include_bytes!("fixtures/dart.ubj"),
];

/// One act of damage. Positions are fractions of the length, so that they make sense for every file.
#[derive(Debug, Clone)]
enum Damage {
    Byte(f64, u8),
    Bit(f64, u8),
    /// Replaces one digit by another, which keeps JSON readable and so gets past the reader.
    Digit(f64, u8),
    /// Replaces a big-endian i32 in UBJSON.
    Number(f64, i32),
    Cut(f64, f64),
    Repeat(f64, usize),
    Truncate(f64),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = 0.0..1.0_f64;
    let small = prop_oneof![Just(-1), Just(0), Just(i32::MAX), Just(i32::MIN), -3..30_i32];
    prop_oneof![
        3 => (at.clone(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        2 => (at.clone(), 0..8_u8).prop_map(|(at, bit)| Damage::Bit(at, bit)),
        6 => (at.clone(), b'0'..=b'9').prop_map(|(at, digit)| Damage::Digit(at, digit)),
        6 => (at.clone(), small).prop_map(|(at, number)| Damage::Number(at, number)),
        1 => (at.clone(), 0.0..0.05_f64).prop_map(|(at, length)| Damage::Cut(at, length)),
        1 => (at.clone(), 1..40_usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
        1 => at.prop_map(Damage::Truncate),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let place = |at: f64| ((bytes.len() as f64 * at) as usize).min(bytes.len().saturating_sub(1));
    if bytes.is_empty() {
        return;
    }
    match *damage {
        Damage::Byte(at, byte) => {
            let i = place(at);
            bytes[i] = byte;
        }
        Damage::Bit(at, bit) => {
            let i = place(at);
            bytes[i] ^= 1 << bit;
        }
        Damage::Digit(at, digit) => {
            let from = place(at);
            if let Some(found) = bytes[from..].iter_mut().find(|b| b.is_ascii_digit()) {
                *found = digit;
            }
        }
        Damage::Number(at, number) => {
            // Of a typed array of i32, for those are the children, features and categories.
            let from = place(at);
            let head = b"[$l#L";
            let Some(array) = bytes[from..].windows(head.len()).position(|w| w == head) else { return };
            let first = from + array + head.len() + 8;
            let skip = 4 * ((at * 1e6) as usize % 7);
            if let Some(slot) = bytes.get_mut(first + skip..first + skip + 4) {
                slot.copy_from_slice(&number.to_be_bytes());
            }
        }
        Damage::Cut(at, length) => {
            let from = place(at);
            let to = place(at + length);
            bytes.drain(from..to);
        }
        Damage::Repeat(at, length) => {
            let from = place(at);
            let slice = bytes[from..(from + length).min(bytes.len())].to_vec();
            bytes.splice(from..from, slice);
        }
        Damage::Truncate(at) => {
            let length = place(at);
            bytes.truncate(length);
        }
    }
}

/// Scores a few rows of every sort, singly and together; the model may be any that was read.
fn score(model: &Model) {
    // A damaged `num_feature` may be huge; a row of that width is the caller's to refuse.
    if model.num_feature() > 10_000 || model.margin_width() > 10_000 {
        return;
    }
    let columns = model.num_feature();
    let sorts = [0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3.0, -1.0, 1e9, 0.5, 2.0, 1.0, 1e-40];
    let values: Vec<f32> = (0..sorts.len() * columns).map(|i| sorts[i % sorts.len()]).collect();
    let rows = Rows::new(&values, columns).unwrap();
    let mut together = vec![0.0; rows.len() * model.value_width()];
    model.predict(rows, &mut together).unwrap();
    for (row, expected) in values.chunks(columns).zip(together.chunks(model.value_width())) {
        let mut alone = vec![0.0; model.value_width()];
        model.predict(Rows::new(row, columns).unwrap(), &mut alone).unwrap();
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&alone), bits(expected));
    }
    assert!(model.heap_bytes() > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_give_a_model_or_an_error(
        fixture in 0..FIXTURES.len(),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let mut bytes = FIXTURES[fixture].to_vec();
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        if let Ok(model) = Model::from_bytes(&bytes) {
            score(&model);
        }
    }

    #[test]
    fn arbitrary_bytes_give_an_error(head in prop_oneof![Just("{"), Just("{L"), Just("{\""), Just("")], rest: Vec<u8>) {
        let bytes = [head.as_bytes(), &rest].concat();
        prop_assert!(Model::from_bytes(&bytes).is_err());
    }
}

#[test]
fn every_truncation_is_an_error() {
    for fixture in FIXTURES {
        for end in 0..fixture.len() {
            assert!(Model::from_bytes(&fixture[..end]).is_err(), "cut at {end} of {}", fixture.len());
        }
    }
    let error = Model::from_bytes(&FIXTURES[1][..1000]).unwrap_err();
    assert!(matches!(error, LoadError::Truncated { offset: 1000, .. }), "{error}");
    assert_eq!(error.code(), "trees.truncated");
}

#[test]
fn fixtures_tell_of_themselves() {
    for fixture in &FIXTURES[..2] {
        let model = Model::from_bytes(fixture).unwrap();
        assert_eq!(model.feature_names().unwrap(), ["amount", "colour", "n"]);
        assert_eq!(
            model.feature_types().unwrap(),
            [FeatureType::Float, FeatureType::Categorical, FeatureType::Int]
        );
        let colours = ["red", "green", "blue", "yellow"].map(str::to_owned).to_vec();
        assert_eq!(model.categories(1), Some(&Categories::Names(colours)));
        assert_eq!((model.categories(0), model.categories(99)), (None, None));
        assert_eq!((model.meaning(), model.gives_probabilities()), (Meaning::Probability, true));
        assert_eq!(model.best_iteration(), Some(1));
    }
    for fixture in &FIXTURES[2..] {
        let model = Model::from_bytes(fixture).unwrap();
        assert_eq!(model.booster(), Booster::Dart);
        assert_eq!(
            (model.num_class(), model.margin_width(), model.num_trees(), model.iterations()),
            (3, 3, 9, 3)
        );
        assert_eq!(model.meaning(), Meaning::ClassProbabilities);
    }
}
