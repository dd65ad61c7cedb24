//! Evaluation datasets: names for records that applications are evaluated on. They belong to no run, and to any number of
//! experiments.

use crate::TraceError;
use crate::Traces;
use crate::model::{Page, Pairs};
use serde_json::json;
use sha2::{Digest, Sha256};
use trueline_db::{Row, Tx, Value};
use trueline_identity::{Authorized, ReadProject, WriteTracking};
use trueline_ledger::{LedgerTx, Millis, NewEvent, ProjectId};
use trueline_search::mlflow::OrderBy;
use trueline_search::sql::{ColumnType, Place, Places, compile};
use trueline_search::{Entity, Expr, Field};

/// The tag that says who made or changed a dataset or record.
pub(crate) const USER: &str = "mlflow.user";
const LONGEST_NAME: usize = 255;

const COLUMNS: &str = "d.id, d.name, d.schema, d.profile, d.digest, d.created_at_ms, d.updated_at_ms, d.created_by, \
     d.updated_by FROM evaluation_datasets d";

/// An evaluation dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluationDataset {
    /// Its id, `d-` and 32 hexadecimal digits.
    pub id: String,
    /// Its name; several may share one.
    pub name: String,
    /// The fields of its records and their types, as JSON.
    pub schema: Option<String>,
    /// How many records it has, as JSON.
    pub profile: Option<String>,
    /// Changes whenever it changes.
    pub digest: String,
    /// When it was made.
    pub created_at_ms: Millis,
    /// When it was changed last.
    pub updated_at_ms: Millis,
    /// Who made it, as the client says.
    pub created_by: Option<String>,
    /// Who changed it last, as the client says.
    pub updated_by: Option<String>,
    /// Its tags.
    pub tags: Pairs,
}

/// Which evaluation datasets are asked for.
#[derive(Clone, Debug)]
pub struct DatasetSearch {
    /// Of these experiments; of any, if there are none.
    pub experiments: Vec<String>,
    /// That meet this.
    pub filter: Expr,
    /// In this order; the newest first when there is none.
    pub order_by: Vec<OrderBy>,
    /// Skip so many.
    pub offset: u64,
    /// Give at most so many.
    pub limit: u64,
}

/// The digest of a dataset at a time.
pub(crate) fn digest(name: &str, at_ms: Millis) -> String {
    hex::encode(Sha256::digest(format!("{name}:{at_ms}")))[..8].to_owned()
}

fn read(row: &mut Row) -> Result<EvaluationDataset, TraceError> {
    Ok(EvaluationDataset {
        id: row.take(0)?,
        name: row.take(1)?,
        schema: row.take(2)?,
        profile: row.take(3)?,
        digest: row.take(4)?,
        created_at_ms: row.take(5)?,
        updated_at_ms: row.take(6)?,
        created_by: row.take(7)?,
        updated_by: row.take(8)?,
        tags: Pairs::new(),
    })
}

fn fill(tx: &mut Tx<'_>, project: &ProjectId, dataset: &mut EvaluationDataset) -> Result<(), TraceError> {
    let sql = "SELECT key, value FROM evaluation_dataset_tags WHERE project = ?1 AND dataset = ?2";
    for mut row in tx.query(sql, &[project.into(), (&dataset.id).into()])? {
        dataset.tags.insert(row.take(0)?, row.take(1)?);
    }
    Ok(())
}

pub(crate) fn find(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    id: &str,
) -> Result<Option<EvaluationDataset>, TraceError> {
    let sql = format!("SELECT {COLUMNS} WHERE d.project = ?1 AND d.id = ?2");
    let Some(mut row) = tx.query_opt(&sql, &[project.into(), id.into()])? else { return Ok(None) };
    let mut found = read(&mut row)?;
    fill(tx, project, &mut found)?;
    Ok(Some(found))
}

pub(crate) fn get(tx: &mut Tx<'_>, project: &ProjectId, id: &str) -> Result<EvaluationDataset, TraceError> {
    find(tx, project, id)?
        .ok_or_else(|| TraceError::NotFound(format!("Evaluation dataset with id '{id}' not found")))
}

fn set_tag(tx: &mut Tx<'_>, project: &ProjectId, id: &str, key: &str, value: &str) -> Result<(), TraceError> {
    crate::rules::id("key", key)?;
    tx.execute(
        "INSERT INTO evaluation_dataset_tags (project, dataset, key, value) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (project, dataset, key) DO UPDATE SET value = excluded.value",
        &[project.into(), id.into(), key.into(), value.into()],
    )?;
    Ok(())
}

pub(crate) fn associate(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    id: &str,
    experiments: &[String],
) -> Result<(), TraceError> {
    for experiment in experiments {
        tx.execute(
            "INSERT INTO evaluation_dataset_experiments (project, dataset, experiment) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
            &[project.into(), id.into(), experiment.into()],
        )?;
    }
    Ok(())
}

/// Writes a dataset as it is.
pub(crate) fn insert(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    dataset: &EvaluationDataset,
) -> Result<(), TraceError> {
    tx.execute(
        "INSERT INTO evaluation_datasets (project, id, name, schema, profile, digest, created_at_ms, updated_at_ms,
             created_by, updated_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        &[
            project.into(),
            (&dataset.id).into(),
            (&dataset.name).into(),
            dataset.schema.as_ref().into(),
            dataset.profile.as_ref().into(),
            (&dataset.digest).into(),
            dataset.created_at_ms.into(),
            dataset.updated_at_ms.into(),
            dataset.created_by.as_ref().into(),
            dataset.updated_by.as_ref().into(),
        ],
    )?;
    dataset.tags.iter().try_for_each(|(key, value)| set_tag(tx, project, &dataset.id, key, value))
}

fn touch(tx: &mut LedgerTx<'_, '_>, project: &ProjectId, id: &str) -> Result<(), TraceError> {
    let now = tx.now();
    let sql = "UPDATE evaluation_datasets SET updated_at_ms = ?3 WHERE project = ?1 AND id = ?2";
    tx.execute(sql, &[project.into(), id.into(), now.into()])?;
    Ok(())
}

pub(crate) fn event(project: &ProjectId, action: &'static str, id: &str) -> NewEvent {
    NewEvent::new(project, action, "evaluation_dataset", id)
}

/// The fields of evaluation datasets.
struct DatasetPlaces;

impl Places for DatasetPlaces {
    fn place(&self, field: &Field) -> Option<Place> {
        use ColumnType::{Int, Text};
        let column = |sql: &str, holds| Some(Place::Column { sql: sql.to_owned(), holds });
        match (field.entity, field.key.as_str()) {
            (Entity::Attribute, "name") => column("d.name", Text),
            (Entity::Attribute, "created_by") => column("d.created_by", Text),
            (Entity::Attribute, "last_updated_by") => column("d.updated_by", Text),
            (Entity::Attribute, "created_time") => column("d.created_at_ms", Int),
            (Entity::Attribute, "last_update_time") => column("d.updated_at_ms", Int),
            (Entity::Tag, _) => Some(Place::Rows {
                from: "evaluation_dataset_tags x".to_owned(),
                on: "x.project = d.project AND x.dataset = d.id".to_owned(),
                key: Some("x.key".to_owned()),
                value: "x.value".to_owned(),
                holds: Text,
                nan: None,
            }),
            _ => None,
        }
    }
}

fn order(orders: &[OrderBy]) -> Result<String, TraceError> {
    let mut keys = Vec::new();
    for order in orders {
        let Some(Place::Column { sql, .. }) = DatasetPlaces.place(&order.field) else {
            return TraceError::invalid(format!("Invalid order_by entity: {}", order.field.entity));
        };
        keys.push(format!("{sql} {}", if order.ascending { "ASC" } else { "DESC" }));
    }
    if keys.is_empty() {
        keys.push("d.created_at_ms DESC".to_owned());
    }
    keys.push("d.id DESC".to_owned());
    Ok(keys.join(", "))
}

fn search(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    search: &DatasetSearch,
) -> Result<Page<EvaluationDataset>, TraceError> {
    let mut params: Vec<Value> = vec![project.into()];
    let condition = compile(&search.filter, &DatasetPlaces, 2)?;
    params.extend(condition.params.into_iter().map(crate::places::value));
    let mut sql = format!("SELECT {COLUMNS} WHERE d.project = ?1 AND {}", condition.sql);
    if !search.experiments.is_empty() {
        let list = crate::rows::placeholders(params.len() + 1, search.experiments.len());
        params.extend(search.experiments.iter().map(Value::from));
        sql.push_str(&format!(
            " AND EXISTS (SELECT 1 FROM evaluation_dataset_experiments e WHERE e.project = d.project AND e.dataset = d.id \
             AND e.experiment IN ({list}))"
        ));
    }
    let bounded = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    params.extend([Value::Int(bounded(search.limit.saturating_add(1))), Value::Int(bounded(search.offset))]);
    let (limit, offset) = (params.len() - 1, params.len());
    sql.push_str(&format!(" ORDER BY {} LIMIT ?{limit} OFFSET ?{offset}", order(&search.order_by)?));
    let mut items = tx.query(&sql, &params)?.iter_mut().map(read).collect::<Result<Vec<_>, _>>()?;
    let limit = usize::try_from(search.limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    for dataset in &mut items {
        fill(tx, project, dataset)?;
    }
    Ok(Page { items, more })
}

impl Traces {
    /// Makes an evaluation dataset.
    ///
    /// # Errors
    /// [`TraceError::Invalid`] for a name that is missing or too long.
    pub async fn create_dataset(
        &self,
        leave: &Authorized<WriteTracking>,
        name: String,
        tags: Pairs,
        experiments: Vec<String>,
    ) -> Result<EvaluationDataset, TraceError> {
        if name.chars().count() > LONGEST_NAME {
            return TraceError::invalid(format!(
                "'name' exceeds the maximum length of {LONGEST_NAME} characters"
            ));
        }
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let (id, now) = (format!("d-{}", tx.derived_id("dataset")), tx.now());
                let user = tags.get(USER);
                let dataset = EvaluationDataset {
                    digest: digest(&name, now),
                    name: name.clone(),
                    schema: None,
                    profile: None,
                    created_at_ms: now,
                    updated_at_ms: now,
                    created_by: user.cloned(),
                    updated_by: user.cloned(),
                    tags: tags.clone(),
                    id: id.clone(),
                };
                insert(tx, &project, &dataset)?;
                associate(tx, &project, &id, &experiments)?;
                let told = json!({ "name": name, "tags": tags, "experiments": experiments });
                tx.emit(event(&project, "evaluation_dataset.created", &id).with(told))?;
                get(tx, &project, &id)
            })
            .await
    }

    /// One evaluation dataset.
    ///
    /// # Errors
    /// [`TraceError::NotFound`].
    pub async fn dataset(
        &self,
        leave: &Authorized<ReadProject>,
        id: String,
    ) -> Result<EvaluationDataset, TraceError> {
        let project = leave.project().clone();
        self.ledger.db().read(move |tx| get(tx, &project, &id)).await
    }

    /// Deletes an evaluation dataset with its records. One that is not there is no error.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn delete_dataset(
        &self,
        leave: &Authorized<WriteTracking>,
        id: String,
    ) -> Result<(), TraceError> {
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let Some(dataset) = find(tx, &project, &id)? else { return Ok(()) };
                let key = [(&project).into(), (&id).into()];
                for table in
                    ["evaluation_records", "evaluation_dataset_tags", "evaluation_dataset_experiments"]
                {
                    tx.execute(&format!("DELETE FROM {table} WHERE project = ?1 AND dataset = ?2"), &key)?;
                }
                tx.execute("DELETE FROM evaluation_datasets WHERE project = ?1 AND id = ?2", &key)?;
                let told = json!({ "name": dataset.name });
                tx.emit(event(&project, "evaluation_dataset.deleted", &id).with(told))?;
                Ok(())
            })
            .await
    }

    /// The evaluation datasets that meet a filter.
    ///
    /// # Errors
    /// [`TraceError::Invalid`] for a filter or order that can't be.
    pub async fn search_datasets(
        &self,
        leave: &Authorized<ReadProject>,
        asked: DatasetSearch,
    ) -> Result<Page<EvaluationDataset>, TraceError> {
        let project = leave.project().clone();
        self.ledger.db().read(move |tx| search(tx, &project, &asked)).await
    }

    /// Sets tags of an evaluation dataset; others stay.
    ///
    /// # Errors
    /// [`TraceError::NotFound`].
    pub async fn tag_dataset(
        &self,
        leave: &Authorized<WriteTracking>,
        id: String,
        tags: Pairs,
    ) -> Result<(), TraceError> {
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                if find(tx, &project, &id)?.is_none() {
                    return Err(TraceError::NotFound(format!(
                        "Could not find evaluation dataset with ID {id}"
                    )));
                }
                for (key, value) in &tags {
                    set_tag(tx, &project, &id, key, value)?;
                }
                tx.emit(event(&project, "evaluation_dataset.tagged", &id).with(json!({ "tags": tags })))?;
                Ok(())
            })
            .await
    }

    /// Deletes a tag of an evaluation dataset. One that is not there is no error.
    ///
    /// # Errors
    /// What the ledger says.
    pub async fn untag_dataset(
        &self,
        leave: &Authorized<WriteTracking>,
        id: String,
        key: String,
    ) -> Result<(), TraceError> {
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let sql =
                    "DELETE FROM evaluation_dataset_tags WHERE project = ?1 AND dataset = ?2 AND key = ?3";
                if tx.execute(sql, &[(&project).into(), (&id).into(), (&key).into()])? > 0 {
                    tx.emit(event(&project, "evaluation_dataset.untagged", &id).with(json!({ "key": key })))?;
                }
                Ok(())
            })
            .await
    }

    /// The experiments of an evaluation dataset.
    ///
    /// # Errors
    /// What the database says.
    pub async fn dataset_experiments(
        &self,
        leave: &Authorized<ReadProject>,
        id: String,
    ) -> Result<Vec<String>, TraceError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let sql = "SELECT experiment FROM evaluation_dataset_experiments WHERE project = ?1 AND dataset = ?2
                           ORDER BY experiment";
                let rows = tx.query(sql, &[(&project).into(), (&id).into()])?;
                rows.into_iter().map(|mut row| Ok(row.take(0)?)).collect()
            })
            .await
    }

    /// Adds an evaluation dataset to experiments, or takes it from them. Whether there are such experiments is for the
    /// caller to know.
    ///
    /// # Errors
    /// [`TraceError::NotFound`] for the dataset.
    pub async fn associate_dataset(
        &self,
        leave: &Authorized<WriteTracking>,
        id: String,
        experiments: Vec<String>,
        add: bool,
    ) -> Result<EvaluationDataset, TraceError> {
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                if find(tx, &project, &id)?.is_none() {
                    return Err(TraceError::NotFound(format!("Dataset '{id}' not found")));
                }
                let action = if add {
                    associate(tx, &project, &id, &experiments)?;
                    "evaluation_dataset.added_to_experiments"
                } else {
                    for experiment in &experiments {
                        tx.execute(
                            "DELETE FROM evaluation_dataset_experiments
                             WHERE project = ?1 AND dataset = ?2 AND experiment = ?3",
                            &[(&project).into(), (&id).into(), experiment.into()],
                        )?;
                    }
                    "evaluation_dataset.removed_from_experiments"
                };
                touch(tx, &project, &id)?;
                tx.emit(event(&project, action, &id).with(json!({ "experiments": experiments })))?;
                get(tx, &project, &id)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_changes_with_name_and_time() {
        // The first eight digits of SHA-256 of `d:1`.
        assert_eq!(digest("d", 1).len(), 8);
        assert_ne!(digest("d", 1), digest("d", 2));
        assert_ne!(digest("d", 1), digest("e", 1));
    }
}
