//! Endpoints that follow an alias, in the database: what the alias points at now is the next generation of the route, or it is
//! written down why it is not. Who looks where aliases point, and what of it may be served, is a flow's matter.

use crate::endpoints::{Endpoints, Next, append_because, get};
use crate::error::ServingError;
use crate::rollout::store;
use crate::route::{Endpoint, RouteChange, Variant, check_variants};
use serde::Serialize;
use serde_json::json;
use trueline_ledger::{Actor, EventFilter, EventId, LedgerTx, NewEvent, ProjectId};

/// That what an alias points at is not what answers.
pub const NOT_FOLLOWED: &str = "endpoint.not_followed";

/// Where an alias points now that a variant follows, and how that came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AliasMoved {
    /// The alias, `model@alias`.
    pub alias: String,
    /// The version that answers so far, `name/number`.
    pub from: String,
    /// The version that it points at, `name/number`; none when it points at nothing any more.
    pub to: Option<String>,
    /// The event that moved it; none when nothing tells of it.
    pub event: Option<EventId>,
    /// Who moved it.
    pub moved_by: Option<String>,
}

impl AliasMoved {
    /// In words, as a reason.
    #[must_use]
    pub fn words(&self) -> String {
        let to = self.to.as_deref().unwrap_or("nothing");
        let by = self.moved_by.as_ref().map(|who| format!(", moved by {who}")).unwrap_or_default();
        format!("{} points at {to}{by}", self.alias)
    }
}

/// Acts for whoever moved the alias.
fn actor(moved: &AliasMoved) -> Actor {
    Actor { on_behalf_of: moved.moved_by.clone(), ..Actor::system("aliases") }
}

impl Endpoints {
    /// Has an endpoint, as it was read, answer by what an alias points at now; nothing when its route was changed meanwhile.
    /// That it follows the alias was granted when it was deployed so, which is why no further leave is needed.
    ///
    /// # Errors
    /// [`ServingError::State`] while a rollout is under way, [`ServingError::Invalid`] for variants that can't be deployed.
    pub async fn follow(
        &self,
        project: &ProjectId,
        seen: &Endpoint,
        variants: Vec<Variant>,
        moved: &AliasMoved,
    ) -> Result<Option<Endpoint>, ServingError> {
        check_variants(&variants)?;
        let (project, seen, moved) = (project.clone(), seen.clone(), moved.clone());
        self.ledger()
            .write(&actor(&moved.clone()), move |tx| {
                let before = get(tx, &project, &seen.name)?;
                if generation(&before) != generation(&seen) {
                    return Ok(None);
                }
                store::refuse_while_open(tx, &project, &before)?;
                let reason = moved.words();
                let change = RouteChange::Followed;
                let next = Next {
                    variants: &variants,
                    change,
                    rollout: None,
                    bandit: None,
                    shadow: None,
                    reason: &reason,
                };
                append_because(tx, &project, &before, &next, &json!(moved))?;
                get(tx, &project, &seen.name).map(Some)
            })
            .await
    }

    /// Writes down that an endpoint goes on by what answers, and why; once for each reason.
    ///
    /// # Errors
    /// What the database says.
    pub async fn not_followed(
        &self,
        project: &ProjectId,
        seen: &Endpoint,
        moved: &AliasMoved,
        why: &str,
    ) -> Result<(), ServingError> {
        let (project, seen, moved, why) = (project.clone(), seen.clone(), moved.clone(), why.to_owned());
        self.ledger()
            .write(&actor(&moved.clone()), move |tx| {
                let told = json!({
                    "endpoint": seen.name, "generation": generation(&seen), "cause": moved, "reason": why,
                });
                if newest(tx, &project, &seen)?.as_ref() == Some(&told) {
                    return Ok(());
                }
                tx.emit(NewEvent::new(&project, NOT_FOLLOWED, "endpoint", seen.name.as_str()).with(told))?;
                Ok(())
            })
            .await
    }
}

fn generation(endpoint: &Endpoint) -> Option<i64> {
    endpoint.route.as_ref().map(|r| r.generation)
}

/// What was written down last of why an endpoint does not follow.
fn newest(
    tx: &mut LedgerTx<'_, '_>,
    project: &ProjectId,
    endpoint: &Endpoint,
) -> Result<Option<serde_json::Value>, ServingError> {
    let filter = EventFilter {
        projects: Some(vec![project.to_string()]),
        actions: Some(vec![NOT_FOLLOWED.to_owned()]),
        resource_kind: Some("endpoint".to_owned()),
        resource_id: Some(endpoint.name.to_string()),
        ..EventFilter::default()
    };
    let page = filter.page(tx, 1)?;
    Ok(page.events.into_iter().next().and_then(|event| event.payload))
}
