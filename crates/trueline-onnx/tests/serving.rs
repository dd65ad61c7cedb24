//! A model under many callers at once, with deadlines, and when it is let go.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Clippy knows only `#[test]` functions as tests.

mod made;

use made::{Made, assert_identical};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};
use trueline_onnx::{Call, Model, Options, RunError};
use trueline_tensors::{Tensor, Values};

#[test]
fn many_callers_at_once_get_the_answers_that_one_gets() {
    let Some(made) = Made::get() else { return };
    for name in ["forest-words-zipmap 1", "text 0", "dense 2", "recurrent 1", "columns 0"] {
        let case = made.case(name);
        let (inputs, expected) = (case.inputs(), case.outputs());
        let model = made.model(case.file(), &Options { sessions: 4, ..Options::default() });
        let start = Barrier::new(12);
        thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    start.wait();
                    for turn in 0..30 {
                        let later = (turn % 3 == 0).then(|| Instant::now() + Duration::from_secs(60));
                        let call = Call { deadline: later, ..Call::default() };
                        assert_identical(name, &model.run(&inputs, &call).unwrap(), &expected);
                    }
                });
            }
        });
        assert!((2..=4).contains(&model.sessions()), "{name}: {} sessions", model.sessions());
    }
}

fn slow(made: &Made, sessions: usize) -> (Model, Vec<Tensor>) {
    let model =
        made.model("slow.onnx", &Options { sessions, wait: Duration::from_millis(20), ..Options::default() });
    let rows = 256;
    (model, vec![Tensor::new("x", vec![rows, 512], Values::Fp32(vec![0.01; rows * 512])).unwrap()])
}

#[test]
fn a_deadline_ends_a_run_and_the_session_goes_on() {
    let Some(made) = Made::get() else { return };
    let (model, given) = slow(made, 1);
    let started = Instant::now();
    let whole = model.run(&given, &Call::default()).unwrap();
    let long = started.elapsed();
    for _ in 0..3 {
        let started = Instant::now();
        let call = Call { deadline: Some(started + long / 10), ..Call::default() };
        assert_eq!(model.run(&given, &call), Err(RunError::Deadline));
        assert!(started.elapsed() < long, "it went on to the end");
    }
    let call = Call { deadline: Some(Instant::now() + long * 100), ..Call::default() };
    assert_identical("after", &model.run(&given, &call).unwrap(), &whole);
}

#[test]
fn a_busy_model_says_so_in_time() {
    let Some(made) = Made::get() else { return };
    let (model, given) = slow(made, 1);
    let start = Barrier::new(2);
    let run = || {
        start.wait();
        model.run(&given, &Call::default())
    };
    let (one, other) = thread::scope(|scope| {
        let one = scope.spawn(run);
        (run(), one.join().unwrap())
    });
    let refused = [one, other].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert_eq!(refused, [RunError::Timeout { waited: Duration::from_millis(20), sessions: 1 }]);
    let full = made.model("slow.onnx", &Options { sessions: 1, waiting: 0, ..Options::default() });
    let (one, other) = thread::scope(|scope| {
        let run = || {
            start.wait();
            full.run(&given, &Call::default())
        };
        let one = scope.spawn(run);
        (run(), one.join().unwrap())
    });
    let refused = [one, other].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert_eq!(refused, [RunError::Busy { waiting: 0, sessions: 1 }]);
}

#[test]
fn a_model_that_is_let_go_while_it_grows_lets_go() {
    let Some(made) = Made::get() else { return };
    let case = made.case("dense 2");
    for _ in 0..5 {
        let model = made.model(case.file(), &Options { sessions: 8, ..Options::default() });
        let start = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    model.run(&case.inputs(), &Call::default()).unwrap();
                });
            }
        });
    }
}
