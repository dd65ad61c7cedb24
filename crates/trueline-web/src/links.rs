//! Where every page lives, and the state of a view in its URL. Nothing else in this crate spells a path.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Write as _;

/// Everything but RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// A query value may also hold what makes filters readable.
const QUERY: &AsciiSet = &SEGMENT.remove(b'/').remove(b':').remove(b',').remove(b'@');

pub(crate) fn segment(text: &str) -> String {
    // A lone dot or two would be read as a step in the path.
    if matches!(text, "." | "..") {
        return text.replace('.', "%2E");
    }
    utf8_percent_encode(text, SEGMENT).to_string()
}

fn query(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

/// What files belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilesOf<'a> {
    /// The run with this id.
    Run(&'a str),
    /// The logged model with this id.
    LoggedModel(&'a str),
}

/// The pages of one project, and those of the server.
#[derive(Clone, Debug, Default)]
pub struct Links {
    base: String,
}

impl Links {
    /// Links within `project`; without one, a project's pages lead to the start page.
    #[must_use]
    pub fn new(project: Option<&str>) -> Self {
        Self { base: project.map_or_else(String::new, |p| format!("/p/{}", segment(p))) }
    }

    /// The home page of the project.
    #[must_use]
    pub fn home(&self) -> String {
        if self.base.is_empty() { "/".to_owned() } else { self.base.clone() }
    }

    fn within(&self, rest: &str) -> String {
        format!("{}/{rest}", self.base)
    }

    /// All experiments.
    #[must_use]
    pub fn experiments(&self) -> String {
        self.within("experiments")
    }

    /// One experiment: the table of its runs.
    #[must_use]
    pub fn experiment(&self, id: &str) -> String {
        self.within(&format!("experiments/{}", segment(id)))
    }

    /// Where a view of the table of runs is saved, by POST of `name` and `query`.
    #[must_use]
    pub fn views(&self, experiment: &str) -> String {
        format!("{}/views", self.experiment(experiment))
    }

    /// Where a saved view is deleted, by POST of `name`.
    #[must_use]
    pub fn delete_view(&self, experiment: &str) -> String {
        format!("{}/delete", self.views(experiment))
    }

    /// The traces of an experiment; the page reads `?run=` for those of one run.
    #[must_use]
    pub fn traces(&self, experiment: &str) -> String {
        format!("{}/traces", self.experiment(experiment))
    }

    /// The traces that were made under a run.
    #[must_use]
    pub fn traces_of_run(&self, experiment: &str, run: &str) -> String {
        format!("{}?run={}", self.traces(experiment), query(run))
    }

    /// One trace; the page reads `?span=`.
    #[must_use]
    pub fn trace(&self, id: &str) -> String {
        self.within(&format!("traces/{}", segment(id)))
    }

    /// One span of a trace.
    #[must_use]
    pub fn span(&self, trace: &str, span: &str) -> String {
        format!("{}?span={}#span-{}", self.trace(trace), query(span), segment(span))
    }

    /// The spans of a trace as a file, for those that lie apart from it.
    #[must_use]
    pub fn trace_file(&self, project: &str, trace: &str) -> String {
        format!(
            "/projects/{}/ajax-api/3.0/mlflow/get-trace-artifact?request_id={}",
            segment(project),
            query(trace)
        )
    }

    /// Runs side by side; the page reads `?run=` as often as it is given.
    #[must_use]
    pub fn compare(&self) -> String {
        self.within("compare")
    }

    /// The same runs as a table in CSV.
    #[must_use]
    pub fn compare_csv(&self) -> String {
        self.within("compare.csv")
    }

    /// One run.
    #[must_use]
    pub fn run(&self, id: &str) -> String {
        self.within(&format!("runs/{}", segment(id)))
    }

    /// What is new of a run, for a part of its page and the path that is open in it.
    #[must_use]
    pub fn run_live(&self, id: &str, tab: &str, path: &str) -> String {
        format!("{}/live?tab={}&path={}", self.run(id), query(tab), query(path))
    }

    /// The models that the runs of an experiment logged.
    #[must_use]
    pub fn logged_models(&self, experiment: &str) -> String {
        format!("{}/models", self.experiment(experiment))
    }

    /// A model as a run logged it, registered or not.
    #[must_use]
    pub fn logged_model(&self, id: &str) -> String {
        self.within(&format!("logged-models/{}", segment(id)))
    }

    fn files(&self, of: FilesOf<'_>, part: &str, path: &str) -> String {
        let owner = match of {
            FilesOf::Run(id) => self.run(id),
            FilesOf::LoggedModel(id) => self.logged_model(id),
        };
        let path = path.split('/').map(segment).collect::<Vec<_>>().join("/");
        format!("{owner}/{part}/{path}")
    }

    /// The bytes of an artifact.
    #[must_use]
    pub fn artifact(&self, of: FilesOf<'_>, path: &str) -> String {
        self.files(of, "artifacts", path)
    }

    /// A picture or a page among the artifacts, to be shown within the page of what they belong to.
    #[must_use]
    pub fn preview(&self, of: FilesOf<'_>, path: &str) -> String {
        self.files(of, "preview", path)
    }

    /// All models.
    #[must_use]
    pub fn models(&self) -> String {
        self.within("models")
    }

    /// One model: its versions and aliases.
    #[must_use]
    pub fn model(&self, name: &str) -> String {
        self.within(&format!("models/{}", segment(name)))
    }

    /// One version of a model.
    #[must_use]
    pub fn version(&self, model: &str, version: &str) -> String {
        self.within(&format!("models/{}/versions/{}", segment(model), segment(version)))
    }

    /// All pipelines.
    #[must_use]
    pub fn pipelines(&self) -> String {
        self.within("pipelines")
    }

    /// One pipeline: its graph and its runs.
    #[must_use]
    pub fn pipeline(&self, name: &str) -> String {
        self.within(&format!("pipelines/{}", segment(name)))
    }

    /// One run of a pipeline.
    #[must_use]
    pub fn pipeline_run(&self, id: &str) -> String {
        self.within(&format!("pipeline-runs/{}", segment(id)))
    }

    /// All datasets.
    #[must_use]
    pub fn datasets(&self) -> String {
        self.within("data")
    }

    /// One dataset: its versions.
    #[must_use]
    pub fn dataset(&self, name: &str) -> String {
        self.within(&format!("data/{}", segment(name)))
    }

    /// One version of a dataset.
    #[must_use]
    pub fn dataset_version(&self, name: &str, number: &i64) -> String {
        self.within(&format!("data/{}/versions/{number}", segment(name)))
    }

    /// All feature views.
    #[must_use]
    pub fn features(&self) -> String {
        self.within("features")
    }

    /// One feature view, or a version of it: `weather@2`.
    #[must_use]
    pub fn feature_view(&self, reference: &str) -> String {
        self.within(&format!("features/{}", segment(reference)))
    }

    /// Where a version's gates are run, by POST.
    #[must_use]
    pub fn run_gates(&self, model: &str, version: &str) -> String {
        format!("{}/gate-runs", self.version(model, version))
    }

    /// Where a version is approved or rejected, or a decision taken back, by POST of `decision` and `comment`.
    #[must_use]
    pub fn decide(&self, model: &str, version: &str) -> String {
        format!("{}/approvals", self.version(model, version))
    }

    /// All monitors.
    #[must_use]
    pub fn monitors(&self) -> String {
        self.within("monitors")
    }

    /// One monitor.
    #[must_use]
    pub fn monitor(&self, name: &str) -> String {
        self.within(&format!("monitors/{}", segment(name)))
    }

    /// The points of a chart of a monitor: `psi:hour`.
    #[must_use]
    pub fn monitor_series(&self, name: &str, subject: &str) -> String {
        format!("{}/series/{}", self.monitor(name), segment(subject))
    }

    /// All incidents.
    #[must_use]
    pub fn incidents(&self) -> String {
        self.within("incidents")
    }

    /// One incident.
    #[must_use]
    pub fn incident(&self, id: &str) -> String {
        self.within(&format!("incidents/{}", segment(id)))
    }

    /// All endpoints.
    #[must_use]
    pub fn endpoints(&self) -> String {
        self.within("endpoints")
    }

    /// One endpoint.
    #[must_use]
    pub fn endpoint(&self, name: &str) -> String {
        self.within(&format!("endpoints/{}", segment(name)))
    }

    /// The part of an endpoint's page that is fetched again every few seconds.
    #[must_use]
    pub fn endpoint_live(&self, name: &str) -> String {
        format!("{}/live", self.endpoint(name))
    }

    /// What an endpoint was asked and answered; the page reads `?id=`, `key`, `from`, `to`, `outcome` and `version`.
    #[must_use]
    pub fn endpoint_predictions(&self, name: &str) -> String {
        format!("{}/predictions", self.endpoint(name))
    }

    /// Where an endpoint is rolled back, by POST of `reason`.
    #[must_use]
    pub fn roll_back(&self, name: &str) -> String {
        format!("{}/rollback", self.endpoint(name))
    }

    /// Where the bandit of an endpoint is stopped, by POST of `to` and `reason`.
    #[must_use]
    pub fn stop_bandit(&self, endpoint: &str) -> String {
        format!("{}/bandit", self.endpoint(endpoint))
    }

    /// Where a rollout is ended, by POST of `decision` and `reason`.
    #[must_use]
    pub fn rollout(&self, endpoint: &str, id: &str) -> String {
        format!("{}/rollouts/{}", self.endpoint(endpoint), segment(id))
    }

    /// Where a prediction is looked for; the page reads `?id=`.
    #[must_use]
    pub fn predictions(&self) -> String {
        self.within("predictions")
    }

    /// The line of one prediction.
    #[must_use]
    pub fn prediction(&self, id: &str) -> String {
        self.within(&format!("predictions/{}", segment(id)))
    }

    /// The ledger of the server.
    #[must_use]
    pub fn ledger(&self) -> String {
        "/ledger".to_owned()
    }

    /// Where "Verify now" is posted to.
    #[must_use]
    pub fn verify(&self) -> String {
        "/ledger/verify".to_owned()
    }

    /// One event, by its index in the log.
    #[must_use]
    pub fn event(&self, index: u64) -> String {
        format!("/ledger/{index}")
    }

    /// An event that has no index yet, or is known by its id only.
    #[must_use]
    pub fn event_by_id(&self, id: &str) -> String {
        format!("/ledger/by-id/{}", segment(id))
    }

    /// Search over everything that the caller may see.
    #[must_use]
    pub fn search(&self) -> String {
        "/search".to_owned()
    }

    /// A page of the settings: `projects`, `users`, `roles`, `tokens` or `storage`.
    #[must_use]
    pub fn settings(&self, part: &str) -> String {
        format!("/settings/{}", segment(part))
    }

    /// Where a token is revoked, by POST.
    #[must_use]
    pub fn revoke_token(&self, id: &str) -> String {
        format!("/settings/tokens/{}/revoke", segment(id))
    }

    /// Where a role is taken from a user, by POST of `user`, `role` and `project`.
    #[must_use]
    pub fn revoke_role(&self) -> String {
        "/settings/roles/revoke".to_owned()
    }

    /// Where a token is pasted.
    #[must_use]
    pub fn sign_in(&self) -> String {
        "/sign-in".to_owned()
    }

    /// Where the session is given up, by POST.
    #[must_use]
    pub fn sign_out(&self) -> String {
        "/sign-out".to_owned()
    }

    /// What an error's code means.
    #[must_use]
    pub fn error(&self, code: &str) -> String {
        format!("/docs/errors/{}", segment(code))
    }
}

/// The URL of a view: filters, sort, columns and cursor. Links on the page are this URL with one thing changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewUrl {
    path: String,
    pairs: Vec<(String, String)>,
}

/// A change of the filter, the order or the page starts again at the first row.
const CURSOR: &str = "cursor";

impl ViewUrl {
    /// The view at `path` with the query's decoded pairs, in their order.
    pub fn new<K: Into<String>, V: Into<String>>(
        path: impl Into<String>,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self {
            path: path.into(),
            pairs: pairs
                .into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .filter(|(_, v): &(String, String)| !v.is_empty())
                .collect(),
        }
    }

    /// The path, where a form is sent to.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The first value of `key`, or nothing.
    #[must_use]
    pub fn get(&self, key: &str) -> &str {
        self.pairs.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v)
    }

    /// All values of `key`, in their order.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The URL with one more `key`, or without that one when it is there.
    #[must_use]
    pub fn toggled(&self, key: &str, value: &str) -> String {
        let pair = (key.to_owned(), value.to_owned());
        let kept = self.pairs.iter().filter(|p| **p != pair && p.0 != CURSOR);
        write(&self.path, kept.chain((!self.pairs.contains(&pair)).then_some(&pair)))
    }

    /// What follows the `?`, of some of the keys alone.
    #[must_use]
    pub fn query_of(&self, keys: &[&str]) -> String {
        write("", self.pairs.iter().filter(|(k, _)| keys.contains(&k.as_str())))
            .trim_start_matches('?')
            .to_owned()
    }

    /// Whether anything but order, columns and page narrows the view.
    #[must_use]
    pub fn is_filtered(&self, keys: &[&str]) -> bool {
        keys.iter().any(|k| !self.get(k).is_empty())
    }

    /// What a form must carry along besides the fields that it shows itself.
    #[must_use]
    pub fn kept(&self, shown: &[&str]) -> Vec<(&str, &str)> {
        self.pairs
            .iter()
            .filter(|(k, _)| k != CURSOR && !shown.contains(&k.as_str()))
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect()
    }

    /// The URL with `key` set to `value`; an empty value takes it away.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> String {
        let kept = self.pairs.iter().filter(|(k, _)| k != key && k != CURSOR);
        let set = (key.to_owned(), value.to_owned());
        let set = (!value.is_empty()).then_some(&set);
        write(&self.path, kept.chain(set))
    }

    /// The URL without `key`.
    #[must_use]
    pub fn without(&self, key: &str) -> String {
        self.with(key, "")
    }

    /// The URL without some keys.
    #[must_use]
    pub fn cleared(&self, keys: &[&str]) -> String {
        let kept = self.pairs.iter().filter(|(k, _)| k != CURSOR && !keys.contains(&k.as_str()));
        write(&self.path, kept)
    }

    /// The URL that sorts by `key`: `?sort=key` ascending, `?sort=-key` descending, which comes first.
    #[must_use]
    pub fn sorted(&self, key: &str) -> String {
        let down = format!("-{key}");
        let next = if self.get("sort") == down { key } else { down.as_str() };
        self.with("sort", next)
    }

    /// How `key` is sorted, as `aria-sort` has it.
    #[must_use]
    pub fn order(&self, key: &str) -> &'static str {
        match self.get("sort") {
            s if s == key => "ascending",
            s if s.strip_prefix('-') == Some(key) => "descending",
            _ => "none",
        }
    }

    /// The next page of the view.
    #[must_use]
    pub fn page(&self, cursor: &str) -> String {
        self.with(CURSOR, cursor)
    }

    /// The first page of the view.
    #[must_use]
    pub fn first_page(&self) -> String {
        self.without(CURSOR)
    }

    /// Whether this is not the first page.
    #[must_use]
    pub fn is_paged(&self) -> bool {
        !self.get(CURSOR).is_empty()
    }
}

fn write<'a>(path: &str, pairs: impl Iterator<Item = &'a (String, String)>) -> String {
    let mut url = path.to_owned();
    for (i, (key, value)) in pairs.enumerate() {
        let _ = write!(url, "{}{}={}", if i == 0 { '?' } else { '&' }, query(key), query(value));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_in_paths() {
        let to = Links::new(Some("fraud"));
        assert_eq!(to.model("churn/v2 é"), "/p/fraud/models/churn%2Fv2%20%C3%A9");
        let (run, model) = (FilesOf::Run("r1"), FilesOf::LoggedModel("m-1"));
        assert_eq!(to.artifact(run, "model/a b.pkl"), "/p/fraud/runs/r1/artifacts/model/a%20b.pkl");
        assert_eq!(to.artifact(run, "../x"), "/p/fraud/runs/r1/artifacts/%2E%2E/x");
        assert_eq!(to.preview(model, "a/b.png"), "/p/fraud/logged-models/m-1/preview/a/b.png");
        assert_eq!(Links::new(None).home(), "/");
    }

    #[test]
    fn a_key_that_comes_many_times_is_taken_away_by_the_value() {
        let view = ViewUrl::new("/t", [("pin", "a"), ("pin", "b"), ("cursor", "50"), ("gone", "x")]);
        assert_eq!(view.all("pin").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(view.toggled("pin", "a"), "/t?pin=b&gone=x");
        assert_eq!(view.toggled("pin", "c"), "/t?pin=a&pin=b&gone=x&pin=c");
        assert_eq!(view.query_of(&["pin"]), "pin=a&pin=b");
        assert_eq!(view.cleared(&["gone", "filter"]), "/t?pin=a&pin=b");
        assert_eq!(view.query_of(&["col"]), "");
    }

    #[test]
    fn a_view_changes_one_thing_at_a_time() {
        let pairs = [("filter", "metrics.auc > 0.9"), ("sort", "-metrics.auc"), ("cursor", "abc"), ("q", "")];
        let view = ViewUrl::new("/p/x/experiments/1", pairs);
        assert_eq!(
            view.sorted("metrics.auc"),
            "/p/x/experiments/1?filter=metrics.auc%20%3E%200.9&sort=metrics.auc"
        );
        assert_eq!(view.order("metrics.auc"), "descending");
        assert_eq!(view.order("params.lr"), "none");
        assert_eq!(view.without("filter"), "/p/x/experiments/1?sort=-metrics.auc");
        assert_eq!(view.kept(&["filter"]), [("sort", "-metrics.auc")]);
        assert!(view.is_paged());
    }
}
