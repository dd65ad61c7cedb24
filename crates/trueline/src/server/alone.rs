//! The data plane alone: one model out of a folder, or those that a platform loads, for a container. No database, no ledger, no pages.

use super::assemble::{DRAIN, StopSignals, threads};
use super::limits::Limits;
use super::origin::OriginRules;
use super::{answering, http, observe};
use anyhow::Context;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::watch;
use trueline_flows::{CommonThreads, Predictor, RedactionKey};
use trueline_inference::VertexRoutes;
use trueline_ledger::{ProjectId, Sources};
use trueline_mlflow::MLFLOW_VERSION;
use trueline_serving::{
    Access, DataPlane, EndpointName, EndpointSnapshot, Folders, HostedModels, ModelLoader, ModelMemory,
    NoFeatures, Runtimes, Variant,
};

/// The project of the one endpoint, by which nobody needs to ask.
const PROJECT: &str = "default";

/// What is served.
pub(crate) struct Alone {
    /// Where MLflow saved the model; none where a platform will say which.
    pub(crate) folder: Option<PathBuf>,
    /// Below which a platform has models that it loads and unloads, if it does.
    pub(crate) models: Option<PathBuf>,
    /// What the model is called.
    pub(crate) name: String,
    /// The address to listen on.
    pub(crate) address: SocketAddr,
    /// What models are run by.
    pub(crate) runtimes: Runtimes,
    /// How much memory models may take.
    pub(crate) memory: ModelMemory,
    /// From where requests may come.
    pub(crate) origins: OriginRules,
    /// How many requests at a time, and for how long.
    pub(crate) limits: Limits,
    /// The routes at which Vertex AI asks.
    pub(crate) vertex: Option<VertexRoutes>,
    /// Whether Azure ML asks.
    pub(crate) azure: bool,
    /// When the process began.
    pub(crate) began: Instant,
}

/// Serves a model until it is told to stop.
pub(crate) fn serve_alone(alone: Alone) -> anyhow::Result<()> {
    threads()?.block_on(serve(alone))
}

async fn serve(alone: Alone) -> anyhow::Result<()> {
    let asked_to_stop = StopSignals::listen()?;
    let metrics = observe::start_metrics()?;
    let folders = Arc::new(Folders::default());
    let loader = ModelLoader::new(Arc::clone(&folders) as _, alone.runtimes);
    // Where a platform decides what is loaded, nothing is unloaded behind its back.
    let memory = match (&alone.models, alone.memory) {
        (Some(_), ModelMemory::Bytes(bytes)) => ModelMemory::Fixed(bytes),
        (_, memory) => memory,
    };
    let plane = DataPlane::within(memory, loader, None);
    let hosted =
        alone.models.map(|root| HostedModels::new(plane.clone(), Arc::clone(&folders), PROJECT, root));
    plane.set_access(Access { open: true, ..Access::default() });
    let sources = Sources::system();
    let predictor = Predictor {
        plane: plane.clone(),
        log: None,
        features: Arc::new(NoFeatures),
        redaction: RedactionKey::new(&sources.bytes()),
        sources,
        common: CommonThreads::these(),
    };
    let name = EndpointName::parse(&alone.name)?;
    let wires = trueline_inference::Alone {
        endpoint: name.to_string(),
        mlflow_version: MLFLOW_VERSION,
        vertex: alone.vertex,
        azure: alone.azure,
        hosted,
    };
    let head = alone.limits.head;
    let guard = http::Guard { origins: alone.origins, limits: alone.limits };
    // Platforms ask from the first moment whether the container is well, and are told that the model is being loaded.
    let listener = TcpListener::bind(alone.address)
        .await
        .with_context(|| format!("can't listen on {}: choose another port with --port", alone.address))?;
    let address = listener.local_addr()?;
    let app = http::app_alone(predictor, wires, metrics, guard);
    let (stop, stopping) = watch::channel(false);
    tokio::spawn({
        let (plane, stopping) = (plane.clone(), stopping.clone());
        async move { plane.tend(stopping).await }
    });
    tokio::spawn(async move {
        asked_to_stop.wait().await;
        tracing::info!("stopping: finishing the requests at hand");
        stop.send_replace(true);
    });
    let mut told = stopping.clone();
    let asked = async move { drop(told.wait_for(|stop| *stop).await) };
    let server = answering::answer(listener, app, head, asked);
    let server = tokio::spawn(server);

    match alone.folder {
        Some(folder) => {
            plane.publish(first(&folders, &folder, &alone.name).await?).await?;
            let (ready_ms, folder) = (alone.began.elapsed().as_millis(), folder.display());
            tracing::info!(%address, model = %folder, ready_ms, "listening on http://{address}");
        }
        None => tracing::info!(%address, "listening on http://{address} for models to be loaded"),
    }
    let mut told = stopping;
    let overdue = async move {
        drop(told.wait_for(|stop| *stop).await);
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        done = server => done??,
        () = overdue => tracing::warn!("some requests did not finish in time and were cut off"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// The endpoint of the model that the container begins with.
async fn first(folders: &Arc<Folders>, folder: &Path, name: &str) -> anyhow::Result<EndpointSnapshot> {
    let (folders, folder, model) = (Arc::clone(folders), folder.to_owned(), name.to_owned());
    let spec = tokio::task::spawn_blocking(move || folders.add(&folder, &model)).await??;
    let variants = vec![Variant::new(spec, 1)];
    Ok(EndpointSnapshot::of(ProjectId::new(PROJECT), PROJECT, name, variants))
}
