//! The pages in a real browser, on a server with real data: what people do there works, nothing is wider than the window,
//! nothing is said on the console, axe-core finds nothing serious, the focus can be seen.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::users::admin_of;
use common::{On, Server, python, text};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests/browser").join(name)
}

/// Runs in the table that is scrolled through, where `TRUELINE_RUNS` does not say.
const RUNS: &str = "3000";

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The browser's Python and Chromium, where they can be had.
fn browser() -> Option<(OsString, OsString)> {
    let found = variable("TRUELINE_BROWSER_PYTHON").zip(variable("TRUELINE_CHROMIUM"));
    if found.is_none() {
        eprintln!(
            "SKIPPED: TRUELINE_CHROMIUM is not set; `cargo xtask test` sets it where Chromium can be had"
        );
    }
    found
}

#[test]
fn a_table_of_very_many_runs_scrolls_sorts_and_filters() {
    let Some((browser, chromium)) = browser() else { return };
    let server = Server::start(On::Sqlite);
    let admin = admin_of(&server);
    let runs = variable("TRUELINE_RUNS").unwrap_or_else(|| RUNS.into());
    let mut story = Command::new(browser);
    story.arg(script("table.py")).args([&server.url, &admin]).arg(runs).arg(chromium);
    story.args(variable("TRUELINE_SCREENSHOTS"));
    let done = story.output().unwrap();
    // The times are what one comes for with very many runs.
    println!("{}", text(&done.stdout));
    assert!(done.status.success(), "{}", text(&done.stderr));
}

#[test]
fn people_find_their_way_through_the_pages() {
    let Some((browser, chromium)) = browser() else { return };
    let server = Server::start(On::Sqlite);
    let admin = admin_of(&server);
    let filled = Command::new(python()).arg(script("data.py")).args([&server.url, &admin]).output().unwrap();
    assert!(filled.status.success(), "{}", text(&filled.stderr));
    let told = server.data_dir.join("told.json");
    std::fs::write(&told, filled.stdout).unwrap();
    let mut stories = Command::new(browser);
    stories.arg(script("stories.py")).arg(&server.url).arg(told).arg(chromium);
    stories.args(variable("TRUELINE_SCREENSHOTS"));
    let done = stories.output().unwrap();
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
}
