//! Loaded models, within a budget of memory: loaded when they are needed, unloaded when others need the room, loaded again when
//! they are asked. A request to a loaded model takes no lock here.

mod budget;
mod slot;

pub use budget::ModelMemory;
pub(crate) use slot::Slot;

use crate::error::ServingError;
use crate::model::{LoadedModel, ModelLoader, ModelSpec};
use budget::{Bounds, Held, to_unload};
use slot::MOST_WAITING;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use trueline_ledger::ProjectId;

/// Versions that are loaded at once: a worker of Python takes seconds, and trees should not wait for it.
const LOADS_AT_ONCE: usize = 4;
/// How often what models take is measured anew, and what could not be loaded is looked after.
const TEND_EVERY: Duration = Duration::from_secs(2);

/// What loaded models take of memory now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// How many models are loaded.
    pub loaded: usize,
    /// What they take, in bytes.
    pub bytes: usize,
    /// What they may take, in bytes, if there is a limit.
    pub limit: Option<usize>,
}

/// The models of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ModelCache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    loader: ModelLoader,
    memory: ModelMemory,
    slots: Mutex<Slots>,
    loads: Semaphore,
    /// Where models are loaded: requests may come by threads that answer short ones and nothing else.
    loading: Option<Handle>,
}

/// Those that are loaded or that somebody needs, and what models will take that are being loaded.
#[derive(Debug, Default)]
struct Slots {
    all: Vec<Arc<Slot>>,
    reserved: usize,
}

/// Memory that a model will take which is being loaded.
struct Room<'c> {
    cache: &'c ModelCache,
    bytes: usize,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.cache.slots().reserved -= self.bytes;
    }
}

impl ModelCache {
    /// One that loads models on the runtime in which it is made, or else in that of whoever needs them.
    pub(crate) fn new(loader: ModelLoader, memory: ModelMemory) -> Self {
        let (loads, loading) = (Semaphore::new(LOADS_AT_ONCE), Handle::try_current().ok());
        Self { inner: Arc::new(Inner { loader, memory, slots: Mutex::default(), loads, loading }) }
    }

    /// The place of a version.
    pub(crate) fn slot(&self, project: &ProjectId, spec: &ModelSpec) -> Arc<Slot> {
        let mut slots = self.slots();
        if let Some(found) = slots.all.iter().find(|slot| slot.is(project, spec)) {
            return Arc::clone(found);
        }
        let slot = Arc::new(Slot::new(project.clone(), spec.clone()));
        slots.all.push(Arc::clone(&slot));
        slot
    }

    /// Its model, which is loaded and tried if it is not there, however lately that failed.
    ///
    /// # Errors
    /// [`ServingError::Unservable`] with the reason.
    pub(crate) async fn load(&self, slot: &Arc<Slot>) -> Result<Arc<LoadedModel>, ServingError> {
        match slot.ask(Instant::now()) {
            Some(model) => Ok(model),
            None => {
                let loading = self.begin(slot, None, None).await;
                loading.unwrap_or_else(|stopped| Err(not_loaded(slot, &stopped.to_string())))
            }
        }
    }

    /// Its model for a request that waits until `deadline`. However many wait, it is loaded once; what is being loaded goes on
    /// when nobody waits any more.
    ///
    /// # Errors
    /// [`ServingError::NotLoaded`] when it can't be loaded, [`ServingError::Busy`] when too many wait, [`ServingError::TimedOut`].
    pub(crate) async fn wake(
        &self,
        slot: &Arc<Slot>,
        deadline: Option<Instant>,
    ) -> Result<Arc<LoadedModel>, ServingError> {
        let Ok(waits) = Arc::clone(&slot.waiting).try_acquire_owned() else {
            let version = slot.spec().name();
            return Err(ServingError::Busy(format!(
                "{MOST_WAITING} requests wait for version {version} to be loaded: send this one again in a moment"
            )));
        };
        let came = Instant::now();
        let loading = self.begin(slot, Some(came), Some(waits));
        let loaded = match deadline {
            None => loading.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), loading).await.map_err(|_| {
                let version = slot.spec().name();
                ServingError::TimedOut(format!(
                    "version {version} was not loaded before the request's deadline"
                ))
            })?,
        };
        metrics::histogram!("trueline_model_load_wait_seconds").record(came.elapsed().as_secs_f64());
        match loaded {
            Ok(Err(told @ (ServingError::Busy(_) | ServingError::NotLoaded(_)))) => Err(told),
            Ok(Err(error)) => Err(not_loaded(slot, &error.to_string())),
            Ok(loaded) => loaded,
            Err(stopped) => Err(not_loaded(slot, &stopped.to_string())),
        }
    }

    /// Begins to load it, or waits for whoever does; for a request, with the time at which it came.
    fn begin(
        &self,
        slot: &Arc<Slot>,
        came: Option<Instant>,
        waits: Option<OwnedSemaphorePermit>,
    ) -> JoinHandle<Result<Arc<LoadedModel>, ServingError>> {
        let (cache, slot) = (self.clone(), Arc::clone(slot));
        let handle = self.inner.loading.clone().unwrap_or_else(Handle::current);
        handle.spawn(async move {
            // Its place is given back when it has had its turn, whether the caller is still there or not.
            let _waits = waits;
            cache.load_in_turn(&slot, came).await
        })
    }

    /// Loads it, unless somebody has meanwhile, or has failed to since the request came.
    async fn load_in_turn(
        &self,
        slot: &Slot,
        came: Option<Instant>,
    ) -> Result<Arc<LoadedModel>, ServingError> {
        let _turn = slot.turn.lock().await;
        if let Some(model) = slot.loaded() {
            return Ok(model);
        }
        match came.and_then(|came| slot.failed_for(came)) {
            Some(why) => Err(not_loaded(slot, &why)),
            None => self.load_now(slot).await,
        }
    }

    /// Loads it, for whoever has its turn. Others make room for what it took the last time, before, and for what it takes now.
    async fn load_now(&self, slot: &Slot) -> Result<Arc<LoadedModel>, ServingError> {
        // It is never closed; were it, the server would be about to end.
        let place = self.inner.loads.acquire().await;
        let _place = place.map_err(|_| not_loaded(slot, "the server stops"))?;
        let room = self.make_room(slot.bytes());
        let loaded = self.inner.loader.load(slot.project(), slot.spec().clone()).await;
        let model = match loaded {
            Ok(model) => Arc::new(model),
            Err(error) => {
                metrics::counter!("trueline_model_load_failures_total").increment(1);
                slot.fail(error.to_string());
                return Err(error);
            }
        };
        metrics::counter!("trueline_model_loads_total").increment(1);
        slot.put(&model);
        drop(room);
        self.settle();
        Ok(model)
    }

    fn make_room(&self, bytes: usize) -> Room<'_> {
        let mut slots = self.slots();
        let gone = slots.unload(self.inner.memory.bounds(), bytes);
        slots.reserved += bytes;
        drop(slots);
        drop(gone);
        Room { cache: self, bytes }
    }

    /// Unloads what has to go, and forgets places that nobody needs.
    pub(crate) fn settle(&self) {
        let mut slots = self.slots();
        let gone = slots.unload(self.inner.memory.bounds(), 0);
        slots.all.retain(|slot| slot.is_loaded() || Arc::strong_count(slot) > 1);
        let used = slots.used(self.inner.memory);
        drop(slots);
        // Away from the lock: it may be gigabytes.
        drop(gone);
        tell(used);
    }

    /// What loaded models take now.
    pub(crate) fn used(&self) -> MemoryUse {
        self.slots().used(self.inner.memory)
    }

    /// What loaded models take now, without those of these versions.
    pub(crate) fn used_without(&self, project: &ProjectId, specs: &[&ModelSpec]) -> MemoryUse {
        let left_out = |slot: &Slot| specs.iter().any(|spec| slot.is(project, spec));
        self.slots().used_by(self.inner.memory, |slot| !left_out(slot))
    }

    /// Whether so many more bytes would fit without anything being unloaded.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        let slots = self.slots();
        let used = slots.used(self.inner.memory).bytes.saturating_add(slots.reserved);
        self.inner.memory.limit().is_none_or(|limit| used.saturating_add(bytes) <= limit)
    }

    /// Measures what models take and keeps them within their memory, and tries again to load what endpoints need and could not
    /// be, until `stop` says so.
    pub(crate) async fn tend(&self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(TEND_EVERY) => {}
            }
            let cache = self.clone();
            // The system is asked about each worker, which takes milliseconds.
            drop(tokio::task::spawn_blocking(move || cache.measure()).await);
            self.settle();
            self.try_again();
        }
    }

    fn measure(&self) {
        let all: Vec<_> = self.slots().all.iter().map(Arc::downgrade).collect();
        // Each is held while it is measured alone: what is held counts as needed.
        all.iter().filter_map(std::sync::Weak::upgrade).for_each(|slot| slot.measure());
    }

    fn try_again(&self) {
        let is_due = |slot: &&Arc<Slot>| Arc::strong_count(slot) > 1 && slot.is_due();
        let due: Vec<Arc<Slot>> = self.slots().all.iter().filter(is_due).map(Arc::clone).collect();
        // What comes of it is in its place.
        due.iter().for_each(|slot| drop(self.begin(slot, Some(Instant::now()), None)));
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// Takes models out, so that there is room for so many more bytes. They are gone when what is returned is dropped.
    fn unload(&self, bounds: Bounds, wanted: usize) -> Vec<Arc<LoadedModel>> {
        let loaded: Vec<&Arc<Slot>> = self.all.iter().filter(|slot| slot.is_loaded()).collect();
        let held = |slot: &&Arc<Slot>| Held {
            bytes: slot.bytes(),
            asked: slot.asked(),
            busy: slot.is_busy(),
            routed: Arc::strong_count(slot) > 1,
        };
        let held: Vec<Held> = loaded.iter().map(held).collect();
        let gone = to_unload(&held, bounds, wanted.saturating_add(self.reserved));
        let unloaded = |i: usize| {
            tracing::debug!(version = loaded[i].spec().name(), bytes = held[i].bytes, "a model is unloaded");
            metrics::counter!("trueline_model_unloads_total").increment(1);
            loaded[i].take()
        };
        gone.into_iter().filter_map(unloaded).collect()
    }

    fn used(&self, memory: ModelMemory) -> MemoryUse {
        self.used_by(memory, |_| true)
    }

    fn used_by(&self, memory: ModelMemory, counts: impl Fn(&Slot) -> bool) -> MemoryUse {
        let loaded: Vec<_> = self.all.iter().filter(|slot| slot.is_loaded() && counts(slot)).collect();
        let bytes = loaded.iter().map(|slot| slot.bytes()).fold(0, usize::saturating_add);
        MemoryUse { loaded: loaded.len(), bytes, limit: memory.limit() }
    }
}

#[allow(clippy::cast_precision_loss)]
fn tell(used: MemoryUse) {
    metrics::gauge!("trueline_models_loaded").set(used.loaded as f64);
    metrics::gauge!("trueline_models_loaded_bytes").set(used.bytes as f64);
    if let Some(limit) = used.limit {
        metrics::gauge!("trueline_model_memory_limit_bytes").set(limit as f64);
    }
}

fn not_loaded(slot: &Slot, why: &str) -> ServingError {
    let version = slot.spec().name();
    ServingError::NotLoaded(format!(
        "version {version} is not in memory and can't be loaded, which is tried again from time to time: {why}"
    ))
}
