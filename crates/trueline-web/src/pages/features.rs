//! Feature views, and one view with its features and loads.

use crate::parts::{Lineage, Reference};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// An entity in one line.
#[derive(Clone, Debug)]
pub struct EntityRow {
    /// Its name.
    pub name: String,
    /// The column of its key.
    pub join_key: String,
    /// What it is; may be empty.
    pub description: String,
}

/// A view in one line.
#[derive(Clone, Debug)]
pub struct ViewRow {
    /// Its name.
    pub name: String,
    /// Its newest version.
    pub version: i64,
    /// The dataset that it reads.
    pub dataset: String,
    /// The columns of its key.
    pub join_keys: Vec<String>,
    /// Its features.
    pub features: Vec<String>,
    /// How long a row stays true.
    pub ttl: Option<String>,
    /// When it was declared.
    pub created_at: Timestamp,
}

/// All views and entities of a project.
#[derive(Clone, Debug, Template)]
#[template(path = "features.html")]
pub struct FeaturesPage {
    /// What all pages share.
    pub shell: Shell,
    /// The views by name.
    pub views: Vec<ViewRow>,
    /// The entities by name.
    pub entities: Vec<EntityRow>,
}

/// A load of the online store.
#[derive(Clone, Debug)]
pub struct LoadRow {
    /// When it ended.
    pub at: Timestamp,
    /// The view's version.
    pub version: i64,
    /// The dataset version that was read.
    pub dataset: Reference,
    /// Rows read.
    pub read: u64,
    /// Rows that replaced what was there.
    pub written: u64,
}

/// A column of a view's newest data.
#[derive(Clone, Debug)]
pub struct FeatureRow {
    /// Its name.
    pub name: String,
    /// Its type in the dataset's newest version; none while there is none.
    pub kind: Option<String>,
    /// The share of rows without a value.
    pub missing: Option<String>,
}

/// One version of a view.
#[derive(Clone, Debug, Template)]
#[template(path = "feature_view.html")]
pub struct FeatureViewPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view.
    pub view: ViewRow,
    /// What it is; may be empty.
    pub description: String,
    /// The column that says when a row was true.
    pub timestamp: Option<String>,
    /// The column that says when a row was written.
    pub created: Option<String>,
    /// Who declared it.
    pub created_by: String,
    /// Its features.
    pub features: Vec<FeatureRow>,
    /// The newest loads of the online store.
    pub loads: Vec<LoadRow>,
    /// What it came from and what came from it.
    pub lineage: Lineage,
}
