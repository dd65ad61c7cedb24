//! Scoring: rows in, margins or values out, for all boosting rounds or some.
//! Checks shapes; how rows come to their leaves is `forest`'s.

use crate::error::ScoreError;
use crate::model::Model;
use crate::objective::{Link, argmax};

/// Rows whose margins are kept at once where only the class is wanted.
const BLOCK_ROWS: usize = 64;
/// Margins of a row that fit on the stack, for [`Link::ArgMax`].
const STACK_MARGINS: usize = 64;

/// Rows to score: row-major, NaN for a missing value.
///
/// Numbers are `f32` for XGBoost and `f64` for LightGBM, for so the libraries compare them.
///
/// Infinite values are compared as they are, as `Booster.inplace_predict` does (a `DMatrix` would refuse them).
/// A categorical feature holds the category's code.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, T = f32> {
    values: &'a [T],
    columns: usize,
}

impl<'a, T: Copy> Rows<'a, T> {
    /// `values` as rows of `columns` numbers each.
    ///
    /// # Errors
    ///
    /// [`ScoreError::Ragged`] when they do not divide evenly, or `columns` is 0.
    pub fn new(values: &'a [T], columns: usize) -> Result<Self, ScoreError> {
        if columns == 0 || !values.len().is_multiple_of(columns) {
            return Err(ScoreError::Ragged { values: values.len(), columns });
        }
        Ok(Self { values, columns })
    }

    /// Number of rows.
    pub fn len(self) -> usize {
        self.values.len() / self.columns
    }

    /// Whether there are no rows.
    pub fn is_empty(self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn values(self) -> &'a [T] {
        self.values
    }

    /// Refuses rows that are not of `columns` numbers, and an output that does not hold `width` numbers per row.
    pub(crate) fn check(self, columns: usize, output: usize, width: usize) -> Result<(), ScoreError> {
        if self.columns != columns {
            return Err(ScoreError::Columns { expected: columns, found: self.columns });
        }
        let expected = self.len() * width;
        if output != expected {
            return Err(ScoreError::Output { expected, found: output, rows: self.len(), width });
        }
        Ok(())
    }
}

/// A model cut down to some of its boosting rounds; a view that costs nothing to make.
#[derive(Debug, Clone, Copy)]
pub struct Scorer<'m> {
    model: &'m Model,
    first_tree: usize,
    end_tree: usize,
}

impl Model {
    /// The boosting rounds `begin..end`; `end` 0 stands for all, as in the library's `iteration_range`.
    ///
    /// # Errors
    ///
    /// [`ScoreError::Iterations`] when the range runs backwards or past the last round.
    pub fn iteration_range(&self, begin: usize, end: usize) -> Result<Scorer<'_>, ScoreError> {
        let iterations = self.iterations();
        let last = if end == 0 { iterations } else { end };
        match (self.iteration_indptr.get(begin), self.iteration_indptr.get(last)) {
            (Some(&first_tree), Some(&end_tree)) if begin <= last => {
                Ok(Scorer { model: self, first_tree, end_tree })
            }
            _ => Err(ScoreError::Iterations { begin, end, iterations }),
        }
    }

    /// All boosting rounds, as `Booster.inplace_predict` uses them.
    pub fn scorer(&self) -> Scorer<'_> {
        Scorer { model: self, first_tree: 0, end_tree: self.num_trees() }
    }

    /// The rounds up to and with the best one where training stopped early, as XGBoost's scikit-learn wrapper uses
    /// them; else all.
    ///
    /// # Errors
    ///
    /// [`ScoreError::Iterations`] when the file names a best round that it does not have.
    pub fn best_scorer(&self) -> Result<Scorer<'_>, ScoreError> {
        match self.best_iteration() {
            Some(best) => self.iteration_range(0, best.saturating_add(1)),
            None => Ok(self.scorer()),
        }
    }

    /// [`Scorer::predict_margin`] over all rounds.
    ///
    /// # Errors
    ///
    /// [`ScoreError`], when rows or output have the wrong shape.
    pub fn predict_margin(&self, rows: Rows<'_>, out: &mut [f32]) -> Result<(), ScoreError> {
        self.scorer().predict_margin(rows, out)
    }

    /// [`Scorer::predict`] over all rounds.
    ///
    /// # Errors
    ///
    /// [`ScoreError`], when rows or output have the wrong shape.
    pub fn predict(&self, rows: Rows<'_>, out: &mut [f32]) -> Result<(), ScoreError> {
        self.scorer().predict(rows, out)
    }
}

impl Scorer<'_> {
    /// Writes raw margins into `out`, row-major, [`Model::margin_width`] per row: intercept plus leaves, added in
    /// f32 in the order of the trees. Bit for bit `Booster.inplace_predict(…, predict_type="margin")`.
    ///
    /// Takes no memory for a few rows; for more, that of a block of them.
    ///
    /// # Errors
    ///
    /// [`ScoreError`], when rows or output have the wrong shape; `out` is untouched then.
    pub fn predict_margin(&self, rows: Rows<'_>, out: &mut [f32]) -> Result<(), ScoreError> {
        rows.check(self.model.num_feature(), out.len(), self.model.margin_width())?;
        self.add_up(rows.values, out);
        Ok(())
    }

    /// Writes values (see [`Model::meaning`]) into `out`, row-major, [`Model::value_width`] per row: margins through
    /// the objective's link. Bit for bit `Booster.inplace_predict(…, predict_type="value")`.
    ///
    /// Takes memory as [`Scorer::predict_margin`] does, and for `multi:softmax` that of the margins of a block of rows, or of
    /// one row with over 64 classes.
    ///
    /// # Errors
    ///
    /// [`ScoreError`], when rows or output have the wrong shape; `out` is untouched then.
    pub fn predict(&self, rows: Rows<'_>, out: &mut [f32]) -> Result<(), ScoreError> {
        let link = self.model.objective().link();
        if link == Link::ArgMax {
            return self.predict_class(rows, out);
        }
        self.predict_margin(rows, out)?;
        link.apply(out, self.model.margin_width());
        Ok(())
    }

    fn predict_class(&self, rows: Rows<'_>, out: &mut [f32]) -> Result<(), ScoreError> {
        rows.check(self.model.num_feature(), out.len(), 1)?;
        let width = self.model.margin_width();
        let mut stack = [0.0; STACK_MARGINS];
        let mut heap = Vec::new();
        let margins = match stack.get_mut(..width) {
            Some(margins) if rows.len() == 1 => margins,
            _ => {
                heap.resize(width * BLOCK_ROWS.min(rows.len()), 0.0);
                heap.as_mut_slice()
            }
        };
        for (rows, out) in rows.values.chunks(BLOCK_ROWS * rows.columns).zip(out.chunks_mut(BLOCK_ROWS)) {
            let margins = &mut margins[..width * out.len()];
            self.add_up(rows, margins);
            for (class, margins) in out.iter_mut().zip(margins.chunks_exact(width)) {
                *class = argmax(margins);
            }
        }
        Ok(())
    }

    /// Intercepts, then trees.
    fn add_up(&self, rows: &[f32], sums: &mut [f32]) {
        let width = self.model.margin_width();
        for row in sums.chunks_exact_mut(width) {
            row.copy_from_slice(self.model.intercept());
        }
        self.model.forest.add(self.first_tree..self.end_tree, rows, self.model.num_feature(), sums, width);
    }
}
