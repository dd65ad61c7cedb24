//! How endpoints of the data plane come to their models: before a route is published, at a start, and when they are asked
//! after their models were unloaded.

use super::DataPlane;
use crate::cache::{ModelCache, Slot};
use crate::error::ServingError;
use crate::live::{Live, LiveEndpoint, LiveVariant};
use crate::model::{LoadedModel, ModelSpec};
use crate::rollout::{LiveShadow, Plan, check_known};
use crate::route::Variant;
use crate::served::Served;
use crate::snapshot::{EndpointSnapshot, KnownModel, Snapshot};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use trueline_ledger::ProjectId;

/// How long a candidate in shadow that could not be loaded is not tried again; twice as long each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl DataPlane {
    /// Loads what was persisted, as much of it as fits into memory; the rest is loaded when it is asked. An endpoint whose model
    /// can't be loaded is left out, with a line in the log, until it is published again.
    ///
    /// # Errors
    /// [`ServingError::Snapshot`] when the file can't be read.
    pub async fn restore(&self) -> Result<usize, ServingError> {
        let Some(file) = &self.inner.file else { return Ok(0) };
        let Some(snapshot) = Snapshot::read(file)? else { return Ok(0) };
        let mut restored = Live { access: snapshot.access, ..Live::default() };
        for endpoint in snapshot.endpoints {
            match self.bring_back(endpoint.clone(), &snapshot.known).await {
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

    /// An endpoint as it answered before a restart. Its models are loaded if there is room for them, or if they have not passed
    /// their self-test yet as far as is known.
    async fn bring_back(
        &self,
        endpoint: EndpointSnapshot,
        known: &[KnownModel],
    ) -> Result<Arc<LiveEndpoint>, ServingError> {
        let mut slots = Vec::with_capacity(endpoint.variants.len());
        for variant in &endpoint.variants {
            let slot = self.inner.cache.slot(&endpoint.project, &variant.spec);
            if let Some(known) = known.iter().find(|known| known.is(&variant.spec)) {
                slot.learn(&known.card, known.bytes);
            }
            slots.push(slot);
        }
        let missing = slots.iter().filter(|slot| !slot.is_loaded()).map(|slot| slot.bytes());
        let fits = self.inner.cache.fits(missing.fold(0, usize::saturating_add));
        let tried = slots.iter().all(|slot| slot.card().is_some());
        match fits || !tried || endpoint.rollout.is_some() {
            true => self.load(endpoint).await,
            false => self.live(endpoint, slots, Vec::new()),
        }
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

    /// Checks that requests have the columns by which a plan parts them, as far as that is known: what the signatures of the
    /// candidate and of what answers now name together. Where one of them names none, requests may have any.
    ///
    /// # Errors
    /// [`ServingError::Invalid`] for a column that none of them names; [`ServingError::Unservable`] for the candidate.
    pub async fn check_segments(
        &self,
        project: &ProjectId,
        (candidate, baseline): (&ModelSpec, &[Variant]),
        plan: &Plan,
    ) -> Result<(), ServingError> {
        if plan.segments.is_empty() {
            return Ok(());
        }
        let mut loaded = vec![self.model(project, candidate).await?];
        for variant in baseline {
            // A version may be replaced because it can't be loaded.
            let Ok(model) = self.model(project, &variant.spec).await else { return Ok(()) };
            loaded.push(model);
        }
        let mut known = BTreeSet::new();
        for model in &loaded {
            let Some(columns) = model.columns() else { return Ok(()) };
            known.extend(columns.into_iter().map(ToOwned::to_owned));
        }
        check_known(&plan.segments, &known).map_err(ServingError::Invalid)
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

    /// Has the models of an endpoint in memory when this returns.
    ///
    /// # Errors
    /// [`ServingError::NotFound`] without the endpoint, [`ServingError::NotLoaded`] when one can't be loaded,
    /// [`ServingError::TimedOut`].
    pub async fn wake(
        &self,
        project: &str,
        endpoint: &str,
        deadline: Option<Instant>,
    ) -> Result<(), ServingError> {
        let found = self.find(project, endpoint)?;
        for variant in &found.0.variants {
            if variant.slot.ask(Instant::now()).is_none() {
                self.inner.cache.wake(&variant.slot, deadline).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn load(&self, snapshot: EndpointSnapshot) -> Result<Arc<LiveEndpoint>, ServingError> {
        let (mut slots, mut models) = (Vec::new(), Vec::new());
        for variant in &snapshot.variants {
            let slot = self.inner.cache.slot(&snapshot.project, &variant.spec);
            models.push(self.inner.cache.load(&slot).await?);
            slots.push(slot);
        }
        let pinned = if snapshot.rollout.is_some() { models } else { Vec::new() };
        self.live(snapshot, slots, pinned)
    }

    /// An endpoint with the places of its models, which are loaded or can be.
    fn live(
        &self,
        snapshot: EndpointSnapshot,
        slots: Vec<Arc<Slot>>,
        pinned: Vec<Arc<LoadedModel>>,
    ) -> Result<Arc<LiveEndpoint>, ServingError> {
        let meters = self.meters_of(&snapshot, None);
        let weighed = slots.into_iter().zip(&snapshot.variants);
        let variant = |(slot, variant): (Arc<Slot>, &Variant)| {
            let own = self.meters_of(&snapshot, Some(variant.spec.name()));
            let served = Served::new(&snapshot, &variant.spec, own, Arc::clone(&meters));
            LiveVariant::new(served, slot, variant.weight)
        };
        let variants = weighed.map(variant).collect();
        let watch =
            snapshot.rollout.as_deref().map(|id| self.inner.live.load().watch(id).unwrap_or_default());
        let shadow = self.shadow(&snapshot);
        Ok(Arc::new(LiveEndpoint::new(snapshot, variants, meters, watch, shadow, pinned)?))
    }

    /// The candidate that an endpoint asks in shadow: the one that it asks already, with what waits for it, or a new one. What
    /// answers must not depend on it: until it is loaded, nothing is asked in shadow, and nobody waits for it.
    fn shadow(&self, snapshot: &EndpointSnapshot) -> Option<Arc<LiveShadow>> {
        let shadow = snapshot.shadow.clone()?;
        let live = self.inner.live.load();
        let before = live.endpoint(&snapshot.project_name, &snapshot.name);
        let before = before.and_then(|e| e.shadow_of(snapshot.rollout.as_deref()?));
        if let Some(same) = before.filter(|before| before.is(&shadow)) {
            return Some(Arc::clone(same));
        }
        let slot = self.inner.cache.slot(&snapshot.project, &shadow.spec);
        let ready = slot.ask(Instant::now());
        let live = Arc::new(LiveShadow::new(shadow, slot));
        match ready {
            Some(model) => live.load(model),
            None => drop(tokio::spawn(load_shadow(self.inner.cache.clone(), Arc::downgrade(&live)))),
        }
        Some(live)
    }

    /// A loaded model: one that is in memory, or from its files.
    async fn model(&self, project: &ProjectId, spec: &ModelSpec) -> Result<Arc<LoadedModel>, ServingError> {
        let slot = self.inner.cache.slot(project, spec);
        self.inner.cache.load(&slot).await
    }
}

/// What is known of the versions that answer.
pub(super) fn known(live: &Live) -> Vec<KnownModel> {
    let known = |slot: &Slot| {
        let spec = slot.spec();
        let (id, manifest_digest) = (spec.id.clone(), spec.manifest_digest.clone());
        Some(KnownModel { id, manifest_digest, bytes: slot.bytes(), card: slot.card()?.clone() })
    };
    let slots = live.endpoints.iter().flat_map(|endpoint| &endpoint.variants).map(|v| &v.slot);
    let mut all: Vec<KnownModel> = slots.filter_map(|slot| known(slot)).collect();
    all.sort_by(|a, b| (&a.id, &a.card.model).cmp(&(&b.id, &b.card.model)));
    all.dedup_by(|a, b| a.id == b.id && a.card.model == b.card.model);
    all
}

/// Loads a candidate in shadow, however often that takes, unless its route is gone before.
async fn load_shadow(cache: ModelCache, live: Weak<LiveShadow>) {
    let mut wait = FIRST_WAIT;
    loop {
        let Some(shadow) = live.upgrade().filter(|shadow| !shadow.is_loaded()) else { return };
        match cache.load(shadow.slot()).await {
            Ok(model) => return shadow.load(model),
            Err(error) => {
                let version = shadow.slot().spec().name();
                tracing::warn!(version, %error, "a candidate is not asked in shadow yet; trying again");
            }
        }
        drop(shadow);
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
