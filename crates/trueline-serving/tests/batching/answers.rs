//! What callers get who ask at once.

use crate::house::{load, xs};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use trueline_serving::{Batched, Frame, LoadedModel, Predictions, ServingError};
use trueline_tensors::Values;

const CALLERS: usize = 64;

type Told = (Result<Predictions, ServingError>, Batched);

/// Asks by all of these at once.
async fn at_once(model: &Arc<LoadedModel>, frames: impl IntoIterator<Item = Frame>) -> Vec<Told> {
    let ask = |frame: Frame| {
        let model = Arc::clone(model);
        tokio::spawn(async move { model.predict_until(&frame, None).await })
    };
    let tasks: Vec<_> = frames.into_iter().map(ask).collect();
    let mut told = Vec::new();
    for task in tasks {
        told.push(task.await.unwrap());
    }
    told
}

/// A column of an answer, as numbers.
fn column(answer: &Predictions, name: &str) -> Vec<f64> {
    let tensor = answer.tensors().iter().find(|t| t.name() == name).unwrap();
    match tensor.values() {
        Values::Fp64(list) => list.clone(),
        Values::Int64(list) => list.iter().map(|v| u32::try_from(*v).unwrap().into()).collect(),
        other => panic!("{name} is {other:?}"),
    }
}

fn number(count: usize) -> f64 {
    u32::try_from(count).unwrap().into()
}

/// Requests of one to three rows, each of numbers of its own.
fn own_rows(caller: usize) -> Vec<f64> {
    (0..=caller % 3).map(|row| number(caller * 10 + row)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_ask_at_once_are_few_calls_and_each_gets_its_own_rows() {
    let model = load("sizes").await;
    let told = at_once(&model, (0..CALLERS).map(|caller| xs(&own_rows(caller)))).await;
    let mut rows_by_calls = 0.0;
    for (caller, (answer, batched)) in told.iter().enumerate() {
        let (answer, own) = (answer.as_ref().unwrap(), own_rows(caller));
        assert_eq!(column(answer, "y"), own.iter().map(|x| x * 2.0).collect::<Vec<_>>());
        // What the model saw is what the caller is told of the batch.
        assert_eq!(column(answer, "rows"), vec![number(batched.rows); own.len()]);
        rows_by_calls += 1.0 / number(batched.requests);
    }
    // Each call counts once: by its requests, each for its part.
    assert!(rows_by_calls.round() <= 4.0, "{rows_by_calls} calls for {CALLERS} requests");
    let alone = model.predict_until(&xs(&[1.0]), None).await;
    assert_eq!((alone.1.requests, alone.1.queued < Duration::from_millis(5)), (1, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn params_and_forms_do_not_mix() {
    let model = load("sizes").await;
    let scaled = |caller: usize| {
        let scale = number(1 + caller % 3);
        let params = json!({ "scale": scale }).as_object().cloned();
        xs(&[number(caller)]).with_params(params.filter(|_| scale > 1.0))
    };
    let told = at_once(&model, (0..CALLERS).map(scaled)).await;
    for (caller, (answer, batched)) in told.iter().enumerate() {
        let expected = number(caller) * 2.0 * number(1 + caller % 3);
        assert_eq!(column(answer.as_ref().unwrap(), "y"), [expected]);
        assert!(batched.requests <= CALLERS / 3 + 1, "{batched:?}");
    }
    assert!(told.iter().any(|(_, batched)| batched.requests > 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_request_fails_no_other_nor_does_one_that_kills_the_worker() {
    let model = load("sizes").await;
    for bad in [-1.0, 666.0] {
        let of = |caller: usize| xs(&[if caller == 5 { bad } else { number(caller) }]);
        let told = at_once(&model, (0..16).map(of)).await;
        for (caller, (answer, _)) in told.iter().enumerate() {
            match (caller, answer) {
                (5, Err(error)) if bad < 0.0 => {
                    assert!(error.to_string().contains("below nothing"), "{error}");
                }
                (5, Err(error)) => assert!(matches!(error, ServingError::WorkerDied(_)), "{error}"),
                (_, answer) => assert_eq!(column(answer.as_ref().unwrap(), "y"), [number(caller) * 2.0]),
            }
        }
    }
}

/// How often models of this process died of a number, counted from now on.
struct Deaths(PathBuf);

impl Deaths {
    fn of(x: u32) -> Self {
        Self(std::env::temp_dir().join(format!("trueline-deaths-{}-{x}", std::process::id())))
    }

    fn count(&self) -> usize {
        std::fs::read(&self.0).map_or(0, |noted| noted.len())
    }
}

impl Drop for Deaths {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_worker_died_is_asked_once_more_and_one_that_kills_is_not_asked_for_ever() {
    let (once, always) = (Deaths::of(555), Deaths::of(666));
    let model = load("dies").await;
    assert_eq!(column(&model.predict(&xs(&[555.0])).await.unwrap(), "y"), [1_110.0]);
    assert_eq!(once.count(), 1);
    let error = model.predict(&xs(&[666.0])).await.unwrap_err();
    assert!(matches!(error, ServingError::WorkerDied(_)), "{error}");
    assert_eq!(always.count(), 2);

    drop(once);
    let (once, model) = (Deaths::of(555), load("dies-once").await);
    let error = model.predict(&xs(&[555.0])).await.unwrap_err();
    assert!(matches!(error, ServingError::WorkerDied(_)), "its metadata wants it so: {error}");
    assert_eq!(once.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_rows_are_never_cut() {
    let mean = load("mean").await;
    for _ in 0..2 {
        let told = at_once(&mean, (0..16).map(|i| xs(&[number(i), number(i) + 2.0]))).await;
        for (i, (answer, batched)) in told.into_iter().enumerate() {
            assert_eq!((answer.unwrap().json(), batched.requests), (json!([number(i) + 1.0]), 1));
        }
    }
    let scalars = load("scalars").await;
    let told = at_once(&scalars, (0..16).map(|i| xs(&[number(i)]))).await;
    for (i, (answer, _)) in told.into_iter().enumerate() {
        assert_eq!(answer.unwrap().json()["sum"].to_string(), format!("{i}.0"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_says_itself_how_it_is_to_be_asked() {
    let off = load("off").await;
    let told = at_once(&off, (0..8).map(|i| xs(&[number(i)]))).await;
    assert!(told.iter().all(|(answer, batched)| answer.is_ok() && batched.requests == 1));
    let few = load("few").await;
    let told = at_once(&few, (0..32).map(|i| xs(&vec![number(i); 1 + i % 6]))).await;
    for (i, (answer, batched)) in told.iter().enumerate() {
        let own = 1 + i % 6;
        assert_eq!(column(answer.as_ref().unwrap(), "rows"), vec![number(batched.rows); own]);
        assert!(batched.rows <= 4 || (batched.requests, batched.rows) == (1, own), "{batched:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_workers_share_what_is_asked() {
    let two = load("two").await;
    let told = at_once(&two, (0..16).map(|i| xs(&[number(i)]))).await;
    let processes = told.iter().map(|(answer, _)| column(answer.as_ref().unwrap(), "process")[0].to_bits());
    assert_eq!(processes.collect::<BTreeSet<_>>().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_wait_of_one_and_of_no_other() {
    let model = load("off").await;
    let late = {
        let model = Arc::clone(&model);
        async move {
            tokio::task::yield_now().await;
            model.predict_until(&xs(&[1.0]), Some(Instant::now() + Duration::from_millis(5))).await
        }
    };
    let (told, late) = tokio::join!(at_once(&model, (0..8).map(|i| xs(&[number(i)]))), late);
    assert!(told.iter().all(|(answer, _)| answer.is_ok()));
    assert!(matches!(late.0, Err(ServingError::TimedOut(_))), "{late:?}");
}
