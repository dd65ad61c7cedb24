//! Models as runs logged them: those of an experiment, and one.

use super::{ArtifactListing, Pager, Preview, Signature};
use crate::links::ViewUrl;
use crate::parts::{Badge, Lineage, Pair, Reference, TagRow};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// A logged model in one line.
#[derive(Clone, Debug)]
pub struct LoggedModelRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where its upload stands.
    pub status: Badge,
    /// What kind of thing it is; may be empty.
    pub kind: String,
    /// The run that made it.
    pub run: Option<Reference>,
    /// The versions that it was registered as.
    pub versions: Vec<Reference>,
    /// The latest value of each of the page's metrics.
    pub metrics: Vec<Option<f64>>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The logged models of an experiment. The view reads `filter`, `sort` (`name`, `created_at`, `metrics.<name>`) and `cursor`.
#[derive(Clone, Debug, Template)]
#[template(path = "logged_models.html")]
pub struct LoggedModelsPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view and its filter.
    pub view: ViewUrl,
    /// The experiment.
    pub experiment: Reference,
    /// What is wrong with the filter.
    pub filter_problem: Option<String>,
    /// The metrics that have a column.
    pub metrics: Vec<String>,
    /// The models.
    pub models: Vec<LoggedModelRow>,
    /// Where the table's page ends.
    pub pager: Pager,
}

impl LoggedModelsPage {
    /// The metrics with the key that each is sorted by.
    pub(crate) fn sorts(&self) -> Vec<(&str, String)> {
        self.metrics.iter().map(|name| (name.as_str(), format!("metrics.{name}"))).collect()
    }
}

/// What was measured of a logged model on one dataset.
#[derive(Clone, Debug)]
pub struct ModelMetricRow {
    /// The metric.
    pub key: String,
    /// The latest value.
    pub value: f64,
    /// The step of it.
    pub step: i64,
    /// The name and the digest, which may be empty, of the dataset that it was measured on, if that was said.
    pub dataset: Option<(String, String)>,
    /// The run that logged it.
    pub run: Reference,
}

/// One logged model. The view reads `tab` (`artifacts`) and, for those, `path`.
#[derive(Clone, Debug, Template)]
#[template(path = "logged_model.html")]
pub struct LoggedModelPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view.
    pub view: ViewUrl,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where its upload stands.
    pub status: Badge,
    /// What kind of thing it is; may be empty.
    pub kind: String,
    /// Its experiment.
    pub experiment: Reference,
    /// The run that made it.
    pub run: Option<Reference>,
    /// The versions that it was registered as.
    pub versions: Vec<Reference>,
    /// Who made it, as authenticated.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// The flavours that can load it: `sklearn`, `python_function`.
    pub flavours: Vec<String>,
    /// What it takes and gives, when recorded.
    pub signature: Option<Signature>,
    /// Its params, by key.
    pub params: Vec<Pair>,
    /// What was measured of it.
    pub metrics: Vec<ModelMetricRow>,
    /// What is said of it, if anybody ever did.
    pub note: Option<TagRow>,
    /// Its tags, by key.
    pub tags: Vec<TagRow>,
    /// Its files, when they are what is shown.
    pub artifacts: Option<ArtifactListing>,
    /// What it came from and what came from it.
    pub lineage: Lineage,
}

impl LoggedModelPage {
    pub(crate) fn tabs(&self) -> [(&'static str, String, bool); 2] {
        let link = |word| ViewUrl::new(self.view.path(), [("tab", word)]).first_page();
        let files = self.artifacts.is_some();
        [("Overview", link(""), !files), ("Artifacts", link("artifacts"), files)]
    }

    /// The first words of the command that registers it.
    pub(crate) fn registering(&self) -> String {
        format!("mlflow.register_model(\"models:/{}\", \"a-name\")", self.id)
    }
}
