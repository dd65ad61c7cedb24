//! Models made on the spot by Python's exporters, with what Python's onnxruntime answers. Shared by the tests; skipped, with
//! a line, where `TRUELINE_ONNX_PYTHON` names no interpreter.
#![allow(dead_code, clippy::print_stdout)] // Each test uses a part of it, and says when it is skipped.

use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use trueline_onnx::{Library, Model, Options, Search};
use trueline_tensors::{Tensor, Values};

/// The models, their cases and the library that made the answers.
pub(crate) struct Made {
    dir: tempfile::TempDir,
    pub(crate) json: Json,
    pub(crate) library: &'static Library,
}

impl Made {
    /// Made once for all tests of a file; `None`, and a line that says so, without an interpreter.
    pub(crate) fn get() -> Option<&'static Self> {
        static MADE: OnceLock<Option<Made>> = OnceLock::new();
        MADE.get_or_init(Self::make).as_ref()
    }

    fn make() -> Option<Self> {
        let Some(python) = std::env::var_os("TRUELINE_ONNX_PYTHON").map(PathBuf::from) else {
            println!(
                "skipped: TRUELINE_ONNX_PYTHON names no Python with onnxruntime, skl2onnx and scikit-learn"
            );
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("models")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/make_models.py");
        let output = Command::new(&python).arg(script).arg(dir.path().join("models")).output().unwrap();
        assert!(output.status.success(), "make_models.py:\n{}", String::from_utf8_lossy(&output.stderr));
        let json =
            serde_json::from_slice(&std::fs::read(dir.path().join("models/cases.json")).unwrap()).unwrap();
        let library = Library::load(&Search { pythons: vec![python], ..Search::default() }).unwrap();
        Some(Self { dir, json, library })
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join("models").join(file)
    }

    pub(crate) fn bytes(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.path(file)).unwrap()
    }

    pub(crate) fn model(&self, file: &str, options: &Options) -> Model {
        Model::from_file(self.library, &self.path(file), options).unwrap_or_else(|e| panic!("{file}: {e}"))
    }

    pub(crate) fn cases(&self) -> impl Iterator<Item = Case<'_>> {
        self.json["cases"].as_array().unwrap().iter().map(Case)
    }

    pub(crate) fn case(&self, name: &str) -> Case<'_> {
        self.cases().find(|case| case.name() == name).unwrap_or_else(|| panic!("no case {name}"))
    }
}

/// What is given to a model, and what must come out.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a>(&'a Json);

impl<'a> Case<'a> {
    pub(crate) fn name(self) -> &'a str {
        self.0["name"].as_str().unwrap()
    }

    pub(crate) fn file(self) -> &'a str {
        self.0["file"].as_str().unwrap()
    }

    pub(crate) fn inputs(self) -> Vec<Tensor> {
        tensors(&self.0["inputs"])
    }

    pub(crate) fn outputs(self) -> Vec<Tensor> {
        tensors(&self.0["outputs"])
    }

    /// Whether Python's library fails, too.
    pub(crate) fn fails(self) -> bool {
        self.0["fails"].as_bool().unwrap()
    }

    /// The classes of outputs that are dictionaries in Python.
    pub(crate) fn classes(self) -> Vec<(&'a str, Values)> {
        let classes = |(name, keys): (&'a String, &'a Json)| {
            let keys = keys.as_array().unwrap();
            let texts = || Values::Text(keys.iter().map(|key| key.as_str().map(str::to_owned)).collect());
            let numbers: Option<Vec<i64>> = keys.iter().map(Json::as_i64).collect();
            (name.as_str(), numbers.map_or_else(texts, Values::Int64))
        };
        self.0["classes"].as_object().unwrap().iter().map(classes).collect()
    }
}

fn tensors(json: &Json) -> Vec<Tensor> {
    json.as_array().unwrap().iter().map(tensor).collect()
}

fn tensor(json: &Json) -> Tensor {
    let shape: Vec<usize> = serde_json::from_value(json["shape"].clone()).unwrap();
    let bytes = || {
        let text = json["hex"].as_str().unwrap().as_bytes();
        let digits = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        text.as_chunks::<2>().0.iter().map(digits).collect::<Vec<u8>>()
    };
    macro_rules! list {
        ($kind:ident, $of:ty) => {
            Values::$kind(bytes().as_chunks().0.iter().map(|b| <$of>::from_le_bytes(*b)).collect())
        };
    }
    let values = match json["type"].as_str().unwrap() {
        "BOOL" => Values::Bool(bytes().iter().map(|b| *b != 0).collect()),
        "UINT8" => list!(Uint8, u8),
        "UINT16" => list!(Uint16, u16),
        "UINT32" => list!(Uint32, u32),
        "UINT64" => list!(Uint64, u64),
        "INT8" => list!(Int8, i8),
        "INT16" => list!(Int16, i16),
        "INT32" => list!(Int32, i32),
        "INT64" => list!(Int64, i64),
        "FP32" => list!(Fp32, f32),
        "FP64" => list!(Fp64, f64),
        "TEXT" => Values::Text(serde_json::from_value(json["texts"].clone()).unwrap()),
        other => panic!("{other}"),
    };
    Tensor::new(json["name"].as_str().unwrap(), shape, values).unwrap()
}

/// Asserts that tensors are the same to the bit; `NaN` is not equal to itself otherwise.
pub(crate) fn assert_identical(what: &str, ours: &[Tensor], theirs: &[Tensor]) {
    let names = |all: &[Tensor]| all.iter().map(|t| t.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(ours), names(theirs), "{what}");
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours.shape(), theirs.shape(), "{what}: shape of {}", ours.name());
        let same = match (ours.values(), theirs.values()) {
            (Values::Fp32(a), Values::Fp32(b)) => {
                a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits()))
            }
            (Values::Fp64(a), Values::Fp64(b)) => {
                a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits()))
            }
            (a, b) => a == b,
        };
        assert!(same, "{what}: {}: ours {:?}, theirs {:?}", ours.name(), ours.values(), theirs.values());
    }
}
