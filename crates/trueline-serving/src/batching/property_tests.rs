//! Whatever comes when, every request gets what it would have got alone.

use super::{Batched, Batcher, Limits};
use crate::error::InputError;
use crate::frame::Frame;
use crate::predictions::Predictions;
use crate::runtime::{RunError, Together};
use crate::signature::Signature;
use async_trait::async_trait;
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use trueline_tensors::{Tensor, Values};

/// What a model makes of its rows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// A part for each row, of which it refuses those below nothing.
    Rows,
    /// The same as a table of JSON.
    Listed,
    /// Always two numbers, whatever the rows.
    Two,
    /// A part for each row, of one row at a time alone.
    Single,
}

/// A model that answers when it is let to.
#[derive(Debug)]
struct Model {
    manner: Manner,
    gate: Semaphore,
    calls: Mutex<Vec<usize>>,
    at_once: AtomicUsize,
    lanes: usize,
}

impl Model {
    fn new(manner: Manner, lanes: usize) -> Arc<Self> {
        let (gate, at_once) = (Semaphore::new(0), AtomicUsize::new(0));
        Arc::new(Self { manner, gate, calls: Mutex::default(), at_once, lanes })
    }

    fn of(manner: Manner, frame: &Frame) -> Result<Predictions, RunError> {
        let mut sums = vec![0_i64; frame.rows()];
        for column in frame.columns() {
            let Values::Int64(list) = column.values() else { panic!("{column:?}") };
            let rows = list.chunks(column.width()).map(|row| row.iter().sum::<i64>());
            sums.iter_mut().zip(rows).for_each(|(sum, row)| *sum = *sum * 31 + row);
        }
        if let Some(negative) = sums.iter().find(|s| **s < 0) {
            return Err(InputError::Refused(format!("{negative} is below nothing")).into());
        }
        match manner {
            Manner::Single if sums.len() > 1 => Err(RunError::Failed("one at a time".to_owned())),
            Manner::Rows | Manner::Single => Ok(Predictions::column(Values::Int64(sums))),
            Manner::Listed => {
                Ok(Predictions::Json(sums.iter().map(|s| serde_json::json!({ "sum": s })).collect()))
            }
            Manner::Two => Ok(Predictions::column(Values::Int64(vec![sums.iter().sum(), 2]))),
        }
    }
}

#[async_trait]
impl Together for Model {
    async fn answer(&self, _: &Signature, typed: &Frame, _: Instant) -> Result<Predictions, RunError> {
        let _running = Running::new(self);
        self.calls.lock().unwrap().push(typed.rows());
        // Others may come meanwhile, also when the gate is open.
        tokio::task::yield_now().await;
        self.gate.acquire().await.unwrap().forget();
        Self::of(self.manner, typed)
    }

    fn lanes(&self) -> usize {
        self.lanes
    }

    fn by_default(&self) -> bool {
        true
    }
}

/// A call that is not answered, and whose caller is there.
struct Running<'m>(&'m Model);

impl<'m> Running<'m> {
    fn new(model: &'m Model) -> Self {
        assert!(model.at_once.fetch_add(1, Ordering::SeqCst) < model.lanes, "more calls than lanes");
        Self(model)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
    }
}

fn batcher(model: &Arc<Model>, limits: Limits) -> Arc<Batcher> {
    let runtime: Arc<dyn Together> = Arc::clone(model) as _;
    Arc::new(Batcher::new("m/1".to_owned(), runtime, Arc::new(Signature::Unknown), limits, true))
}

fn column(name: &str, values: Vec<i64>) -> Tensor {
    Tensor::column(name, Values::Int64(values))
}

fn one(value: i64) -> Frame {
    Frame::named(vec![column("x", vec![value])]).unwrap()
}

/// Requests of four kinds that don't go together.
fn frame() -> impl Strategy<Value = Frame> {
    (0..4, proptest::collection::vec(-1..40_i64, 0..5)).prop_map(|(kind, values)| match kind {
        0 => Frame::array(column("", values)),
        1 => Frame::named(vec![column("y", values.clone()), column("x", values)]).unwrap(),
        2 => {
            let (rows, twice) = (values.len(), values.iter().flat_map(|v| [*v, 1]).collect());
            Frame::named(vec![Tensor::new("x", vec![rows, 2], Values::Int64(twice)).unwrap()]).unwrap()
        }
        _ => Frame::named(vec![column("x", values)]).unwrap(),
    })
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), work).await.unwrap() })
}

/// Lets tasks that can go on do so, until the condition holds.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn every_request_gets_what_it_would_have_got_alone(
        frames in proptest::collection::vec((frame(), 0..3_usize, proptest::bool::weighted(0.1)), 1..40),
        manner in prop_oneof![
            3 => Just(Manner::Rows), 1 => Just(Manner::Listed), 1 => Just(Manner::Two), 1 => Just(Manner::Single)
        ],
        lanes in 1..3_usize,
    ) {
        on_runtime(async {
            let model = Model::new(manner, lanes);
            let line = batcher(&model, Limits { rows: 9, requests: 5, ..Limits::of(lanes) });
            let mut asked = Vec::new();
            for (frame, opened, leaves) in frames {
                let (line, sent) = (Arc::clone(&line), frame.clone());
                let task = tokio::spawn(async move { line.predict(&sent, None).await });
                tokio::task::yield_now().await;
                if leaves {
                    task.abort();
                } else {
                    asked.push((frame, task));
                }
                model.gate.add_permits(opened);
                tokio::task::yield_now().await;
            }
            model.gate.add_permits(10_000);
            for (frame, task) in asked {
                let (got, Batched { requests, rows, .. }) = task.await.unwrap();
                match (Model::of(manner, &frame), got) {
                    (Ok(own), Ok(got)) => prop_assert_eq!(got, own),
                    (Err(RunError::Input(own)), Err(RunError::Input(got))) => prop_assert_eq!(got, own),
                    (Err(RunError::Failed(own)), Err(RunError::Failed(got))) => prop_assert_eq!(got, own),
                    (own, got) => prop_assert!(false, "{own:?} alone, {got:?} together"),
                }
                prop_assert!(requests <= 5 && (rows <= 9 || requests == 1));
            }
            Ok(())
        })?;
    }
}

#[test]
fn requests_that_come_while_it_is_busy_are_one_call() {
    on_runtime(async {
        let model = Model::new(Manner::Rows, 1);
        let line = batcher(&model, Limits::of(1));
        let ask = |value| {
            let line = Arc::clone(&line);
            tokio::spawn(async move { line.predict(&one(value), None).await })
        };
        let tasks: Vec<_> = (0..64).map(ask).collect();
        until(|| model.calls.lock().unwrap().len() == 1).await;
        tokio::task::yield_now().await;
        model.gate.add_permits(2);
        for (value, task) in tasks.into_iter().enumerate() {
            let (answer, batched) = task.await.unwrap();
            let own = i64::try_from(value).unwrap();
            assert_eq!(answer.unwrap(), Predictions::column(Values::Int64(vec![own])));
            let together = if value == 0 { 1 } else { 63 };
            assert_eq!((batched.requests, batched.rows), (together, together));
            assert!(value == 0 || !batched.queued.is_zero());
        }
        assert_eq!(*model.calls.lock().unwrap(), [1, 63]);
    });
}

#[test]
fn one_bad_request_fails_no_other() {
    on_runtime(async {
        let model = Model::new(Manner::Rows, 1);
        let line = batcher(&model, Limits::of(1));
        model.gate.add_permits(100);
        let ask = |value| {
            let line = Arc::clone(&line);
            tokio::spawn(async move { line.predict(&one(value), None).await.0 })
        };
        let tasks: Vec<_> = [1, 2, -7, 4].map(ask).into_iter().collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        assert!(
            matches!(&answers[2], Err(RunError::Input(InputError::Refused(why))) if why.starts_with("-7"))
        );
        assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 3);
    });
}

#[test]
fn a_model_of_one_row_at_a_time_is_soon_asked_one_by_one() {
    on_runtime(async {
        let model = Model::new(Manner::Single, 1);
        let line = batcher(&model, Limits::of(1));
        model.gate.add_permits(10_000);
        for round in 0..6 {
            let ask = |value| {
                let line = Arc::clone(&line);
                tokio::spawn(async move { line.predict(&one(value), None).await.0 })
            };
            let tasks: Vec<_> = (round..round + 4).map(ask).collect();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
        }
        let calls = model.calls.lock().unwrap();
        assert_eq!(calls.iter().filter(|rows| **rows > 1).count(), 3, "{calls:?}");
    });
}

#[test]
fn who_gives_up_is_not_sent_and_a_deadline_ends_the_wait() {
    on_runtime(async {
        let model = Model::new(Manner::Rows, 1);
        let line = batcher(&model, Limits::of(1));
        let first = tokio::spawn({
            let line = Arc::clone(&line);
            async move { line.predict(&one(1), None).await.0 }
        });
        until(|| model.calls.lock().unwrap().len() == 1).await;
        let (second, third) = (one(2), one(3));
        let mut gives_up = Box::pin(line.predict(&second, None));
        assert!(
            std::future::poll_fn(|cx| std::task::Poll::Ready(gives_up.as_mut().poll(cx).is_pending())).await
        );
        drop(gives_up);
        let late = line.predict(&third, Some(Instant::now() + Duration::from_millis(20))).await;
        assert!(matches!(late.0, Err(RunError::TimedOut(_))), "{late:?}");
        assert!(late.1.queued >= Duration::from_millis(20) && late.1.requests == 0);
        model.gate.add_permits(10);
        first.await.unwrap().unwrap();
        line.predict(&one(4), None).await.0.unwrap();
        assert_eq!(*model.calls.lock().unwrap(), [1, 1]);
    });
}

#[test]
fn what_is_too_much_is_refused_as_busy() {
    on_runtime(async {
        let model = Model::new(Manner::Rows, 1);
        let line = batcher(&model, Limits { waiting_requests: 2, ..Limits::of(1) });
        let ask = |value| {
            let line = Arc::clone(&line);
            tokio::spawn(async move { line.predict(&one(value), None).await.0 })
        };
        let tasks: Vec<_> = (0..4).map(ask).collect();
        until(|| tasks[3].is_finished()).await;
        model.gate.add_permits(10);
        let mut told = Vec::new();
        for task in tasks {
            told.push(task.await.unwrap());
        }
        assert!(told[..3].iter().all(Result::is_ok));
        assert!(matches!(&told[3], Err(RunError::Busy(why)) if why.starts_with("2 requests of 2 rows")));
    });
}

/// Has one request be answered and another come meanwhile, which then waits for others.
async fn one_that_waits_for_others(
    model: &Arc<Model>,
    line: &Arc<Batcher>,
) -> tokio::task::JoinHandle<Batched> {
    let ask = |value| {
        let line = Arc::clone(line);
        tokio::spawn(async move { line.predict(&one(value), None).await.1 })
    };
    let first = ask(1);
    until(|| model.calls.lock().unwrap().len() == 1).await;
    let second = ask(2);
    tokio::task::yield_now().await;
    model.gate.add_permits(10);
    assert_eq!(first.await.unwrap().requests, 1);
    second
}

#[test]
fn others_are_waited_for_until_the_timer_says_enough() {
    on_runtime(async {
        let model = Model::new(Manner::Rows, 1);
        let line = batcher(&model, Limits::of(1));
        line.teach(Duration::from_millis(40));
        let waits = one_that_waits_for_others(&model, &line).await;
        let batched = waits.await.unwrap();
        assert_eq!(batched.requests, 1);
        assert!(batched.queued >= Duration::from_millis(30), "{batched:?}");
    });
}

#[test]
fn who_is_waited_for_ends_the_wait_when_the_batch_is_full() {
    on_runtime(async {
        let model = Model::new(Manner::Rows, 1);
        let line = batcher(&model, Limits { requests: 2, ..Limits::of(1) });
        // Longer than the test may take.
        line.teach(Duration::from_secs(300));
        let waits = one_that_waits_for_others(&model, &line).await;
        let (answer, batched) = line.predict(&one(3), None).await;
        assert_eq!(answer.unwrap(), Predictions::column(Values::Int64(vec![3])));
        assert_eq!((batched.requests, waits.await.unwrap().requests), (2, 2));
    });
}
