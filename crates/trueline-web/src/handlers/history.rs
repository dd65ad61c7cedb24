//! Who set a tag to what, and when: read from the events of the thing that has the tags.

use super::{Failure, Visitor, Web, timestamp};
use crate::links::Links;
use crate::parts::{TagChange, TagRow};
use serde_json::Value;
use std::collections::BTreeMap;
use trueline_ledger::{EventFilter, EventRow};
use trueline_tracking::KeyValue;

/// The tag that holds a note.
const NOTE: &str = "mlflow.note.content";
/// Events of one thing that are read: a client that sets a tag all the time has more than anybody reads.
const EVENTS: u32 = 2000;
/// The actions of experiments, runs and logged models that say something of tags.
const ACTIONS: [&str; 9] = [
    "experiment.created",
    "experiment.tagged",
    "experiment.untagged",
    "run.created",
    "run.logged",
    "run.untagged",
    "logged_model.created",
    "logged_model.tagged",
    "logged_model.untagged",
];

/// The changes of each tag, the newest first.
pub(super) type History = BTreeMap<String, Vec<TagChange>>;

/// What an event says of tags: each key with its value, or none where it was taken away.
fn told(action: &str, payload: &Value) -> Vec<(String, Option<String>)> {
    let text = |value: &Value, field: &str| value[field].as_str().map(ToOwned::to_owned);
    if action.ends_with(".untagged") {
        return text(payload, "key").map(|key| (key, None)).into_iter().collect();
    }
    let tags = match payload {
        Value::Array(tags) => tags,
        other => match other["tags"].as_array() {
            Some(tags) => tags,
            None => return text(other, "key").map(|key| (key, text(other, "value"))).into_iter().collect(),
        },
    };
    tags.iter().filter_map(|tag| Some((text(tag, "key")?, text(tag, "value")))).collect()
}

fn changes(events: &[EventRow], to: &Links) -> History {
    let mut history = History::new();
    for event in events {
        let Some(payload) = &event.payload else { continue };
        for (key, value) in told(&event.action, payload) {
            history.entry(key).or_default().push(TagChange {
                value,
                by: crate::words::person(&event.actor).to_owned(),
                at: timestamp(event.at_ms),
                event: to.event_by_id(&event.id),
            });
        }
    }
    history.values_mut().for_each(|changes| *changes = without_repeats(std::mem::take(changes)));
    history
}

/// Clients set all tags again and again: what does not change a value is no change.
fn without_repeats(newest_first: Vec<TagChange>) -> Vec<TagChange> {
    let mut kept: Vec<TagChange> = Vec::with_capacity(newest_first.len());
    for change in newest_first.into_iter().rev() {
        if kept.last().is_none_or(|last| last.value != change.value) {
            kept.push(change);
        }
    }
    kept.reverse();
    kept
}

/// The history of the tags of a thing; empty for who may not read the ledger.
pub(super) async fn of(
    app: &Web,
    visitor: &Visitor,
    to: &Links,
    kind: &str,
    id: &str,
) -> Result<History, Failure> {
    let project = visitor.session.project().id.to_string();
    match visitor.session.readable_ledgers() {
        Ok(None) => {}
        Ok(Some(projects)) if projects.contains(&project) => {}
        _ => return Ok(History::new()),
    }
    let filter = EventFilter {
        projects: Some(vec![project]),
        actions: Some(ACTIONS.map(ToOwned::to_owned).to_vec()),
        resource_kind: Some(kind.to_owned()),
        resource_id: Some(id.to_owned()),
        ..EventFilter::default()
    };
    let found = app.ledger.db().read(move |tx| filter.page(tx, EVENTS)).await?;
    Ok(changes(&found.events, to))
}

/// Tags as rows, each with its history: the note, and the others that are `shown`; those that were taken away come last.
pub(super) fn rows(
    tags: &[KeyValue],
    mut history: History,
    shown: impl Fn(&str) -> bool,
) -> (Option<TagRow>, Vec<TagRow>) {
    let now: BTreeMap<&str, &str> = tags.iter().map(|t| (t.key.as_str(), t.value.as_str())).collect();
    let mut row = |key: &str| TagRow {
        key: key.to_owned(),
        value: now.get(key).map(|value| (*value).to_owned()),
        history: history.remove(key).unwrap_or_default(),
    };
    let note = Some(row(NOTE)).filter(|note| note.value.is_some() || !note.history.is_empty());
    let keys = now.keys().copied().filter(|key| *key != NOTE && shown(key));
    let mut rows: Vec<TagRow> = keys.map(&mut row).collect();
    let gone = history.into_iter().filter(|(key, _)| !now.contains_key(key.as_str()) && shown(key));
    rows.extend(gone.map(|(key, history)| TagRow { key, value: None, history }));
    (note, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::json;

    #[test]
    fn events_tell_of_tags_in_several_forms() {
        let set = |key: &str, value: &str| vec![(key.to_owned(), Some(value.to_owned()))];
        let tag = json!({ "key": "team", "value": "a" });
        assert_eq!(
            told("run.logged", &json!({ "params": [], "tags": [tag], "points": 0 })),
            set("team", "a")
        );
        assert_eq!(told("run.created", &json!({ "name": "n", "tags": [tag] })), set("team", "a"));
        assert_eq!(told("experiment.tagged", &tag), set("team", "a"));
        assert_eq!(told("experiment.tagged", &json!([tag])), set("team", "a"));
        assert_eq!(told("run.untagged", &json!({ "key": "team" })), [("team".to_owned(), None)]);
        assert!(told("run.logged", &json!({ "params": [{ "key": "p", "value": "1" }] })).is_empty());
    }

    #[test]
    fn what_sets_the_same_value_again_is_no_change() {
        let change = |value: Option<&str>, second: i64| TagChange {
            value: value.map(ToOwned::to_owned),
            by: "ann".to_owned(),
            at: Timestamp::from_second(second).unwrap(),
            event: String::new(),
        };
        let all = [
            change(Some("b"), 5),
            change(Some("b"), 4),
            change(None, 3),
            change(Some("a"), 2),
            change(Some("a"), 1),
        ];
        let kept = without_repeats(all.to_vec());
        let seconds: Vec<i64> = kept.iter().map(|c| c.at.as_second()).collect();
        assert_eq!(seconds, [4, 3, 1]);
    }

    #[test]
    fn a_tag_that_was_taken_away_keeps_its_history() {
        let gone =
            TagChange { value: None, by: "ann".into(), at: Timestamp::UNIX_EPOCH, event: String::new() };
        let history = History::from([("old".to_owned(), vec![gone]), ("mlflow.user".to_owned(), vec![])]);
        let tags = [KeyValue::new("team", "a"), KeyValue::new(NOTE, "n"), KeyValue::new("mlflow.x", "1")];
        let (note, rows) = rows(&tags, history, |key| !key.starts_with("mlflow."));
        assert_eq!(note.unwrap().value.as_deref(), Some("n"));
        let keys: Vec<(&str, Option<&str>)> =
            rows.iter().map(|r| (r.key.as_str(), r.value.as_deref())).collect();
        assert_eq!(keys, [("team", Some("a")), ("old", None)]);
    }
}
