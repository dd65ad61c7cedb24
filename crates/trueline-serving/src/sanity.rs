//! What answers a model may give, as whoever logged it declared: an answer beyond that is no answer, and the caller is told
//! so instead of acting on it.
//!
//! Declared under `trueline.predictions` in the metadata of the `MLmodel` file:
//! `{"min": 0, "max": 1, "finite": true, "classes": ["early", "late"]}`, each of them optional.

use crate::predictions::Predictions;
use serde::Deserialize;
use serde_json::Value as Json;
use trueline_tensors::Values;

/// The key of the metadata.
pub(crate) const DECLARED: &str = "trueline.predictions";

/// What was declared of answers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sanity {
    min: Option<f64>,
    max: Option<f64>,
    finite: bool,
    classes: Option<Vec<Json>>,
}

impl Sanity {
    /// Reads what was declared.
    ///
    /// # Errors
    /// A sentence that says how it is written.
    pub(crate) fn parse(declared: &Json) -> Result<Self, String> {
        let wrong = |why: &dyn std::fmt::Display| {
            format!(
                "its metadata declares {DECLARED} as {declared}: {why}; write it as {{\"min\": 0, \"max\": 1, \"finite\": true, \
                 \"classes\": […]}}"
            )
        };
        // MLflow's YAML keeps a dictionary; a text of JSON is understood as well.
        let read = match declared {
            Json::String(text) => serde_json::from_str(text).map_err(|e| wrong(&e))?,
            other => other.clone(),
        };
        if !read.is_object() {
            return Err(wrong(&"it is no dictionary"));
        }
        let sanity: Self = serde_json::from_value(read).map_err(|e| wrong(&e))?;
        match (sanity.min, sanity.max) {
            (Some(min), Some(max)) if min > max => Err(wrong(&"min is above max")),
            _ => Ok(sanity),
        }
    }

    /// What is wrong with an answer, if anything is.
    pub(crate) fn objection(&self, predictions: &Predictions) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        predictions.tensors().iter().find_map(|tensor| {
            (0..tensor.values().len()).find_map(|at| {
                let why = self.wrong(tensor.values(), at)?;
                Some(format!("row {}: {why}", at / tensor.width().max(1)))
            })
        })
    }

    fn wrong(&self, values: &Values, at: usize) -> Option<String> {
        if let Some(number) = values.number(at) {
            if !number.is_finite() && (self.finite || self.min.is_some() || self.max.is_some()) {
                return Some(format!("it answered {number}, which is no finite number"));
            }
            if self.min.is_some_and(|min| number < min) || self.max.is_some_and(|max| number > max) {
                let end = |end: Option<f64>| end.map_or("…".to_owned(), |end| end.to_string());
                return Some(format!(
                    "it answered {number}, and {} to {} is declared",
                    end(self.min),
                    end(self.max)
                ));
            }
        }
        let classes = self.classes.as_ref()?;
        let value = values.json(at);
        let number = values.number(at).or_else(|| value.as_f64());
        let same = |class: &Json| *class == value || class.as_f64().is_some_and(|c| Some(c) == number);
        let known = classes.iter().any(same);
        (!known).then(|| format!("it answered {value}, which is none of the declared classes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn objection(declared: &Json, values: Values) -> Option<String> {
        Sanity::parse(declared).unwrap().objection(&Predictions::column(values))
    }

    #[test]
    fn answers_beyond_what_was_declared_are_objected_to() {
        let range = json!({ "min": 0, "max": 1 });
        assert_eq!(objection(&range, Values::Fp32(vec![0.0, 1.0])), None);
        let told = objection(&range, Values::Fp64(vec![0.5, 1.5])).unwrap();
        assert_eq!(told, "row 1: it answered 1.5, and 0 to 1 is declared");
        assert!(objection(&range, Values::Fp32(vec![f32::NAN])).unwrap().contains("no finite number"));
        assert!(objection(&json!({ "max": 5 }), Values::Int64(vec![7])).unwrap().contains("… to 5"));
        assert_eq!(objection(&json!({}), Values::Fp32(vec![f32::NAN])), None);
        assert!(objection(&json!({ "finite": true }), Values::Fp32(vec![f32::INFINITY])).is_some());
        // A boolean counts, as it does in Python; whole numbers of all sizes do.
        assert_eq!(objection(&range, Values::Bool(vec![true, false])), None);
        assert!(objection(&json!({ "max": 0 }), Values::Bool(vec![true])).unwrap().contains("… to 0"));
        assert!(objection(&range, Values::Uint8(vec![2])).unwrap().contains("it answered 2"));
        let classes = json!(r#"{"classes": [0, 1]}"#);
        assert_eq!(objection(&classes, Values::Int64(vec![1])), None);
        assert_eq!(objection(&classes, Values::Bool(vec![true])), None);
        assert!(
            objection(&classes, Values::Int64(vec![2])).unwrap().contains("none of the declared classes")
        );
        let words = json!({ "classes": ["early", "late"] });
        assert!(objection(&words, Values::Text(vec![Some("never".into())])).is_some());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in [json!({ "min": 2, "max": 1 }), json!({ "mean": 1 }), json!([1]), json!("min=0")] {
            assert!(Sanity::parse(&bad).unwrap_err().contains(DECLARED), "{bad}");
        }
    }
}
