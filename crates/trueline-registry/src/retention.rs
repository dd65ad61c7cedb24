//! What the registry keeps alive and lets go: the runs and logged models that versions stand on, the manifests of versions,
//! and the end of a manifest that no version has any more.

use crate::manifest::Manifest;
use crate::{Registry, RegistryError};
use serde_json::json;
use std::collections::BTreeSet;
use trueline_db::{DbError, Tx, Value};
use trueline_ledger::{Actor, LedgerTx, Millis, NewEvent, ProjectId};

/// Manifests of one page.
const PAGE: usize = 100;
/// Manifests that one transaction takes out at the most.
const AT_ONCE: i64 = 100;
/// No version has it.
const UNUSED: &str = "NOT EXISTS (SELECT v.id FROM model_versions v
     WHERE v.project = version_manifests.project AND v.manifest_digest = version_manifests.digest)";

fn named_by_versions(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    column: &str,
    ids: &[String],
) -> Result<BTreeSet<String>, DbError> {
    let mut found = BTreeSet::new();
    for some in ids.chunks(200) {
        let list: Vec<String> = (2..some.len() + 2).map(|n| format!("?{n}")).collect();
        let sql = format!(
            "SELECT DISTINCT {column} FROM model_versions
             WHERE project = ?1 AND {column} IN ({}) AND lifecycle = 'active'",
            list.join(", ")
        );
        let mut params: Vec<Value> = vec![project.into()];
        params.extend(some.iter().map(Value::from));
        for mut row in tx.query(&sql, &params)? {
            found.insert(row.take(0)?);
        }
    }
    Ok(found)
}

/// Those of these runs from which versions were made that are not deleted.
///
/// # Errors
/// What the database says.
pub fn runs_of_versions(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    ids: &[String],
) -> Result<BTreeSet<String>, DbError> {
    named_by_versions(tx, project, "run_id", ids)
}

/// Those of these logged models that versions are which are not deleted.
///
/// # Errors
/// What the database says.
pub fn logged_models_of_versions(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    ids: &[String],
) -> Result<BTreeSet<String>, DbError> {
    named_by_versions(tx, project, "model_id", ids)
}

/// The next manifests by digest, those of deleted versions among them, and where the next page begins.
///
/// # Errors
/// [`RegistryError::Manifest`], or what the database says.
pub fn manifests_after(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    after: &str,
) -> Result<(Vec<(String, Manifest)>, Option<String>), RegistryError> {
    let sql = format!(
        "SELECT digest, body FROM version_manifests WHERE project = ?1 AND digest > ?2 ORDER BY digest LIMIT {PAGE}"
    );
    let mut found = Vec::new();
    for mut row in tx.query(&sql, &[project.into(), after.into()])? {
        let (digest, body): (String, String) = (row.take(0)?, row.take(1)?);
        let manifest = serde_json::from_str(&body)
            .map_err(|e| RegistryError::Manifest { digest: digest.clone(), why: e.to_string() })?;
        found.push((digest, manifest));
    }
    let next = found.last().filter(|_| found.len() == PAGE).map(|(digest, _)| digest.clone());
    Ok((found, next))
}

/// The versions that have a manifest, each as `model/number`.
///
/// # Errors
/// What the database says.
pub fn versions_with_manifest(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    digest: &str,
) -> Result<Vec<String>, RegistryError> {
    let sql = "SELECT name, version FROM model_versions WHERE project = ?1 AND manifest_digest = ?2 ORDER BY name, version";
    let rows = tx.query(sql, &[project.into(), digest.into()])?;
    rows.into_iter()
        .map(|mut row| Ok(format!("{}/{}", row.take::<String>(0)?, row.take::<i64>(1)?)))
        .collect()
}

/// The digests of manifests that no version has any more, since then or before.
///
/// # Errors
/// What the database says.
pub fn forgettable_manifests(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    until: Millis,
) -> Result<BTreeSet<String>, RegistryError> {
    let sql = format!(
        "SELECT digest FROM version_manifests WHERE project = ?1 AND unused_since_ms <= ?2 AND {UNUSED}"
    );
    let rows = tx.query(&sql, &[project.into(), until.into()])?;
    rows.into_iter().map(|mut row| Ok(row.take(0)?)).collect()
}

/// Notes that a deletion left manifests without a version: that with this digest, or all of which that is not known.
pub(crate) fn left_unused(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    digest: Option<&str>,
) -> Result<u64, RegistryError> {
    let now = tx.now();
    let sql = format!(
        "UPDATE version_manifests SET unused_since_ms = ?2
         WHERE project = ?1 AND unused_since_ms IS NULL AND (?3 = '' OR digest = ?3) AND {UNUSED}"
    );
    Ok(tx.execute(&sql, &[project.into(), now.into(), digest.unwrap_or_default().into()])?)
}

impl Registry {
    /// Notes since when manifests have no version any more, and lets go of those that have none since `until` or before;
    /// answers how many.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn forget_manifests(
        &self,
        project: &ProjectId,
        until: Millis,
        actor: &Actor,
    ) -> Result<u64, RegistryError> {
        self.note_unused(project, actor).await?;
        let mut forgotten = 0;
        loop {
            let of = project.clone();
            let job = move |tx: &mut LedgerTx<'_, '_>| {
                let digests = forgettable_manifests(tx, &of, until)?;
                let some: Vec<&String> = digests.iter().take(usize::try_from(AT_ONCE).unwrap_or(1)).collect();
                for digest in &some {
                    tx.execute(
                        "DELETE FROM version_manifests WHERE project = ?1 AND digest = ?2",
                        &[(&of).into(), (*digest).into()],
                    )?;
                }
                if !some.is_empty() {
                    let event = NewEvent::new(&of, "manifests.forgotten", "project", of.as_str());
                    tx.emit(event.with(json!({ "manifests": some })))?;
                }
                Ok::<_, RegistryError>(some.len() as u64)
            };
            match self.ledger.write(actor, job).await? {
                0 => return Ok(forgotten),
                some => forgotten += some,
            }
        }
    }

    async fn note_unused(&self, project: &ProjectId, actor: &Actor) -> Result<(), RegistryError> {
        let sql = format!(
            "SELECT digest FROM version_manifests WHERE project = ?1 AND unused_since_ms IS NULL AND {UNUSED} LIMIT 1"
        );
        let of = project.clone();
        let any =
            self.ledger.db().read(move |tx| tx.query_opt(&sql, &[(&of).into()]).map_err(RegistryError::from));
        if any.await?.is_none() {
            return Ok(());
        }
        let of = project.clone();
        self.ledger
            .write(actor, move |tx| {
                let manifests = left_unused(tx, &of, None)?;
                if manifests > 0 {
                    let event = NewEvent::new(&of, "retention.begun", "project", of.as_str());
                    tx.emit(event.with(json!({ "manifests": manifests })))?;
                }
                Ok(())
            })
            .await
    }
}
