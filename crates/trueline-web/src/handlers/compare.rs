//! Runs side by side: the table of what they were given and what came of it, and drawings of many runs at once.

use super::runs::series_url;
use super::{Answer, App, Failure, Visitor, Web, offset, page, timestamp};
use crate::links::ViewUrl;
use crate::pages::{
    Axis, Chart, ChartSeries, ComparePage, ComparedRow, ComparedRun, ComparedSection, Plot, PlotField,
    PlotKind,
};
use crate::parts::{Badge, Cell};
use crate::shell::{Crumb, Section};
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use trueline_tracking::{KnownRun, RunData, RunId};

/// Runs that can stand side by side.
const COMPARED: usize = 100;
/// Cells of a page of the table: with two runs many rows, with a hundred fewer.
const CELLS: usize = 6_000;
const FEWEST_ROWS: usize = 40;
const CHARTS: usize = crate::pages::COMPARED_CHARTS;
/// Points of a line of an overlay: what a chart among twelve has pixels for.
const POINTS: usize = 400;
/// Axes of the parallel coordinates to start with.
const FIRST_DIMS: usize = 6;

async fn asked_for(app: &Web, visitor: &Visitor) -> Result<(Vec<Arc<KnownRun>>, usize), Failure> {
    let mut ids: Vec<RunId> = Vec::new();
    for (_, id) in visitor.query.iter().filter(|(key, _)| key == "run") {
        let id = RunId::new(id);
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let left_out = ids.len().saturating_sub(COMPARED);
    ids.truncate(COMPARED);
    Ok((app.tracking.runs(&visitor.session.leave()?, ids).await?, left_out))
}

fn metric(run: &RunData, key: &str) -> Cell {
    Cell::metric(run.metrics.iter().find(|m| m.key == key).map(|m| m.point.value))
}

fn param(run: &RunData, key: &str) -> Cell {
    Cell::param(run.params.iter().find(|p| p.key == key).map(|p| p.value.as_str()))
}

/// All rows of both sections.
fn sections(runs: &[Arc<KnownRun>]) -> Vec<ComparedSection> {
    let metrics: BTreeSet<&str> =
        runs.iter().flat_map(|r| r.metrics.iter().map(|m| m.key.as_str())).collect();
    let params: BTreeSet<&str> = runs.iter().flat_map(|r| r.params.iter().map(|p| p.key.as_str())).collect();
    let rows = |keys: BTreeSet<&str>, cell: fn(&RunData, &str) -> Cell| {
        let row = |key: &str| ComparedRow {
            key: key.to_owned(),
            cells: runs.iter().map(|run| cell(run, key)).collect(),
        };
        keys.into_iter().map(row).collect()
    };
    vec![
        ComparedSection { title: "Metrics", rows: rows(metrics, metric) },
        ComparedSection { title: "Params", rows: rows(params, param) },
    ]
}

/// What of the sections the page shows, and how many rows match in all.
fn narrowed(sections: &mut [ComparedSection], view: &ViewUrl, first: usize, most: usize) -> usize {
    let (word, only) = (view.get("q").to_lowercase(), view.get("diff") == "1");
    let mut place = 0;
    for section in sections {
        section.rows.retain(|row| {
            if !row.key.to_lowercase().contains(&word) || (only && !row.differs()) {
                return false;
            }
            place += 1;
            (first..first + most).contains(&(place - 1))
        });
    }
    place
}

fn field(kind: &str, row: &ComparedRow) -> PlotField {
    let numbers = row.cells.iter().filter(|c| matches!(c, Cell::Number(v) if v.is_finite())).count();
    let texts = row.cells.iter().any(|c| matches!(c, Cell::Text(_)));
    PlotField { key: format!("{kind}.{}", row.key), numeric: numbers > 0 && !texts, differs: row.differs() }
}

/// What is drawn: as the URL has it, else what says most at first.
fn plot(sections: &[ComparedSection], view: &ViewUrl, rows_url: String) -> Plot {
    let [metrics, params] = sections else { return Plot::default() };
    let params = params.rows.iter().map(|row| field("params", row));
    let fields: Vec<PlotField> = params.chain(metrics.rows.iter().map(|row| field("metrics", row))).collect();
    let of = |kind: &'static str, numeric: bool| {
        let fits = move |f: &&PlotField| f.key.starts_with(kind) && f.differs && (f.numeric || !numeric);
        fields.iter().filter(fits).map(|f| f.key.clone())
    };
    let named = |key: &str| {
        let found = fields.iter().find(|f| f.key == view.get(key) && f.numeric);
        found.map(|f| f.key.clone())
    };
    let result = of("metrics.", true).next();
    let mut numbers =
        of("params.", true).chain(of("metrics.", true)).filter(|key| Some(key) != result.as_ref());
    let (x, second) = (numbers.next(), numbers.next());
    let kind = PlotKind::parse(view.get("plot"));
    let mut dims: Vec<String> =
        view.all("dim").filter(|key| fields.iter().any(|f| f.key == *key)).map(ToOwned::to_owned).collect();
    if dims.is_empty() {
        dims = of("params.", false).take(FIRST_DIMS).chain(result.clone()).collect();
    }
    let height = if kind == PlotKind::Contour { second } else { result.clone() };
    Plot {
        kind,
        x: named("x").or(x).unwrap_or_default(),
        y: named("y").or(height).unwrap_or_default(),
        z: named("z").or(result.filter(|_| kind != PlotKind::Scatter)).unwrap_or_default(),
        dims,
        rows_url,
        fields,
    }
}

/// Where the drawings get their values: the table of runs, of these alone.
fn rows_url(project: &str, runs: &[Arc<KnownRun>]) -> String {
    let experiments: BTreeSet<String> = runs.iter().map(|r| r.run.experiment.to_string()).collect();
    let ids: Vec<String> = runs.iter().map(|r| format!("'{}'", r.run.id)).collect();
    let filter = format!("run_id IN ({})", ids.join(","));
    let pairs = experiments.into_iter().map(|id| ("experiment", id)).chain([
        ("filter", filter),
        ("view", "all".to_owned()),
        ("limit", COMPARED.to_string()),
    ]);
    ViewUrl::new(format!("/projects/{}/api/v1/runs", crate::links::segment(project)), pairs).first_page()
}

/// A chart for each metric that matches, some at a time.
fn charts(visitor: &Visitor, runs: &[Arc<KnownRun>], view: &ViewUrl, first: usize) -> (Vec<Chart>, usize) {
    let word = view.get("q").to_lowercase();
    let keys: BTreeSet<&str> = runs.iter().flat_map(|r| r.metrics.iter().map(|m| m.key.as_str())).collect();
    let keys: Vec<&str> = keys.into_iter().filter(|k| k.to_lowercase().contains(&word)).collect();
    let chart = |key: &&str| {
        let with = runs.iter().filter(|r| r.metrics.iter().any(|m| m.key == *key));
        let url = |r: &RunData| {
            let url = series_url(visitor.project(), r.run.id.as_str(), key);
            format!("{}?points={POINTS}", url.split('?').next().unwrap_or_default())
        };
        let series = with.map(|r| ChartSeries { name: r.run.name.clone(), url: url(r) });
        Chart { title: (*key).to_owned(), unit: None, series: series.collect(), last: None, small: false }
    };
    (keys.iter().skip(first).take(CHARTS).map(chart).collect(), keys.len())
}

pub(super) async fn page_of(State(app): App, visitor: Visitor) -> Answer {
    let (runs, left_out) = asked_for(&app, &visitor).await?;
    let mut shell = visitor.shell(&app, "Compare runs", Section::Experiments).await?;
    shell.crumbs = vec![Crumb::to("Experiments", shell.to.experiments()), Crumb::here("Compare")];
    let view = ViewUrl::new(shell.to.compare(), visitor.query.clone());
    let mut sections = sections(&runs);
    let plot = plot(&sections, &view, rows_url(visitor.project(), &runs));
    let first = usize::try_from(offset(view.get("cursor"))).unwrap_or(0);
    let most = (CELLS / runs.len().max(1)).max(FEWEST_ROWS);
    let rows = narrowed(&mut sections, &view, first, most);
    let charts_first = usize::try_from(offset(view.get("charts"))).unwrap_or(0);
    let (charts, charts_all) = match plot.kind {
        PlotKind::Curves => charts(&visitor, &runs, &view, charts_first),
        _ => (Vec::new(), 0),
    };
    let csv = visitor.query.iter().filter(|(key, _)| key == "run").cloned();
    let heads = runs.iter().map(|r| ComparedRun {
        id: r.run.id.to_string(),
        name: r.run.name.clone(),
        status: Badge::state(r.run.status.as_str()),
        started_at: r.run.start_time.map(timestamp),
    });
    page(&ComparePage {
        axis: Axis::parse(view.get("axis")),
        runs: heads.collect(),
        left_out,
        sections,
        rows,
        next_cursor: (first + most < rows).then(|| (first + most).to_string()),
        csv_url: ViewUrl::new(shell.to.compare_csv(), csv).first_page(),
        charts,
        charts_at: (charts_first, charts_all),
        plot,
        view,
        shell,
    })
}

/// A field of CSV as RFC 4180 has it.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// The runs as rows, everything that they were given and that came of it as columns.
fn table_of(runs: &[Arc<KnownRun>]) -> String {
    let sections = sections(runs);
    let columns: Vec<(&ComparedSection, &ComparedRow)> =
        sections.iter().flat_map(|s| s.rows.iter().map(move |row| (s, row))).collect();
    let mut out = "run_id,name,status".to_owned();
    for (section, row) in &columns {
        let _ = write!(out, ",{}", quoted(&format!("{}.{}", section.title.to_lowercase(), row.key)));
    }
    for (at, run) in runs.iter().enumerate() {
        let _ = write!(out, "\r\n{},{},{}", run.run.id, quoted(&run.run.name), run.run.status.as_str());
        for (_, row) in &columns {
            let text = match &row.cells[at] {
                Cell::Missing => String::new(),
                Cell::Number(value) => value.to_string(),
                Cell::Text(text) => quoted(text),
            };
            let _ = write!(out, ",{text}");
        }
    }
    out.push_str("\r\n");
    out
}

pub(super) async fn csv(State(app): App, visitor: Visitor) -> Answer {
    let (runs, _) = asked_for(&app, &visitor).await?;
    let kind = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"runs.csv\""),
    ];
    Ok((kind, table_of(&runs)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(title: &'static str, rows: &[(&str, &[&str])]) -> ComparedSection {
        let cells = |values: &[&str]| {
            values.iter().map(|v| Cell::param(Some(*v).filter(|v| !v.is_empty()))).collect()
        };
        let rows = rows.iter().map(|(key, values)| ComparedRow { key: (*key).into(), cells: cells(values) });
        ComparedSection { title, rows: rows.collect() }
    }

    fn some() -> Vec<ComparedSection> {
        vec![
            section("Metrics", &[("auc", &["0.9", "0.8"]), ("same", &["1", "1"])]),
            section("Params", &[("depth", &["2", "4"]), ("lr", &["0.1", ""]), ("model", &["gbt", "mlp"])]),
        ]
    }

    #[test]
    fn what_says_most_is_drawn_first() {
        let drawn =
            |query: &[(&str, &str)]| plot(&some(), &ViewUrl::new("/", query.iter().copied()), String::new());
        let scatter = drawn(&[("plot", "scatter")]);
        assert_eq!(
            (scatter.x.as_str(), scatter.y.as_str(), scatter.z.as_str()),
            ("params.depth", "metrics.auc", "")
        );
        let contour = drawn(&[("plot", "contour"), ("x", "params.model")]);
        assert_eq!(
            (contour.x.as_str(), contour.y.as_str(), contour.z.as_str()),
            ("params.depth", "params.lr", "metrics.auc"),
            "what is no number has no place on an axis"
        );
        assert_eq!(drawn(&[]).dims, ["params.depth", "params.lr", "params.model", "metrics.auc"]);
        assert_eq!(drawn(&[("dim", "params.lr"), ("dim", "params.gone")]).dims, ["params.lr"]);
    }

    #[test]
    fn rows_are_narrowed_by_name_and_difference_and_shown_in_pages() {
        let shown = |query: &[(&str, &str)], first, most| {
            let mut sections = some();
            let all = narrowed(&mut sections, &ViewUrl::new("/", query.iter().copied()), first, most);
            let keys: Vec<String> = sections.into_iter().flat_map(|s| s.rows).map(|r| r.key).collect();
            (all, keys.join(" "))
        };
        assert_eq!(shown(&[], 0, 9), (5, "auc same depth lr model".into()));
        assert_eq!(shown(&[], 1, 2), (5, "same depth".into()));
        assert_eq!(shown(&[("diff", "1")], 0, 2), (4, "auc depth".into()));
        assert_eq!(shown(&[("q", "MOD")], 0, 9), (1, "model".into()));
    }

    #[test]
    fn csv_is_quoted_where_it_must_be() {
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"x\""), "\"say \"\"x\"\"\"");
        assert_eq!(quoted("plain"), "plain");
    }
}
