//! One session of the library: made of a model's bytes, run with values.

use crate::error::{LoadError, RunError};
use crate::library::Library;
use crate::output;
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session, SessionInputValue};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use trueline_tensors::Tensor;

/// All that a session is made of. Each session of a model is made of the same.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) library: &'static Library,
    /// The model.
    pub(crate) bytes: Vec<u8>,
    /// Where the files lie that the model names, when it has any.
    pub(crate) folder: Option<PathBuf>,
    /// Threads that one run may use.
    pub(crate) threads: usize,
}

impl Recipe {
    /// Makes a session.
    pub(crate) fn make(&self) -> Result<Session, LoadError> {
        // Where a model is of a kind that it does not know, `ort` panics.
        let made = catch_unwind(AssertUnwindSafe(|| self.builder()?.commit_from_memory(&self.bytes)));
        match made {
            Ok(made) => made.map_err(|e| LoadError::Refused { reason: e.to_string() }),
            Err(_) => {
                Err(LoadError::Refused { reason: "it has inputs or outputs of an unknown kind".to_owned() })
            }
        }
    }

    fn builder(&self) -> ort::Result<SessionBuilder> {
        let mut builder = Session::builder(self.library.environment())?
            .with_intra_threads(self.threads)?
            // Threads that spin while they wait would take time from other models.
            .with_intra_op_spinning(false)?;
        if let Some(folder) = &self.folder {
            let folder = folder.to_string_lossy();
            builder =
                builder.with_config_entry("session.model_external_initializers_file_folder_path", folder)?;
        }
        Ok(builder)
    }
}

/// Runs a session and takes its outputs, all of them.
pub(crate) fn run(
    session: &mut Session,
    inputs: Vec<(&str, SessionInputValue<'_>)>,
    options: &RunOptions,
) -> Result<Vec<Tensor>, RunError> {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let outputs = session.run_with_options(inputs, options).map_err(|e| e.to_string())?;
        outputs.into_iter().map(|(name, value)| output::tensor(name, &value)).collect::<Result<Vec<_>, _>>()
    }));
    match ran {
        Ok(ran) => ran.map_err(|reason| RunError::Failed { reason }),
        Err(_) => Err(RunError::Failed { reason: "an output has no value".to_owned() }),
    }
}
