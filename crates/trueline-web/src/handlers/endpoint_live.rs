//! The part of an endpoint's page that is asked for again every few seconds: what came to it in the last minutes.

use super::endpoints::{state, status, version};
use super::{Answer, App, Failure, Visitor, Web, page};
use crate::Links;
use crate::format::{number, three_digits};
use crate::pages::{Causes, LiveFigures, LivePart, LiveRow, Shares, Traffic};
use crate::rate_chart::RateChart;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use trueline_identity::{Authorized, ReadProject};
use trueline_serving::{Cause, Endpoint, EndpointName, EndpointStatus, Errors, Route, VariantStatus};

/// What the chart shows, in milliseconds.
const SHOWN_MS: i64 = 15 * 60 * 1_000;
/// Changes of a route that the chart marks at the most: more of them in a quarter of an hour would hide the lines.
const MARKED: u32 = 12;

/// A moment at which the route changed: its place in the chart from 0 to 1, and the generation that began.
pub(super) type Change = (f64, i64);

/// The changes of an endpoint's route that the chart marks.
pub(super) async fn changes(
    app: &Web,
    read: &Authorized<ReadProject>,
    name: &EndpointName,
) -> Result<Vec<Change>, Failure> {
    let now_ms = app.ledger.sources().now();
    let newest = app.deployments.endpoints.history(read, name, None, MARKED).await?;
    let place = |route: &Route| 1.0 - (now_ms - route.changed_at_ms) as f64 / SHOWN_MS as f64;
    Ok(newest.iter().map(|route| (place(route), route.generation)).collect())
}

fn causes(errors: &Errors) -> Causes {
    let word = |cause: Cause| match cause {
        Cause::Unreadable => "request refused",
        Cause::Input => "input does not fit",
        Cause::Features => "features missing",
        Cause::Busy => "too busy",
        Cause::TimedOut => "timed out",
        Cause::Failed => "model failed",
        Cause::Implausible => "implausible answer",
        Cause::WorkerDied => "worker died",
        Cause::NotLogged => "not logged",
        Cause::NotLoaded => "not loaded",
        Cause::Other => "other",
    };
    Causes(errors.causes().map(|(cause, count)| (word(cause), count)).collect())
}

fn named(to: &Links, variant: &VariantStatus) -> crate::parts::Reference {
    let (model, number) = variant.version.rsplit_once('/').unwrap_or((&variant.version, ""));
    version(to, model, number)
}

fn chart(to: &Links, live: &EndpointStatus, changes: &[Change]) -> RateChart {
    let names: Vec<String> = live.variants.iter().map(|v| named(to, v).label).collect();
    let mut lines: Vec<(Option<usize>, &str, &[f64])> = Vec::with_capacity(names.len() + 1);
    for (i, (variant, name)) in live.variants.iter().zip(&names).enumerate() {
        lines.push((Some(Shares::colour(&i)), name, &variant.lately.requests_per_second));
    }
    lines.push((None, "not answered", &live.lately.errors_per_second));
    let marks = changes.iter().map(|(place, generation)| (*place, format!("generation {generation}")));
    RateChart::new("Requests in a second", "15 minutes ago").with(&lines).marked(marks)
}

fn figures(to: &Links, live: &EndpointStatus, changes: &[Change]) -> LiveFigures {
    let (now, whole) = (&live.lately.last_minute, &live.lately.last_15_minutes);
    let told = |ms: Option<f64>| ms.map(|ms| number(three_digits(ms)));
    let latency = now.latency_ms;
    LiveFigures {
        per_second: number(three_digits(now.per_second)),
        latency: [("p50", told(latency.p50)), ("p95", told(latency.p95)), ("p99", told(latency.p99))],
        requests: whole.requests,
        causes: causes(&whole.errors),
        chart: chart(to, live, changes),
    }
}

pub(super) fn live_part(
    to: &Links,
    endpoint: &Endpoint,
    live: Option<&EndpointStatus>,
    changes: &[Change],
) -> LivePart {
    let row = |v: &VariantStatus| {
        let latency = v.lately.last_15_minutes.latency_ms;
        LiveRow {
            version: named(to, v),
            traffic: Traffic { requests: v.requests, errors: v.errors },
            per_second: v.lately.last_minute.per_second,
            latency_ms: [latency.p50, latency.p95, latency.p99],
            causes: causes(&v.lately.last_15_minutes.errors),
            loaded: v.loaded,
            heap_bytes: v.heap_bytes as u64,
        }
    };
    LivePart {
        next: to.endpoint_live(endpoint.name.as_str()),
        again: false,
        state: state(endpoint, live),
        generation: live.map(|l| l.generation),
        figures: live.map(|l| figures(to, l, changes)),
        rows: live.map(|l| l.variants.iter().map(row).collect()).unwrap_or_default(),
    }
}

pub(super) async fn live(
    State(app): App,
    visitor: Visitor,
    Path((_, name)): Path<(String, String)>,
) -> Answer {
    let name = EndpointName::parse(&name)?;
    let read = visitor.session.leave()?;
    let endpoint = app.deployments.endpoints.get(&read, &name).await?;
    let to = Links::new(Some(visitor.project()));
    if !visitor.htmx {
        return Ok(Redirect::to(&to.endpoint(name.as_str())).into_response());
    }
    let changes = changes(&app, &read, &name).await?;
    let part = live_part(&to, &endpoint, status(&app, &visitor, &name).as_ref(), &changes);
    page(&LivePart { again: true, ..part })
}
