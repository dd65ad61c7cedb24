//! The pages in a real browser, on a server with real data: what people do there works, nothing is wider than the window,
//! nothing is said on the console, axe-core finds nothing serious, the focus can be seen.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::users::admin_of;
use common::{On, Server, python, text};
use std::path::{Path, PathBuf};
use std::process::Command;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests/browser").join(name)
}

#[test]
fn people_find_their_way_through_the_pages() {
    let variable = |name: &str| std::env::var_os(name);
    let (Some(browser), Some(chromium)) =
        (variable("TRUELINE_BROWSER_PYTHON"), variable("TRUELINE_CHROMIUM"))
    else {
        eprintln!(
            "SKIPPED: TRUELINE_CHROMIUM is not set; `cargo xtask test` sets it where Chromium can be had"
        );
        return;
    };
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
