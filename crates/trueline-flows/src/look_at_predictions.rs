//! People go through what an endpoint was asked and answered, from the newest back. One look costs so much and no more: it
//! says how far it came and how to go on.

use crate::{TraceError, Tracer};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trueline_identity::{Authorized, ReadProject};
use trueline_predictions::{Cursor, Found, Look, Outcome, PredictionId, RecordFilter};
use trueline_serving::EndpointName;

/// Records that one look reads at the most, wanted or not.
pub const MOST_LOOKED_AT: u64 = 100_000;
/// A look ends after so long, so that a page comes and nobody keeps a disk busy for long.
const LONGEST_LOOK: Duration = Duration::from_millis(500);

/// What is looked for, as the query of an address says it. What is empty is not said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PredictionQuery {
    /// An id.
    pub id: String,
    /// The key of a caller.
    pub key: String,
    /// Requests that came from then on: RFC 3339, or without a zone as UTC.
    pub from: String,
    /// Requests that came before then.
    pub to: String,
    /// `answered` or `failed`.
    pub outcome: String,
    /// The version that was to answer, as `model/3`; or a model.
    pub version: String,
    /// Where to go on.
    pub cursor: String,
}

impl PredictionQuery {
    fn look(&self, limit: usize) -> Result<Look, TraceError> {
        let said = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
        let (model, version) = match said(&self.version) {
            None => (None, None),
            Some(text) => match text.rsplit_once('/') {
                Some((model, version)) => (Some(model.to_owned()), Some(version.to_owned())),
                None => (Some(text), None),
            },
        };
        let read = |text: &str, read: fn(&str) -> Result<_, _>| said(text).map(|t| read(&t)).transpose();
        let (from, to) = (read(&self.from, millis)?, read(&self.to, millis)?);
        let within = from.unwrap_or(i64::MIN)..to.unwrap_or(i64::MAX);
        let filter = RecordFilter {
            id: said(&self.id).map(|t| id(&t)).transpose()?,
            key: said(&self.key),
            received_ms: (from.is_some() || to.is_some()).then_some(within),
            event_time_ms: None,
            outcome: said(&self.outcome).map(|t| outcome(&t)).transpose()?,
            model,
            version,
        };
        let before = said(&self.cursor).map(|t| cursor(&t)).transpose()?;
        let until = Some(Instant::now() + LONGEST_LOOK);
        Ok(Look { filter, before, limit, most: MOST_LOOKED_AT, until })
    }
}

fn refused(text: &str, what: &str) -> TraceError {
    TraceError::Query(format!("`{text}` is {what}"))
}

fn id(text: &str) -> Result<PredictionId, TraceError> {
    PredictionId::parse(text)
        .ok_or_else(|| refused(text, "no prediction id: those have 32 hexadecimal digits"))
}

fn outcome(text: &str) -> Result<Outcome, TraceError> {
    match text {
        "answered" => Ok(Outcome::Answered),
        "failed" => Ok(Outcome::Failed),
        _ => Err(refused(text, "no outcome of a prediction: say `answered` or `failed`")),
    }
}

fn cursor(text: &str) -> Result<Cursor, TraceError> {
    let told = "no place in a log of predictions: take the cursor of the page before, or leave it out";
    Cursor::parse(text).ok_or_else(|| refused(text, told))
}

fn millis(text: &str) -> Result<i64, TraceError> {
    let without_zone = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok();
    let read = text.parse::<Timestamp>().ok().or_else(|| Some(without_zone()?.timestamp()));
    let told = "no time: write it as 2026-01-31T12:00:00Z; without a zone it is UTC";
    read.map(Timestamp::as_millisecond).ok_or_else(|| refused(text, told))
}

impl Tracer {
    /// Predictions of an endpoint as they were logged, the newest first, up to `limit` of them.
    ///
    /// # Errors
    /// Without the endpoint; a query that can't be read; what the log says.
    pub async fn predictions(
        &self,
        leave: &Authorized<ReadProject>,
        endpoint: &EndpointName,
        query: &PredictionQuery,
        limit: usize,
    ) -> Result<Found, TraceError> {
        let look = query.look(limit)?;
        self.deployments.endpoints.get(leave, endpoint).await?;
        let (log, project) = (Arc::clone(&self.log), leave.project().to_string());
        let endpoint = endpoint.to_string();
        let read = move || log.look(&project, &endpoint, &look);
        Ok(tokio::task::spawn_blocking(read).await.map_err(|e| TraceError::Thread(e.to_string()))??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(change: impl FnOnce(&mut PredictionQuery)) -> Result<Look, TraceError> {
        let mut query = PredictionQuery::default();
        change(&mut query);
        query.look(10)
    }

    #[test]
    fn nothing_said_is_everything_wanted_within_bounds() {
        let look = query(|q| q.key = "  ".into()).unwrap();
        assert_eq!((look.filter, look.before), (RecordFilter::default(), None));
        assert_eq!(look.most, MOST_LOOKED_AT);
        assert!(look.until.is_some());
    }

    #[test]
    fn what_is_said_is_read() {
        let all = |q: &mut PredictionQuery| {
            q.from = "2026-01-31T12:00".into();
            q.to = "2026-01-31T14:00:00+01:00".into();
            q.outcome = "failed".into();
            q.version = "a/b/3".into();
            q.key = " N7 ".into();
        };
        let filter = query(all).unwrap().filter;
        assert_eq!(filter.received_ms, Some(1_769_860_800_000..1_769_864_400_000));
        assert_eq!(filter.outcome, Some(Outcome::Failed));
        assert_eq!((filter.model.as_deref(), filter.version.as_deref()), (Some("a/b"), Some("3")));
        assert_eq!(filter.key.as_deref(), Some("N7"));
        let filter = query(|q| q.version = "delays".into()).unwrap().filter;
        assert_eq!((filter.model.as_deref(), filter.version), (Some("delays"), None));
        assert_eq!(
            query(|q| q.from = "2026-01-31".into()).unwrap().filter.received_ms.unwrap().end,
            i64::MAX
        );
    }

    #[test]
    fn what_can_not_be_read_is_named() {
        let wrong: [fn(&mut PredictionQuery); 5] = [
            |q| q.id = "wrong".into(),
            |q| q.from = "wrong".into(),
            |q| q.to = "wrong".into(),
            |q| q.outcome = "wrong".into(),
            |q| q.cursor = "wrong".into(),
        ];
        for change in wrong {
            assert!(
                matches!(query(change), Err(TraceError::Query(told)) if told.starts_with("`wrong` is no "))
            );
        }
    }
}
