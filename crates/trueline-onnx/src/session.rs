//! One session of the library: made by a recipe that all sessions of a model have in common, run with values.

use crate::error::{LoadError, RunError};
use crate::library::Library;
use crate::memory::resident;
use crate::output;
use crate::weights::Weight;
use ort::session::builder::{PrepackedWeights, SessionBuilder};
use ort::session::{OutputSelector, RunOptions, Session, SessionInputValue, SessionOutputs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use trueline_tensors::Tensor;

/// Files that a model names are looked for here when it came as bytes. Without a folder the library would take the one that
/// the process runs in, and a model could read what lies there.
const NOWHERE: &str = "/nonexistent";

/// Held while a session is made: the memory of two at once could not be told apart, and a load takes more for a moment than
/// it keeps.
static MAKING: Mutex<()> = Mutex::new(());

/// All that a session is made of.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) library: &'static Library,
    /// The model.
    pub(crate) bytes: Arc<Vec<u8>>,
    /// Where the files lie that the model names, when it may have any.
    pub(crate) folder: Option<PathBuf>,
    /// Threads that one run may use.
    pub(crate) threads: usize,
    /// What all sessions share.
    pub(crate) shared: Option<Shared>,
}

/// Weights that all sessions share, as they are and as the library has prepared them. Each session keeps them alive.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) weights: Vec<Weight>,
    pub(crate) prepared: PrepackedWeights,
}

/// A session, and by how much the process grew when it was made.
pub(crate) struct Made {
    pub(crate) session: Session,
    pub(crate) bytes: usize,
}

impl Recipe {
    /// Makes a session.
    pub(crate) fn make(&self) -> Result<Made, LoadError> {
        let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let before = resident();
        // Where a model is of a kind that it does not know, `ort` panics.
        let made = catch_unwind(AssertUnwindSafe(|| self.builder()?.commit_from_memory(&self.bytes)));
        let session = match made {
            Ok(made) => made.map_err(|e| LoadError::Refused { reason: e.to_string() })?,
            Err(_) => {
                return Err(LoadError::Refused {
                    reason: "it has inputs or outputs of an unknown kind".to_owned(),
                });
            }
        };
        let grown = resident().zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
        // Memory that another model gave back may have been taken again, and then nothing grows.
        Ok(Made { session, bytes: grown.max(self.bytes.len()) })
    }

    fn builder(&self) -> ort::Result<SessionBuilder> {
        let folder = self.folder.as_ref().map_or(NOWHERE.into(), |folder| folder.to_string_lossy());
        let mut builder = Session::builder(self.library.environment())?
            .with_intra_threads(self.threads)?
            // Threads that spin while they wait would take time from other models.
            .with_intra_op_spinning(false)?
            .with_config_entry("session.model_external_initializers_file_folder_path", folder)?;
        if let Some(shared) = &self.shared {
            for weight in &shared.weights {
                // Named twice: the graph's optimizers read the one, the nodes the other, which is not copied.
                builder = builder
                    .with_external_initializer(&weight.name, Arc::clone(&weight.value))?
                    .with_initializer(&weight.name, Arc::clone(&weight.value))?;
            }
            builder = builder.with_prepacked_weights(&shared.prepared)?;
        }
        Ok(builder)
    }

    /// Bytes that all sessions have in common.
    pub(crate) fn heap_bytes(&self) -> usize {
        let weights = self.shared.iter().flat_map(|shared| &shared.weights);
        self.bytes.len() + weights.map(|weight| weight.bytes).sum::<usize>()
    }
}

/// What of a model is to be run.
pub(crate) enum Wanted<'a> {
    /// All outputs.
    All,
    /// All outputs, until somebody ends it.
    UntilEnded(&'a RunOptions),
    /// These.
    Some(&'a [&'a str]),
}

/// Runs a session with values in the order of its inputs, and takes its outputs. Values are borrowed, since an output may be
/// an input that is passed through, and then lies in the input's memory: it must not be gone before the output was taken,
/// which `ort` does not see to.
pub(crate) fn run(
    session: &mut Session,
    inputs: &[SessionInputValue<'_>],
    wanted: &Wanted<'_>,
) -> Result<Vec<Tensor>, RunError> {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let selected;
        let outputs = match wanted {
            Wanted::All => session.run(inputs),
            Wanted::UntilEnded(options) => session.run_with_options(inputs, options),
            Wanted::Some(names) => {
                let selector = names.iter().fold(OutputSelector::no_default(), |all, name| all.with(*name));
                selected = RunOptions::new().map_err(|e| e.to_string())?.with_outputs(selector);
                session.run_with_options(inputs, &selected)
            }
        };
        taken(outputs.map_err(|e| e.to_string())?)
    }));
    match ran {
        Ok(ran) => ran.map_err(|reason| RunError::Failed { reason }),
        Err(_) => Err(RunError::Failed { reason: "an output has no value".to_owned() }),
    }
}

fn taken(outputs: SessionOutputs<'_>) -> Result<Vec<Tensor>, String> {
    outputs.into_iter().map(|(name, value)| output::tensor(name, &value)).collect()
}
