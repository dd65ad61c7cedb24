//! What comes from another store, many things at a time: each batch is one transaction with one event, which tells counts
//! and digests. What is here already stays as it is, so that an import can be repeated, or go on after it was killed. How
//! the other store is read is the faces' matter.

mod artifacts;
mod experiments;
mod models;
mod runs;

pub use artifacts::ImportedArtifact;
pub use experiments::{PlacedExperiment, Placing};
pub use models::{ImportedModel, ModelPoint};
pub use runs::{ImportedPoints, ImportedRun};

use crate::{Tracking, TrackingError};
use serde::Serialize;
use sha2::{Digest, Sha256};
use trueline_db::Tx;
use trueline_ledger::ProjectId;

/// SHA-256 of a batch as JSON, for its event.
fn digest(batch: &impl Serialize) -> String {
    let json = serde_json::to_vec(batch).unwrap_or_default();
    hex::encode(Sha256::digest(json))
}

/// What of an import is known under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing.
    Unknown,
    /// It is here, whole.
    Here,
    /// An import was killed before all of it was here.
    Half,
    /// Another project has it.
    Elsewhere,
}

/// Where a thing of a table whose ids are unique over all projects stands.
fn standing(tx: &mut Tx<'_>, table: &str, project: &ProjectId, id: &str) -> Result<Standing, TrackingError> {
    let sql = format!("SELECT project, lifecycle FROM {table} WHERE id = ?1");
    let Some(mut row) = tx.query_opt(&sql, &[id.into()])? else { return Ok(Standing::Unknown) };
    Ok(match (row.take::<String>(0)? == project.as_str(), row.take::<String>(1)? == runs::ARRIVING) {
        (false, _) => Standing::Elsewhere,
        (true, true) => Standing::Half,
        (true, false) => Standing::Here,
    })
}

impl Tracking {
    /// Which of these runs need not be read again, because they are here.
    ///
    /// # Errors
    /// What the database says.
    pub async fn imported_runs(
        &self,
        leave: &trueline_identity::Authorized<trueline_identity::ReadProject>,
        ids: Vec<String>,
    ) -> Result<Vec<String>, TrackingError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let mut here = Vec::new();
                for id in &ids {
                    if standing(tx, "runs", &project, id)? == Standing::Here {
                        here.push(id.clone());
                    }
                }
                Ok(here)
            })
            .await
    }
}
