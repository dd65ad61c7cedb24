//! Searches over models and versions: where their fields lie, in which order and page.

use crate::model::{RegisteredModel, Version};
use crate::{Registry, RegistryError, models, versions};
use trueline_db::{Row, Tx, Value};
use trueline_identity::{Authorized, ReadProject};
use trueline_search::mlflow::OrderBy;
use trueline_search::sql::{ColumnType, Place, Places, SqlError, SqlValue, compile};
use trueline_search::{Entity, Expr, Field, Op};

/// The tag that makes a registered model a prompt, which searches for models do not show unless they ask for it.
const PROMPT_TAG: &str = "mlflow.prompt.is_prompt";

/// A page of what was found.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Whether there is another page.
    pub more: bool,
}

/// Which models are asked for.
#[derive(Clone, Debug)]
pub struct ModelSearch {
    /// That meet this.
    pub filter: Expr,
    /// In this order; by name when there is none.
    pub order_by: Vec<OrderBy>,
    /// Skip so many.
    pub offset: u64,
    /// Give at most so many.
    pub limit: u64,
}

/// Which versions are asked for.
#[derive(Clone, Debug)]
pub struct VersionSearch {
    /// That meet this.
    pub filter: Expr,
    /// In this order; the latest changed first when there is none.
    pub order_by: Vec<OrderBy>,
    /// Skip so many.
    pub offset: u64,
    /// Give at most so many.
    pub limit: u64,
}

impl From<SqlError> for RegistryError {
    fn from(error: SqlError) -> Self {
        Self::Invalid(error.to_string())
    }
}

fn column(sql: &str, holds: ColumnType) -> Option<Place> {
    Some(Place::Column { sql: sql.to_owned(), holds })
}

fn tags(table: &str, on: &str) -> Option<Place> {
    Some(Place::Rows {
        from: format!("{table} x"),
        on: on.to_owned(),
        key: Some("x.key".to_owned()),
        value: "x.value".to_owned(),
        holds: ColumnType::Text,
        nan: None,
    })
}

struct ModelPlaces;

impl Places for ModelPlaces {
    fn place(&self, field: &Field) -> Option<Place> {
        use ColumnType::{Int, Text};
        match (field.entity, field.key.as_str()) {
            (Entity::Attribute, "name") => column("m.name", Text),
            (Entity::Attribute, "creation_timestamp") => column("m.created_at_ms", Int),
            (Entity::Attribute, "last_updated_timestamp" | "timestamp") => column("m.updated_at_ms", Int),
            (Entity::Tag, _) => tags("registered_model_tags", "x.project = m.project AND x.name = m.name"),
            _ => None,
        }
    }
}

struct VersionPlaces;

impl Places for VersionPlaces {
    fn place(&self, field: &Field) -> Option<Place> {
        use ColumnType::{Int, Text};
        match (field.entity, field.key.as_str()) {
            (Entity::Attribute, "name") => column("v.name", Text),
            (Entity::Attribute, "version_number" | "version") => column("v.version", Int),
            (Entity::Attribute, "run_id") => column("v.run_id", Text),
            (Entity::Attribute, "source_path" | "source") => column("v.source", Text),
            (Entity::Attribute, "creation_timestamp") => column("v.created_at_ms", Int),
            (Entity::Attribute, "last_updated_timestamp" | "timestamp") => column("v.updated_at_ms", Int),
            (Entity::Tag, _) => tags(
                "model_version_tags",
                "x.project = v.project AND x.name = v.name AND x.version = v.version",
            ),
            _ => None,
        }
    }
}

/// Whether a filter says itself what it wants with prompts.
fn asks_for_prompts(filter: &Expr) -> bool {
    let names = |f: &Field| f.entity == Entity::Tag && f.key == PROMPT_TAG;
    filter.comparisons().iter().any(|c| names(&c.field) && c.op == Op::Eq)
}

/// Drops the client's own `tag.mlflow.prompt.is_prompt != 'true'`: it means "no prompts", which models without the tag
/// meet too, and which is the rule here anyway.
fn without_prompt_clause(filter: Expr) -> Expr {
    match filter {
        Expr::And(list) => Expr::And(
            list.into_iter()
                .filter(|e| {
                    !matches!(e, Expr::Comparison(c)
                    if c.field.entity == Entity::Tag && c.field.key == PROMPT_TAG && c.op == Op::Ne)
                })
                .collect(),
        ),
        other => other,
    }
}

/// The statement of a search, with the parameters after the project.
fn statement(
    select: &str,
    places: &dyn Places,
    filter: &Expr,
    order_by: &[OrderBy],
    finally: &str,
    page: (u64, u64),
    params: &mut Vec<Value>,
) -> Result<String, RegistryError> {
    let condition = compile(filter, places, params.len() + 1)?;
    params.extend(condition.params.into_iter().map(|p| match p {
        SqlValue::Int(v) => Value::Int(v),
        SqlValue::Real(v) => Value::Real(v),
        SqlValue::Text(v) => Value::Text(v),
    }));
    let mut keys = Vec::new();
    for order in order_by {
        match places.place(&order.field) {
            Some(Place::Column { sql, .. }) => {
                keys.push(format!("{sql} {}", if order.ascending { "ASC" } else { "DESC" }));
            }
            _ => return Err(SqlError::UnknownField(order.field.clone()).into()),
        }
    }
    keys.push(finally.to_owned());
    let bounded = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    params.push(bounded(page.1.saturating_add(1)).into());
    params.push(bounded(page.0).into());
    let n = params.len();
    Ok(format!("{select} AND ({}) ORDER BY {} LIMIT ?{} OFFSET ?{n}", condition.sql, keys.join(", "), n - 1))
}

/// The page of a statement that asks for one row more than its limit.
fn fetch<T>(
    tx: &mut Tx<'_>,
    sql: &str,
    params: &[Value],
    limit: u64,
    item: impl Fn(&mut Tx<'_>, &mut Row) -> Result<T, RegistryError>,
) -> Result<Page<T>, RegistryError> {
    let mut found = tx.query(sql, params)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    let items = found.iter_mut().map(|row| item(tx, row)).collect::<Result<_, _>>()?;
    Ok(Page { items, more })
}

impl Registry {
    /// The models that meet a filter; prompts only when it asks for them.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] for a filter or order that names no field.
    pub async fn search_models(
        &self,
        leave: &Authorized<ReadProject>,
        search: ModelSearch,
    ) -> Result<Page<RegisteredModel>, RegistryError> {
        let project = leave.project().clone();
        let mut select = format!("SELECT {} WHERE m.project = ?1", models::COLUMNS);
        if !asks_for_prompts(&search.filter) {
            select.push_str(&format!(
                " AND NOT EXISTS (SELECT 1 FROM registered_model_tags t WHERE t.project = m.project AND t.name = m.name
                  AND t.key = '{PROMPT_TAG}' AND t.value = 'true')"
            ));
        }
        let filter = without_prompt_clause(search.filter);
        let mut params: Vec<Value> = vec![(&project).into()];
        let page = (search.offset, search.limit);
        let sql = statement(&select, &ModelPlaces, &filter, &search.order_by, "m.name", page, &mut params)?;
        self.ledger
            .db()
            .read(move |tx| {
                fetch(tx, &sql, &params, search.limit, |tx, row| models::from_row(tx, &project, row))
            })
            .await
    }

    /// The versions that meet a filter.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] for a filter or order that names no field.
    pub async fn search_versions(
        &self,
        leave: &Authorized<ReadProject>,
        search: VersionSearch,
    ) -> Result<Page<Version>, RegistryError> {
        let project = leave.project().clone();
        let select = format!("SELECT {} WHERE v.project = ?1 AND v.lifecycle = 'active'", versions::COLUMNS);
        let filter = without_prompt_clause(search.filter);
        let mut params: Vec<Value> = vec![(&project).into()];
        let finally = match search.order_by.is_empty() {
            true => "v.updated_at_ms DESC, v.name, v.version DESC",
            false => "v.name, v.version DESC",
        };
        let page = (search.offset, search.limit);
        let sql = statement(&select, &VersionPlaces, &filter, &search.order_by, finally, page, &mut params)?;
        self.ledger
            .db()
            .read(move |tx| {
                fetch(tx, &sql, &params, search.limit, |tx, row| versions::from_row(tx, &project, row))
            })
            .await
    }
}
