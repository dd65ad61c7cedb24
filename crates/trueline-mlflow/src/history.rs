//! Histories of one metric over many runs, which MLflow's charts ask for: whole (`get-history-bulk`), or a sample of each
//! (`get-history-bulk-interval`).

use crate::error::WireError;
use crate::fields::{Fields, invalid_parameter, missing};
use crate::{App, Caller, Mlflow, render, reply};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use std::fmt::Write;
use trueline_flows::Session;
use trueline_tracking::{MetricPoint, MetricQuery, RunId, TrackingError};

type Answer = Result<Response, WireError>;

const MOST_RUNS: usize = 100;
/// The most points of whole histories.
const MOST_POINTS: usize = 25_000;
/// The most points of one run in a sample.
const MOST_OF_RUN: i64 = 2500;

/// `get-history-bulk`: by run, then by time, step and value.
pub(crate) async fn bulk(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    let mut runs = fields.texts("run_id")?;
    if runs.is_empty() {
        return Err(WireError::invalid("GetMetricHistoryBulk request must specify at least one run_id."));
    }
    if runs.len() > MOST_RUNS {
        return Err(WireError::invalid(format!(
            "GetMetricHistoryBulk request cannot specify more than {MOST_RUNS} run_ids. Received {} run_ids.",
            runs.len()
        )));
    }
    let Some(key) = fields.text("metric_key")? else {
        return Err(WireError::invalid("GetMetricHistoryBulk request must specify a metric_key."));
    };
    let asked = fields.integer("max_results")?.and_then(|n| usize::try_from(n).ok());
    let most = asked.unwrap_or(MOST_POINTS).min(MOST_POINTS);
    runs.sort_unstable();
    runs.dedup();
    let leave = session.leave()?;
    let (mut out, mut left) = (String::from("{\"metrics\":["), most);
    for run in runs {
        if left == 0 {
            break;
        }
        let query = MetricQuery { offset: 0, limit: Some(left as u64) };
        match app.tracking.metric_history(&leave, &RunId::new(&run), key.clone(), query).await {
            Ok(points) => {
                left -= points.len();
                points.iter().for_each(|point| write_point(&mut out, &key, point, &run));
            }
            // A run that is not there has no points.
            Err(TrackingError::NotFound(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    out.push_str("]}\n");
    Ok(([(header::CONTENT_TYPE, "application/json")], out).into_response())
}

/// As MLflow writes it: NaN bare, which Python and MLflow's pages read, though JSON has no such number.
fn write_point(out: &mut String, key: &str, point: &MetricPoint, run: &str) {
    let value = if point.value.is_nan() { "NaN".to_owned() } else { json!(point.value).to_string() };
    let comma = if out.ends_with('[') { "" } else { "," };
    let (key, run) = (json!(key), json!(run));
    let (at, step) = (point.at_ms, point.step);
    // Writing to a text does not fail.
    let _ = write!(
        out,
        "{comma}{{\"key\":{key},\"run_id\":{run},\"step\":{step},\"timestamp\":{at},\"value\":{value}}}"
    );
}

/// `get-history-bulk-interval`.
pub(crate) async fn sampled(State(app): App, Caller(session): Caller, fields: Fields) -> Answer {
    Ok(reply::json(&sample(&app, &session, &fields).await?))
}

/// A sample of each run's points, evenly by their place in the order of steps.
pub(crate) async fn sample(app: &Mlflow, session: &Session, fields: &Fields) -> Result<Json, WireError> {
    let runs: Vec<RunId> = fields.texts("run_ids")?.into_iter().map(RunId::new).collect();
    if runs.is_empty() {
        return Err(missing("run_ids"));
    }
    if runs.len() > MOST_RUNS {
        return Err(invalid_parameter(format!(
            "GetMetricHistoryBulkInterval request must specify at most {MOST_RUNS} run_ids. Received {} run_ids.",
            runs.len()
        )));
    }
    let key = fields.required("metric_key")?;
    let (from, to) = (fields.integer("start_step")?, fields.integer("end_step")?);
    let most = fields.integer("max_results")?.unwrap_or(MOST_OF_RUN);
    if !(1..=MOST_OF_RUN).contains(&most) {
        return Err(invalid_parameter(format!("max_results must be between 1 and {MOST_OF_RUN}.")));
    }
    let range = match (from, to) {
        (None, None) => None,
        (Some(from), Some(to)) if from <= to => Some((from, to)),
        (Some(from), Some(to)) => {
            return Err(WireError::invalid(format!(
                "end_step must be greater than start_step. Found start_step={from} and end_step={to}."
            )));
        }
        _ => {
            return Err(WireError::invalid(
                "If either start step or end step are specified, both must be specified.",
            ));
        }
    };
    let leave = session.leave()?;
    let most = usize::try_from(most).unwrap_or(1);
    let mut metrics = Vec::new();
    for run in &runs {
        let query = MetricQuery::default();
        let mut points = app.tracking.metric_history(&leave, run, key.clone(), query).await?;
        points.retain(|point| range.is_none_or(|(from, to)| (from..=to).contains(&point.step)));
        points.sort_by(|a, b| (a.step, a.at_ms).cmp(&(b.step, b.at_ms)).then(a.value.total_cmp(&b.value)));
        metrics.extend(places_of_sample(points.len(), most).filter_map(|at| points.get(at)).map(|point| {
            let mut metric = render::metric(&key, point);
            metric["run_id"] = json!(run);
            metric
        }));
    }
    Ok(render::compact(json!({ "metrics": metrics })))
}

/// Which of `n` points stand for all: the first of each of `most` parts of equal size (larger ones come first, as SQL's
/// `NTILE` has it), and the last point in place of the last part's first.
fn places_of_sample(n: usize, most: usize) -> impl Iterator<Item = usize> {
    let (size, larger) = (n / most, n % most);
    let first = move |part: usize| part * size + part.min(larger);
    let parts = n.min(most);
    (0..parts).map(move |part| if part + 1 == parts { n - 1 } else { first(part) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_even_and_keep_both_ends() {
        let sample = |n, most| places_of_sample(n, most).collect::<Vec<_>>();
        assert_eq!(sample(10, 3), [0, 4, 9]);
        assert_eq!(sample(10, 5), [0, 2, 4, 6, 9]);
        assert_eq!(sample(3, 5), [0, 1, 2]);
        assert_eq!(sample(10, 1), [9]);
        assert_eq!(sample(0, 5), Vec::<usize>::new());
    }

    #[test]
    fn points_of_a_whole_history_have_bare_nan() {
        let mut out = String::from("[");
        let point = |value| MetricPoint { step: 1, at_ms: 2, value };
        write_point(&mut out, "a\"b", &point(f64::NAN), "r");
        write_point(&mut out, "a", &point(0.5), "r");
        let nan = r#"{"key":"a\"b","run_id":"r","step":1,"timestamp":2,"value":NaN}"#;
        assert_eq!(out, format!(r#"[{nan},{{"key":"a","run_id":"r","step":1,"timestamp":2,"value":0.5}}"#));
    }
}
