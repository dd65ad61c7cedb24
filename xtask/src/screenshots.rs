//! `cargo xtask screenshots`: the tests of the pages in a browser, with a picture of every page kept. With `--runs 100000` the
//! table of so many runs alone, on the server as it is shipped, with the time that each step took.

use crate::setup;
use crate::shell::{self, cargo, root, say};
use anyhow::{Context, bail};

/// Below the checkout.
const FOLDER: &str = "target/screenshots";

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let runs = match arguments {
        [] => None,
        [flag, runs] if flag == "--runs" => Some(runs.parse::<u64>().context("--runs takes a number")?),
        _ => bail!("the screenshots take no arguments but `--runs <number>`"),
    };
    let python = setup::python()?;
    let browser = setup::browser().context("there are no pictures without a browser")?;
    let folder = root().join(FOLDER);
    let mut test = cargo();
    test.args(["test", "--package", "trueline", "--test", "browser"]);
    if let Some(runs) = runs {
        test.args(["--release", "--", "a_table_of_very_many_runs", "--nocapture"]);
        test.env("TRUELINE_RUNS", runs.to_string());
    }
    test.env("TRUELINE_PYTHON", python).env("TRUELINE_SCREENSHOTS", &folder);
    test.env("TRUELINE_BROWSER_PYTHON", browser.python).env("TRUELINE_CHROMIUM", browser.chromium);
    let done = shell::run(&mut test);
    say(format!("the pictures are in {}", folder.display()));
    done
}
