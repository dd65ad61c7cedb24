//! Alerts in the database: what a closed window does to them, and reading them.

use crate::closing::{Verdict, VerdictKind};
use crate::incidents::{EntryKind, NewEntry, incident_for, write_entry};
use crate::judge::Finding;
use crate::machine::{AlertState, Open, Step, step};
use crate::monitors::{Monitor, Monitoring, by_id};
use crate::{Level, MonitoringError};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use trueline_db::{Row, Tx, Value};
use trueline_identity::{Authorized, ReadProject};
use trueline_ledger::{LedgerTx, Millis, NewEvent, ProjectId};
use trueline_tasks::{NewTask, enqueue};

/// The kind of the tasks that tell a webhook of an alert.
pub const DELIVERY_TASK: &str = "alert.deliver";
/// How often a delivery is tried: with the pauses between, for about a quarter of an hour.
const TRIES: u32 = 10;

/// An alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// Its id.
    pub id: String,
    /// Its project.
    pub project: ProjectId,
    /// The monitor's id.
    pub monitor: String,
    /// The endpoint.
    pub endpoint: String,
    /// What is wrong: `psi:<feature>`, `missing:<feature>`, `quality:<metric>`, with `@model/3` for one version alone.
    pub subject: String,
    /// The version whose training data inputs are compared with, where each version has its own.
    pub compared_with: Option<String>,
    /// Where it stands.
    pub state: AlertState,
    /// Windows in a row that breached, while it was pending.
    pub breaches: i64,
    /// The number in the last window that was judged.
    pub value: Option<f64>,
    /// The level at which it began.
    pub enter: f64,
    /// The level at which it ends.
    pub exit: f64,
    /// The window that opened it.
    pub first_window_ms: Millis,
    /// The last window that changed it.
    pub last_window_ms: Millis,
    /// When it opened, by the wall clock.
    pub opened_at_ms: Millis,
    /// When it fired.
    pub fired_at_ms: Option<Millis>,
    /// When it ended.
    pub resolved_at_ms: Option<Millis>,
    /// The incident that it belongs to, once it has fired.
    pub incident: Option<String>,
}

/// What is to be told, and where.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The monitor.
    pub monitor: Monitor,
    /// The alert.
    pub alert: Alert,
    /// Where to.
    pub address: String,
}

const COLUMNS: &str = "id, project, monitor, endpoint, subject, state, breaches, value, enter_at, exit_at,
     first_window_ms, last_window_ms, opened_at_ms, fired_at_ms, resolved_at_ms, incident, compared_with
     FROM alerts";

fn from_row(row: &mut Row) -> Result<Alert, MonitoringError> {
    let state: String = row.take(5)?;
    let state = AlertState::parse(&state)
        .ok_or_else(|| MonitoringError::Stored { what: "an alert", why: format!("state `{state}`") })?;
    Ok(Alert {
        id: row.take(0)?,
        project: ProjectId::new(row.take::<String>(1)?),
        monitor: row.take(2)?,
        endpoint: row.take(3)?,
        subject: row.take(4)?,
        state,
        breaches: row.take(6)?,
        value: row.take(7)?,
        enter: row.take(8)?,
        exit: row.take(9)?,
        first_window_ms: row.take(10)?,
        last_window_ms: row.take(11)?,
        opened_at_ms: row.take(12)?,
        fired_at_ms: row.take(13)?,
        resolved_at_ms: row.take(14)?,
        incident: row.take(15)?,
        compared_with: row.take(16)?,
    })
}

/// One alert by its id.
///
/// # Errors
/// [`MonitoringError::NotFound`].
pub fn alert(tx: &mut Tx<'_>, id: &str) -> Result<Alert, MonitoringError> {
    let row = tx.query_opt(&format!("SELECT {COLUMNS} WHERE id = ?1"), &[id.into()])?;
    from_row(&mut row.ok_or_else(|| MonitoringError::NotFound(format!("there is no alert `{id}`")))?)
}

/// A closed window on its way to the alerts.
pub(crate) struct Changes<'a> {
    pub(crate) monitor: &'a Monitor,
    pub(crate) kind: VerdictKind,
    pub(crate) start: Millis,
    pub(crate) verdicts: &'a [Verdict],
}

impl Changes<'_> {
    /// The version whose training data speaks for all versions together, for a subject that is of all.
    fn compared_with(&self, subject: &str) -> Option<&str> {
        let all = self.verdicts.first().filter(|_| !subject.contains('@'))?;
        all.compared_with.as_deref()
    }
}

fn open_alerts(tx: &mut Tx<'_>, monitor: &str) -> Result<BTreeMap<String, Alert>, MonitoringError> {
    let sql = format!("SELECT {COLUMNS} WHERE monitor = ?1 AND state IN ('pending', 'firing')");
    let mut out = BTreeMap::new();
    for mut row in tx.query(&sql, &[monitor.into()])? {
        let alert = from_row(&mut row)?;
        out.insert(alert.subject.clone(), alert);
    }
    Ok(out)
}

/// What is found of all versions together.
fn of_all(verdicts: &[Verdict]) -> &[Finding] {
    verdicts.first().map(|v| v.findings.as_slice()).unwrap_or_default()
}

/// The findings that alerts are about: of all versions together, and of one version what does not show in all of them. A
/// season that changes for everybody is one alert, not one for each version.
fn alerting(verdicts: &[Verdict]) -> impl Iterator<Item = &Finding> {
    let all = of_all(verdicts);
    let shows = |finding: &Finding, variant: &str| {
        all.iter().any(|f| {
            let of_version = finding.subject.strip_suffix(variant).and_then(|s| s.strip_suffix('@'));
            f.level == Level::Breach && of_version == Some(&*f.subject)
        })
    };
    verdicts.iter().flat_map(move |verdict| {
        let own = move |f: &&Finding| verdict.variant.as_ref().is_none_or(|variant| !shows(f, variant));
        verdict.findings.iter().filter(own)
    })
}

pub(crate) fn apply(tx: &mut LedgerTx<'_, '_>, changes: &Changes<'_>) -> Result<(), MonitoringError> {
    let mut open = open_alerts(tx, &changes.monitor.id)?;
    for finding in alerting(changes.verdicts) {
        let mut alert = open.remove(&finding.subject);
        // Compared with what another version learnt from it is another question: the alert over the one before is over.
        let is_other = |a: &mut Alert| a.compared_with.as_deref() != changes.compared_with(&finding.subject);
        if finding.level != Level::Unknown
            && let Some(before) = alert.take_if(is_other)
        {
            take(tx, changes, &gone(&before), Some(before), Step::Resolve)?;
        }
        let standing = alert.as_ref().map(|a| Open {
            firing: a.state == AlertState::Firing,
            breaches: u32::try_from(a.breaches).unwrap_or(u32::MAX),
        });
        take(tx, changes, finding, alert, step(standing, finding.level, changes.monitor.spec.consecutive))?;
    }
    let is_compared = of_all(changes.verdicts).iter().all(|f| f.subject != Finding::NO_REFERENCE);
    // What is left is judged no more: a version answered nothing by itself in this window, or nobody asks any longer.
    for (subject, alert) in open {
        if changes.kind.judges(&subject) && (is_compared || subject.contains('@')) {
            take(tx, changes, &gone(&alert), Some(alert), Step::Resolve)?;
        }
    }
    Ok(())
}

/// What an alert is over is judged no more.
fn gone(alert: &Alert) -> Finding {
    let (subject, enter, exit) = (alert.subject.clone(), alert.enter, alert.exit);
    Finding { subject, value: None, enter, exit, level: Level::Clear, reason: None }
}

fn take(
    tx: &mut LedgerTx<'_, '_>,
    changes: &Changes<'_>,
    finding: &Finding,
    alert: Option<Alert>,
    step: Step,
) -> Result<(), MonitoringError> {
    let fresh = |tx: &LedgerTx<'_, '_>, state| Alert {
        id: tx.derived_id(&format!("alert {} {}", finding.subject, changes.start)),
        project: changes.monitor.project.clone(),
        monitor: changes.monitor.id.clone(),
        endpoint: changes.monitor.endpoint.clone(),
        subject: finding.subject.clone(),
        compared_with: changes.compared_with(&finding.subject).map(str::to_owned),
        state,
        breaches: 1,
        value: finding.value,
        enter: finding.enter,
        exit: finding.exit,
        first_window_ms: changes.start,
        last_window_ms: changes.start,
        opened_at_ms: tx.now(),
        fired_at_ms: None,
        resolved_at_ms: None,
        incident: None,
    };
    let now = tx.now();
    let seen = |alert: Alert| Alert {
        value: finding.value,
        enter: finding.enter,
        exit: finding.exit,
        last_window_ms: changes.start,
        ..alert
    };
    match (step, alert) {
        (Step::Stay, _) | (Step::Count(_) | Step::Resolve, None) => Ok(()),
        (Step::Open, _) => {
            let alert = fresh(tx, AlertState::Pending);
            insert(tx, &alert)?;
            tell(tx, changes.monitor, &alert, "alert.pending", false)
        }
        (Step::Count(breaches), Some(alert)) => {
            let alert = Alert { breaches: i64::from(breaches), ..seen(alert) };
            update(tx, &alert)
        }
        (Step::Fire, before) => {
            let known = before.is_some();
            let mut alert = match before {
                Some(alert) => seen(alert),
                None => fresh(tx, AlertState::Firing),
            };
            alert.state = AlertState::Firing;
            alert.fired_at_ms = Some(now);
            alert.incident = Some(incident_for(tx, &alert.project, &alert.endpoint)?);
            if known {
                update(tx, &alert)?;
            } else {
                insert(tx, &alert)?;
            }
            tell(tx, changes.monitor, &alert, "alert.firing", true)
        }
        (Step::Resolve, Some(alert)) => {
            let fired = alert.state == AlertState::Firing;
            let mut alert = seen(alert);
            alert.state = AlertState::Resolved;
            alert.resolved_at_ms = Some(now);
            update(tx, &alert)?;
            tell(tx, changes.monitor, &alert, "alert.resolved", fired)
        }
    }
}

fn insert(tx: &mut LedgerTx<'_, '_>, alert: &Alert) -> Result<(), MonitoringError> {
    tx.execute(
        "INSERT INTO alerts (id, project, monitor, endpoint, subject, state, breaches, value, enter_at, exit_at,
             first_window_ms, last_window_ms, opened_at_ms, fired_at_ms, resolved_at_ms, incident, compared_with)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        &[
            (&alert.id).into(),
            (&alert.project).into(),
            (&alert.monitor).into(),
            (&alert.endpoint).into(),
            (&alert.subject).into(),
            alert.state.as_str().into(),
            alert.breaches.into(),
            alert.value.into(),
            alert.enter.into(),
            alert.exit.into(),
            alert.first_window_ms.into(),
            alert.last_window_ms.into(),
            alert.opened_at_ms.into(),
            alert.fired_at_ms.into(),
            alert.resolved_at_ms.into(),
            alert.incident.clone().into(),
            alert.compared_with.clone().into(),
        ],
    )?;
    Ok(())
}

fn update(tx: &mut LedgerTx<'_, '_>, alert: &Alert) -> Result<(), MonitoringError> {
    tx.execute(
        "UPDATE alerts SET state = ?2, breaches = ?3, value = ?4, enter_at = ?5, exit_at = ?6, last_window_ms = ?7,
             fired_at_ms = ?8, resolved_at_ms = ?9, incident = ?10 WHERE id = ?1",
        &[
            (&alert.id).into(),
            alert.state.as_str().into(),
            alert.breaches.into(),
            alert.value.into(),
            alert.enter.into(),
            alert.exit.into(),
            alert.last_window_ms.into(),
            alert.fired_at_ms.into(),
            alert.resolved_at_ms.into(),
            alert.incident.clone().into(),
        ],
    )?;
    Ok(())
}

/// The event, the incident's line and the deliveries of a change.
fn tell(
    tx: &mut LedgerTx<'_, '_>,
    monitor: &Monitor,
    alert: &Alert,
    action: &'static str,
    to_others: bool,
) -> Result<(), MonitoringError> {
    let event = NewEvent::new(&alert.project, action, "alert", &alert.id);
    let end = alert.last_window_ms + monitor.spec.window_ms;
    let event = tx.emit(event.with(json!({
        "monitor": monitor.name, "endpoint": alert.endpoint, "subject": alert.subject, "value": alert.value,
        "enter": alert.enter, "exit": alert.exit, "window_start_ms": alert.last_window_ms,
        "window_end_ms": end, "event_time_ms": end, "incident": alert.incident,
        "compared_with": alert.compared_with,
    })))?;
    if let Some(incident) = &alert.incident {
        let body = json!({
            "alert": alert.id, "subject": alert.subject, "state": alert.state, "value": alert.value,
            "window_end_ms": end,
        });
        let entry =
            NewEntry { id: event, kind: EntryKind::Alert, actor: "system:monitoring".to_owned(), body };
        write_entry(tx, incident, &entry)?;
    }
    if to_others {
        for webhook in 0..monitor.spec.webhooks.len() {
            let payload = json!({ "alert": alert.id, "state": alert.state, "webhook": webhook });
            let task =
                NewTask { project: alert.project.clone(), kind: DELIVERY_TASK, payload, max_attempts: TRIES };
            enqueue(tx, &task)?;
        }
    }
    Ok(())
}

impl Monitoring {
    /// Alerts of a project, newest first: of one endpoint, in one state, older than a moment, when these are given.
    ///
    /// # Errors
    /// What the database says.
    pub async fn alerts(
        &self,
        leave: &Authorized<ReadProject>,
        endpoint: Option<String>,
        state: Option<AlertState>,
        before: Option<(Millis, String)>,
        limit: u32,
    ) -> Result<Vec<Alert>, MonitoringError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let mut sql = format!("SELECT {COLUMNS} WHERE project = ?1");
                let mut params: Vec<Value> = vec![(&project).into(), limit.into()];
                for (column, value) in
                    [("endpoint", endpoint.clone()), ("state", state.map(|s| s.as_str().to_owned()))]
                {
                    if let Some(value) = value {
                        params.push(value.into());
                        sql.push_str(&format!(" AND {column} = ?{}", params.len()));
                    }
                }
                if let Some((at, id)) = &before {
                    let n = params.len();
                    params.push((*at).into());
                    params.push(id.into());
                    sql.push_str(&format!(
                        " AND (opened_at_ms < ?{} OR (opened_at_ms = ?{} AND id < ?{}))",
                        n + 1,
                        n + 1,
                        n + 2
                    ));
                }
                sql.push_str(" ORDER BY opened_at_ms DESC, id DESC LIMIT ?2");
                tx.query(&sql, &params)?.iter_mut().map(from_row).collect()
            })
            .await
    }

    /// What a delivery task is to tell, and where.
    ///
    /// # Errors
    /// [`MonitoringError::NotFound`] when alert or webhook are gone.
    pub async fn delivery(&self, alert_id: &str, webhook: usize) -> Result<Delivery, MonitoringError> {
        let id = alert_id.to_owned();
        self.ledger
            .db()
            .read(move |tx| {
                let alert = alert(tx, &id)?;
                let monitor = by_id(tx, &alert.monitor)?;
                let address = monitor.spec.webhooks.get(webhook).cloned();
                let address = address.ok_or_else(|| {
                    MonitoringError::NotFound(format!("the monitor has no webhook {webhook}"))
                })?;
                Ok(Delivery { monitor, alert, address })
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::Quality;

    fn verdict(variant: Option<&str>, findings: &[(&str, Level)]) -> Verdict {
        let finding = |(subject, level): &(&str, Level)| Finding {
            subject: variant.map_or_else(|| (*subject).to_owned(), |v| format!("{subject}@{v}")),
            value: Some(1.0),
            enter: 0.1,
            exit: 0.08,
            level: *level,
            reason: None,
        };
        Verdict {
            variant: variant.map(str::to_owned),
            predictions: 1000,
            answered: None,
            errors: 0,
            quality: Quality { labelled: 0, coverage: None, auc: None, log_loss: None, brier: None },
            compared_with: None,
            findings: findings.iter().map(finding).collect(),
        }
    }

    #[test]
    fn a_version_alerts_over_what_does_not_show_in_all_versions_together() {
        let verdicts = [
            verdict(None, &[("psi:temp", Level::Breach), ("psi:dewp", Level::Clear)]),
            verdict(Some("m/1"), &[("psi:temp", Level::Breach), ("psi:dewp", Level::Clear)]),
            verdict(Some("m/2"), &[("psi:temp", Level::Breach), ("psi:dewp", Level::Breach)]),
        ];
        let subjects: Vec<&str> = alerting(&verdicts).map(|f| f.subject.as_str()).collect();
        assert_eq!(subjects, ["psi:temp", "psi:dewp", "psi:dewp@m/1", "psi:dewp@m/2"]);
    }
}
