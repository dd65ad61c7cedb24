//! Reading events: by page and filter for people, in order for reactors.

use crate::{EventId, LedgerError, Millis, Resource};
use serde::Serialize;
use trueline_db::{Row, Tx, Value};

/// An event as it is read.
#[derive(Clone, Debug, Serialize)]
pub struct EventRow {
    /// Its index in the log; none for the moment between its commit and its turn.
    pub index: Option<i64>,
    /// Its id.
    pub id: EventId,
    /// The project's id.
    pub project: String,
    /// When, in milliseconds since 1970.
    pub at_ms: Millis,
    /// Who.
    pub actor: String,
    /// What happened.
    pub action: String,
    /// On what.
    pub resource: Resource,
    /// What changed; none when it was erased.
    pub payload: Option<serde_json::Value>,
    #[serde(skip)]
    seq: i64,
}

impl EventRow {
    /// Its place in the order of commit, before and after it has an index.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.seq
    }
}

/// Which events a page shows. Empty fields do not filter.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of these projects only; `None` for all.
    pub projects: Option<Vec<String>>,
    /// Of this actor.
    pub actor: Option<String>,
    /// Whose action starts with this.
    pub action: Option<String>,
    /// Of these actions only.
    pub actions: Option<Vec<String>>,
    /// On a resource of this kind.
    pub resource_kind: Option<String>,
    /// On this resource.
    pub resource_id: Option<String>,
    /// Older than this cursor.
    pub before: Option<i64>,
}

/// A page of events, newest first.
#[derive(Clone, Debug, Serialize)]
pub struct EventPage {
    /// The events.
    pub events: Vec<EventRow>,
    /// Where the next page starts, when there is one.
    pub next_cursor: Option<i64>,
}

const COLUMNS: &str = "e.seq, e.idx, e.id, e.project, e.at_ms, e.actor, e.action, e.resource_kind,
     e.resource_id, p.body FROM ledger_events e LEFT JOIN ledger_payloads p ON p.event_id = e.id";

impl EventRow {
    fn from_row(row: &mut Row) -> Result<Self, LedgerError> {
        let body: Option<String> = row.take(9)?;
        Ok(Self {
            seq: row.take(0)?,
            index: row.take(1)?,
            id: row.take(2)?,
            project: row.take(3)?,
            at_ms: row.take(4)?,
            actor: row.take(5)?,
            action: row.take(6)?,
            resource: Resource { kind: row.take(7)?, id: row.take(8)? },
            payload: body.and_then(|b| serde_json::from_str(&b).ok()),
        })
    }
}

/// Sequenced events with an index above `after`, in order.
///
/// # Errors
/// What the database says.
pub fn events_after(tx: &mut Tx<'_>, after: i64, limit: u32) -> Result<Vec<EventRow>, LedgerError> {
    let sql = format!("SELECT {COLUMNS} WHERE e.idx > ?1 ORDER BY e.idx LIMIT ?2");
    let rows = tx.query(&sql, &[after.into(), limit.into()])?;
    rows.into_iter().map(|mut row| EventRow::from_row(&mut row)).collect()
}

/// Whether something happened to a resource after a place in the order of commit.
///
/// # Errors
/// What the database says.
pub fn happened_after(
    tx: &mut Tx<'_>,
    project: &str,
    (action, resource): (&str, &Resource),
    position: i64,
) -> Result<bool, LedgerError> {
    let found = tx.query_opt(
        "SELECT id FROM ledger_events
         WHERE project = ?1 AND resource_kind = ?2 AND resource_id = ?3 AND seq > ?4 AND action = ?5 LIMIT 1",
        &[project.into(), (&resource.kind).into(), (&resource.id).into(), position.into(), action.into()],
    )?;
    Ok(found.is_some())
}

/// Sequenced events of these actions with an index above `after` and up to `until`, in order.
///
/// An index is given in the order of commit, so whoever reads stretch after stretch misses nothing, however long it takes.
///
/// # Errors
/// What the database says.
pub fn events_of(
    tx: &mut Tx<'_>,
    actions: &[&str],
    after: i64,
    until: i64,
) -> Result<Vec<EventRow>, LedgerError> {
    let actions = quoted(actions);
    let sql = format!(
        "SELECT {COLUMNS} WHERE e.idx > ?1 AND e.idx <= ?2 AND e.action IN ({actions}) ORDER BY e.idx"
    );
    let rows = tx.query(&sql, &[after.into(), until.into()])?;
    rows.into_iter().map(|mut row| EventRow::from_row(&mut row)).collect()
}

/// Committed events of these actions that have no index yet, in the order of commit.
///
/// # Errors
/// What the database says.
pub fn unsequenced_events_of(tx: &mut Tx<'_>, actions: &[&str]) -> Result<Vec<EventRow>, LedgerError> {
    let actions = quoted(actions);
    let sql = format!("SELECT {COLUMNS} WHERE e.idx IS NULL AND e.action IN ({actions}) ORDER BY e.seq");
    let rows = tx.query(&sql, &[])?;
    rows.into_iter().map(|mut row| EventRow::from_row(&mut row)).collect()
}

/// The index of the newest sequenced event, -1 when there is none.
///
/// # Errors
/// What the database says.
pub fn newest_index(tx: &mut Tx<'_>) -> Result<i64, LedgerError> {
    let newest: Option<Option<i64>> = tx.scalar("SELECT MAX(idx) FROM ledger_events", &[])?;
    Ok(newest.flatten().unwrap_or(-1))
}

/// A list of texts for an `IN (…)`.
fn quoted<T: AsRef<str>>(texts: &[T]) -> String {
    let texts: Vec<String> = texts.iter().map(|t| format!("'{}'", t.as_ref().replace('\'', "''"))).collect();
    texts.join(", ")
}

impl EventFilter {
    /// The page of events that this filter asks for, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub fn page(&self, tx: &mut Tx<'_>, limit: u32) -> Result<EventPage, LedgerError> {
        let (sql, params) = self.statement(limit);
        let mut events = tx
            .query(&sql, &params)?
            .into_iter()
            .map(|mut row| EventRow::from_row(&mut row))
            .collect::<Result<Vec<_>, _>>()?;
        let more = events.len() > limit as usize;
        events.truncate(limit as usize);
        let next_cursor = events.last().filter(|_| more).map(|e| e.seq);
        Ok(EventPage { events, next_cursor })
    }

    /// Asks for one event more than the page holds.
    fn statement(&self, limit: u32) -> (String, Vec<Value>) {
        let mut params: Vec<Value> = vec![(limit + 1).into()];
        let mut clauses = Vec::new();
        let mut add = |clause: &str, value: Value| {
            params.push(value);
            clauses.push(clause.replace('#', &format!("?{}", params.len())));
        };
        if let Some(before) = self.before {
            add("e.seq < #", before.into());
        }
        for (clause, value) in [
            ("e.actor = #", &self.actor),
            ("e.resource_kind = #", &self.resource_kind),
            ("e.resource_id = #", &self.resource_id),
        ] {
            if let Some(value) = value {
                add(clause, value.into());
            }
        }
        if let Some(prefix) = &self.action {
            add("substr(e.action, 1, length(#)) = #", prefix.into());
        }
        if let Some(actions) = &self.actions {
            clauses.push(format!("e.action IN ({})", quoted(actions)));
        }
        if let Some(projects) = &self.projects {
            clauses.push(format!("e.project IN ({})", quoted(projects)));
        }
        let filter =
            if clauses.is_empty() { String::new() } else { format!("WHERE {}", clauses.join(" AND ")) };
        (format!("SELECT {COLUMNS} {filter} ORDER BY e.seq DESC LIMIT ?1"), params)
    }
}

/// One event by its id.
///
/// # Errors
/// [`LedgerError::NotFound`], or what the database says.
pub fn event(tx: &mut Tx<'_>, id: &str) -> Result<EventRow, LedgerError> {
    let sql = format!("SELECT {COLUMNS} WHERE e.id = ?1");
    let mut row = tx.query_opt(&sql, &[id.into()])?.ok_or_else(|| LedgerError::NotFound(id.to_owned()))?;
    EventRow::from_row(&mut row)
}

/// The leaf of an event: its header as the log holds it.
///
/// # Errors
/// [`LedgerError::NotFound`], or what the database says.
pub fn leaf(tx: &mut Tx<'_>, id: &str) -> Result<Vec<u8>, LedgerError> {
    tx.scalar("SELECT entry FROM ledger_events WHERE id = ?1", &[id.into()])?
        .ok_or_else(|| LedgerError::NotFound(id.to_owned()))
}

/// The RFC 6962 hash of a leaf, in hexadecimal.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> String {
    trueline_tlog::leaf_hash(leaf).to_hex()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    /// How SQLite would look for a page, step by step.
    fn plan(filter: &EventFilter) -> Vec<String> {
        let connection = Connection::open_in_memory().unwrap();
        for migration in crate::MODULE.migrations {
            connection.execute_batch(&migration.sql.replace("{serial}", "INTEGER PRIMARY KEY")).unwrap();
        }
        let (sql, params) = filter.statement(50);
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = explain.query_map(rusqlite::params_from_iter(params), |row| row.get(3)).unwrap();
        steps.map(Result::unwrap).collect()
    }

    #[test]
    fn events_of_a_thing_are_found_by_an_index_whichever_projects_one_may_read() {
        let of_run = EventFilter {
            resource_kind: Some("run".to_owned()),
            resource_id: Some("r".to_owned()),
            ..EventFilter::default()
        };
        let one = Some(vec!["p".to_owned()]);
        let two = Some(vec!["p".to_owned(), "q".to_owned()]);
        for projects in [None, one, two] {
            let plan = plan(&EventFilter { projects, ..of_run.clone() });
            assert!(
                plan[0].contains("INDEX ledger_events_of_resource (resource_kind=? AND resource_id=?"),
                "{plan:?}"
            );
            assert!(!plan.iter().any(|step| step.contains("USE TEMP B-TREE")), "{plan:?}");
        }
    }
}
