//! `cargo xtask screenshots`: the tests of the pages in a browser, with a picture of every page kept.

use crate::setup;
use crate::shell::{self, cargo, root, say};
use anyhow::{Context, bail};

/// Below the checkout.
const FOLDER: &str = "target/screenshots";

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    if !arguments.is_empty() {
        bail!("the screenshots take no arguments");
    }
    let python = setup::python()?;
    let browser = setup::browser().context("there are no pictures without a browser")?;
    let folder = root().join(FOLDER);
    let mut test = cargo();
    test.args(["test", "--package", "trueline", "--test", "browser"]);
    test.env("TRUELINE_PYTHON", python).env("TRUELINE_SCREENSHOTS", &folder);
    test.env("TRUELINE_BROWSER_PYTHON", browser.python).env("TRUELINE_CHROMIUM", browser.chromium);
    let done = shell::run(&mut test);
    say(format!("the pictures are in {}", folder.display()));
    done
}
