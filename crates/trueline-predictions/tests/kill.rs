//! A process that appends is killed at random moments: everything that it was told is durable is there.
//! And a process whose disk is full: it is told so, loses nothing, and goes on when there is room.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, in its helpers too")]

mod support;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use support::{id, label, open, record, record_of};
use trueline_predictions::{LogError, Options, PredictionLog, Scalar, verify};

const ROOT: &str = "TRUELINE_TEST_LOG_ROOT";
const START: &str = "TRUELINE_TEST_LOG_START";

fn child_of(test: &str, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", test]).env(ROOT, root);
    command
}

fn root_from_parent() -> PathBuf {
    std::env::var_os(ROOT).expect("started by another test").into()
}

#[test]
#[ignore = "it is the child of another test"]
fn the_child_that_is_killed() {
    let options = Options { segment_bytes: 16 << 10, ..Options::default() };
    let log = Arc::new(PredictionLog::open(&root_from_parent(), options).unwrap());
    let start: u64 = std::env::var(START).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let caller = |caller: u64| {
        let log = log.clone();
        async move {
            for round in 0u64.. {
                let n = start + (round * 8 + caller) * 4;
                let endpoint = ["flights", "trains"][caller as usize % 2];
                let batch: Vec<_> =
                    (n..n + 1 + round % 4).map(|n| record_of("default", endpoint, n)).collect();
                log.append_required(&batch).await.unwrap();
                say(&format!("P {n} {}", batch.len()));
                if round % 5 == 0 {
                    log.label("default", vec![label(n, 1, 7)]).await.unwrap();
                    say(&format!("L {n} 1"));
                }
            }
        }
    };
    let tasks: Vec<_> = (0..8).map(|n| runtime.spawn(caller(n))).collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
}

/// One line in one write, so that the parent sees it whole or not at all.
fn say(line: &str) {
    std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("log");
    let mut answered: Vec<String> = Vec::new();
    let mut random = 7u64;
    for round in 0..15u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = child_of("the_child_that_is_killed", &root)
            .env(START, (round * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        answered.extend(read_until_killed(&mut child, (random >> 33) % 200));

        let log = open(&root);
        let mut finder = log.finder("default", None);
        for line in &answered {
            let words: Vec<_> = line.split(' ').collect();
            let (n, count): (u64, u64) = (words[1].parse().unwrap(), words[2].parse().unwrap());
            if words[0] == "L" {
                let labels = finder.labels(id(n)).unwrap();
                assert_eq!(labels.iter().map(|l| &l.value).collect::<Vec<_>>(), [&Scalar::Int(1)], "{line}");
            } else {
                assert!(
                    (n..n + count).all(|n| finder.find(id(n)).unwrap().is_some()),
                    "round {round}: {line}"
                );
            }
        }
        verify(&root).unwrap();
    }
    assert!(answered.len() > 500, "{} answers are too few to tell anything", answered.len());
}

/// Kills the child after some answers; gives all answers that it got out before it died.
fn read_until_killed(child: &mut Child, after: u64) -> Vec<String> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let answer = |line: &String| line.starts_with("P ") || line.starts_with("L ");
    let mut seen: Vec<_> = lines.by_ref().filter(answer).take(after as usize + 1).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    seen.extend(lines.filter(answer));
    seen
}

#[test]
#[ignore = "it is the child of another test"]
fn the_child_whose_disk_is_full() {
    let root = root_from_parent();
    let log = open(&root);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let append = |n| runtime.block_on(log.append_required(&[record(n), record(n + 1)]));
    let full = (0..).step_by(2).map(|n| (n, append(n))).find(|(_, result)| result.is_err()).unwrap();
    let (failed, Err(LogError::DiskFull { .. })) = &full else { panic!("{full:?}") };
    let failed = *failed;
    assert!(failed > 50);
    let found = |n: u64| log.find("default", id(n)).unwrap().is_some();
    assert!((0..failed).all(found) && !found(failed) && !found(failed + 1));
    log.append_best_effort(&[record(failed + 2)]).unwrap();
    support::wait_until(|| log.stats()[0].dropped == 1);
    assert!(log.stats()[0].failed >= 2);

    let hard = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: hard, maximum: hard }).unwrap();
    append(failed).unwrap();
    drop(log);
    let log = open(&root);
    assert_eq!(log.cuts(), []);
    assert!((0..failed + 2).all(|n| log.find("default", id(n)).unwrap().is_some()));
}

#[test]
fn a_full_disk_is_told_loses_nothing_and_is_over_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let child = child_of("the_child_whose_disk_is_full", &dir.path().join("log"));
    // The shell ignores the signal that would end the process, and sets the limit: 64 blocks of 512 bytes.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -S -f 64; exec \"$@\"", "sh"]).arg(child.get_program());
    shell.args(child.get_args()).env(ROOT, dir.path().join("log"));
    let output = shell.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
