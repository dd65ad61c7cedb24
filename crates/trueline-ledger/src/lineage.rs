//! Lineage: what came from what. An edge is written with the event that created it and read from both ends.

use crate::{EventId, LedgerError, ProjectId};
use serde::Serialize;
use trueline_db::{DbError, Row, Tx};

/// One end of an edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// A kind in the words of the house.
    pub kind: String,
    /// Its id within the project.
    pub id: String,
}

impl Node {
    /// A node of `kind` with `id`.
    pub fn new(kind: &str, id: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), id: id.into() }
    }
}

/// `from` has `relation` to `to`: version `registered_from` run, run `read` dataset version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The project of both ends.
    pub project: ProjectId,
    /// The younger end.
    pub from: Node,
    /// A verb in the past tense.
    pub relation: String,
    /// The older end.
    pub to: Node,
}

impl Edge {
    /// An edge.
    pub fn new(project: &ProjectId, from: Node, relation: &str, to: Node) -> Self {
        Self { project: project.clone(), from, relation: relation.to_owned(), to }
    }

    pub(crate) fn insert(&self, tx: &mut Tx<'_>, event: &EventId) -> Result<(), LedgerError> {
        tx.insert(
            "INSERT INTO lineage_edges (project, from_kind, from_id, relation, to_kind, to_id, event_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            vec![
                (&self.project).into(),
                (&self.from.kind).into(),
                (&self.from.id).into(),
                (&self.relation).into(),
                (&self.to.kind).into(),
                (&self.to.id).into(),
                event.as_str().into(),
            ],
        )?;
        Ok(())
    }

    fn from_row(project: &ProjectId, row: &mut Row) -> Result<Self, DbError> {
        Ok(Self {
            project: project.clone(),
            from: Node { kind: row.take(0)?, id: row.take(1)? },
            relation: row.take(2)?,
            to: Node { kind: row.take(3)?, id: row.take(4)? },
        })
    }
}

/// The edges that start or end at a node, at most 500.
///
/// # Errors
/// What the database says.
pub fn neighbours(tx: &mut Tx<'_>, project: &ProjectId, node: &Node) -> Result<Vec<Edge>, DbError> {
    let rows = tx.query(
        "SELECT from_kind, from_id, relation, to_kind, to_id FROM lineage_edges
         WHERE project = ?1 AND from_kind = ?2 AND from_id = ?3
         UNION
         SELECT from_kind, from_id, relation, to_kind, to_id FROM lineage_edges
         WHERE project = ?1 AND to_kind = ?2 AND to_id = ?3
         ORDER BY 1, 2, 3, 4, 5 LIMIT 500",
        &[project.into(), (&node.kind).into(), (&node.id).into()],
    )?;
    rows.into_iter().map(|mut row| Edge::from_row(project, &mut row)).collect()
}
