//! The data plane: endpoints with loaded models behind one atomic pointer. A request reads it without a lock; a change
//! loads first, then swaps, then persists. It knows no database.

use crate::error::ServingError;
use crate::frame::Frame;
use crate::model::{LoadedModel, ModelSpec, Predictions};
use crate::route::LogMode;
use crate::snapshot::{EndpointSnapshot, Snapshot};
use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use trueline_blobs::{Blobs, Namespace};

/// Models that were served and stay loaded, so that a return to them is a swap.
const KEPT: usize = 8;

/// A request to an endpoint.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The project's name.
    pub project: &'a str,
    /// The endpoint's name.
    pub endpoint: &'a str,
    /// The input.
    pub frame: &'a Frame,
    /// What makes the caller stay with one variant.
    pub sticky: Option<&'a str>,
    /// Randomness that picks the variant when nothing is sticky.
    pub lot: u64,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The version that answered, `name/number`.
    pub variant: String,
    /// The generation of the route.
    pub generation: i64,
    /// Whether the answer waits for the log.
    pub log: LogMode,
    /// The predictions.
    pub predictions: Predictions,
}

/// How a variant does.
#[derive(Clone, Debug, serde::Serialize)]
pub struct VariantStatus {
    /// The version, `name/number`.
    pub version: String,
    /// Its share.
    pub weight: u32,
    /// Requests that it answered since it was loaded.
    pub requests: u64,
    /// Requests of those that it refused or failed.
    pub errors: u64,
    /// What it takes of memory, in bytes.
    pub heap_bytes: usize,
}

/// How an endpoint does.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EndpointStatus {
    /// The endpoint's name.
    pub endpoint: String,
    /// The generation that answers now.
    pub generation: i64,
    /// Its variants.
    pub variants: Vec<VariantStatus>,
}

#[derive(Debug)]
struct LiveVariant {
    model: Arc<LoadedModel>,
    name: String,
    weight: u32,
    requests: AtomicU64,
    errors: AtomicU64,
}

#[derive(Debug)]
struct LiveEndpoint {
    snapshot: EndpointSnapshot,
    variants: Vec<LiveVariant>,
    total: u64,
}

/// Endpoints by the names of project and endpoint.
type Endpoints = HashMap<(String, String), Arc<LiveEndpoint>>;

#[derive(Debug, Default)]
struct Live {
    endpoints: Endpoints,
    open: bool,
    tokens: HashMap<String, Vec<String>>,
}

#[derive(Debug)]
struct Inner {
    live: ArcSwap<Live>,
    /// Serialises changes; a request never takes it.
    changing: Mutex<()>,
    kept: Mutex<VecDeque<Arc<LoadedModel>>>,
    blobs: Blobs,
    file: PathBuf,
}

/// The data plane of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DataPlane {
    inner: Arc<Inner>,
}

impl LiveEndpoint {
    /// The variant of a lot: the weights laid end to end, the lot's place in them.
    fn pick(&self, lot: u64) -> Option<&LiveVariant> {
        let mut place = lot % self.total.max(1);
        for variant in &self.variants {
            let weight = u64::from(variant.weight);
            if place < weight {
                return Some(variant);
            }
            place -= weight;
        }
        self.variants.last()
    }

    /// The lot of a sticky value: the same value always draws the same one, apart for each endpoint.
    fn lot_of(&self, sticky: &str) -> u64 {
        let hash = Sha256::new().chain_update(&self.snapshot.name).chain_update([0]).chain_update(sticky);
        let bytes: [u8; 32] = hash.finalize().into();
        u64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
    }
}

impl DataPlane {
    /// An empty one, which persists to `file`.
    #[must_use]
    pub fn new(blobs: Blobs, file: PathBuf) -> Self {
        let inner = Inner {
            live: ArcSwap::default(),
            changing: Mutex::new(()),
            kept: Mutex::new(VecDeque::new()),
            blobs,
            file,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Loads what was persisted. An endpoint whose model can't be loaded is left out, with a line in the log.
    ///
    /// # Errors
    /// [`ServingError::Snapshot`] when the file can't be read.
    pub async fn restore(&self) -> Result<usize, ServingError> {
        let Some(snapshot) = Snapshot::read(&self.inner.file)? else { return Ok(0) };
        let mut restored = 0;
        for endpoint in snapshot.endpoints {
            match self.load(endpoint.clone()).await {
                Ok(live) => {
                    self.swap(|state| {
                        state.endpoints.insert(key(&live.snapshot), Arc::clone(&live));
                    });
                    restored += 1;
                }
                Err(error) => {
                    tracing::warn!(endpoint = endpoint.name, %error, "an endpoint was not restored")
                }
            }
        }
        self.swap(|state| {
            state.open = snapshot.open;
            state.tokens = snapshot.tokens.clone().into_iter().collect();
        });
        Ok(restored)
    }

    /// Loads and tries the models of a route, so that publishing it afterwards is a swap.
    ///
    /// # Errors
    /// [`ServingError::Unservable`] with the reason.
    pub async fn prepare(&self, project: &str, specs: &[ModelSpec]) -> Result<(), ServingError> {
        for spec in specs {
            self.model(project, spec).await?;
        }
        Ok(())
    }

    /// Has an endpoint answer by this route, at once and for all requests that come from now on; an older generation
    /// than the one that answers is ignored.
    ///
    /// # Errors
    /// [`ServingError::Unservable`]; what answered before goes on then.
    pub async fn publish(&self, endpoint: EndpointSnapshot) -> Result<(), ServingError> {
        let live = self.load(endpoint).await?;
        self.swap(|state| {
            let place = state.endpoints.entry(key(&live.snapshot)).or_insert_with(|| Arc::clone(&live));
            if place.snapshot.generation < live.snapshot.generation {
                *place = Arc::clone(&live);
            }
        });
        self.persist()
    }

    /// Says whose tokens may ask.
    ///
    /// # Errors
    /// [`ServingError::Snapshot`] when it can't be persisted; it holds all the same.
    pub fn set_access(&self, open: bool, tokens: HashMap<String, Vec<String>>) -> Result<(), ServingError> {
        {
            let now = self.inner.live.load();
            if now.open == open && now.tokens == tokens {
                return Ok(());
            }
        }
        self.swap(|state| {
            state.open = open;
            state.tokens.clone_from(&tokens);
        });
        self.persist()
    }

    /// Whether a caller may ask an endpoint of a project. `token_hash` is the hash of the caller's token.
    #[must_use]
    pub fn may_ask(&self, project: &str, endpoint: &str, token_hash: Option<&str>) -> bool {
        let live = self.inner.live.load();
        let Some(hash) = token_hash else { return live.open };
        let Some(granted) = live.tokens.get(hash) else { return false };
        let own = live.endpoints.get(&(project.to_owned(), endpoint.to_owned()));
        granted.iter().any(|p| p == "server" || own.is_some_and(|e| e.snapshot.project == *p))
    }

    /// Answers a request.
    ///
    /// # Errors
    /// [`ServingError::NotFound`] without the endpoint, [`ServingError::Input`] when the input does not fit.
    pub fn ask(&self, ask: &Ask<'_>) -> Result<Answer, ServingError> {
        let live = self.inner.live.load();
        let key = (ask.project.to_owned(), ask.endpoint.to_owned());
        let endpoint = live.endpoints.get(&key).ok_or_else(|| {
            ServingError::NotFound(format!(
                "no endpoint `{}` answers in project `{}`: deploy a version to it first",
                ask.endpoint, ask.project
            ))
        })?;
        let lot = ask.sticky.map_or(ask.lot, |s| endpoint.lot_of(s));
        let variant = endpoint
            .pick(lot)
            .ok_or_else(|| ServingError::State(format!("endpoint `{}` has no variants", ask.endpoint)))?;
        variant.requests.fetch_add(1, Ordering::Relaxed);
        let predictions = variant.model.predict(ask.frame).inspect_err(|_| {
            variant.errors.fetch_add(1, Ordering::Relaxed);
        })?;
        Ok(Answer {
            variant: variant.name.clone(),
            generation: endpoint.snapshot.generation,
            log: endpoint.snapshot.log,
            predictions,
        })
    }

    /// The header that makes callers of an endpoint stay with one variant.
    #[must_use]
    pub fn sticky_header(&self, project: &str, endpoint: &str) -> Option<String> {
        let live = self.inner.live.load();
        let found = live.endpoints.get(&(project.to_owned(), endpoint.to_owned()))?;
        found.snapshot.sticky_header.clone()
    }

    /// Whether an endpoint answers.
    #[must_use]
    pub fn is_ready(&self, project: &str, endpoint: &str) -> bool {
        self.inner.live.load().endpoints.contains_key(&(project.to_owned(), endpoint.to_owned()))
    }

    /// How an endpoint of a project (by its id) does, when it answers.
    #[must_use]
    pub fn status(&self, project: &str, endpoint: &str) -> Option<EndpointStatus> {
        let live = self.inner.live.load();
        let found =
            live.endpoints.values().find(|e| e.snapshot.project == project && e.snapshot.name == endpoint)?;
        let variant = |v: &LiveVariant| VariantStatus {
            version: v.name.clone(),
            weight: v.weight,
            requests: v.requests.load(Ordering::Relaxed),
            errors: v.errors.load(Ordering::Relaxed),
            heap_bytes: v.model.heap_bytes(),
        };
        Some(EndpointStatus {
            endpoint: endpoint.to_owned(),
            generation: found.snapshot.generation,
            variants: found.variants.iter().map(variant).collect(),
        })
    }

    async fn load(&self, snapshot: EndpointSnapshot) -> Result<Arc<LiveEndpoint>, ServingError> {
        let mut variants = Vec::with_capacity(snapshot.variants.len());
        for variant in &snapshot.variants {
            variants.push(LiveVariant {
                model: self.model(&snapshot.project, &variant.spec).await?,
                name: variant.spec.name(),
                weight: variant.weight,
                requests: AtomicU64::new(0),
                errors: AtomicU64::new(0),
            });
        }
        let total = variants.iter().map(|v| u64::from(v.weight)).sum();
        Ok(Arc::new(LiveEndpoint { snapshot, variants, total }))
    }

    /// A loaded model: one that answers now or did lately, or from its files.
    async fn model(&self, project: &str, spec: &ModelSpec) -> Result<Arc<LoadedModel>, ServingError> {
        let live = self.inner.live.load_full();
        let answering = live.endpoints.values().filter(|e| e.snapshot.project == project);
        let mut models = answering.flat_map(|e| e.variants.iter().map(|v| &v.model));
        if let Some(found) = models.find(|m| m.spec() == spec) {
            return Ok(Arc::clone(found));
        }
        if let Some(found) = self.kept().iter().find(|m| m.spec() == spec) {
            return Ok(Arc::clone(found));
        }
        let loaded = LoadedModel::load(&self.inner.blobs, &Namespace::new(project), spec.clone()).await?;
        let loaded = Arc::new(loaded);
        let mut kept = self.kept();
        kept.push_back(Arc::clone(&loaded));
        while kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(loaded)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<LoadedModel>>> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state as a whole: readers see it before or after, never in between.
    fn swap(&self, change: impl FnOnce(&mut Live)) {
        let _guard = self.inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.inner.live.load();
        // What is no longer routed to stays loaded for a while, so that a return to it is quick.
        let before: Vec<Arc<LiveEndpoint>> = now.endpoints.values().cloned().collect();
        let mut next = Live { endpoints: now.endpoints.clone(), open: now.open, tokens: now.tokens.clone() };
        change(&mut next);
        let gone = before
            .iter()
            .filter(|e| next.endpoints.get(&key(&e.snapshot)).is_none_or(|n| !Arc::ptr_eq(n, e)));
        let mut kept = self.kept();
        for variant in gone.flat_map(|e| &e.variants) {
            kept.retain(|m| !Arc::ptr_eq(m, &variant.model));
            kept.push_back(Arc::clone(&variant.model));
        }
        while kept.len() > KEPT {
            kept.pop_front();
        }
        drop(kept);
        self.inner.live.store(Arc::new(next));
    }

    fn persist(&self) -> Result<(), ServingError> {
        let _guard = self.inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.inner.live.load();
        let mut endpoints: Vec<EndpointSnapshot> =
            live.endpoints.values().map(|e| e.snapshot.clone()).collect();
        endpoints.sort_by(|a, b| (&a.project, &a.name).cmp(&(&b.project, &b.name)));
        let tokens = live.tokens.clone().into_iter().collect();
        Snapshot { endpoints, open: live.open, tokens }.write(&self.inner.file)
    }
}

fn key(snapshot: &EndpointSnapshot) -> (String, String) {
    (snapshot.project_name.clone(), snapshot.name.clone())
}
