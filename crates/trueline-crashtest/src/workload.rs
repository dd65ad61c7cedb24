//! The load: clients that train, upload, register and move aliases over MLflow's REST API, ask an endpoint, tell labels and
//! add versions of datasets, until the server is gone.

mod data;
mod serving;

use crate::Rng;
use crate::api::{Api, Failure, text};
use crate::story::{Contents, Experiment, Logged, Model, Pending, Run, Story};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sizes of files: many small ones, some that take several writes.
const LARGEST_FILE: u64 = 200_000;
/// Some files have the bytes of others, so that puts of one blob meet.
const COMMON_FILES: u64 = 8;

/// One client in one round.
pub(crate) struct Client<'a> {
    api: Api,
    rng: Rng,
    story: Story,
    /// What its names begin with: no two clients or rounds have the same.
    prefix: String,
    /// Set just before the server is killed: connections may break from then on.
    crashing: &'a AtomicBool,
}

/// Why a client ended.
pub(crate) enum End {
    /// The server was killed.
    Crash,
    /// The server did what it should not.
    Finding(String),
}

type Done<T = ()> = Result<T, End>;

impl<'a> Client<'a> {
    pub(crate) fn new(api: Api, rng: Rng, prefix: String, crashing: &'a AtomicBool) -> Self {
        Self { api, rng, story: Story::default(), prefix, crashing }
    }

    /// Lets it deploy too; `version` is what answers now.
    pub(crate) fn that_deploys(mut self, version: u64) -> Self {
        self.story.deployed = Some(version);
        self
    }

    /// Works until the server is gone; answers what was acknowledged, and a finding if there was one.
    pub(crate) fn run(mut self, shared_model: &str) -> (Story, Option<String>) {
        let end = self.work(shared_model);
        match end {
            Ok(()) | Err(End::Crash) => (self.story, None),
            Err(End::Finding(finding)) => (self.story, Some(finding)),
        }
    }

    fn work(&mut self, shared_model: &str) -> Done {
        let alias = format!("{}-best", self.prefix);
        let model = |name: String, shared, alias| Model {
            name,
            shared,
            versions: BTreeMap::new(),
            alias,
            alias_at: None,
        };
        self.story.models.push(model(shared_model.to_owned(), true, alias));
        self.create_experiment()?;
        let name = format!("{}-model", self.prefix);
        self.send(Pending::Model { name: name.clone() }, |api| {
            api.post("registered-models/create", &json!({ "name": name })).map(drop)
        })?;
        self.story.models.push(model(name, false, "champion".to_owned()));
        loop {
            if self.rng.chance(0.05) {
                self.create_experiment()?;
            }
            self.train()?;
            self.overwrite_latest()?;
            self.serve()?;
            self.add_data()?;
        }
    }

    /// Sends one write and notes that it is under way until its answer is there.
    fn send<T>(&mut self, pending: Pending, request: impl Fn(&Api) -> Result<T, Failure>) -> Done<T> {
        let what = format!("{pending:?}");
        self.story.pending = Some(pending);
        match request(&self.api) {
            Ok(answer) => {
                self.story.pending = None;
                self.story.acknowledged += 1;
                Ok(answer)
            }
            Err(Failure::Broken(_)) if self.crashing.load(Ordering::SeqCst) => Err(End::Crash),
            Err(failure) => Err(End::Finding(format!("under load, {what}: {failure}"))),
        }
    }

    fn create_experiment(&mut self) -> Done {
        let name = format!("{}-experiment-{}", self.prefix, self.story.experiments.len());
        let id = self.send(Pending::Experiment { name: name.clone() }, |api| {
            api.post("experiments/create", &json!({ "name": name })).map(|a| text(&a["experiment_id"]))
        })?;
        self.story.experiments.push(Experiment { name, id, runs: Vec::new() });
        Ok(())
    }

    /// A run from its start to its end: batches, files, perhaps a version and an alias.
    fn train(&mut self) -> Done {
        let experiment = self.story.experiments.len() - 1;
        let run = self.create_run(experiment)?;
        for step in 0..self.rng.within(1..5) {
            self.log_batch(experiment, run, step)?;
        }
        if self.rng.chance(0.5) {
            let uri = self.story.experiments[experiment].runs[run].artifact_uri.clone();
            let folder = uri.trim_start_matches("mlflow-artifacts:").trim_start_matches('/').to_owned();
            for file in ["weights.bin", "MLmodel"] {
                let contents = self.contents();
                self.put(format!("{folder}/model/{file}"), contents)?;
            }
            if self.rng.chance(0.6) {
                self.register(&format!("{uri}/model"))?;
            }
        }
        if self.rng.chance(0.8) {
            self.finish(experiment, run)?;
        }
        Ok(())
    }

    fn create_run(&mut self, experiment: usize) -> Done<usize> {
        let own = &self.story.experiments[experiment];
        let (id, number) = (own.id.clone(), own.runs.len());
        let name = format!("{}-run-{experiment}-{number}", self.prefix);
        let tag = ("crash.key".to_owned(), name.clone());
        let ask = json!({
            "experiment_id": id, "run_name": name, "start_time": 1, "tags": [{ "key": tag.0, "value": tag.1 }],
        });
        let pending = Pending::Run { experiment, name: name.clone() };
        let info =
            self.send(pending, |api| api.post("runs/create", &ask).map(|a| a["run"]["info"].clone()))?;
        let logged = Logged { tags: BTreeMap::from([tag]), ..Logged::default() };
        let (id, artifact_uri) = (text(&info["run_id"]), text(&info["artifact_uri"]));
        self.story.experiments[experiment].runs.push(Run {
            name,
            id,
            artifact_uri,
            logged,
            ..Run::default()
        });
        Ok(number)
    }

    fn log_batch(&mut self, experiment: usize, run: usize, step: u64) -> Done {
        let mut batch = Logged::default();
        for i in 0..self.rng.within(1..4) {
            batch.params.insert(format!("p{step}.{i}"), format!("{:x}", self.rng.number()));
        }
        batch.tags.insert(format!("t{step}"), format!("{:x}", self.rng.number()));
        // Overwritten by each batch.
        batch.tags.insert("last".to_owned(), format!("{step}"));
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        for key in ["loss", "accuracy"] {
            // A number that is the same after any way through decimal text.
            let value = f64::from(u16::try_from(self.rng.below(10_000)).unwrap_or(0)) / 8.0;
            batch.metrics.insert(key.to_owned(), BTreeMap::from([(step, value)]));
        }
        let ask = batch_request(&self.story.experiments[experiment].runs[run].id, &batch);
        let pending = Pending::Batch { experiment, run, batch: batch.clone() };
        self.send(pending, |api| api.post("runs/log-batch", &ask).map(drop))?;
        let run = &mut self.story.experiments[experiment].runs[run];
        run.logged.add(&batch);
        run.batches += 1;
        Ok(())
    }

    fn finish(&mut self, experiment: usize, run: usize) -> Done {
        let id = self.story.experiments[experiment].runs[run].id.clone();
        let ask = json!({ "run_id": id, "status": "FINISHED", "end_time": 2 });
        self.send(Pending::Finish { experiment, run }, |api| api.post("runs/update", &ask).map(drop))?;
        self.story.experiments[experiment].runs[run].finished = true;
        Ok(())
    }

    fn contents(&mut self) -> Contents {
        if self.rng.chance(0.3) {
            let seed = self.rng.below(COMMON_FILES);
            return Contents { seed, size: 1000 + usize::try_from(seed * 3000).unwrap_or(0) };
        }
        let largest = if self.rng.chance(0.8) { 4000 } else { LARGEST_FILE };
        Contents { seed: self.rng.number(), size: usize::try_from(self.rng.below(largest)).unwrap_or(0) }
    }

    fn put(&mut self, path: String, contents: Contents) -> Done {
        let bytes = contents.bytes();
        let pending = Pending::File { path: path.clone(), contents };
        self.send(pending, |api| api.put_artifact(&path, &bytes))?;
        self.story.files.insert(path, contents);
        Ok(())
    }

    fn overwrite_latest(&mut self) -> Done {
        if self.rng.chance(0.2) {
            let contents = self.contents();
            self.put(format!("{}/latest.bin", self.prefix), contents)?;
        }
        Ok(())
    }

    fn register(&mut self, source: &str) -> Done {
        let model = usize::from(self.rng.chance(0.5));
        let name = self.story.models[model].name.clone();
        let pending = Pending::Version { model, source: source.to_owned() };
        let ask = json!({ "name": name, "source": source });
        let number = self.send(pending, |api| {
            api.post("model-versions/create", &ask).map(|a| text(&a["model_version"]["version"]))
        })?;
        let Ok(version) = number.parse::<u64>() else {
            return Err(End::Finding(format!("a version of {name} has the number '{number}'")));
        };
        self.story.models[model].versions.insert(version, source.to_owned());
        if self.rng.chance(0.7) {
            let alias = self.story.models[model].alias.clone();
            let ask = json!({ "name": name, "alias": alias, "version": number });
            let pending = Pending::Alias { model, version };
            self.send(pending, |api| api.post("registered-models/alias", &ask).map(drop))?;
            self.story.models[model].alias_at = Some(version);
        }
        Ok(())
    }
}

fn batch_request(run: &str, batch: &Logged) -> serde_json::Value {
    let pairs = |map: &BTreeMap<String, String>| -> Vec<_> {
        map.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
    };
    let point = |key: &String, (step, value): (&i64, &f64)| json!({ "key": key, "value": value, "timestamp": 1000 + step, "step": step });
    let metrics = batch.metrics.iter().flat_map(|(key, points)| points.iter().map(move |p| point(key, p)));
    json!({
        "run_id": run, "params": pairs(&batch.params), "tags": pairs(&batch.tags),
        "metrics": metrics.collect::<Vec<_>>(),
    })
}
