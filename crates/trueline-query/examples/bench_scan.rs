//! How long measuring a table takes: `cargo run --release -p trueline-query --example bench_scan <file>`.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::Instant;
use trueline_query::{Format, Part, Profiler, infer, scan};

fn main() {
    let path = std::env::args().nth(1).unwrap();
    let part =
        Part { format: Format::of_name(&path).unwrap(), name: path.clone(), path: path.clone().into() };
    let megabytes = std::fs::metadata(&path).unwrap().len() as f64 / 1e6;
    let began = Instant::now();
    let schema = infer(std::slice::from_ref(&part)).unwrap();
    let settled = began.elapsed();
    let batches: Vec<_> = scan(vec![part], &schema, None).unwrap().map(Result::unwrap).collect();
    let read = began.elapsed() - settled;
    let mut profiler = Profiler::new(&schema).unwrap();
    batches.iter().for_each(|b| profiler.observe(b).unwrap());
    let profiled = began.elapsed() - settled - read;
    println!(
        "{megabytes:.1} MB, {} rows: types {settled:.2?}, read {read:.2?}, profile {profiled:.2?}",
        profiler.rows()
    );
}
