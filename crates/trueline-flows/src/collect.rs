//! Real deletion and collection, project by project. What was deleted long enough ago is purged: runs, logged models,
//! experiments with their traces, manifests that no version has any more. Then blobs that nothing refers to any more are
//! removed, if they are older than the grace in which whoever put one says what it is for.
//!
//! No blob goes that an event has not named before: a collection that is broken off leaves at most blobs that were named and
//! are still there, which the next one finds again.

use crate::blob_references::Referring;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use trueline_blobs::{BlobError, Blobs, Namespace};
use trueline_data::DataError;
use trueline_db::{DbError, Tx};
use trueline_identity::{Identity, IdentityError};
use trueline_ledger::{Actor, Ledger, LedgerError, LedgerTx, Millis, NewEvent, ProjectId};
use trueline_pipelines::PipelineError;
use trueline_registry::{
    Registry, RegistryError, forgettable_manifests, logged_models_of_versions, runs_of_versions,
};
use trueline_serving::ServingError;
use trueline_traces::{TraceError, Traces};
use trueline_tracking::{PurgeOrder, Purgeable, Purged, Referrers, Tracking, TrackingError};

/// Blobs that one event names.
const BATCH: usize = 500;

/// What can go wrong with a collection.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// In tracking.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    /// With traces.
    #[error(transparent)]
    Traces(#[from] TraceError),
    /// In the registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// With datasets.
    #[error(transparent)]
    Data(#[from] DataError),
    /// With pipelines.
    #[error(transparent)]
    Pipelines(#[from] PipelineError),
    /// With endpoints.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// With projects.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// With the store of blobs.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// With the queue of tasks.
    #[error(transparent)]
    Tasks(#[from] trueline_tasks::TaskError),
    /// With the ledger or the database.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<DbError> for CollectError {
    fn from(error: DbError) -> Self {
        Self::Ledger(error.into())
    }
}

/// What a collection takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectOrder {
    /// What was deleted so long ago is purged; nothing is when there is no such time.
    pub keep_ms: Option<Millis>,
    /// Blobs that were put less long ago stay.
    pub grace_ms: Millis,
    /// Nothing is changed; the report tells what would be.
    pub dry_run: bool,
}

/// Blobs in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobCount {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl BlobCount {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What a collection came to in a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectCollection {
    /// The project's name.
    pub project: String,
    /// What was purged, or would be.
    pub purged: Purged,
    /// Manifests of deleted versions that were let go, or would be.
    pub manifests: u64,
    /// Blobs that were removed, or would be.
    pub removed: BlobCount,
    /// Blobs that nothing refers to and that are too young to be removed.
    pub young: BlobCount,
    /// Blobs that stay, the young ones among them.
    pub kept: BlobCount,
}

/// What a collection came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Each project, by name.
    pub projects: Vec<ProjectCollection>,
}

/// The parts that a collection needs.
#[derive(Clone, Debug)]
pub struct Collector {
    /// The ledger.
    pub ledger: Ledger,
    /// Projects.
    pub identity: Identity,
    /// Runs, logged models, experiments, artifacts.
    pub tracking: Tracking,
    /// Traces.
    pub traces: Traces,
    /// Versions.
    pub registry: Registry,
    /// The bytes.
    pub blobs: Blobs,
}

/// Versions that are not deleted keep what they were made from.
#[derive(Debug)]
struct Versions;

impl Referrers for Versions {
    fn runs(
        &self,
        tx: &mut Tx<'_>,
        project: &ProjectId,
        ids: &[String],
    ) -> Result<BTreeSet<String>, DbError> {
        runs_of_versions(tx, project, ids)
    }

    fn logged_models(
        &self,
        tx: &mut Tx<'_>,
        project: &ProjectId,
        ids: &[String],
    ) -> Result<BTreeSet<String>, DbError> {
        logged_models_of_versions(tx, project, ids)
    }
}

/// What would be purged, so that a dry run counts its blobs.
#[derive(Default)]
struct Foreseen {
    tracking: Purgeable,
    manifests: BTreeSet<String>,
}

impl Foreseen {
    /// Whether a reference would be gone.
    fn takes(&self, kind: Referring, by: &str) -> bool {
        match kind {
            Referring::Artifacts => {
                by.strip_prefix("artifact ").is_some_and(|path| self.tracking.takes_artifact(path))
            }
            Referring::Captures => by.rsplit(' ').next().is_some_and(|run| self.tracking.runs.contains(run)),
            Referring::Versions => {
                let digest = by.rsplit_once("(manifest ").and_then(|(_, rest)| rest.strip_suffix(')'));
                digest.is_some_and(|digest| self.manifests.contains(digest))
            }
            _ => false,
        }
    }
}

impl Collector {
    /// Collects in all projects.
    ///
    /// # Errors
    /// [`CollectError`]; what was done by then stays done.
    pub async fn collect(&self, order: CollectOrder, actor: &Actor) -> Result<Collection, CollectError> {
        let mut collection = Collection { dry_run: order.dry_run, projects: Vec::new() };
        for project in self.identity.projects().await? {
            let mut report = ProjectCollection { project: project.name, ..ProjectCollection::default() };
            let foreseen = self.purge(order, &project.id, actor, &mut report).await?;
            self.collect_blobs(order, &project.id, actor, &foreseen, &mut report).await?;
            collection.projects.push(report);
        }
        Ok(collection)
    }

    async fn purge(
        &self,
        order: CollectOrder,
        project: &ProjectId,
        actor: &Actor,
        report: &mut ProjectCollection,
    ) -> Result<Foreseen, CollectError> {
        let Some(keep_ms) = order.keep_ms else { return Ok(Foreseen::default()) };
        let until = self.ledger.sources().now().saturating_sub(keep_ms);
        let purge = PurgeOrder {
            project: project.clone(),
            deleted_until_ms: until,
            actor: actor.clone(),
            referrers: Arc::new(Versions),
        };
        if order.dry_run {
            let tracking = self.tracking.purgeable(&purge).await?;
            let of = project.clone();
            let manifests = self.ledger.db().read(move |tx| forgettable_manifests(tx, &of, until)).await?;
            report.purged = tracking.counts();
            report.manifests = manifests.len() as u64;
            return Ok(Foreseen { tracking, manifests });
        }
        report.purged = self.tracking.purge_deleted(&purge).await?;
        for experiment in self.tracking.purgeable_experiments(&purge).await? {
            self.traces.purge_experiment(project, experiment, actor).await?;
            let more = self.tracking.purge_experiment(&purge, experiment).await?;
            report.purged.experiments += more.experiments;
            report.purged.logged_models += more.logged_models;
            report.purged.kept_back += more.kept_back;
        }
        report.manifests = self.registry.forget_manifests(project, until, actor).await?;
        Ok(Foreseen::default())
    }

    async fn collect_blobs(
        &self,
        order: CollectOrder,
        project: &ProjectId,
        actor: &Actor,
        foreseen: &Foreseen,
        report: &mut ProjectCollection,
    ) -> Result<(), CollectError> {
        let namespace = Namespace::new(project.as_str());
        let grace = Duration::from_millis(order.grace_ms.max(0).unsigned_abs());
        let cutoff = SystemTime::now().checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH);
        // Blobs before references: whatever is referred to later was put or kept alive later, and is young then.
        let mut all = HashMap::new();
        let mut listed = std::pin::pin!(self.blobs.list(&namespace));
        while let Some(blob) = listed.try_next().await? {
            report.kept.add(blob.size);
            all.insert(blob.sha256, (blob.size, blob.put_at < cutoff));
        }
        for kind in Referring::ALL {
            let referred = |references: Vec<trueline_blobs::Reference>| {
                for reference in references.iter().filter(|r| !foreseen.takes(kind, &r.by)) {
                    all.remove(reference.sha256.as_str());
                }
            };
            kind.each(self.ledger.db(), project, referred).await?;
        }
        let mut old = Vec::new();
        for (sha256, (size, is_old)) in all {
            match is_old {
                true => old.push((sha256, size)),
                false => report.young.add(size),
            }
        }
        old.sort();
        if order.dry_run {
            old.iter().for_each(|(_, size)| report.removed.add(*size));
        } else {
            self.remove(project, &old, cutoff, actor, report).await?;
        }
        report.kept.count -= report.removed.count;
        report.kept.bytes -= report.removed.bytes;
        Ok(())
    }

    /// Names blobs in events and removes them; in the end one event says what went.
    async fn remove(
        &self,
        project: &ProjectId,
        blobs: &[(String, u64)],
        cutoff: SystemTime,
        actor: &Actor,
        report: &mut ProjectCollection,
    ) -> Result<(), CollectError> {
        if blobs.is_empty() {
            return Ok(());
        }
        let namespace = Namespace::new(project.as_str());
        let mut removed = Sha256::new();
        for batch in blobs.chunks(BATCH) {
            let names: Vec<String> = batch.iter().map(|(sha256, _)| sha256.clone()).collect();
            let bytes: u64 = batch.iter().map(|(_, size)| size).sum();
            self.tell(
                project,
                actor,
                "blobs.condemned",
                json!({ "count": names.len(), "bytes": bytes, "blobs": names }),
            )
            .await?;
            for (sha256, _) in batch {
                if let Some(size) = self.blobs.remove(&namespace, sha256, cutoff).await? {
                    report.removed.add(size);
                    removed.update(sha256);
                }
            }
        }
        let spared = blobs.len() as u64 - report.removed.count;
        let payload = json!({
            "count": report.removed.count, "bytes": report.removed.bytes, "spared": spared,
            "sha256": hex::encode(removed.finalize()),
        });
        self.tell(project, actor, "blobs.collected", payload).await
    }

    async fn tell(
        &self,
        project: &ProjectId,
        actor: &Actor,
        action: &'static str,
        payload: serde_json::Value,
    ) -> Result<(), CollectError> {
        let project = project.clone();
        self.ledger
            .write(actor, move |tx: &mut LedgerTx<'_, '_>| {
                let event = NewEvent::new(&project, action, "project", project.as_str());
                tx.emit(event.with(payload.clone()))?;
                Ok(())
            })
            .await
    }
}
