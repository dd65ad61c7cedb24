//! Bodies of MLflow's scoring protocol as columns: `dataframe_split`, `dataframe_records`, `instances`, `inputs`.

use crate::columns;
use crate::lacking::Lacking;
use serde_json::{Map, Value as Json};
use trueline_serving::{Frame, parse_json};
use trueline_tensors::{Builder, Tensor, Values, kind};

const FIELDS: [&str; 4] = ["dataframe_split", "dataframe_records", "instances", "inputs"];
/// What makes a body a document for an application of a language model: chat, completions, embeddings.
const DOCUMENTS: [&str; 3] = ["messages", "prompt", "input"];

/// Reads a body as MLflow's scoring server takes it: with one of the input fields, or a document.
pub(crate) fn invocation(body: &[u8]) -> Result<Frame, String> {
    let body = without_mark(body);
    if let Some(read) = columns::frame(body) {
        return read;
    }
    match json(body)? {
        Json::Object(fields) if DOCUMENTS.iter().any(|key| fields.contains_key(*key)) => {
            Ok(Frame::document(fields))
        }
        other => of_json(other),
    }
}

/// Some clients begin with a mark of byte order.
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Reads a body: straight into columns where it is regular, else by way of JSON, which also finds what is wrong with it.
pub(crate) fn frame(body: &[u8]) -> Result<Frame, String> {
    let body = without_mark(body);
    columns::frame(body).unwrap_or_else(|| of_json(json(body)?))
}

/// Reads a body as Azure ML's clients send it: the input under `input_data`, as a table, as records or as an array; or in
/// any of the forms above.
pub(crate) fn azure(body: &[u8]) -> Result<Frame, String> {
    if let Some(read) = columns::frame(body) {
        return read;
    }
    let mut value = json(body)?;
    match value.get_mut("input_data").map(Json::take) {
        Some(table @ Json::Object(_)) if table.get("data").is_some() => split(table),
        Some(columns @ Json::Object(_)) => inputs(columns),
        Some(rows) => instances(rows),
        None => of_json(value),
    }
}

/// Reads a body that is JSON already.
fn of_json(value: Json) -> Result<Frame, String> {
    let Json::Object(mut fields) = value else {
        return Err(one_field(&format!("it is {}", kind(&value))));
    };
    let found: Vec<&str> = FIELDS.into_iter().filter(|f| fields.contains_key(*f)).collect();
    let field = match found.as_slice() {
        [one] => *one,
        [] => {
            let keys: Vec<&str> = fields.keys().map(String::as_str).take(8).collect();
            return Err(one_field(&format!("it has the fields {keys:?}")));
        }
        many => return Err(one_field(&format!("it has {many:?}"))),
    };
    let params = match fields.remove("params") {
        None | Some(Json::Null) => None,
        Some(Json::Object(params)) => Some(params).filter(|p| !p.is_empty()),
        Some(other) => return Err(format!("`params` must be a dictionary. Got {}", kind(&other))),
    };
    let input = fields.remove(field).unwrap_or_default();
    let frame = match field {
        "dataframe_split" => split(input),
        "dataframe_records" => records(input, field),
        "instances" => instances(input),
        _ => inputs(input),
    };
    Ok(frame?.with_params(params))
}

fn one_field(found: &str) -> String {
    format!(
        "The input must be a JSON dictionary with exactly one of the input fields {FIELDS:?}; {found}. Ensure that input \
         is a valid JSON formatted string"
    )
}

fn json(body: &[u8]) -> Result<Json, String> {
    parse_json(body)
        .map_err(|e| format!("Invalid input. Ensure that input is a valid JSON formatted string. Error: {e}"))
}

/// `{"columns": […], "data": [[…], …], "index": […]}`
fn split(input: Json) -> Result<Frame, String> {
    let Json::Object(mut fields) = input else {
        let got = kind(&input).trim_start_matches("a ");
        return Err(format!("Dataframe split format must be a dictionary. Got {got}"));
    };
    if let Some(odd) = fields.keys().find(|k| !["columns", "data", "index"].contains(&k.as_str())) {
        return Err(format!("Dataframe split format has columns, data and index. Got `{odd}`"));
    }
    let index = fields.remove("index");
    let Some(Json::Array(rows)) = fields.remove("data") else {
        return Err("Dataframe split format needs `data`, a list of rows".to_owned());
    };
    if let Some(Json::Array(index)) = index
        && index.len() != rows.len()
    {
        return Err(format!(
            "Provided dataframe_split field is not a valid dataframe representation in 'split' format. Error: 'Length of \
             values ({}) does not match length of index ({})'",
            rows.len(),
            index.len()
        ));
    }
    match fields.remove("columns") {
        None | Some(Json::Null) => {
            let width = rows.first().map_or(0, |row| row.as_array().map_or(1, Vec::len));
            let columns = transposed(rows, width, "dataframe_split")?;
            Frame::numbered(columns.into_iter().map(Builder::finish))
        }
        Some(Json::Array(names)) if (0_u64..).zip(&names).all(|(i, name)| name.as_u64() == Some(i)) => {
            let columns = transposed(rows, names.len(), "dataframe_split")?;
            Frame::numbered(columns.into_iter().map(Builder::finish))
        }
        Some(Json::Array(names)) => {
            let columns = transposed(rows, names.len(), "dataframe_split")?;
            let named = names.into_iter().zip(columns);
            unique(named.map(|(name, values)| Tensor::column(text(name), values.finish())).collect())
        }
        Some(other) => {
            Err(format!("Dataframe split format needs `columns` to be a list. Got {}", kind(&other)))
        }
    }
}

/// A column's name; pandas has columns that are named by numbers.
fn text(name: Json) -> String {
    match name {
        Json::String(name) => name,
        other => other.to_string(),
    }
}

/// Columns, no two of one name.
pub(crate) fn unique(columns: Vec<Tensor>) -> Result<Frame, String> {
    let mut names: Vec<&str> = columns.iter().map(Tensor::name).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|p| p[0] == p[1]) {
        return Err(format!("the column '{}' is given twice", pair[0]));
    }
    Frame::named(columns)
}

/// Rows of one length as columns.
fn transposed(rows: Vec<Json>, width: usize, field: &str) -> Result<Vec<Builder>, String> {
    let mut columns = vec![Builder::default(); width];
    for (i, row) in rows.into_iter().enumerate() {
        let values = match row {
            Json::Array(values) => values,
            // A list of single values is a list of rows of one value.
            value if width == 1 && !value.is_object() => vec![value],
            other => {
                return Err(format!("row {i} of `{field}` must be a list of values. Got {}", kind(&other)));
            }
        };
        if values.len() != width {
            return Err(format!("row {i} of `{field}` has {} values, expected {width}", values.len()));
        }
        columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
    }
    Ok(columns)
}

/// `[{"a": 1, "b": 2}, …]`; what a row lacks is missing.
fn records(input: Json, field: &str) -> Result<Frame, String> {
    let Json::Array(rows) = input else {
        let got = kind(&input).trim_start_matches("a ");
        return Err(format!("Dataframe records format must be a list of records. Got {got}."));
    };
    let mut columns: Vec<(String, Builder)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    let mut lacking = Lacking::default();
    let count = rows.len();
    for (i, row) in rows.into_iter().enumerate() {
        let Json::Object(row) = row else {
            return Err(format!("row {i} of `{field}` must be a dictionary. Got {}", kind(&row)));
        };
        let given = row.len();
        for (name, value) in row {
            let place = match places.get(&name) {
                Some(place) => *place,
                None => {
                    lacking.add(i)?;
                    places.insert(name.clone(), columns.len());
                    columns.push((name, Builder::default()));
                    columns.len() - 1
                }
            };
            let values = &mut columns[place].1;
            values.fill_up_to(i);
            values.push(value);
        }
        lacking.add(columns.len() - given)?;
    }
    let whole = columns.into_iter().map(|(name, mut values)| {
        values.fill_up_to(count);
        Tensor::column(name, values.finish())
    });
    Frame::named(whole.collect())
}

/// TensorFlow Serving's rows: lists of numbers, or dictionaries.
fn instances(input: Json) -> Result<Frame, String> {
    match &input {
        Json::Array(rows) if rows.first().is_some_and(Json::is_object) => {
            records(input, "instances").map(Frame::into_arrays)
        }
        Json::Array(_) => Tensor::of_json(input, "instances").map(Frame::array),
        other => Err(format!("`instances` must be a list of rows. Got {}", kind(other))),
    }
}

/// TensorFlow Serving's columns: a dictionary of lists, or one tensor.
fn inputs(input: Json) -> Result<Frame, String> {
    match input {
        Json::Object(columns) => by_name(columns),
        Json::Array(ref rows) if rows.first().is_some_and(Json::is_object) => {
            records(input, "inputs").map(Frame::into_arrays)
        }
        Json::Array(_) => Tensor::of_json(input, "inputs").map(Frame::array),
        Json::Null => Err("`inputs` must be a dictionary of columns or a list of rows. Got null".to_owned()),
        // A single value is a single row.
        value => Tensor::of_json(Json::Array(vec![value]), "inputs").map(Frame::array),
    }
}

fn by_name(columns: Map<String, Json>) -> Result<Frame, String> {
    let column = |(name, values): (String, Json)| match values {
        Json::Object(_) => Err(format!("column '{name}' of `inputs` must be a list of values")),
        // Dictionaries are values of their own.
        Json::Array(list) if list.iter().any(Json::is_object) => Ok(Tensor::column(name, Values::Json(list))),
        Json::Array(_) => Ok(Tensor::of_json(values, &name)?.named(name)),
        // A single value is a single row.
        value => Ok(Tensor::column(name, [value].into_iter().collect::<Builder>().finish())),
    };
    Frame::named(columns.into_iter().map(column).collect::<Result<_, _>>()?).map(Frame::into_arrays)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use trueline_serving::Origin;

    fn read(body: &Json) -> Result<Frame, String> {
        frame(body.to_string().as_bytes())
    }

    fn values(frame: &Frame) -> Vec<&Values> {
        frame.columns().iter().map(Tensor::values).collect()
    }

    fn names(frame: &Frame) -> Vec<&str> {
        frame.columns().iter().map(Tensor::name).collect()
    }

    #[test]
    fn the_four_forms_say_the_same() {
        let split = read(
            &json!({ "dataframe_split": { "columns": ["a", "b"], "index": [0, 1], "data": [[1, 2.5], [3, null]] } }),
        );
        let records = read(&json!({ "dataframe_records": [{ "a": 1, "b": 2.5 }, { "a": 3 }] }));
        let instances = read(&json!({ "instances": [{ "a": 1, "b": 2.5 }, { "a": 3, "b": null }] }));
        let inputs = read(&json!({ "inputs": { "a": [1, 3], "b": [[2.5], [null]] } }));
        let split = split.unwrap();
        assert_eq!(names(&split), ["a", "b"]);
        assert_eq!(split.rows(), 2);
        for (other, origin) in
            [(records, Origin::Table), (instances, Origin::Arrays), (inputs, Origin::Arrays)]
        {
            let other = other.unwrap();
            assert_eq!((names(&other), other.origin()), (names(&split), origin));
            // NaN is the same missing value.
            assert_eq!(format!("{:?}", values(&other)), format!("{:?}", values(&split)));
        }
    }

    #[test]
    fn a_table_without_names_has_numbers_and_no_records_have_no_columns() {
        for split in [
            json!({ "data": [[1, "x"], [2, "y"]] }),
            json!({ "columns": [0, 1], "data": [[1, "x"], [2, "y"]] }),
        ] {
            let table = read(&json!({ "dataframe_split": split })).unwrap();
            assert_eq!((table.origin(), table.rows(), table.width()), (Origin::Numbered, 2, 2));
            assert_eq!(table.columns()[0].values(), &Values::Int64(vec![1, 2]));
        }
        let none = read(&json!({ "dataframe_records": [] })).unwrap();
        assert_eq!((none.origin(), none.rows(), none.columns().len()), (Origin::Table, 0, 0));
    }

    #[test]
    fn what_a_language_model_is_sent_is_a_document_on_mlflows_wire_alone() {
        for body in [
            json!({ "messages": [{ "role": "user", "content": "hello" }], "temperature": 0.5 }),
            json!({ "prompt": "hello" }),
            json!({ "input": ["hello"], "instances": [1] }),
        ] {
            let bytes = body.to_string();
            let document = invocation(bytes.as_bytes()).unwrap();
            assert_eq!((document.origin(), document.rows()), (Origin::Document, 1), "{body}");
            let given: Map<String, Json> =
                document.columns().iter().map(|c| (c.name().to_owned(), c.values().json(0))).collect();
            assert_eq!(Json::Object(given), body);
        }
        assert!(frame(br#"{"prompt": "hello"}"#).unwrap_err().contains("exactly one of the input fields"));
        assert_eq!(frame(br#"{"input": 1, "instances": [1]}"#).unwrap().origin(), Origin::Array);
    }

    #[test]
    fn columns_are_read_the_same_with_and_without_json_in_between() {
        for body in [
            json!({ "dataframe_split": { "columns": ["a", 7], "data": [[1, "x"], [2, null]] } }),
            json!({ "dataframe_split": { "data": [[1, 0.5], [2, 7]], "columns": ["a", "b"], "index": [3, 4] } }),
            json!({ "dataframe_split": { "data": [[1, 0.5], [2, 7]], "columns": [0, 1] } }),
            json!({ "dataframe_split": { "data": [[1, "x"]] } }),
            json!({ "dataframe_records": [{ "a": 1 }, { "b": true }, { "a": 2.5, "b": false }], "other": [1] }),
            json!({ "instances": [{ "a": 1 }], "params": {} }),
            json!({ "instances": [[1, 2], [3, 4.5]] }),
            json!({ "instances": [1, 2] }),
            json!({ "instances": [] }),
            json!({ "inputs": { "a": [1, 2], "b": ["x", "y"] }, "params": null }),
            json!({ "inputs": [[1]] }),
        ] {
            let bytes = body.to_string();
            let straight = columns::frame(bytes.as_bytes()).unwrap_or_else(|| panic!("{bytes}")).unwrap();
            assert_eq!(format!("{straight:?}"), format!("{:?}", of_json(body).unwrap()), "{bytes}");
        }
        for odd in [
            json!({ "inputs": { "a": [[1], [2]] } }),
            json!({ "inputs": [[[1, 2]], [[3, 4]]] }),
            json!({ "inputs": { "a": 1 } }),
            json!({ "dataframe_split": { "data": [1, 2] } }),
            json!({ "dataframe_records": [{ "a": [1] }] }),
            json!({ "dataframe_records": [] }),
            json!({ "inputs": { "a": [{ "x": 1 }] } }),
        ] {
            assert!(columns::frame(odd.to_string().as_bytes()).is_none(), "{odd}");
            assert!(of_json(odd).is_ok());
        }
        let asked = read(&json!({ "instances": [[1]], "params": { "t": 1 } })).unwrap();
        assert_eq!(asked.params().unwrap()["t"], 1);
        let deep = read(&json!({ "inputs": [[[1, 2]], [[3, 4]]] })).unwrap();
        assert_eq!(deep.columns()[0].shape(), [2, 1, 2]);
    }

    #[test]
    fn records_with_ever_new_keys_are_refused_before_their_cells_are_made() {
        let record = |i| format!("{{\"k{i}\": 1}}");
        let refused = Some(Err(Lacking::REFUSAL.to_owned()));
        for form in ["dataframe_records", "instances", "inputs"] {
            let body = |rows: usize, last: &str| {
                let rows: Vec<String> = (0..rows).map(record).chain([last.to_owned()]).collect();
                format!("{{\"{form}\": [{}]}}", rows.join(", ")).into_bytes()
            };
            let table = frame(&body(999, &record(999))).unwrap();
            assert_eq!((table.rows(), table.columns().len()), (1_000, 1_000));
            assert_eq!(Some(frame(&body(20_000, "{}"))), refused, "{form}");
            // A list makes it irregular; what is refused before is not read again by way of JSON.
            assert!(frame(&body(999, r#"{"k": [1]}"#)).is_ok(), "{form}");
            assert_eq!(Some(frame(&body(20_000, r#"{"k": [1]}"#))), refused, "{form}");
            if form != "inputs" {
                assert_eq!(columns::frame(&body(20_000, r#"{"k": [1]}"#)), refused, "{form}");
            }
        }
        let wide: Vec<String> = (0..1_000).map(|i| format!("\"k{i}\": 1")).collect();
        let empty = vec!["{}"; 10_000].join(", ");
        let body = format!("{{\"dataframe_records\": [{{{}}}, {empty}]}}", wide.join(", "));
        assert_eq!(Some(frame(body.as_bytes())), refused);
    }

    #[test]
    fn azures_clients_may_send_the_input_in_any_form() {
        let expected = read(&json!({ "dataframe_records": [{ "a": 1, "b": 2 }] })).unwrap();
        for input in [
            json!({ "columns": ["a", "b"], "index": [0], "data": [[1, 2]] }),
            json!([{ "a": 1, "b": 2 }]),
            json!({ "a": [1], "b": [2] }),
        ] {
            let read = azure(json!({ "input_data": input }).to_string().as_bytes()).unwrap();
            assert_eq!(read.columns(), expected.columns());
        }
        assert_eq!(azure(br#"{"dataframe_records": [{"a": 1, "b": 2}]}"#), Ok(expected));
        assert_eq!(azure(br#"{"input_data": [[1, 2]]}"#).unwrap().width(), 2);
        assert!(azure(br#"{"data": [[1, 2]]}"#).unwrap_err().contains("exactly one of the input fields"));
    }

    #[test]
    fn rows_without_names_are_a_tensor() {
        for field in ["instances", "inputs"] {
            let read = read(&json!({ field: [[1, 2, 3], [4, 5, 6]] })).unwrap();
            assert!(!read.is_named());
            assert_eq!((read.rows(), read.width()), (2, 3));
        }
        assert_eq!(read(&json!({ "instances": [1, 2] })).unwrap().rows(), 2);
    }

    #[test]
    fn pythons_words_for_floats_are_understood_outside_of_texts() {
        let body = br#"{"dataframe_records": [{"a": NaN, "b": -Infinity, "c": "NaN \" Infinity", "d": Infinity, "e": -1}]}"#;
        let read = frame(body).unwrap();
        let value = |name| read.column(name).unwrap().values().json(0);
        assert_eq!(value("a"), Json::Null);
        assert_eq!(value("b"), json!("-Infinity"));
        assert_eq!(value("c"), json!("NaN \" Infinity"));
        assert_eq!(value("d"), json!("Infinity"));
        assert_eq!(value("e"), json!(-1));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (body, expected) in [
            (json!([1]), "exactly one of the input fields"),
            (
                json!({ "dataframe_records": { "a": 1 } }),
                "Dataframe records format must be a list of records. Got dictionary.",
            ),
            (json!({ "x": 1 }), r#"it has the fields ["x"]"#),
            (json!({ "inputs": [], "instances": [] }), r#"it has ["instances", "inputs"]"#),
            (json!({ "dataframe_split": [1] }), "Dataframe split format must be a dictionary. Got list"),
            (json!({ "dataframe_split": { "data": 3 } }), "needs `data`"),
            (
                json!({ "dataframe_split": { "columns": ["a"], "index": [0, 1], "data": [[1]] } }),
                "Length of values (1) does not match length of index (2)",
            ),
            (
                json!({ "dataframe_split": { "columns": ["a"], "data": [[1, 2]] } }),
                "row 0 of `dataframe_split` has 2 values, expected 1",
            ),
            (json!({ "dataframe_split": { "columns": ["a", "a"], "data": [[1, 2]] } }), "'a' is given twice"),
            (
                json!({ "dataframe_records": [[1]] }),
                "row 0 of `dataframe_records` must be a dictionary. Got a list",
            ),
            (json!({ "inputs": { "a": [1, 2], "b": [1] } }), "column 'b' has 1 values, column 'a' has 2"),
            (json!({ "instances": [[1, 2], [3]] }), "row 1 of `instances` has 1 values, expected 2"),
            (json!({ "instances": [[1]], "params": [1] }), "`params` must be a dictionary. Got a list"),
        ] {
            let error = read(&body).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        }
        assert!(frame(b"{\"inputs\": ").unwrap_err().contains("valid JSON formatted string"));
        assert!(frame(b"\xff").unwrap_err().contains("valid JSON formatted string"));
    }

    proptest! {
        #[test]
        fn no_body_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(frame(&bytes));
        }

        #[test]
        fn no_text_that_looks_like_json_panics(text in r#"[\[\]{}",:a-cNI0-9\\ -]{0,80}"#) {
            drop(frame(text.as_bytes()));
            drop(frame(format!("{{\"dataframe_records\": [{text}]}}").as_bytes()));
        }
    }
}
