//! `cargo xtask test`: everything that the tests need, then the tests.

use crate::postgres::Postgres;
use crate::setup;
use crate::shell::{self, cargo, say};

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let python = setup::python()?;
    let clients = setup::serving_clients()?;
    let postgres = Postgres::start()?;
    say("running the tests");
    let mut test = cargo();
    test.args(["test", "--workspace"]).args(arguments);
    test.env("TRUELINE_PYTHON", &python).env("TRUELINE_TEST_POSTGRES", postgres.url());
    test.env("TRUELINE_UV", python.with_file_name("uv"));
    test.env("TRUELINE_ONNX_PYTHON", &clients).env("TRUELINE_SERVING_PYTHON", &clients);
    if let Some(promtool) = setup::promtool() {
        test.env("TRUELINE_PROMTOOL", promtool);
    }
    if let Some(browser) = setup::browser() {
        test.env("TRUELINE_BROWSER_PYTHON", browser.python).env("TRUELINE_CHROMIUM", browser.chromium);
    }
    shell::run(&mut test)
}
