//! `cargo xtask fuzz`: builds the fuzz targets with coverage counters, which needs no nightly compiler, and runs them side
//! by side from the seeds and from what earlier runs found. What they find is kept as a file and told.

use crate::shell::{self, cargo, say};
use anyhow::{Context, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

const TARGETS: [&str; 4] = ["filters", "bodies", "scoring", "models"];
const MINUTES: u64 = 20;
/// Tells this program that cargo calls it in the place of the compiler.
pub(crate) const IN_PLACE_OF_COMPILER: &str = "TRUELINE_FUZZ_COMPILES";
/// Counters and what is compared, for the fuzzer; overflows and assertions, for us. Cargo does not know of these flags: whoever
/// changes them deletes what was built with others.
const COUNTED: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Coverflow-checks",
    "--cfg=fuzzing",
];
/// Crates of others that read what comes in. Counters in every crate would only make building and running slow.
const READERS: [&str; 6] = ["csv", "csv_core", "graphql_parser", "parquet", "prost", "serde_json"];

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let minutes = match arguments {
        [] => MINUTES,
        [flag, minutes] if flag == "--minutes" => {
            minutes.parse().context("--minutes takes a whole number")?
        }
        _ => bail!("usage: cargo xtask fuzz [--minutes <n>]"),
    };
    let folder = shell::target_directory()?.join("fuzz");
    let programs = build(&folder)?;
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

/// Build scripts and macros run on this machine without counters, so the target is named. This program stands in for the
/// compiler, which is the way of a stable cargo to give flags to some crates only.
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
    let settings =
        ["lto=false", "strip=false", "opt-level=1", "codegen-units=16", "package.trueline-web.opt-level=0"];
    for setting in settings {
        command.arg("--config").arg(format!("profile.release.{setting}"));
    }
    command.arg("--target-dir").arg(&built);
    command.env("RUSTC_WRAPPER", std::env::current_exe()?).env(IN_PLACE_OF_COMPILER, "1");
    shell::run(&mut command)?;
    Ok(built.join(host).join("release"))
}

/// Calls the compiler that cargo names, with more flags for the crates that are counted.
pub(crate) fn compile() -> anyhow::Result<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let compiler = words.next().context("cargo names the compiler first")?;
    let words: Vec<OsString> = words.collect();
    let mut command = Command::new(compiler);
    command.args(&words).args(further_flags(&words));
    let status = command.status().context("can't start the compiler")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The flags that a crate gets besides cargo's own, by its name and by whether it is for the target.
fn further_flags(words: &[OsString]) -> &'static [&'static str] {
    let is_for_target = words.iter().any(|word| word == "--target");
    let name = words.iter().skip_while(|word| *word != "--crate-name").nth(1).and_then(|name| name.to_str());
    match name {
        Some(name) if is_for_target && is_counted(name) => &COUNTED,
        _ => &[],
    }
}

/// Our own, but for the pages, which only write; the fuzz targets themselves, which `libfuzzer` starts; and what reads for us.
fn is_counted(name: &str) -> bool {
    let own = name.starts_with("trueline") || name.starts_with("fuzz_");
    own && name != "trueline_web" || READERS.contains(&name)
}

fn start(programs: &Path, folder: &Path, target: &str, minutes: u64) -> anyhow::Result<Child> {
    let found = folder.join("found").join(target);
    let corpus = folder.join("corpus").join(target);
    std::fs::create_dir_all(&found)?;
    std::fs::create_dir_all(&corpus)?;
    // Written by the program itself, before it looks there.
    let seeds = folder.join("seeds").join(target);
    std::fs::create_dir_all(&seeds)?;
    let mut command = Command::new(programs.join(format!("fuzz-{target}")));
    command.arg(corpus).arg(&seeds).env("TRUELINE_FUZZ_SEEDS", &seeds);
    command
        .arg(format!("-max_total_time={}", minutes * 60))
        .arg(format!("-artifact_prefix={}/", found.display()));
    command.args(["-timeout=20", "-rss_limit_mb=4096", "-max_len=8192", "-print_final_stats=1"]);
    command.spawn().with_context(|| format!("can't start the fuzzing of {target}"))
}
