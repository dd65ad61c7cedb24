//! Many small models behind endpoints, and files that can be held back, damaged and counted.

use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use trueline_ledger::ProjectId;
use trueline_serving::{
    Access, Answer, Ask, DataPlane, EndpointSnapshot, Folders, Frame, HostedModels, ModelFile, ModelFiles,
    ModelFolder, ModelLoader, ModelMemory, ModelSpec, NoFeatures, Runtimes, ServingError, Variant,
};
use trueline_tensors::{Tensor, Values};

pub(crate) const PROJECT: &str = "default";
const MODEL: &str = include_str!("../../../trueline-trees/tests/fixtures/dart.json");
const BASE: &str = "2.7643442E-2";
const MLMODEL: &str = "flavors:\n  xgboost:\n    data: model.json\n    model_class: xgboost.core.Booster\n";
/// A wait that is longer than that has failed.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
enum Held {
    #[default]
    Nobody,
    Everybody,
    One(String),
}

impl Held {
    fn is(&self, model: &str) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everybody => true,
            Self::One(held) => held == model,
        }
    }
}

/// Files of models in folders, as a test wants them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    folders: Arc<Folders>,
    /// How often each model was begun to be loaded.
    begun: Mutex<HashMap<String, usize>>,
    /// Models whose files can't be read.
    broken: Mutex<Vec<String>>,
    /// Whose reading waits.
    held: Mutex<Held>,
    released: tokio::sync::Notify,
}

impl Files {
    pub(crate) fn begun(&self, model: &str) -> usize {
        self.begun.lock().unwrap().get(model).copied().unwrap_or_default()
    }

    pub(crate) fn all_begun(&self) -> usize {
        self.begun.lock().unwrap().values().sum()
    }

    pub(crate) fn damage(&self, model: &str) {
        self.broken.lock().unwrap().push(model.to_owned());
    }

    pub(crate) fn repair(&self) {
        self.broken.lock().unwrap().clear();
    }

    pub(crate) fn hold(&self) {
        *self.held.lock().unwrap() = Held::Everybody;
    }

    pub(crate) fn hold_one(&self, model: &str) {
        *self.held.lock().unwrap() = Held::One(model.to_owned());
    }

    pub(crate) fn release(&self) {
        *self.held.lock().unwrap() = Held::Nobody;
        self.released.notify_waiters();
    }
}

#[async_trait]
impl ModelFiles for Files {
    async fn read(
        &self,
        project: &ProjectId,
        spec: &ModelSpec,
        file: &ModelFile,
    ) -> Result<Bytes, ServingError> {
        if file.path == "MLmodel" {
            *self.begun.lock().unwrap().entry(spec.model.clone()).or_default() += 1;
        }
        loop {
            let released = self.released.notified();
            if !self.held.lock().unwrap().is(&spec.model) {
                break;
            }
            released.await;
        }
        if self.broken.lock().unwrap().contains(&spec.model) {
            return Err(ServingError::Unservable {
                model: spec.name(),
                reason: "its disk is gone".to_owned(),
            });
        }
        self.folders.read(project, spec, file).await
    }

    async fn folder(&self, project: &ProjectId, spec: &ModelSpec) -> Result<ModelFolder, ServingError> {
        self.folders.folder(project, spec).await
    }
}

/// A data plane with models of its own.
pub(crate) struct House {
    pub(crate) files: Arc<Files>,
    pub(crate) plane: DataPlane,
    folder: TempDir,
    specs: HashMap<String, ModelSpec>,
}

pub(crate) fn name(i: usize) -> String {
    format!("m{i}")
}

pub(crate) fn endpoint(name: &str, variants: Vec<Variant>) -> EndpointSnapshot {
    EndpointSnapshot::of(ProjectId::default_project(), PROJECT, name, variants)
}

impl House {
    /// So many models `m0`, `m1`, …, each of which answers otherwise; none is published.
    pub(crate) fn new(models: usize, memory: ModelMemory) -> Self {
        let (folder, files) = (tempfile::tempdir().unwrap(), Arc::new(Files::default()));
        let specs =
            (0..models).map(|i| (name(i), save(&files.folders, &folder.path().join(name(i)), i))).collect();
        let plane = plane(&files, memory, folder.path());
        Self { files, plane, folder, specs }
    }

    /// The same with every model behind an endpoint of its name.
    pub(crate) async fn published(models: usize, memory: ModelMemory) -> Self {
        let house = Self::new(models, memory);
        for i in 0..models {
            house.publish(i).await;
        }
        house.plane.persist().unwrap();
        house
    }

    /// Its models as those of a platform, of which none is loaded.
    pub(crate) fn hosted(&self) -> HostedModels {
        let folders = Arc::clone(&self.files.folders);
        HostedModels::new(self.plane.clone(), folders, PROJECT, self.folder.path().to_owned())
    }

    /// Where a model lies.
    pub(crate) fn url(&self, i: usize) -> String {
        self.folder.path().join(name(i)).to_string_lossy().into_owned()
    }

    pub(crate) fn spec(&self, i: usize) -> ModelSpec {
        self.specs[&name(i)].clone()
    }

    pub(crate) async fn publish(&self, i: usize) {
        self.plane.publish(endpoint(&name(i), vec![Variant::new(self.spec(i), 1)])).await.unwrap();
    }

    /// As if the process was started again.
    pub(crate) async fn restarted(self, memory: ModelMemory) -> Self {
        let files = Arc::new(Files::default());
        let specs = (0..self.specs.len()).map(|i| {
            let folder = self.folder.path().join(name(i));
            (name(i), files.folders.add(&folder, &name(i)).unwrap())
        });
        let specs = specs.collect();
        let plane = plane(&files, memory, self.folder.path());
        Self { files, plane, folder: self.folder, specs }
    }

    pub(crate) async fn ask(
        &self,
        endpoint: &str,
        deadline: Option<Instant>,
    ) -> Result<Answer, ServingError> {
        ask(&self.plane, endpoint, deadline).await
    }

    pub(crate) fn is_loaded(&self, endpoint: &str) -> bool {
        let status = self.plane.status(&ProjectId::default_project(), endpoint).unwrap();
        status.variants.iter().all(|variant| variant.loaded)
    }

    /// What a model answers, loaded by itself.
    pub(crate) async fn expected(&self, i: usize) -> String {
        let loader = ModelLoader::new(Arc::clone(&self.files) as _, Runtimes::default());
        let model = loader.load(&ProjectId::default_project(), self.spec(i)).await.unwrap();
        format!("{:?}", model.predict(&row()).await.unwrap())
    }
}

fn plane(files: &Arc<Files>, memory: ModelMemory, folder: &Path) -> DataPlane {
    let loader = ModelLoader::new(Arc::clone(files) as _, Runtimes::default());
    let plane = DataPlane::within(memory, loader, Some(folder.join("serving.json")));
    plane.set_access(Access { open: true, ..Access::default() });
    plane
}

fn save(folders: &Folders, folder: &PathBuf, i: usize) -> ModelSpec {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("MLmodel"), MLMODEL).unwrap();
    assert_eq!(MODEL.matches(BASE).count(), 1);
    std::fs::write(folder.join("model.json"), MODEL.replace(BASE, &format!("{i}.25E-2"))).unwrap();
    folders.add(folder, &name(i)).unwrap()
}

pub(crate) fn row() -> Frame {
    Frame::array(Tensor::new("", vec![1, 2], Values::Fp32(vec![0.5, 1.5])).unwrap())
}

pub(crate) async fn ask(
    plane: &DataPlane,
    endpoint: &str,
    deadline: Option<Instant>,
) -> Result<Answer, ServingError> {
    let ask = Ask {
        endpoint: &plane.find(PROJECT, endpoint)?,
        version: None,
        frame: &row(),
        sticky: None,
        lot: 7,
        at_ms: 0,
        deadline,
        features: &NoFeatures,
    };
    plane.ask(&ask).await
}

/// What one model of these takes of memory, in bytes.
pub(crate) async fn size() -> usize {
    House::published(1, ModelMemory::Unlimited).await.plane.memory().bytes
}

pub(crate) async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
