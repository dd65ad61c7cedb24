//! Models that fail, hang and die, and what becomes of those who asked.

use crate::house::{act, pid_of, runs, soon, spec, start, until};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};
use trueline_workers::{Backoff, Output, StartError, State, Worker, WorkerError};

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
}

async fn fails(worker: &Worker, what: &str) -> WorkerError {
    worker.predict(&act(what), soon()).await.unwrap_err()
}

#[tokio::test]
async fn a_model_s_own_failure_is_told_from_one_of_the_input_and_the_worker_goes_on() {
    let worker = start("acts").await;
    let pid = pid_of(&worker);
    let WorkerError::Model { exception, .. } = fails(&worker, "raise 42").await else { panic!() };
    assert_eq!((exception.kind.as_str(), exception.message.as_str()), ("ValueError", "no such thing: 42"));
    assert!(exception.traceback.contains("raise ValueError"), "{exception:?}");
    let WorkerError::Model { exception, .. } = fails(&worker, "sys-exit").await else { panic!() };
    assert_eq!(exception.kind, "SystemExit");
    let WorkerError::Model { exception, .. } = fails(&worker, "cancel").await else { panic!() };
    assert_eq!(exception.kind, "CancelledError");
    let WorkerError::Input { exception, .. } = fails(&worker, "refuse").await else { panic!() };
    assert_eq!(exception.message, "that is not to be had");
    let answer = worker.predict(&act("stdin"), soon()).await.unwrap();
    assert_eq!(answer.output.python_json(), br#"[""]"#);
    let answer =
        worker.predict(&act("variables OMP_NUM_THREADS,TRUELINE_PYTHON,PATH"), soon()).await.unwrap();
    let told = String::from_utf8(answer.output.python_json()).unwrap();
    assert!(told.starts_with(r#"["OMP_NUM_THREADS=1", "TRUELINE_PYTHON=None", "PATH=/"#), "{told}");
    let answer = worker.predict(&act("print 20000"), soon()).await.unwrap();
    assert_eq!(answer.output.python_json(), br#"["print"]"#);
    assert_eq!(pid_of(&worker), pid, "none of this ended it");
    assert!(answer.timings.predict > Duration::ZERO && answer.timings.total >= answer.timings.predict);
}

#[tokio::test]
async fn a_worker_that_dies_says_so_to_those_it_had_and_is_there_again_for_the_next() {
    let mut spec = spec("acts").await;
    spec.limits.backoff = Backoff { first: Duration::from_millis(20), most: Duration::from_millis(50) };
    spec.limits.patience = 100;
    let worker = Worker::start(spec).await.unwrap();
    for (what, why) in
        [("exit", "exited with code 3"), ("segfault", "crashed (SIGSEGV: a library of the model broke)")]
    {
        let before = pid_of(&worker);
        let (gone, next) = tokio::join!(fails(&worker, what), async {
            until("the request was sent", || worker.waiting() == 0).await;
            worker.predict(&act("answer ints"), soon()).await
        });
        let WorkerError::Gone { why: told, tail, .. } = &gone else { panic!("{gone:?}") };
        assert_eq!(told, why);
        assert!(what != "exit" || tail.contains("going down"), "{tail}");
        assert!(next.is_ok(), "the next waits until the worker is there again: {next:?}");
        assert_ne!(pid_of(&worker), before);
    }
    let pid = pid_of(&worker);
    let asked = act("sleep 60");
    let (gone, ()) = tokio::join!(worker.predict(&asked, soon()), async {
        until("the request was sent", || worker.waiting() == 0).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        kill(pid);
    });
    let gone = gone.unwrap_err().to_string();
    assert!(gone.contains("was killed (SIGKILL") && gone.contains("ask again"), "{gone}");
}

#[tokio::test]
async fn a_worker_that_is_not_to_be_restarted_is_tried_ever_more_slowly_and_refuses_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    std::fs::write(&count, "x").unwrap();
    let mut spec = spec("counts").await;
    spec.variables.insert("COUNT_DOWN".to_owned(), count.to_str().unwrap().to_owned());
    spec.limits.backoff = Backoff { first: Duration::from_millis(1), most: Duration::from_millis(1) };
    spec.limits.patience = 2;
    let worker = Worker::start(spec.clone()).await.unwrap();
    let refused = Worker::start(spec).await.unwrap_err();
    assert!(
        matches!(&refused, StartError::Load { exception, .. } if exception.message == "not once more"),
        "{refused:?}"
    );
    assert!(matches!(fails(&worker, "exit").await, WorkerError::Gone { .. }));
    let mut state = worker.watch();
    let failed_twice = |s: &State| matches!(s, State::Restarting { failures, .. } if *failures >= 2);
    let restarting = state.wait_for(failed_twice).await.unwrap().clone();
    let State::Restarting { last_error, .. } = &restarting else { panic!() };
    assert!(last_error.contains("not once more"), "{last_error}");
    let began = Instant::now();
    let refused = fails(&worker, "answer").await;
    assert!(matches!(refused, WorkerError::Down { .. }), "{refused:?}");
    assert!(began.elapsed() < Duration::from_secs(1));
    std::fs::write(&count, "x").unwrap();
    state.wait_for(|s| matches!(s, State::Ready(_))).await.unwrap();
    worker.predict(&act("answer"), soon()).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_hangs_is_killed_some_time_after_the_deadline() {
    let mut spec = spec("acts").await;
    spec.limits.overrun = Duration::from_millis(200);
    let worker = Worker::start(spec).await.unwrap();
    let pid = pid_of(&worker);
    let request = act("spin");
    let late = worker.predict(&request, Instant::now() + Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(late, WorkerError::Deadline { sent: true, .. }), "{late:?}");
    let mut state = worker.watch();
    let restarting = state.wait_for(|s| matches!(s, State::Restarting { .. })).await.unwrap().clone();
    let State::Restarting { last_error, failures: 1, .. } = &restarting else { panic!("{restarting:?}") };
    assert!(last_error.contains("behind the deadline"), "{last_error}");
    until("it is gone", || !runs(pid)).await;
}

#[tokio::test]
async fn a_worker_that_eats_memory_is_killed_with_a_message_that_says_so() {
    let mut spec = spec("acts").await;
    spec.limits.memory_bytes = Some(600 << 20);
    let worker = Worker::start(spec.clone()).await.unwrap();
    let State::Ready(facts) = worker.state() else { panic!() };
    assert!((20 << 20..600 << 20).contains(&facts.resident_bytes), "{facts:?}");
    assert!(worker.resident_bytes().is_some_and(|bytes| bytes > 20 << 20));
    let WorkerError::Gone { why, .. } = fails(&worker, "eat").await else { panic!() };
    assert!(why.contains("bytes of memory of the 629145600 that it may"), "{why}");
    spec.limits.memory_bytes = Some(10 << 20);
    let refused = Worker::start(spec).await.unwrap_err();
    assert!(matches!(refused, StartError::Memory { .. }), "{refused:?}");
}

#[tokio::test]
async fn so_many_wait_and_no_more_and_who_goes_away_makes_room() {
    let mut spec = spec("acts").await;
    spec.limits.queue = 2;
    let worker = Worker::start(spec).await.unwrap();
    let (long, short) = (act("sleep 2"), act("answer ints"));
    let mut first = Box::pin(worker.predict(&long, soon()));
    // Polled until it is sent, and no longer.
    tokio::select! {
        _ = &mut first => panic!("it is not answered yet"),
        () = async {
            while worker.waiting() > 0 { tokio::task::yield_now().await; }
            tokio::time::sleep(Duration::from_millis(100)).await;
        } => {}
    }
    let mut second = Box::pin(worker.predict(&short, soon()));
    let third = worker.predict(&short, Instant::now() + Duration::from_millis(50));
    assert!(tokio::time::timeout(Duration::from_millis(10), &mut second).await.is_err());
    let (late, busy) = tokio::join!(third, async {
        tokio::task::yield_now().await;
        assert_eq!(worker.waiting(), 2);
        worker.predict(&short, soon()).await.unwrap_err()
    });
    assert!(matches!(busy, WorkerError::Busy { waiting: 2, .. }), "{busy:?}");
    assert!(matches!(late, Err(WorkerError::Deadline { sent: false, .. })), "{late:?}");
    assert_eq!(worker.waiting(), 1);
    drop(second);
    assert_eq!(worker.waiting(), 0);
    // Nobody waits for the first any more; the next is answered after it all the same.
    drop(first);
    worker.predict(&short, soon()).await.unwrap();
}

#[tokio::test]
async fn several_at_once_where_the_model_is_told_to_bear_it() {
    let mut spec = spec("acts").await;
    spec.concurrency = 4;
    let worker = Worker::start(spec).await.unwrap();
    let began = Instant::now();
    let request = act("sleep 1");
    let ask = || worker.predict(&request, soon());
    let all = tokio::join!(ask(), ask(), ask(), ask());
    assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok() && all.3.is_ok());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_drained_worker_answers_what_it_has_and_what_waits_and_no_more() {
    let worker = start("acts").await;
    let pid = pid_of(&worker);
    let child = worker.predict(&act("child"), soon()).await.unwrap();
    let Output::Array(tensor) = &child.output else { panic!("{child:?}") };
    let child: u32 = tensor.values().json(0).as_u64().unwrap().try_into().unwrap();
    assert!(runs(child));
    let (slow, quick) = (act("sleep 0.3"), act("answer ints"));
    let (one, two, ()) = tokio::join!(worker.predict(&slow, soon()), worker.predict(&quick, soon()), async {
        worker.drain(Duration::from_secs(20)).await;
    });
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    assert_eq!(worker.state(), State::Stopped);
    assert!(!runs(pid));
    until("what the model started is gone", || !runs(child)).await;
    let refused = fails(&worker, "answer ints").await;
    assert!(matches!(refused, WorkerError::Stopped { .. }), "{refused:?}");

    let worker = start("acts").await;
    let (pid, hangs) = (pid_of(&worker), act("spin"));
    let (stopped, ()) = tokio::join!(worker.predict(&hangs, soon()), async {
        until("the request was sent", || worker.waiting() == 0).await;
        worker.drain(Duration::from_millis(100)).await;
    });
    assert!(stopped.is_err(), "{stopped:?}");
    assert!(!runs(pid));
}

#[tokio::test]
async fn a_dropped_worker_is_gone_with_all_that_it_started() {
    let worker = start("acts").await;
    let pid = pid_of(&worker);
    let child = worker.predict(&act("child"), soon()).await.unwrap();
    let Output::Array(tensor) = &child.output else { panic!("{child:?}") };
    let child: u32 = tensor.values().json(0).as_u64().unwrap().try_into().unwrap();
    let other = worker.clone();
    drop(worker);
    assert!(other.predict(&act("answer ints"), soon()).await.is_ok());
    drop(other);
    until("both are gone", || !runs(pid) && !runs(child)).await;
    let starting = tokio::time::timeout(Duration::from_millis(300), start("acts"));
    assert!(starting.await.is_err(), "a start takes longer");
}

#[tokio::test]
async fn what_can_t_be_started_says_why() {
    let refused = Worker::start(spec("raises").await).await.unwrap_err();
    let StartError::Load { exception, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(
        (exception.kind.as_str(), exception.message.as_str()),
        ("RuntimeError", "the weights are not there")
    );
    let mut late = spec("acts").await;
    late.limits.start = Duration::from_millis(50);
    let refused = Worker::start(late).await.unwrap_err();
    assert!(matches!(refused, StartError::Slow { .. }), "{refused:?}");
    let mut no_python = spec("acts").await;
    no_python.environment.python = "/not/there".into();
    assert!(matches!(Worker::start(no_python).await, Err(StartError::Spawn { .. })));
    let mut not_python = spec("acts").await;
    not_python.environment.python = "/bin/false".into();
    let refused = Worker::start(not_python).await.unwrap_err();
    assert!(refused.to_string().contains("exited with code 1"), "{refused}");
    let mut warm = spec("acts").await;
    warm.warm = Some(trueline_workers::Request::Columns(act("raise 1")));
    let refused = Worker::start(warm.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("fails on its own example"), "{refused}");
    warm.warm = Some(trueline_workers::Request::Columns(act("answer ints")));
    Worker::start(warm).await.unwrap();
}
