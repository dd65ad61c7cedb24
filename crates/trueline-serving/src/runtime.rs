//! Runtimes: what turns rows of numbers into predictions. One so far, for gradient-boosted trees; ONNX and Python
//! workers are to stand beside it.

use trueline_trees::{Model, Rows};

/// What a runtime answers: `width` numbers for each row, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scores {
    pub(crate) values: Vec<f32>,
    pub(crate) width: usize,
    /// Whether they are the numbers of classes.
    pub(crate) whole: bool,
}

/// Scores rows. Shared by all requests at once.
pub(crate) trait Runtime: Send + Sync + std::fmt::Debug {
    /// Scores rows of [`Runtime::width`] numbers.
    fn score(&self, rows: &[f32]) -> Result<Scores, String>;
    /// How many numbers a row has.
    fn width(&self) -> usize;
    /// The names of its inputs, when the model has them.
    fn names(&self) -> Option<&[String]>;
    /// What it takes of memory, in bytes.
    fn heap_bytes(&self) -> usize;
}

/// How MLflow's loader calls the model, which decides what a prediction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `Booster.predict`: probabilities or values.
    Booster,
    /// `XGBClassifier.predict`: the class.
    Classifier,
}

/// Gradient-boosted trees, scored bit for bit as XGBoost does.
#[derive(Debug)]
pub(crate) struct Trees {
    model: Model,
    call: Call,
}

impl Trees {
    pub(crate) fn load(bytes: &[u8], class: Option<&str>) -> Result<Self, String> {
        let model = Model::from_bytes(bytes).map_err(|e| e.to_string())?;
        let call = match class.and_then(|c| c.rsplit('.').next()) {
            Some("XGBClassifier" | "XGBRFClassifier") => Call::Classifier,
            _ => Call::Booster,
        };
        Ok(Self { model, call })
    }
}

impl Runtime for Trees {
    fn score(&self, rows: &[f32]) -> Result<Scores, String> {
        let rows = Rows::new(rows, self.model.num_feature()).map_err(|e| e.to_string())?;
        let width = self.model.value_width();
        let mut values = vec![0.0; rows.len() * width];
        match self.call {
            Call::Booster => self.model.predict(rows, &mut values).map_err(|e| e.to_string())?,
            Call::Classifier => {
                let scorer = self.model.best_scorer().map_err(|e| e.to_string())?;
                scorer.predict(rows, &mut values).map_err(|e| e.to_string())?;
                return Ok(Scores { values: classes(&values, width), width: 1, whole: true });
            }
        }
        Ok(Scores { values, width, whole: false })
    }

    fn width(&self) -> usize {
        self.model.num_feature()
    }

    fn names(&self) -> Option<&[String]> {
        self.model.feature_names()
    }

    fn heap_bytes(&self) -> usize {
        self.model.heap_bytes()
    }
}

/// The class of each row: the likeliest, or, of two, the second when its probability is above one half.
#[allow(clippy::cast_precision_loss)]
fn classes(values: &[f32], width: usize) -> Vec<f32> {
    let likeliest = |row: &[f32]| {
        let best = row
            .iter()
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |best, (i, v)| if *v > best.1 { (i, *v) } else { best });
        best.0 as f32
    };
    match width {
        1 => values.iter().map(|p| if *p > 0.5 { 1.0 } else { 0.0 }).collect(),
        many => values.chunks(many).map(likeliest).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::classes;

    #[test]
    fn a_classifier_answers_classes() {
        assert_eq!(classes(&[0.2, 0.5, 0.7], 1), [0.0, 0.0, 1.0]);
        assert_eq!(classes(&[0.1, 0.7, 0.2, 0.5, 0.3, 0.2], 3), [1.0, 0.0]);
    }

    #[test]
    fn a_truncated_model_is_refused_with_a_reason() {
        let error = super::Trees::load(b"{L\x00", None).unwrap_err();
        assert!(!error.is_empty());
    }
}
