//! The data plane: endpoints with loaded models behind one atomic pointer. A request reads it without a lock; a change
//! loads first, then swaps, then persists. It knows no database.

mod found;
mod loading;

use crate::batching::Batched;
use crate::cache::{MemoryUse, ModelCache, ModelMemory};
use crate::card::ModelCard;
use crate::cause::Cause;
use crate::error::ServingError;
use crate::features::FeatureSource;
use crate::frame::Frame;
use crate::live::{Live, LiveEndpoint, LiveVariant, Picked};
use crate::log_rules::LogRules;
use crate::meters::{Metered, Meters, Registry};
use crate::model::{ModelLoader, ModelSpec};
use crate::predictions::Predictions;
use crate::rollout::{Drawn, Observation, Outcome, ShadowDraw, ShadowObservation};
use crate::served::Served;
use crate::snapshot::{Access, EndpointSnapshot, Snapshot};
use crate::status::{EndpointStatus, Readiness};
use arc_swap::ArcSwap;
pub use found::FoundEndpoint;
use loading::known;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use trueline_ledger::{Millis, ProjectId};
use trueline_tensors::Tensor;

/// A request to an endpoint.
pub struct Ask<'a> {
    /// The endpoint, as it was found.
    pub endpoint: &'a FoundEndpoint,
    /// The version that is wanted, whatever the weights say; a rollout takes no notice of such a request.
    pub version: Option<i64>,
    /// The input.
    pub frame: &'a Frame,
    /// What makes the caller stay with one variant.
    pub sticky: Option<&'a str>,
    /// Randomness that picks the variant when nothing is sticky.
    pub lot: u64,
    /// When what is predicted happens, in milliseconds since 1970: features are read as of then.
    pub at_ms: Millis,
    /// Until when the caller waits; without one it may take as long as any.
    pub deadline: Option<Instant>,
    /// Where features come from.
    pub features: &'a dyn FeatureSource,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Who answered.
    pub served: Arc<Served>,
    /// How it is logged; none where it is as it comes.
    pub log_rules: Option<Arc<LogRules>>,
    /// The features that the model read besides the request.
    pub features: Vec<Tensor>,
    /// How long that took.
    pub features_took: Duration,
    /// How the request went to the model: how long it waited for others, and with how many it was answered.
    pub batched: Batched,
    /// The lot that picked who answered for a rollout that is under way; none when the caller named the version.
    pub drawn: Option<Drawn>,
    /// The predictions, or why there are none.
    pub predictions: Result<Predictions, ServingError>,
    /// The candidate that is to be asked the same, for nobody but the judge of its rollout.
    pub shadow: Option<ShadowDraw>,
}

/// What a caller may do with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Ask; and say when it happened, if `replay`.
    Admitted {
        /// Whether the caller may say when a prediction happened.
        replay: bool,
    },
    /// Nothing: no token came and one is needed, or the token is not known.
    Unknown,
    /// The token is known, but not for this endpoint's project.
    Elsewhere,
}

#[derive(Debug)]
struct Inner {
    live: ArcSwap<Live>,
    /// Serialises changes; a request never takes it.
    changing: Mutex<()>,
    /// Serialises writing the file, which no change waits for.
    persisting: Mutex<()>,
    /// Whether what is live was not persisted yet.
    dirty: AtomicBool,
    cache: ModelCache,
    meters: Registry,
    file: Option<PathBuf>,
}

/// The data plane of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DataPlane {
    inner: Arc<Inner>,
}

impl DataPlane {
    /// An empty one, whose models are loaded by `loader` and take as much memory as they want, and which persists to `file`, if
    /// there is one.
    #[must_use]
    pub fn new(loader: ModelLoader, file: Option<PathBuf>) -> Self {
        Self::within(ModelMemory::Unlimited, loader, file)
    }

    /// The same, whose models keep within some memory.
    #[must_use]
    pub fn within(memory: ModelMemory, loader: ModelLoader, file: Option<PathBuf>) -> Self {
        let inner = Inner {
            live: ArcSwap::default(),
            changing: Mutex::new(()),
            persisting: Mutex::new(()),
            dirty: AtomicBool::new(false),
            cache: ModelCache::new(loader, memory),
            meters: Registry::default(),
            file,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Has an endpoint answer by this route, at once and for all requests that come from now on; an older edition
    /// than the one that answers is ignored. [`DataPlane::persist`] keeps it for the next start.
    ///
    /// # Errors
    /// [`ServingError::Unservable`]; what answered before goes on then.
    pub async fn publish(&self, endpoint: EndpointSnapshot) -> Result<(), ServingError> {
        match self.load(endpoint.clone()).await {
            Ok(live) => self.swap(|state| state.put(&live)),
            Err(error) => {
                let (project, name) = (endpoint.project_name.clone(), endpoint.name.clone());
                let told = self.generation(&project, &name).is_some()
                    || self.why_left_out(&project, &name) == Some(error.to_string());
                if !told {
                    let meters = self.meters_of(&endpoint, None);
                    self.swap(|state| state.leave_out(endpoint, error.to_string(), meters));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// What loaded models take of memory now.
    #[must_use]
    pub fn memory(&self) -> MemoryUse {
        self.inner.cache.used()
    }

    /// What loaded models take of memory now, without those of these versions.
    pub(crate) fn memory_without(&self, project: &ProjectId, specs: &[&ModelSpec]) -> MemoryUse {
        self.inner.cache.used_without(project, specs)
    }

    /// Unloads models that need not stay, such as those that were loaded and then not published.
    pub fn let_go(&self) {
        self.inner.cache.settle();
    }

    /// Keeps models within their memory, and tries again to load what endpoints need and could not be, until `stop` says so.
    pub async fn tend(&self, stop: watch::Receiver<bool>) {
        self.inner.cache.tend(stop).await;
    }

    /// The id of an endpoint's project, both by name.
    #[must_use]
    pub fn project(&self, project: &str, endpoint: &str) -> Option<ProjectId> {
        self.inner.live.load().project_of(project, endpoint).cloned()
    }

    /// The names of the projects whose endpoints are to answer, by their ids.
    #[must_use]
    pub fn project_names(&self) -> HashMap<ProjectId, String> {
        let live = self.inner.live.load();
        live.snapshots().map(|snapshot| (snapshot.project.clone(), snapshot.project_name.clone())).collect()
    }

    /// The generation by which an endpoint (of a project by its name) answers.
    #[must_use]
    pub fn generation(&self, project: &str, endpoint: &str) -> Option<i64> {
        self.edition(project, endpoint).map(|(generation, _)| generation)
    }

    /// The edition of its snapshot by which an endpoint (of a project by its name) answers.
    #[must_use]
    pub fn edition(&self, project: &str, endpoint: &str) -> Option<(i64, i64)> {
        self.inner.live.load().endpoint(project, endpoint).map(|e| e.snapshot.edition())
    }

    /// Whether a prediction of an endpoint, made at this time, was left out of the log by the endpoint's rules, as far as its
    /// id tells.
    #[must_use]
    pub fn is_not_logged(&self, project: &str, endpoint: &str, id: u128, made_at_ms: Millis) -> bool {
        let live = self.inner.live.load();
        let rules = live.endpoint(project, endpoint).and_then(|e| e.log_rules.as_ref());
        rules.is_some_and(|rules| rules.left_out(endpoint, id, made_at_ms))
    }

    /// Says who may ask.
    pub fn set_access(&self, access: Access) {
        if self.inner.live.load().access != access {
            self.swap(|state| state.access = access);
        }
    }

    /// Lets go of endpoints that are no more, by the names of project and endpoint.
    pub fn retain(&self, there: impl Fn(&str, &str) -> bool) {
        let gone = |live: &Live| live.snapshots().any(|own| !there(&own.project_name, &own.name));
        if gone(&self.inner.live.load()) {
            self.swap(|state| state.retain(&there));
        }
    }

    /// What a caller may do with an endpoint; `token` is the hash of the caller's token.
    #[must_use]
    pub fn admit(&self, project: &str, endpoint: &str, token: Option<&str>) -> Admission {
        let live = self.inner.live.load();
        let Some(token) = token else {
            return if live.access.open { Admission::Admitted { replay: true } } else { Admission::Unknown };
        };
        let Some(grants) = live.access.tokens.get(token) else { return Admission::Unknown };
        let own = live.project_of(project, endpoint);
        let server = ProjectId::server();
        let mut here = grants.iter().filter(|g| g.project == server || Some(&g.project) == own).peekable();
        match here.peek() {
            Some(_) => Admission::Admitted { replay: here.any(|g| g.replay) },
            None => Admission::Elsewhere,
        }
    }

    /// Answers a request. The error of a model is part of the answer, since it belongs to a variant: also that its deadline came
    /// before the model did ([`ServingError::TimedOut`]), in which case the request never gets there.
    ///
    /// # Errors
    /// [`ServingError::NotFound`] without the version that is wanted.
    pub async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, ServingError> {
        let endpoint = &*ask.endpoint.0;
        let picked = match ask.version {
            None => endpoint.pick(ask.sticky, ask.lot),
            Some(version) => endpoint.named(version).ok_or_else(|| {
                endpoint.meters.refuse(Cause::Unreadable, Instant::now());
                ServingError::NotFound(format!(
                    "version {version} does not answer for endpoint `{}`: leave the version out, or deploy it",
                    endpoint.snapshot.name
                ))
            })?,
        };
        let variant = picked.variant;
        let mut began = Instant::now();
        let mut woken = Duration::ZERO;
        let model = match variant.slot.ask(began) {
            Some(model) => model,
            None => match Box::pin(self.inner.cache.wake(&variant.slot, ask.deadline)).await {
                Ok(model) => {
                    woken = began.elapsed();
                    began = Instant::now();
                    model
                }
                Err(error) => return Ok(unwoken(endpoint, &picked, ask.frame, error)),
            },
        };
        let features = match model.feature_views() {
            [] => Ok(Vec::new()),
            views => ask.features.features(&endpoint.snapshot.project, views, ask.frame, ask.at_ms),
        };
        let features_took = began.elapsed();
        let (features, (predictions, mut batched)) = match features {
            Ok(none) if none.is_empty() => (none, model.predict_until(ask.frame, ask.deadline).await),
            Ok(features) => {
                let told = model.predict_until(&ask.frame.with(&features), ask.deadline).await;
                (features, told)
            }
            Err(error) => (Vec::new(), (Err(error), Batched::default())),
        };
        batched.queued += woken;
        picked.observe(ask.frame, || Outcome::of(predictions.as_ref().ok(), began.elapsed()));
        variant.count(predictions.is_err());
        let shadow = match endpoint.shadow(ask.sticky, ask.lot) {
            Some((shadow, key)) if ask.version.is_none() && predictions.is_ok() => {
                shadow.draw(key, &model, began.elapsed())
            }
            _ => None,
        };
        let served = Arc::clone(&variant.served);
        let log_rules = endpoint.log_rules.clone();
        let drawn = picked.drawn();
        Ok(Answer { served, log_rules, features, features_took, batched, drawn, predictions, shadow })
    }

    /// Why an endpoint that should answer does not, if there is one: its models can't be loaded, or not again.
    #[must_use]
    pub fn why_left_out(&self, project: &str, endpoint: &str) -> Option<String> {
        let live = self.inner.live.load();
        let left_out = live.why_left_out(project, endpoint).map(ToOwned::to_owned);
        left_out.or_else(|| live.endpoint(project, endpoint)?.why_not())
    }

    /// Whether an endpoint answers. One whose models were unloaded to make room does: they have passed their self-test, and are
    /// loaded when they are asked.
    #[must_use]
    pub fn answers(&self, project: &str, endpoint: &str) -> bool {
        self.inner.live.load().endpoint(project, endpoint).is_some_and(|e| e.why_not().is_none())
    }

    /// What answers, and what should and does not.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let live = self.inner.live.load();
        let (all, failed) = live.endpoints.iter().fold((0, 0), |(all, failed), endpoint| {
            (all + 1, failed + usize::from(endpoint.why_not().is_some()))
        });
        Readiness { endpoints: all - failed, left_out: live.left_out.len() + failed }
    }

    /// What was observed of a rollout since the last time, and how many requests were overlooked.
    #[must_use]
    pub fn observed(&self, rollout: &str, most: usize) -> (Vec<Observation>, u64) {
        self.inner.live.load().watch(rollout).map(|watch| watch.take(most)).unwrap_or_default()
    }

    /// What was seen of a rollout in shadow since the last time, and how many requests its candidate was not asked because too
    /// many waited.
    #[must_use]
    pub fn shadowed(&self, rollout: &str, most: usize) -> (Vec<ShadowObservation>, u64) {
        let live = self.inner.live.load();
        let found = live.endpoints.iter().find_map(|e| e.shadow_of(rollout));
        found.map(|shadow| shadow.take(most)).unwrap_or_default()
    }

    /// The names of a project's endpoints, in order.
    #[must_use]
    pub fn names(&self, project: &str) -> Vec<String> {
        let live = self.inner.live.load();
        let mut names: Vec<String> = live.endpoints.names(project).cloned().collect();
        names.sort_unstable();
        names
    }

    /// What the versions behind an endpoint take and give; none without the endpoint.
    #[must_use]
    pub fn cards(&self, project: &str, endpoint: &str) -> Vec<ModelCard> {
        let live = self.inner.live.load();
        let variants = live.endpoint(project, endpoint).map(|e| e.variants.as_slice()).unwrap_or_default();
        variants.iter().filter_map(|v| v.slot.card().cloned()).collect()
    }

    /// The header that makes callers of an endpoint stay with one variant.
    #[must_use]
    pub fn sticky_header(&self, project: &str, endpoint: &str) -> Option<String> {
        self.inner.live.load().endpoint(project, endpoint)?.snapshot.sticky_header.clone()
    }

    /// How an endpoint of a project (by its id) does, when it answers.
    #[must_use]
    pub fn status(&self, project: &ProjectId, endpoint: &str) -> Option<EndpointStatus> {
        let live = self.inner.live.load();
        let mut all = live.endpoints.iter();
        let found = all.find(|e| e.snapshot.project == *project && e.snapshot.name == endpoint)?;
        Some(EndpointStatus {
            endpoint: endpoint.to_owned(),
            generation: found.snapshot.generation,
            variants: found.variants.iter().map(LiveVariant::status).collect(),
            lately: self.inner.meters.lately(&found.snapshot.project_name, endpoint, Instant::now()),
        })
    }

    /// Keeps what is live for the next start, if it changed since it was last kept.
    ///
    /// # Errors
    /// [`ServingError::Snapshot`]; the next call tries again.
    pub fn persist(&self) -> Result<(), ServingError> {
        let Some(file) = &self.inner.file else { return Ok(()) };
        let _guard = self.inner.persisting.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken before the state is read: a change in between makes it dirty again.
        if !self.inner.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let live = self.inner.live.load();
        let mut endpoints: Vec<EndpointSnapshot> = live.snapshots().cloned().collect();
        endpoints.sort_by(|a, b| (&a.project, &a.name).cmp(&(&b.project, &b.name)));
        let written = Snapshot { endpoints, access: live.access.clone(), known: known(&live) }.write(file);
        written.inspect_err(|_| self.inner.dirty.store(true, Ordering::Release))
    }

    fn meters_of(&self, endpoint: &EndpointSnapshot, variant: Option<String>) -> Arc<Meters> {
        let (project, endpoint) = (endpoint.project_name.clone(), endpoint.name.clone());
        self.inner.meters.of(Metered { project, endpoint, variant }, Instant::now())
    }

    /// Shows what is counted of endpoints and their variants; see [`Meters`].
    pub fn show_meters<R>(&self, to: impl FnOnce(&[(&Metered, &Meters)]) -> R) -> R {
        self.inner.meters.show(Instant::now(), to)
    }

    /// Lets go of what was counted of versions that have not answered for a quarter of an hour.
    pub fn let_go_of_meters(&self) {
        self.show_meters(|_| ());
    }

    /// Counts a request to an endpoint that was refused before it reached a version; where there is no such endpoint, nothing.
    pub fn refused(&self, project: &str, endpoint: &str, cause: Cause) {
        if let Some(meters) = self.inner.live.load().meters(project, endpoint) {
            meters.refuse(cause, Instant::now());
        }
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.inner.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state as a whole: readers see it before or after, never in between.
    fn swap(&self, change: impl FnOnce(&mut Live)) {
        let _guard = self.changing();
        let before = self.inner.live.load_full();
        let mut next = Live::clone(&before);
        change(&mut next);
        // What is no longer routed to stays loaded for a while, so that a return to it is quick.
        let now = Instant::now();
        before.left_by(&next).for_each(|slot| slot.touch(now));
        drop(before);
        self.inner.live.store(Arc::new(next));
        self.inner.dirty.store(true, Ordering::Release);
        self.inner.cache.settle();
    }
}

/// An answer that there is none, because the version was not in memory and could not be loaded.
fn unwoken(endpoint: &LiveEndpoint, picked: &Picked<'_>, frame: &Frame, error: ServingError) -> Answer {
    let variant = picked.variant;
    picked.observe(frame, || Outcome::Failed);
    variant.count(true);
    Answer {
        served: Arc::clone(&variant.served),
        log_rules: endpoint.log_rules.clone(),
        features: Vec::new(),
        features_took: Duration::ZERO,
        batched: Batched::default(),
        drawn: picked.drawn(),
        predictions: Err(error),
        shadow: None,
    }
}
