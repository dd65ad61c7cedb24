//! Models that were damaged or made to harm: loading them gives a model or an error, never a panic and never the end of the
//! process, and a model that was loaded answers or fails.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Clippy knows only `#[test]` functions as tests.

mod made;

use made::Made;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::time::{Duration, Instant};
use trueline_onnx::{Call, ElementType, LoadError, Model, Options};
use trueline_tensors::{Tensor, Values};

fn one_session() -> Options {
    Options { sessions: 1, ..Options::default() }
}

#[test]
fn a_model_that_can_not_be_served_is_refused_with_a_reason() {
    let Some(made) = Made::get() else { return };
    for refused in made.json["refused"].as_array().unwrap() {
        let (file, why) = (refused["file"].as_str().unwrap(), refused["why"].as_str().unwrap());
        for sessions in [1, 2] {
            let options = Options { sessions, ..Options::default() };
            let error = Model::from_file(made.library, &made.path(file), &options).unwrap_err().to_string();
            assert!(error.contains(why), "{file}: {error}");
            let error = Model::from_bytes(made.library, made.bytes(file), &options).unwrap_err();
            assert!(!error.to_string().is_empty(), "{file}");
        }
    }
}

#[test]
fn weights_in_other_files_need_the_folder() {
    let Some(made) = Made::get() else { return };
    let bytes = made.bytes("dense-external-one/model.onnx");
    let error = Model::from_bytes(made.library, bytes.clone(), &one_session()).unwrap_err();
    assert!(matches!(&error, LoadError::External { file, .. } if file == "weights.bin"), "{error}");
    // Cut short, so that the weights do not reach as far as the model says.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("model.onnx"), bytes).unwrap();
    std::fs::write(
        dir.path().join("weights.bin"),
        made.bytes("dense-external-one/weights.bin").split_at(5000).0,
    )
    .unwrap();
    for sessions in [1, 2] {
        let options = Options { sessions, ..Options::default() };
        assert!(Model::from_file(made.library, &dir.path().join("model.onnx"), &options).is_err());
    }
}

/// One act of damage. Positions are fractions of the length.
#[derive(Clone, Debug)]
enum Damage {
    Byte(f64, u8),
    Bit(f64, u8),
    Cut(f64, f64),
    Repeat(f64, usize),
    Truncate(f64),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = 0.0..1.0_f64;
    prop_oneof![
        4 => (at.clone(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        4 => (at.clone(), 0..8_u8).prop_map(|(at, bit)| Damage::Bit(at, bit)),
        1 => (at.clone(), 0.0..0.05_f64).prop_map(|(at, length)| Damage::Cut(at, length)),
        1 => (at.clone(), 1..40_usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
        1 => at.prop_map(Damage::Truncate),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let place = |at: f64| ((bytes.len() as f64 * at) as usize).min(bytes.len() - 1);
    match *damage {
        Damage::Byte(at, byte) => {
            let i = place(at);
            bytes[i] = byte;
        }
        Damage::Bit(at, bit) => {
            let i = place(at);
            bytes[i] ^= 1 << bit;
        }
        Damage::Cut(at, length) => {
            let (from, to) = (place(at), place(at + length));
            bytes.drain(from..to);
        }
        Damage::Repeat(at, length) => {
            let from = place(at);
            let slice = bytes[from..(from + length).min(bytes.len())].to_vec();
            bytes.splice(from..from, slice);
        }
        Damage::Truncate(at) => {
            let length = place(at);
            bytes.truncate(length);
        }
    }
}

/// Asks a model for two rows of something that fits what it says it takes.
fn ask(model: &Model) {
    let values = |element: ElementType, n: usize| match element {
        ElementType::Text => Values::Text(vec![Some("quick".to_owned()); n]),
        ElementType::Bool => Values::Bool(vec![true; n]),
        ElementType::Fp16 | ElementType::Bf16 | ElementType::Fp32 | ElementType::Fp64 => {
            Values::Fp64(vec![0.5; n])
        }
        _ => Values::Int64(vec![1; n]),
    };
    let mut given = Vec::new();
    for input in model.inputs() {
        let shape = input.shape().unwrap_or_else(|| vec![2, 2]);
        let mut sizes: Vec<usize> = shape.iter().map(|size| usize::try_from(*size).unwrap_or(2)).collect();
        if sizes.is_empty() {
            sizes.push(1);
        }
        let Some(n) = sizes.iter().try_fold(1_usize, |n, size| n.checked_mul(*size)).filter(|n| *n < 1 << 20)
        else {
            return;
        };
        given.push(Tensor::new(input.name.as_str(), sizes, values(input.element_type, n)).unwrap());
    }
    let call = Call { deadline: Some(Instant::now() + Duration::from_secs(5)), ..Call::default() };
    let _ = model.run(&given, &call);
}

const DAMAGED: [&str; 12] = [
    "linear.onnx",
    "logistic-ints.onnx",
    "logistic-words-zipmap.onnx",
    "forest-ints.onnx",
    "boosting-words-zipmap.onnx",
    "mlp-ints-zipmap.onnx",
    "text.onnx",
    "columns.onnx",
    "fp16.onnx",
    "types.onnx",
    "axes.onnx",
    "opset-21.onnx",
];

#[test]
fn damaged_models_give_a_model_or_an_error() {
    let Some(made) = Made::get() else { return };
    let models: Vec<Vec<u8>> = DAMAGED.iter().map(|file| made.bytes(file)).collect();
    let cases = std::env::var("TRUELINE_ONNX_DAMAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_500);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let acts = (0..models.len(), prop::collection::vec(damage(), 1..4));
    let result = runner.run(&acts, |(which, damages)| {
        let mut bytes = models[which].clone();
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        if let Some(last) = std::env::var_os("TRUELINE_ONNX_LAST") {
            std::fs::write(last, &bytes).unwrap();
        }
        if let Ok(model) = Model::from_bytes(made.library, bytes, &one_session()) {
            ask(&model);
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn every_truncation_is_an_error() {
    let Some(made) = Made::get() else { return };
    let whole = made.bytes("logistic-words-zipmap.onnx");
    // What comes last is the version of one of two sets of operators, which a file may well lack.
    for end in 0..whole.len() * 9 / 10 {
        assert!(
            Model::from_bytes(made.library, whole[..end].to_vec(), &one_session()).is_err(),
            "cut at {end}"
        );
    }
}
