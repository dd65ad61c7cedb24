//! What a search found.

use super::Pager;
use crate::links::ViewUrl;
use crate::parts::Reference;
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// Something that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// What it is, with its page.
    pub what: Reference,
    /// Where it belongs: `churn-training`, `version 3 of churn`; may be empty.
    pub context: String,
    /// Its project.
    pub project: String,
    /// When it was changed last.
    pub at: Option<Timestamp>,
}

/// What a search found; `shell.query` holds what was asked. The view reads `q`, `project`, `kind` and `cursor`.
#[derive(Clone, Debug, Template)]
#[template(path = "search.html")]
pub struct SearchPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view.
    pub view: ViewUrl,
    /// What was found, best first.
    pub hits: Vec<Hit>,
    /// Where the page ends.
    pub pager: Pager,
}
