//! Scoring: rows in, raw scores or predictions out, for all boosting rounds or some.
//! The walk through the trees is `forest`'s.

use crate::error::ScoreError;
use crate::score::Rows;

use super::model::Model;

/// A model cut down to some of its boosting rounds; a view that costs nothing to make.
#[derive(Debug, Clone, Copy)]
pub struct Scorer<'m> {
    model: &'m Model,
    begin: usize,
    end: usize,
}

impl Model {
    /// The boosting rounds `begin..end`; `end` 0 stands for all. That is `start_iteration=begin,
    /// num_iteration=end - begin` in the library.
    ///
    /// # Errors
    ///
    /// [`ScoreError::Iterations`] when the range holds no round or runs past the last one, where the library would
    /// silently take another range.
    pub fn iteration_range(&self, begin: usize, end: usize) -> Result<Scorer<'_>, ScoreError> {
        let iterations = self.iterations();
        let last = if end == 0 { iterations } else { end };
        if begin >= last || last > iterations {
            return Err(ScoreError::Iterations { begin, end, iterations });
        }
        Ok(Scorer { model: self, begin, end: last })
    }

    /// All boosting rounds in the file.
    pub fn scorer(&self) -> Scorer<'_> {
        Scorer { model: self, begin: 0, end: self.iterations() }
    }

    /// [`Scorer::predict_raw`] over all rounds.
    ///
    /// # Errors
    ///
    /// [`ScoreError`], when rows or output have the wrong shape.
    pub fn predict_raw(&self, rows: Rows<'_, f64>, out: &mut [f64]) -> Result<(), ScoreError> {
        self.scorer().predict_raw(rows, out)
    }

    /// [`Scorer::predict`] over all rounds.
    ///
    /// # Errors
    ///
    /// [`ScoreError`], when rows or output have the wrong shape.
    pub fn predict(&self, rows: Rows<'_, f64>, out: &mut [f64]) -> Result<(), ScoreError> {
        self.scorer().predict(rows, out)
    }
}

impl Scorer<'_> {
    /// Writes raw scores into `out`, row-major, [`Model::value_width`] per row: leaves, added in f64 in the order of
    /// the trees. Bit for bit `Booster.predict(…, raw_score=True)`; like that, a sum and not a mean even where
    /// [`Model::averages`].
    ///
    /// # Errors
    ///
    /// [`ScoreError`], when rows or output have the wrong shape; `out` is untouched then.
    pub fn predict_raw(&self, rows: Rows<'_, f64>, out: &mut [f64]) -> Result<(), ScoreError> {
        let width = self.model.value_width();
        rows.check(self.model.num_feature(), out.len(), width)?;
        out.fill(0.0);
        let trees = self.begin * width..self.end * width;
        self.model.forest.add(trees, rows.values(), self.model.num_feature(), out, width);
        Ok(())
    }

    /// Writes predictions (see [`Model::meaning`]) into `out`, row-major, [`Model::value_width`] per row: raw scores,
    /// divided by the number of rounds where [`Model::averages`], through the objective's link. Bit for bit
    /// `Booster.predict(…)`.
    ///
    /// # Errors
    ///
    /// [`ScoreError`], when rows or output have the wrong shape; `out` is untouched then.
    pub fn predict(&self, rows: Rows<'_, f64>, out: &mut [f64]) -> Result<(), ScoreError> {
        self.predict_raw(rows, out)?;
        if self.model.averages() {
            let rounds = (self.end - self.begin) as f64;
            out.iter_mut().for_each(|x| *x /= rounds);
        }
        self.model.link.apply(out, self.model.value_width());
        Ok(())
    }
}
