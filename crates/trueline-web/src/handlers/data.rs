//! Datasets, one dataset, one version.

use super::experiments::pager;
use super::{Answer, App, Visitor, offset, page, runs, timestamp};
use crate::format;
use crate::links::{Links, ViewUrl};
use crate::pages::{
    ColumnRow, DataFile, DatasetPage, DatasetRow, DatasetVersionPage, DatasetsPage, JoinedView, RecipeFacts,
};
use crate::parts::{Bars, Reference};
use crate::shell::{Crumb, Section};
use axum::extract::{Path, State};
use serde_json::Value;
use trueline_data::{Dataset, DatasetRef, DatasetVersion};
use trueline_query::ColumnProfile;

const PAGE: u32 = 50;
const VERSIONS: u32 = 500;
const FREQUENT: usize = 4;

fn row(d: &Dataset) -> DatasetRow {
    DatasetRow {
        name: d.name.clone(),
        number: d.number,
        id: d.id.clone(),
        rows: d.rows.unsigned_abs(),
        size: d.size.unsigned_abs(),
        made_here: d.made_here,
        created_by: d.created_by.clone(),
        created_at: timestamp(d.created_at_ms),
    }
}

pub(super) async fn list(State(app): App, visitor: Visitor) -> Answer {
    let mut shell = visitor.shell(&app, "Data", Section::Data).await?;
    shell.as_cli = Some("trueline data list".to_owned());
    shell.as_api = visitor.api("/api/v1/datasets");
    let view = ViewUrl::new(shell.to.datasets(), visitor.query.clone());
    let at = offset(view.get("cursor"));
    let mut found = app.data.datasets(&visitor.session.leave()?, "", at, PAGE + 1).await?;
    let more = found.len() > PAGE as usize;
    found.truncate(PAGE as usize);
    let datasets: Vec<DatasetRow> = found.iter().map(row).collect();
    let pager = pager(datasets.len(), "dataset", more, at + u64::from(PAGE));
    page(&DatasetsPage { shell, view, datasets, pager })
}

pub(super) async fn one(
    State(app): App,
    visitor: Visitor,
    Path((_, name)): Path<(String, String)>,
) -> Answer {
    let versions = app.data.versions(&visitor.session.leave()?, &name, VERSIONS).await?;
    let mut shell = visitor.shell(&app, &name, Section::Data).await?;
    shell.crumbs = vec![Crumb::to("Data", shell.to.datasets()), Crumb::here(&name)];
    shell.as_cli = Some(format!("trueline data list {name}"));
    shell.as_api = visitor.api(&format!("/api/v1/datasets/{name}"));
    page(&DatasetPage { shell, name, versions: versions.iter().map(row).collect() })
}

pub(super) async fn version(
    State(app): App,
    visitor: Visitor,
    Path((_, name, number)): Path<(String, String, String)>,
) -> Answer {
    let wanted = DatasetRef::parse(&format!("{name}@{number}"))?;
    let found = app.data.version(&visitor.session.leave()?, &wanted).await?;
    let mut shell = visitor.shell(&app, &format!("{name} {}", found.number), Section::Data).await?;
    shell.crumbs = vec![
        Crumb::to("Data", shell.to.datasets()),
        Crumb::to(&name, shell.to.dataset(&name)),
        Crumb::here(format!("Version {}", found.number)),
    ];
    let api = format!("/api/v1/datasets/{name}/versions/{}", found.number);
    shell.as_cli = Some(format!("trueline data show {name}@{}", found.number));
    shell.as_api = visitor.api(&api);
    let lineage = runs::lineage(&app, &visitor, &shell.to, "dataset_version", &found.node().id).await?;
    let base = format!("/projects/{}{api}/files", visitor.project());
    let file = |(place, (entry, name)): (usize, (&trueline_data::FileEntry, &String))| DataFile {
        name: name.clone(),
        rows: entry.rows,
        size: entry.size,
        sha256: entry.sha256.clone(),
        href: format!("{base}/{place}"),
    };
    page(&DatasetVersionPage {
        version: version_row(&found),
        columns: found.profile.columns.iter().map(column).collect(),
        files: found.manifest.files.iter().zip(&found.file_names).enumerate().map(file).collect(),
        recipe: found.recipe.as_ref().map(|r| recipe(&shell.to, r)),
        lineage,
        shell,
    })
}

fn version_row(v: &DatasetVersion) -> DatasetRow {
    DatasetRow {
        name: v.name.clone(),
        number: v.number,
        id: v.id.clone(),
        rows: v.manifest.rows(),
        size: v.manifest.size(),
        made_here: v.recipe.is_some(),
        created_by: v.created_by.clone(),
        created_at: timestamp(v.created_at_ms),
    }
}

/// The share of rows that have no value.
#[allow(clippy::cast_precision_loss)]
pub(super) fn missing(c: &ColumnProfile) -> String {
    match (c.nulls, c.rows) {
        (0, _) | (_, 0) => "0 %".to_owned(),
        (nulls, rows) => {
            let share = 100.0 * nulls as f64 / rows as f64;
            if share < 0.1 { "< 0.1 %".to_owned() } else { format!("{share:.1} %") }
        }
    }
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Number(n) => n.as_f64().map(format::number),
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn column(c: &ColumnProfile) -> ColumnRow {
    // Of text the profile knows lengths only.
    let is_text = c.column.kind == "string";
    let end = |value: &Value| shown(value).map(|v| if is_text { format!("length {v}") } else { v });
    let median = c.quantiles.iter().find(|q| (q.p - 0.5).abs() < f64::EPSILON);
    let counts: Vec<u64> = c.histogram.iter().map(|b| b.count).collect();
    let range = shown(&c.min).zip(shown(&c.max));
    let bars = range.filter(|_| counts.len() > 1).map(|(low, high)| Bars::new(counts, &low, &high));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let distinct = c.distinct.map(|n| n as u64);
    ColumnRow {
        name: c.column.name.clone(),
        kind: c.column.kind.clone(),
        missing: missing(c),
        distinct,
        estimated: !c.distinct_exact,
        min: end(&c.min),
        median: median.and_then(|q| shown(&q.value)),
        max: end(&c.max),
        bars,
        frequent: c.frequent.iter().take(FREQUENT).map(|f| (f.value.clone(), f.at_least)).collect(),
    }
}

fn recipe(to: &Links, recipe: &Value) -> RecipeFacts {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let dataset = |v: &Value| {
        let (name, number) = (text(&v["dataset"]), v["number"].as_i64().unwrap_or(0));
        Reference::to("dataset version", format!("{name}@{number}"), to.dataset_version(&name, &number))
    };
    let view = |v: &Value| {
        let name = format!("{}@{}", text(&v["view"]), v["version"]);
        JoinedView {
            view: Reference::to("feature view", &name, to.feature_view(&name)),
            dataset: dataset(v),
            features: v["features"].as_array().into_iter().flatten().map(text).collect(),
            ttl: v["ttl"].as_str().map(ToOwned::to_owned),
            matched: v["rows_matched"].as_u64().unwrap_or(0),
        }
    };
    RecipeFacts {
        rows: dataset(&recipe["rows"]),
        timestamp: text(&recipe["timestamp"]),
        views: recipe["views"].as_array().into_iter().flatten().map(view).collect(),
    }
}
