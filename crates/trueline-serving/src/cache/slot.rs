//! The place of one version: its model while it is loaded, and what is known of it while it is not. A request reads one
//! pointer here and leaves the time.

use crate::card::ModelCard;
use crate::model::{LoadedModel, ModelSpec};
use arc_swap::ArcSwapOption;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use trueline_ledger::ProjectId;

/// Requests that may wait for one version to be loaded.
pub(super) const MOST_WAITING: usize = 256;
/// How long a version that could not be loaded is not tried again; twice as long each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// From when on times are counted.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The place of a version.
#[derive(Debug)]
pub(crate) struct Slot {
    project: ProjectId,
    spec: ModelSpec,
    model: ArcSwapOption<LoadedModel>,
    /// When it was asked last.
    asked: AtomicU64,
    /// What it takes of memory, as it was last measured.
    bytes: AtomicUsize,
    /// What it tells of itself, once it was loaded.
    card: OnceLock<ModelCard>,
    failure: Mutex<Option<Failure>>,
    /// Held by whoever loads it.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Room for those who wait for that.
    pub(super) waiting: Arc<Semaphore>,
}

/// Why it could not be loaded the last time.
#[derive(Clone, Debug)]
struct Failure {
    why: String,
    at: Instant,
    /// For how long it is not tried again.
    wait: Duration,
}

impl Slot {
    pub(super) fn new(project: ProjectId, spec: ModelSpec) -> Self {
        Self {
            project,
            spec,
            model: ArcSwapOption::empty(),
            asked: AtomicU64::new(clock(Instant::now())),
            bytes: AtomicUsize::new(0),
            card: OnceLock::new(),
            failure: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
        }
    }

    pub(super) fn is(&self, project: &ProjectId, spec: &ModelSpec) -> bool {
        self.project == *project && self.spec == *spec
    }

    pub(super) fn project(&self) -> &ProjectId {
        &self.project
    }

    /// The version.
    pub(crate) fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The model, if it is loaded. Whoever holds it keeps it from being unloaded.
    pub(crate) fn loaded(&self) -> Option<Arc<LoadedModel>> {
        self.model.load_full()
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.model.load().is_some()
    }

    /// The model for a request that came at this time, if it is loaded.
    pub(crate) fn ask(&self, at: Instant) -> Option<Arc<LoadedModel>> {
        self.touch(at);
        self.loaded()
    }

    /// Notes that it was needed at this time.
    pub(crate) fn touch(&self, at: Instant) {
        self.asked.store(clock(at), Ordering::Relaxed);
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether somebody holds the model besides this place.
    pub(super) fn is_busy(&self) -> bool {
        self.model.load().as_ref().is_some_and(|model| Arc::strong_count(model) > 1)
    }

    /// Whether it may compute for long over so many rows, on the thread that asks it, or has to be loaded first.
    pub(crate) fn computes_long(&self, rows: usize) -> bool {
        self.model.load().as_ref().is_none_or(|model| model.computes_long(rows))
    }

    /// What it takes of memory while it is loaded, as it was last measured.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What it tells of itself; none before it was loaded once.
    pub(crate) fn card(&self) -> Option<&ModelCard> {
        self.card.get()
    }

    /// Takes in what an earlier process knew of it.
    pub(crate) fn learn(&self, card: &ModelCard, bytes: usize) {
        if self.card.set(card.clone()).is_ok() {
            self.bytes.store(bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn put(&self, model: &Arc<LoadedModel>) {
        self.bytes.store(model.heap_bytes(), Ordering::Relaxed);
        // What it tells of itself is frozen with its files: a second time it is the same.
        let _ = self.card.set(model.card());
        *self.failure() = None;
        self.touch(Instant::now());
        self.model.store(Some(Arc::clone(model)));
    }

    /// Lets go of the model, which is gone when nobody else holds it.
    pub(super) fn take(&self) -> Option<Arc<LoadedModel>> {
        self.model.swap(None)
    }

    /// Measures what it takes, which grows while a worker works.
    pub(super) fn measure(&self) {
        // Not held while it is measured, or it could not be unloaded meanwhile.
        if let Some(model) = &*self.model.load() {
            self.bytes.store(model.heap_bytes(), Ordering::Relaxed);
        }
    }

    pub(super) fn fail(&self, why: String) {
        let mut failure = self.failure();
        let wait = failure.as_ref().map_or(FIRST_WAIT, |before| (before.wait * 2).min(LONGEST_WAIT));
        *failure = Some(Failure { why, at: Instant::now(), wait });
    }

    /// Why it can't be loaded, when that was tried last and failed.
    pub(crate) fn why_not(&self) -> Option<String> {
        self.failure().as_ref().map(|failure| failure.why.clone())
    }

    /// Why it can't be loaded, when that is too lately known to be tried again for a request that came at this time.
    pub(super) fn failed_for(&self, came: Instant) -> Option<String> {
        let failure = self.failure();
        let known = failure.as_ref().filter(|f| came < f.at + f.wait);
        known.map(|failure| failure.why.clone())
    }

    /// Whether it is time to try again what failed, unless somebody does.
    pub(super) fn is_due(&self) -> bool {
        let now = Instant::now();
        let due = self.failure().as_ref().is_some_and(|failure| now >= failure.at + failure.wait);
        due && self.turn.try_lock().is_ok()
    }

    fn failure(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn clock(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(*BEGINNING).as_micros()).unwrap_or(u64::MAX)
}
