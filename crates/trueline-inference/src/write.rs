//! Answers as JSON, as MLflow writes them: spaces after commas, a float32 with all its digits as float64.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use std::fmt::Write;
use trueline_flows::Predicted;
use trueline_serving::Predictions;
use trueline_tensors::{Tensor, Values};

/// An answer of `{"predictions": …}` and nothing besides.
pub(crate) fn only_predictions(predicted: Predicted) -> Response {
    let mut text = String::from("{\"predictions\": ");
    predictions(&mut text, &predicted.predictions);
    text.push('}');
    json(text)
}

/// An answer of the predictions alone.
pub(crate) fn bare_predictions(predicted: Predicted) -> Response {
    let mut text = String::new();
    predictions(&mut text, &predicted.predictions);
    json(text)
}

/// An answer that is JSON.
pub(crate) fn json(text: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

/// The predictions, in the form that the model gave them.
pub(crate) fn predictions(out: &mut String, predictions: &Predictions) {
    match predictions {
        Predictions::Array(one) => tensor(out, one),
        Predictions::Named(many) => list(out, '{', '}', many.iter(), |out, one| {
            text(out, one.name());
            out.push_str(": ");
            tensor(out, one);
        }),
        Predictions::Table(columns) => {
            let rows = columns.first().map_or(0, Tensor::rows);
            list(out, '[', ']', 0..rows, |out, row| record(out, columns, row));
        }
        // Writing to a text can't fail.
        Predictions::Json(any) => drop(write!(out, "{any}")),
    }
}

fn record(out: &mut String, columns: &[Tensor], row: usize) {
    list(out, '{', '}', columns.iter(), |out, column| {
        text(out, column.name());
        out.push_str(": ");
        level(out, column.values(), &column.shape()[1..], row * column.width());
    });
}

/// Lists in lists.
pub(crate) fn tensor(out: &mut String, tensor: &Tensor) {
    level(out, tensor.values(), tensor.shape(), 0);
}

fn level(out: &mut String, values: &Values, shape: &[usize], from: usize) {
    match shape {
        [] => value(out, values, from),
        [n, inner @ ..] => {
            let step: usize = inner.iter().product();
            list(out, '[', ']', 0..*n, |out, i| level(out, values, inner, from + i * step));
        }
    }
}

fn list<T>(
    out: &mut String,
    open: char,
    close: char,
    items: impl Iterator<Item = T>,
    mut each: impl FnMut(&mut String, T),
) {
    out.push(open);
    for (i, item) in items.enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        each(out, item);
    }
    out.push(close);
}

pub(crate) fn text(out: &mut String, text: &str) {
    let as_it_is = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(as_it_is) {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return;
    }
    let _ = write!(out, "{}", serde_json::Value::from(text));
}

/// One value; what JSON has no word for is null.
pub(crate) fn value(out: &mut String, values: &Values, at: usize) {
    let _ = match values {
        Values::Fp32(list) if list[at].is_finite() => float(out, list[at].into()),
        Values::Fp64(list) if list[at].is_finite() => float(out, list[at]),
        Values::Int64(list) => write!(out, "{}", list[at]),
        other => write!(out, "{}", other.json(at)),
    };
}

/// A finite number as Debug writes it: the fewest digits that tell it from others, and the point of 1.0, by which a client
/// knows a float. JSON's writer takes less time, and does the same but for exponents.
fn float(out: &mut String, float: f64) -> std::fmt::Result {
    match serde_json::Number::from_f64(float).filter(|_| (1e-4..1e15).contains(&float.abs())) {
        Some(number) => write!(out, "{number}"),
        None => write!(out, "{float:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(shape: &[usize], values: Values) -> String {
        let mut out = String::new();
        predictions(&mut out, &Predictions::Array(Tensor::new("", shape.to_vec(), values).unwrap()));
        out
    }

    #[test]
    fn answers_look_like_mlflows() {
        assert_eq!(written(&[2], Values::Fp32(vec![1.0, 0.25])), "[1.0, 0.25]");
        assert_eq!(written(&[2], Values::Int64(vec![1, 0])), "[1, 0]");
        assert_eq!(written(&[2, 2], Values::Fp32(vec![0.5, 0.5, 1.0, 0.0])), "[[0.5, 0.5], [1.0, 0.0]]");
        assert_eq!(written(&[1], Values::Fp64(vec![f64::INFINITY])), "[null]");
        let column = |name, values| Tensor::column(name, values);
        let both = vec![
            column("a", Values::Int64(vec![1, 2])),
            column("\"", Values::Text(vec![None, Some("x".into())])),
        ];
        let mut out = String::new();
        predictions(&mut out, &Predictions::Table(both.clone()));
        assert_eq!(out, r#"[{"a": 1, "\"": null}, {"a": 2, "\"": "x"}]"#);
        out.clear();
        predictions(&mut out, &Predictions::Named(both));
        assert_eq!(out, r#"{"a": [1, 2], "\"": [null, "x"]}"#);
    }

    proptest! {
        #[test]
        fn a_text_reads_as_it_was(given in any::<String>()) {
            let mut out = String::new();
            text(&mut out, &given);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), given);
        }

        #[test]
        fn floats_look_like_debugs(bits in any::<u64>(), near in -1e16..1e16, small in -2.0..2.0, half in any::<f32>()) {
            for value in [f64::from_bits(bits), near, near.round(), small, small / 1e3, small / 1e4, half.into()] {
                prop_assume!(value.is_finite());
                let (text, debug) = (written(&[1], Values::Fp64(vec![value])), format!("[{value:?}]"));
                // Where two shortest forms are as near, either will do.
                let last = text.len() - 2;
                prop_assert_eq!((&text[..last], text.len()), (&debug[..last], debug.len()));
                prop_assert_eq!(text[1..=last].parse::<f64>().map(f64::to_bits), Ok(value.to_bits()));
            }
        }

        #[test]
        fn every_float_comes_back_bit_for_bit(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            let read: serde_json::Value = serde_json::from_str(&written(&[1], Values::Fp32(vec![value]))).unwrap();
            if value.is_finite() {
                #[allow(clippy::cast_possible_truncation)]
                let read = read[0].as_f64().unwrap() as f32;
                prop_assert_eq!(read.to_bits(), bits);
            } else {
                prop_assert!(read[0].is_null());
            }
        }
    }
}
