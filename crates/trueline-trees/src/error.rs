//! Every way in which a model file can be refused or a scoring call can be wrong.
//! Only types and their wording; the checks stand where the data is read.

/// Why a model file was refused.
///
/// Each variant has a stable [`LoadError::code`]; the texts say what is wrong, why, and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes are no model of the library and format that was asked for.
    #[error("this is not {wanted}: {found}; {remedy}")]
    NotAModel {
        /// Library and format.
        wanted: &'static str,
        /// What the first bytes look like.
        found: &'static str,
        /// How to make such a file.
        remedy: &'static str,
    },
    /// The file ends before its document does.
    #[error("the model file is cut short: it ends at byte {offset} inside {inside}; copy or save it again")]
    Truncated {
        /// Length of what was there, in bytes.
        offset: usize,
        /// What was being read.
        inside: &'static str,
    },
    /// The document breaks the rules of its format.
    #[error("the model file is damaged at byte {offset}: {problem}")]
    Syntax {
        /// Position, in bytes from the start.
        offset: usize,
        /// Which rule is broken.
        problem: String,
    },
    /// Arrays and objects nest deeper than any model does.
    #[error("the model file nests deeper than {limit} levels at byte {offset}; no XGBoost model does")]
    TooDeep {
        /// Position, in bytes from the start.
        offset: usize,
        /// The limit.
        limit: usize,
    },
    /// A required key is absent.
    #[error("the model file lacks `{path}`")]
    Missing {
        /// Path of the key, as `learner.objective.name`.
        path: String,
    },
    /// A value has another type than the format says.
    #[error("`{path}` should be {expected} and is {found}")]
    WrongType {
        /// Path of the value.
        path: String,
        /// What the format wants.
        expected: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// A number written as a string does not parse or is out of bounds.
    #[error("`{path}` holds `{text}`, which is not a usable number there")]
    BadNumber {
        /// Path of the value.
        path: String,
        /// The text, shortened to 40 characters.
        text: String,
    },
    /// The model is sound as far as one can see, but of a kind that this scorer does not score.
    #[error("{what} is not supported by the native scorer; {remedy}")]
    Unsupported {
        /// The feature of the model that is not supported.
        what: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// Two parts of the document contradict each other.
    #[error("`{path}` has {found} entries where {expected} are needed")]
    Length {
        /// Path of the array.
        path: String,
        /// Entries needed.
        expected: usize,
        /// Entries found.
        found: usize,
    },
    /// A value that is readable but cannot be right.
    #[error("`{path}` cannot be right: {problem}")]
    Inconsistent {
        /// Path of the value.
        path: String,
        /// Why not.
        problem: String,
    },
    /// A tree is not a tree, or splits on nonsense.
    #[error("tree {tree}: {problem}")]
    Tree {
        /// Index of the tree, as its `id`.
        tree: usize,
        /// What is wrong with it.
        problem: TreeProblem,
    },
}

/// What is wrong with one tree. Nodes are counted as in the file, the root being 0.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeProblem {
    /// A tree without nodes.
    #[error("has no nodes")]
    Empty,
    /// The parallel arrays of a tree differ in length.
    #[error("`{field}` has {found} entries for {expected} nodes")]
    ArrayLength {
        /// Which array.
        field: &'static str,
        /// Number of nodes.
        expected: usize,
        /// Entries found.
        found: usize,
    },
    /// A child index lies outside the tree.
    #[error("node {node} has child {child}, but the tree has {nodes} nodes")]
    ChildOutOfRange {
        /// The parent.
        node: usize,
        /// The child index as written.
        child: i64,
        /// Number of nodes.
        nodes: usize,
    },
    /// A leaf's number lies outside the tree (LightGBM).
    #[error("node {node} has leaf {leaf}, but the tree has {leaves} leaves")]
    LeafOutOfRange {
        /// The parent.
        node: usize,
        /// The leaf's number as written.
        leaf: i64,
        /// Number of leaves.
        leaves: usize,
    },
    /// A leaf has two parents (LightGBM).
    #[error("leaf {leaf} is a child of node {node} and of another node too")]
    SharedLeaf {
        /// The second parent met.
        node: usize,
        /// The leaf.
        leaf: usize,
    },
    /// A node has one child; only none or two make sense.
    #[error("node {node} has only one child")]
    OneChild {
        /// The parent.
        node: usize,
    },
    /// A child is its own ancestor.
    #[error("node {node} has child {child}, which is the node itself or its ancestor: the tree has a cycle")]
    Cycle {
        /// The parent.
        node: usize,
        /// The child.
        child: usize,
    },
    /// A node has two parents.
    #[error("node {child} is a child of node {node} and of another node too")]
    SharedNode {
        /// The second parent met.
        node: usize,
        /// The child.
        child: usize,
    },
    /// A node that no path reaches and that is not marked as pruned.
    #[error("node {node} cannot be reached from the root and is not marked as pruned")]
    Unreachable {
        /// The node.
        node: usize,
    },
    /// The right child does not follow the left one, as XGBoost's own predictor takes for granted.
    #[error("node {node} has children {left} and {right}; the right one must follow the left one")]
    ChildrenNotAdjacent {
        /// The parent.
        node: usize,
        /// Left child.
        left: usize,
        /// Right child.
        right: usize,
    },
    /// A split on a feature that the model does not have.
    #[error("node {node} splits on feature {feature}, but the model has {num_feature} features")]
    SplitIndex {
        /// The node.
        node: usize,
        /// The feature index as written.
        feature: i64,
        /// Features of the model.
        num_feature: usize,
    },
    /// A numeric split against NaN.
    #[error("node {node} compares with NaN")]
    NanThreshold {
        /// The node.
        node: usize,
    },
    /// A leaf that would make every score NaN or infinite.
    #[error("leaf {node} holds {value}, not a finite number; the training diverged")]
    NonFiniteLeaf {
        /// The leaf.
        node: usize,
        /// Its value.
        value: f64,
    },
    /// `default_left` is neither 0 nor 1.
    #[error("node {node} has default_left {value}, which is neither 0 nor 1")]
    DefaultLeft {
        /// The node.
        node: usize,
        /// The value as written.
        value: i64,
    },
    /// The kind of a split is none that LightGBM knows.
    #[error("node {node} has decision_type {value}, which stands for no kind of split")]
    DecisionType {
        /// The node.
        node: usize,
        /// The value as written.
        value: i64,
    },
    /// The lists of categories do not describe the categorical nodes.
    #[error("node {node}: its categories are wrong: {problem}")]
    Categories {
        /// The node.
        node: usize,
        /// Why.
        problem: &'static str,
    },
}

impl LoadError {
    /// Stable code of the error, for problem documents and `docs/errors/`.
    pub fn code(&self) -> &'static str {
        match self {
            LoadError::NotAModel { .. } => "trees.not_a_model",
            LoadError::Truncated { .. } => "trees.truncated",
            LoadError::Syntax { .. } => "trees.syntax",
            LoadError::TooDeep { .. } => "trees.too_deep",
            LoadError::Missing { .. } => "trees.missing",
            LoadError::WrongType { .. } => "trees.wrong_type",
            LoadError::BadNumber { .. } => "trees.bad_number",
            LoadError::Unsupported { .. } => "trees.unsupported",
            LoadError::Length { .. } => "trees.length",
            LoadError::Inconsistent { .. } => "trees.inconsistent",
            LoadError::Tree { .. } => "trees.bad_tree",
        }
    }
}

/// Why a scoring call was refused. Nothing has been written to the output then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// The rows have another width than the model.
    #[error(
        "the rows have {found} columns and the model has {expected} features; send all, in the model's order"
    )]
    Columns {
        /// Features of the model.
        expected: usize,
        /// Columns given.
        found: usize,
    },
    /// The values do not divide into whole rows.
    #[error("{values} values do not divide into rows of {columns} columns")]
    Ragged {
        /// Values given.
        values: usize,
        /// Columns per row.
        columns: usize,
    },
    /// The output has the wrong length.
    #[error("the output holds {found} numbers and {expected} are needed ({rows} rows of {width})")]
    Output {
        /// Numbers needed.
        expected: usize,
        /// Numbers that fit.
        found: usize,
        /// Rows to score.
        rows: usize,
        /// Numbers per row.
        width: usize,
    },
    /// An iteration range outside the model.
    #[error("iterations {begin}..{end} lie outside the model, which has {iterations}")]
    Iterations {
        /// First iteration wanted.
        begin: usize,
        /// One past the last.
        end: usize,
        /// Boosting rounds of the model.
        iterations: usize,
    },
}

impl ScoreError {
    /// Stable code of the error, for problem documents and `docs/errors/`.
    pub fn code(&self) -> &'static str {
        match self {
            ScoreError::Columns { .. } => "trees.columns",
            ScoreError::Ragged { .. } => "trees.ragged",
            ScoreError::Output { .. } => "trees.output",
            ScoreError::Iterations { .. } => "trees.iterations",
        }
    }
}
