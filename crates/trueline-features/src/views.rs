//! Declaring entities and views, and finding them. A view whose declaration changed is a new version; models and
//! training sets go on to name the one that they were made with.

use crate::spec::{Declaration, Entity, FeatureView, ViewRef, ViewSpec, check_name};
use crate::{FeatureError, Features, OnlineView};
use serde::Serialize;
use serde_json::json;
use trueline_db::{DbError, Row, Tx};
use trueline_identity::{Authorized, ReadProject, WriteData};
use trueline_ledger::{Edge, LedgerTx, NewEvent, Node, ProjectId};

/// What a declaration changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Entities that are new.
    pub entities: Vec<String>,
    /// Views that are new or changed, with their versions.
    pub views: Vec<String>,
    /// How many entities and views were as declared already.
    pub unchanged: usize,
}

const COLUMNS: &str = "spec, version, join_keys, created_by, created_at_ms FROM feature_views v";

fn broken(error: &serde_json::Error) -> FeatureError {
    DbError::Other(format!("a feature view's row is broken: {error}")).into()
}

fn view_from(row: &mut Row) -> Result<FeatureView, FeatureError> {
    Ok(FeatureView {
        spec: serde_json::from_str(&row.take::<String>(0)?).map_err(|e| broken(&e))?,
        version: row.take(1)?,
        join_keys: serde_json::from_str(&row.take::<String>(2)?).map_err(|e| broken(&e))?,
        created_by: row.take(3)?,
        created_at_ms: row.take(4)?,
    })
}

fn newest(tx: &mut Tx<'_>, project: &ProjectId, name: &str) -> Result<Option<FeatureView>, FeatureError> {
    let sql = format!("SELECT {COLUMNS} WHERE project = ?1 AND name = ?2 ORDER BY version DESC LIMIT 1");
    tx.query_opt(&sql, &[project.into(), name.into()])?.map(|mut row| view_from(&mut row)).transpose()
}

fn find(tx: &mut Tx<'_>, project: &ProjectId, wanted: &ViewRef) -> Result<FeatureView, FeatureError> {
    let found = match wanted.version {
        None => newest(tx, project, &wanted.name)?,
        Some(version) => {
            let sql = format!("SELECT {COLUMNS} WHERE project = ?1 AND name = ?2 AND version = ?3");
            let row = tx.query_opt(&sql, &[project.into(), (&wanted.name).into(), version.into()])?;
            row.map(|mut row| view_from(&mut row)).transpose()?
        }
    };
    found.ok_or_else(|| {
        FeatureError::NotFound(format!(
            "there is no feature view {wanted}: `trueline features list` names those that there are"
        ))
    })
}

fn join_key(tx: &mut Tx<'_>, project: &ProjectId, entity: &str) -> Result<Option<String>, FeatureError> {
    let sql = "SELECT join_key FROM feature_entities WHERE project = ?1 AND name = ?2";
    Ok(tx.scalar(sql, &[project.into(), entity.into()])?)
}

/// Declares an entity; answers whether it is new.
fn declare_entity(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    entity: &Entity,
) -> Result<bool, FeatureError> {
    let key = if entity.join_key.is_empty() { &entity.name } else { &entity.join_key };
    match join_key(tx, project, &entity.name)? {
        Some(known) if known == *key => return Ok(false),
        Some(known) => {
            return Err(FeatureError::State(format!(
                "entity {} has the key {known}, and views rely on it: declare another entity for {key}",
                entity.name
            )));
        }
        None => {}
    }
    let (now, by) = (tx.now(), tx.actor().principal.clone());
    tx.execute(
        "INSERT INTO feature_entities (project, name, join_key, description, created_by, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        &[
            project.into(),
            (&entity.name).into(),
            key.into(),
            (&entity.description).into(),
            by.into(),
            now.into(),
        ],
    )?;
    let event = NewEvent::new(project, "entity.declared", "entity", &entity.name);
    tx.emit(event.with(json!({ "join_key": key, "description": entity.description })))?;
    Ok(true)
}

/// Declares a view; answers it when it is new or changed.
fn declare_view(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    spec: &ViewSpec,
) -> Result<Option<FeatureView>, FeatureError> {
    let mut join_keys = Vec::new();
    for entity in &spec.entities {
        let key = join_key(tx, project, entity)?;
        join_keys.push(key.ok_or_else(|| {
            FeatureError::Invalid(format!(
                "view {}: there is no entity {entity}; declare it first",
                spec.name
            ))
        })?);
    }
    if let Some(both) = spec.features.iter().find(|f| join_keys.contains(f)) {
        return Err(FeatureError::Invalid(format!("view {}: `{both}` is a key, not a feature", spec.name)));
    }
    let before = newest(tx, project, &spec.name)?;
    if before.as_ref().is_some_and(|b| b.spec == *spec) {
        return Ok(None);
    }
    let view = FeatureView {
        spec: spec.clone(),
        version: before.map_or(1, |b| b.version + 1),
        join_keys,
        created_by: tx.actor().principal.clone(),
        created_at_ms: tx.now(),
    };
    tx.execute(
        "INSERT INTO feature_views (project, name, version, spec, join_keys, created_by, created_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        &[
            project.into(),
            (&spec.name).into(),
            view.version.into(),
            json!(spec).to_string().into(),
            json!(view.join_keys).to_string().into(),
            (&view.created_by).into(),
            view.created_at_ms.into(),
        ],
    )?;
    let event = NewEvent::new(project, "feature_view.declared", "feature_view", view.node().id);
    let event = tx.emit(event.with(json!(view)))?;
    tx.link(&event, &Edge::new(project, view.node(), "reads", Node::new("dataset", &spec.dataset)))?;
    Ok(Some(view))
}

impl Features {
    /// Declares entities and views, all or none. What is declared already stays as it is.
    ///
    /// # Errors
    /// [`FeatureError::Invalid`], [`FeatureError::State`] when an entity's key would change.
    pub async fn apply(
        &self,
        leave: &Authorized<WriteData>,
        declaration: Declaration,
    ) -> Result<Applied, FeatureError> {
        for entity in &declaration.entities {
            check_name("entity", &entity.name)?;
        }
        declaration.views.iter().try_for_each(ViewSpec::check)?;
        let project = leave.project().clone();
        let (applied, views) = self
            .ledger
            .write(leave.actor(), move |tx| {
                let (mut applied, mut views) = (Applied::default(), Vec::new());
                for entity in &declaration.entities {
                    match declare_entity(tx, &project, entity)? {
                        true => applied.entities.push(entity.name.clone()),
                        false => applied.unchanged += 1,
                    }
                }
                for spec in &declaration.views {
                    match declare_view(tx, &project, spec)? {
                        Some(view) => {
                            applied.views.push(view.reference().to_string());
                            views.push(view);
                        }
                        None => applied.unchanged += 1,
                    }
                }
                Ok::<_, FeatureError>((applied, views))
            })
            .await?;
        for view in views {
            self.online.declare(leave.project(), OnlineView::of(&view)).await?;
        }
        Ok(applied)
    }

    /// Tells the online store of every view, for a start after a crash between a declaration and its copy.
    ///
    /// # Errors
    /// What the database or the store says.
    pub async fn sync_online(&self) -> Result<(), FeatureError> {
        let all = self.ledger.db().read(|tx| {
            let sql = "SELECT spec, version, join_keys, created_by, created_at_ms, project FROM feature_views
                       ORDER BY project, name, version";
            let rows = tx.query(sql, &[])?;
            let pair = |mut row: Row| {
                Ok::<_, FeatureError>((view_from(&mut row)?, ProjectId::new(row.take::<String>(5)?)))
            };
            rows.into_iter().map(pair).collect::<Result<Vec<_>, _>>()
        });
        for (view, project) in all.await? {
            let online = OnlineView::of(&view);
            if self.online.view(&project, &view.reference()).as_deref() != Some(&online) {
                self.online.declare(&project, online).await?;
            }
        }
        Ok(())
    }

    /// The entities of a project.
    ///
    /// # Errors
    /// What the database says.
    pub async fn entities(&self, leave: &Authorized<ReadProject>) -> Result<Vec<Entity>, FeatureError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let sql = "SELECT name, join_key, description FROM feature_entities WHERE project = ?1 ORDER BY name";
                let rows = tx.query(sql, &[(&project).into()])?;
                let one = |mut row: Row| {
                    Ok(Entity { name: row.take(0)?, join_key: row.take(1)?, description: row.take(2)? })
                };
                rows.into_iter().map(one).collect()
            })
            .await
    }

    /// The newest version of every view of a project, at most 1,000.
    ///
    /// # Errors
    /// What the database says.
    pub async fn views(&self, leave: &Authorized<ReadProject>) -> Result<Vec<FeatureView>, FeatureError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let sql = format!(
                    "SELECT {COLUMNS} WHERE project = ?1 AND version = (
                         SELECT max(version) FROM feature_views WHERE project = ?1 AND name = v.name)
                     ORDER BY name LIMIT 1000"
                );
                let rows = tx.query(&sql, &[(&project).into()])?;
                rows.into_iter().map(|mut row| view_from(&mut row)).collect()
            })
            .await
    }

    /// One view.
    ///
    /// # Errors
    /// [`FeatureError::NotFound`].
    pub async fn view(
        &self,
        leave: &Authorized<ReadProject>,
        wanted: &ViewRef,
    ) -> Result<FeatureView, FeatureError> {
        self.view_in(leave.project(), wanted).await
    }

    /// One view, for a task that was given leave when it was asked for.
    ///
    /// # Errors
    /// [`FeatureError::NotFound`].
    pub async fn view_in(&self, project: &ProjectId, wanted: &ViewRef) -> Result<FeatureView, FeatureError> {
        let (project, wanted) = (project.clone(), wanted.clone());
        self.ledger.db().read(move |tx| find(tx, &project, &wanted)).await
    }
}
