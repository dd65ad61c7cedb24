//! What the loader refuses, error by error, and what it reads. Models are small and written by hand here;
//! real ones are read in `tests/`.

use super::*;
use crate::error::TreeProblem;
use crate::{Rows, ScoreError};
use serde_json::{Value as Json, json};

/// One tree: feature 0 below 1.5 gives -1 (also when missing), else 2.
fn stump() -> Json {
    json!({
        "id": 0, "tree_param": {"num_nodes": "3", "size_leaf_vector": "1"},
        "left_children": [1, -1, -1], "right_children": [2, -1, -1], "parents": [i32::MAX, 0, 0],
        "split_indices": [0, 0, 0], "split_conditions": [1.5, -1.0, 2.0], "default_left": [1, 0, 0],
        "split_type": [0, 0, 0], "categories_nodes": [], "categories_segments": [], "categories_sizes": [],
        "categories": [],
    })
}

fn model_of(trees: &[Json]) -> Json {
    let count = trees.len();
    json!({"version": [3, 2, 0], "learner": {
        "attributes": {}, "feature_names": [], "feature_types": [],
        "learner_model_param": {"base_score": "[5E-1]", "num_feature": "2", "num_class": "0", "num_target": "1"},
        "objective": {"name": "reg:squarederror"},
        "gradient_booster": {"name": "gbtree", "model": {
            "gbtree_model_param": {"num_trees": count.to_string(), "num_parallel_tree": "1"},
            "iteration_indptr": (0..=count).collect::<Vec<_>>(), "tree_info": vec![0; count], "trees": trees,
        }},
    }})
}

fn parse(json: &Json) -> Result<Model, LoadError> {
    load(json.to_string().as_bytes())
}

fn margin(model: &Model, row: &[f32]) -> f32 {
    let mut out = [0.0];
    model.predict_margin(Rows::new(row, row.len()).unwrap(), &mut out).unwrap();
    out[0]
}

/// The error after setting the value at `pointer` of a sound model of one stump.
fn refused(pointer: &str, value: Json) -> LoadError {
    let mut json = model_of(&[stump()]);
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    json.pointer_mut(parent).unwrap()[key] = value;
    parse(&json).unwrap_err()
}

fn tree_refused(change: impl FnOnce(&mut Json)) -> TreeProblem {
    let mut bad = stump();
    bad["id"] = json!(1);
    change(&mut bad);
    match parse(&model_of(&[stump(), bad])).unwrap_err() {
        LoadError::Tree { tree: 1, problem } => problem,
        other => panic!("{other}"),
    }
}

/// Five nodes: 0 → (1, 2), 2 → (3, 4).
fn five_nodes(tree: &mut Json) {
    tree["tree_param"]["num_nodes"] = json!("5");
    tree["left_children"] = json!([1, -1, 3, -1, -1]);
    tree["right_children"] = json!([2, -1, 4, -1, -1]);
    for key in ["split_indices", "split_conditions", "default_left", "split_type", "parents"] {
        tree[key] = json!([0, 0, 0, 0, 0]);
    }
}

fn five_nodes_with(left: Json, right: Json) -> TreeProblem {
    tree_refused(|tree| {
        five_nodes(tree);
        tree["left_children"] = left;
        tree["right_children"] = right;
    })
}

fn categorical(tree: &mut Json, categories: Json) {
    tree["split_type"] = json!([1, 0, 0]);
    tree["categories_nodes"] = json!([0]);
    tree["categories_segments"] = json!([0]);
    tree["categories_sizes"] = json!([categories.as_array().unwrap().len()]);
    tree["categories"] = categories;
}

const MODEL: &str = "/learner/gradient_booster/model";
const PARAM: &str = "/learner/learner_model_param";

#[test]
fn a_stump_scores() {
    let model = parse(&model_of(&[stump()])).unwrap();
    assert_eq!(margin(&model, &[1.0, 0.0]), -0.5);
    assert_eq!(margin(&model, &[1.5, 0.0]), 2.5);
    assert_eq!(margin(&model, &[f32::NAN, 0.0]), -0.5);
    assert_eq!(model.written_by(), Some([3, 2, 0]));
}

#[test]
fn trees_stand_where_their_ids_say() {
    let mut second = stump();
    second["id"] = json!(1);
    second["split_conditions"] = json!([1.5, 1e9, 1e9]);
    let in_order = parse(&model_of(&[stump(), second.clone()])).unwrap();
    let swapped = parse(&model_of(&[second, stump()])).unwrap();
    let first = |model: &Model| {
        let mut out = [0.0];
        model
            .iteration_range(0, 1)
            .unwrap()
            .predict_margin(Rows::new(&[0.0, 0.0], 2).unwrap(), &mut out)
            .unwrap();
        out[0]
    };
    assert_eq!((first(&in_order), first(&swapped)), (-0.5, -0.5));
    let error = parse(&model_of(&[stump(), stump()])).unwrap_err();
    assert!(matches!(error, LoadError::Inconsistent { .. }), "{error}");
}

#[test]
fn old_files_with_a_scalar_intercept_booleans_and_no_rounds_load() {
    let mut json = model_of(&[stump()]);
    json["learner"]["learner_model_param"]["base_score"] = json!("5E-1");
    let param = json["learner"]["learner_model_param"].as_object_mut().unwrap();
    param.remove("num_target");
    let model = json["learner"]["gradient_booster"]["model"].as_object_mut().unwrap();
    model.remove("iteration_indptr");
    let tree = model["trees"][0].as_object_mut().unwrap();
    tree["default_left"] = json!([true, false, false]);
    for key in ["split_type", "categories_nodes", "categories_segments", "categories_sizes", "categories"] {
        tree.remove(key);
    }
    let model = parse(&json).unwrap();
    assert_eq!(margin(&model, &[f32::NAN, 0.0]), -0.5);
    assert_eq!(model.iterations(), 1);
}

#[test]
fn a_tree_too_large_for_small_nodes_scores() {
    // A chain: node 2i splits feature 0 at i; left is a leaf worth i, right goes on.
    let splits = 40_000;
    let nodes = 2 * splits + 1;
    let of = |f: &dyn Fn(usize) -> f64| (0..nodes).map(f).collect::<Vec<_>>();
    let inner = |n: usize| n.is_multiple_of(2) && n < nodes - 1;
    let mut tree = stump();
    tree["tree_param"]["num_nodes"] = json!(nodes.to_string());
    let child = |n: usize, side: usize| if inner(n) { (n + side) as i64 } else { -1 };
    tree["left_children"] = json!((0..nodes).map(|n| child(n, 1)).collect::<Vec<_>>());
    tree["right_children"] = json!((0..nodes).map(|n| child(n, 2)).collect::<Vec<_>>());
    tree["split_conditions"] = json!(of(&|n| (n / 2) as f64));
    for key in ["split_indices", "default_left", "split_type", "parents"] {
        tree[key] = json!(vec![0; nodes]);
    }
    let model = parse(&model_of(&[tree])).unwrap();
    for x in [-1.0_f32, 0.0, 17.5, 39_998.0, 1e9] {
        let leaf = (x.max(-1.0) + 1.0).floor().min(40_000.0);
        assert_eq!(margin(&model, &[x, 0.0]), leaf + 0.5, "{x}");
    }
    let rows: Vec<f32> = (0..20).flat_map(|i| [i as f32, 0.0]).collect();
    let mut out = [0.0; 20];
    model.predict_margin(Rows::new(&rows, 2).unwrap(), &mut out).unwrap();
    assert_eq!(out, std::array::from_fn(|i| i as f32 + 1.5));
}

#[test]
fn other_files_are_named() {
    for (bytes, word) in [
        (b"".as_slice(), "empty"),
        (b"\x80\x04\x95", "pickle"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PK\x03\x04", "zip"),
        (b"binf\0\0", "old binary"),
        (b"tree\nversion=v4", "LightGBM"),
        (b"\x7fELF", "unknown"),
    ] {
        let error = load(bytes).unwrap_err();
        assert!(matches!(error, LoadError::NotAModel { .. }) && error.to_string().contains(word), "{error}");
    }
}

#[test]
fn unsupported_models_say_what_they_are_and_what_to_do() {
    let without_leaves = two_outputs(|tree| {
        tree.as_object_mut().unwrap().remove("leaf_weights");
    });
    let mut dart = two_outputs(|_| ());
    let booster = dart.pointer_mut("/learner/gradient_booster").unwrap();
    *booster = json!({"name": "dart", "gbtree": booster.clone(), "weight_drop": [1.0]});
    let mut both = model_of(&[stump()]);
    both.pointer_mut(PARAM).unwrap()["num_class"] = json!("3");
    both.pointer_mut(PARAM).unwrap()["num_target"] = json!("2");
    for (error, word) in [
        (refused("/learner/objective/name", json!("survival:cox")), "survival:cox"),
        (refused("/learner/gradient_booster/name", json!("gblinear")), "gblinear"),
        (refused("/learner/gradient_booster/name", json!("gbforest")), "gbforest"),
        (refused("/learner/feature_types", json!(["float", "ts"])), "`ts`"),
        (parse(&model_of(&[])).unwrap_err(), "without trees"),
        (parse(&both).unwrap_err(), "several targets"),
        (parse(&without_leaves).unwrap_err(), "`leaf_weights`"),
        (parse(&dart).unwrap_err(), "dart"),
    ] {
        assert_eq!(error.code(), "trees.unsupported");
        let text = error.to_string();
        assert!(text.contains(word) && text.contains("; "), "{text}");
    }
}

/// A model of two outputs whose one tree adds to both: (-1, 10) below 1.5, else (2, 20).
fn two_outputs(change: impl FnOnce(&mut Json)) -> Json {
    let mut tree = stump();
    tree["tree_param"]["size_leaf_vector"] = json!("2");
    tree["right_children"] = json!([2, 1, 0]);
    tree["leaf_weights"] = json!([2.0, 20.0, -1.0, 10.0]);
    change(&mut tree);
    let mut json = model_of(&[tree]);
    json.pointer_mut(PARAM).unwrap()["num_target"] = json!("2");
    json
}

#[test]
fn leaves_may_hold_a_number_for_each_output() {
    let model = parse(&two_outputs(|_| ())).unwrap();
    let mut out = [0.0; 6];
    model.predict(Rows::new(&[1.0, 0.0, 1.5, 0.0, f32::NAN, 0.0], 2).unwrap(), &mut out).unwrap();
    assert_eq!(out, [-0.5, 10.5, 2.5, 20.5, -0.5, 10.5]);
}

#[test]
fn vectors_of_leaves_that_do_not_fit_are_refused() {
    for (key, value) in [
        ("right_children", json!([2, 2, 0])),
        ("right_children", json!([2, -1, 0])),
        ("leaf_weights", json!([2.0, 20.0, -1.0])),
        ("leaf_weights", json!([])),
        ("tree_param", json!({"num_nodes": "3", "size_leaf_vector": "3"})),
    ] {
        assert!(parse(&two_outputs(|tree| tree[key] = value.clone())).is_err(), "{key}: {value}");
    }
    let infinite = two_outputs(|tree| tree["leaf_weights"] = json!([0.0, 0.0, "WORD", 0.0]));
    let text = infinite.to_string().replace("\"WORD\"", "Infinity");
    let error = load(text.as_bytes()).unwrap_err();
    assert!(
        matches!(error, LoadError::Tree { problem: TreeProblem::NonFiniteLeaf { node: 1, .. }, .. }),
        "{error}"
    );
    let first = two_outputs(|_| ()).pointer(&format!("{MODEL}/trees/0")).unwrap().clone();
    let mut second = stump();
    second["id"] = json!(1);
    let mut mixed = model_of(&[first, second]);
    mixed.pointer_mut(PARAM).unwrap()["num_target"] = json!("2");
    assert!(parse(&mixed).unwrap_err().to_string().contains("1 of 2 trees"));
}

#[test]
fn parameters_out_of_bounds_are_refused() {
    for (key, value) in [
        ("num_feature", "0"),
        ("num_feature", "-1"),
        ("num_feature", "99999999999"),
        ("num_feature", "two"),
        ("num_class", "1000000"),
        ("num_target", "0"),
        ("base_score", "[NaN]"),
        ("base_score", "[]"),
        ("base_score", "[inf]"),
    ] {
        let error = refused(&format!("{PARAM}/{key}"), json!(value));
        assert!(matches!(error, LoadError::BadNumber { .. }), "{key} {value}: {error}");
    }
    let error = refused(&format!("{PARAM}/base_score"), json!("[1E0,2E0]"));
    assert_eq!(
        error,
        LoadError::Length { path: "learner.learner_model_param.base_score".into(), expected: 1, found: 2 }
    );
    let mut json = model_of(&[stump()]);
    json["learner"]["objective"]["name"] = json!("count:poisson");
    json.pointer_mut(PARAM).unwrap()["base_score"] = json!("[-1E0]");
    assert!(matches!(parse(&json), Err(LoadError::Inconsistent { .. })));
}

#[test]
fn parts_that_contradict_each_other_are_refused() {
    for (pointer, value) in [
        (format!("{MODEL}/tree_info"), json!([0, 0])),
        (format!("{MODEL}/gbtree_model_param"), json!({"num_trees": "2"})),
        ("/learner/feature_names".into(), json!(["a"])),
    ] {
        let error = refused(&pointer, value);
        assert!(matches!(error, LoadError::Length { .. }), "{pointer}: {error}");
    }
    for (pointer, value) in [
        (format!("{MODEL}/tree_info"), json!([1])),
        (format!("{MODEL}/iteration_indptr"), json!([0, 2])),
        (format!("{MODEL}/iteration_indptr"), json!([])),
        ("/version".into(), json!([3, 2])),
    ] {
        let error = refused(&pointer, value);
        assert!(matches!(error, LoadError::Inconsistent { .. }), "{pointer}: {error}");
    }
    assert!(matches!(refused(&format!("{MODEL}/trees"), json!("x")), LoadError::WrongType { .. }));
    assert!(matches!(refused("/learner/objective", json!({})), LoadError::Missing { .. }));
}

#[test]
fn dart_needs_a_finite_weight_per_tree() {
    let with = |weights: Json| {
        let mut json = model_of(&[stump()]);
        let gbtree = json["learner"]["gradient_booster"].take();
        json["learner"]["gradient_booster"] =
            json!({"name": "dart", "gbtree": gbtree, "weight_drop": weights});
        parse(&json)
    };
    assert_eq!(margin(&with(json!([0.5])).unwrap(), &[2.0, 0.0]), 1.5);
    assert!(matches!(with(json!([])), Err(LoadError::Length { .. })));
    assert!(matches!(with(json!([1e300])), Err(LoadError::Inconsistent { .. })));
}

#[test]
fn trees_that_are_no_trees_are_refused_by_tree_and_node() {
    use TreeProblem::*;
    assert_eq!(tree_refused(|t| t["tree_param"]["num_nodes"] = json!("0")), Empty);
    assert_eq!(
        tree_refused(|t| t["right_children"] = json!([2, -1])),
        ArrayLength { field: "right_children", expected: 3, found: 2 }
    );
    assert_eq!(
        tree_refused(|t| t["parents"] = json!([0])),
        ArrayLength { field: "parents", expected: 3, found: 1 }
    );
    assert_eq!(
        tree_refused(|t| t["tree_param"]["num_nodes"] = json!("4000000000")),
        ArrayLength { field: "split_conditions", expected: 4_000_000_000, found: 3 }
    );
    assert_eq!(
        tree_refused(|t| t["right_children"] = json!([3, -1, -1])),
        ChildOutOfRange { node: 0, child: 3, nodes: 3 }
    );
    assert_eq!(
        tree_refused(|t| t["left_children"] = json!([-7, -1, -1])),
        ChildOutOfRange { node: 0, child: -7, nodes: 3 }
    );
    assert_eq!(tree_refused(|t| t["left_children"] = json!([-1, -1, -1])), OneChild { node: 0 });
    assert_eq!(tree_refused(|t| t["left_children"] = json!([0, -1, -1])), Cycle { node: 0, child: 0 });
    assert_eq!(
        five_nodes_with(json!([1, -1, 0, -1, -1]), json!([2, -1, 1, -1, -1])),
        Cycle { node: 2, child: 0 }
    );
    assert_eq!(
        five_nodes_with(json!([1, -1, 1, -1, -1]), json!([2, -1, 2, -1, -1])),
        SharedNode { node: 2, child: 1 }
    );
    assert_eq!(
        five_nodes_with(json!([1, -1, -1, -1, -1]), json!([2, -1, -1, -1, -1])),
        Unreachable { node: 3 }
    );
    assert_eq!(
        five_nodes_with(json!([1, 3, -1, -1, -1]), json!([4, 2, -1, -1, -1])),
        ChildrenNotAdjacent { node: 0, left: 1, right: 4 }
    );
}

#[test]
fn nodes_that_make_no_sense_are_refused() {
    use TreeProblem::*;
    for feature in [2, -1, i64::from(i32::MAX)] {
        assert_eq!(
            tree_refused(|t| t["split_indices"] = json!([feature, 0, 0])),
            SplitIndex { node: 0, feature, num_feature: 2 }
        );
    }
    assert_eq!(tree_refused(|t| t["default_left"] = json!([2, 0, 0])), DefaultLeft { node: 0, value: 2 });
    assert_eq!(
        tree_refused(|t| t["split_conditions"] = json!([0.5, 1.0, 1e300])),
        NonFiniteLeaf { node: 2, value: f64::INFINITY }
    );
    let nan = model_of(&[stump()]).to_string().replace("[1.5,", "[NaN,");
    assert_eq!(
        load(nan.as_bytes()).unwrap_err(),
        LoadError::Tree { tree: 0, problem: NanThreshold { node: 0 } }
    );
}

#[test]
fn pruned_nodes_are_left_out() {
    let mut tree = stump();
    five_nodes(&mut tree);
    tree["left_children"] = json!([1, -1, -1, -1, -1]);
    tree["right_children"] = json!([2, -1, -1, -1, -1]);
    tree["split_indices"] = json!([0, 0, 0, i32::MAX, i32::MAX]);
    assert_eq!(margin(&parse(&model_of(&[tree])).unwrap(), &[0.0, 0.0]), 0.5);
}

#[test]
fn categories_go_right_and_strangers_left() {
    for categories in [json!([1, 3]), json!([1, 3, 16_777_215])] {
        let mut tree = stump();
        categorical(&mut tree, categories);
        let model = parse(&model_of(&[tree])).unwrap();
        for right in [1.0, 1.9, 3.0] {
            assert_eq!(margin(&model, &[right, 0.0]), 2.5, "{right}");
        }
        for left in [0.0, 2.0, -1.0, 64.0, 1e6, 16_777_216.0, f32::INFINITY, f32::NAN] {
            assert_eq!(margin(&model, &[left, 0.0]), -0.5, "{left}");
        }
    }
}

#[test]
fn category_lists_that_do_not_fit_are_refused() {
    let cases: [&dyn Fn(&mut Json); 9] = [
        &|t| t["split_type"] = json!([1, 0, 0]),
        &|t| t["split_type"] = json!([2, 0, 0]),
        &|t| categorical(t, json!([])),
        &|t| categorical(t, json!([-1])),
        &|t| categorical(t, json!([1 << 24])),
        &|t| {
            categorical(t, json!([1]));
            t["split_type"] = json!([0, 0, 0]);
        },
        &|t| {
            categorical(t, json!([1]));
            t["categories_nodes"] = json!([3]);
        },
        &|t| {
            categorical(t, json!([1, 2]));
            t["categories_segments"] = json!([1]);
        },
        &|t| {
            categorical(t, json!([1, 2]));
            t["categories_sizes"] = json!([i64::MAX]);
        },
    ];
    for (i, case) in cases.iter().enumerate() {
        let problem = tree_refused(case);
        assert!(matches!(problem, TreeProblem::Categories { .. }), "{i}: {problem}");
    }
}

#[test]
fn category_names_are_read_or_declared_unknown() {
    let with = |enc: Json| {
        let mut json = model_of(&[stump()]);
        json.pointer_mut(MODEL).unwrap()["cats"] = json!({"enc": enc});
        parse(&json)
    };
    let none = json!({"offsets": [], "values": []});
    let model = with(json!([none, {"offsets": [0, 1, 3], "values": [97, 98, 99]}])).unwrap();
    assert_eq!(model.categories(1), Some(&Categories::Names(vec!["a".into(), "bc".into()])));
    let model = with(json!([{"type": 15, "values": [7, 9]}, none])).unwrap();
    assert_eq!(model.categories(0), Some(&Categories::Numbers(vec![7, 9])));
    let model = with(json!([none, {"offsets": [0, 1, 2], "values": [-61, -87]}])).unwrap();
    assert_eq!(model.categories(1), Some(&Categories::Unknown(2)));
    assert!(matches!(with(json!([none])).map(|m| m.categories), Ok(c) if c.is_empty()));
    let bad = with(json!([none, {"offsets": [0, 9], "values": [97]}]));
    assert!(matches!(bad, Err(LoadError::Inconsistent { .. })));
    let short = with(json!([{"type": 15, "values": [7, 9]}]));
    assert!(matches!(short, Err(LoadError::Length { .. })));
}

#[test]
fn scoring_with_wrong_shapes_is_refused() {
    let model = parse(&model_of(&[stump()])).unwrap();
    assert_eq!(Rows::new(&[0.0; 3], 2).unwrap_err(), ScoreError::Ragged { values: 3, columns: 2 });
    assert_eq!(Rows::<f32>::new(&[], 0).unwrap_err(), ScoreError::Ragged { values: 0, columns: 0 });
    let rows = Rows::new(&[0.0; 3], 3).unwrap();
    assert_eq!(model.predict(rows, &mut [0.0]), Err(ScoreError::Columns { expected: 2, found: 3 }));
    let rows = Rows::new(&[0.0; 4], 2).unwrap();
    let output = ScoreError::Output { expected: 2, found: 1, rows: 2, width: 1 };
    assert_eq!(model.predict_margin(rows, &mut [0.0]), Err(output));
    assert_eq!(model.predict(Rows::new(&[], 2).unwrap(), &mut []), Ok(()));
    for (begin, end) in [(0, 2), (2, 0), (usize::MAX, 0), (1, usize::MAX)] {
        let error = model.iteration_range(begin, end).unwrap_err();
        assert_eq!(error, ScoreError::Iterations { begin, end, iterations: 1 });
    }
    assert!(model.iteration_range(1, 1).is_ok());
}

#[test]
fn early_stopping_is_read_and_checked() {
    let mut json = model_of(&[stump()]);
    json["learner"]["attributes"] = json!({"best_iteration": "0"});
    assert!(parse(&json).unwrap().best_scorer().is_ok());
    json["learner"]["attributes"] = json!({"best_iteration": "1"});
    assert!(parse(&json).unwrap().best_scorer().is_err());
    json["learner"]["attributes"] = json!({"best_iteration": "soon"});
    assert!(matches!(parse(&json), Err(LoadError::BadNumber { .. })));
}
