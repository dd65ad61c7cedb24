//! Tensors in, answers out: as what the model sees them, and as what MLflow's scoring server would answer.

use crate::house::{act, body_of, column, soon, spec, start};
use serde_json::json;
use trueline_tensors::{Tensor, Values};
use trueline_workers::{Columns, Form, Output, Worker, WorkerError};

#[tokio::test]
async fn a_model_of_sklearn_answers_columns_and_bodies_alike() {
    let worker = start("sklearn").await;
    let rows: Vec<f64> = (0..50).map(|n| f64::from(n) / 10.0 - 2.5).collect();
    let table = Columns::table(["a", "b", "c"].map(|name| column(name, Values::Fp64(rows.clone()))).into());
    let predicted = worker.predict(&table, soon()).await.unwrap();
    let Output::Array(tensor) = &predicted.output else { panic!("{predicted:?}") };
    let classes: Vec<bool> = rows.iter().map(|v| *v > 0.0).collect();
    let Values::Bool(found) = tensor.values() else { panic!("{predicted:?}") };
    assert_eq!(found.iter().zip(&classes).filter(|(a, b)| a != b).count(), 0, "{predicted:?}");
    let data: Vec<[f64; 3]> = rows.iter().map(|v| [*v; 3]).collect();
    let body = body_of(&json!({"dataframe_split": {"columns": ["a", "b", "c"], "data": data}}));
    let reply = worker.invoke(&body, soon()).await.unwrap();
    assert_eq!((reply.status, reply.content_type.as_str()), (200, "application/json"));
    assert_eq!(reply.body, predicted.output.predictions());

    let lacking = Columns::table(vec![column("a", Values::Fp64(vec![1.0]))]);
    let refused = worker.predict(&lacking, soon()).await.unwrap_err();
    let WorkerError::Input { exception, .. } = &refused else { panic!("{refused:?}") };
    assert!(exception.message.contains("missing inputs ['b', 'c']"), "{exception:?}");
    let uneven =
        ["a", "b", "c"].into_iter().zip(1..).map(|(n, rows)| column(n, Values::Fp64(vec![0.5; rows])));
    let refused = worker.predict(&Columns::table(uneven.collect()), soon()).await.unwrap_err();
    assert!(matches!(refused, WorkerError::Input { .. }), "{refused:?}");
}

/// What the model gives, and as what it comes: `tensors` where it is regular.
const ANSWERS: [(&str, &str); 43] = [
    ("floats", "array"),
    ("float32", "array"),
    ("float16", "array"),
    ("big-endian", "array"),
    ("fortran", "array"),
    ("strided", "array"),
    ("ints", "array"),
    ("uints", "array"),
    ("bools", "array"),
    ("texts", "array"),
    ("objects", "array"),
    ("mixed", "json"),
    ("dates", "json"),
    ("empty", "array"),
    ("scalar", "json"),
    ("zero-d", "json"),
    ("masked", "json"),
    ("series", "records"),
    ("unnamed", "records"),
    ("frame", "records"),
    ("numbered", "records"),
    ("frame-of-dates", "json"),
    ("frame-of-none", "records"),
    ("frame-of-lists", "json"),
    ("categories", "json"),
    ("no-columns", "json"),
    ("list-of-texts", "array"),
    ("list-of-none", "array"),
    ("list-of-floats", "array"),
    ("list-of-ints", "array"),
    ("list-of-large", "json"),
    ("list-of-bools", "array"),
    ("list-of-mixed", "json"),
    ("list-of-arrays", "array"),
    ("list-of-ragged", "json"),
    ("list-of-numpy", "array"),
    ("list-of-dicts", "json"),
    ("nested", "array"),
    ("tuple", "array"),
    ("nothing", "json"),
    ("none", "json"),
    ("text", "json"),
    ("dict-of-arrays", "dict"),
];

#[tokio::test]
async fn every_answer_is_rendered_as_mlflow_s_scoring_server_does_and_is_typed_where_it_is_regular() {
    let worker = start("acts").await;
    let others = ["dict-of-all", "dict-of-bytes", "surrogate", "surrogate-name", "wide", "same-names"];
    let others = others.map(|name| (name, "json"));
    for (name, form) in ANSWERS.into_iter().chain(others) {
        let what = format!("answer {name}");
        let predicted = worker.predict(&act(&what), soon()).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let found = match &predicted.output {
            Output::Array(_) => "array",
            Output::Records(_) => "records",
            Output::Dict(_) => "dict",
            Output::Json(_) => "json",
        };
        assert_eq!(found, form, "{name}: {:?}", predicted.output);
        let body = body_of(&json!({"dataframe_split": {"columns": ["act"], "data": [[what]]}}));
        let reply = worker.invoke(&body, soon()).await.unwrap();
        let (ours, theirs) = (predicted.output.predictions(), String::from_utf8_lossy(&reply.body));
        assert_eq!(String::from_utf8_lossy(&ours), theirs, "{name}");
        assert_eq!(reply.status, 200, "{name}");
    }
    // MLflow's server fails on these.
    let sparse = worker.predict(&act("sparse"), soon()).await.unwrap();
    let Output::Array(tensor) = &sparse.output else { panic!("{sparse:?}") };
    assert_eq!(tensor.shape(), [3, 3]);
    let failed = worker.predict(&act("unserializable"), soon()).await.unwrap_err();
    let WorkerError::Model { exception, .. } = &failed else { panic!("{failed:?}") };
    assert_eq!(exception.message, "Object of type object is not JSON serializable");
}

fn all_types(rows: usize) -> Vec<Tensor> {
    let n = |i: usize| i as f64 * 1.37 - 5.0;
    let every = |list: &mut dyn FnMut(usize)| (0..rows).for_each(list);
    let mut text = Vec::new();
    every(&mut |i| text.push((i % 5 != 1).then(|| format!("é{i}"))));
    vec![
        column("bool", Values::Bool((0..rows).map(|i| i % 3 == 0).collect())),
        column("u8", Values::Uint8((0..rows).map(|i| i as u8).collect())),
        column("u16", Values::Uint16((0..rows).map(|i| i as u16).collect())),
        column("u32", Values::Uint32((0..rows).map(|i| i as u32).collect())),
        column("u64", Values::Uint64((0..rows).map(|i| u64::MAX - i as u64).collect())),
        column("i8", Values::Int8((0..rows).map(|i| i as i8).collect())),
        column("i16", Values::Int16((0..rows).map(|i| i as i16).collect())),
        column("i32", Values::Int32((0..rows).map(|i| -(i as i32)).collect())),
        column("i64", Values::Int64((0..rows).map(|i| i64::MIN + i as i64).collect())),
        column("f32", Values::Fp32((0..rows).map(|i| if i == 2 { f32::NAN } else { n(i) as f32 }).collect())),
        column("f64", Values::Fp64((0..rows).map(|i| if i == 2 { f64::NAN } else { n(i) }).collect())),
        column("text", Values::Text(text)),
    ]
}

fn with_act(what: &str, rows: usize, mut tensors: Vec<Tensor>) -> Columns {
    tensors.insert(0, column("act", Values::Text(vec![Some(what.to_owned()); rows])));
    Columns::table(tensors)
}

#[tokio::test]
async fn a_table_has_the_types_of_its_tensors() {
    let worker = start("acts").await;
    let mut tensors = all_types(3);
    tensors.push(column("bytes", Values::Bytes(vec![vec![0, 255], vec![], vec![1]])));
    tensors.push(column("json", Values::Json(vec![json!({"a": [1, null]}), json!("x"), json!(null)])));
    let pairs = Values::Fp32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    tensors.push(Tensor::new("pairs", vec![3, 2], pairs).unwrap());
    let answer = worker.predict(&with_act("types", 3, tensors), soon()).await.unwrap();
    let Output::Array(tensor) = &answer.output else { panic!("{answer:?}") };
    let Values::Text(found) = tensor.values() else { panic!("{answer:?}") };
    let found: Vec<&str> = found.iter().flatten().map(String::as_str).collect();
    let expected = [
        "act:object:['types', 'types', 'types']",
        "bool:bool:[True, False, False]",
        "u8:uint8:[0, 1, 2]",
        "u16:uint16:[0, 1, 2]",
        "u32:uint32:[0, 1, 2]",
        "u64:uint64:[18446744073709551615, 18446744073709551614, 18446744073709551613]",
        "i8:int8:[0, 1, 2]",
        "i16:int16:[0, 1, 2]",
        "i32:int32:[0, -1, -2]",
        "i64:int64:[-9223372036854775808, -9223372036854775807, -9223372036854775806]",
        "f32:float32:[-5.0, -3.630000114440918, nan]",
        "f64:float64:[-5.0, -3.63, nan]",
        "text:object:['é0', None, 'é2']",
        "bytes:object:[b'\\x00\\xff', b'', b'\\x01']",
        "json:object:[{'a': [1, None]}, 'x', None]",
        "pairs:object:[array([1., 2.], dtype=float32), array([3., 4.], dtype=float32), array([5., 6.], dtype=float32)]",
    ];
    assert_eq!(found, expected);

    let in_place = with_act("in-place", 2, vec![column("x", Values::Int64(vec![1, 2]))]);
    let answer = worker.predict(&in_place, soon()).await.unwrap();
    assert_eq!(answer.output, Output::Records(vec![column("x", Values::Int64(vec![2, 3]))]));

    let mut with_params = act("params");
    with_params.params = json!({"temperature": 0.9}).as_object().cloned();
    let answer = worker.predict(&with_params, soon()).await.unwrap();
    assert_eq!(answer.output.python_json(), br#"["{'temperature': 0.9}"]"#);
    with_params.params = json!({"temperature": "warm"}).as_object().cloned();
    let refused = worker.predict(&with_params, soon()).await.unwrap_err();
    assert!(matches!(refused, WorkerError::Input { .. }), "{refused:?}");
}

/// Equal bit for bit, NaN included.
fn bits(output: &Output) -> String {
    let Output::Records(tensors) = output else { panic!("{output:?}") };
    let bits = |tensor: &Tensor| match tensor.values() {
        Values::Fp32(list) => format!("{:?}", list.iter().map(|v| v.to_bits()).collect::<Vec<_>>()),
        Values::Fp64(list) => format!("{:?}", list.iter().map(|v| v.to_bits()).collect::<Vec<_>>()),
        others => format!("{others:?}"),
    };
    tensors.iter().map(|t| format!("{} {}\n", t.name(), bits(t))).collect()
}

#[tokio::test]
async fn what_goes_through_memory_is_what_goes_through_the_socket_bit_for_bit() {
    let worker_with = async |inline_bytes| {
        let mut spec = spec("acts").await;
        spec.limits.inline_bytes = inline_bytes;
        Worker::start(spec).await.unwrap()
    };
    let (apart, inline) = tokio::join!(worker_with(0), worker_with(1 << 29));
    for rows in [1, 7, 1_000, 60_000] {
        let tensors = all_types(rows);
        let sent = bits(&Output::Records(tensors.clone()));
        let request = with_act("echo", rows, tensors);
        for worker in [&apart, &inline] {
            let answer = worker.predict(&request, soon()).await.unwrap();
            assert!(bits(&answer.output) == sent, "{rows} rows came back as others");
        }
    }
}

#[tokio::test]
async fn a_model_gets_one_array_or_a_dict_of_arrays_when_told_so() {
    let worker = start("doubles").await;
    let six = || Values::Fp32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let cube = Tensor::new("x", vec![1, 2, 3], six()).unwrap();
    let doubled = Values::Fp32(vec![2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    let ask = |form, tensors| Columns { tensors, form, params: None };
    let array = worker.predict(&ask(Form::Array, vec![cube.clone()]), soon()).await.unwrap();
    assert_eq!(array.output, Output::Array(Tensor::new("", vec![1, 2, 3], doubled.clone()).unwrap()));
    let two = vec![cube.clone(), column("y", Values::Int64(vec![4]))];
    let dict = worker.predict(&ask(Form::Dict, two.clone()), soon()).await.unwrap();
    let expected =
        vec![Tensor::new("x", vec![1, 2, 3], doubled).unwrap(), column("y", Values::Int64(vec![8]))];
    assert_eq!(dict.output, Output::Dict(expected));
    let plain = Tensor::column("x", Values::Json(vec![serde_json::json!([1, 2])]));
    let document = worker.predict(&ask(Form::Document, vec![plain]), soon()).await.unwrap();
    let twice = Tensor::new("x", vec![4], Values::Int64(vec![1, 2, 1, 2])).unwrap();
    assert_eq!(document.output, Output::Dict(vec![twice]), "a list, which is no array");
    let texts = Values::Text(vec![Some("a".into()), Some("bc".into())]);
    let array = worker.predict(&ask(Form::Array, vec![column("x", texts)]), soon()).await;
    let refused = array.unwrap_err().to_string();
    assert!(refused.contains("string multiply"), "texts of NumPy, which it can't double: {refused}");
    let refused = worker.predict(&ask(Form::Array, two), soon()).await.unwrap_err();
    assert!(refused.to_string().contains("2 tensors came"), "{refused}");
}

#[tokio::test]
async fn any_number_and_any_text_is_written_as_python_writes_it() {
    let worker = start("acts").await;
    let rows = 20_000_usize;
    // A fixed walk over all bits: most exponents, and numbers of few digits among them.
    let bits = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left((i % 63) as u32);
    let double = |i| match i % 3 {
        0 => f64::from_bits(bits(i)),
        1 => (bits(i) % 100_000) as f64 / 1_000.0,
        _ => 10_f64.powi(i as i32 % 640 - 320) * (i % 97) as f64,
    };
    let letter = |i: usize| char::from_u32((bits(i) % 0x11_0000) as u32).unwrap_or('\u{1f}');
    let columns = [
        column("f64", Values::Fp64((0..rows).map(double).collect())),
        column("f32", Values::Fp32((0..rows).map(|i| f32::from_bits(bits(i) as u32)).collect())),
        column(
            "text",
            Values::Text(
                (0..rows).map(|i| Some([letter(i), (i % 256) as u8 as char].iter().collect())).collect(),
            ),
        ),
    ];
    let answer = worker.predict(&with_act("dump", rows, columns.to_vec()), soon()).await.unwrap();
    let Output::Array(tensor) = &answer.output else { panic!("{answer:?}") };
    let Values::Text(theirs) = tensor.values() else { panic!("{answer:?}") };
    for (column, theirs) in columns.into_iter().zip(theirs.iter().flatten()) {
        let name = column.name().to_owned();
        let ours = String::from_utf8(Output::Array(column).python_json()).unwrap();
        let differs = ours.split(", ").zip(theirs.split(", ")).find(|(a, b)| a != b);
        assert_eq!(differs, None, "{name}");
        assert!(ours == *theirs, "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_the_model_s_failure_and_not_the_worker_s_end() {
    let mut spec = spec("acts").await;
    spec.limits.body_bytes = 1_000;
    let worker = Worker::start(spec).await.unwrap();
    let failed = worker.predict(&act("answer wide"), soon()).await.unwrap_err();
    assert!(failed.to_string().contains("more than 1000"), "{failed}");
    assert!(worker.predict(&act("answer ints"), soon()).await.is_ok());
    let large = with_act("echo", 1_000, vec![]);
    let refused = worker.predict(&large, soon()).await.unwrap_err();
    assert!(matches!(refused, WorkerError::Unsendable { .. }), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_go_to_those_who_asked_though_many_ask_and_some_go_away() {
    let mut spec = spec("acts").await;
    (spec.concurrency, spec.limits.queue, spec.limits.inline_bytes) = (3, 400, 1_000);
    let worker = Worker::start(spec).await.unwrap();
    let asked = (0..300_usize).map(|number| {
        let worker = worker.clone();
        tokio::spawn(async move {
            // Some of them through memory.
            let rows = 1 + number * 7 % 200;
            let numbers = Values::Int64(vec![number as i64; rows]);
            let request = with_act("echo", rows, vec![column("x", numbers.clone())]);
            if number % 5 == 0 {
                let patience = std::time::Duration::from_micros(number as u64 * 300);
                let _ = tokio::time::timeout(patience, worker.predict(&request, soon())).await;
                return;
            }
            let answer = worker.predict(&request, soon()).await.unwrap();
            assert_eq!(answer.output, Output::Records(vec![column("x", numbers)]), "{number}");
        })
    });
    for task in asked.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(worker.waiting(), 0);
}
