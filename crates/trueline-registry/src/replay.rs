//! The registry's state as the ledger tells it: versions and aliases replayed from their events and compared with
//! the rows, for `trueline ledger verify --state`.

use crate::RegistryError;
use crate::import::IMPORTED;
use crate::release_replay::Releases;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use trueline_db::Tx;
use trueline_ledger::EventRow;

/// A row that is not what the ledger says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Disagreement {
    /// Which row: table and key.
    pub row: String,
    /// What the events say.
    pub ledger: String,
    /// What the row says.
    pub database: String,
}

/// What a comparison of rows with the ledger came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Rows that are not what the ledger says.
    pub disagreements: Vec<Disagreement>,
    /// Rows of which the ledger can't say what should be in them, because payloads were erased.
    pub unknowable: u64,
}

impl Compared {
    /// Both comparisons together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.disagreements.extend(other.disagreements);
        self.unknowable += other.unknowable;
        self
    }
}

/// Project and name.
pub(crate) type ModelKey = (String, String);
/// A model's version.
pub(crate) type VersionKey = (ModelKey, i64);
type AliasKey = (ModelKey, String);

/// Digest of a version's manifest and its source.
type Content = (String, String);

/// What the events say so far. `None` stands for what an erased payload said.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    versions: BTreeMap<VersionKey, Option<Content>>,
    aliases: BTreeMap<AliasKey, Option<i64>>,
    /// Projects in which a model was given a name that an erased payload said.
    lost_names: BTreeSet<String>,
    /// Policies, gate runs and decisions.
    releases: Releases,
}

pub(crate) fn text(payload: &Json, field: &str) -> String {
    payload[field].as_str().unwrap_or_default().to_owned()
}

/// `model/7` as the header of an event names a version. A model's name has no slash.
pub(crate) fn version_key(event: &EventRow) -> Option<VersionKey> {
    let (model, number) = event.resource.id.rsplit_once('/')?;
    Some(((event.project.clone(), model.to_owned()), number.parse().ok()?))
}

/// `model@champion` as the header of an event names an alias. An alias has no at sign.
fn alias_key(event: &EventRow) -> Option<AliasKey> {
    let (model, alias) = event.resource.id.rsplit_once('@')?;
    Some(((event.project.clone(), model.to_owned()), alias.to_owned()))
}

impl Replay {
    /// The actions whose events are replayed.
    pub const ACTIONS: &[&str] = &[
        "version.registered",
        "version.deleted",
        IMPORTED,
        "alias.set",
        "alias.deleted",
        "model.renamed",
        "model.deleted",
        "release_policy.declared",
        "version.judged",
        "version.approved",
        "version.rejected",
        "version.decision_withdrawn",
    ];

    /// Takes in the next event, in the order of commit.
    pub fn apply(&mut self, event: &EventRow) {
        let payload = event.payload.as_ref();
        self.releases.apply(event);
        match event.action.as_str() {
            "version.registered" => {
                let told = payload.map(|p| (text(p, "manifest_digest"), text(p, "source")));
                self.versions.extend(version_key(event).map(|key| (key, told)));
            }
            "version.deleted" => {
                if let Some(key) = version_key(event) {
                    self.versions.remove(&key);
                    self.aliases.retain(|(model, _), to| *model != key.0 || *to != Some(key.1));
                }
            }
            IMPORTED => self.import(event),
            "alias.set" => {
                let told = payload.map(|p| p["after"].as_i64().unwrap_or_default());
                self.aliases.extend(alias_key(event).map(|key| (key, told)));
            }
            "alias.deleted" => {
                self.aliases.retain(|key, _| alias_key(event).as_ref() != Some(key));
            }
            "model.renamed" => self.rename(event),
            "model.deleted" => self.forget(&(event.project.clone(), event.resource.id.clone())),
            _ => {}
        }
    }

    fn import(&mut self, event: &EventRow) {
        let model: ModelKey = (event.project.clone(), event.resource.id.clone());
        let Some(payload) = &event.payload else {
            self.lost_names.insert(event.project.clone());
            return;
        };
        for told in payload["versions"].as_array().into_iter().flatten() {
            let content = (text(told, "manifest_digest"), text(told, "source"));
            self.versions
                .insert((model.clone(), told["version"].as_i64().unwrap_or_default()), Some(content));
        }
        for told in payload["aliases"].as_array().into_iter().flatten() {
            self.aliases.insert((model.clone(), text(told, "alias")), told["version"].as_i64());
        }
    }

    fn forget(&mut self, model: &ModelKey) {
        self.versions.retain(|(m, _), _| m != model);
        self.aliases.retain(|(m, _), _| m != model);
    }

    fn rename(&mut self, event: &EventRow) {
        let old: ModelKey = (event.project.clone(), event.resource.id.clone());
        let Some(payload) = &event.payload else {
            self.forget(&old);
            self.lost_names.insert(event.project.clone());
            return;
        };
        let new: ModelKey = (event.project.clone(), text(payload, "after"));
        let renamed = |m: ModelKey| if m == old { new.clone() } else { m };
        let versions = std::mem::take(&mut self.versions);
        self.versions = versions.into_iter().map(|((m, n), v)| ((renamed(m), n), v)).collect();
        let aliases = std::mem::take(&mut self.aliases);
        self.aliases = aliases.into_iter().map(|((m, a), n)| ((renamed(m), a), n)).collect();
    }

    /// Compares what the events say with the rows.
    ///
    /// # Errors
    /// What the database says.
    pub fn compare(&self, tx: &mut Tx<'_>) -> Result<Compared, RegistryError> {
        let mut out = Compared::default();
        let mut found = BTreeMap::new();
        let rows = tx.query(
            "SELECT project, name, version, manifest_digest, source FROM model_versions WHERE lifecycle = 'active'",
            &[],
        )?;
        for mut row in rows {
            let key: VersionKey = ((row.take(0)?, row.take(1)?), row.take(2)?);
            let digest = row.take::<Option<String>>(3)?.unwrap_or_default();
            found.insert(key, (digest, row.take::<String>(4)?));
        }
        let name = |((project, model), number): &VersionKey| format!("version {project}: {model}/{number}");
        self.compare_rows(&self.versions, &found, name, |(model, _)| model, &mut out);
        let mut found = BTreeMap::new();
        for mut row in tx.query("SELECT project, name, alias, version FROM model_aliases", &[])? {
            let key: AliasKey = ((row.take(0)?, row.take(1)?), row.take(2)?);
            found.insert(key, row.take::<i64>(3)?);
        }
        let name = |((project, model), alias): &AliasKey| format!("alias {project}: {model}@{alias}");
        self.compare_rows(&self.aliases, &found, name, |(model, _)| model, &mut out);
        self.releases.compare(tx, self, &mut out)?;
        Ok(out)
    }

    pub(crate) fn compare_rows<K: Ord, V: PartialEq + Debug>(
        &self,
        ledger: &BTreeMap<K, Option<V>>,
        rows: &BTreeMap<K, V>,
        name: impl Fn(&K) -> String,
        model: impl Fn(&K) -> &ModelKey,
        out: &mut Compared,
    ) {
        let show = |v: Option<&V>| v.map_or_else(|| "missing".to_owned(), |v| format!("{v:?}"));
        let keys: BTreeSet<&K> = ledger.keys().chain(rows.keys()).collect();
        for key in keys {
            let (told, found) = (ledger.get(key), rows.get(key));
            let lost = match told {
                Some(told) => told.is_none(),
                None => self.lost_names.contains(&model(key).0),
            };
            let told = told.and_then(Option::as_ref);
            if lost {
                out.unknowable += 1;
            } else if told != found {
                let (row, ledger, database) = (name(key), show(told), show(found));
                out.disagreements.push(Disagreement { row, ledger, database });
            }
        }
    }
}
