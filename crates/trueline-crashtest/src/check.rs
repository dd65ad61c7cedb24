//! Is every acknowledged write there, once and as it was, and the one under way at the crash there whole or not at all?
//! What of the latter is there counts as acknowledged from then on: the server has shown it.

mod data;
mod serving;

use crate::api::{Api, Failure, list, text};
use crate::story::{Experiment, Logged, Model, Pending, Run, Story};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// How much of a story is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Experiments, runs with their params, tags and latest metrics, versions and aliases, predictions with their labels.
    Rows,
    /// Each point of each metric, the bytes of each file, versions of datasets and the events of each run as well.
    All,
}

/// What a check came to.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) findings: Vec<String>,
    /// Requests without an answer whose writes are there.
    pub(crate) kept: usize,
    /// Requests without an answer whose writes are not there.
    pub(crate) dropped: usize,
}

/// Checks stories side by side.
pub(crate) fn check(api: &Api, stories: &mut [Story], depth: Depth) -> Checked {
    let mut all = Checked::default();
    let done: Vec<Checked> = std::thread::scope(|scope| {
        let start = |story| scope.spawn(move || Checker::new(api.clone(), depth).story(story));
        let threads: Vec<_> = stories.iter_mut().map(start).collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    for one in done {
        all.findings.extend(one.findings);
        all.kept += one.kept;
        all.dropped += one.dropped;
    }
    all
}

struct Checker {
    api: Api,
    depth: Depth,
    out: Checked,
}

type Asked<T = ()> = Result<T, Failure>;

impl Checker {
    fn new(api: Api, depth: Depth) -> Self {
        Self { api, depth, out: Checked::default() }
    }

    fn story(mut self, story: &mut Story) -> Checked {
        if let Err(failure) = self.try_story(story) {
            self.find(format!("after the restart, {failure}"));
        }
        self.out
    }

    fn try_story(&mut self, story: &mut Story) -> Asked {
        let pending = story.pending.take();
        if let Some(Pending::Experiment { name }) = &pending {
            self.pending_experiment(story, name)?;
        }
        for (i, experiment) in story.experiments.iter_mut().enumerate() {
            self.experiment(experiment, i, pending.as_ref())?;
        }
        self.files(story, pending.as_ref())?;
        if let Some(Pending::Model { name }) = &pending {
            let there = missing_is_none(self.api.mlflow("registered-models/get", &[("name", name)]))?;
            self.settle(there.is_some());
        }
        for (i, model) in story.models.iter_mut().enumerate() {
            self.versions(model, i, pending.as_ref())?;
            self.alias(model, i, pending.as_ref())?;
        }
        self.predictions(story, pending.as_ref())?;
        self.datasets(story, pending.as_ref())
    }

    fn find(&mut self, finding: String) {
        self.out.findings.push(finding);
    }

    /// Notes what became of the request without an answer.
    fn settle(&mut self, there: bool) {
        if there {
            self.out.kept += 1;
        } else {
            self.out.dropped += 1;
        }
    }

    fn pending_experiment(&mut self, story: &mut Story, name: &str) -> Asked {
        let found = self.api.mlflow("experiments/get-by-name", &[("experiment_name", name)]);
        let found = missing_is_none(found)?;
        self.settle(found.is_some());
        if let Some(found) = found {
            let id = text(&found["experiment"]["experiment_id"]);
            story.experiments.push(Experiment { name: name.to_owned(), id, runs: Vec::new() });
        }
        Ok(())
    }

    fn experiment(&mut self, experiment: &mut Experiment, i: usize, pending: Option<&Pending>) -> Asked {
        let found = self.api.mlflow("experiments/get", &[("experiment_id", &experiment.id)]);
        let Some(found) = missing_is_none(found)? else {
            self.find(format!("lost: the experiment {} ({})", experiment.name, experiment.id));
            return Ok(());
        };
        if found["experiment"]["name"] != experiment.name.as_str() {
            self.find(format!("the experiment {} is not {}", experiment.id, experiment.name));
        }
        let mut found: BTreeMap<String, Vec<Json>> = BTreeMap::new();
        for run in self.api.runs(&experiment.id)? {
            found.entry(text(&run["info"]["run_name"])).or_default().push(run);
        }
        for (j, run) in experiment.runs.iter_mut().enumerate() {
            let rows = found.remove(&run.name).unwrap_or_default();
            self.run(run, &rows, change_of(pending, i, j))?;
        }
        if let Some(Pending::Run { experiment: at, name }) = pending
            && *at == i
        {
            let rows = found.remove(name).unwrap_or_default();
            self.settle(!rows.is_empty());
            if let Some(row) = rows.first() {
                let mut run = adopted(name, row);
                self.run(&mut run, &rows, None)?;
                experiment.runs.push(run);
            }
        }
        for name in found.keys() {
            self.find(format!("the experiment {} has a run {name} that nobody made", experiment.name));
        }
        Ok(())
    }

    /// Compares a run with what is known of it; `rows` are those with its name.
    fn run(&mut self, run: &mut Run, rows: &[Json], change: Option<&Pending>) -> Asked {
        let [row] = rows else {
            let what = if rows.is_empty() { "lost" } else { "there more than once" };
            self.find(format!("{what}: the run {} ({})", run.name, run.id));
            return Ok(());
        };
        if row["info"]["run_id"] != run.id.as_str() {
            self.find(format!("the run {} has another id than {}", run.name, run.id));
            return Ok(());
        }
        let found = match self.logged(run, row)? {
            Ok(found) => found,
            Err(twice) => {
                self.find(format!("there more than once: {twice} of the run {}", run.name));
                return Ok(());
            }
        };
        self.compare_data(run, &found, change);
        let finished = row["info"]["status"] == "FINISHED";
        if matches!(change, Some(Pending::Finish { .. })) {
            self.settle(finished);
            run.finished = finished;
        }
        if run.finished != finished {
            self.find(format!("the run {} has the status {}", run.name, row["info"]["status"]));
        }
        if self.depth == Depth::All { self.events(run) } else { Ok(()) }
    }

    fn compare_data(&mut self, run: &mut Run, found: &Logged, change: Option<&Pending>) {
        let depth = self.depth;
        let project = |logged: &Logged| if depth == Depth::All { logged.clone() } else { latest(logged) };
        let mut with = run.logged.clone();
        if let Some(Pending::Batch { batch, .. }) = change {
            with.add(batch);
        }
        let (as_known, as_changed) = (*found == project(&run.logged), *found == project(&with));
        if matches!(change, Some(Pending::Batch { .. })) && (as_known || as_changed) {
            self.settle(as_changed);
        }
        if !as_known && as_changed {
            run.logged = with;
            run.batches += 1;
        } else if !as_known {
            let known = project(&run.logged);
            self.find(format!(
                "lost or half there: of the run {} is known {known:?}, found {found:?}",
                run.name
            ));
        }
    }

    /// A run's data as the server has it; `Err` names what is there twice.
    fn logged(&self, run: &Run, row: &Json) -> Asked<Result<Logged, String>> {
        let (Some(params), Some(mut tags)) = (pairs(&row["data"]["params"]), pairs(&row["data"]["tags"]))
        else {
            return Ok(Err("a param or tag".to_owned()));
        };
        tags.retain(|key, _| !key.starts_with("mlflow."));
        let mut metrics = BTreeMap::new();
        for latest in list(&row["data"]["metrics"]) {
            let key = text(&latest["key"]);
            let mut series = vec![latest];
            if self.depth == Depth::All {
                let query = [("run_id", run.id.as_str()), ("metric_key", key.as_str())];
                series = list(&self.api.mlflow("metrics/get-history", &query)?["metrics"]);
            }
            let point = |p: &Json| Some((p["step"].as_i64()?, p["value"].as_f64()?));
            let points: BTreeMap<i64, f64> = series.iter().filter_map(point).collect();
            if points.len() != series.len() || metrics.insert(key.clone(), points).is_some() {
                return Ok(Err(format!("a point of {key}")));
            }
        }
        Ok(Ok(Logged { params, tags, metrics }))
    }

    /// The ledger tells of each change of a run once.
    fn events(&mut self, run: &Run) -> Asked {
        let query = [("resource_kind", "run"), ("resource_id", run.id.as_str()), ("limit", "500")];
        let events = list(&self.api.get("/api/v1/ledger/events", &query)?["events"]);
        let count = |action: &str| events.iter().filter(|e| e["action"] == action).count();
        let expected =
            [("run.created", 1), ("run.logged", run.batches), ("run.updated", usize::from(run.finished))];
        for (action, n) in expected {
            if count(action) != n {
                self.find(format!(
                    "the ledger has {} events {action} of the run {}, not {n}",
                    count(action),
                    run.name
                ));
            }
        }
        Ok(())
    }

    fn files(&mut self, story: &mut Story, pending: Option<&Pending>) -> Asked {
        if let Some(Pending::File { path, contents }) = pending {
            let found = missing_is_none(self.api.artifact_bytes(path))?;
            let there = found.as_ref().is_some_and(|bytes| *bytes == contents.bytes());
            self.settle(there);
            if there {
                story.files.insert(path.clone(), *contents);
            } else if found.is_some() && !story.files.contains_key(path) {
                self.find(format!("half there: the file {path}"));
            }
        }
        for (path, contents) in &story.files {
            let of_pending = matches!(pending, Some(Pending::File { path: p, .. }) if p == path);
            if self.depth == Depth::Rows && !of_pending {
                continue;
            }
            match missing_is_none(self.api.artifact_bytes(path))? {
                None => self.find(format!("lost: the file {path}")),
                Some(bytes) if bytes != contents.bytes() => {
                    self.find(format!("the file {path} has other bytes"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn versions(&mut self, model: &mut Model, i: usize, pending: Option<&Pending>) -> Asked {
        let filter = format!("name='{}'", model.name);
        let query = [("filter", filter.as_str()), ("max_results", "100000")];
        let rows = list(&self.api.mlflow("model-versions/search", &query)?["model_versions"]);
        let mut by_source: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for row in &rows {
            let number = text(&row["version"]).parse().unwrap_or(0);
            by_source.entry(text(&row["source"])).or_default().push(number);
        }
        for (version, source) in &model.versions {
            match by_source.remove(source).as_deref() {
                Some([number]) if number == version => {}
                Some(other) => self.find(format!("{} version {version} is {other:?} now", model.name)),
                None => self.find(format!("lost: version {version} of {}", model.name)),
            }
        }
        if let Some(Pending::Version { model: at, source }) = pending
            && *at == i
        {
            let there = by_source.remove(source);
            self.settle(there.is_some());
            match there.as_deref() {
                None => {}
                Some([number]) => drop(model.versions.insert(*number, source.clone())),
                Some(twice) => {
                    self.find(format!("there more than once: {source} is {twice:?} of {}", model.name));
                }
            }
        }
        if !model.shared && !by_source.is_empty() {
            self.find(format!("{} has versions that nobody registered: {by_source:?}", model.name));
        }
        Ok(())
    }

    fn alias(&mut self, model: &mut Model, i: usize, pending: Option<&Pending>) -> Asked {
        let query = [("name", model.name.as_str()), ("alias", model.alias.as_str())];
        let found = match self.api.mlflow("registered-models/alias", &query) {
            Ok(found) => text(&found["model_version"]["version"]).parse().ok(),
            Err(Failure::Refused { .. }) => None,
            Err(broken) => return Err(broken),
        };
        if let Some(Pending::Alias { model: at, version }) = pending
            && *at == i
        {
            self.settle(found == Some(*version));
            if found == Some(*version) {
                model.alias_at = found;
            }
        }
        if found != model.alias_at {
            self.find(format!(
                "the alias {}@{} is {found:?}, not {:?}",
                model.name, model.alias, model.alias_at
            ));
        }
        Ok(())
    }
}

/// The request under way, when it was a change of this run.
fn change_of(pending: Option<&Pending>, i: usize, j: usize) -> Option<&Pending> {
    pending.filter(|p| match p {
        Pending::Batch { experiment, run, .. } | Pending::Finish { experiment, run } => {
            (*experiment, *run) == (i, j)
        }
        _ => false,
    })
}

/// A run whose creation got no answer, but which is there.
fn adopted(name: &str, row: &Json) -> Run {
    let tags = BTreeMap::from([("crash.key".to_owned(), name.to_owned())]);
    Run {
        name: name.to_owned(),
        id: text(&row["info"]["run_id"]),
        artifact_uri: text(&row["info"]["artifact_uri"]),
        logged: Logged { tags, ..Logged::default() },
        ..Run::default()
    }
}

/// The last point of each metric alone.
fn latest(logged: &Logged) -> Logged {
    let last =
        |points: &BTreeMap<i64, f64>| points.iter().next_back().map(|(s, v)| (*s, *v)).into_iter().collect();
    let metrics = logged.metrics.iter().map(|(key, points)| (key.clone(), last(points))).collect();
    Logged { metrics, ..logged.clone() }
}

/// Keys and values; none when a key is there twice.
fn pairs(value: &Json) -> Option<BTreeMap<String, String>> {
    let rows = list(value);
    let map: BTreeMap<_, _> = rows.iter().map(|p| (text(&p["key"]), text(&p["value"]))).collect();
    (map.len() == rows.len()).then_some(map)
}

fn missing_is_none<T>(asked: Asked<T>) -> Asked<Option<T>> {
    match asked {
        Ok(found) => Ok(Some(found)),
        Err(Failure::Refused { status: 404, .. }) => Ok(None),
        Err(other) => Err(other),
    }
}
