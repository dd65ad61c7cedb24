//! `Model`: what a loaded model is and tells of itself.
//! How it came out of a file stands in `load`, how it scores in `score`.

use crate::error::LoadError;
use crate::forest::Forest;
use crate::load::load;
use crate::objective::{Link, Meaning, Objective};

/// How the trees are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Booster {
    /// All trees weigh the same.
    Gbtree,
    /// Trees have weights, from dropout during training.
    Dart,
}

/// Type of a feature, as XGBoost was told in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FeatureType {
    /// `float`
    Float,
    /// `int`
    Int,
    /// `i`: 0 or 1.
    Indicator,
    /// `q`: any number.
    Quantitative,
    /// `c`: a category's code, 0 and up.
    Categorical,
}

impl FeatureType {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "float" => Self::Float,
            "int" => Self::Int,
            "i" => Self::Indicator,
            "q" => Self::Quantitative,
            "c" | "categorical" => Self::Categorical,
            _ => return None,
        })
    }

    /// XGBoost's name for the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Int => "int",
            Self::Indicator => "i",
            Self::Quantitative => "q",
            Self::Categorical => "c",
        }
    }
}

/// Categories of one feature of the data frame in training. The code that a row must hold for a category is its
/// position here: the scorer takes codes, as the library does for arrays, and never looks up names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Categories {
    /// Categories with names.
    Names(Vec<String>),
    /// Categories that were integers.
    Numbers(Vec<i64>),
    /// So many categories, whose names the file does not hold: some are not ASCII, and XGBoost 3.2 counts their
    /// characters where it stores bytes (`npstr_to_arrow_strarr`), so that all names after the first such one are
    /// shifted and the end is cut off. Scores are not touched by that; take the names from the training data.
    Unknown(usize),
}

/// A gradient-boosted tree model, ready to score. Immutable; share it between threads by reference or `Arc`.
#[derive(Debug)]
pub struct Model {
    pub(crate) forest: Forest,
    pub(crate) booster: Booster,
    pub(crate) objective: Objective,
    pub(crate) num_feature: usize,
    pub(crate) num_class: usize,
    pub(crate) outputs: usize,
    pub(crate) intercept: Vec<f32>,
    pub(crate) iteration_indptr: Vec<usize>,
    pub(crate) feature_names: Option<Vec<String>>,
    pub(crate) feature_types: Option<Vec<FeatureType>>,
    /// Empty when the file has none, else one per feature.
    pub(crate) categories: Vec<Option<Categories>>,
    pub(crate) best_iteration: Option<usize>,
    pub(crate) written_by: Option<[u32; 3]>,
}

impl Model {
    /// Reads an XGBoost model from the bytes of its file, JSON or UBJSON, told apart by their first bytes.
    ///
    /// Takes memory in proportion to the file, whatever its contents: lengths are checked before they are
    /// believed. At its peak that is some three times the file for a real model, and a few dozen times for the
    /// worst that a hostile one can do; so bound the size of the file itself before reading it.
    ///
    /// # Errors
    ///
    /// [`LoadError`], when the bytes are no such model, are damaged or contradict themselves, or hold a model of a
    /// kind that is not scored here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        load(bytes)
    }

    /// How the trees are added up.
    pub fn booster(&self) -> Booster {
        self.booster
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

    /// Classes: 2 or more for `multi:*`, 0 for the rest (binary objectives included), as in the file.
    pub fn num_class(&self) -> usize {
        self.num_class
    }

    /// Numbers per row that [`Model::predict_margin`] writes: one per class, target or quantile, else 1.
    pub fn margin_width(&self) -> usize {
        self.outputs
    }

    /// Numbers per row that [`Model::predict`] writes: as [`Model::margin_width`], but 1 for `multi:softmax`.
    pub fn value_width(&self) -> usize {
        if self.objective.link() == Link::ArgMax { 1 } else { self.outputs }
    }

    /// Names of the features, when the model was trained with names.
    pub fn feature_names(&self) -> Option<&[String]> {
        self.feature_names.as_deref()
    }

    /// Types of the features, when the model was trained with types.
    pub fn feature_types(&self) -> Option<&[FeatureType]> {
        self.feature_types.as_deref()
    }

    /// Categories of a feature, when the model was trained on a data frame with categories (XGBoost 3.1 and up).
    pub fn categories(&self, feature: usize) -> Option<&Categories> {
        self.categories.get(feature)?.as_ref()
    }

    /// Boosting rounds.
    pub fn iterations(&self) -> usize {
        self.iteration_indptr.len().saturating_sub(1)
    }

    /// Trees over all rounds.
    pub fn num_trees(&self) -> usize {
        self.forest.len()
    }

    /// The best round, counted from 0, that early stopping found.
    ///
    /// Neither `Booster.inplace_predict` nor [`Model::predict`] looks at it: both use all rounds. The scikit-learn
    /// wrapper uses rounds `0..best_iteration + 1`; so does [`Model::best_scorer`].
    pub fn best_iteration(&self) -> Option<usize> {
        self.best_iteration
    }

    /// Version of XGBoost that wrote the file: major, minor, patch.
    pub fn written_by(&self) -> Option<[u32; 3]> {
        self.written_by
    }

    /// Margins before the first tree (the intercept, linked), one per output.
    pub fn intercept(&self) -> &[f32] {
        &self.intercept
    }

    /// The steps from node to node that a row takes at most: the depths of all trees together. What a row costs grows with them,
    /// also where many rows are scored without a walk.
    pub fn steps(&self) -> usize {
        self.forest.steps()
    }

    /// Bytes that the model takes on the heap. An estimate: what the allocator adds is not counted.
    pub fn heap_bytes(&self) -> usize {
        let text = |s: &String| size_of::<String>() + s.capacity();
        let categories = |c: &Option<Categories>| {
            size_of::<Option<Categories>>()
                + match c {
                    None | Some(Categories::Unknown(_)) => 0,
                    Some(Categories::Names(names)) => names.iter().map(text).sum(),
                    Some(Categories::Numbers(numbers)) => size_of::<i64>() * numbers.capacity(),
                }
        };
        self.forest.heap_bytes()
            + size_of::<f32>() * self.intercept.capacity()
            + size_of::<usize>() * self.iteration_indptr.capacity()
            + self.feature_names.iter().flatten().map(text).sum::<usize>()
            + self.feature_types.as_ref().map_or(0, |types| size_of::<FeatureType>() * types.capacity())
            + self.categories.iter().map(categories).sum::<usize>()
    }
}
