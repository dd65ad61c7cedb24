//! Measures the scorer on one thread. Not a test: it asserts nothing.
//! Models, rows and the library's own figures come from `python tests/make_models.py --bench DIR`; then
//! `cargo run --release -p trueline-trees --example bench_trees -- DIR`.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use trueline_trees::{Model, Rows};

fn floats(path: &Path) -> Result<Vec<f32>, std::io::Error> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// The best of five, each long enough for the clock.
fn best(mut call: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        call()?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("name the directory that make_models.py --bench filled")?;
    let dir = Path::new(&dir);
    for file in ["bench.ubj", "bench.json"] {
        let bytes = std::fs::read(dir.join(file))?;
        let time = best(|| {
            Model::from_bytes(&bytes)?;
            Ok(())
        })?;
        println!("load {file}: {} kB in {:.1} ms", bytes.len() / 1000, time.as_secs_f64() * 1e3);
    }
    let model = Model::from_bytes(&std::fs::read(dir.join("bench.ubj"))?)?;
    println!(
        "{} trees, {} features, {} kB on the heap",
        model.num_trees(),
        model.num_feature(),
        model.heap_bytes() / 1000
    );
    for (name, file) in [("dense", "bench.rows.f32"), ("10% missing", "bench.gaps.f32")] {
        let values = floats(&dir.join(file))?;
        for size in [1, 8, 64, 1000, 100_000] {
            measure(&model, name, &values, size)?;
        }
    }
    Ok(())
}

/// Calls of `size` rows each, over different rows, so that branches are not learnt by heart.
fn measure(model: &Model, name: &str, values: &[f32], size: usize) -> Result<(), Box<dyn Error>> {
    let columns = model.num_feature();
    let mut out = vec![0.0; size];
    let time = best(|| {
        for rows in values.chunks_exact(size * columns) {
            model.predict(Rows::new(rows, columns)?, &mut out)?;
        }
        Ok(())
    })?;
    let scored = values.len() / (size * columns) * size;
    println!("  {name:12} {size:7} rows  {:9.3} us/row", time.as_secs_f64() * 1e6 / scored as f64);
    Ok(())
}
