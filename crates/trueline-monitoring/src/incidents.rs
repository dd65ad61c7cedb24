//! Incidents: what fires on an endpoint while one is open belongs to it, with what people and deployments did about it.

use crate::error::stored;
use crate::monitors::Monitoring;
use crate::{AlertState, MonitoringError};
use serde::Serialize;
use serde_json::{Value as Json, json};
use trueline_db::{Row, Tx, Value};
use trueline_identity::{Authorized, ReadProject, Watch};
use trueline_ledger::{Actor, LedgerTx, Millis, NewEvent, ProjectId};

const LONGEST_NOTE: usize = 20_000;

/// An incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Incident {
    /// Its id.
    pub id: String,
    /// The endpoint.
    pub endpoint: String,
    /// `open` or `resolved`.
    pub state: String,
    /// When it opened.
    pub opened_at_ms: Millis,
    /// When it was resolved.
    pub resolved_at_ms: Option<Millis>,
    /// Who resolved it.
    pub resolved_by: Option<String>,
    /// Its alerts that fire now.
    pub firing: i64,
}

/// One line of an incident's story.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentEntry {
    /// Its id: that of the event that tells of it.
    pub id: String,
    /// When.
    pub at_ms: Millis,
    /// `alert`, `action`, `note` or `resolved`.
    pub kind: String,
    /// Who.
    pub actor: String,
    /// What.
    pub body: Json,
}

/// Something that was done to an endpoint, as the ledger tells it.
#[derive(Clone, Debug)]
pub struct IncidentAction {
    /// The project.
    pub project: ProjectId,
    /// The endpoint.
    pub endpoint: String,
    /// The event's id.
    pub event: String,
    /// When.
    pub at_ms: Millis,
    /// Who did it.
    pub actor: String,
    /// What was done: the event's action.
    pub action: String,
    /// Its reason and other details.
    pub details: Json,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum EntryKind {
    Alert,
    Action,
    Note,
    Resolved,
}

impl EntryKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Action => "action",
            Self::Note => "note",
            Self::Resolved => "resolved",
        }
    }
}

pub(crate) struct NewEntry {
    pub(crate) id: String,
    pub(crate) kind: EntryKind,
    pub(crate) actor: String,
    pub(crate) body: Json,
}

pub(crate) fn write_entry(
    tx: &mut LedgerTx<'_, '_>,
    incident: &str,
    entry: &NewEntry,
) -> Result<(), MonitoringError> {
    let now = tx.now();
    write_entry_at(tx, incident, entry, now)
}

fn write_entry_at(
    tx: &mut LedgerTx<'_, '_>,
    incident: &str,
    entry: &NewEntry,
    at: Millis,
) -> Result<(), MonitoringError> {
    tx.execute(
        "INSERT INTO incident_entries (incident, id, at_ms, kind, actor, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        &[
            incident.into(),
            (&entry.id).into(),
            at.into(),
            entry.kind.as_str().into(),
            (&entry.actor).into(),
            entry.body.to_string().into(),
        ],
    )?;
    Ok(())
}

/// The endpoint's open incident; a new one when there is none.
pub(crate) fn incident_for(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    endpoint: &str,
) -> Result<String, MonitoringError> {
    let open: Option<String> = tx.scalar(
        "SELECT id FROM incidents WHERE project = ?1 AND endpoint = ?2 AND state = 'open'",
        &[project.into(), endpoint.into()],
    )?;
    if let Some(open) = open {
        return Ok(open);
    }
    let (id, now) = (tx.derived_id("incident"), tx.now());
    tx.execute(
        "INSERT INTO incidents (id, project, endpoint, state, opened_at_ms) VALUES (?1, ?2, ?3, 'open', ?4)",
        &[(&id).into(), project.into(), endpoint.into(), now.into()],
    )?;
    let event = NewEvent::new(project, "incident.opened", "incident", &id);
    tx.emit(event.with(json!({ "endpoint": endpoint })))?;
    Ok(id)
}

const COLUMNS: &str = "i.id, i.endpoint, i.state, i.opened_at_ms, i.resolved_at_ms, i.resolved_by,
     (SELECT COUNT(*) FROM alerts a WHERE a.incident = i.id AND a.state = 'firing') FROM incidents i";

fn from_row(row: &mut Row) -> Result<Incident, MonitoringError> {
    Ok(Incident {
        id: row.take(0)?,
        endpoint: row.take(1)?,
        state: row.take(2)?,
        opened_at_ms: row.take(3)?,
        resolved_at_ms: row.take(4)?,
        resolved_by: row.take(5)?,
        firing: row.take(6)?,
    })
}

fn get(tx: &mut Tx<'_>, project: &ProjectId, id: &str) -> Result<Incident, MonitoringError> {
    let sql = format!("SELECT {COLUMNS} WHERE i.project = ?1 AND i.id = ?2");
    let row = tx.query_opt(&sql, &[project.into(), id.into()])?;
    from_row(&mut row.ok_or_else(|| {
        MonitoringError::NotFound(format!(
            "there is no incident `{id}`; `trueline incident list` shows those there are"
        ))
    })?)
}

impl Monitoring {
    /// Incidents of a project, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn incidents(
        &self,
        leave: &Authorized<ReadProject>,
        before: Option<(Millis, String)>,
        limit: u32,
    ) -> Result<Vec<Incident>, MonitoringError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let (at, id) = before.clone().unwrap_or((Millis::MAX, String::new()));
                let sql = format!(
                    "SELECT {COLUMNS} WHERE i.project = ?1
                         AND (i.opened_at_ms < ?2 OR (i.opened_at_ms = ?2 AND i.id < ?3))
                     ORDER BY i.opened_at_ms DESC, i.id DESC LIMIT ?4"
                );
                let params: [Value; 4] = [(&project).into(), at.into(), id.into(), limit.into()];
                tx.query(&sql, &params)?.iter_mut().map(from_row).collect()
            })
            .await
    }

    /// An incident with its story, oldest line first.
    ///
    /// # Errors
    /// [`MonitoringError::NotFound`].
    pub async fn incident(
        &self,
        leave: &Authorized<ReadProject>,
        id: &str,
    ) -> Result<(Incident, Vec<IncidentEntry>), MonitoringError> {
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger
            .db()
            .read(move |tx| {
                let incident = get(tx, &project, &id)?;
                let rows = tx.query(
                    "SELECT id, at_ms, kind, actor, body FROM incident_entries WHERE incident = ?1
                     ORDER BY at_ms, id",
                    &[(&id).into()],
                )?;
                let entry = |mut row: Row| {
                    Ok(IncidentEntry {
                        id: row.take(0)?,
                        at_ms: row.take(1)?,
                        kind: row.take(2)?,
                        actor: row.take(3)?,
                        body: stored("an incident's line", &row.take::<String>(4)?)?,
                    })
                };
                Ok((incident, rows.into_iter().map(entry).collect::<Result<_, MonitoringError>>()?))
            })
            .await
    }

    /// Adds what somebody has found out or done.
    ///
    /// # Errors
    /// [`MonitoringError::NotFound`], [`MonitoringError::Invalid`] for an empty or a very long text.
    pub async fn note(
        &self,
        leave: &Authorized<Watch>,
        id: &str,
        text: String,
    ) -> Result<Incident, MonitoringError> {
        if text.trim().is_empty() || text.len() > LONGEST_NOTE {
            return Err(MonitoringError::Invalid(format!("a note has 1 to {LONGEST_NOTE} bytes")));
        }
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                get(tx, &project, &id)?;
                let event = NewEvent::new(&project, "incident.noted", "incident", &id);
                let event = tx.emit(event.with(json!({ "text": text })))?;
                let actor = tx.actor().principal.clone();
                let entry =
                    NewEntry { id: event, kind: EntryKind::Note, actor, body: json!({ "text": text }) };
                write_entry(tx, &id, &entry)?;
                get(tx, &project, &id)
            })
            .await
    }

    /// Ends an incident, once nothing of it fires any more.
    ///
    /// # Errors
    /// [`MonitoringError::NotFound`], [`MonitoringError::State`] while an alert fires or when it has ended already.
    pub async fn resolve(
        &self,
        leave: &Authorized<Watch>,
        id: &str,
        reason: String,
    ) -> Result<Incident, MonitoringError> {
        if reason.len() > LONGEST_NOTE {
            return Err(MonitoringError::Invalid(format!("a reason has at most {LONGEST_NOTE} bytes")));
        }
        let (project, id) = (leave.project().clone(), id.to_owned());
        self.ledger
            .write(leave.actor(), move |tx| {
                let incident = get(tx, &project, &id)?;
                if incident.state != "open" {
                    return Err(MonitoringError::State("this incident is resolved already".to_owned()));
                }
                if incident.firing > 0 {
                    return Err(MonitoringError::State(format!(
                        "{} of this incident's alerts are {} still: it can be resolved when they have ended",
                        incident.firing,
                        AlertState::Firing.as_str()
                    )));
                }
                let (now, by) = (tx.now(), tx.actor().principal.clone());
                tx.execute(
                    "UPDATE incidents SET state = 'resolved', resolved_at_ms = ?2, resolved_by = ?3 WHERE id = ?1",
                    &[(&id).into(), now.into(), (&by).into()],
                )?;
                let body = json!({ "reason": reason });
                let event = NewEvent::new(&project, "incident.resolved", "incident", &id);
                let event = tx.emit(event.with(body.clone()))?;
                write_entry(tx, &id, &NewEntry { id: event, kind: EntryKind::Resolved, actor: by, body })?;
                get(tx, &project, &id)
            })
            .await
    }

    /// Tells the incident that was open then of something that was done to its endpoint; whether there was one. It may be
    /// told twice.
    ///
    /// # Errors
    /// What the database says.
    pub async fn record_action(&self, action: IncidentAction) -> Result<bool, MonitoringError> {
        let find = action.clone();
        let incident: Option<String> = self
            .ledger
            .db()
            .read(move |tx: &mut Tx<'_>| {
                let open = tx.scalar(
                    "SELECT id FROM incidents i WHERE project = ?1 AND endpoint = ?2 AND opened_at_ms <= ?3
                         AND (resolved_at_ms IS NULL OR resolved_at_ms >= ?3)
                         AND NOT EXISTS (SELECT 1 FROM incident_entries e WHERE e.incident = i.id AND e.id = ?4)
                     ORDER BY opened_at_ms DESC LIMIT 1",
                    &[
                        (&find.project).into(),
                        (&find.endpoint).into(),
                        find.at_ms.into(),
                        (&find.event).into(),
                    ],
                );
                Ok::<_, MonitoringError>(open?)
            })
            .await?;
        let Some(incident) = incident else { return Ok(false) };
        self.ledger
            .write(&Actor::system("monitoring"), move |tx| {
                let known: Option<i64> = tx.scalar(
                    "SELECT 1 FROM incident_entries WHERE incident = ?1 AND id = ?2",
                    &[(&incident).into(), (&action.event).into()],
                )?;
                if known.is_some() {
                    return Ok(false);
                }
                let body = json!({ "action": action.action, "details": action.details });
                let entry = NewEntry {
                    id: action.event.clone(),
                    kind: EntryKind::Action,
                    actor: action.actor.clone(),
                    body,
                };
                write_entry_at(tx, &incident, &entry, action.at_ms)?;
                let event = NewEvent::new(&action.project, "incident.action", "incident", &incident);
                tx.emit(event.with(json!({ "event": action.event, "action": action.action })))?;
                Ok(true)
            })
            .await
    }
}
