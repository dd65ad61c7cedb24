//! `cargo xtask fuzz`: builds the fuzz targets with coverage counters, which needs no nightly compiler, and runs them side
//! by side from the seeds and from what earlier runs found. What they find is kept as a file and told.

use crate::shell::{self, cargo, root, say};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

const TARGETS: [&str; 4] = ["filters", "bodies", "scoring", "models"];
const MINUTES: u64 = 20;
/// Counters and what is compared, for the fuzzer; overflows and assertions, for us.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks --cfg fuzzing";

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let minutes = match arguments {
        [] => MINUTES,
        [flag, minutes] if flag == "--minutes" => {
            minutes.parse().context("--minutes takes a whole number")?
        }
        _ => bail!("usage: cargo xtask fuzz [--minutes <n>]"),
    };
    let folder = root().join("target/fuzz");
    let programs = build(&folder)?;
    shell::run(
        cargo()
            .args(["run", "--quiet", "--package", "trueline-fuzz", "--bin", "fuzz-seeds", "--"])
            .arg(&folder),
    )?;
    let mut running = Vec::new();
    for target in TARGETS {
        say(format!("fuzzing {target} for {minutes} minutes"));
        running.push((target, start(&programs, &folder, target, minutes)?));
    }
    let mut found = Vec::new();
    for (target, mut child) in running {
        if !child.wait()?.success() {
            found.push(target);
        }
    }
    match found.as_slice() {
        [] => Ok(()),
        found => {
            bail!("findings in {}: see above and {}", found.join(" and "), folder.join("found").display())
        }
    }
}

/// Build scripts and macros run on this machine without counters, so the target is named.
fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    say("building the fuzz targets");
    let host = shell::output(Command::new("rustc").args(["--print", "host-tuple"])).context("rustc")?;
    let built = folder.join("build");
    let mut command = cargo();
    command.args([
        "build",
        "--release",
        "--package",
        "trueline-fuzz",
        "--features",
        "fuzzer",
        "--target",
        &host,
    ]);
    // Nothing else of the package has what the counters call.
    command.args(TARGETS.iter().flat_map(|target| ["--bin".to_owned(), format!("fuzz-{target}")]));
    for setting in ["lto=false", "strip=false", "opt-level=1", "codegen-units=16"] {
        command.arg("--config").arg(format!("profile.release.{setting}"));
    }
    shell::run(command.arg("--target-dir").arg(&built).env("RUSTFLAGS", FLAGS))?;
    Ok(built.join(host).join("release"))
}

fn start(programs: &Path, folder: &Path, target: &str, minutes: u64) -> anyhow::Result<Child> {
    let found = folder.join("found").join(target);
    let corpus = folder.join("corpus").join(target);
    std::fs::create_dir_all(&found)?;
    std::fs::create_dir_all(&corpus)?;
    let mut command = Command::new(programs.join(format!("fuzz-{target}")));
    command.arg(corpus).arg(folder.join("seeds").join(target));
    command
        .arg(format!("-max_total_time={}", minutes * 60))
        .arg(format!("-artifact_prefix={}/", found.display()));
    command.args(["-timeout=20", "-rss_limit_mb=4096", "-max_len=8192", "-print_final_stats=1"]);
    command.spawn().with_context(|| format!("can't start the fuzzing of {target}"))
}
