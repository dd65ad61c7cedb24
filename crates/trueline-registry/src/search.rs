//! Searches over models and versions: where their fields lie, in which order and page.

use crate::model::{RegisteredModel, Version};
use crate::{Registry, RegistryError, models, versions};
use trueline_db::{Row, Tx, Value};
use trueline_identity::{Authorized, ReadProject};
use trueline_search::mlflow::OrderBy;
use trueline_search::sql::{ColumnType, Place, Places, SqlError, SqlValue, compile};
use trueline_search::{Comparison, Entity, Expr, Field, Op, Value as Literal};

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
    /// Those of prompts as well, whatever the filter says of them.
    pub prompts_too: bool,
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

fn is_of_prompts(comparison: &Comparison) -> bool {
    comparison.field.entity == Entity::Tag && comparison.field.key == PROMPT_TAG
}

/// Whether a filter asks for prompts: what it says first of their tag decides.
fn asks_for_prompts(filter: &Expr) -> bool {
    let first = filter.comparisons().into_iter().find(|c| is_of_prompts(c));
    let Some(Comparison { op, value: Some(Literal::Text(value)), .. }) = first else { return false };
    match op {
        Op::Eq => value.eq_ignore_ascii_case("true"),
        Op::Ne => value.eq_ignore_ascii_case("false"),
        _ => false,
    }
}

/// Drops what a filter that does not ask for prompts says of their tag: it means "no prompts", which models without the tag
/// meet too, and which is the rule here anyway.
fn without_prompt_clause(filter: Expr) -> Expr {
    match filter {
        Expr::And(list) => Expr::And(
            list.into_iter().filter(|e| !matches!(e, Expr::Comparison(c) if is_of_prompts(c))).collect(),
        ),
        Expr::Comparison(c) if is_of_prompts(&c) => Expr::always(),
        other => other,
    }
}

/// The filter of a search, and the condition that leaves prompts out unless it asks for them: names of which anything in
/// `table` has the tag of prompts.
fn prompts_apart(filter: Expr, table: &str, of: char) -> (Expr, String) {
    if asks_for_prompts(&filter) {
        return (filter, String::new());
    }
    let condition = format!(
        " AND NOT EXISTS (SELECT 1 FROM {table} t WHERE t.project = {of}.project AND t.name = {of}.name
          AND t.key = '{PROMPT_TAG}' AND t.value = 'true')"
    );
    (without_prompt_clause(filter), condition)
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
        let (filter, apart) = prompts_apart(search.filter, "registered_model_tags", 'm');
        let select = format!("SELECT {} WHERE m.project = ?1{apart}", models::COLUMNS);
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

    /// The versions that meet a filter; those of prompts only when it asks for them, or the search does.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] for a filter or order that names no field.
    pub async fn search_versions(
        &self,
        leave: &Authorized<ReadProject>,
        search: VersionSearch,
    ) -> Result<Page<Version>, RegistryError> {
        let project = leave.project().clone();
        let (filter, apart) = match search.prompts_too {
            true => (search.filter, String::new()),
            false => prompts_apart(search.filter, "model_version_tags", 'v'),
        };
        let select =
            format!("SELECT {} WHERE v.project = ?1 AND v.lifecycle = 'active'{apart}", versions::COLUMNS);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(op: Op, value: &str) -> Comparison {
        let field = Field { entity: Entity::Tag, key: PROMPT_TAG.to_owned() };
        Comparison { field, op, value: Some(Literal::Text(value.to_owned())) }
    }

    #[test]
    fn what_a_filter_says_first_of_the_tag_of_prompts_decides() {
        for (op, value, asks) in [
            (Op::Eq, "true", true),
            (Op::Eq, "True", true),
            (Op::Ne, "false", true),
            (Op::Eq, "false", false),
            (Op::Ne, "true", false),
            (Op::Like, "true", false),
        ] {
            assert_eq!(asks_for_prompts(&Expr::from(tag(op, value))), asks, "{op:?} {value}");
        }
        let both: Expr = [tag(Op::Ne, "true"), tag(Op::Eq, "true")].into_iter().collect();
        assert!(!asks_for_prompts(&both));
        assert_eq!(without_prompt_clause(both), Expr::always());
        assert!(!asks_for_prompts(&Expr::always()));
    }
}
