//! A run on its way in while its points are read: handed over whole, or in parts when they are many.

use crate::ImportError;
use crate::importer::{Importer, PART};
use trueline_tracking::{ImportedPoints, ImportedRun, MetricPoint};

/// Gathers the points of one run.
pub(crate) struct Intake<'i> {
    importer: &'i mut Importer,
    /// Until it was handed over without its points.
    run: Option<ImportedRun>,
    points: ImportedPoints,
    held: usize,
}

impl<'i> Intake<'i> {
    pub(crate) fn new(importer: &'i mut Importer, run: ImportedRun) -> Self {
        Self { importer, run: Some(run), points: ImportedPoints::new(), held: 0 }
    }

    /// Takes the next point, of any metric.
    pub(crate) fn push(&mut self, key: &str, point: MetricPoint) -> Result<(), ImportError> {
        match self.points.get_mut(key) {
            Some(series) => series.push(point),
            None => drop(self.points.insert(key.to_owned(), vec![point])),
        }
        self.held += 1;
        if self.held >= PART { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<(), ImportError> {
        if let Some(run) = self.run.take() {
            self.importer.run(ImportedRun { more: true, ..run })?;
        }
        self.held = 0;
        self.importer.points(std::mem::take(&mut self.points))
    }

    /// Hands over what is left.
    pub(crate) fn finish(mut self) -> Result<(), ImportError> {
        match self.run.take() {
            Some(run) => self.importer.run(ImportedRun { points: self.points, ..run }),
            None => {
                self.importer.points(self.points)?;
                self.importer.end_of_points()
            }
        }
    }
}
