//! Rows of rollouts and of bandits, read: one by its id, the newest of an endpoint, those that are open, a page of a list.

use crate::error::ServingError;
use crate::route::EndpointName;
use trueline_db::{Row, Tx};
use trueline_ledger::{Millis, ProjectId};

/// The largest page of a list.
pub(crate) const LARGEST_PAGE: u32 = 500;

/// What has a row for each trial of its kind.
pub(crate) trait TrialRow: Sized {
    /// Where the rows are.
    const TABLE: &'static str;
    /// What [`TrialRow::from_row`] reads.
    const COLUMNS: &'static str;
    /// The states of those that have not ended, as SQL has them.
    const OPEN: &'static str;

    /// From a row of [`TrialRow::COLUMNS`].
    fn from_row(row: &mut Row) -> Result<Self, ServingError>;

    /// What is said where there is none of this id.
    fn missing(id: &str) -> String;
}

/// One of them.
pub(crate) fn by_id<T: TrialRow>(tx: &mut Tx<'_>, project: &ProjectId, id: &str) -> Result<T, ServingError> {
    let sql = format!("SELECT {} FROM {} WHERE project = ?1 AND id = ?2", T::COLUMNS, T::TABLE);
    let row = tx.query_opt(&sql, &[project.into(), id.into()])?;
    let mut row = row.ok_or_else(|| ServingError::NotFound(T::missing(id)))?;
    T::from_row(&mut row)
}

/// The newest of an endpoint; of those that have not ended, where that is asked.
pub(crate) fn newest<T: TrialRow>(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    endpoint: &EndpointName,
    open: bool,
) -> Result<Option<T>, ServingError> {
    let only = if open { format!("AND state IN ({})", T::OPEN) } else { String::new() };
    let sql = format!(
        "SELECT {} FROM {} WHERE project = ?1 AND endpoint = ?2 {only}
         ORDER BY started_at_ms DESC, id DESC LIMIT 1",
        T::COLUMNS,
        T::TABLE
    );
    let row = tx.query_opt(&sql, &[project.into(), endpoint.as_str().into()])?;
    row.map(|mut row| T::from_row(&mut row)).transpose()
}

/// All of all projects.
pub(crate) fn all<T: TrialRow>(tx: &mut Tx<'_>) -> Result<Vec<T>, ServingError> {
    let sql = format!("SELECT {} FROM {}", T::COLUMNS, T::TABLE);
    tx.query(&sql, &[])?.iter_mut().map(T::from_row).collect()
}

/// All of all projects that have not ended.
pub(crate) fn all_open<T: TrialRow>(tx: &mut Tx<'_>) -> Result<Vec<T>, ServingError> {
    let sql = format!("SELECT {} FROM {} WHERE state IN ({}) ORDER BY id", T::COLUMNS, T::TABLE, T::OPEN);
    tx.query(&sql, &[])?.iter_mut().map(T::from_row).collect()
}

/// Those of an endpoint, or of all, newest first; those behind one (by its start and id), when it is given.
pub(crate) fn list<T: TrialRow>(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    endpoint: Option<&EndpointName>,
    behind: Option<&(Millis, String)>,
    limit: u32,
) -> Result<Vec<T>, ServingError> {
    let sql = format!(
        "SELECT {} FROM {}
         WHERE project = ?1 AND (?2 = '' OR endpoint = ?2) AND (started_at_ms < ?3 OR (started_at_ms = ?3 AND id < ?4))
         ORDER BY started_at_ms DESC, id DESC LIMIT ?5",
        T::COLUMNS,
        T::TABLE
    );
    let name = endpoint.map_or("", EndpointName::as_str);
    let (at, id) = behind.map_or((i64::MAX, ""), |(at, id)| (*at, id.as_str()));
    let params = [project.into(), name.into(), at.into(), id.into(), limit.min(LARGEST_PAGE).into()];
    tx.query(&sql, &params)?.iter_mut().map(T::from_row).collect()
}
