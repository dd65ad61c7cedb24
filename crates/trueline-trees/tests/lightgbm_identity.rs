//! Compares every score, bit for bit, with those of the real LightGBM, over models that it trains on the spot.
//! What is trained, and which rows are scored, stands in `make_lightgbm_models.py`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Clippy knows only `#[test]` functions as tests.

mod library;

use std::path::Path;

use serde_json::Value;
use trueline_trees::lightgbm::{Category, Model, Scorer};
use trueline_trees::{Rows, ScoreError};

/// The library versions that the scorer claims to equal.
const LIGHTGBM: [&str; 2] = ["4.6.0", "4.7.0"];

struct Case<'a> {
    dir: &'a Path,
    json: &'a Value,
    name: &'a str,
}

impl Case<'_> {
    fn count(&self, key: &str) -> usize {
        self.json[key].as_u64().unwrap() as usize
    }

    fn load(&self) -> Model {
        let bytes = std::fs::read(self.dir.join(format!("{}.txt", self.name))).unwrap();
        Model::from_bytes(&bytes).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn check_metadata(&self, model: &Model) {
        let names: Vec<&str> =
            self.json["feature_names"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        assert_eq!(model.feature_names(), names, "{}", self.name);
        assert_eq!(model.num_feature(), self.count("columns"), "{}", self.name);
        assert_eq!(model.value_width(), self.count("width"), "{}", self.name);
        assert_eq!(model.iterations(), self.count("iterations"), "{}", self.name);
        assert_eq!(model.num_trees(), self.count("trees"), "{}", self.name);
        let lists = self.json["pandas_categorical"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert_eq!(model.pandas_categories().len(), lists.len(), "{}", self.name);
        for (ours, theirs) in model.pandas_categories().iter().zip(lists) {
            let ours: Vec<Value> = ours.iter().map(json_of).collect();
            assert_eq!(Value::from(ours), *theirs, "{}", self.name);
        }
    }

    /// Scores all rows at once, then one by one and in odd batches: they must not differ. Gives the number of scores.
    fn check_scores(&self, model: &Model, values: &[f64], begin: usize, end: usize) -> usize {
        type Predict<'s, 'm> = fn(&'s Scorer<'m>, Rows<'_, f64>, &mut [f64]) -> Result<(), ScoreError>;
        let scorer = model.iteration_range(begin, end).unwrap();
        let kinds: [(&str, Predict<'_, '_>); 2] = [("raw", Scorer::predict_raw), ("value", Scorer::predict)];
        let (columns, width, rows) = (model.num_feature(), model.value_width(), self.count("rows"));
        for (kind, predict) in kinds {
            let theirs =
                library::numbers::<f64>(&self.dir.join(format!("{}.{begin}-{end}.{kind}.f64", self.name)));
            for batch in [rows, 1, 13] {
                let mut ours = vec![0.0; rows * width];
                for (rows, out) in values.chunks(batch * columns).zip(ours.chunks_mut(batch * width)) {
                    predict(&scorer, Rows::new(rows, columns).unwrap(), out).unwrap();
                }
                let what = format!("{}, iterations {begin}-{end}, {kind}, batches of {batch}", self.name);
                library::assert_identical(&what, &ours, &theirs, width);
            }
        }
        2 * rows * width
    }
}

fn json_of(category: &Category) -> Value {
    match category {
        Category::Text(text) => text.as_str().into(),
        Category::Int(number) => (*number).into(),
        Category::Float(number) => (*number).into(),
        Category::Bool(truth) => (*truth).into(),
    }
}

#[test]
fn scores_equal_those_of_the_library_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let made = library::make_models("make_lightgbm_models.py", dir.path());
    let version = made["lightgbm"].as_str().unwrap();
    assert!(LIGHTGBM.contains(&version), "the scorer is not proven against LightGBM {version}");
    let (mut models, mut compared) = (0, 0);
    for json in made["cases"].as_array().unwrap() {
        let case = Case { dir: dir.path(), json, name: json["name"].as_str().unwrap() };
        let values = library::numbers(&case.dir.join(format!("{}.rows.f64", case.name)));
        let model = case.load();
        case.check_metadata(&model);
        for range in json["ranges"].as_array().unwrap() {
            let bound = |i: usize| range[i].as_u64().unwrap() as usize;
            compared += case.check_scores(&model, &values, bound(0), bound(1));
        }
        models += 1;
    }
    println!("LightGBM {version}: {models} models, {compared} scores compared, 0 differ");
    assert!(compared >= 200_000, "only {compared} scores compared");
}
