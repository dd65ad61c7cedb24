//! The registry's state as the ledger tells it: versions and aliases replayed from their events and compared with
//! the rows, for `trueline ledger verify --state`.

use crate::RegistryError;
use serde_json::Value as Json;
use std::collections::BTreeMap;
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

type ModelKey = (String, String);

/// What the events say so far.
#[derive(Debug, Default)]
struct State {
    /// By model and number: digest of the manifest and source.
    versions: BTreeMap<(ModelKey, i64), (String, String)>,
    /// By model and alias: the number.
    aliases: BTreeMap<(ModelKey, String), i64>,
}

fn text(payload: &Json, field: &str) -> String {
    payload[field].as_str().unwrap_or_default().to_owned()
}

impl State {
    fn apply(&mut self, event: &EventRow) {
        let Some(payload) = &event.payload else { return };
        let model: ModelKey = (event.project.clone(), text(payload, "model"));
        let number = payload["version"].as_i64().unwrap_or_default();
        match event.action.as_str() {
            "version.registered" => {
                let told = (text(payload, "manifest_digest"), text(payload, "source"));
                self.versions.insert((model, number), told);
            }
            "version.deleted" => {
                self.versions.remove(&(model.clone(), number));
                self.aliases.retain(|(m, _), n| *m != model || *n != number);
            }
            "alias.set" => {
                let number = payload["after"].as_i64().unwrap_or_default();
                self.aliases.insert((model, text(payload, "alias")), number);
            }
            "alias.deleted" => {
                self.aliases.remove(&(model, text(payload, "alias")));
            }
            "model.renamed" => self.rename(&event.project, payload),
            "model.deleted" => {
                let gone: ModelKey = (event.project.clone(), event.resource.id.clone());
                self.versions.retain(|(m, _), _| *m != gone);
                self.aliases.retain(|(m, _), _| *m != gone);
            }
            _ => {}
        }
    }

    fn rename(&mut self, project: &str, payload: &Json) {
        let old: ModelKey = (project.to_owned(), text(payload, "before"));
        let new: ModelKey = (project.to_owned(), text(payload, "after"));
        let renamed = |m: ModelKey| if m == old { new.clone() } else { m };
        let versions = std::mem::take(&mut self.versions);
        self.versions = versions.into_iter().map(|((m, n), v)| ((renamed(m), n), v)).collect();
        let aliases = std::mem::take(&mut self.aliases);
        self.aliases = aliases.into_iter().map(|((m, a), n)| ((renamed(m), a), n)).collect();
    }
}

/// Replays the registry's events, which come in order, and compares the result with the rows.
///
/// # Errors
/// What the database says.
pub fn replay<'e>(
    tx: &mut Tx<'_>,
    events: impl Iterator<Item = &'e EventRow>,
) -> Result<Vec<Disagreement>, RegistryError> {
    let mut state = State::default();
    events.for_each(|event| state.apply(event));
    let mut found = BTreeMap::new();
    let rows = tx.query(
        "SELECT project, name, version, manifest_digest, source FROM model_versions WHERE lifecycle = 'active'",
        &[],
    )?;
    for mut row in rows {
        let key: (ModelKey, i64) = ((row.take(0)?, row.take(1)?), row.take(2)?);
        let digest = row.take::<Option<String>>(3)?.unwrap_or_default();
        found.insert(key, (digest, row.take::<String>(4)?));
    }
    let mut out = compare("version", &state.versions, &found, |((project, model), number)| {
        format!("{project}: {model}/{number}")
    });
    let mut found = BTreeMap::new();
    for mut row in tx.query("SELECT project, name, alias, version FROM model_aliases", &[])? {
        let key: (ModelKey, String) = ((row.take(0)?, row.take(1)?), row.take(2)?);
        found.insert(key, row.take::<i64>(3)?);
    }
    out.extend(compare("alias", &state.aliases, &found, |((project, model), alias)| {
        format!("{project}: {model}@{alias}")
    }));
    Ok(out)
}

fn compare<K: Ord, V: PartialEq + std::fmt::Debug>(
    kind: &str,
    ledger: &BTreeMap<K, V>,
    rows: &BTreeMap<K, V>,
    name: impl Fn(&K) -> String,
) -> Vec<Disagreement> {
    let show = |v: Option<&V>| v.map_or_else(|| "missing".to_owned(), |v| format!("{v:?}"));
    let keys: std::collections::BTreeSet<&K> = ledger.keys().chain(rows.keys()).collect();
    keys.into_iter()
        .filter(|k| ledger.get(k) != rows.get(k))
        .map(|k| Disagreement {
            row: format!("{kind} {}", name(k)),
            ledger: show(ledger.get(k)),
            database: show(rows.get(k)),
        })
        .collect()
}
