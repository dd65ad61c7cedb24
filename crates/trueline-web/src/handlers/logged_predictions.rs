//! The predictions of an endpoint, looked through from the newest back.

use super::ask_it::ask_it;
use super::predictions::{answer, state};
use super::{Answer, App, Failure, Visitor, page, timestamp};
use crate::Links;
use crate::links::ViewUrl;
use crate::pages::{AskIt, GaveUp, LoggedPredictionsPage, Pager, PredictionRow};
use crate::parts::Reference;
use crate::shell::{Crumb, Section};
use axum::extract::{Path, State};
use jiff::tz::TimeZone;
use trueline_flows::{PredictionQuery, TraceError};
use trueline_predictions::{Found, Record, Stage};
use trueline_serving::EndpointName;

/// Predictions on a page.
const PAGE: usize = 50;

fn query(view: &ViewUrl) -> PredictionQuery {
    let get = |key: &str| view.get(key).to_owned();
    PredictionQuery {
        id: get("id"),
        key: get("key"),
        from: get("from"),
        to: get("to"),
        outcome: get("outcome"),
        version: get("version"),
        cursor: get("cursor"),
    }
}

/// A time as a field for times takes it: in UTC and without a zone.
fn field_time(text: &str) -> String {
    let without_zone =
        |at: jiff::Timestamp| at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S").to_string();
    text.parse().map_or_else(|_| text.to_owned(), without_zone)
}

/// A word of a command line; in quotes when a shell would not take it as it is.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The command that lists what the view shows.
fn command(endpoint: &str, view: &ViewUrl) -> String {
    let said = LoggedPredictionsPage::FILTERS.iter().filter(|key| !view.get(key).is_empty());
    let flags: String = said.map(|key| format!(" --{key} {}", word(view.get(key)))).collect();
    format!("trueline prediction list {}{flags}", word(endpoint))
}

fn row(to: &Links, record: &Record) -> PredictionRow {
    let (model, number) = (&record.variant.model, &record.variant.version);
    let total = record.timings.iter().find(|(stage, _)| *stage == Stage::Total);
    PredictionRow {
        id: record.prediction_id.to_string(),
        state: state(record),
        answer: answer(record),
        version: Reference::to("version", format!("{model} {number}"), to.version(model, number)),
        key: record.key.clone(),
        at: timestamp(record.received_at_ms),
        took_us: total.and_then(|(_, us)| i64::try_from(*us).ok()),
    }
}

/// What is to be done for a first prediction.
fn first_command(ask: Option<AskIt>, endpoint: &str) -> String {
    let curl = ask.and_then(|ask| ask.snippets.into_iter().next());
    curl.map_or_else(
        || format!("trueline endpoint deploy {} flight-delay@champion", word(endpoint)),
        |curl| curl.text,
    )
}

pub(super) async fn list(
    State(app): App,
    visitor: Visitor,
    Path((_, name)): Path<(String, String)>,
) -> Answer {
    let read = visitor.session.leave()?;
    let endpoint = app.deployments.endpoints.get(&read, &EndpointName::parse(&name)?).await?;
    let mut shell = visitor.shell(&app, "Predictions", Section::Endpoints).await?;
    let view = ViewUrl::new(shell.to.endpoint_predictions(&name), visitor.query.clone());
    let (found, filter_problem) =
        match app.tracer.predictions(&read, &endpoint.name, &query(&view), PAGE).await {
            Err(TraceError::Query(why)) => (Found::default(), Some(format!("{why}."))),
            found => (found.map_err(Failure::from)?, None),
        };
    shell.crumbs = vec![
        Crumb::to("Endpoints", shell.to.endpoints()),
        Crumb::to(&name, shell.to.endpoint(&name)),
        Crumb::here("Predictions"),
    ];
    shell.as_cli = Some(command(&name, &view));
    let query = view.query_of(&LoggedPredictionsPage::FILTERS);
    let query = if query.is_empty() { query } else { format!("?{query}") };
    shell.as_api = visitor.api(&format!("/api/v1/endpoints/{name}/predictions{query}"));
    let variants = endpoint.route.as_ref().map(|r| r.variants.as_slice()).unwrap_or_default();
    let next_cursor = found.next.map(|c| c.to_string());
    page(&LoggedPredictionsPage {
        rows: found.items.iter().map(|record| row(&shell.to, record)).collect(),
        pager: Pager { rows: found.items.len(), noun: "prediction", next_cursor },
        gave_up: found
            .gave_up
            .then(|| GaveUp { looked_at: found.looked_at, back_to: found.back_to_ms.map(timestamp) }),
        filter_problem,
        times: ["from", "to"].map(|key| field_time(view.get(key))),
        versions: variants.iter().map(|v| v.spec.name()).collect(),
        first: first_command(ask_it(&app, &visitor, &endpoint).await, &name),
        endpoint: name,
        view,
        shell,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_with_a_zone_is_told_to_the_field_in_utc() {
        assert_eq!(field_time("2026-01-31T14:00:00+01:00"), "2026-01-31T13:00:00");
        assert_eq!(field_time("2026-01-31T13:00"), "2026-01-31T13:00", "as the field itself sends it");
        assert_eq!(field_time(""), "");
    }

    #[test]
    fn the_command_says_what_the_view_says() {
        let pairs =
            [("key", "it's N 7"), ("outcome", "failed"), ("cursor", "1-2-3"), ("version", "delays/4")];
        let told = command("delays", &ViewUrl::new("/", pairs));
        assert_eq!(
            told,
            r"trueline prediction list delays --key 'it'\''s N 7' --outcome failed --version delays/4"
        );
    }
}
