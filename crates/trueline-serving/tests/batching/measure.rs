//! How much is gained. `cargo test --release -p trueline-serving --test batching measure -- --ignored --nocapture`

use crate::house::load;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use trueline_serving::Frame;
use trueline_tensors::{Tensor, Values};

const CALLERS: usize = 64;
const FOR: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it prints figures and asserts none"]
async fn what_is_gained_by_answering_together() {
    for name in ["logistic-off", "logistic"] {
        let model = load(name).await;
        let row = (0..8).map(|i| Tensor::column(format!("x{i}"), Values::Fp64(vec![0.1 * f64::from(i)])));
        let frame = Arc::new(Frame::named(row.collect()).unwrap());
        for callers in [1, CALLERS] {
            let together = Arc::new(AtomicUsize::new(0));
            let began = Instant::now();
            let caller = |_| {
                let (model, frame, together) =
                    (Arc::clone(&model), Arc::clone(&frame), Arc::clone(&together));
                tokio::spawn(async move {
                    let mut took = Vec::new();
                    while began.elapsed() < FOR {
                        let asked = Instant::now();
                        let (answer, batched) = model.predict_until(&frame, None).await;
                        answer.unwrap();
                        took.push(asked.elapsed());
                        together.fetch_add(batched.requests, Ordering::Relaxed);
                    }
                    took
                })
            };
            let tasks: Vec<_> = (0..callers).map(caller).collect();
            let mut took = Vec::new();
            for task in tasks {
                took.extend(task.await.unwrap());
            }
            took.sort_unstable();
            let at = |percent: usize| took[(took.len() - 1) * percent / 100];
            let (requests, together) = (took.len(), together.load(Ordering::Relaxed));
            println!(
                "{name:>12}, {callers:>2} callers: {:>6} requests/s, {:.1} together on average, p50 {:?}, p99 {:?}",
                requests as u128 * 1_000 / began.elapsed().as_millis(),
                together as f64 / requests as f64,
                at(50),
                at(99),
            );
        }
    }
}
