//! Models that a platform loads and unloads by name, each behind an endpoint of that name: for a container of many models. What
//! fits is the platform's to say: nothing is unloaded behind its back, and what does not fit is refused. Models are loaded beside
//! each other, and whether each fits is decided in the order in which they came, as if they had been loaded one after another.

use crate::cache::MemoryUse;
use crate::error::ServingError;
use crate::files::Folders;
use crate::model::ModelSpec;
use crate::plane::DataPlane;
use crate::route::Variant;
use crate::snapshot::EndpointSnapshot;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use trueline_ledger::ProjectId;

/// The longest name of a model, in bytes.
const LONGEST_NAME: usize = 512;

/// Why a platform is refused.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A model of that name is there, or being loaded.
    #[error("model `{0}` is loaded already: unload it first, or choose another name")]
    Exists(String),
    /// No model of that name is there.
    #[error("model `{0}` is not loaded: load it with POST /models")]
    NotFound(String),
    /// The name or the place of a model is none.
    #[error("{0}")]
    Invalid(String),
    /// It does not fit into memory beside the others.
    #[error(
        "model `{name}` does not fit into memory: models may take {limit} bytes (--model-memory), and would take \
         {needed}: unload some"
    )]
    NoMemory {
        /// Its name.
        name: String,
        /// What all models may take, in bytes.
        limit: usize,
        /// What they would take with it, in bytes.
        needed: usize,
    },
    /// It can't be served.
    #[error(transparent)]
    Serving(#[from] ServingError),
}

/// A model that a platform has loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostedModel {
    /// Its name.
    pub name: String,
    /// The folder that it came from, as the platform named it.
    pub url: String,
}

/// The models that a platform has loaded. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HostedModels {
    plane: DataPlane,
    folders: Arc<Folders>,
    project: String,
    /// Below which models lie; others are not loaded, since a pickled model is code.
    root: PathBuf,
    models: Arc<Mutex<BTreeMap<String, Hosted>>>,
    /// Told when it was decided of a model whether it fits, or it came to nothing.
    decided: Arc<Notify>,
}

#[derive(Debug)]
struct Hosted {
    url: String,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Being loaded.
    Coming {
        /// How many came before it, by which their order is known.
        number: u64,
        /// What is loaded, once that is known.
        spec: Option<ModelSpec>,
    },
    /// It fits.
    Fits,
    /// It answers.
    Ready,
}

impl Hosted {
    fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }
}

/// The name of a model that is being loaded, which is free again when that comes to nothing.
struct Claim<'h> {
    models: &'h HostedModels,
    name: &'h str,
    number: u64,
    kept: bool,
}

impl Claim<'_> {
    fn is(&self, state: State) {
        if let Some(hosted) = self.models.models().get_mut(self.name) {
            hosted.state = state;
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.models.models().remove(self.name);
            self.models.decided.notify_waiters();
        }
    }
}

impl HostedModels {
    /// Models below `root`, which answer as endpoints of a project by its name. The memory of `plane` should be
    /// [`crate::ModelMemory::Fixed`].
    #[must_use]
    pub fn new(plane: DataPlane, folders: Arc<Folders>, project: &str, root: PathBuf) -> Self {
        Self {
            plane,
            folders,
            project: project.to_owned(),
            root,
            models: Arc::default(),
            decided: Arc::default(),
        }
    }

    /// Loads a model from a folder and tries it; when this returns, it answers.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn load(&self, name: &str, url: &str) -> Result<(), HostError> {
        let mut claim = self.claim(name, url)?;
        let (models, folder, called) = (self.clone(), url.to_owned(), name.to_owned());
        let found = tokio::task::spawn_blocking(move || {
            let folder = models.below_root(&folder)?;
            Ok::<_, HostError>(models.folders.add(&folder, &called)?)
        });
        let spec =
            found.await.map_err(|stopped| HostError::Invalid(format!("it was not read: {stopped}")))??;
        let project = ProjectId::new(&self.project);
        claim.is(State::Coming { number: claim.number, spec: Some(spec.clone()) });
        // Held until it is published, so that it stays.
        let model = self.plane.loaded(&project, &spec).await?;
        self.turn(claim.number).await;
        let used = self.memory_at(claim.number);
        if let Some(limit) = used.limit.filter(|limit| used.bytes > *limit) {
            drop(model);
            self.plane.let_go();
            return Err(HostError::NoMemory { name: name.to_owned(), limit, needed: used.bytes });
        }
        claim.is(State::Fits);
        self.decided.notify_waiters();
        let endpoint = EndpointSnapshot::of(project, &self.project, name, vec![Variant::new(spec, 1)]);
        self.plane.publish(endpoint).await?;
        claim.is(State::Ready);
        claim.kept = true;
        Ok(())
    }

    /// Waits until it was decided of all models that came before this one.
    async fn turn(&self, number: u64) {
        let is_before =
            |hosted: &Hosted| matches!(hosted.state, State::Coming { number: n, .. } if n < number);
        loop {
            let mut decided = pin!(self.decided.notified());
            // From here on it is heard, so that nothing is missed between the look and the wait.
            decided.as_mut().enable();
            if !self.models().values().any(is_before) {
                return;
            }
            decided.await;
        }
    }

    /// What models take, without those that came after this one.
    fn memory_at(&self, number: u64) -> MemoryUse {
        // What was loaded for somebody who did not wait for it takes no room from others.
        self.plane.let_go();
        let models = self.models();
        let later = models.values().filter_map(|hosted| match &hosted.state {
            State::Coming { number: n, spec } if *n > number => spec.as_ref(),
            _ => None,
        });
        let later: Vec<&ModelSpec> = later.collect();
        self.plane.memory_without(&ProjectId::new(&self.project), &later)
    }

    /// Unloads a model; requests that it has are answered.
    ///
    /// # Errors
    /// [`HostError::NotFound`].
    pub fn unload(&self, name: &str) -> Result<(), HostError> {
        let mut models = self.models();
        if models.get(name).is_none_or(|hosted| !hosted.is_ready()) {
            return Err(HostError::NotFound(name.to_owned()));
        }
        models.remove(name);
        // What is freed may be gigabytes, and requests to the others go on meanwhile.
        drop(models);
        self.plane.retain(|project, endpoint| project != self.project || endpoint != name);
        Ok(())
    }

    /// A model that is loaded.
    ///
    /// # Errors
    /// [`HostError::NotFound`].
    pub fn get(&self, name: &str) -> Result<HostedModel, HostError> {
        let models = self.models();
        let found = models.get(name).filter(|hosted| hosted.is_ready());
        let found = found.ok_or_else(|| HostError::NotFound(name.to_owned()))?;
        Ok(HostedModel { name: name.to_owned(), url: found.url.clone() })
    }

    /// At most `limit` of the models that are loaded, by name, those behind `after`; and whether there are more.
    #[must_use]
    pub fn list(&self, after: Option<&str>, limit: usize) -> (Vec<HostedModel>, bool) {
        let models = self.models();
        let mut ready = models
            .iter()
            .filter(|(name, hosted)| hosted.is_ready() && after.is_none_or(|after| name.as_str() > after))
            .map(|(name, hosted)| HostedModel { name: name.clone(), url: hosted.url.clone() });
        let page = ready.by_ref().take(limit).collect();
        let more = ready.next().is_some();
        (page, more)
    }

    fn claim<'h>(&'h self, name: &'h str, url: &str) -> Result<Claim<'h>, HostError> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(HostError::Invalid(format!("a model's name has 1 to {LONGEST_NAME} bytes")));
        }
        let mut models = self.models();
        if models.contains_key(name) || self.plane.edition(&self.project, name).is_some() {
            return Err(HostError::Exists(name.to_owned()));
        }
        let numbers = models.values().filter_map(|hosted| match hosted.state {
            State::Coming { number, .. } => Some(number),
            State::Fits | State::Ready => None,
        });
        // It need only be larger than those of which nothing is decided yet.
        let number = numbers.max().map_or(0, |last| last + 1);
        let state = State::Coming { number, spec: None };
        models.insert(name.to_owned(), Hosted { url: url.to_owned(), state });
        Ok(Claim { models: self, name, number, kept: false })
    }

    /// The folder of a model, if it lies where models may.
    fn below_root(&self, url: &str) -> Result<PathBuf, HostError> {
        let place = |path: &Path| {
            let wrong =
                |e: std::io::Error| HostError::Invalid(format!("{} can't be read: {e}", path.display()));
            path.canonicalize().map_err(wrong)
        };
        let (root, folder) = (place(&self.root)?, place(Path::new(url))?);
        match folder.starts_with(&root) {
            true => Ok(folder),
            false => {
                Err(HostError::Invalid(format!("models are loaded from below {} alone", root.display())))
            }
        }
    }

    fn models(&self) -> MutexGuard<'_, BTreeMap<String, Hosted>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
