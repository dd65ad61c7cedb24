//! `Model`: what a loaded LightGBM model is and tells of itself.
//! How it came out of a file stands in `load`, how it scores in `score`.

use crate::error::LoadError;
use crate::objective::Meaning;

use super::forest::Forest;
use super::load::load;
use super::objective::{Link, Objective};

/// What training saw of a feature (`feature_infos`).
#[derive(Debug, Clone, PartialEq)]
pub enum FeatureInfo {
    /// Nothing that could be split on: the feature was constant.
    Unused,
    /// Numbers from the first to the second.
    Range(f64, f64),
    /// These categories' codes, the most frequent first; -1 stands for missing ones.
    Categories(Vec<i64>),
}

/// A category of a data frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Category {
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A truth value.
    Bool(bool),
}

/// Version of the text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Version {
    /// `v3`, of LightGBM 3.
    V3,
    /// `v4`, of LightGBM 4.
    V4,
}

/// A LightGBM model, ready to score. Immutable; share it between threads by reference or `Arc`.
#[derive(Debug)]
pub struct Model {
    pub(super) forest: Forest,
    pub(super) version: Version,
    pub(super) objective: Objective,
    pub(super) link: Link,
    pub(super) num_feature: usize,
    pub(super) num_class: usize,
    pub(super) averages: bool,
    pub(super) feature_names: Vec<String>,
    pub(super) feature_infos: Vec<FeatureInfo>,
    pub(super) categories: Vec<Vec<Category>>,
    /// Feature of each list in `categories`; empty when the file does not tell.
    pub(super) categorical_features: Vec<usize>,
    pub(super) parameters: Vec<(String, String)>,
}

impl Model {
    /// Reads a LightGBM model from the bytes of its text file, version 3 or 4, as `Booster.save_model` writes it.
    ///
    /// Takes memory in proportion to the file, whatever its contents: arrays grow with the text that they are read
    /// from, never on the word of a count. A few dozen times the file is the worst that a hostile one can do; so
    /// bound the size of the file itself before reading it.
    ///
    /// # Errors
    ///
    /// [`LoadError`], when the bytes are no such model, are damaged or contradict themselves, or hold a model of a
    /// kind that is not scored here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        load(bytes)
    }

    /// Version of the format that the file is written in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What the model was trained for.
    pub fn objective(&self) -> Objective {
        self.objective
    }

    /// What the numbers of [`Model::predict`] mean.
    pub fn meaning(&self) -> Meaning {
        self.objective.meaning()
    }

    /// Whether [`Model::predict`] gives probabilities.
    pub fn gives_probabilities(&self) -> bool {
        self.meaning().is_probability()
    }

    /// Features of a row, in the order of training.
    pub fn num_feature(&self) -> usize {
        self.num_feature
    }

    /// Classes as in the file: 1 for all but `multiclass`, `multiclassova` and custom objectives with several outputs.
    pub fn num_class(&self) -> usize {
        self.num_class
    }

    /// Numbers per row that [`Model::predict`] and [`Model::predict_raw`] write: one per class, else 1.
    pub fn value_width(&self) -> usize {
        self.num_class
    }

    /// Names of the features; `Column_0` and so on when training had none.
    pub fn feature_names(&self) -> &[String] {
        &self.feature_names
    }

    /// What training saw of each feature.
    pub fn feature_infos(&self) -> &[FeatureInfo] {
        &self.feature_infos
    }

    /// Categories of each column of type `category` in the training data frame, in the order of its columns
    /// (`pandas_categorical`); empty when it was no data frame or had none. The code of a category, which rows hold,
    /// is its position here.
    pub fn pandas_categories(&self) -> &[Vec<Category>] {
        &self.categories
    }

    /// Categories of a feature: position `i` holds what code `i` stands for.
    ///
    /// The file does not say which feature a list of [`Model::pandas_categories`] belongs to. They are matched, in
    /// order, with the features that training took for categorical (`categorical_feature` among the parameters);
    /// `None` for all features where the numbers differ, as when a frame had ordered categories, or where a code seen
    /// in training has no category.
    pub fn categories(&self, feature: usize) -> Option<&[Category]> {
        let list = self.categorical_features.iter().position(|&f| f == feature)?;
        self.categories.get(list).map(Vec::as_slice)
    }

    /// The training parameters that the file ends with, in its order: `("learning_rate", "0.1")`. They do not bear on
    /// scores.
    pub fn parameters(&self) -> &[(String, String)] {
        &self.parameters
    }

    /// Whether predictions are means over the rounds and not sums (`boosting=rf`).
    pub fn averages(&self) -> bool {
        self.averages
    }

    /// Whether leaves hold linear models (`linear_tree`).
    pub fn is_linear(&self) -> bool {
        self.forest.is_linear()
    }

    /// Boosting rounds in the file. `Booster.save_model` writes those up to the best one where training stopped early,
    /// and nothing about those that it left out; so all of them are the best ones, for the file as for the library
    /// that reads it.
    pub fn iterations(&self) -> usize {
        self.forest.len() / self.num_class
    }

    /// Trees over all rounds: one per round and class.
    pub fn num_trees(&self) -> usize {
        self.forest.len()
    }

    /// The steps from node to node that a row takes at most: the depths of all trees together. What a row costs grows with them,
    /// also where many rows are scored without a walk.
    pub fn steps(&self) -> usize {
        self.forest.steps()
    }

    /// Bytes that the model takes on the heap. An estimate: what the allocator adds is not counted.
    pub fn heap_bytes(&self) -> usize {
        let text = |s: &String| size_of::<String>() + s.capacity();
        let info = |info: &FeatureInfo| {
            size_of::<FeatureInfo>()
                + match info {
                    FeatureInfo::Categories(codes) => size_of::<i64>() * codes.capacity(),
                    FeatureInfo::Unused | FeatureInfo::Range(..) => 0,
                }
        };
        let category = |category: &Category| {
            size_of::<Category>()
                + match category {
                    Category::Text(name) => name.capacity(),
                    _ => 0,
                }
        };
        self.forest.heap_bytes()
            + self.feature_names.iter().map(text).sum::<usize>()
            + self.feature_infos.iter().map(info).sum::<usize>()
            + self.categories.iter().flatten().map(category).sum::<usize>()
            + size_of::<usize>() * self.categorical_features.capacity()
            + self.parameters.iter().map(|(key, value)| text(key) + text(value)).sum::<usize>()
    }
}
