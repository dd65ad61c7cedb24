//! A server that is killed leaves nothing behind: tried with another process of this test as the server.

use crate::house::{act, pid_of, runs, soon, start, until};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;
use trueline_workers::Output;

/// The server that is going to be killed: only ever run by the test below.
#[tokio::test]
#[ignore = "it is a part of the next test, and runs until it is killed"]
async fn a_server_that_waits_to_be_killed() {
    let (idle, busy) = tokio::join!(start("acts"), start("acts"));
    let child = busy.predict(&act("child"), soon()).await.unwrap();
    let Output::Array(tensor) = &child.output else { panic!("{child:?}") };
    let pids = [pid_of(&idle), pid_of(&busy)];
    let spin = act("spin");
    let spinning = busy.predict(&spin, soon() + Duration::from_secs(600));
    let told = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        println!("\npids {} {} {}", pids[0], pids[1], tensor.values().json(0));
        std::io::stdout().flush().unwrap();
        std::future::pending::<()>().await;
    };
    tokio::join!(told, async { drop(spinning.await) });
}

#[tokio::test]
async fn workers_and_what_they_started_end_with_a_server_that_is_killed() {
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "orphans::a_server_that_waits_to_be_killed", "--nocapture"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap);
    let told = tokio::task::spawn_blocking(move || lines.into_iter().find(|l| l.starts_with("pids "))).await;
    let told = told.unwrap().expect("the server tells the numbers of its workers");
    let pids: Vec<u32> = told.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|pid| runs(*pid)), "{pids:?}");
    server.kill().unwrap();
    server.wait().unwrap();
    // One waits, one holds Python's lock for good, one is a child of a model.
    until("all are gone", || !pids.iter().any(|pid| runs(*pid))).await;
}
