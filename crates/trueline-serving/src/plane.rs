//! The data plane: endpoints with loaded models behind one atomic pointer. A request reads it without a lock; a change
//! loads first, then swaps, then persists. It knows no database.

use crate::batching::Batched;
use crate::card::ModelCard;
use crate::cause::Cause;
use crate::error::ServingError;
use crate::features::FeatureSource;
use crate::frame::Frame;
use crate::live::{Live, LiveEndpoint, LiveVariant};
use crate::log_rules::LogRules;
use crate::meters::{Metered, Meters, Registry};
use crate::model::{LoadedModel, ModelLoader, ModelSpec};
use crate::predictions::Predictions;
use crate::rollout::{Drawn, LiveShadow, Observation, Outcome, ShadowDraw, ShadowObservation};
use crate::route::Variant;
use crate::served::Served;
use crate::snapshot::{Access, EndpointSnapshot, Snapshot};
use crate::status::{EndpointStatus, Readiness};
use arc_swap::ArcSwap;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use trueline_ledger::{Millis, ProjectId};
use trueline_tensors::Tensor;

/// Models that were served and stay loaded, so that a return to them is a swap.
const KEPT: usize = 8;

/// A request to an endpoint.
pub struct Ask<'a> {
    /// The project's name.
    pub project: &'a str,
    /// The endpoint's name.
    pub endpoint: &'a str,
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
    kept: Mutex<VecDeque<Arc<LoadedModel>>>,
    meters: Registry,
    loader: ModelLoader,
    file: Option<PathBuf>,
}

/// The data plane of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DataPlane {
    inner: Arc<Inner>,
}

impl DataPlane {
    /// An empty one, whose models are loaded by `loader`, and which persists to `file`, if there is one.
    #[must_use]
    pub fn new(loader: ModelLoader, file: Option<PathBuf>) -> Self {
        let inner = Inner {
            live: ArcSwap::default(),
            changing: Mutex::new(()),
            persisting: Mutex::new(()),
            dirty: AtomicBool::new(false),
            kept: Mutex::new(VecDeque::new()),
            meters: Registry::default(),
            loader,
            file,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Loads what was persisted. An endpoint whose model can't be loaded is left out, with a line in the log, until it is
    /// published again.
    ///
    /// # Errors
    /// [`ServingError::Snapshot`] when the file can't be read.
    pub async fn restore(&self) -> Result<usize, ServingError> {
        let Some(file) = &self.inner.file else { return Ok(0) };
        let Some(snapshot) = Snapshot::read(file)? else { return Ok(0) };
        let mut restored = Live { access: snapshot.access, ..Live::default() };
        for endpoint in snapshot.endpoints {
            match self.load(endpoint.clone()).await {
                Ok(live) => restored.put(&live),
                Err(error) => {
                    tracing::warn!(endpoint = endpoint.name, %error, "an endpoint was not restored");
                    let meters = self.meters_of(&endpoint, None);
                    restored.leave_out(endpoint, error.to_string(), meters);
                }
            }
        }
        let count = restored.endpoints.iter().count();
        self.swap(|state| *state = restored);
        self.inner.dirty.store(false, Ordering::Release);
        Ok(count)
    }

    /// Loads and tries the models of a route, so that publishing it afterwards is a swap.
    ///
    /// # Errors
    /// [`ServingError::Unservable`] with the reason.
    pub async fn prepare(&self, project: &ProjectId, variants: &[Variant]) -> Result<(), ServingError> {
        for variant in variants {
            self.model(project, &variant.spec).await?;
        }
        Ok(())
    }

    /// A loaded version, ready to be asked, whether or not an endpoint routes to it.
    ///
    /// # Errors
    /// [`ServingError::Unservable`] with the reason.
    pub async fn loaded(
        &self,
        project: &ProjectId,
        spec: &ModelSpec,
    ) -> Result<Arc<LoadedModel>, ServingError> {
        self.model(project, spec).await
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
    /// [`ServingError::NotFound`] without the endpoint.
    pub async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, ServingError> {
        let endpoint = self.inner.live.load().endpoint(ask.project, ask.endpoint).map(Arc::clone);
        let endpoint = endpoint.ok_or_else(|| self.does_not_answer(ask.project, ask.endpoint))?;
        let picked = match ask.version {
            None => endpoint.pick(ask.sticky, ask.lot),
            Some(version) => endpoint.named(version).ok_or_else(|| {
                endpoint.meters.refuse(Cause::Unreadable, Instant::now());
                ServingError::NotFound(format!(
                    "version {version} does not answer for endpoint `{}`: leave the version out, or deploy it",
                    ask.endpoint
                ))
            })?,
        };
        let variant = picked.variant;
        let began = Instant::now();
        let features = match variant.model.feature_views() {
            [] => Ok(Vec::new()),
            views => ask.features.features(&endpoint.snapshot.project, views, ask.frame, ask.at_ms),
        };
        let features_took = began.elapsed();
        let (features, (predictions, batched)) = match features {
            Ok(none) if none.is_empty() => (none, variant.model.predict_until(ask.frame, ask.deadline).await),
            Ok(features) => {
                let told = variant.model.predict_until(&ask.frame.with(&features), ask.deadline).await;
                (features, told)
            }
            Err(error) => (Vec::new(), (Err(error), Batched::default())),
        };
        picked.observe(|| Outcome::of(predictions.as_ref().ok(), began.elapsed()));
        variant.count(predictions.is_err());
        let shadow = match endpoint.shadow(ask.sticky, ask.lot) {
            Some((shadow, key)) if ask.version.is_none() && predictions.is_ok() => {
                Some(shadow.draw(key, &variant.model, began.elapsed()))
            }
            _ => None,
        };
        let served = Arc::clone(&variant.served);
        let log_rules = endpoint.log_rules.clone();
        let drawn = picked.drawn();
        Ok(Answer { served, log_rules, features, features_took, batched, drawn, predictions, shadow })
    }

    fn does_not_answer(&self, project: &str, endpoint: &str) -> ServingError {
        match self.why_left_out(project, endpoint) {
            Some(reason) => {
                self.refused(project, endpoint, Cause::NotLoaded);
                ServingError::Busy(format!(
                    "endpoint `{endpoint}` can't answer until its model can be loaded: {reason}"
                ))
            }
            None => ServingError::NotFound(format!(
                "no endpoint `{endpoint}` answers in project `{project}`: deploy a version to it with \
                 `trueline endpoint deploy`"
            )),
        }
    }

    /// Why an endpoint that should answer does not, if there is one.
    #[must_use]
    pub fn why_left_out(&self, project: &str, endpoint: &str) -> Option<String> {
        self.inner.live.load().why_left_out(project, endpoint).map(ToOwned::to_owned)
    }

    /// What answers, and what should and does not.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let live = self.inner.live.load();
        Readiness { endpoints: live.endpoints.iter().count(), left_out: live.left_out.len() }
    }

    /// What was observed of a rollout since the last time, and how many requests were overlooked.
    #[must_use]
    pub fn observed(&self, rollout: &str) -> (Vec<Observation>, u64) {
        self.inner.live.load().watch(rollout).map(|watch| watch.take()).unwrap_or_default()
    }

    /// What was seen of a rollout in shadow since the last time, and how many requests its candidate was not asked because too
    /// many waited.
    #[must_use]
    pub fn shadowed(&self, rollout: &str) -> (Vec<ShadowObservation>, u64) {
        let live = self.inner.live.load();
        let found = live.endpoints.iter().find_map(|e| e.shadow_of(rollout));
        found.map(|shadow| shadow.take()).unwrap_or_default()
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
        variants.iter().map(|v| v.model.card()).collect()
    }

    /// Whether a version behind an endpoint may compute for long, on the thread that asks it.
    #[must_use]
    pub fn computes_long(&self, project: &str, endpoint: &str) -> bool {
        let live = self.inner.live.load();
        live.endpoint(project, endpoint).is_some_and(|e| e.variants.iter().any(|v| v.model.computes_long()))
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
        let written = Snapshot { endpoints, access: live.access.clone() }.write(file);
        written.inspect_err(|_| self.inner.dirty.store(true, Ordering::Release))
    }

    async fn load(&self, snapshot: EndpointSnapshot) -> Result<Arc<LiveEndpoint>, ServingError> {
        let mut variants = Vec::with_capacity(snapshot.variants.len());
        let meters = self.meters_of(&snapshot, None);
        for variant in &snapshot.variants {
            let model = self.model(&snapshot.project, &variant.spec).await?;
            let own = self.meters_of(&snapshot, Some(variant.spec.name()));
            let served = Served::new(&snapshot, &variant.spec, own, Arc::clone(&meters));
            variants.push(LiveVariant::new(served, model, variant.weight));
        }
        let watch =
            snapshot.rollout.as_deref().map(|id| self.inner.live.load().watch(id).unwrap_or_default());
        let shadow = self.shadow(&snapshot).await;
        Ok(Arc::new(LiveEndpoint::new(snapshot, variants, meters, watch, shadow)?))
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

    /// The candidate that an endpoint asks in shadow. What answers must not depend on it: when it can't be loaded, nothing is
    /// asked in shadow.
    async fn shadow(&self, snapshot: &EndpointSnapshot) -> Option<Arc<LiveShadow>> {
        let shadow = snapshot.shadow.clone()?;
        match self.model(&snapshot.project, &shadow.spec).await {
            Ok(model) => Some(Arc::new(LiveShadow::new(shadow, model))),
            Err(error) => {
                let (endpoint, version) = (&snapshot.name, shadow.spec.name());
                tracing::warn!(endpoint, version, %error, "a candidate is not asked in shadow");
                None
            }
        }
    }

    /// A loaded model: one that answers now or did lately, or from its files.
    async fn model(&self, project: &ProjectId, spec: &ModelSpec) -> Result<Arc<LoadedModel>, ServingError> {
        let live = self.inner.live.load_full();
        if let Some(found) = live.model(project, spec) {
            return Ok(found);
        }
        if let Some(found) = self.kept().iter().find(|m| m.is(project, spec)) {
            return Ok(Arc::clone(found));
        }
        let loaded = self.inner.loader.load(project, spec.clone()).await?;
        let loaded = Arc::new(loaded);
        keep(&mut self.kept(), &loaded);
        Ok(loaded)
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<LoadedModel>>> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut kept = self.kept();
        for model in before.left_by(&next) {
            keep(&mut kept, model);
        }
        drop(kept);
        self.inner.live.store(Arc::new(next));
        self.inner.dirty.store(true, Ordering::Release);
    }
}

/// Puts a model last in line to be let go of.
fn keep(kept: &mut VecDeque<Arc<LoadedModel>>, model: &Arc<LoadedModel>) {
    kept.retain(|m| !Arc::ptr_eq(m, model));
    kept.push_back(Arc::clone(model));
    while kept.len() > KEPT {
        kept.pop_front();
    }
}
