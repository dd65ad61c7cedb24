//! Every way in which the library can be missing, a model be refused, or a run go wrong. Only types and their wording.

use crate::types::ElementType;
use std::time::Duration;
use trueline_tensors::DataType;

/// Why there is no library.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// No file of it was found.
    #[error(
        "ONNX models need the onnxruntime library, which was not found; install it with `pip install onnxruntime`, or name \
         its file (libonnxruntime.so.1.x) in ORT_DYLIB_PATH. Looked at: {looked}"
    )]
    Missing {
        /// Where it was looked for.
        looked: String,
    },
    /// There are files, but none that can be used.
    #[error(
        "the onnxruntime library can't be used: {reasons}; 1.{oldest} or newer is needed: `pip install --upgrade \
         onnxruntime`, or name the file of such a one in ORT_DYLIB_PATH"
    )]
    Unusable {
        /// Each file with what is wrong with it.
        reasons: String,
        /// The oldest minor version that can be used.
        oldest: u32,
    },
}

/// Why a model was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file can't be read.
    #[error("the model's file {path} can't be read: {reason}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// It is no model, or not whole.
    #[error("this is not an ONNX model, or it is cut short or damaged: {problem}; copy or export it again")]
    Damaged {
        /// What is wrong with it.
        problem: String,
    },
    /// It names another file for a part of its weights, which can't be had.
    #[error("the model keeps weights in the file '{file}', which can't be used: {reason}")]
    External {
        /// The file, as the model names it.
        file: String,
        /// Why not.
        reason: String,
    },
    /// The library does not accept it.
    #[error("onnxruntime refuses the model: {reason}")]
    Refused {
        /// What the library says.
        reason: String,
    },
    /// An input is of a kind or type that can't be given.
    #[error(
        "the model's input '{name}' is {found}, and only tensors of numbers, truth values and texts can be given; export it \
         with such inputs"
    )]
    Input {
        /// The input.
        name: String,
        /// Its type.
        found: String,
    },
    /// An output is of a kind or type that can't be taken.
    #[error(
        "the model's output '{name}' is {found}, and only tensors of numbers, truth values and texts can be taken; export it \
         with such outputs"
    )]
    Output {
        /// The output.
        name: String,
        /// Its type.
        found: String,
    },
    /// An output is made of dictionaries in a way that can't be undone here.
    #[error(
        "the model's output '{name}' is {found} and no tensor; export it with `options={{'zipmap': False}}`"
    )]
    Dictionaries {
        /// The output.
        name: String,
        /// Its type.
        found: String,
    },
}

/// Why a run went wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An input did not come.
    #[error("the model's input '{name}' did not come; it takes {takes}")]
    Missing {
        /// The input.
        name: String,
        /// All inputs.
        takes: String,
    },
    /// Something came that the model has no input for.
    #[error("the model has no input '{name}'; it takes {takes}")]
    Unknown {
        /// What came.
        name: String,
        /// All inputs.
        takes: String,
    },
    /// An input came twice.
    #[error("the input '{name}' came twice")]
    Twice {
        /// The input.
        name: String,
    },
    /// The model has no such output.
    #[error("the model has no output '{name}'; it gives {gives}")]
    UnknownOutput {
        /// What was asked for.
        name: String,
        /// All outputs.
        gives: String,
    },
    /// Values of another type than the model takes.
    #[error(
        "the input '{name}' takes {expected:?} and {given:?} came, which can't be turned into it without loss"
    )]
    Type {
        /// The input.
        name: String,
        /// What the model takes.
        expected: ElementType,
        /// What came.
        given: DataType,
    },
    /// One value that can't be turned into the type that the model takes.
    #[error("the input '{name}' takes {expected:?}, and its value {at} is {value}")]
    Value {
        /// The input.
        name: String,
        /// What the model takes.
        expected: ElementType,
        /// Position among the values, row by row, from 0.
        at: usize,
        /// The value or what it is, shortened.
        value: String,
    },
    /// Another shape than the model takes.
    #[error("the input '{name}' takes the shape {expected} and {given:?} came")]
    Shape {
        /// The input.
        name: String,
        /// What the model takes, with names or `?` for what is variable.
        expected: String,
        /// What came.
        given: Vec<usize>,
    },
    /// A table that can't become the model's inputs.
    #[error("the columns can't become the model's input '{name}': {problem}")]
    Table {
        /// The input.
        name: String,
        /// Why not.
        problem: String,
    },
    /// All sessions are taken, and others wait already.
    #[error("the model is busy: {waiting} calls wait for one of its {sessions} sessions; try again later")]
    Busy {
        /// How many wait.
        waiting: usize,
        /// How many sessions there may be.
        sessions: usize,
    },
    /// No session became free in time.
    #[error(
        "the model is busy: none of its {sessions} sessions became free within {waited:?}; try again later"
    )]
    Timeout {
        /// How long it was waited.
        waited: Duration,
        /// How many sessions there may be.
        sessions: usize,
    },
    /// The run was not done by the deadline and was ended.
    #[error("the model did not answer by the deadline and was stopped")]
    Deadline,
    /// The library says that the run failed.
    #[error("the model failed: {reason}")]
    Failed {
        /// What the library says.
        reason: String,
    },
}
