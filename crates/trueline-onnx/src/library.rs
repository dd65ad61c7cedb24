//! The onnxruntime library: loaded once in the life of a process, by whoever needs it first.

use crate::error::LibraryError;
use crate::search::{Plan, Search, Surroundings};
use ort::environment::Environment;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The oldest version of the library that is loaded: 1.20, by the feature `api-20` of `ort`.
const OLDEST_MINOR: u32 = ort::MINOR_VERSION;

static LOADED: OnceLock<Library> = OnceLock::new();
/// Held while the library is loaded, so that two who need it first don't both try.
static LOADING: Mutex<()> = Mutex::new(());

/// The library, loaded. It stays so until the process ends: it can't be unloaded safely.
#[derive(Debug)]
pub struct Library {
    path: PathBuf,
    build: String,
    environment: Environment,
}

impl Library {
    /// The library, which is searched for and loaded when this is asked for the first time. Later calls give the same one,
    /// whatever their search says; a search that failed is made anew.
    ///
    /// # Errors
    /// [`LibraryError`], which says where it was looked for and what to do.
    pub fn load(search: &Search) -> Result<&'static Self, LibraryError> {
        if let Some(library) = LOADED.get() {
            return Ok(library);
        }
        let _alone = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = LOADED.get() {
            return Ok(library);
        }
        let library = Self::first_of(&search.plan(&Surroundings::of_process()))?;
        Ok(LOADED.get_or_init(|| library))
    }

    /// The library if somebody has loaded it.
    #[must_use]
    pub fn loaded() -> Option<&'static Self> {
        LOADED.get()
    }

    /// The file that it was loaded from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the library says of its build: version of the source, compiler's flags.
    #[must_use]
    pub fn build(&self) -> &str {
        &self.build
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    fn first_of(plan: &Plan) -> Result<Self, LibraryError> {
        let mut refused = Vec::new();
        for file in &plan.files {
            match Self::of_file(file) {
                Ok(library) => return Ok(library),
                Err(reason) => refused.push(reason),
            }
        }
        Err(match refused.is_empty() {
            true => LibraryError::Missing { looked: plan.looked.join("; ") },
            false => LibraryError::Unusable { reasons: refused.join("; "), oldest: OLDEST_MINOR },
        })
    }

    fn of_file(file: &Path) -> Result<Self, String> {
        // `ort` panics where a library answers what none should.
        let attempt = std::panic::catch_unwind(|| {
            let builder = ort::init_from(file).map_err(|e| e.to_string())?;
            let environment = builder
                .with_name("trueline")
                .with_telemetry(false)
                .with_logger(Arc::new(|_, category: &str, _: &str, _: &str, message: &str| {
                    // Whatever matters to a caller comes back as an error besides.
                    tracing::debug!(target: "onnxruntime", category, "{message}");
                }))
                .build()
                .map_err(|e| e.to_string())?;
            Ok(Self { path: file.to_path_buf(), build: ort::info().to_owned(), environment })
        });
        let result = attempt.unwrap_or_else(|_| Err("it is not a library of onnxruntime".to_owned()));
        result.map_err(|reason: String| format!("{}: {reason}", file.display()))
    }
}
