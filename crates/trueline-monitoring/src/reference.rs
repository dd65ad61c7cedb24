//! What windows are compared with: bins or categories of each feature, and what the reference counted in them.

use crate::MonitoringError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trueline_stats::Moments;
use trueline_stats::drift::{CategoryWindow, ReferenceBins, Window};
use trueline_stats::profile::NumericProfile;

/// How many bins a numeric feature has.
pub const BINS: usize = 10;
/// How many categories are told apart; the others are one.
pub const CATEGORIES: usize = 50;
/// How many features a reference has at most.
const MOST_FEATURES: usize = 2_000;

/// A feature's value in a prediction.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureValue {
    /// None was given.
    Missing,
    /// A number.
    Number(f64),
    /// A text or a truth value.
    Text(String),
    /// Nobody can tell: the log was told not to have it as it was.
    Redacted,
}

/// One feature in the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReferenceColumn {
    bins: ReferenceBins,
    /// For a feature of texts: those that are told apart, sorted. Bin i is category i, the last one is all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    categories: Option<Vec<String>>,
    counts: Vec<u64>,
    missing: u64,
}

impl ReferenceColumn {
    /// A numeric feature, from its counted window.
    #[must_use]
    pub fn numeric(window: &Window) -> Self {
        Self {
            bins: window.bins().clone(),
            categories: None,
            counts: window.counts().to_vec(),
            missing: window.missing(),
        }
    }

    /// A feature of texts: its most frequent values with their counts, how often all others came, how often none.
    ///
    /// # Errors
    /// What the bins say.
    pub fn texts(counts: &BTreeMap<String, u64>, other: u64, missing: u64) -> Result<Self, MonitoringError> {
        let mut frequent: Vec<(&String, u64)> = counts.iter().map(|(k, n)| (k, *n)).collect();
        frequent.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let rest: u64 = frequent.iter().skip(CATEGORIES).map(|(_, n)| n).sum();
        frequent.truncate(CATEGORIES);
        frequent.sort();
        #[allow(clippy::cast_precision_loss)]
        let cuts = (0..frequent.len()).map(|i| i as f64 + 0.5).collect();
        Ok(Self {
            bins: ReferenceBins::from_cuts(cuts)?,
            categories: Some(frequent.iter().map(|(k, _)| (*k).clone()).collect()),
            counts: frequent.iter().map(|(_, n)| *n).chain([other + rest]).collect(),
            missing,
        })
    }

    /// How many bins it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Never true; there is always one bin.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The bin of a value; none when it is missing, or of another kind than the reference's values.
    #[must_use]
    pub fn index(&self, value: &FeatureValue) -> Option<usize> {
        match (value, &self.categories) {
            (FeatureValue::Number(number), None) => self.bins.index(*number),
            (FeatureValue::Text(text), Some(known)) => Some(known.binary_search(text).unwrap_or(known.len())),
            _ => None,
        }
    }

    /// Counts a value.
    pub fn observe(&mut self, value: &FeatureValue) {
        match self.index(value) {
            Some(bin) => self.counts[bin] += 1,
            None => self.missing += 1,
        }
    }

    /// The same bins, with nothing counted.
    #[must_use]
    pub fn emptied(mut self) -> Self {
        self.counts.fill(0);
        self.missing = 0;
        self
    }

    /// Values that it counted, without missing ones.
    #[must_use]
    pub fn present(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How often the value was missing.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// What it counted, as statistics take it.
    ///
    /// # Errors
    /// When bins and counts do not belong together.
    pub fn window(&self) -> Result<Window, MonitoringError> {
        self.window_of(self.counts.clone(), self.missing)
    }

    /// Counts over its bins, as statistics take them.
    ///
    /// # Errors
    /// When bins and counts do not belong together.
    pub fn window_of(&self, counts: Vec<u64>, missing: u64) -> Result<Window, MonitoringError> {
        Ok(Window::from_counts(self.bins.clone(), counts, missing, Moments::new())?)
    }
}

/// What windows are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Where it comes from, in words.
    pub source: String,
    /// Its features by name.
    pub columns: BTreeMap<String, ReferenceColumn>,
}

impl Reference {
    /// The same with the features alone that are named.
    #[must_use]
    pub fn only(mut self, features: Option<&[String]>) -> Self {
        if let Some(wanted) = features {
            self.columns.retain(|name, _| wanted.contains(name));
        }
        self
    }
}

/// A feature while a reference is learnt from predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LearntColumn {
    numbers: NumericProfile,
    texts: CategoryWindow,
}

impl LearntColumn {
    fn new() -> Self {
        Self { numbers: NumericProfile::new(0), texts: CategoryWindow::new(CATEGORIES * 4) }
    }

    /// The kind that came more often decides; values of the other kind are missing.
    fn column(&self, rows: u64) -> Result<Option<ReferenceColumn>, MonitoringError> {
        let texts: u64 = self.texts.counts().values().sum::<u64>() + self.texts.other();
        let numbers = self.numbers.moments().count();
        if texts > numbers {
            let other = self.texts.other();
            return Ok(Some(ReferenceColumn::texts(self.texts.counts(), other, rows - texts)?));
        }
        if numbers == 0 {
            return Ok(None);
        }
        let window = self.numbers.reference_window(BINS)?;
        let mut column = ReferenceColumn::numeric(&window);
        column.missing = rows.saturating_sub(column.present());
        Ok(Some(column))
    }
}

/// A window from which a reference is learnt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Learner {
    rows: u64,
    columns: BTreeMap<String, LearntColumn>,
}

impl Learner {
    /// Adds one prediction's values.
    pub fn observe(&mut self, values: &[(String, FeatureValue)]) {
        self.rows += 1;
        for (name, value) in values {
            if !self.columns.contains_key(name) && self.columns.len() >= MOST_FEATURES {
                continue;
            }
            let column = self.columns.entry(name.clone()).or_insert_with(LearntColumn::new);
            match value {
                FeatureValue::Number(number) => column.numbers.observe(Some(*number)),
                FeatureValue::Text(text) => column.texts.observe(Some(text)),
                FeatureValue::Missing | FeatureValue::Redacted => {}
            }
        }
    }

    /// Predictions that it has seen.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The reference that it has learnt.
    ///
    /// # Errors
    /// When bins can't be made.
    pub fn finish(&self, source: String) -> Result<Reference, MonitoringError> {
        let mut columns = BTreeMap::new();
        for (name, learnt) in &self.columns {
            if let Some(column) = learnt.column(self.rows)? {
                columns.insert(name.clone(), column);
            }
        }
        Ok(Reference { source, columns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_beyond_those_it_knows_are_one_bin() {
        let counts = BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 1)]);
        let column = ReferenceColumn::texts(&counts, 2, 4).unwrap();
        let text = |t: &str| column.index(&FeatureValue::Text(t.to_owned()));
        assert_eq!([text("a"), text("b"), text("?")], [Some(0), Some(1), Some(2)]);
        assert_eq!((column.present(), column.missing(), column.len()), (6, 4, 3));
        assert_eq!(column.index(&FeatureValue::Number(1.0)), None, "of another kind is missing");
    }

    #[test]
    fn a_window_teaches_numbers_texts_and_what_is_missing() {
        let mut learner = Learner::default();
        for i in 0..200 {
            let number = if i % 4 == 0 { FeatureValue::Missing } else { FeatureValue::Number(f64::from(i)) };
            let text = FeatureValue::Text(["x", "y"][usize::from(i % 2 == 0)].to_owned());
            learner.observe(&[("n".into(), number), ("t".into(), text)]);
        }
        let learnt = learner.finish("test".into()).unwrap();
        let n = &learnt.columns["n"];
        assert_eq!((n.present(), n.missing(), n.len()), (150, 50, 10));
        assert_eq!(learnt.columns["t"].counts, [100, 100, 0]);
    }
}
