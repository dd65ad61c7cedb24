//! Measures what a model costs in time and memory. Not a test: it asserts nothing. Models come from
//! `python examples/make_large.py FOLDER`; then
//! `cargo run --release -p trueline-onnx --example measure_onnx -- PYTHON FOLDER`, with words behind it to say what is to be
//! measured: `sessions`, `calls`, `unload`; all three without. `bare LIBRARY FOLDER` instead measures `ort`'s own sessions.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};
use trueline_onnx::{Call, Library, Model, Options, Search};
use trueline_tensors::{Tensor, Values};

const CALLED: [&str; 3] = ["small.onnx", "forest.onnx", "network.onnx"];

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let mut words = std::env::args().skip(1);
    let (Some(python), Some(folder)) = (words.next(), words.next()) else {
        return Err("name an interpreter and the folder that make_large.py filled".into());
    };
    let asked: Vec<String> = words.collect();
    if python == "bare" {
        return bare(&folder, Path::new(asked.first().ok_or("name the folder")?));
    }
    let wanted = |what: &str| asked.is_empty() || asked.iter().any(|word| word == what);
    println!("before the library: {} MB", anonymous() >> 20);
    let started = Instant::now();
    let library = Library::load(&Search { pythons: vec![python.into()], ..Search::default() })?;
    println!("library loaded in {:.1} ms: {} MB", started.elapsed().as_secs_f64() * 1e3, anonymous() >> 20);
    let folder = Path::new(&folder);
    if wanted("sessions") {
        for file in ["network.onnx", "network-external/model.onnx", "forest.onnx"] {
            sessions(library, &folder.join(file))?;
        }
    }
    if wanted("calls") {
        for file in CALLED {
            calls(library, &folder.join(file))?;
        }
    }
    if wanted("unload") {
        for file in ["small.onnx", "forest.onnx", "network.onnx"] {
            unload(library, &folder.join(file), 200)?;
        }
    }
    Ok(())
}

/// Memory that is no file's, in bytes; 0 where the system does not tell.
fn anonymous() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0) * 1024
}

fn rows(model: &Model, rows: usize) -> Result<Vec<Tensor>, Box<dyn Error>> {
    let width = model.inputs()[0]
        .shape()
        .and_then(|shape| shape.get(1).copied())
        .ok_or("the model takes no table")?;
    let width = usize::try_from(width)?;
    let values = (0..rows * width).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
    Ok(vec![Tensor::new("x", vec![rows, width], Values::Fp32(values))?])
}

/// Memory with one session and with four.
fn sessions(library: &'static Library, file: &Path) -> Outcome {
    println!("{}: {} MB in the file", file.display(), std::fs::metadata(file)?.len() >> 20);
    for most in [1, 4] {
        let before = anonymous();
        let model = Model::from_file(library, file, &Options { sessions: most, ..Options::default() })?;
        let given = rows(&model, 64)?;
        let start = Barrier::new(8);
        let failed = thread::scope(|scope| {
            let call = || {
                start.wait();
                (0..8).find_map(|_| model.run(&given, &Call::default()).err())
            };
            let calls: Vec<_> = (0..8).map(|_| scope.spawn(call)).collect();
            calls.into_iter().filter_map(|call| call.join().ok().flatten()).next()
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        let (there, told) = (model.sessions(), model.heap_bytes() >> 20);
        let grown = anonymous().saturating_sub(before) >> 20;
        drop(model);
        let left = anonymous().saturating_sub(before) >> 20;
        println!("  {there} sessions: grown by {grown} MB, told {told} MB; {left} MB left when it is let go");
    }
    Ok(())
}

/// The best of five turns, per call.
fn best(calls: u32, mut call: impl FnMut() -> Outcome) -> Result<Duration, Box<dyn Error>> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        for _ in 0..calls {
            call()?;
        }
        best = best.min(started.elapsed() / calls);
    }
    Ok(best)
}

/// Time of a call beside one of `ort`'s own session.
fn calls(library: &'static Library, file: &Path) -> Outcome {
    let model = Model::from_file(library, file, &Options { sessions: 2, ..Options::default() })?;
    let given = rows(&model, 1)?;
    let ours = best(2000, || {
        model.run(&given, &Call::default())?;
        Ok(())
    })?;
    let deadline = best(2000, || {
        let call = Call { deadline: Some(Instant::now() + Duration::from_secs(10)), ..Call::default() };
        model.run(&given, &call)?;
        Ok(())
    })?;
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    println!("{}: one row in {:.2} us, {:.2} with a deadline", file.display(), us(ours), us(deadline));
    Ok(())
}

/// The same calls of a session without a pool, checks and copies.
fn bare(library: &str, folder: &Path) -> Outcome {
    let environment = ort::init_from(library)?.with_telemetry(false).build()?;
    for file in CALLED {
        let builder = ort::session::Session::builder(&environment)?.with_intra_threads(1)?;
        let mut session = builder.with_intra_op_spinning(false)?.commit_from_file(folder.join(file))?;
        let ort::value::ValueType::Tensor { shape, .. } = session.inputs()[0].dtype() else { continue };
        let width = usize::try_from(shape[1])?;
        let values: Vec<f32> = (0..width).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
        let time = best(2000, || {
            let view = ort::value::TensorRef::from_array_view(([1, width], values.as_slice()))?;
            drop(session.run(ort::inputs![view])?);
            Ok(())
        })?;
        println!("{file}: one row in {:.2} us by ort alone", time.as_secs_f64() * 1e6);
    }
    Ok(())
}

/// Memory after a model was loaded, asked and let go again and again.
fn unload(library: &'static Library, file: &Path, turns: usize) -> Outcome {
    println!("{}: loaded, asked and let go {turns} times", file.display());
    for turn in 1..=turns {
        let model = Model::from_file(library, file, &Options { sessions: 2, ..Options::default() })?;
        model.run(&rows(&model, 4)?, &Call::default())?;
        drop(model);
        if [1, 10, 50, 100, 150, 200].contains(&turn) {
            println!("  after {turn}: {} MB", anonymous() >> 20);
        }
    }
    Ok(())
}
