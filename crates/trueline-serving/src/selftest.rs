//! What a version must answer to its own input example before anybody else may ask it, as whoever logged it recorded it: the
//! answer of the place where it was trained.
//!
//! Declared under `trueline.example_output` in the metadata of the `MLmodel` file: the predictions as a list, or
//! `{"predictions": […], "tolerance": {"absolute": 1e-8, "relative": 1e-5}}`; the tolerance is `numpy.allclose`'s where none is
//! said.

use crate::comparison::{Difference, Tolerance};
use crate::predictions::Predictions;
use serde::Deserialize;
use serde_json::Value as Json;

/// The key of the metadata.
pub(crate) const DECLARED: &str = "trueline.example_output";

/// The answer that was recorded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recorded {
    predictions: Json,
    tolerance: Tolerance,
}

/// As it is declared.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    predictions: Json,
    #[serde(default)]
    tolerance: Close,
}

/// A tolerance that is NumPy's `allclose`'s where nothing is said.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Close {
    absolute: f64,
    relative: f64,
}

impl Default for Close {
    fn default() -> Self {
        Self { absolute: 1e-8, relative: 1e-5 }
    }
}

impl Recorded {
    /// Reads what was declared.
    ///
    /// # Errors
    /// A sentence that says how it is written.
    pub(crate) fn parse(declared: &Json) -> Result<Self, String> {
        let wrong = |why: &dyn std::fmt::Display| {
            format!(
                "its metadata declares {DECLARED}, which can't be read: {why}; write it as a list of predictions, or as \
                 {{\"predictions\": […], \"tolerance\": {{\"absolute\": 1e-8, \"relative\": 1e-5}}}}"
            )
        };
        // MLflow's YAML keeps lists and dictionaries; a text of JSON is understood as well.
        let read = match declared {
            Json::String(text) => serde_json::from_str(text).map_err(|e| wrong(&e))?,
            other => other.clone(),
        };
        let declared = match read {
            Json::Object(_) => serde_json::from_value(read).map_err(|e| wrong(&e))?,
            Json::Array(_) => Declared { predictions: read, tolerance: Close::default() },
            _ => return Err(wrong(&"it is neither a list nor a dictionary")),
        };
        let Declared { predictions, tolerance: Close { absolute, relative } } = declared;
        let tolerance = Tolerance { absolute, relative };
        tolerance.check().map_err(|e| wrong(&e))?;
        Ok(Self { predictions, tolerance })
    }

    /// What is wrong with the answer to the example, if anything is.
    pub(crate) fn objection(&self, answered: &Predictions) -> Option<String> {
        let answered = answered.json();
        let (Json::Array(recorded), Json::Array(rows)) = (&self.predictions, &answered) else {
            return self.difference(&self.predictions, &answered, "");
        };
        if recorded.len() != rows.len() {
            return Some(format!("it answers {} rows, and {} were recorded", rows.len(), recorded.len()));
        }
        let mut both = recorded.iter().zip(rows).enumerate();
        both.find_map(|(i, (recorded, row))| self.difference(recorded, row, &format!("row {i}: ")))
    }

    fn difference(&self, recorded: &Json, answered: &Json, place: &str) -> Option<String> {
        let found = Difference::of(recorded, answered, self.tolerance);
        found.differs.then(|| format!("{place}it answers {answered}, and {recorded} was recorded"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use trueline_tensors::Values;

    fn objection(declared: Json, answered: Values) -> Option<String> {
        Recorded::parse(&declared).unwrap().objection(&Predictions::column(answered))
    }

    #[test]
    fn numbers_are_held_to_the_tolerance_and_classes_to_themselves() {
        assert_eq!(objection(json!([0.5, 0.25]), Values::Fp32(vec![0.5, 0.250_001])), None);
        let off = objection(json!([0.5, 0.25]), Values::Fp64(vec![0.5, 0.26]));
        assert_eq!(off.unwrap(), "row 1: it answers 0.26, and 0.25 was recorded");
        let wide = json!({ "predictions": [0.25], "tolerance": { "absolute": 0.02 } });
        assert_eq!(objection(wide, Values::Fp64(vec![0.26])), None);
        let narrow = json!({ "predictions": [0.25], "tolerance": { "relative": 1e-6 } });
        assert!(objection(narrow, Values::Fp64(vec![0.26])).is_some(), "what is not said is small");
        assert_eq!(objection(json!(["late"]), Values::Text(vec![Some("late".into())])), None);
        assert!(objection(json!([1, 0]), Values::Int64(vec![1, 1])).unwrap().starts_with("row 1"));
        let fewer = objection(json!([1.0]), Values::Fp32(vec![1.0, 2.0]));
        assert_eq!(fewer.unwrap(), "it answers 2 rows, and 1 were recorded");
        assert_eq!(objection(json!("[0.5]"), Values::Fp32(vec![0.5])), None, "JSON in a text");
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_how_it_is_written() {
        for bad in [
            json!(7),
            json!("nonsense"),
            json!({ "predictions": [1], "tolerance": { "absolute": -1 } }),
            json!({ "prediction": [1] }),
        ] {
            assert!(Recorded::parse(&bad).unwrap_err().contains("list of predictions"), "{bad}");
        }
    }
}
