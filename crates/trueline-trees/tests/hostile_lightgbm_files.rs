//! LightGBM files that were damaged or made to harm: reading them gives a model or an error, never a panic, and a model
//! that was read scores. The models under `fixtures` come from LightGBM (`make_lightgbm_models.py --fixtures`).
#![allow(clippy::unwrap_used, clippy::expect_used)] // Clippy knows only `#[test]` functions as tests.

use proptest::prelude::*;
use trueline_trees::lightgbm::{Category, FeatureInfo, Model, Objective, Version};
use trueline_trees::{LoadError, Meaning, Rows, TreeProblem};

const CATEGORIES: &str = include_str!("fixtures/categories.lightgbm.txt");
const LINEAR: &str = include_str!("fixtures/linear.lightgbm.txt");
const FOREST: &str = include_str!("fixtures/forest.lightgbm.txt");
const FIXTURES: [&str; 3] = [CATEGORIES, LINEAR, FOREST];

/// One act of damage. Positions are fractions of the length, so that they make sense for every file.
#[derive(Debug, Clone)]
enum Damage {
    Byte(f64, u8),
    Bit(f64, u8),
    /// Replaces one digit by another, which gets past the reader of numbers.
    Digit(f64, u8),
    /// Replaces one word of an array.
    Word(f64, &'static str),
    /// Takes a whole line away.
    Line(f64),
    Cut(f64, f64),
    Repeat(f64, usize),
    Truncate(f64),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = 0.0..1.0_f64;
    let words = [
        "-1",
        "0",
        "1",
        "2",
        "-3",
        "9",
        "11",
        "2147483647",
        "-2147483648",
        "1e308",
        "inf",
        "nan",
        "1e-40",
        "",
    ];
    prop_oneof![
        2 => (at.clone(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        1 => (at.clone(), 0..8_u8).prop_map(|(at, bit)| Damage::Bit(at, bit)),
        6 => (at.clone(), b'0'..=b'9').prop_map(|(at, digit)| Damage::Digit(at, digit)),
        8 => (at.clone(), prop::sample::select(words.to_vec())).prop_map(|(at, word)| Damage::Word(at, word)),
        2 => at.clone().prop_map(Damage::Line),
        1 => (at.clone(), 0.0..0.05_f64).prop_map(|(at, length)| Damage::Cut(at, length)),
        1 => (at.clone(), 1..40_usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
        1 => at.prop_map(Damage::Truncate),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let place = |at: f64| ((bytes.len() as f64 * at) as usize).min(bytes.len() - 1);
    /// From the separator after `from` to the next one, both left out.
    fn between(bytes: &[u8], from: usize, is_end: fn(&u8) -> bool) -> Option<std::ops::Range<usize>> {
        let begin = from + bytes[from..].iter().position(is_end)? + 1;
        let length = bytes[begin..].iter().position(is_end)?;
        Some(begin..begin + length)
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
        Damage::Word(at, word) => {
            if let Some(range) = between(bytes, place(at), |b| matches!(b, b' ' | b'=' | b'\n')) {
                bytes.splice(range, word.bytes());
            }
        }
        Damage::Line(at) => {
            if let Some(range) = between(bytes, place(at), |b| *b == b'\n') {
                bytes.drain(range.start..range.end + 1);
            }
        }
        Damage::Cut(at, length) => {
            let range = place(at)..place(at + length);
            bytes.drain(range);
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

/// Without the line that says how long each tree is, so that damage gets past it.
fn without_sizes(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("tree_sizes=")).flat_map(|line| [line, "\n"]).collect()
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Scores a few rows of every sort, singly and together; the model may be any that was read.
fn score(model: &Model) -> Vec<f64> {
    let (columns, width) = (model.num_feature(), model.value_width());
    // Damaged numbers may be huge; a row of that width is the caller's to refuse.
    if columns > 10_000 || width > 10_000 {
        return Vec::new();
    }
    let sorts = [0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3.0, -1.0, 1e9, 0.5, 2.0, 1.0, 1e-40];
    let values: Vec<f64> = (0..sorts.len() * columns).map(|i| sorts[i % sorts.len()]).collect();
    let rows = Rows::new(&values, columns).unwrap();
    let mut together = vec![0.0; rows.len() * width];
    model.predict(rows, &mut together).unwrap();
    for (row, expected) in values.chunks(columns).zip(together.chunks(width)) {
        let mut alone = vec![0.0; width];
        model.predict(Rows::new(row, columns).unwrap(), &mut alone).unwrap();
        assert_eq!(bits(&alone), bits(expected));
    }
    assert!(model.heap_bytes() > 0);
    together
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_give_a_model_or_an_error(
        fixture in 0..FIXTURES.len(),
        sizes: bool,
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let text = FIXTURES[fixture];
        let mut bytes = if sizes { text.into() } else { without_sizes(text).into_bytes() };
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        if let Ok(model) = Model::from_bytes(&bytes) {
            score(&model);
        }
    }

    #[test]
    fn arbitrary_bytes_give_an_error(head in prop_oneof![Just("tree\n"), Just("tree\nversion=v4\n"), Just("")], rest: Vec<u8>) {
        let bytes = [head.as_bytes(), &rest].concat();
        prop_assert!(Model::from_bytes(&bytes).is_err());
    }
}

#[test]
fn a_file_cut_short_is_an_error_or_scores_the_same() {
    for fixture in FIXTURES {
        let whole = score(&Model::from_bytes(fixture.as_bytes()).unwrap());
        let end_of_trees = fixture.find("end of trees").unwrap() + "end of trees".len();
        for end in 0..fixture.len() {
            match Model::from_bytes(&fixture.as_bytes()[..end]) {
                Ok(model) => {
                    assert!(end >= end_of_trees, "cut at {end} of {}", fixture.len());
                    assert_eq!(bits(&score(&model)), bits(&whole), "cut at {end}");
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
    let error = Model::from_bytes(&CATEGORIES.as_bytes()[..600]).unwrap_err();
    assert!(matches!(error, LoadError::Truncated { offset: 600, .. }), "{error}");
    assert_eq!(error.code(), "trees.truncated");
}

#[test]
fn fixtures_tell_of_themselves() {
    let model = Model::from_bytes(CATEGORIES.as_bytes()).unwrap();
    assert_eq!(model.feature_names(), ["amount", "colour", "n"]);
    let colours = ["red", "green", "blue", "yellow"].map(|name| Category::Text(name.into()));
    assert_eq!(model.pandas_categories(), [colours.to_vec()]);
    assert_eq!(model.categories(1), Some(colours.as_slice()));
    assert_eq!((model.categories(0), model.categories(99)), (None, None));
    assert!(matches!(model.feature_infos()[0], FeatureInfo::Range(least, greatest) if least < greatest));
    assert!(matches!(&model.feature_infos()[1], FeatureInfo::Categories(codes) if codes.contains(&3)));
    assert_eq!((model.version(), model.objective(), model.num_class()), (Version::V4, Objective::Binary, 1));
    assert_eq!((model.meaning(), model.gives_probabilities()), (Meaning::Probability, true));
    assert_eq!((model.num_trees(), model.iterations(), model.value_width()), (2, 2, 1));
    assert!(model.parameters().contains(&("objective".into(), "binary".into())));
    assert_eq!((model.averages(), model.is_linear()), (false, false));

    let model = Model::from_bytes(LINEAR.as_bytes()).unwrap();
    assert_eq!((model.num_class(), model.num_trees(), model.iterations()), (3, 6, 2));
    assert_eq!((model.is_linear(), model.meaning()), (true, Meaning::ClassProbabilities));
    assert!(model.pandas_categories().is_empty());

    let model = Model::from_bytes(FOREST.as_bytes()).unwrap();
    assert_eq!((model.averages(), model.meaning(), model.iterations()), (true, Meaning::Score, 3));
}

/// The error after one replacement in a sound file.
fn refused(text: &str, from: &str, to: &str) -> LoadError {
    assert!(text.contains(from), "{from}");
    Model::from_bytes(without_sizes(&text.replacen(from, to, 1)).as_bytes()).unwrap_err()
}

#[test]
fn other_files_are_told_apart() {
    for (bytes, word) in [
        (b"".as_slice(), "empty"),
        (b"{\"name\":\"tree\"}", "dump_model"),
        (b"{L\0\0", "UBJSON"),
        (b"\x80\x04pickle", "pickle"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"trees of mine", "first line"),
    ] {
        let error = Model::from_bytes(bytes).unwrap_err();
        assert_eq!(error.code(), "trees.not_a_model");
        assert!(error.to_string().contains(word), "{error}");
    }
    let error = trueline_trees::Model::from_bytes(CATEGORIES.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("LightGBM"), "{error}");
}

#[test]
fn what_is_not_scored_is_refused_by_name() {
    for (from, to, word) in [
        ("version=v4", "version=v2", "`v2`"),
        ("objective=binary", "objective=weather", "`weather`"),
        ("binary sigmoid:1", "binary sigmoid:1 tilt:2", "`tilt:2`"),
        ("label_index=0", "label_index=0\nroots=7", "`roots`"),
        ("shrinkage=1", "shrinkage=1\nis_cubic=1", "`Tree=0.is_cubic`"),
    ] {
        let error = refused(CATEGORIES, from, to);
        assert_eq!(error.code(), "trees.unsupported", "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    for (from, to) in [
        ("num_class=1", "num_class=0"),
        ("num_class=1", "num_class=99999999"),
        ("num_class=1\n", "num_class=2\n"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=3"),
        ("num_class=1\n", "num_class=1\nnum_class=1\n"),
        ("max_feature_idx=2", "max_feature_idx=3"),
        ("max_feature_idx=2", "max_feature_idx=-1"),
        ("max_feature_idx=2", "max_feature_idx=4294967295"),
        ("feature_names=amount colour n", "feature_names=amount colour"),
        ("Tree=1", "Tree=7"),
        ("Tree=0", "Tree"),
        ("end of trees", "end of the trees"),
        ("pandas_categorical:[", "pandas_categorical:[["),
        ("end of parameters", "end of the parameters"),
    ] {
        refused(CATEGORIES, from, to);
    }
    refused(LINEAR, "num_class=3", "num_class=2");
    let error =
        Model::from_bytes(CATEGORIES.replacen("num_leaves=5", "num_leaves=05", 1).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("tree_sizes"), "{error}");
    let no_trees = &CATEGORIES[..CATEGORIES.find("tree_sizes").unwrap()];
    let error = Model::from_bytes(format!("{no_trees}\nend of trees\n").as_bytes()).unwrap_err();
    assert!(error.to_string().contains("without trees"), "{error}");
}

/// One tree of three leaves, with one line replaced.
fn tree_refused(key: &str, value: &str) -> LoadError {
    let lines = [
        ("num_leaves", "3"),
        ("num_cat", "1"),
        ("split_feature", "0 1"),
        ("threshold", "0.5 0"),
        ("decision_type", "2 1"),
        ("left_child", "1 -1"),
        ("right_child", "-3 -2"),
        ("leaf_value", "1 2 3"),
        ("cat_boundaries", "0 1"),
        ("cat_threshold", "5"),
        ("is_linear", "1"),
        ("leaf_const", "1 2 3"),
        ("num_features", "1 0 2"),
        ("leaf_features", "0  1 0"),
        ("leaf_coeff", "0.5  1 2"),
    ];
    let file = |changed: Option<(&str, &str)>| {
        let mut text = String::from(
            "tree\nversion=v4\nnum_class=1\nlabel_index=0\nmax_feature_idx=1\nfeature_names=a b\nfeature_infos=none 0:1\n\nTree=0\n",
        );
        for (key, value) in lines {
            let value = changed.filter(|(k, _)| *k == key).map_or(value, |(_, value)| value);
            text.push_str(&format!("{key}={value}\n"));
        }
        text + "shrinkage=1\n\n\nend of trees\n"
    };
    let sound = Model::from_bytes(file(None).as_bytes()).unwrap();
    let mut out = [0.0; 2];
    sound.predict(Rows::new(&[0.25, 0.0, 4.0, f64::NAN], 2).unwrap(), &mut out).unwrap();
    assert_eq!(out, [1.0 + 0.5 * 0.25, 3.0], "a linear leaf, and one whose feature is missing");
    Model::from_bytes(file(Some((key, value))).as_bytes()).unwrap_err()
}

#[test]
fn trees_that_are_none_are_refused() {
    let problem = |key: &str, value: &str| match tree_refused(key, value) {
        LoadError::Tree { tree: 0, problem } => problem,
        other => panic!("{other}"),
    };
    assert_eq!(problem("num_leaves", "0"), TreeProblem::Empty);
    assert_eq!(problem("left_child", "0 -1"), TreeProblem::SharedNode { node: 0, child: 0 });
    assert_eq!(problem("left_child", "1 1"), TreeProblem::SharedNode { node: 1, child: 1 });
    assert_eq!(problem("left_child", "-1 -2"), TreeProblem::Unreachable { node: 1 });
    assert_eq!(problem("left_child", "1 -2"), TreeProblem::SharedLeaf { node: 1, leaf: 1 });
    assert_eq!(problem("left_child", "1 -4"), TreeProblem::LeafOutOfRange { node: 1, leaf: 3, leaves: 3 });
    assert_eq!(problem("left_child", "2 -1"), TreeProblem::ChildOutOfRange { node: 0, child: 2, nodes: 2 });
    assert_eq!(
        problem("left_child", "9223372036854775807 -1"),
        TreeProblem::ChildOutOfRange { node: 0, child: i64::MAX, nodes: 2 }
    );
    assert_eq!(
        problem("left_child", "-9223372036854775808 -1"),
        TreeProblem::LeafOutOfRange { node: 0, leaf: i64::MAX, leaves: 3 }
    );
    assert_eq!(
        problem("split_feature", "0 2"),
        TreeProblem::SplitIndex { node: 1, feature: 2, num_feature: 2 }
    );
    assert_eq!(
        problem("split_feature", "-1 1"),
        TreeProblem::SplitIndex { node: 0, feature: -1, num_feature: 2 }
    );
    assert_eq!(problem("threshold", "nan 0"), TreeProblem::NanThreshold { node: 0 });
    assert_eq!(
        problem("leaf_value", "1 2 inf"),
        TreeProblem::NonFiniteLeaf { node: 2, value: f64::INFINITY }
    );
    for value in ["12", "16", "-2", "13", "-128"] {
        let value = format!("{value} 1");
        assert!(
            matches!(problem("decision_type", &value), TreeProblem::DecisionType { node: 0, .. }),
            "{value}"
        );
    }
    for threshold in ["0.5 1", "0.5 -1", "0.5 0.5", "0.5 1e300", "0.5 inf"] {
        assert!(
            matches!(problem("threshold", threshold), TreeProblem::Categories { node: 1, .. }),
            "{threshold}"
        );
    }
    assert!(matches!(problem("decision_type", "1 1"), TreeProblem::Categories { node: 0, .. }));
}

#[test]
fn arrays_of_the_wrong_length_or_kind_are_refused() {
    for (key, value) in [
        ("num_leaves", "2147483647"),
        ("num_leaves", "-3"),
        ("num_cat", "2147483647"),
        ("num_cat", "-1"),
        ("num_cat", "99999999999999999999"),
        ("cat_boundaries", "0 4294967295"),
        ("cat_boundaries", "1 1"),
        ("cat_boundaries", "0 -1"),
        ("cat_threshold", "4294967296"),
        ("cat_threshold", ""),
        ("split_feature", "0"),
        ("split_feature", "0 1 0"),
        ("leaf_value", "1 2"),
        ("leaf_value", "1 2 three"),
        ("is_linear", "2"),
        ("leaf_const", "1 2"),
        ("leaf_const", "1 2 nan"),
        ("leaf_coeff", "0.5 inf 2"),
        ("num_features", "1 0 4294967295"),
        ("num_features", "4294967295 4294967295 4294967295"),
        ("leaf_features", "0 1 2"),
        ("leaf_features", "0 1"),
    ] {
        let error = tree_refused(key, value);
        assert!(!matches!(error, LoadError::Tree { .. }), "{key}={value}: {error}");
    }
}

/// A file may be small and still say that it is large.
#[test]
fn memory_is_taken_for_what_is_there_and_not_for_what_is_said() {
    let many = "2147483647 ".repeat(1000);
    for (key, value) in
        [("num_leaves", "2147483647"), ("cat_boundaries", many.as_str()), ("num_features", &many)]
    {
        assert!(tree_refused(key, value).to_string().len() < 300);
    }
}
