//! Release policies as rows: declared, read. What one says stands in `policy`.

use crate::policy::ReleasePolicy;
use crate::{Registry, RegistryError, models};
use serde::Serialize;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use trueline_db::{DbError, Tx};
use trueline_identity::{Authorized, DeclarePolicy, ReadProject};
use trueline_ledger::{Millis, NewEvent, ProjectId};

/// A policy as it was declared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeclaredPolicy {
    /// What it says.
    pub policy: ReleasePolicy,
    /// SHA-256 of what it says: approvals hold for this policy alone.
    pub digest: String,
    /// Who declared it, as authenticated.
    pub declared_by: String,
    /// When.
    #[serde(skip)]
    pub declared_at_ms: Millis,
}

/// Reads JSON that this domain has written.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(|e| DbError::Other(format!("{what} can't be read: {e}")))
}

/// SHA-256 of a policy's text.
pub(crate) fn digest(body: &str) -> String {
    hex::encode(Sha256::digest(body.as_bytes()))
}

pub(crate) fn get(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    model: &str,
) -> Result<Option<DeclaredPolicy>, RegistryError> {
    let row = tx.query_opt(
        "SELECT body, digest, declared_by, declared_at_ms FROM release_policies WHERE project = ?1 AND name = ?2",
        &[project.into(), model.into()],
    )?;
    let Some(mut row) = row else { return Ok(None) };
    Ok(Some(DeclaredPolicy {
        policy: read_json("a release policy", &row.take::<String>(0)?)?,
        digest: row.take(1)?,
        declared_by: row.take(2)?,
        declared_at_ms: row.take(3)?,
    }))
}

impl Registry {
    /// Declares what a model's versions must pass. To declare what holds already changes nothing; any change makes
    /// approvals count no more, and results of gates that were changed.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] without the model, [`RegistryError::Invalid`] naming the field.
    pub async fn declare_policy(
        &self,
        leave: &Authorized<DeclarePolicy>,
        model: &str,
        policy: ReleasePolicy,
    ) -> Result<DeclaredPolicy, RegistryError> {
        policy.check()?;
        let body = json!(policy).to_string();
        let digest = digest(&body);
        let (project, model) = (leave.project().clone(), model.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                models::require(tx, &project, &model)?;
                let before = get(tx, &project, &model)?;
                if let Some(same) = before.as_ref().filter(|b| b.digest == digest) {
                    return Ok(same.clone());
                }
                let (now, by) = (tx.now(), tx.actor().principal.clone());
                tx.execute(
                    "INSERT INTO release_policies (project, name, body, digest, declared_by, declared_at_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (project, name) DO UPDATE SET body = excluded.body, digest = excluded.digest,
                         declared_by = excluded.declared_by, declared_at_ms = excluded.declared_at_ms",
                    &[
                        (&project).into(),
                        (&model).into(),
                        (&body).into(),
                        (&digest).into(),
                        by.into(),
                        now.into(),
                    ],
                )?;
                models::touch(tx, &project, &model)?;
                let before = before.map_or(Json::Null, |b| json!(b.policy));
                let event = NewEvent::new(&project, "release_policy.declared", "model", &model);
                tx.emit(event.with(json!({
                    "model": model, "before": before, "after": policy, "digest": digest,
                })))?;
                get(tx, &project, &model)?
                    .ok_or_else(|| RegistryError::State("the policy was not kept".to_owned()))
            })
            .await
    }

    /// What a model's versions must pass; nothing when no policy was declared.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] without the model.
    pub async fn policy(
        &self,
        leave: &Authorized<ReadProject>,
        model: &str,
    ) -> Result<Option<DeclaredPolicy>, RegistryError> {
        let (project, model) = (leave.project().clone(), model.to_owned());
        self.ledger
            .db()
            .read(move |tx| {
                models::require(tx, &project, &model)?;
                get(tx, &project, &model)
            })
            .await
    }
}
