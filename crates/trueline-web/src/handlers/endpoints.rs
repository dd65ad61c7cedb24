//! Endpoints, one endpoint, and its way back. What its page tells again and again is in `endpoint_live`.

use super::ask_it::ask_it;
use super::endpoint_live::{changes, live_part};
use super::settings::field;
use super::{
    Answer, App, Failure, FaultKind, Form, Visitor, Web, bandits, monitors, page, rollouts, timestamp,
};
use crate::Links;
use crate::links::ViewUrl;
use crate::pages::{
    EndpointPage, EndpointRow, EndpointsPage, LatelyCame, OnDisk, Pager, RollBack, RouteRow, ServedVersion,
    Share, Shares, Traffic,
};
use crate::parts::{Badge, Reference, Spark, Tone};
use crate::shell::{Crumb, Section};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use trueline_flows::{DeployLeave, roll_back as return_to_previous};
use trueline_identity::{Authorized, Deploy, ReadProject};
use trueline_registry::{RegistryError, VersionKey};
use trueline_serving::{
    Endpoint, EndpointName, EndpointStatus, KeepLog, Lately, LogRules, LogShare, Redaction, Route,
    RouteChange, SampleBy, ServingError, Variant,
};

/// Routes that a page of the history shows.
const PAGE: u32 = 20;
const LONGEST_REASON: usize = 2_000;

pub(super) fn status(app: &Web, visitor: &Visitor, name: &EndpointName) -> Option<EndpointStatus> {
    app.deployments.plane.status(&visitor.session.project().id, name.as_str())
}

/// Whether an endpoint answers, and by the route that it should.
pub(super) fn state(endpoint: &Endpoint, live: Option<&EndpointStatus>) -> Badge {
    match (&endpoint.route, live) {
        (None, _) => Badge::new(Tone::Wait, "Nothing deployed"),
        (Some(_), None) => Badge::new(Tone::Bad, "Not answering"),
        (Some(route), Some(live)) if live.generation < route.generation => {
            Badge::new(Tone::Busy, "Switching")
        }
        (Some(_), Some(_)) => Badge::new(Tone::Good, "Live"),
    }
}

pub(super) fn version(to: &Links, model: &str, number: &str) -> Reference {
    Reference::to("version", format!("{model} {number}"), to.version(model, number))
}

pub(super) fn shares(to: &Links, variants: &[Variant]) -> Vec<Share> {
    let whole: f64 = variants.iter().map(|v| f64::from(v.weight)).sum();
    let share = |v: &Variant| Share {
        version: version(to, &v.spec.model, &v.spec.version.to_string()),
        percent: if whole > 0.0 { f64::from(v.weight) * 100.0 / whole } else { 0.0 },
    };
    variants.iter().map(share).collect()
}

pub(super) fn change(route: &Route) -> Badge {
    match route.change {
        RouteChange::Deployed => Badge::new(Tone::Good, "Deployed"),
        RouteChange::RolledBack => Badge::new(Tone::Warn, "Rolled back"),
        RouteChange::Shifted => Badge::new(Tone::Busy, "Shifted"),
        RouteChange::Promoted => Badge::new(Tone::Good, "Promoted"),
        RouteChange::Followed => Badge::new(Tone::Good, "Followed an alias"),
        RouteChange::Allotted => Badge::new(Tone::Busy, "Allotted"),
    }
}

fn route_row(to: &Links, route: &Route) -> RouteRow {
    RouteRow {
        generation: route.generation,
        change: change(route),
        shares: Shares(shares(to, &route.variants)),
        reason: route.reason.clone(),
        by: crate::words::person(&route.changed_by).to_owned(),
        at: timestamp(route.changed_at_ms),
    }
}

fn lately_came(lately: &Lately) -> LatelyCame {
    let rates: Vec<Option<f64>> = lately.requests_per_second.iter().copied().map(Some).collect();
    let whole = &lately.last_15_minutes;
    LatelyCame {
        rates: Spark::new("Requests in a second over the last 15 minutes", &rates, Some(0.0)),
        per_second: lately.last_minute.per_second,
        p99_ms: whole.latency_ms.p99,
        counted: Traffic { requests: whole.requests, errors: whole.errors.total() },
    }
}

/// The endpoints of the visitor's project in lines.
pub(super) async fn rows(app: &Web, visitor: &Visitor, to: &Links) -> Result<Vec<EndpointRow>, Failure> {
    let all = app.deployments.endpoints.list(&visitor.session.leave()?).await?;
    let mut watched = monitors::watched(app, visitor, to).await?;
    let mut row = |endpoint: &Endpoint| {
        let live = status(app, visitor, &endpoint.name);
        let route = endpoint.route.as_ref();
        EndpointRow {
            name: endpoint.name.to_string(),
            href: to.endpoint(endpoint.name.as_str()),
            state: state(endpoint, live.as_ref()),
            shares: Shares(route.map(|r| shares(to, &r.variants)).unwrap_or_default()),
            generation: route.map(|r| r.generation),
            since: route.map(|r| timestamp(r.changed_at_ms)),
            log: endpoint.log.as_str(),
            watched: watched.remove(endpoint.name.as_str()),
            traffic: live.map(|live| lately_came(&live.lately)),
        }
    };
    Ok(all.iter().map(&mut row).collect())
}

pub(super) async fn list(State(app): App, visitor: Visitor) -> Answer {
    let mut shell = visitor.shell(&app, "Endpoints", Section::Endpoints).await?;
    shell.as_cli = Some("trueline endpoint list".to_owned());
    shell.as_api = visitor.api("/api/v1/endpoints");
    let endpoints = rows(&app, &visitor, &shell.to).await?;
    page(&EndpointsPage { shell, endpoints })
}

pub(super) async fn one(
    State(app): App,
    visitor: Visitor,
    Path((_, name)): Path<(String, String)>,
) -> Answer {
    let read = visitor.session.leave()?;
    let endpoint = app.deployments.endpoints.get(&read, &EndpointName::parse(&name)?).await?;
    let mut shell = visitor.shell(&app, &name, Section::Endpoints).await?;
    shell.crumbs = vec![Crumb::to("Endpoints", shell.to.endpoints()), Crumb::here(&name)];
    shell.as_cli = Some(format!("trueline endpoint show {name}"));
    shell.as_api = visitor.api(&format!("/api/v1/endpoints/{name}"));
    let view = ViewUrl::new(shell.to.endpoint(&name), visitor.query.clone());
    let live = status(&app, &visitor, &endpoint.name);
    let before = view.get("cursor").parse().ok();
    let routes = app.deployments.endpoints.history(&read, &endpoint.name, before, PAGE).await?;
    let older = routes.last().filter(|r| r.generation > 1 && routes.len() == PAGE as usize);
    let pager =
        Pager { rows: routes.len(), noun: "route", next_cursor: older.map(|r| r.generation.to_string()) };
    let changes = changes(&app, &read, &endpoint.name).await?;
    let history = routes.iter().map(|r| route_row(&shell.to, r)).collect();
    let served = endpoint.route.as_ref().map(|r| r.variants.as_slice()).unwrap_or_default();
    page(&EndpointPage {
        state: state(&endpoint, live.as_ref()),
        log: endpoint.log.as_str(),
        log_rules: log_rules(&endpoint.log_rules),
        on_disk: on_disk(&app, &visitor, &endpoint),
        dropped: dropped(&app, &visitor, &endpoint),
        created_by: crate::words::person(&endpoint.created_by).to_owned(),
        created_at: timestamp(endpoint.created_at_ms),
        live: endpoint.route.is_some().then(|| live_part(&shell.to, &endpoint, live.as_ref(), &changes)),
        versions: served_versions(&app, &read, &shell.to, served).await?,
        history,
        roll_back: way_back(&app, &visitor, &shell.to, &endpoint).await?,
        ask: ask_it(&app, &visitor, &endpoint).await,
        rollout: rollouts::part(&app, &visitor, &shell, &endpoint.name).await?,
        bandit: bandits::part(&app, &visitor, &shell, &endpoint.name).await?,
        sticky_header: endpoint.sticky_header,
        pager,
        name,
        view,
        shell,
    })
}

/// What of its predictions an endpoint logs, in words; nothing where that is all as it comes.
fn log_rules(rules: &LogRules) -> Vec<String> {
    let mut words = Vec::new();
    if rules.sample != LogShare::EVERY {
        let what = if rules.sample_by == SampleBy::Key { "callers" } else { "predictions" };
        let percent = f64::from(rules.sample.millionths()) / 10_000.0;
        words.push(format!("{} % of {what}", crate::format::number(percent)));
    }
    for (how, word) in [(Redaction::Drop, "without"), (Redaction::Hash, "hashed")] {
        let of = rules.redact.iter().filter(|(_, is)| **is == how);
        let names: Vec<&str> = of.map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            words.push(format!("{word} {}", names.join(" ")));
        }
    }
    match rules.keep {
        KeepLog::Default => {}
        KeepLog::Forever => words.push("kept for ever".to_owned()),
        KeepLog::Days(days) => words.push(format!("kept {days} days")),
    }
    words
}

/// What the log holds of it.
fn on_disk(app: &Web, visitor: &Visitor, endpoint: &Endpoint) -> Option<OnDisk> {
    let project = visitor.session.project().id.as_str();
    let stats = app.tracer.log.stats_of(project, endpoint.name.as_str())?;
    Some(OnDisk { bytes: stats.bytes, since: timestamp(stats.oldest_ms?) })
}

fn dropped(app: &Web, visitor: &Visitor, endpoint: &Endpoint) -> u64 {
    let project = visitor.session.project().id.as_str();
    app.tracer.log.stats_of(project, endpoint.name.as_str()).map_or(0, |stats| stats.dropped)
}

async fn served_versions(
    app: &Web,
    read: &Authorized<ReadProject>,
    to: &Links,
    variants: &[Variant],
) -> Result<Vec<ServedVersion>, Failure> {
    let mut out = Vec::with_capacity(variants.len());
    for (variant, share) in variants.iter().zip(shares(to, variants)) {
        let key = VersionKey::new(&variant.spec.model, variant.spec.version);
        // A version that was deleted since goes on answering; nothing more is known of it.
        let (aliases, release) = match app.registry.version(read, &key).await {
            Err(RegistryError::NotFound(_)) => (Vec::new(), None),
            found => {
                let state = app.registry.release_state(read, &key).await?;
                let badge = match state.releasable {
                    true => Badge::new(Tone::Good, "Passed"),
                    false => Badge::new(Tone::Warn, "Not passed"),
                };
                (found?.aliases, state.policy.is_some().then_some(badge))
            }
        };
        out.push(ServedVersion { share, aliases, digest: variant.spec.manifest_digest.clone(), release });
    }
    Ok(out)
}

async fn way_back(
    app: &Web,
    visitor: &Visitor,
    to: &Links,
    endpoint: &Endpoint,
) -> Result<RollBack, Failure> {
    if endpoint.route.is_none() || visitor.session.leave::<Deploy>().is_err() {
        return Ok(RollBack::Forbidden);
    }
    match app.deployments.endpoints.previous(&visitor.session.leave()?, &endpoint.name).await {
        Ok(route) => Ok(RollBack::To(route_row(to, &route))),
        Err(ServingError::State(_)) => {
            let why = "There is no earlier route with other versions to return to.";
            Ok(RollBack::Impossible(why.to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Why something is done, as the form has it.
pub(super) fn reason(form: &[(String, String)]) -> Result<String, Failure> {
    let reason = field(form, "reason");
    if reason.len() > LONGEST_REASON {
        let told = format!("a reason has at most {LONGEST_REASON} bytes");
        return Err(Failure::new(FaultKind::Invalid, told));
    }
    Ok(reason)
}

pub(super) fn deploy_leave(visitor: &Visitor) -> Result<DeployLeave, Failure> {
    let session = &visitor.session;
    Ok(DeployLeave { project: session.project().clone(), read: session.leave()?, deploy: session.leave()? })
}

pub(super) async fn roll_back(
    State(app): App,
    visitor: Visitor,
    Path((_, name)): Path<(String, String)>,
    Form(form): Form,
) -> Answer {
    let (reason, leave) = (reason(&form)?, deploy_leave(&visitor)?);
    let name = EndpointName::parse(&name)?;
    return_to_previous(&app.deployments, &leave, &name, reason).await?;
    let to = Links::new(Some(visitor.project())).endpoint(name.as_str());
    Ok(Redirect::to(&format!("{to}#history")).into_response())
}
