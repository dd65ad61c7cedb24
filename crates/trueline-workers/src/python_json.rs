//! Answers as the JSON that MLflow's scoring server writes, byte for byte: `json.dump` of Python, with its spaces, its
//! floats and its escapes, `NaN` among them.

use crate::request::Output;
use std::io::Write;
use trueline_tensors::{Tensor, Values};

impl Output {
    /// `{"predictions": …}`, as MLflow's scoring server answers.
    #[must_use]
    pub fn predictions(&self) -> Vec<u8> {
        let mut out = b"{\"predictions\": ".to_vec();
        self.write(&mut out);
        out.push(b'}');
        out
    }

    /// What stands in [`Output::predictions`].
    #[must_use]
    pub fn python_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Json(text) => out.extend_from_slice(text.as_bytes()),
            Self::Array(tensor) => nested(tensor, out),
            Self::Dict(tensors) => list(out, b"{", b"}", tensors, |out, tensor| {
                text(tensor.name(), out);
                out.extend_from_slice(b": ");
                nested(tensor, out);
            }),
            Self::Records(tensors) => {
                let names: Vec<Vec<u8>> = tensors.iter().map(key).collect();
                let rows = tensors.first().map_or(0, Tensor::rows);
                list(out, b"[", b"]", 0..rows, |out, row| {
                    list(out, b"{", b"}", tensors.iter().zip(&names), |out, (tensor, name)| {
                        out.extend_from_slice(name);
                        value(tensor.values(), row, out);
                    });
                });
            }
        }
    }
}

fn key(tensor: &Tensor) -> Vec<u8> {
    let mut key = Vec::new();
    text(tensor.name(), &mut key);
    key.extend_from_slice(b": ");
    key
}

fn list<T>(
    out: &mut Vec<u8>,
    open: &[u8],
    close: &[u8],
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut Vec<u8>, T),
) {
    out.extend_from_slice(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        each(out, item);
    }
    out.extend_from_slice(close);
}

fn nested(tensor: &Tensor, out: &mut Vec<u8>) {
    fn level(shape: &[usize], at: usize, values: &Values, out: &mut Vec<u8>) {
        let Some((length, inner)) = shape.split_first() else { return value(values, at, out) };
        let step: usize = inner.iter().product();
        list(out, b"[", b"]", 0..*length, |out, index| level(inner, at + index * step, values, out));
    }
    level(tensor.shape(), 0, tensor.values(), out);
}

fn value(values: &Values, at: usize, out: &mut Vec<u8>) {
    match values {
        Values::Fp64(list) => float(list[at], out),
        Values::Fp32(list) => float(f64::from(list[at]), out),
        Values::Text(list) => match &list[at] {
            Some(found) => text(found, out),
            None => out.extend_from_slice(b"null"),
        },
        // Whole numbers and truth values are the same everywhere; answers have nothing else.
        other => {
            let _ = write!(out, "{}", other.json(at));
        }
    }
}

/// A float as `repr` of Python: the shortest digits that are this float, with an exponent from 1e16 and below 1e-4.
fn float(number: f64, out: &mut Vec<u8>) {
    if !number.is_finite() {
        let word: &[u8] = match (number.is_nan(), number > 0.0) {
            (true, _) => b"NaN",
            (_, true) => b"Infinity",
            (_, false) => b"-Infinity",
        };
        return out.extend_from_slice(word);
    }
    let size = number.abs();
    let written = shortest(number);
    let (digits, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    // Writing to memory does not fail.
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
        let _ = write!(out, "{digits}e{sign}{exponent:0>2}");
        return;
    }
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |d| ("-", d));
    out.extend_from_slice(sign.as_bytes());
    let digits: Vec<u8> = digits.bytes().filter(|b| *b != b'.').collect();
    match exponent.parse::<i32>().unwrap_or(0) {
        below @ ..0 => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + below.unsigned_abs() as usize - 1, b'0');
            out.extend_from_slice(&digits);
        }
        whole => {
            let whole = whole.unsigned_abs() as usize + 1;
            out.extend_from_slice(&digits[..whole.min(digits.len())]);
            out.resize(out.len() + whole.saturating_sub(digits.len()), b'0');
            out.push(b'.');
            out.extend_from_slice(digits.get(whole..).filter(|rest| !rest.is_empty()).unwrap_or(b"0"));
        }
    }
}

/// The shortest digits that are this float, with an exponent; of two that are as near, the even one, as Python has it.
fn shortest(number: f64) -> String {
    let written = format!("{number:e}");
    let digits = written.bytes().take_while(|b| *b != b'e').filter(u8::is_ascii_digit).count();
    // Fewer digits are too far apart for two of them to be the same float.
    if digits >= 15 {
        let nearest = format!("{number:.*e}", digits - 1);
        if nearest.parse() == Ok(number) {
            return nearest;
        }
    }
    written
}

/// A text of ASCII alone.
fn text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            ' '..='~' => out.push(c as u8),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: f64) -> String {
        let mut out = Vec::new();
        float(number, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_as_python_writes_them() {
        for (number, python) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::from(0.1_f32), "0.10000000149011612"),
            (-650.009_094_238_281_2, "-650.0090942382812"),
            (123_456.0, "123456.0"),
            (100.0, "100.0"),
            (12.5, "12.5"),
            (0.001_25, "0.00125"),
            (9_007_199_254_740_993.0, "9007199254740992.0"),
        ] {
            assert_eq!(written(number), python);
        }
    }

    #[test]
    fn answers_are_as_mlflow_writes_them() {
        let numbers = Tensor::new("", vec![2, 2], Values::Int64(vec![1, 2, 3, 4])).unwrap();
        assert_eq!(Output::Array(numbers).predictions(), b"{\"predictions\": [[1, 2], [3, 4]]}");
        let texts = Values::Text(vec![Some("a\"é😀\u{7f}".to_owned()), None]);
        let table = vec![Tensor::column("x", Values::Bool(vec![true, false])), Tensor::column("0", texts)];
        let expected = r#"[{"x": true, "0": "a\"\u00e9\ud83d\ude00\u007f"}, {"x": false, "0": null}]"#;
        assert_eq!(String::from_utf8(Output::Records(table).python_json()).unwrap(), expected);
        let none = Tensor::new("y", vec![0, 3], Values::Fp32(vec![])).unwrap();
        assert_eq!(Output::Dict(vec![none]).python_json(), b"{\"y\": []}");
    }
}
