//! Compares every answer, bit for bit, with Python's onnxruntime, which is the same library. What is made, and what is
//! asked, stands in `make_models.py`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Clippy knows only `#[test]` functions as tests.

mod made;

use made::{Made, assert_identical};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use trueline_onnx::{Call, Model, Options, RunError};

/// Answers do not depend on how many sessions there may be, which decides whether weights are shared.
const SESSIONS: [usize; 2] = [1, 3];

#[test]
fn answers_equal_those_of_python_bit_for_bit() {
    let Some(made) = Made::get() else { return };
    let mut compared = 0;
    for sessions in SESSIONS {
        let options = Options { sessions, ..Options::default() };
        let mut models: HashMap<&str, Model> = HashMap::new();
        for case in made.cases() {
            let model = models.entry(case.file()).or_insert_with(|| made.model(case.file(), &options));
            let answers = model.run(&case.inputs(), &Call::default());
            if case.fails() {
                assert!(matches!(answers, Err(RunError::Failed { .. })), "{}: {answers:?}", case.name());
                continue;
            }
            let answers = answers.unwrap_or_else(|e| panic!("{}: {e}", case.name()));
            assert_identical(case.name(), &answers, &case.outputs());
            for (output, classes) in case.classes() {
                let info = model.outputs().iter().find(|info| info.name == output).unwrap();
                assert_eq!(info.classes.as_ref(), Some(&classes), "{}", case.name());
            }
            compared += answers.len();
        }
    }
    println!("{compared} outputs compared");
    assert!(compared > 200, "only {compared} outputs compared");
}

#[test]
fn chosen_outputs_come_in_the_order_in_which_they_were_asked_for() {
    let Some(made) = Made::get() else { return };
    let model = made.model("axes.onnx", &Options::default());
    let case = made.case("axes 1");
    let mut expected = case.outputs();
    expected.reverse();
    let later = Some(Instant::now() + Duration::from_secs(600));
    for deadline in [None, later] {
        let call = Call { outputs: &["total", "sum"], deadline };
        assert_identical("both", &model.run(&case.inputs(), &call).unwrap(), &expected);
        let call = Call { outputs: &["total"], deadline };
        assert_identical("one", &model.run(&case.inputs(), &call).unwrap(), &expected[..1]);
        let call = Call { outputs: &["mean"], deadline };
        let error = model.run(&case.inputs(), &call).unwrap_err();
        assert!(error.to_string().contains("'sum', 'total'"), "{error}");
    }
}

#[test]
fn a_model_tells_what_it_takes_and_who_made_it() {
    use trueline_onnx::{Dimension, ElementType};
    let Some(made) = Made::get() else { return };
    let model = made.model("axes.onnx", &Options::default());
    let a = &model.inputs()[0];
    let named = |name: &str| Dimension::Variable(Some(name.to_owned()));
    assert_eq!((a.name.as_str(), a.element_type), ("a", ElementType::Fp32));
    assert_eq!(
        a.dimensions.as_deref(),
        Some([named("batch"), named("length"), Dimension::Fixed(2)].as_slice())
    );
    assert_eq!(a.shape(), Some(vec![-1, -1, 2]));
    assert_eq!(model.outputs()[1].shape(), Some(vec![]), "a scalar");
    let info = model.info();
    assert_eq!((info.ir_version, info.producer.as_str(), info.graph.as_str()), (8, "hand", "graph"));
    assert_eq!(info.opsets, [(String::new(), 17)]);
    assert_eq!(made.model("unranked.onnx", &Options::default()).inputs()[0].shape(), None);
    let forest = made.model("forest-words-zipmap.onnx", &Options::default());
    assert_eq!(forest.outputs()[1].shape(), Some(vec![-1, 3]));
    assert_eq!(forest.info().producer, "skl2onnx");
}

#[test]
fn what_does_not_fit_is_named() {
    use trueline_tensors::{Tensor, Values};
    let Some(made) = Made::get() else { return };
    let model = made.model("axes.onnx", &Options::default());
    let run = |tensors: &[Tensor]| model.run(tensors, &Call::default()).unwrap_err().to_string();
    let zeros = |name: &str, shape: Vec<usize>| {
        let n = shape.iter().product();
        Tensor::new(name, shape, Values::Fp32(vec![0.0; n])).unwrap()
    };
    assert_eq!(run(&[zeros("a", vec![1, 1, 2])]), "the model's input 'b' did not come; it takes 'a', 'b'");
    assert_eq!(
        run(&[zeros("a", vec![1, 1, 2]), zeros("b", vec![1, 1, 2]), zeros("c", vec![1])]),
        "the model has no input 'c'; it takes 'a', 'b'"
    );
    assert_eq!(run(&[zeros("a", vec![1, 1, 2]), zeros("a", vec![1, 1, 2])]), "the input 'a' came twice");
    assert_eq!(
        run(&[zeros("a", vec![4, 2, 3]), zeros("b", vec![4, 1, 2])]),
        "the input 'a' takes the shape [batch, length, 2] and [4, 2, 3] came"
    );
    let texts = Tensor::new("b", vec![1, 1, 2], Values::Text(vec![None, None])).unwrap();
    let error = run(&[zeros("a", vec![1, 1, 2]), texts]);
    assert!(error.starts_with("the input 'b' takes Fp32 and Text came"), "{error}");
    let text = made.model("text.onnx", &Options::default());
    let missing = Tensor::column("text", Values::Text(vec![Some("a".into()), None]));
    let error = text.run(&[missing], &Call::default()).unwrap_err().to_string();
    assert_eq!(error, "the input 'text' takes Text, and its value 1 is null");
    // What the library itself finds out.
    let error = run(&[zeros("a", vec![3, 2, 2]), zeros("b", vec![2, 1, 2])]);
    assert!(error.starts_with("the model failed: "), "{error}");
}
