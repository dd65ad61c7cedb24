//! Datasets, the versions of one, and one version with schema, profile, files and recipe.

use super::Pager;
use crate::links::ViewUrl;
use crate::parts::{Bars, Lineage, Reference};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// A dataset by its newest version, or a version of it, in one line.
#[derive(Clone, Debug)]
pub struct DatasetRow {
    /// The dataset.
    pub name: String,
    /// The version's number.
    pub number: i64,
    /// Its id.
    pub id: String,
    /// Its rows.
    pub rows: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Whether Trueline made it: a training set.
    pub made_here: bool,
    /// Who added it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

/// All datasets. The view reads `cursor`.
#[derive(Clone, Debug, Template)]
#[template(path = "datasets.html")]
pub struct DatasetsPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view.
    pub view: ViewUrl,
    /// The datasets by name.
    pub datasets: Vec<DatasetRow>,
    /// Where the table's page ends.
    pub pager: Pager,
}

/// One dataset.
#[derive(Clone, Debug, Template)]
#[template(path = "dataset.html")]
pub struct DatasetPage {
    /// What all pages share.
    pub shell: Shell,
    /// Its name.
    pub name: String,
    /// Its versions, newest first.
    pub versions: Vec<DatasetRow>,
}

/// A column with what one scan told of it.
#[derive(Clone, Debug)]
pub struct ColumnRow {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// The share of rows without a value, as people read it.
    pub missing: String,
    /// Different values.
    pub distinct: Option<u64>,
    /// Whether that is an estimate.
    pub estimated: bool,
    /// The smallest value, or shortest length.
    pub min: Option<String>,
    /// The middle value.
    pub median: Option<String>,
    /// The largest value, or longest length.
    pub max: Option<String>,
    /// How the values spread.
    pub bars: Option<Bars>,
    /// The most frequent texts with their counts.
    pub frequent: Vec<(String, u64)>,
}

impl ColumnRow {
    pub(crate) fn range(&self) -> [Option<String>; 3] {
        [self.min.clone(), self.median.clone(), self.max.clone()]
    }
}

/// A file of a version.
#[derive(Clone, Debug)]
pub struct DataFile {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: String,
    /// Where its bytes are.
    pub href: String,
}

/// A view that a training set was joined with.
#[derive(Clone, Debug)]
pub struct JoinedView {
    /// The view with its version.
    pub view: Reference,
    /// The dataset version that it was read from.
    pub dataset: Reference,
    /// The features.
    pub features: Vec<String>,
    /// How old a row may be.
    pub ttl: Option<String>,
    /// The rows that found a match.
    pub matched: u64,
}

/// How a training set was made.
#[derive(Clone, Debug)]
pub struct RecipeFacts {
    /// The rows that were joined.
    pub rows: Reference,
    /// The column that says as of when.
    pub timestamp: String,
    /// The views, in their order.
    pub views: Vec<JoinedView>,
}

/// One version of a dataset.
#[derive(Clone, Debug, Template)]
#[template(path = "dataset_version.html")]
pub struct DatasetVersionPage {
    /// What all pages share.
    pub shell: Shell,
    /// The version.
    pub version: DatasetRow,
    /// Its columns.
    pub columns: Vec<ColumnRow>,
    /// Its files.
    pub files: Vec<DataFile>,
    /// How it was made, when Trueline made it.
    pub recipe: Option<RecipeFacts>,
    /// What it came from and what came from it.
    pub lineage: Lineage,
}
