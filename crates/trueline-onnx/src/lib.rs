//! ONNX models, run by the onnxruntime library: tensors in, tensors out. The library is the one that the `onnxruntime`
//! package of Python brings; it is found and loaded when the first model needs it, and not before.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use trueline_onnx::{Call, Library, Model, Options, Search};
//! use trueline_tensors::{Tensor, Values};
//!
//! let library = Library::load(&Search::default())?;
//! let model = Model::from_file(library, "model.onnx".as_ref(), &Options::default())?;
//! let row = Tensor::new("x", vec![1, 4], Values::Fp64(vec![5.1, 3.5, 1.4, 0.2]))?;
//! let answers = model.run(&[row], &Call::default())?;
//! # Ok(())
//! # }
//! ```
//!
//! What a prediction means to an endpoint is not known here, nor where models come from.

mod cast;
mod deadline;
mod error;
mod feed;
mod library;
mod load;
mod memory;
mod model;
mod outline;
mod output;
mod pool;
mod rewrite;
mod search;
mod session;
mod shape;
mod table;
mod types;
mod weights;
mod wire;
mod zipmap;

pub use error::{LibraryError, LoadError, RunError};
pub use library::Library;
pub use load::ModelInfo;
pub use model::{Call, Model, Options};
pub use search::Search;
pub use types::{Dimension, ElementType, TensorInfo};
