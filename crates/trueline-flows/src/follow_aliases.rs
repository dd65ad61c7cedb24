//! Endpoints follow aliases: when one moves, the version that it points at is looked up, loaded and tried, and answers as the
//! next generation of each route that follows it. One that may not be served, or can't be, leaves what answers as it is; why is
//! written down, and it is tried again.
//!
//! The events of the ledger say when to look; what to do is read from where aliases point now. So an event that is seen twice,
//! or an alias that moves twice at once, changes nothing twice, and what could not be done is done when it can be. Of several
//! servers on one database each looks by itself, and whoever is first changes the route: none stands for the others, which may
//! be able to load what it can't, and go on when it is gone.

use crate::deploy::{DeployError, Deployments, WantedVariant, WantedVersion, publish, spec};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use trueline_identity::{Authorized, Caller, Identity, IdentityError, Policy, Project, ReadProject};
use trueline_ledger::{EventFilter, Ledger, LedgerError, ProjectId, Tail};
use trueline_registry::{RegistryError, VersionKey};
use trueline_serving::{AliasMoved, Endpoint, ServingError, Variant};

/// How many indexes of the log are looked at in one go.
const STRETCH: i64 = 5_000;
const POLL: Duration = Duration::from_millis(200);
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// How long what could not be followed waits until it is tried again; twice as long each time.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// What may change where an alias points, `latest` included, or whether its version may be served.
const MOVING: &[&str] = &[
    "alias.set",
    "alias.deleted",
    // Where it points may have changed while a version was made ready.
    "endpoint.deployed",
    // By another server, which may have read the alias before it moved again.
    "endpoint.followed",
    "model.renamed",
    "release_policy.declared",
    "rollout.cancelled",
    "rollout.rolled_back",
    "version.approved",
    "version.decision_withdrawn",
    "version.deleted",
    "version.judged",
    "version.registered",
];

/// Why an endpoint does not answer by what an alias points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFollowed {
    /// Where the alias points.
    pub moved: AliasMoved,
    /// Why that does not answer.
    pub why: String,
}

/// Endpoints that do not answer by what their aliases point at. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Undone {
    all: Arc<Mutex<HashMap<(ProjectId, String), Waiting>>>,
}

#[derive(Clone, Debug)]
struct Waiting {
    what: NotFollowed,
    again: Instant,
    wait: Duration,
}

impl Undone {
    /// Why an endpoint of a project does not follow its alias; none when it does, or follows none.
    #[must_use]
    pub fn of(&self, project: &ProjectId, endpoint: &str) -> Option<NotFollowed> {
        self.all().get(&(project.clone(), endpoint.to_owned())).map(|waiting| waiting.what.clone())
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(ProjectId, String), Waiting>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.all().values().any(|waiting| waiting.again <= now)
    }

    /// Whether this is the time to try an endpoint: it did not fail before, its time has come, or `something` happened.
    fn wants(&self, key: &(ProjectId, String), now: Instant, something: bool) -> bool {
        self.all().get(key).is_none_or(|waiting| something || waiting.again <= now)
    }

    fn note(&self, key: (ProjectId, String), what: NotFollowed, now: Instant) {
        let mut all = self.all();
        let before = all.get(&key).filter(|before| before.what.moved == what.moved);
        let wait = before.map_or(FIRST_WAIT, |before| (before.wait * 2).min(LONGEST_WAIT));
        all.insert(key, Waiting { what, again: now + wait, wait });
    }

    fn done(&self, key: &(ProjectId, String)) {
        self.all().remove(key);
    }

    fn retain(&self, there: &[(ProjectId, String)]) {
        self.all().retain(|key, _| there.contains(key));
    }
}

/// A failure that leaves everything to be looked at again.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Serving(#[from] ServingError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What following needs.
#[derive(Clone, Debug)]
pub struct AliasFollower {
    /// Endpoints and versions.
    pub parts: Deployments,
    /// Where events are read.
    pub ledger: Ledger,
    /// Which projects there are.
    pub identity: Identity,
    /// Who may read them.
    pub policy: Policy,
}

impl AliasFollower {
    /// Has endpoints follow their aliases until `stop` says so.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut tail = None;
        loop {
            let wait = match self.step(&mut tail).await {
                Ok(true) => Duration::ZERO,
                Ok(false) => POLL,
                Err(error) => {
                    tracing::warn!(%error, "aliases can't be followed; trying again");
                    tail = None;
                    TRY_AGAIN
                }
            };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Looks where something happened, where the time has come to try again, or everywhere when it is not known yet what happened:
    /// where aliases point tells that alone. Whether there may be more events.
    async fn step(&self, tail: &mut Option<Tail>) -> Result<bool, FollowError> {
        let everywhere = tail.is_none();
        let tail = match tail {
            Some(tail) => tail,
            None => tail.insert(Tail::at_end(self.ledger.db().clone()).await?),
        };
        let next = tail.next_of(MOVING, STRETCH).await?;
        let events = next.as_ref().map(|(events, _)| events.as_slice()).unwrap_or_default();
        let touched: HashSet<&str> = events.iter().map(|event| event.project.as_str()).collect();
        if everywhere || !touched.is_empty() || self.parts.undone.is_due(Instant::now()) {
            self.look(|project| everywhere || touched.contains(project)).await?;
        }
        if let Some((_, until)) = next {
            tail.advance(until);
            return Ok(true);
        }
        Ok(false)
    }

    /// Looks at every endpoint that follows an alias; what was in vain before only where its time has come or something `touched`
    /// its project.
    async fn look(&self, touched: impl Fn(&str) -> bool) -> Result<(), FollowError> {
        let routed = self.parts.endpoints.routed().await?;
        let follows =
            |e: &Endpoint| e.route.as_ref().is_some_and(|r| r.variants.iter().any(|v| v.follows.is_some()));
        let following: Vec<_> = routed.into_iter().filter(|(_, e)| follows(e)).collect();
        let keys: Vec<_> = following.iter().map(|(p, e)| (p.clone(), e.name.to_string())).collect();
        self.parts.undone.retain(&keys);
        if following.is_empty() {
            return Ok(());
        }
        let projects = self.identity.projects().await?;
        for ((project, endpoint), key) in following.iter().zip(keys) {
            let Some(project) = projects.iter().find(|p| p.id == *project) else { continue };
            if self.parts.undone.wants(&key, Instant::now(), touched(project.id.as_str())) {
                self.follow(project, endpoint, key).await?;
            }
        }
        Ok(())
    }

    /// Brings one endpoint to where its aliases point, or notes why it stays.
    async fn follow(
        &self,
        project: &Project,
        endpoint: &Endpoint,
        key: (ProjectId, String),
    ) -> Result<(), FollowError> {
        let read = self.policy.authorize(&Caller::system("aliases"), &project.id)?;
        let before = endpoint.route.as_ref().map(|r| r.variants.as_slice()).unwrap_or_default();
        let mut variants = before.to_vec();
        let mut moved = None;
        for variant in &mut variants {
            let Some(one) = self.moved(&read, variant).await? else { continue };
            let found = match &one.to {
                Some(to) => self.taken(&read, to).await,
                None => Err(gone(&one.alias)),
            };
            match found {
                Ok(spec) => variant.spec = spec,
                Err(error) => return self.stay(project, endpoint, key, &one, &error).await,
            }
            moved.get_or_insert(one);
        }
        let Some(moved) = moved else {
            self.parts.undone.done(&key);
            return Ok(());
        };
        match self.change(project, endpoint, variants, &moved).await {
            // Where somebody else changed the route at that moment, the event of that has it looked at again.
            Ok(()) => {
                self.parts.undone.done(&key);
                Ok(())
            }
            Err(error) => self.stay(project, endpoint, key, &moved, &error).await,
        }
    }

    /// Where the alias of a variant points, when that is not what answers. A model that was renamed is found by its version.
    async fn moved(
        &self,
        read: &Authorized<ReadProject>,
        variant: &Variant,
    ) -> Result<Option<AliasMoved>, FollowError> {
        let Some(alias) = &variant.follows else { return Ok(None) };
        let registry = &self.parts.registry;
        let now = registry.versions_of_ids(read, vec![variant.spec.id.clone()]).await?;
        let model = now.get(&variant.spec.id).map_or(&variant.spec.model, |key| &key.model);
        let target = match registry.version_by_alias(read, model, alias).await {
            Ok(version) if version.id == variant.spec.id => return Ok(None),
            Ok(version) => Some(version.key),
            Err(RegistryError::Invalid(_) | RegistryError::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let named = format!("{model}@{alias}");
        let told = self.told(read.project(), &named).await?;
        let (event, moved_by) = told.map_or((None, None), |(event, by)| (Some(event), Some(by)));
        let to = target.map(|key| key.to_string());
        Ok(Some(AliasMoved { alias: named, from: variant.spec.name(), to, event, moved_by }))
    }

    /// The newest event of an alias, and who made it.
    async fn told(&self, project: &ProjectId, alias: &str) -> Result<Option<(String, String)>, LedgerError> {
        let filter = EventFilter {
            projects: Some(vec![project.to_string()]),
            resource_kind: Some("alias".to_owned()),
            resource_id: Some(alias.to_owned()),
            ..EventFilter::default()
        };
        let page = self.ledger.db().read(move |tx| filter.page(tx, 1)).await?;
        Ok(page.events.into_iter().next().map(|event| (event.id, event.actor)))
    }

    /// The files of a version, if an endpoint may take it.
    async fn taken(
        &self,
        read: &Authorized<ReadProject>,
        version: &str,
    ) -> Result<trueline_serving::ModelSpec, DeployError> {
        let (model, number) = version.rsplit_once('/').unwrap_or((version, ""));
        let key = VersionKey::parse(model, number)?;
        let want = WantedVariant {
            model: key.model.clone(),
            version: WantedVersion::Number(key.version.to_string()),
            weight: 1,
            follow: false,
        };
        spec(&self.parts.registry, read, &want).await
    }

    /// Loads and tries, writes down, swaps. Not if the route is another one by then, as when another server was first.
    async fn change(
        &self,
        project: &Project,
        endpoint: &Endpoint,
        variants: Vec<Variant>,
        moved: &AliasMoved,
    ) -> Result<(), DeployError> {
        self.parts.plane.prepare(&project.id, &variants).await?;
        let followed = self.parts.endpoints.follow(&project.id, endpoint, variants, moved).await?;
        let Some(endpoint) = followed else { return Ok(()) };
        publish(&self.parts.plane, project, &endpoint).await?;
        tracing::info!(endpoint = %endpoint.name, reason = moved.words(), "an endpoint followed an alias");
        Ok(())
    }

    /// Leaves an endpoint as it is, and says why.
    async fn stay(
        &self,
        project: &Project,
        endpoint: &Endpoint,
        key: (ProjectId, String),
        moved: &AliasMoved,
        error: &DeployError,
    ) -> Result<(), FollowError> {
        let why = error.to_string();
        let what = NotFollowed { moved: moved.clone(), why: why.clone() };
        if self.parts.undone.of(&key.0, &key.1).as_ref() != Some(&what) {
            tracing::warn!(endpoint = %endpoint.name, alias = moved.alias, why, "an alias is not followed");
        }
        self.parts.undone.note(key, what, Instant::now());
        Ok(self.parts.endpoints.not_followed(&project.id, endpoint, moved, &why).await?)
    }
}

fn gone(alias: &str) -> DeployError {
    DeployError::Registry(RegistryError::Invalid(format!(
        "{alias} points at no version any more: point it at one, or deploy a version by its number"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(version: &str) -> NotFollowed {
        let moved = AliasMoved {
            alias: "delays@champion".into(),
            from: "delays/1".into(),
            to: Some(version.into()),
            event: None,
            moved_by: None,
        };
        NotFollowed { moved, why: "it can't be loaded".into() }
    }

    #[test]
    fn what_could_not_be_followed_waits_ever_longer_until_something_happens_or_the_alias_moves_on() {
        let (undone, key, begin) =
            (Undone::default(), (ProjectId::server(), "delays".to_owned()), Instant::now());
        assert!(undone.wants(&key, begin, false));
        let mut now = begin;
        for wait in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            undone.note(key.clone(), to("delays/2"), now);
            now += Duration::from_secs(wait);
            assert!(!undone.is_due(now - Duration::from_millis(1)), "{wait}");
            assert!(!undone.wants(&key, now - Duration::from_millis(1), false));
            assert!(undone.wants(&key, now - Duration::from_millis(1), true));
            assert!(undone.is_due(now) && undone.wants(&key, now, false), "{wait}");
        }
        undone.note(key.clone(), to("delays/3"), now);
        assert!(undone.is_due(now + FIRST_WAIT), "another version is tried soon");
        assert_eq!(undone.of(&key.0, &key.1), Some(to("delays/3")));
        undone.retain(&[]);
        assert_eq!(undone.of(&key.0, &key.1), None);
    }
}
