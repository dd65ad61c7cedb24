//! Everything that refers to blobs, of all domains: what a collection must not take, and what a check must find.

use crate::CollectError;
use trueline_blobs::{Reference, References};
use trueline_data::{awaited_blobs, version_blobs};
use trueline_db::{Db, Tx};
use trueline_ledger::ProjectId;
use trueline_pipelines::{cached_blobs, log_blobs, output_blobs};
use trueline_registry::{Manifest, manifests_after, versions_with_manifest};
use trueline_serving::routed_blobs;
use trueline_tracking::{artifact_blobs, capture_blobs};

/// A kind of thing that refers to blobs. Whoever keeps blobs in a new place adds one here, or they are collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Referring {
    /// Frozen files of versions.
    Versions,
    /// Files of versions that an endpoint was routed to.
    Routes,
    /// Artifacts of runs, logged models and traces.
    Artifacts,
    /// Code and environment of captured runs.
    Captures,
    /// Files and profiles of dataset versions.
    Datasets,
    /// Files of dataset versions that are being made.
    AwaitedDatasets,
    /// Outputs of steps that need not run again.
    CachedOutputs,
    /// Outputs of steps.
    Outputs,
    /// Logs of steps.
    Logs,
}

impl Referring {
    pub(crate) const ALL: [Self; 9] = [
        Self::Versions,
        Self::Routes,
        Self::Artifacts,
        Self::Captures,
        Self::Datasets,
        Self::AwaitedDatasets,
        Self::CachedOutputs,
        Self::Outputs,
        Self::Logs,
    ];

    /// Those whose blobs are there, because nobody could refer to them otherwise; a client may name any digest in a capture.
    const CHECKED: [Self; 4] = [Self::Versions, Self::Routes, Self::Artifacts, Self::Datasets];

    /// The next references after a cursor.
    pub(crate) fn page(
        self,
        tx: &mut Tx<'_>,
        project: &ProjectId,
        after: &str,
    ) -> Result<References, CollectError> {
        Ok(match self {
            Self::Versions => frozen(tx, project, after)?,
            Self::Routes => routed_blobs(tx, project, after)?,
            Self::Artifacts => artifact_blobs(tx, project, after)?,
            Self::Captures => capture_blobs(tx, project, after)?,
            Self::Datasets => version_blobs(tx, project, after)?,
            Self::AwaitedDatasets => awaited_blobs(tx, project, after)?,
            Self::CachedOutputs => cached_blobs(tx, project, after)?,
            Self::Outputs => output_blobs(tx, project, after)?,
            Self::Logs => log_blobs(tx, project, after)?,
        })
    }

    /// Has `take` see all references of this kind, page by page in short reads.
    pub(crate) async fn each(
        self,
        db: &Db,
        project: &ProjectId,
        mut take: impl FnMut(Vec<Reference>),
    ) -> Result<(), CollectError> {
        let mut after = Some(String::new());
        while let Some(cursor) = after {
            let project = project.clone();
            let page = db.read(move |tx| self.page(tx, &project, &cursor)).await?;
            take(page.found);
            after = page.next;
        }
        Ok(())
    }
}

fn frozen(tx: &mut Tx<'_>, project: &ProjectId, after: &str) -> Result<References, CollectError> {
    let (manifests, next) = manifests_after(tx, project, after)?;
    let mut found = Vec::new();
    for (digest, manifest) in &manifests {
        let versions = versions_with_manifest(tx, project, digest)?;
        let whose = match versions.as_slice() {
            [] => format!("a deleted version (manifest {digest})"),
            some => format!("version {}", some.join(" and ")),
        };
        found.extend(files(manifest, &whose));
    }
    Ok(References { found, next })
}

fn files(manifest: &Manifest, whose: &str) -> impl Iterator<Item = Reference> {
    manifest
        .files()
        .iter()
        .map(move |f| Reference::sized(&f.sha256, f.size, format!("{} of {whose}", f.path)))
}

/// What of a project's references has no blob, by words; `size` tells the size of a blob that is there.
pub(crate) fn missing_offline(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    size: impl Fn(&str) -> Option<u64>,
) -> Result<Vec<String>, CollectError> {
    let mut missing = Vec::new();
    for kind in Referring::CHECKED {
        let mut after = Some(String::new());
        while let Some(cursor) = after {
            let page = kind.page(tx, project, &cursor)?;
            missing.extend(page.found.iter().filter_map(|r| wrong(r, size(&r.sha256))));
            after = page.next;
        }
    }
    Ok(missing)
}

/// The same beside a server that works.
pub(crate) async fn missing(
    db: &Db,
    blobs: &trueline_blobs::Blobs,
    project: &ProjectId,
) -> Result<Vec<String>, CollectError> {
    let namespace = trueline_blobs::Namespace::new(project.as_str());
    let mut missing = Vec::new();
    for kind in Referring::CHECKED {
        let mut after = Some(String::new());
        while let Some(cursor) = after {
            let of = project.clone();
            let page = db.read(move |tx| kind.page(tx, &of, &cursor)).await?;
            for reference in &page.found {
                let size = match blobs.size(&namespace, &reference.sha256).await {
                    Ok(size) => Some(size),
                    Err(trueline_blobs::BlobError::NotFound(_)) => None,
                    Err(other) => return Err(other.into()),
                };
                missing.extend(wrong(reference, size));
            }
            after = page.next;
        }
    }
    Ok(missing)
}

fn wrong(reference: &Reference, found: Option<u64>) -> Option<String> {
    let Reference { sha256, size, by } = reference;
    match (size, found) {
        (_, None) => Some(format!("{by}: its bytes, the blob {sha256}, are gone")),
        (Some(told), Some(found)) if *told != found => {
            Some(format!("{by}: its bytes, the blob {sha256}, are {found} instead of {told}"))
        }
        _ => None,
    }
}
