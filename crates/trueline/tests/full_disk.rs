//! A disk that is full in the middle of the work, through the public door: refusals that say so, nothing lost that was
//! acknowledged, and a server that goes on once there is room.
//!
//! The disk is a small `tmpfs`, which only root may mount; others are told that the test was left out.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Server, wait_until};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// A small disk that is gone with the test.
struct Disk {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Disk {
    fn mount(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(&path)
            .output();
        mounted.is_ok_and(|done| done.status.success()).then(|| Self { path, _folder: folder })
    }

    /// Takes the room that is left, but for so many bytes.
    fn fill(&self, left: u64) -> PathBuf {
        let ballast = self.path.join("ballast");
        let mut bytes = 1 << 20;
        let mut file = fs::File::create(&ballast).unwrap();
        while bytes > 0 {
            if std::io::Write::write_all(&mut file, &vec![0; bytes]).is_err() {
                bytes /= 2;
            }
        }
        let filled = file.metadata().unwrap().len();
        file.set_len(filled.saturating_sub(left)).unwrap();
        ballast
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
}

/// Makes experiments from several callers at once until each was refused; answers the names that were acknowledged.
fn write_until_refused(server: &Server) -> BTreeSet<String> {
    let acknowledged = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let acknowledged = &acknowledged;
            scope.spawn(move || {
                for i in 0..2000 {
                    let name = format!("{caller}-{i}");
                    let body = json!({ "name": name, "artifact_location": "x".repeat(2000) });
                    let (status, answer) = server.post("/api/2.0/mlflow/experiments/create", body);
                    if status == 200 {
                        acknowledged.lock().unwrap().insert(name);
                        continue;
                    }
                    assert!(status >= 500, "{status} {answer}");
                    assert!(answer.to_string().contains("disk"), "it says what is wrong: {answer}");
                    return;
                }
                panic!("the disk never was full");
            });
        }
    });
    acknowledged.into_inner().unwrap()
}

fn names(server: &Server) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut token = String::new();
    loop {
        let page = json!({ "max_results": 1000, "page_token": token });
        let answer = server.ok("/api/2.0/mlflow/experiments/search", page);
        let page = answer["experiments"].as_array().cloned().unwrap_or_default();
        found.extend(page.iter().map(|e| e["name"].as_str().unwrap().to_owned()));
        match answer["next_page_token"].as_str() {
            Some(next) if !next.is_empty() => token = next.to_owned(),
            _ => break,
        }
    }
    found.remove("Default");
    found
}

fn verifies(data_dir: &Path, key: &str) -> bool {
    let mut command = Command::new(common::BINARY);
    command.args(["ledger", "verify", "--state", "--key", key, "--data-dir"]).arg(data_dir);
    command.status().unwrap().success()
}

#[test]
fn a_full_disk_is_told_loses_nothing_and_passes() {
    let Some(disk) = Disk::mount(16) else {
        eprintln!("left out: a small disk can't be mounted here (only root may mount a tmpfs)");
        return;
    };
    let data_dir = disk.path.join("data");
    let server = Server::start_in(&data_dir, None);
    server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "before" }));
    server.settle();
    let key = server.ledger_key();

    let ballast = disk.fill(2 << 20);
    let mut acknowledged = write_until_refused(&server);
    assert!(acknowledged.len() > 10, "there was room for some: {}", acknowledged.len());
    acknowledged.insert("before".to_owned());
    assert_eq!(names(&server), acknowledged, "it can still be read, and holds what was acknowledged");
    wait_until("it says that it is not ready", || server.get("/ready").0 == 503);

    fs::remove_file(ballast).unwrap();
    wait_until("it is ready again", || server.get("/ready").0 == 200);
    server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "after" }));
    acknowledged.insert("after".to_owned());
    assert_eq!(names(&server), acknowledged);
    server.settle();

    let server = server.kill_and_restart();
    assert_eq!(names(&server), acknowledged, "after a crash, too");
    server.settle();
    let stopped = server.stop();
    assert!(verifies(&stopped.data_dir, &key));
}
