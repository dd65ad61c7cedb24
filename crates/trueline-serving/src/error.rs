//! What can go wrong with an endpoint, a model or a request to it.

use trueline_blobs::BlobError;
use trueline_db::DbError;
use trueline_ledger::LedgerError;

/// A refusal or failure of serving.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServingError {
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// What should be made exists.
    #[error("{0}")]
    Exists(String),
    /// A value breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// The thing is in a state that does not allow it.
    #[error("{0}")]
    State(String),
    /// A model can't be served, and why.
    #[error("version {model} can't be served: {reason}")]
    Unservable {
        /// The version, `name/number`.
        model: String,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// The input of a request does not fit.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The model failed on a request.
    #[error("version {model} failed: {reason}")]
    Failed {
        /// The version, `name/number`.
        model: String,
        /// What it says.
        reason: String,
        /// Where in its code it failed, when it said so.
        trace: Option<String>,
    },
    /// The model's answer is not what was declared of its answers.
    #[error("version {model} answered what it can't mean: {reason}")]
    Implausible {
        /// The version, `name/number`.
        model: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More requests than the model can take now.
    #[error("{0}")]
    Busy(String),
    /// The model is not in memory and can't be loaded.
    #[error("{0}")]
    NotLoaded(String),
    /// The process that runs the model ended over the request, and is being started again.
    #[error("{0}")]
    WorkerDied(String),
    /// The model took too long.
    #[error("{0}")]
    TimedOut(String),
    /// Features that the model reads are not to be had now.
    #[error("{0}")]
    Features(String),
    /// Bytes of a model could not be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The snapshot could not be kept.
    #[error("the serving snapshot can't be written: {0}")]
    Snapshot(String),
}

impl ServingError {
    /// What it says, without values of a request: for those who must not see them.
    #[must_use]
    pub fn without_values(&self) -> String {
        match self {
            Self::Input(error) => error.clone().without_values().to_string(),
            Self::Failed { model, .. } => format!("version {model} failed"),
            Self::Implausible { model, .. } => format!("version {model} answered what it can't mean"),
            Self::Features(_) => "features that the model reads were not to be had".to_owned(),
            other => other.to_string(),
        }
    }
}

impl From<DbError> for ServingError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

/// What is wrong with the input of a request: which column and row, what was expected and what came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// Columns that the model needs are missing.
    #[error("Model is missing inputs {missing:?}. It takes {expected:?}, the request has {found:?}.")]
    MissingColumns {
        /// Those that are missing.
        missing: Vec<String>,
        /// Those that it takes.
        expected: Vec<String>,
        /// Those that came.
        found: Vec<String>,
    },
    /// A value has another type than its column.
    #[error("Column '{column}', row {row}: expected {expected}, got {found}{}.", value.as_ref().map(|v| format!(" {v}")).unwrap_or_default())]
    WrongType {
        /// The column.
        column: String,
        /// The row, from 0.
        row: usize,
        /// What the column takes.
        expected: String,
        /// What came.
        found: String,
        /// The value, when it is short.
        value: Option<String>,
    },
    /// A value is missing in a column that takes none.
    #[error(
        "Column '{column}', row {row}: a value is missing, and a column of {expected} can't hold missing values."
    )]
    MissingValue {
        /// The column.
        column: String,
        /// The row, from 0.
        row: usize,
        /// What the column takes.
        expected: String,
    },
    /// The input has another shape than the model takes.
    #[error("The input has the wrong shape: expected {expected}, got {found}.")]
    WrongShape {
        /// What the model takes.
        expected: String,
        /// What came.
        found: String,
    },
    /// A document for a model that takes values.
    #[error(
        "The model takes columns or arrays, and the request is a document with {given:?}. Send it with exactly one of the \
         input fields of the scoring protocol."
    )]
    Document {
        /// Its fields.
        given: Vec<String>,
    },
    /// What a runtime says of it.
    #[error("{0}")]
    Refused(String),
    /// More rows than one request may have.
    #[error("The request has {rows} rows; send at most {limit} at a time.")]
    TooManyRows {
        /// Rows that came.
        rows: usize,
        /// Rows that are allowed.
        limit: usize,
    },
}

impl InputError {
    /// The same without a value of the request: for servers whose errors are read by others than the caller.
    pub(crate) fn without_values(self) -> Self {
        match self {
            Self::WrongType { column, row, expected, found, .. } => {
                Self::WrongType { column, row, expected, found, value: None }
            }
            Self::Refused(_) => Self::Refused("The model refuses the input.".to_owned()),
            other => other,
        }
    }
}
