//! Monitors are declared: made when there are none of their name, and changed when they are declared otherwise.

use crate::MonitoringError;
use crate::error::to_store;
use crate::following::{Progress, restart};
use crate::monitors::{Monitor, Monitoring, by_id, by_name, shown};
use crate::spec::MonitorSpec;
use serde_json::json;
use trueline_db::Tx;
use trueline_identity::{Authorized, Watch};
use trueline_ledger::{LedgerTx, NewEvent, ProjectId};

/// A monitor as it is declared.
#[derive(Clone, Debug)]
pub struct NewMonitor {
    /// Its name within the project.
    pub name: String,
    /// The endpoint that it watches.
    pub endpoint: String,
    /// What it does.
    pub spec: MonitorSpec,
}

fn check(new: &NewMonitor) -> Result<(), MonitoringError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = new.name.len() <= 63
        && new.name.starts_with(plain)
        && new.name.ends_with(plain)
        && new.name.chars().all(|c| plain(c) || c == '-');
    if !is_name {
        return Err(MonitoringError::Invalid(format!(
            "`{}` can't name a monitor: use 1 to 63 lower-case letters, digits and inner hyphens",
            new.name
        )));
    }
    new.spec.check()
}

fn insert(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    new: &NewMonitor,
) -> Result<Monitor, MonitoringError> {
    let (id, now, by) = (tx.derived_id("monitor"), tx.now(), tx.actor().principal.clone());
    let made = tx.execute(
        "INSERT INTO monitors (id, project, name, endpoint, spec, created_by, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        &[
            (&id).into(),
            project.into(),
            (&new.name).into(),
            (&new.endpoint).into(),
            to_store("a monitor", &new.spec)?.into(),
            by.into(),
            now.into(),
        ],
    )?;
    if made == 0 {
        return Err(MonitoringError::Exists(format!("a monitor `{}` exists already", new.name)));
    }
    tx.execute(
        "INSERT INTO monitor_progress (monitor, revision, progress) VALUES (?1, 0, ?2)",
        &[(&id).into(), to_store("a monitor's progress", &Progress::default())?.into()],
    )?;
    let event = NewEvent::new(project, "monitor.created", "monitor", &id);
    tx.emit(event.with(json!({ "name": new.name, "endpoint": new.endpoint, "spec": shown(&new.spec) })))?;
    by_id(tx, &id)
}

/// What is counted depends on the endpoint, the grid of windows and what they are compared with. The first two are what a
/// monitor is; when the third changes, the log is counted again.
fn change(tx: &mut LedgerTx<'_, '_>, before: &Monitor, new: &NewMonitor) -> Result<Monitor, MonitoringError> {
    if before.endpoint == new.endpoint && before.spec == new.spec {
        return Ok(before.clone());
    }
    if before.endpoint != new.endpoint || before.spec.window_ms != new.spec.window_ms {
        return Err(MonitoringError::State(format!(
            "monitor `{}` watches endpoint `{}` in windows of {} ms, and neither can be changed: declare another monitor",
            before.name, before.endpoint, before.spec.window_ms
        )));
    }
    let counts_anew =
        before.spec.reference != new.spec.reference || before.spec.features != new.spec.features;
    tx.execute(
        "UPDATE monitors SET spec = ?2 WHERE id = ?1",
        &[(&before.id).into(), to_store("a monitor", &new.spec)?.into()],
    )?;
    if counts_anew {
        restart(tx, &before.id)?;
    }
    let event = NewEvent::new(&before.project, "monitor.changed", "monitor", &before.id);
    tx.emit(event.with(json!({
        "name": before.name, "before": shown(&before.spec), "after": shown(&new.spec), "counts_anew": counts_anew,
    })))?;
    by_id(tx, &before.id)
}

fn find(tx: &mut Tx<'_>, project: &ProjectId, name: &str) -> Result<Option<Monitor>, MonitoringError> {
    match by_name(tx, project, name) {
        Ok(found) => Ok(Some(found)),
        Err(MonitoringError::NotFound(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

impl Monitoring {
    /// Makes a monitor. It reads its endpoint's log from the beginning.
    ///
    /// # Errors
    /// [`MonitoringError::Exists`], [`MonitoringError::Invalid`].
    pub async fn create(
        &self,
        leave: &Authorized<Watch>,
        new: NewMonitor,
    ) -> Result<Monitor, MonitoringError> {
        check(&new)?;
        let project = leave.project().clone();
        self.ledger.write(leave.actor(), move |tx| insert(tx, &project, &new)).await
    }

    /// Makes a monitor, or changes the one of this name so that it is as declared; to declare what holds already changes
    /// nothing. Windows that were closed stay closed, and an alert over what is judged no more ends with the next one.
    ///
    /// # Errors
    /// [`MonitoringError::Invalid`]; [`MonitoringError::State`] when its endpoint or the length of its windows is another.
    pub async fn declare(
        &self,
        leave: &Authorized<Watch>,
        new: NewMonitor,
    ) -> Result<Monitor, MonitoringError> {
        check(&new)?;
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| match find(tx, &project, &new.name)? {
                Some(before) => change(tx, &before, &new),
                None => insert(tx, &project, &new),
            })
            .await
    }
}
