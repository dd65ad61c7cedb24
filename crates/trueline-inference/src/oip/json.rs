//! A request of the protocol as JSON, with bytes behind it where tensors say so, and an answer in the same way.

use super::datatype::{self, Wire};
use super::numbers::Lifted;
use super::{Wanted, is_bytes, shape, tensor};
use crate::write;
use axum::body::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt::{self, Write as _};
use trueline_serving::strict_json;
use trueline_tensors::{DataType, Tensor, Values};

const UNFIT: &str = "its data does not fit its datatype";

/// A request as it came.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: Option<String>,
    pub(super) inputs: Vec<Tensor>,
    pub(super) wanted: Vec<Wanted>,
    /// Whether outputs that do not say are to come as bytes.
    pub(super) binary: bool,
}

#[derive(Deserialize)]
struct Body<'b> {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<Input<'b>>,
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    binary_data_size: Option<usize>,
    binary_data: Option<bool>,
    #[serde(default)]
    binary_data_output: bool,
}

#[derive(Deserialize)]
struct Input<'b> {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    data: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

impl Request {
    /// Reads a body whose first `json` bytes are JSON; all of them, if nothing is said.
    pub(super) fn parse(body: &Bytes, json: Option<usize>) -> Result<Self, String> {
        let (head, tail) = match json {
            None => (&body[..], &[][..]),
            Some(length) => body
                .split_at_checked(length)
                .ok_or_else(|| format!("the JSON is said to have {length} bytes, and {} came", body.len()))?,
        };
        if let Some(lifted) = Lifted::of(head)
            && let Ok(rest) = serde_json::from_slice(&lifted.json)
            && let Ok(request) = Self::of(rest, Some(&lifted), tail)
        {
            return Ok(request);
        }
        Self::parse_all(head, tail)
    }

    /// Reads what is not regular, and tells what is wrong.
    fn parse_all(head: &[u8], tail: &[u8]) -> Result<Self, String> {
        let strict;
        let head: Body<'_> = match serde_json::from_slice(head) {
            Ok(head) => head,
            // Python writes `NaN`, for which JSON has no word.
            Err(first) => {
                strict = std::str::from_utf8(head).map(strict_json).unwrap_or_default();
                serde_json::from_str(&strict).map_err(|_| {
                    format!(
                        "the request can't be read: {first}. It is a dictionary with `inputs`, each with name, shape, \
                         datatype and data"
                    )
                })?
            }
        };
        Self::of(head, None, tail)
    }

    /// Of the JSON, of the numbers that were lifted out of it, and of the bytes behind it.
    fn of(head: Body<'_>, lifted: Option<&Lifted>, mut tail: &[u8]) -> Result<Self, String> {
        let mut inputs = Vec::with_capacity(head.inputs.len());
        for input in head.inputs {
            let name = input.name.as_str();
            let wrong = |why: String| format!("input `{name}`: {why}");
            let dimensions = shape(&input.shape, name)?;
            let count = dimensions.iter().product();
            let wire = Wire::parse(&input.datatype).map_err(wrong)?;
            let values = match (input.parameters.binary_data_size, input.data) {
                (Some(size), None) => {
                    let (own, rest) = tail.split_at_checked(size).ok_or_else(|| {
                        wrong(format!("it is said to have {size} bytes, {} are left", tail.len()))
                    })?;
                    tail = rest;
                    wire.read(own, count).map_err(wrong)?
                }
                (None, Some(data)) => match lifted.and_then(|lifted| lifted.find(data.get())) {
                    Some(numbers) => numbers.values(wire).ok_or_else(|| wrong(UNFIT.to_owned()))?,
                    None => read(data, wire).map_err(wrong)?,
                },
                (Some(_), Some(_)) => return Err(wrong("it has both data and binary_data_size".to_owned())),
                (None, None) => return Err(wrong("it has no data".to_owned())),
            };
            inputs.push(tensor(name, dimensions, values)?);
        }
        if !tail.is_empty() {
            return Err(format!("{} bytes are left behind the last input", tail.len()));
        }
        let wanted =
            head.outputs.into_iter().map(|o| Wanted { name: o.name, binary: o.parameters.binary_data });
        Ok(Self { id: head.id, inputs, wanted: wanted.collect(), binary: head.parameters.binary_data_output })
    }

    /// A body that is nothing but the bytes of a model's one input.
    pub(super) fn raw(body: &Bytes, name: &str, kind: DataType, inner: &[i64]) -> Result<Self, String> {
        let fixed = inner.iter().map(|n| usize::try_from(*n).ok()).collect::<Option<Vec<_>>>();
        let size = match kind {
            DataType::Bool | DataType::Int8 | DataType::Uint8 => 1,
            DataType::Int16 | DataType::Uint16 => 2,
            DataType::Int32 | DataType::Uint32 | DataType::Fp32 => 4,
            DataType::Int64 | DataType::Uint64 | DataType::Fp64 => 8,
            DataType::Bytes | DataType::Text | DataType::Json => 0,
        };
        let width = fixed.as_ref().map(|f| f.iter().product::<usize>()).filter(|w| *w > 0 && size > 0);
        let (Some(fixed), Some(width)) = (fixed, width) else {
            return Err(format!("input `{name}` has no fixed size, so its shape must be said in JSON"));
        };
        let rows = body.len() / (size * width);
        let values = Wire::Same(kind).read(body, rows * width)?;
        let dimensions = [rows].into_iter().chain(fixed).collect();
        Ok(Self {
            id: None,
            inputs: vec![tensor(name, dimensions, values)?],
            wanted: Vec::new(),
            binary: true,
        })
    }
}

/// Lists in lists, or one list, of values of one type.
fn read(data: &RawValue, wire: Wire) -> Result<Values, String> {
    fn flat<T: Item>(data: &RawValue) -> Result<Vec<T>, serde_json::Error> {
        let mut list = Vec::new();
        Flat(&mut list).deserialize(&mut serde_json::Deserializer::from_str(data.get()))?;
        Ok(list)
    }
    let read = match wire {
        Wire::Fp16 | Wire::Same(DataType::Fp32) => flat(data).map(Values::Fp32),
        Wire::Same(DataType::Fp64) => flat(data).map(Values::Fp64),
        Wire::Same(DataType::Bool) => flat(data).map(Values::Bool),
        Wire::Same(DataType::Uint8) => flat(data).map(Values::Uint8),
        Wire::Same(DataType::Uint16) => flat(data).map(Values::Uint16),
        Wire::Same(DataType::Uint32) => flat(data).map(Values::Uint32),
        Wire::Same(DataType::Uint64) => flat(data).map(Values::Uint64),
        Wire::Same(DataType::Int8) => flat(data).map(Values::Int8),
        Wire::Same(DataType::Int16) => flat(data).map(Values::Int16),
        Wire::Same(DataType::Int32) => flat(data).map(Values::Int32),
        Wire::Same(DataType::Int64) => flat(data).map(Values::Int64),
        Wire::Same(DataType::Bytes | DataType::Text | DataType::Json) => flat(data).map(Values::Text),
    };
    read.map_err(|e| format!("{UNFIT}: {e}"))
}

/// What a JSON value is to a datatype; none where it is not one of it.
trait Item: Sized {
    fn of_bool(_: bool) -> Option<Self> {
        None
    }
    fn of_int(_: i64) -> Option<Self> {
        None
    }
    fn of_large(_: u64) -> Option<Self> {
        None
    }
    fn of_float(_: f64) -> Option<Self> {
        None
    }
    fn of_text(_: &str) -> Option<Self> {
        None
    }
    fn of_null() -> Option<Self> {
        None
    }
}

macro_rules! whole_items {
    ($($kind:ty),*) => {
        $(impl Item for $kind {
            fn of_int(whole: i64) -> Option<Self> {
                Self::try_from(whole).ok()
            }
            fn of_large(whole: u64) -> Option<Self> {
                Self::try_from(whole).ok()
            }
        })*
    };
}
whole_items!(u8, u16, u32, u64, i8, i16, i32, i64);

/// A float is NaN where none is told; the words are those that Python writes.
macro_rules! float_items {
    ($($kind:ident),*) => {
        $(#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        impl Item for $kind {
            fn of_int(whole: i64) -> Option<Self> {
                Some(whole as Self)
            }
            fn of_large(whole: u64) -> Option<Self> {
                Some(whole as Self)
            }
            fn of_float(float: f64) -> Option<Self> {
                Some(float as Self)
            }
            fn of_text(text: &str) -> Option<Self> {
                match text {
                    "NaN" => Some($kind::NAN),
                    "Infinity" => Some($kind::INFINITY),
                    "-Infinity" => Some($kind::NEG_INFINITY),
                    _ => None,
                }
            }
            fn of_null() -> Option<Self> {
                Some($kind::NAN)
            }
        })*
    };
}
float_items!(f32, f64);

impl Item for bool {
    fn of_bool(on: bool) -> Option<Self> {
        Some(on)
    }
}

impl Item for Option<String> {
    fn of_text(text: &str) -> Option<Self> {
        Some(Some(text.to_owned()))
    }
    fn of_null() -> Option<Self> {
        Some(None)
    }
}

/// A value, or a list of such as this.
struct Flat<'l, T>(&'l mut Vec<T>);

impl<T: Item> Flat<'_, T> {
    fn push<E: Error>(self, item: Option<T>) -> Result<(), E> {
        self.0.push(item.ok_or_else(|| E::custom("a value is of another type or too large"))?);
        Ok(())
    }
}

impl<'de, T: Item> DeserializeSeed<'de> for Flat<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de, T: Item> Visitor<'de> for Flat<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("values, or lists of them")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Flat(self.0))?.is_some() {}
        Ok(())
    }
    fn visit_bool<E: Error>(self, on: bool) -> Result<(), E> {
        self.push(T::of_bool(on))
    }
    fn visit_i64<E: Error>(self, whole: i64) -> Result<(), E> {
        self.push(T::of_int(whole))
    }
    fn visit_u64<E: Error>(self, whole: u64) -> Result<(), E> {
        self.push(T::of_large(whole))
    }
    fn visit_f64<E: Error>(self, float: f64) -> Result<(), E> {
        self.push(T::of_float(float))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.push(T::of_text(text))
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.push(T::of_null())
    }
}

/// An answer: its JSON, and the bytes behind it, of which there may be none.
pub(super) struct Written {
    pub(super) json: String,
    pub(super) tail: Vec<u8>,
}

/// Bytes of an answer of one output, without its ids and values.
const USUAL_HEAD: usize = 256;
/// Bytes of a value and of what parts it from the next.
const USUAL_VALUE: usize = 20;

/// Writes an answer; each output as its own wish says, else as the request does.
pub(super) fn write(request: &Request, model: &str, version: &str, ids: &str, outputs: &[Tensor]) -> Written {
    let values: usize = outputs.iter().map(|output| output.values().len()).sum();
    let (mut json, mut tail) =
        (String::with_capacity(USUAL_HEAD + ids.len() + USUAL_VALUE * values), Vec::new());
    json.push_str("{\"model_name\": ");
    write::text(&mut json, model);
    json.push_str(", \"model_version\": ");
    write::text(&mut json, version);
    if let Some(id) = &request.id {
        json.push_str(", \"id\": ");
        write::text(&mut json, id);
    }
    json.push_str(", \"parameters\": {\"prediction_ids\": ");
    write::text(&mut json, ids);
    json.push_str("}, \"outputs\": [");
    for (i, output) in outputs.iter().enumerate() {
        let wish = request.wanted.iter().find(|w| w.name == output.name()).and_then(|w| w.binary);
        json.push_str(if i > 0 { ", {\"name\": " } else { "{\"name\": " });
        write::text(&mut json, output.name());
        let kind = output.values().data_type();
        // Writing to a text can't fail.
        let _ = write!(json, ", \"datatype\": \"{}\", \"shape\": {:?}", datatype::name(kind), output.shape());
        if wish.unwrap_or(request.binary) {
            let bytes = datatype::write(output.values());
            let _ = write!(json, ", \"parameters\": {{\"binary_data_size\": {}}}}}", bytes.len());
            tail.extend(bytes);
            continue;
        }
        json.push_str(", \"data\": [");
        for at in 0..output.values().len() {
            json.push_str(if at > 0 { ", " } else { "" });
            match output.values() {
                // What is mixed is told as JSON in a text, as a datatype of bytes demands.
                Values::Json(list) if !list[at].is_string() => write::text(&mut json, &list[at].to_string()),
                Values::Text(list) if list[at].is_none() => json.push_str("\"\""),
                values => write::value(&mut json, values, at),
            }
        }
        json.push_str("]}");
        debug_assert!(is_bytes(kind) == (datatype::name(kind) == "BYTES"));
    }
    json.push_str("]}");
    Written { json, tail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    fn parse(body: &Json) -> Result<Request, String> {
        Request::parse(&Bytes::from(body.to_string()), None)
    }

    fn input(datatype: &str, shape: &[i64], data: Json) -> Json {
        json!({ "inputs": [{ "name": "x", "shape": shape, "datatype": datatype, "data": data }] })
    }

    #[test]
    fn data_may_be_nested_or_flat() {
        for data in [json!([[1, 2.5], [null, 4]]), json!([1, 2.5, null, 4])] {
            let read = parse(&input("FP32", &[2, 2], data)).unwrap();
            let Values::Fp32(list) = read.inputs[0].values() else { panic!() };
            assert!(list[0] == 1.0 && list[1] == 2.5 && list[2].is_nan() && list[3] == 4.0);
        }
        let texts = parse(&input("BYTES", &[2], json!(["a", null]))).unwrap();
        assert_eq!(texts.inputs[0].values(), &Values::Text(vec![Some("a".into()), None]));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_the_inputs_name() {
        for (body, expected) in [
            (input("INT8", &[1], json!([300])), "input `x`: its data does not fit its datatype"),
            (input("INT64", &[1], json!([1.5])), "does not fit"),
            (input("BOOL", &[1], json!([1])), "does not fit"),
            (input("FP32", &[3], json!([1])), "a shape of [3] does not hold 1 values"),
            (input("FP32", &[-1], json!([1])), "is no shape"),
            (input("FP32", &[], json!([])), "is no shape"),
            (input("FP32", &[i64::MAX, i64::MAX], json!([1])), "is no shape"),
            (input("TEXT", &[1], json!([1])), "there is no datatype `TEXT`"),
            (json!({ "inputs": [{ "name": "x", "shape": [1], "datatype": "FP32" }] }), "it has no data"),
            (json!({ "instances": [] }), "missing field `inputs`"),
            (json!([]), "can't be read"),
        ] {
            let error = parse(&body).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }

    #[test]
    fn bytes_follow_the_json_in_the_order_of_inputs() {
        let head = json!({ "id": "7", "inputs": [
            { "name": "a", "shape": [1], "datatype": "FP32", "parameters": { "binary_data_size": 4 } },
            { "name": "b", "shape": [1], "datatype": "INT8", "data": [5] },
            { "name": "c", "shape": [2], "datatype": "BYTES", "parameters": { "binary_data_size": 9 } },
        ]})
        .to_string();
        let mut body = head.clone().into_bytes();
        body.extend(1.5_f32.to_le_bytes());
        body.extend([1, 0, 0, 0, b'x', 0, 0, 0, 0]);
        let whole = Bytes::from(body);
        let read = Request::parse(&whole, Some(head.len())).unwrap();
        assert_eq!(read.inputs[0].values(), &Values::Fp32(vec![1.5]));
        assert_eq!(read.inputs[1].values(), &Values::Int8(vec![5]));
        assert_eq!(read.inputs[2].values(), &Values::Text(vec![Some("x".into()), Some(String::new())]));
        for (body, length, expected) in [
            (whole.slice(..whole.len() - 1), head.len(), "it is said to have 9 bytes, 8 are left"),
            (Bytes::from([&whole[..], b"!"].concat()), head.len(), "1 bytes are left behind"),
            (whole.clone(), whole.len() + 1, "is said to have"),
        ] {
            let error = Request::parse(&body, Some(length)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_body_of_bytes_alone_has_as_many_rows_as_fit() {
        let body =
            Bytes::from([1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
        let read = Request::raw(&body, "x", DataType::Fp32, &[2]).unwrap();
        assert_eq!(read.inputs[0].shape(), [2, 2]);
        assert!(read.binary);
        assert!(Request::raw(&body, "x", DataType::Fp32, &[3]).is_err(), "16 bytes are no rows of 12");
        assert!(Request::raw(&body, "x", DataType::Fp32, &[-1]).unwrap_err().contains("no fixed size"));
        assert!(Request::raw(&body, "x", DataType::Text, &[2]).unwrap_err().contains("no fixed size"));
    }

    #[test]
    fn an_output_comes_as_it_was_asked_for() {
        let mut request = parse(&input("FP32", &[1], json!([1]))).unwrap();
        request.id = Some("7".into());
        request.wanted = vec![Wanted { name: "b".into(), binary: Some(true) }];
        let outputs = [
            Tensor::column("a", Values::Fp32(vec![0.5])),
            Tensor::column("b", Values::Int8(vec![-1])),
            Tensor::column("c", Values::Json(vec![json!({ "k": 1 })])),
        ];
        let written = write(&request, "m", "3", "0a", &outputs);
        let read: Json = serde_json::from_str(&written.json).unwrap();
        assert_eq!((&read["id"], &read["model_version"]), (&json!("7"), &json!("3")));
        assert_eq!(read["outputs"][0]["data"], json!([0.5]));
        assert_eq!(read["outputs"][1]["parameters"], json!({ "binary_data_size": 1 }));
        assert_eq!(read["outputs"][2]["data"], json!(["{\"k\":1}"]));
        assert_eq!(written.tail, [255]);
    }

    /// A number as somebody may write it, most of them as JSON has it.
    fn number() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<f64>().prop_map(|x| if x.is_finite() { json!(x).to_string() } else { "null".to_owned() }),
            any::<f32>().prop_map(|x| if x.is_finite() { json!(x).to_string() } else { "-0".to_owned() }),
            any::<i64>().prop_map(|x| x.to_string()),
            any::<u64>().prop_map(|x| x.to_string()),
            (-300_i32..300).prop_map(|x| x.to_string()),
            (any::<i32>(), 0..9_u8).prop_map(|(x, digits)| format!(
                "{:.*}",
                usize::from(digits),
                f64::from(x) / 1e4
            )),
            "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?",
            "[-+]?[0-9]{0,3}\\.?[0-9]{0,3}[eE]?[+-]?[0-9]{0,3}",
            prop::sample::select(
                [
                    "NaN",
                    "Infinity",
                    "null",
                    "nul",
                    "true",
                    "\"NaN\"",
                    "[]",
                    "[1]",
                    "[[2,3]]",
                    "9007199254740993",
                    "1e400"
                ]
                .map(str::to_owned)
                .to_vec()
            ),
        ]
    }

    fn body() -> impl Strategy<Value = String> {
        let kinds = ["FP32", "FP64", "INT8", "INT64", "UINT64", "UINT8", "BOOL", "BYTES", "FP16"];
        let list = prop::collection::vec(number(), 0..5);
        (list, prop::sample::select(kinds.to_vec()), any::<u8>(), " {0,2}").prop_map(
            |(list, kind, form, gap)| {
                let (shape, data) = (list.len(), list.join(&format!("{gap},{gap}")));
                let data = format!("\"data\"{gap}:{gap}[{gap}{data}{gap}]");
                let rest = format!(r#""name":"a\"data\":[1]","shape":[{shape}],"datatype":"{kind}""#);
                let input = if form & 1 == 0 { format!("{data},{rest}") } else { format!("{rest},{data}") };
                match form % 7 {
                    0 => format!(r#"{{"parameters":{{"data":[1,[2]]}},"inputs":[{{{input}}}]}}"#),
                    1 => format!(r#"{{"inputs":[{{{input}}}],"id":"data"}}"#),
                    2 => format!(r#"{{"inputs":[{{{input},"data":[1]}}]}}"#),
                    _ => format!(r#"{{"inputs":[{{{input}}}]}}"#),
                }
            },
        )
    }

    /// What was read, or why not, for comparison to the bit: NaN is written alike, and -0 otherwise than 0.
    fn told(read: Result<Request, String>) -> Result<String, String> {
        read.map(|request| format!("{request:?}"))
    }

    fn as_without_lifting(body: &[u8]) -> Result<(), TestCaseError> {
        let quick = told(Request::parse(&Bytes::copy_from_slice(body), None));
        prop_assert_eq!(quick, told(Request::parse_all(body, &[])), "{}", String::from_utf8_lossy(body));
        Ok(())
    }

    #[test]
    fn numbers_are_lifted_from_where_they_stand() {
        let text = r#"{"id": "data", "inputs": [{"name": "\"data\": [7]", "data" : [[1, -2.5e1], [null, 0.125]], "shape": [2, 2],
            "datatype": "FP64"}, {"data": [3], "name": "b", "shape": [1], "datatype": "INT8"}]}"#;
        let lifted = Lifted::of(text.as_bytes()).unwrap();
        assert!(!String::from_utf8_lossy(&lifted.json).contains("0.125"));
        let read = Request::parse(&Bytes::from(text), None).unwrap();
        let Values::Fp64(list) = read.inputs[0].values() else { panic!() };
        assert!(list[..2] == [1.0, -25.0] && list[2].is_nan() && list[3] == 0.125);
        assert_eq!(read.inputs[1].values(), &Values::Int8(vec![3]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn bodies_are_read_the_same_whether_numbers_are_lifted_or_not(body in body()) {
            as_without_lifting(body.as_bytes())?;
        }

        #[test]
        fn so_are_damaged_ones(body in body(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
            let mut body = body.into_bytes();
            let at = at.index(body.len());
            match cut {
                true => _ = body.remove(at),
                false => body[at] = byte,
            }
            as_without_lifting(&body)?;
        }

        #[test]
        fn every_float_is_read_to_the_bit(bits in any::<u64>()) {
            let float = f64::from_bits(bits);
            prop_assume!(float.is_finite());
            for text in [json!(float).to_string(), format!("{float:e}"), format!("{float:.40}")] {
                let body = format!(r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"FP64","data":[{text}]}}]}}"#);
                prop_assert!(Lifted::of(body.as_bytes()).is_some() || text.len() > 300);
                let read = Request::parse(&Bytes::from(body), None).unwrap();
                let Values::Fp64(list) = read.inputs[0].values() else { panic!() };
                prop_assert_eq!(list[0].to_bits(), text.parse::<f64>().unwrap().to_bits(), "{}", text);
            }
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), json in 0_usize..250) {
            drop(Request::parse(&Bytes::from(bytes), Some(json)));
        }
    }
}
