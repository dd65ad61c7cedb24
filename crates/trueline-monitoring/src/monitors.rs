//! Monitors in the database: listed, read. How they are declared stands in `declaring`.

use crate::error::{stored, to_store};
use crate::following::Progress;
use crate::spec::{MonitorSpec, ReferenceSource};
use crate::training::{self, TrainedVersion};
use crate::{MonitoringError, Reference};
use serde::Serialize;
use serde_json::json;
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::{Ledger, LedgerTx, Millis, NewEvent, ProjectId};

/// Monitors, their alerts and incidents. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Monitoring {
    pub(crate) ledger: Ledger,
}

/// Which monitor, for the part of the server that follows the prediction log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonitorKey {
    /// Its id.
    pub id: String,
    /// Its project.
    pub project: ProjectId,
}

/// A monitor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Monitor {
    /// Its id.
    pub id: String,
    /// Its project.
    pub project: ProjectId,
    /// Its name.
    pub name: String,
    /// The endpoint that it watches.
    pub endpoint: String,
    /// What it does.
    pub spec: MonitorSpec,
    /// What windows are compared with; none while it is learnt, and when each version has its own.
    pub reference: Option<Reference>,
    /// What each version was trained on, when windows are compared with that, in the order in which it was looked up.
    pub training: Vec<TrainedVersion>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at_ms: Millis,
}

const COLUMNS: &str = "id, project, name, endpoint, spec, reference, created_by, created_at_ms FROM monitors";

fn from_row(tx: &mut Tx<'_>, row: &mut Row) -> Result<Monitor, MonitoringError> {
    let reference: Option<String> = row.take(5)?;
    let mut monitor = Monitor {
        id: row.take(0)?,
        project: ProjectId::new(row.take::<String>(1)?),
        name: row.take(2)?,
        endpoint: row.take(3)?,
        spec: stored("a monitor", &row.take::<String>(4)?)?,
        reference: reference.map(|text| stored("a monitor's reference", &text)).transpose()?,
        training: Vec::new(),
        created_by: row.take(6)?,
        created_at_ms: row.take(7)?,
    };
    if monitor.spec.reference == ReferenceSource::Training {
        monitor.training = training::of_monitor(tx, &monitor.id)?;
    }
    Ok(monitor)
}

pub(crate) fn by_id(tx: &mut Tx<'_>, id: &str) -> Result<Monitor, MonitoringError> {
    let row = tx.query_opt(&format!("SELECT {COLUMNS} WHERE id = ?1"), &[id.into()])?;
    from_row(tx, &mut row.ok_or_else(|| MonitoringError::NotFound(format!("there is no monitor `{id}`")))?)
}

pub(crate) fn by_name(tx: &mut Tx<'_>, project: &ProjectId, name: &str) -> Result<Monitor, MonitoringError> {
    let sql = format!("SELECT {COLUMNS} WHERE project = ?1 AND name = ?2");
    let row = tx.query_opt(&sql, &[project.into(), name.into()])?;
    let missing = || {
        MonitoringError::NotFound(format!(
            "there is no monitor `{name}`; `trueline monitor list` shows those there are"
        ))
    };
    from_row(tx, &mut row.ok_or_else(missing)?)
}

/// A webhook's address without what may be secret in it.
pub(crate) fn without_secrets(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return "…".to_owned() };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}/…")
}

impl Monitor {
    /// What it was declared as, to compare with: the digest of its endpoint and of all that it does.
    #[must_use]
    pub fn digest(&self) -> String {
        self.spec.digest(&self.endpoint)
    }

    /// What it does, without what may be secret in the addresses of webhooks.
    #[must_use]
    pub fn shown_spec(&self) -> MonitorSpec {
        shown(&self.spec)
    }
}

pub(crate) fn shown(spec: &MonitorSpec) -> MonitorSpec {
    let webhooks = spec.webhooks.iter().map(|w| without_secrets(w)).collect();
    MonitorSpec { webhooks, ..spec.clone() }
}

/// Records what windows are compared with, and has the log be read from its beginning again.
pub(crate) fn set_reference(
    tx: &mut LedgerTx<'_, '_>,
    monitor: &Monitor,
    reference: &Reference,
) -> Result<(), MonitoringError> {
    let now = tx.now();
    tx.execute(
        "UPDATE monitors SET reference = ?2, reference_at = ?3 WHERE id = ?1",
        &[(&monitor.id).into(), to_store("a monitor's reference", reference)?.into(), now.into()],
    )?;
    let features: Vec<&String> = reference.columns.keys().collect();
    let event = NewEvent::new(&monitor.project, "monitor.reference_set", "monitor", &monitor.id);
    tx.emit(event.with(json!({
        "name": monitor.name, "source": reference.source, "features": features,
    })))?;
    Ok(())
}

impl Monitoring {
    /// Over a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }

    /// One monitor.
    ///
    /// # Errors
    /// [`MonitoringError::NotFound`].
    pub async fn get(&self, leave: &Authorized<ReadProject>, name: &str) -> Result<Monitor, MonitoringError> {
        let (project, name) = (leave.project().clone(), name.to_owned());
        self.ledger.db().read(move |tx| by_name(tx, &project, &name)).await
    }

    /// All monitors of a project, by name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn list(&self, leave: &Authorized<ReadProject>) -> Result<Vec<Monitor>, MonitoringError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let sql = format!("SELECT {COLUMNS} WHERE project = ?1 ORDER BY name");
                let mut rows = tx.query(&sql, &[(&project).into()])?;
                rows.iter_mut().map(|row| from_row(tx, row)).collect()
            })
            .await
    }

    /// How far a monitor has read.
    ///
    /// # Errors
    /// What the database says.
    pub async fn progress(
        &self,
        leave: &Authorized<ReadProject>,
        id: &str,
    ) -> Result<Progress, MonitoringError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger
            .db()
            .read(move |tx| {
                if by_id(tx, &id)?.project != project {
                    return Err(MonitoringError::NotFound(format!("there is no monitor `{id}`")));
                }
                Ok(crate::following::progress(tx, &id)?.1)
            })
            .await
    }

    /// All monitors of all projects, for the part of the server that follows the prediction log.
    ///
    /// # Errors
    /// What the database says.
    pub async fn all(&self) -> Result<Vec<MonitorKey>, MonitoringError> {
        self.ledger
            .db()
            .read(|tx| {
                let mut rows = tx.query("SELECT id, project FROM monitors ORDER BY id", &[])?;
                rows.iter_mut()
                    .map(|row| {
                        Ok(MonitorKey { id: row.take(0)?, project: ProjectId::new(row.take::<String>(1)?) })
                    })
                    .collect()
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn what_may_be_secret_in_an_address_is_not_shown() {
        assert_eq!(without_secrets("https://u:p@hooks.example/T1/secret?x=1"), "https://hooks.example/…");
        assert_eq!(without_secrets("nonsense"), "…");
    }
}
