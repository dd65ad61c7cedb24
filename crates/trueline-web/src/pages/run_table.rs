//! One experiment as the table of its runs. The first rows come with the page; `assets/runs.js` takes the table over
//! and scrolls through all of them.

use crate::links::ViewUrl;
use crate::parts::{Badge, Cell, Icon, Pair, TagRow};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;

/// A column of the table of runs: a param, a metric or a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// As the filter names it, and what `?col=` and `?sort=` hold: `metrics.val_auc`.
    pub key: String,
    /// Its name: `val/auc`.
    pub name: String,
    /// What it is: `Metrics`, `Params`, `Tags`.
    pub group: &'static str,
    /// Whether it holds numbers.
    pub numeric: bool,
}

impl Column {
    /// A metric.
    #[must_use]
    pub fn metric(name: &str) -> Self {
        Self { key: format!("metrics.{name}"), name: name.to_owned(), group: "Metrics", numeric: true }
    }

    /// A param; `numeric` when all values on the page are numbers.
    #[must_use]
    pub fn param(name: &str, numeric: bool) -> Self {
        Self { key: format!("params.{name}"), name: name.to_owned(), group: "Params", numeric }
    }

    /// A tag.
    #[must_use]
    pub fn tag(name: &str) -> Self {
        Self { key: format!("tags.{name}"), name: name.to_owned(), group: "Tags", numeric: false }
    }

    /// Reads what a URL names it by.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        match key.split_once('.')? {
            (_, "") => None,
            ("metrics", name) => Some(Self::metric(name)),
            ("params", name) => Some(Self::param(name, false)),
            ("tags", name) => Some(Self::tag(name)),
            _ => None,
        }
    }

    /// What its name shares with others: `val/` of `val/auc`; often nothing.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.name.rfind('/').map_or("", |end| &self.name[..=end])
    }
}

/// Columns that stand together: those that are pinned, or those of one kind and prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnGroup {
    /// What `?fold=` holds: `metrics.val/`; nothing where the group can't be folded.
    pub key: String,
    /// Its heading: `Metrics`, `Metrics · val/`, `Pinned`.
    pub title: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Whether its columns are folded away.
    pub folded: bool,
}

impl ColumnGroup {
    /// Puts columns into groups: the pinned ones first, then by kind and prefix, each in the order of names.
    #[must_use]
    pub fn arrange(columns: Vec<Column>, pinned: &[&str], folded: &[&str]) -> Vec<Self> {
        let (pins, mut rest): (Vec<_>, Vec<_>) =
            columns.into_iter().partition(|c| pinned.contains(&c.key.as_str()));
        let mut groups = Vec::new();
        if !pins.is_empty() {
            groups.push(Self {
                key: String::new(),
                title: "Pinned".to_owned(),
                columns: pins,
                folded: false,
            });
        }
        let order = |c: &Column| (kind_place(c.group), c.prefix().to_owned(), c.name.clone());
        rest.sort_by_key(order);
        for column in rest {
            let kind = column.key.split_once('.').map_or("", |(kind, _)| kind);
            let key = format!("{kind}.{}", column.prefix());
            match groups.last_mut() {
                Some(group) if group.key == key => group.columns.push(column),
                _ => {
                    let title = match column.prefix() {
                        "" => column.group.to_owned(),
                        prefix => format!("{} · {prefix}", column.group),
                    };
                    let folded = folded.contains(&key.as_str());
                    groups.push(Self { key, title, columns: vec![column], folded });
                }
            }
        }
        groups
    }

    pub(crate) fn icon(&self) -> Icon {
        Icon(if self.folded { "right" } else { "chevron" })
    }

    pub(crate) fn span(&self) -> usize {
        if self.folded { 1 } else { self.columns.len() }
    }

    pub(crate) fn can_fold(&self) -> bool {
        !self.key.is_empty()
    }

    /// What stands above a column: within a group of a prefix, what follows it.
    pub(crate) fn label<'a>(&self, column: &'a Column) -> &'a str {
        if self.can_fold() { &column.name[column.prefix().len()..] } else { &column.name }
    }
}

fn kind_place(group: &str) -> usize {
    ["Metrics", "Params", "Tags"].iter().position(|g| *g == group).unwrap_or(3)
}

/// A run in one line.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: Badge,
    /// Who made it, as authenticated.
    pub created_by: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// How long it took, or takes so far.
    pub duration_ms: Option<i64>,
    /// Whether it is selected for a comparison.
    pub selected: bool,
    /// One cell for each column that is not folded away, in their order.
    pub cells: Vec<Cell>,
}

/// A view of the table that was given a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedView {
    /// Its name.
    pub name: String,
    /// Its link.
    pub href: String,
    /// Whether it is what the page shows.
    pub current: bool,
}

impl SavedView {
    pub(crate) fn icon(&self) -> Icon {
        Icon(if self.current { "check" } else { "eye" })
    }
}

/// What the module of the table needs to go on from the page's rows.
#[derive(Clone, Debug, Default)]
pub struct RunTableFeed {
    /// Where windows of the table come from.
    pub rows_url: String,
    /// Where the names of all columns come from.
    pub columns_url: String,
    /// The result that the page's rows are of.
    pub result: String,
    /// The row at which the page's rows begin, from 0.
    pub first: u64,
    /// How many rows there are in all.
    pub total: u64,
}

/// One experiment. The view reads `filter` (the grammar of docs/search.md), `sort` (`started_at`, `duration`, `name` or a
/// column's key; with `-` descending), `col`, `pin` and `fold` (as often as given), `selected` (ids with commas),
/// `deleted` and `cursor`.
#[derive(Clone, Debug, Template)]
#[template(path = "experiment.html")]
pub struct ExperimentPage {
    /// What all pages share.
    pub shell: Shell,
    /// The view and its filters.
    pub view: ViewUrl,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where artifacts go.
    pub artifact_location: String,
    /// Its tags.
    pub tags: Vec<Pair>,
    /// Its note and its tags with their history.
    pub history: Vec<TagRow>,
    /// What is wrong with the filter, as a sentence; the runs are then those without it.
    pub filter_problem: Option<String>,
    /// The columns shown.
    pub groups: Vec<ColumnGroup>,
    /// Columns that can be shown; of very many the first ones.
    pub choices: Vec<Column>,
    /// How many columns there are in all.
    pub all_columns: usize,
    /// The runs of this page.
    pub runs: Vec<RunRow>,
    /// Views that were saved.
    pub views: Vec<SavedView>,
    /// What a view that is saved now will hold.
    pub view_query: String,
    /// The name that a new view is offered, after one was deleted.
    pub view_name: String,
    /// Whether the caller may save and delete views.
    pub can_save: bool,
    /// The command that makes the first run, for the empty state.
    pub tracking_uri: String,
    /// The cursor of the next page, when there is one.
    pub next_cursor: Option<String>,
    /// What the module goes on from.
    pub feed: RunTableFeed,
}

impl ExperimentPage {
    pub(crate) fn shown(&self) -> usize {
        self.groups.iter().map(|g| g.columns.len()).sum()
    }

    /// The keys of all columns, folded ones too, for the module.
    pub(crate) fn keys(&self) -> String {
        let keys: Vec<&str> = self.groups.iter().flat_map(|g| &g.columns).map(|c| c.key.as_str()).collect();
        serde_json::Value::from(keys).to_string()
    }

    pub(crate) fn counted_columns(&self) -> String {
        crate::format::count(self.all_columns as u64)
    }

    pub(crate) fn choice_groups(&self) -> Vec<(&'static str, Vec<&Column>)> {
        ["Metrics", "Params", "Tags"]
            .into_iter()
            .map(|g| (g, self.choices.iter().filter(|c| c.group == g).collect::<Vec<_>>()))
            .filter(|(_, columns)| !columns.is_empty())
            .collect()
    }

    pub(crate) fn is_shown(&self, column: &Column) -> bool {
        self.groups.iter().any(|g| g.columns.iter().any(|c| c.key == column.key))
    }

    pub(crate) fn is_pinned(&self, column: &Column) -> bool {
        self.view.all("pin").any(|pin| pin == column.key)
    }

    /// The cells of a row by group; a folded group has none.
    pub(crate) fn grouped<'a>(&'a self, row: &'a RunRow) -> Vec<(&'a ColumnGroup, &'a [Cell])> {
        let mut rest = row.cells.as_slice();
        let of_group = |group: &'a ColumnGroup| {
            let (own, after) =
                rest.split_at(if group.folded { 0 } else { group.columns.len().min(rest.len()) });
            rest = after;
            (group, own)
        };
        self.groups.iter().map(of_group).collect()
    }

    /// Which rows of how many the page shows.
    pub(crate) fn range(&self) -> String {
        let last = self.feed.first + self.runs.len() as u64;
        let all = crate::format::counted(self.feed.total, "run");
        match self.feed.total == self.runs.len() as u64 {
            true => all,
            false => format!("{}–{} of {all}", self.feed.first + 1, crate::format::count(last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_by_kind_and_prefix_and_pinned_ones_first() {
        let keys =
            ["tags.team", "metrics.val/auc", "params.lr", "metrics.loss", "metrics.val/f1", "params.a.b"];
        let columns: Vec<_> = keys.iter().filter_map(|k| Column::parse(k)).collect();
        let groups = ColumnGroup::arrange(columns, &["params.lr"], &["metrics.val/"]);
        let shown: Vec<_> = groups
            .iter()
            .map(|g| (g.title.as_str(), g.span(), g.columns.iter().map(|c| g.label(c)).collect::<Vec<_>>()))
            .collect();
        assert_eq!(
            shown,
            [
                ("Pinned", 1, vec!["lr"]),
                ("Metrics", 1, vec!["loss"]),
                ("Metrics · val/", 1, vec!["auc", "f1"]),
                ("Params", 1, vec!["a.b"]),
                ("Tags", 1, vec!["team"]),
            ]
        );
        assert!(groups[2].folded && !groups[1].folded);
    }

    #[test]
    fn what_is_no_column_is_not_read_as_one() {
        for key in ["", "metrics", "metrics.", "status", "datasets.name"] {
            assert_eq!(Column::parse(key), None, "{key}");
        }
    }
}
