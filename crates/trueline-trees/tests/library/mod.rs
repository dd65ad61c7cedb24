//! What comparing with a real Python library takes: the interpreter, the script that trains, files of numbers, and
//! equality to the bit.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const SETUP: &str =
    "no Python with the library: run `cargo xtask setup`, or name an interpreter in TRUELINE_PYTHON";

fn python() -> PathBuf {
    if let Some(named) = std::env::var_os("TRUELINE_PYTHON") {
        return named.into();
    }
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join(".trueline/venv/bin/python"))
        .find(|python| python.exists())
        .expect(SETUP)
}

/// Lets a script of this folder's parent fill `dir`; gives its `cases.json`.
pub(crate) fn make_models(script: &str, dir: &Path) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let output = Command::new(python()).arg(path).arg(dir).output().expect(SETUP);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("ModuleNotFoundError"), "{SETUP}");
    assert!(output.status.success(), "{script} failed:\n{stderr}");
    serde_json::from_slice(&std::fs::read(dir.join("cases.json")).unwrap()).unwrap()
}

/// A float, and its bits. All NaNs count as one: neither C++ nor Rust says which bits arithmetic gives them.
pub(crate) trait Number: Copy + Default + Display {
    fn read(bytes: &[u8]) -> Vec<Self>;
    fn bits(self) -> u64;
}

impl Number for f32 {
    fn read(bytes: &[u8]) -> Vec<Self> {
        bytes.as_chunks::<4>().0.iter().map(|b| Self::from_le_bytes(*b)).collect()
    }
    fn bits(self) -> u64 {
        if self.is_nan() { Self::NAN } else { self }.to_bits().into()
    }
}

impl Number for f64 {
    fn read(bytes: &[u8]) -> Vec<Self> {
        bytes.as_chunks::<8>().0.iter().map(|b| Self::from_le_bytes(*b)).collect()
    }
    fn bits(self) -> u64 {
        if self.is_nan() { Self::NAN } else { self }.to_bits()
    }
}

/// The little-endian numbers of a file.
pub(crate) fn numbers<T: Number>(path: &Path) -> Vec<T> {
    T::read(&std::fs::read(path).unwrap())
}

pub(crate) fn assert_identical<T: Number>(what: &str, ours: &[T], theirs: &[T], width: usize) {
    assert_eq!(ours.len(), theirs.len(), "{what}: number of scores");
    let differs = |(a, b): (&T, &T)| a.bits() != b.bits();
    if let Some(i) = ours.iter().zip(theirs).position(differs) {
        let count = ours.iter().zip(theirs).filter(|&(a, b)| differs((a, b))).count();
        panic!(
            "{what}: row {}, column {}: ours {} ({:#010x}), the library's {} ({:#010x}); {count} of {} differ",
            i / width,
            i % width,
            ours[i],
            ours[i].bits(),
            theirs[i],
            theirs[i].bits(),
            ours.len()
        );
    }
}
