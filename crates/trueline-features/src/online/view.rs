//! What the online store must know of a view: enough to check a key and to read a row without the database.

use super::{Cell, KeyPart, Keys, OnlineError, OnlineRow};
use crate::{FeatureView, Ttl, ViewRef};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Names that any push may use for the times, whatever the view's columns are called.
const EVENT_TIME: &str = "event_timestamp";
const CREATED: &str = "created_timestamp";

/// A version of a view in the online store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnlineView {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: i64,
    /// The columns of its key, in the order of their names.
    pub join_keys: Vec<String>,
    /// The columns of its values, in their order.
    pub features: Vec<String>,
    /// The column of the event time.
    pub timestamp: Option<String>,
    /// The column of the time of writing.
    pub created: Option<String>,
    /// How long a row stays true.
    pub ttl: Option<Ttl>,
}

impl OnlineView {
    /// The part of a view that matters online.
    #[must_use]
    pub fn of(view: &FeatureView) -> Self {
        let mut join_keys = view.join_keys.clone();
        join_keys.sort();
        Self {
            name: view.spec.name.clone(),
            version: view.version,
            join_keys,
            features: view.spec.features.clone(),
            timestamp: view.spec.timestamp.clone(),
            created: view.spec.created.clone(),
            ttl: view.spec.ttl,
        }
    }

    /// Its name with its version.
    #[must_use]
    pub fn reference(&self) -> ViewRef {
        ViewRef { name: self.name.clone(), version: Some(self.version) }
    }

    pub(super) fn check(&self, keys: &Keys) -> Result<(), OnlineError> {
        if keys.columns().eq(self.join_keys.iter().map(String::as_str)) {
            return Ok(());
        }
        let given: Vec<&str> = keys.columns().collect();
        Err(OnlineError::Invalid(format!(
            "view {} is read by {}, not by {}",
            self.name,
            self.join_keys.join(", "),
            if given.is_empty() { "nothing".to_owned() } else { given.join(", ") }
        )))
    }

    /// Reads a row of JSON: its keys, its features, its times. A feature that is not named is missing; `now_us` is the
    /// event time of a view without one.
    ///
    /// # Errors
    /// [`OnlineError::Invalid`], naming the field.
    pub fn row_from_json(
        &self,
        row: &Map<String, Value>,
        now_us: i64,
    ) -> Result<(Keys, OnlineRow), OnlineError> {
        let refuse = |told: String| OnlineError::Invalid(format!("view {}: {told}", self.name));
        let is_time = |name: &str| {
            [EVENT_TIME, CREATED].contains(&name)
                || self.timestamp.as_deref() == Some(name)
                || self.created.as_deref() == Some(name)
        };
        let known = |n: &str| {
            is_time(n) || [&self.join_keys, &self.features].iter().any(|l| l.iter().any(|k| k == n))
        };
        if let Some(stray) = row.keys().find(|n| !known(n)) {
            return Err(refuse(format!("it has no column `{stray}`")));
        }
        let mut keys = Vec::new();
        for name in &self.join_keys {
            let part = row.get(name).and_then(KeyPart::from_json);
            keys.push((name.clone(), part.ok_or_else(|| refuse(format!("a row lacks its key `{name}`")))?));
        }
        let mut values = Vec::new();
        for name in &self.features {
            let value = Cell::from_json(row.get(name).unwrap_or(&Value::Null));
            values.push(value.ok_or_else(|| refuse(format!("`{name}` is a list or an object")))?);
        }
        let time = |column: &Option<String>, alias: &str| {
            let named = column.as_deref().and_then(|c| row.get(c)).or_else(|| row.get(alias));
            named.filter(|v| !v.is_null()).map(|v| time_of(v).map_err(refuse)).transpose()
        };
        let event_us = match (time(&self.timestamp, EVENT_TIME)?, &self.timestamp) {
            (Some(at), _) => at,
            (None, None) => now_us,
            (None, Some(column)) => {
                return Err(refuse(format!("a row lacks its time `{column}` (or `{EVENT_TIME}`)")));
            }
        };
        let created_us = time(&self.created, CREATED)?;
        Ok((Keys::new(keys), OnlineRow { event_us, created_us, values }))
    }
}

/// A time as RFC 3339, or without a zone as UTC, in microseconds since 1970.
fn time_of(value: &Value) -> Result<i64, String> {
    let text = value.as_str().ok_or_else(|| format!("{value} is no time: write it as RFC 3339"))?;
    let at = text.parse::<Timestamp>().ok().or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    let at = at.ok_or_else(|| format!("`{text}` is no time: write it as RFC 3339, 2013-07-01T12:00:00Z"))?;
    Ok(at.as_microsecond())
}
