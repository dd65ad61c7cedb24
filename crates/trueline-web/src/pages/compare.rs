//! Runs side by side: what was set differently, and what came of it.

use super::{Axis, Chart};
use crate::links::ViewUrl;
use crate::parts::{Badge, Cell};
use crate::shell::Shell;
use askama::Template;
use jiff::Timestamp;
use std::collections::HashMap;

/// A run, at the head of its column.
#[derive(Clone, Debug)]
pub struct ComparedRun {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: Badge,
    /// When it began.
    pub started_at: Option<Timestamp>,
}

/// A param or a metric of all runs.
#[derive(Clone, Debug)]
pub struct ComparedRow {
    /// Its name.
    pub key: String,
    /// One cell for each run.
    pub cells: Vec<Cell>,
}

impl ComparedRow {
    pub(crate) fn differs(&self) -> bool {
        self.cells.windows(2).any(|pair| pair[0] != pair[1])
    }

    /// The cells, each with whether it is unlike most of the row. Where most don't agree, none stands out.
    pub(crate) fn marked(&self) -> Vec<(&Cell, bool)> {
        let words: Vec<String> = self.cells.iter().map(|cell| format!("{cell:?}")).collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for word in &words {
            *counts.entry(word).or_default() += 1;
        }
        let usual = counts.into_iter().find(|(_, n)| n * 2 > words.len()).map(|(word, _)| word.to_owned());
        let is_unlike = |word: &String| usual.as_ref().is_some_and(|usual| usual != word);
        self.cells.iter().zip(&words).map(|(cell, word)| (cell, is_unlike(word))).collect()
    }
}

/// Params, or metrics.
#[derive(Clone, Debug)]
pub struct ComparedSection {
    /// `Params`, `Metrics`.
    pub title: &'static str,
    /// The rows of this page, by key.
    pub rows: Vec<ComparedRow>,
}

/// A way of drawing the runs, as `?plot=` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlotKind {
    /// The curves of each metric over one another.
    #[default]
    Curves,
    /// A line for each run through axes that stand side by side.
    Parallel,
    /// A point for each run.
    Scatter,
    /// A number over two others, as lines of equal height.
    Contour,
}

impl PlotKind {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Curves, Self::Parallel, Self::Scatter, Self::Contour];

    /// The word in the URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Curves => "curves",
            Self::Parallel => "parallel",
            Self::Scatter => "scatter",
            Self::Contour => "contour",
        }
    }

    /// Reads the word in the URL; anything else is the curves.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::ALL.into_iter().find(|p| p.as_str() == text).unwrap_or_default()
    }

    /// The usual one needs no word.
    pub(crate) fn in_url(self) -> &'static str {
        if self == Self::default() { "" } else { self.as_str() }
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Curves => "Curves",
            Self::Parallel => "Parallel coordinates",
            Self::Scatter => "Scatter",
            Self::Contour => "Contour",
        }
    }
}

/// A metric or a param that can be drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlotField {
    /// As the filter names it: `metrics.val_auc`.
    pub key: String,
    /// Whether all its values are numbers.
    pub numeric: bool,
    /// Whether not all runs have the same.
    pub differs: bool,
}

/// A drawing of the runs and what it is of.
#[derive(Clone, Debug, Default)]
pub struct Plot {
    /// The way of drawing.
    pub kind: PlotKind,
    /// What can be drawn.
    pub fields: Vec<PlotField>,
    /// The axes of the parallel coordinates.
    pub dims: Vec<String>,
    /// What lies along the bottom.
    pub x: String,
    /// What lies along the side.
    pub y: String,
    /// The number that colours tell; of a contour, the height.
    pub z: String,
    /// Where the values come from; the drawing adds the columns that it needs.
    pub rows_url: String,
}

impl Plot {
    pub(crate) fn numeric(&self) -> impl Iterator<Item = &PlotField> {
        self.fields.iter().filter(|f| f.numeric)
    }

    /// The lists to choose from: name in the URL, label, what is chosen, and whether nothing is a choice.
    pub(crate) fn choices(&self) -> Vec<(&'static str, &'static str, &str, bool)> {
        match self.kind {
            PlotKind::Curves => Vec::new(),
            PlotKind::Parallel => vec![("z", "Colour", &self.z, true)],
            PlotKind::Scatter => {
                vec![
                    ("x", "Across", &self.x, false),
                    ("y", "Up", &self.y, false),
                    ("z", "Colour", &self.z, true),
                ]
            }
            PlotKind::Contour => {
                vec![
                    ("x", "Across", &self.x, false),
                    ("y", "Up", &self.y, false),
                    ("z", "Height", &self.z, false),
                ]
            }
        }
    }

    pub(crate) fn has_dim(&self, field: &PlotField) -> bool {
        self.dims.contains(&field.key)
    }
}

/// Runs side by side. The view reads `run` (as often as given), `diff=1` (rows that differ only), `q` (in the name of a
/// param or metric), `cursor`, `plot` with `x`, `y`, `z` and `dim`, `axis` and `charts`.
#[derive(Clone, Debug, Template)]
#[template(path = "compare.html")]
pub struct ComparePage {
    /// What all pages share.
    pub shell: Shell,
    /// The view.
    pub view: ViewUrl,
    /// The runs, one column each.
    pub runs: Vec<ComparedRun>,
    /// How many runs the address names beyond those that can be compared.
    pub left_out: usize,
    /// The tables.
    pub sections: Vec<ComparedSection>,
    /// Rows that match, on all pages.
    pub rows: usize,
    /// The cursor of the next page of rows.
    pub next_cursor: Option<String>,
    /// The table in CSV.
    pub csv_url: String,
    /// One chart for each metric, a line for each run; some of them at a time.
    pub charts: Vec<Chart>,
    /// The first of those charts, from 0, and how many there are.
    pub charts_at: (usize, usize),
    /// What charts are drawn over.
    pub axis: Axis,
    /// The other drawings.
    pub plot: Plot,
}

impl ComparePage {
    pub(crate) fn only_differences(&self) -> bool {
        self.view.get("diff") == "1"
    }

    pub(crate) fn shown_rows(&self) -> String {
        let here: usize = self.sections.iter().map(|s| s.rows.len()).sum();
        let all = crate::format::counted(self.rows as u64, "row");
        if here == self.rows { all } else { format!("{here} of {all}") }
    }

    pub(crate) fn shown_charts(&self) -> String {
        let (first, all) = self.charts_at;
        format!("Charts {}–{} of {all}", first + 1, first + self.charts.len())
    }

    /// Where the charts after these are, and those before.
    pub(crate) fn more_charts(&self) -> (Option<String>, Option<String>) {
        let ((first, all), n) = (self.charts_at, self.charts.len());
        let at = |place: usize| {
            self.view.with("charts", &if place == 0 { String::new() } else { place.to_string() })
        };
        ((first > 0).then(|| at(first.saturating_sub(CHARTS))), (first + n < all).then(|| at(first + n)))
    }
}

/// Charts that a page draws at a time.
pub(crate) const CHARTS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(values: &[&str]) -> Vec<bool> {
        let row =
            ComparedRow { key: "k".into(), cells: values.iter().map(|v| Cell::param(Some(v))).collect() };
        row.marked().into_iter().map(|(_, stands_out)| stands_out).collect()
    }

    #[test]
    fn a_value_stands_out_where_most_runs_agree_on_another() {
        assert_eq!(marks(&["a", "b", "a", "a"]), [false, true, false, false]);
        assert_eq!(marks(&["a", "b", "a", "b"]), [false; 4], "half is not most");
        assert_eq!(marks(&["1", "2", "3"]), [false; 3], "all differ");
        assert_eq!(marks(&["a", "a"]), [false; 2]);
    }

    #[test]
    fn a_drawing_is_read_from_its_word() {
        for kind in PlotKind::ALL {
            assert_eq!(PlotKind::parse(kind.as_str()), kind);
        }
        assert_eq!(PlotKind::parse("pie"), PlotKind::Curves);
    }
}
