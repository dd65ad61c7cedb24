//! How long a request is under way, by its size, through the socket and through memory. Not a test: it asserts nothing that
//! a busy machine could break. Run it with
//!
//! `cargo test --release -p trueline-workers --test workers -- --ignored --nocapture measure`

use crate::house::{column, soon, spec};
use std::time::{Duration, Instant};
use trueline_tensors::{Tensor, Values};
use trueline_workers::{Columns, Form, State, Worker};

struct Figures {
    median: Duration,
    p99: Duration,
    model: Duration,
}

async fn measure(worker: &Worker, request: &Columns, times: usize) -> Figures {
    let mut took = Vec::with_capacity(times);
    let mut model = Vec::with_capacity(times);
    for round in 0..times + times / 10 {
        let began = Instant::now();
        let answer = worker.predict(request, soon()).await.unwrap();
        if round >= times / 10 {
            took.push(began.elapsed());
            model.push(answer.timings.predict);
        }
    }
    took.sort();
    model.sort();
    Figures { median: took[times / 2], p99: took[times * 99 / 100], model: model[times / 2] }
}

async fn worker(name: &str, inline_bytes: u64) -> Worker {
    let mut spec = spec(name).await;
    spec.limits.inline_bytes = inline_bytes;
    Worker::start(spec).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
async fn measure_round_trips_through_the_socket_and_through_memory() {
    let (inline, apart) = (worker("doubles", 1 << 29).await, worker("doubles", 0).await);
    println!("\nOne array of doubles there, one of the same size back; the model doubles them.");
    println!(
        "{:>10} | {:>10} {:>10} | {:>10} {:>10} | model",
        "bytes", "socket p50", "p99", "memory p50", "p99"
    );
    for exponent in [3, 12, 14, 16, 17, 18, 19, 20, 21, 22, 24, 26] {
        let count = (1_usize << exponent) / 8;
        let values = Values::Fp64((0..count).map(|n| n as f64).collect());
        let request = Columns { tensors: vec![Tensor::column("x", values)], form: Form::Array, params: None };
        let times = (200_000_000 / (1 << exponent)).clamp(20, 2_000);
        let one = measure(&inline, &request, times).await;
        let other = measure(&apart, &request, times).await;
        println!(
            "{:>10} | {:>10.1?} {:>10.1?} | {:>10.1?} {:>10.1?} | {:.1?}",
            count * 8,
            one.median,
            one.p99,
            other.median,
            other.p99,
            one.model
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
async fn measure_tables_of_a_real_model() {
    let sklearn = worker("sklearn", 256 << 10).await;
    let State::Ready(facts) = sklearn.state() else { panic!() };
    println!(
        "\nLogisticRegression of scikit-learn, three columns; ready after {:.1?}, {} MB.",
        facts.took,
        facts.resident_bytes >> 20
    );
    for rows in [1, 10, 100, 1_000, 10_000, 100_000] {
        let values = || Values::Fp64((0..rows).map(|n| f64::from(n) / 10.0).collect());
        let request = Columns::table(["a", "b", "c"].map(|name| column(name, values())).into());
        let times = (2_000_000 / rows as usize).clamp(30, 1_000);
        let found = measure(&sklearn, &request, times).await;
        println!(
            "{rows:>7} rows: p50 {:.1?}, p99 {:.1?}, of which {:.1?} in predict()",
            found.median, found.p99, found.model
        );
    }
}
