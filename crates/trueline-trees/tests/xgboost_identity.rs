//! Compares every score, bit for bit, with those of the real XGBoost, over models that it trains on the spot.
//! What is trained, and which rows are scored, stands in `make_models.py`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Clippy knows only `#[test]` functions as tests.

mod library;

use std::path::Path;

use serde_json::Value;
use trueline_trees::{Model, Rows, Scorer};

/// The library version that the scorer claims to equal.
const XGBOOST: &str = "3.2.0";
struct Case<'a> {
    dir: &'a Path,
    json: &'a Value,
    name: &'a str,
    values: Vec<f32>,
}

impl<'a> Case<'a> {
    fn new(dir: &'a Path, json: &'a Value) -> Self {
        let name = json["name"].as_str().unwrap();
        Self { dir, json, name, values: library::numbers(&dir.join(format!("{name}.rows.f32"))) }
    }

    fn count(&self, key: &str) -> usize {
        self.json[key].as_u64().unwrap() as usize
    }

    fn load(&self, format: &str) -> Model {
        let bytes = std::fs::read(self.dir.join(format!("{}.{format}", self.name))).unwrap();
        Model::from_bytes(&bytes).unwrap_or_else(|error| panic!("{}.{format}: {error}", self.name))
    }

    fn check_metadata(&self, model: &Model) {
        let strings = |key: &str| -> Option<Vec<&str>> {
            self.json[key].as_array().map(|list| list.iter().map(|v| v.as_str().unwrap()).collect())
        };
        let names = model.feature_names().map(|names| names.iter().map(String::as_str).collect());
        let types = model.feature_types().map(|types| types.iter().map(|t| t.name()).collect());
        assert_eq!(names, strings("feature_names"), "{}", self.name);
        assert_eq!(types, strings("feature_types"), "{}", self.name);
        assert_eq!(model.num_feature(), self.count("columns"), "{}", self.name);
        assert_eq!(model.iterations(), self.count("iterations"), "{}", self.name);
        assert_eq!(model.margin_width(), self.count("margin_width"), "{}", self.name);
        assert_eq!(model.value_width(), self.count("value_width"), "{}", self.name);
        assert_eq!(
            model.best_iteration().map(|i| i as u64),
            self.json["best_iteration"].as_u64(),
            "{}",
            self.name
        );
        assert_eq!(model.written_by(), Some([3, 2, 0]), "{}", self.name);
    }

    /// Scores all rows at once, then one by one and in odd batches: they must not differ. Gives the number of scores.
    fn check_scores(&self, model: &Model, format: &str, begin: usize, end: usize) -> usize {
        type Predict<'s, 'm> =
            fn(&'s Scorer<'m>, Rows<'_>, &mut [f32]) -> Result<(), trueline_trees::ScoreError>;
        let scorer = model.iteration_range(begin, end).unwrap();
        let kinds: [(&str, usize, Predict<'_, '_>); 2] = [
            ("margin", model.margin_width(), Scorer::predict_margin),
            ("value", model.value_width(), Scorer::predict),
        ];
        let columns = model.num_feature();
        let rows = self.count("rows");
        for (kind, width, predict) in kinds {
            let theirs =
                library::numbers::<f32>(&self.dir.join(format!("{}.{begin}-{end}.{kind}.f32", self.name)));
            for batch in [rows, 1, 13] {
                let mut ours = vec![0.0; rows * width];
                for (rows, out) in self.values.chunks(batch * columns).zip(ours.chunks_mut(batch * width)) {
                    predict(&scorer, Rows::new(rows, columns).unwrap(), out).unwrap();
                }
                let what =
                    format!("{}.{format}, iterations {begin}-{end}, {kind}, batches of {batch}", self.name);
                library::assert_identical(&what, &ours, &theirs, width);
            }
        }
        rows * (model.margin_width() + model.value_width())
    }
}

#[test]
fn scores_equal_those_of_the_library_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let made = library::make_models("make_models.py", dir.path());
    assert_eq!(made["xgboost"].as_str(), Some(XGBOOST), "the scorer is proven against another version");
    let (mut models, mut compared) = (0, 0);
    for json in made["cases"].as_array().unwrap() {
        let case = Case::new(dir.path(), json);
        for format in ["json", "ubj"] {
            let model = case.load(format);
            case.check_metadata(&model);
            for range in json["ranges"].as_array().unwrap() {
                let bound = |i: usize| range[i].as_u64().unwrap() as usize;
                compared += case.check_scores(&model, format, bound(0), bound(1));
            }
        }
        models += 1;
    }
    println!("XGBoost {XGBOOST}: {models} models, {compared} scores compared, 0 differ");
    assert!(compared >= 400_000, "only {compared} scores compared");
}
