//! The answer to several requests, cut into the answers to each, and when that must not be done.

use crate::predictions::Predictions;
use serde_json::Value as Json;
use trueline_tensors::Tensor;

/// Whether an answer has a part for each of so many rows.
pub(super) fn fits(answer: &Predictions, rows: usize) -> bool {
    match answer {
        Predictions::Json(Json::Array(list)) => list.len() == rows,
        Predictions::Json(_) => false,
        tensors => !tensors.tensors().is_empty() && tensors.tensors().iter().all(|t| t.rows() == rows),
    }
}

/// Cuts an answer that fits into those of requests with so many rows each.
pub(super) fn cut(answer: Predictions, rows: &[usize]) -> Vec<Predictions> {
    if let Predictions::Json(Json::Array(list)) = answer {
        let mut items = list.into_iter();
        return rows.iter().map(|n| Predictions::Json(items.by_ref().take(*n).collect())).collect();
    }
    let mut end = 0;
    let part = |n: &usize| {
        let begin = end;
        end += n;
        let slices = |tensors: &[Tensor]| tensors.iter().map(|t| t.slice(begin, end)).collect();
        match &answer {
            Predictions::Array(tensor) => Predictions::Array(tensor.slice(begin, end)),
            Predictions::Table(columns) => Predictions::Table(slices(columns)),
            Predictions::Named(tensors) => Predictions::Named(slices(tensors)),
            Predictions::Json(other) => Predictions::Json(other.clone()),
        }
    };
    rows.iter().map(part).collect()
}

/// What answers to single requests have shown: that the model gives a part for each row.
///
/// A model that always gives two numbers, whatever it is asked, seems to answer by rows when it is asked by two. So an answer
/// is cut only when another number of rows than its own has been answered by its rows before.
#[derive(Debug, Default)]
pub(super) struct Proof {
    first: Option<usize>,
    other: bool,
}

impl Proof {
    /// A request of so many rows, asked by itself, had an answer that fits.
    pub(super) fn show(&mut self, rows: usize) {
        match self.first {
            None => self.first = Some(rows),
            Some(first) => self.other |= first != rows,
        }
    }

    /// Whether an answer of so many rows, if it fits, does not do so by accident.
    pub(super) fn covers(&self, rows: usize) -> bool {
        self.other || self.first.is_some_and(|first| first != rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use trueline_tensors::Values;

    fn column(values: &[i64]) -> Tensor {
        Tensor::column("a", Values::Int64(values.to_vec()))
    }

    #[test]
    fn each_form_of_an_answer_is_cut_by_rows() {
        let matrix = Predictions::array(vec![3, 2], Values::Int64(vec![1, 2, 3, 4, 5, 6]));
        let parts = cut(matrix, &[1, 2]);
        assert_eq!(parts[0], Predictions::array(vec![1, 2], Values::Int64(vec![1, 2])));
        assert_eq!(parts[1], Predictions::array(vec![2, 2], Values::Int64(vec![3, 4, 5, 6])));
        let table = cut(Predictions::Table(vec![column(&[1, 2, 3])]), &[2, 1]);
        assert_eq!(table[1], Predictions::Table(vec![column(&[3])]));
        let named = cut(Predictions::Named(vec![column(&[1, 2])]), &[1, 1]);
        assert_eq!(named[0], Predictions::Named(vec![column(&[1])]));
        let listed = cut(Predictions::Json(json!(["x", {"y": 1}, null])), &[1, 2]);
        assert_eq!(listed[1], Predictions::Json(json!([{"y": 1}, null])));
    }

    #[test]
    fn answers_with_rows_of_their_own_do_not_fit() {
        assert!(fits(&Predictions::Array(column(&[1, 2])), 2));
        assert!(!fits(&Predictions::Array(column(&[1])), 2), "an aggregate");
        assert!(!fits(&Predictions::Named(vec![column(&[1, 2]), column(&[1])]), 2), "one beside rows");
        assert!(!fits(&Predictions::Named(vec![]), 2), "nothing at all");
        assert!(!fits(&Predictions::Json(json!({"a": [1, 2]})), 2));
        assert!(!fits(&Predictions::Json(json!([1])), 2));
    }

    #[test]
    fn a_fit_by_accident_is_no_proof() {
        let mut proof = Proof::default();
        assert!(!proof.covers(2), "nothing was shown");
        proof.show(2);
        assert!(!proof.covers(2) && proof.covers(3));
        proof.show(1);
        assert!(proof.covers(2));
    }
}
