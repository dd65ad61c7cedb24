//! Measures the scorer on one thread. Not a test: it asserts nothing.
//! Models, rows and the libraries' own figures come from `python tests/make_models.py --bench DIR` (XGBoost) and
//! `python tests/make_lightgbm_models.py --bench DIR`; then
//! `cargo run --release -p trueline-trees --example bench_trees -- DIR` measures those that it finds there.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use trueline_trees::{Model, Rows, ScoreError, lightgbm};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The best of five, each long enough for the clock.
fn best(mut call: impl FnMut() -> Outcome<()>) -> Outcome<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        call()?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

fn main() -> Outcome<()> {
    let dir = std::env::args().nth(1).ok_or("name the directory that --bench filled")?;
    let dir = Path::new(&dir);
    xgboost(dir)?;
    for name in ["bench", "bench_missing", "bench_leafwise"] {
        lightgbm(dir, name)?;
    }
    Ok(())
}

fn xgboost(dir: &Path) -> Outcome<()> {
    if !dir.join("bench.ubj").exists() {
        return Ok(());
    }
    for file in ["bench.ubj", "bench.json"] {
        measure_load(dir, file, |bytes| Ok(Model::from_bytes(bytes).map(|_| ())?))?;
    }
    let model = Model::from_bytes(&std::fs::read(dir.join("bench.ubj"))?)?;
    let (columns, bytes) = (model.num_feature(), model.heap_bytes());
    println!("XGBoost: {} trees, {columns} features, {} kB on the heap", model.num_trees(), bytes / 1000);
    for (kind, file) in [("dense", "bench.rows.f32"), ("10% missing", "bench.gaps.f32")] {
        let bytes = std::fs::read(dir.join(file))?;
        let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        measure(kind, &values, columns, |rows, out| model.predict(rows, out))?;
    }
    Ok(())
}

fn lightgbm(dir: &Path, name: &str) -> Outcome<()> {
    let file = format!("{name}.txt");
    if !dir.join(&file).exists() {
        return Ok(());
    }
    measure_load(dir, &file, |bytes| Ok(lightgbm::Model::from_bytes(bytes).map(|_| ())?))?;
    let model = lightgbm::Model::from_bytes(&std::fs::read(dir.join(&file))?)?;
    let (columns, bytes) = (model.num_feature(), model.heap_bytes());
    println!(
        "LightGBM, {name}: {} trees, {columns} features, {} kB on the heap",
        model.num_trees(),
        bytes / 1000
    );
    for (kind, file) in [("dense", "bench.rows.f64"), ("10% missing", "bench.gaps.f64")] {
        let bytes = std::fs::read(dir.join(file))?;
        let values: Vec<f64> = bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
        measure(kind, &values, columns, |rows, out| model.predict(rows, out))?;
    }
    Ok(())
}

fn measure_load(dir: &Path, file: &str, mut load: impl FnMut(&[u8]) -> Outcome<()>) -> Outcome<()> {
    let bytes = std::fs::read(dir.join(file))?;
    let time = best(|| load(&bytes))?;
    println!("load {file}: {} kB in {:.1} ms", bytes.len() / 1000, time.as_secs_f64() * 1e3);
    Ok(())
}

/// Rows per run of small calls: enough for the clock, and for branches not to be learnt by heart.
const ENOUGH: usize = 20_000;

/// Calls of so many rows each, over different rows.
fn measure<T: Copy + Default>(
    kind: &str,
    values: &[T],
    columns: usize,
    predict: impl Fn(Rows<'_, T>, &mut [T]) -> Result<(), ScoreError>,
) -> Outcome<()> {
    for size in [1, 8, 64, 1000, 100_000] {
        let mut out = vec![T::default(); size];
        let values = &values[..columns * size.max(ENOUGH)];
        let time = best(|| {
            for rows in values.chunks_exact(size * columns) {
                predict(Rows::new(rows, columns)?, &mut out)?;
            }
            Ok(())
        })?;
        let scored = values.len() / (size * columns) * size;
        println!("  {kind:12} {size:7} rows  {:9.3} us/row", time.as_secs_f64() * 1e6 / scored as f64);
    }
    Ok(())
}
