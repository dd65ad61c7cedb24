//! Lists in lists, as JSON has arrays.

use crate::builder::Builder;
use crate::tensor::Tensor;
use serde_json::Value as Json;

impl Tensor {
    /// Of lists in lists: all lists of one depth have one length. `what` names it in errors.
    ///
    /// # Errors
    /// A sentence that says which row is not as the others are.
    pub fn of_json(input: Json, what: &str) -> Result<Self, String> {
        let mut shape = Vec::new();
        let mut inner = &input;
        while let Json::Array(list) = inner {
            shape.push(list.len());
            let Some(first) = list.first() else { break };
            inner = first;
        }
        let mut values = Builder::default();
        flatten(input, &shape, what, &mut values)?;
        Self::new("", shape, values.finish()).map_err(|e| format!("`{what}`: {e}"))
    }
}

fn flatten(input: Json, shape: &[usize], what: &str, values: &mut Builder) -> Result<(), String> {
    let [_, inner @ ..] = shape else {
        values.push(input);
        return Ok(());
    };
    let Json::Array(list) = input else { return Ok(()) };
    for (i, item) in list.into_iter().enumerate() {
        match (inner.first(), &item) {
            (None, Json::Array(_) | Json::Object(_)) | (Some(_), Json::Object(_)) => {
                return Err(format!("row {i} of `{what}` must be a list of values. Got {}", kind(&item)));
            }
            (Some(width), Json::Array(own)) if own.len() != *width => {
                return Err(format!("row {i} of `{what}` has {} values, expected {width}", own.len()));
            }
            (Some(width), other) if !other.is_array() => {
                return Err(format!("row {i} of `{what}` is {}, expected {width} values", kind(other)));
            }
            _ => flatten(item, inner, what, values)?,
        }
    }
    Ok(())
}

/// What a JSON value is, in a sentence.
#[must_use]
pub fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a dictionary",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Values;
    use serde_json::json;

    #[test]
    fn lists_in_lists_are_an_array_when_they_are_regular() {
        let read = |value| Tensor::of_json(value, "x");
        let deep = read(json!([[[1, 2]], [[3, 4]]])).unwrap();
        assert_eq!((deep.shape(), deep.values()), (&[2, 1, 2][..], &Values::Int64(vec![1, 2, 3, 4])));
        assert_eq!(read(json!([])).unwrap().shape(), [0]);
        assert!(read(json!([[1], [2, 3]])).unwrap_err().contains("row 1 of `x` has 2 values, expected 1"));
        assert!(read(json!([[1], 2])).unwrap_err().contains("row 1 of `x` is a number"));
        assert!(read(json!([1, [2]])).unwrap_err().contains("Got a list"));
        assert!(read(json!([[1], {}])).unwrap_err().contains("Got a dictionary"));
        assert!(read(json!(7)).is_err());
    }
}
