//! Endpoints in the database: made, deployed to, rolled back, read. What answers is the data plane's matter.

use crate::bandit;
use crate::error::ServingError;
use crate::log_rules::{LogRules, LogShare};
use crate::model::ModelSpec;
use crate::rehearsal::RehearsalReport;
use crate::rollout::{Plan, Shadow, store};
use crate::route::{
    Endpoint, EndpointName, LogMode, NewEndpoint, Route, RouteChange, Variant, answer_alike, check_variants,
};
use serde_json::{Value as Json, json};
use trueline_db::{Row, Tx};
use trueline_identity::{Authorized, Deploy, ReadProject};
use trueline_ledger::{Edge, Ledger, LedgerTx, NewEvent, Node, ProjectId};

/// The control plane of serving. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Endpoints {
    ledger: Ledger,
}

fn not_found(name: &EndpointName) -> ServingError {
    ServingError::NotFound(format!(
        "there is no endpoint `{name}`; `trueline endpoint list` shows those there are"
    ))
}

const ROUTE: &str =
    "SELECT generation, change, variants, rollout, reason, changed_by, changed_at_ms, shadow,
         (SELECT plan FROM rollouts WHERE rollouts.project = endpoint_routes.project AND rollouts.id = endpoint_routes.rollout), bandit
     FROM endpoint_routes
     WHERE project = ?1 AND endpoint = ?2";

fn route_from(row: &mut Row) -> Result<Route, ServingError> {
    let unread = |e: serde_json::Error| ServingError::State(format!("a route can't be read: {e}"));
    let variants = serde_json::from_str(&row.take::<String>(2)?).map_err(unread)?;
    let shadow: Option<String> = row.take(7)?;
    let shadow = shadow.map(|text| serde_json::from_str(&text)).transpose().map_err(unread)?;
    let plan: Option<String> = row.take(8)?;
    let plan: Option<Plan> = plan.map(|text| serde_json::from_str(&text)).transpose().map_err(unread)?;
    Ok(Route {
        segments: plan.map(|plan| plan.segments).unwrap_or_default(),
        generation: row.take(0)?,
        change: RouteChange::parse(&row.take::<String>(1)?),
        variants,
        rollout: row.take(3)?,
        shadow,
        bandit: row.take(9)?,
        reason: row.take(4)?,
        changed_by: row.take(5)?,
        changed_at_ms: row.take(6)?,
    })
}

fn current(tx: &mut Tx<'_>, project: &ProjectId, name: &str) -> Result<Option<Route>, ServingError> {
    let sql = format!("{ROUTE} ORDER BY generation DESC LIMIT 1");
    let row = tx.query_opt(&sql, &[project.into(), name.into()])?;
    row.map(|mut row| route_from(&mut row)).transpose()
}

fn rules_from(name: &EndpointName, stored: Option<String>) -> Result<LogRules, ServingError> {
    let Some(stored) = stored else { return Ok(LogRules::default()) };
    serde_json::from_str(&stored)
        .map_err(|e| ServingError::State(format!("what endpoint `{name}` logs can't be read: {e}")))
}

pub(crate) fn get(
    tx: &mut Tx<'_>,
    project: &ProjectId,
    name: &EndpointName,
) -> Result<Endpoint, ServingError> {
    let mut row = tx
        .query_opt(
            "SELECT log_mode, sticky_header, created_by, created_at_ms, log_rules FROM endpoints
             WHERE project = ?1 AND name = ?2",
            &[project.into(), name.as_str().into()],
        )?
        .ok_or_else(|| not_found(name))?;
    Ok(Endpoint {
        name: name.clone(),
        log: LogMode::parse(&row.take::<String>(0)?).unwrap_or_default(),
        log_rules: rules_from(name, row.take(4)?)?,
        sticky_header: row.take(1)?,
        created_by: row.take(2)?,
        created_at_ms: row.take(3)?,
        route: current(tx, project, name.as_str())?,
    })
}

impl Endpoints {
    /// Over a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Makes an endpoint that nothing answers yet.
    ///
    /// # Errors
    /// [`ServingError::Exists`].
    pub async fn create(
        &self,
        leave: &Authorized<Deploy>,
        new: NewEndpoint,
    ) -> Result<Endpoint, ServingError> {
        let project = leave.project().clone();
        self.ledger
            .write(leave.actor(), move |tx| {
                let (now, by) = (tx.now(), tx.actor().principal.clone());
                let made = tx.execute(
                    "INSERT INTO endpoints (project, name, log_mode, sticky_header, created_by, created_at_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
                    &[
                        (&project).into(),
                        new.name.as_str().into(),
                        new.log.as_str().into(),
                        new.sticky_header.clone().into(),
                        by.into(),
                        now.into(),
                    ],
                )?;
                if made == 0 {
                    return Err(ServingError::Exists(format!("an endpoint `{}` exists already", new.name)));
                }
                let event = NewEvent::new(&project, "endpoint.created", "endpoint", new.name.as_str());
                tx.emit(event.with(json!({ "log": new.log, "sticky_header": new.sticky_header })))?;
                get(tx, &project, &new.name)
            })
            .await
    }

    /// Declares what of an endpoint's predictions is logged, in place of what was declared before. Where `wanted` has the
    /// revision of what it was made from, nothing may have changed since.
    ///
    /// # Errors
    /// [`ServingError::NotFound`], [`ServingError::Invalid`]; [`ServingError::State`] when another change came in between.
    pub async fn declare_log(
        &self,
        leave: &Authorized<Deploy>,
        name: &EndpointName,
        wanted: LogRules,
        reason: String,
    ) -> Result<Endpoint, ServingError> {
        wanted.check()?;
        let (project, name) = (leave.project().clone(), name.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                let endpoint = get(tx, &project, &name)?;
                if wanted.sample_failures && wanted.sample != LogShare::EVERY {
                    // Failures would look like what they are not: a larger share of bad rewards.
                    bandit::store::refuse_while_open(tx, &project, &endpoint)?;
                }
                let before = endpoint.log_rules;
                if wanted.revision != before.revision {
                    return Err(ServingError::State(format!(
                        "what endpoint `{name}` logs was changed meanwhile: look at it and declare it again"
                    )));
                }
                let after = LogRules { revision: before.revision + 1, since_ms: tx.now(), ..wanted.clone() };
                tx.execute(
                    "UPDATE endpoints SET log_rules = ?3 WHERE project = ?1 AND name = ?2",
                    &[(&project).into(), name.as_str().into(), json!(after).to_string().into()],
                )?;
                let event = NewEvent::new(&project, "endpoint.log_declared", "endpoint", name.as_str());
                tx.emit(event.with(json!({ "before": before, "after": after, "reason": reason })))?;
                get(tx, &project, &name)
            })
            .await
    }

    /// One endpoint.
    ///
    /// # Errors
    /// [`ServingError::NotFound`].
    pub async fn get(
        &self,
        leave: &Authorized<ReadProject>,
        name: &EndpointName,
    ) -> Result<Endpoint, ServingError> {
        let (project, name) = (leave.project().clone(), name.clone());
        self.ledger.db().read(move |tx| get(tx, &project, &name)).await
    }

    /// All endpoints of a project, by name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn list(&self, leave: &Authorized<ReadProject>) -> Result<Vec<Endpoint>, ServingError> {
        let project = leave.project().clone();
        self.ledger
            .db()
            .read(move |tx| {
                let rows = tx.query(
                    "SELECT name FROM endpoints WHERE project = ?1 ORDER BY name",
                    &[(&project).into()],
                )?;
                rows.into_iter()
                    .map(|mut row| get(tx, &project, &EndpointName::parse(&row.take::<String>(0)?)?))
                    .collect()
            })
            .await
    }

    /// All endpoints that have a route, of all projects, for the data plane.
    ///
    /// # Errors
    /// What the database says.
    pub async fn routed(&self) -> Result<Vec<(ProjectId, Endpoint)>, ServingError> {
        self.ledger
            .db()
            .read(|tx| {
                let mut out = Vec::new();
                for mut row in tx.query("SELECT project, name FROM endpoints", &[])? {
                    let project = ProjectId::new(row.take::<String>(0)?);
                    let endpoint = get(tx, &project, &EndpointName::parse(&row.take::<String>(1)?)?)?;
                    if endpoint.route.is_some() {
                        out.push((project, endpoint));
                    }
                }
                Ok(out)
            })
            .await
    }

    /// What is logged of each endpoint of all projects.
    ///
    /// # Errors
    /// What the database says.
    pub async fn log_rules(&self) -> Result<Vec<(ProjectId, EndpointName, LogRules)>, ServingError> {
        self.ledger
            .db()
            .read(|tx| {
                let rows = tx.query("SELECT project, name, log_rules FROM endpoints", &[])?;
                rows.into_iter()
                    .map(|mut row| {
                        let name = EndpointName::parse(&row.take::<String>(1)?)?;
                        let rules = rules_from(&name, row.take(2)?)?;
                        Ok((ProjectId::new(row.take::<String>(0)?), name, rules))
                    })
                    .collect()
            })
            .await
    }

    /// The routes of an endpoint, newest first; those before a generation, when it is given.
    ///
    /// # Errors
    /// [`ServingError::NotFound`].
    pub async fn history(
        &self,
        leave: &Authorized<ReadProject>,
        name: &EndpointName,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Route>, ServingError> {
        let (project, name) = (leave.project().clone(), name.clone());
        self.ledger
            .db()
            .read(move |tx| {
                get(tx, &project, &name)?;
                let sql = format!("{ROUTE} AND generation < ?3 ORDER BY generation DESC LIMIT ?4");
                let before = before.unwrap_or(i64::MAX);
                let params = [(&project).into(), name.as_str().into(), before.into(), limit.into()];
                let rows = tx.query(&sql, &params)?;
                rows.into_iter().map(|mut row| route_from(&mut row)).collect()
            })
            .await
    }

    /// Makes the next generation of a route.
    ///
    /// # Errors
    /// [`ServingError::NotFound`], [`ServingError::Invalid`] for bad weights.
    pub async fn deploy(
        &self,
        leave: &Authorized<Deploy>,
        name: &EndpointName,
        variants: Vec<Variant>,
        reason: String,
    ) -> Result<Endpoint, ServingError> {
        check_variants(&variants)?;
        let (project, name) = (leave.project().clone(), name.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                let before = get(tx, &project, &name)?;
                store::refuse_while_open(tx, &project, &before)?;
                bandit::store::overrule(tx, &project, &before, "another route was deployed", &reason)?;
                let next = Next {
                    variants: &variants,
                    change: RouteChange::Deployed,
                    rollout: None,
                    bandit: None,
                    shadow: None,
                    reason: &reason,
                };
                append(tx, &project, &before, &next)?;
                get(tx, &project, &name)
            })
            .await
    }

    /// The route that a rollback would return to: the newest one before the current that differs from it, was not itself
    /// rolled back from and is no step of a rollout or a bandit.
    ///
    /// # Errors
    /// [`ServingError::State`] when there is none.
    pub async fn previous(
        &self,
        leave: &Authorized<ReadProject>,
        name: &EndpointName,
    ) -> Result<Route, ServingError> {
        let (project, name) = (leave.project().clone(), name.clone());
        self.ledger
            .db()
            .read(move |tx| {
                let endpoint = get(tx, &project, &name)?;
                previous(tx, &project, &endpoint)
            })
            .await
    }

    /// Writes down that logged traffic of an endpoint was put to a version, with what came of it. Nothing else changes.
    ///
    /// # Errors
    /// [`ServingError::NotFound`].
    pub async fn rehearsed(
        &self,
        leave: &Authorized<Deploy>,
        name: &EndpointName,
        candidate: &ModelSpec,
        report: &RehearsalReport,
        reason: String,
    ) -> Result<(), ServingError> {
        let (project, name, candidate) = (leave.project().clone(), name.clone(), candidate.clone());
        let numbers = json!(report);
        self.ledger
            .write(leave.actor(), move |tx| {
                get(tx, &project, &name)?;
                let event = NewEvent::new(&project, "endpoint.rehearsed", "endpoint", name.as_str());
                let event = tx.emit(event.with(json!({
                    "endpoint": name, "candidate": candidate.name(), "reason": reason,
                    "candidate_manifest_digest": candidate.manifest_digest, "numbers": numbers,
                })))?;
                let own = Node::new("endpoint", name.as_str());
                tx.link(&event, &Edge::new(&project, own, "rehearsed", Node::new("version", &candidate.id)))?;
                Ok(())
            })
            .await
    }

    /// Returns to the previous good variants, as a new generation, which follows no alias; the one that is left is marked. A
    /// rollout that is under way is cancelled by it.
    ///
    /// # Errors
    /// [`ServingError::NotFound`], [`ServingError::State`] when there is nothing to return to.
    pub async fn roll_back(
        &self,
        leave: &Authorized<Deploy>,
        name: &EndpointName,
        reason: String,
    ) -> Result<Endpoint, ServingError> {
        let (project, name) = (leave.project().clone(), name.clone());
        self.ledger
            .write(leave.actor(), move |tx| {
                let before = get(tx, &project, &name)?;
                let target = previous(tx, &project, &before)?;
                let left = before.route.as_ref().map_or(0, |r| r.generation);
                tx.execute(
                    "UPDATE endpoint_routes SET rolled_back = 1
                     WHERE project = ?1 AND endpoint = ?2 AND generation = ?3",
                    &[(&project).into(), name.as_str().into(), left.into()],
                )?;
                store::cancel_open(tx, &project, &before, &reason)?;
                bandit::store::overrule(tx, &project, &before, "it was rolled back", &reason)?;
                // Who goes back has seen enough of where an alias has led to.
                let pinned: Vec<Variant> = target.variants.iter().map(Variant::pinned).collect();
                let (variants, change) = (&pinned, RouteChange::RolledBack);
                let next =
                    Next { variants, change, rollout: None, bandit: None, shadow: None, reason: &reason };
                append(tx, &project, &before, &next)?;
                get(tx, &project, &name)
            })
            .await
    }
}

fn previous(tx: &mut Tx<'_>, project: &ProjectId, endpoint: &Endpoint) -> Result<Route, ServingError> {
    let nothing = || ServingError::State(format!("endpoint `{}` has nothing to roll back to", endpoint.name));
    let current = endpoint.route.as_ref().ok_or_else(nothing)?;
    let sql = format!(
        "{ROUTE} AND rolled_back = 0 AND rollout IS NULL AND generation < ?3
         AND (bandit IS NULL OR EXISTS (
             SELECT 1 FROM bandits WHERE bandits.project = endpoint_routes.project AND bandits.id = endpoint_routes.bandit
             AND bandits.generation = endpoint_routes.generation AND bandits.state IN ('stopped', 'expired')))
         ORDER BY generation DESC LIMIT 100"
    );
    let rows = tx.query(&sql, &[project.into(), endpoint.name.as_str().into(), current.generation.into()])?;
    for mut row in rows {
        let route = route_from(&mut row)?;
        if !answer_alike(&route.variants, &current.variants) {
            return Ok(route);
        }
    }
    Err(nothing())
}

/// A route that is to be the next.
pub(crate) struct Next<'a> {
    pub(crate) variants: &'a [Variant],
    pub(crate) change: RouteChange,
    pub(crate) rollout: Option<&'a str>,
    pub(crate) bandit: Option<&'a str>,
    pub(crate) shadow: Option<&'a Shadow>,
    pub(crate) reason: &'a str,
}

/// Makes the next generation of a route.
pub(crate) fn append(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    before: &Endpoint,
    next: &Next<'_>,
) -> Result<(), ServingError> {
    append_because(tx, project, before, next, &Json::Null)
}

/// Makes the next generation of a route; its event names what caused it.
pub(crate) fn append_because(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    before: &Endpoint,
    next: &Next<'_>,
    cause: &Json,
) -> Result<(), ServingError> {
    let &Next { variants, change, rollout, bandit, shadow, reason } = next;
    let generation = before.route.as_ref().map_or(0, |r| r.generation) + 1;
    let (now, by) = (tx.now(), tx.actor().principal.clone());
    tx.execute(
        "INSERT INTO endpoint_routes
             (project, endpoint, generation, change, variants, rollout, reason, rolled_back, changed_by, changed_at_ms,
              shadow, bandit)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10, ?11)",
        &[
            project.into(),
            before.name.as_str().into(),
            generation.into(),
            change.as_str().into(),
            json!(variants).to_string().into(),
            rollout.map(ToOwned::to_owned).into(),
            reason.into(),
            by.into(),
            now.into(),
            shadow.map(|s| json!(s).to_string()).into(),
            bandit.map(ToOwned::to_owned).into(),
        ],
    )?;
    let shares = |variants: &[Variant]| -> Vec<serde_json::Value> {
        let share = |v: &Variant| json!({ "version": v.spec.name(), "weight": v.weight, "manifest_digest": v.spec.manifest_digest });
        variants.iter().map(share).collect()
    };
    let action = match change {
        RouteChange::Deployed => "endpoint.deployed",
        RouteChange::RolledBack => "endpoint.rolled_back",
        RouteChange::Shifted => "endpoint.shifted",
        RouteChange::Promoted => "endpoint.promoted",
        RouteChange::Followed => "endpoint.followed",
        RouteChange::Allotted => "endpoint.allotted",
    };
    let old = before.route.as_ref().map(|r| shares(&r.variants)).unwrap_or_default();
    let mut told = json!({
        "endpoint": before.name, "generation": generation, "before": old, "after": shares(variants), "rollout": rollout,
        "bandit": bandit, "shadow": shadow.map(|s| s.spec.name()), "reason": reason,
    });
    if !cause.is_null() {
        told["cause"] = cause.clone();
    }
    let event = tx.emit(NewEvent::new(project, action, "endpoint", before.name.as_str()).with(told))?;
    for variant in variants {
        let version = Node::new("version", &variant.spec.id);
        let own = Node::new("endpoint", before.name.as_str());
        tx.link(&event, &Edge::new(project, own, "served", version))?;
    }
    Ok(())
}
