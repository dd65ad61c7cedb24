//! What the acts share: a server with users, a copy of the example's repository, and the ways to call both.

use crate::shell::{self, output, root, say};
use anyhow::{Context, ensure};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that the demo has started.
struct Server {
    child: Child,
    url: String,
}

/// The stage of the demo.
pub(super) struct Stage {
    binary: PathBuf,
    path: OsString,
    folder: tempfile::TempDir,
    server: Server,
    admin: String,
    reviewer: String,
    began: Instant,
}

/// The path of somebody's shell on which `trueline` and `python` are.
fn path_with(binary: &Path, python: &Path) -> anyhow::Result<OsString> {
    let own = |path: &Path| path.parent().map(Path::to_owned).context("a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [own(binary)?, own(python)?].into_iter().chain(std::env::split_paths(&path));
    Ok(std::env::join_paths(folders)?)
}

/// Makes the folder a repository with one commit, so that runs can be told by it.
fn commit(folder: &Path) -> anyhow::Result<()> {
    let author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"];
    for command in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--message", "The model"]]
    {
        shell::run(Command::new("git").current_dir(folder).args(author).args(command))?;
    }
    Ok(())
}

fn start(binary: &Path, data_dir: &Path, path: &OsStr, token: Option<&str>) -> anyhow::Result<Server> {
    let mut command = Command::new(binary);
    command.env("PATH", path);
    command.args(["server", "--port", "0", "--log", "json", "--data-dir"]).arg(data_dir);
    // Steps of pipelines log to the server with it.
    if let Some(token) = token {
        command.env("MLFLOW_TRACKING_TOKEN", token).env("TRUELINE_TOKEN", token);
    }
    let mut child = command.stderr(Stdio::piped()).spawn().context("the server")?;
    let mut lines = BufReader::new(child.stderr.take().context("its log")?);
    loop {
        let mut line = String::new();
        ensure!(lines.read_line(&mut line)? > 0, "the server ended before it listened");
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = event["address"].as_str() {
            let ready = event["ready_ms"].to_string();
            say(format!("the server was ready after {ready} ms: http://{address}"));
            let url = format!("http://{address}");
            std::thread::spawn(move || for _ in lines.lines() {});
            return Ok(Server { child, url });
        }
    }
}

fn stop(server: &mut Server) -> anyhow::Result<()> {
    shell::run(Command::new("kill").args(["-TERM", &server.child.id().to_string()]))?;
    let status = server.child.wait()?;
    ensure!(status.success(), "the server stopped with {status}");
    Ok(())
}

impl Stage {
    /// A server with an admin, Ada, and a reviewer, Rita; and the example as a repository of its own.
    pub(super) fn set(binary: PathBuf, python: PathBuf) -> anyhow::Result<Self> {
        let began = Instant::now();
        let folder = tempfile::Builder::new().prefix("trueline-demo").tempdir()?;
        let mut copy = Command::new("cp");
        shell::run(copy.arg("-r").arg(root().join("examples/flights")).arg(folder.path()))?;
        commit(&folder.path().join("flights"))?;
        let data_dir = folder.path().join("server");
        let path = path_with(&binary, &python)?;
        let mut server = start(&binary, &data_dir, &path, None)?;
        let add = |url: &str| {
            let mut command = Command::new(&binary);
            command.args(["user", "add", "ada", "--role", "admin", "--json"]).env("TRUELINE_URL", url);
            output(&mut command).context("the first user")
        };
        let made: Value = serde_json::from_str(&add(&server.url)?)?;
        let admin = made["token"].as_str().context("the first user's token")?.to_owned();
        stop(&mut server)?;
        let server = start(&binary, &data_dir, &path, Some(&admin))?;
        let mut stage = Self { binary, path, folder, server, admin, reviewer: String::new(), began };
        stage.trueline(&["user", "add", "rita", "--role", "reviewer"])?;
        let made = stage.json(&["token", "create", "rita"])?;
        stage.reviewer = made["token"].as_str().context("the reviewer's token")?.to_owned();
        Ok(stage)
    }

    pub(super) fn url(&self) -> &str {
        &self.server.url
    }

    pub(super) fn admin(&self) -> &str {
        &self.admin
    }

    pub(super) fn reviewer(&self) -> &str {
        &self.reviewer
    }

    /// Where the acts' files are.
    pub(super) fn repository(&self) -> PathBuf {
        self.folder.path().join("flights")
    }

    pub(super) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("server")
    }

    pub(super) fn act(&self, number: u32, title: &str) {
        println!("\nAct {number} · {title}  [{:.1} s]", self.seconds());
    }

    pub(super) fn seconds(&self) -> f32 {
        self.began.elapsed().as_secs_f32()
    }

    /// A program in the repository, as somebody's shell would start it: with `trueline` and `python` on the path.
    fn program(&self, program: &str, token: &str) -> anyhow::Result<Command> {
        let mut command =
            Command::new(if program == "trueline" { self.binary.as_os_str() } else { program.as_ref() });
        command.current_dir(self.repository()).env("PATH", &self.path);
        command.env("TRUELINE_URL", &self.server.url).env("TRUELINE_TOKEN", token);
        command.env("MLFLOW_TRACKING_URI", &self.server.url).env("MLFLOW_TRACKING_TOKEN", token);
        command.env("MLFLOW_DISABLE_TELEMETRY", "true");
        Ok(command)
    }

    /// A command of the repository's owner, to be started.
    pub(super) fn command(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = self.program(program, &self.admin)?;
        command.args(arguments);
        Ok(command)
    }

    /// Runs `trueline` as Ada; what it prints is shown.
    pub(super) fn trueline(&self, arguments: &[&str]) -> anyhow::Result<()> {
        shell::run(&mut self.command("trueline", arguments)?)
    }

    /// Runs `trueline` as Rita.
    pub(super) fn trueline_as_reviewer(&self, arguments: &[&str]) -> anyhow::Result<()> {
        shell::run(self.program("trueline", &self.reviewer)?.args(arguments))
    }

    /// Runs `trueline` as Ada; whether it did what it was asked.
    pub(super) fn succeeds(&self, arguments: &[&str]) -> anyhow::Result<bool> {
        Ok(self.command("trueline", arguments)?.status()?.success())
    }

    /// Runs a command of `trueline` that must be refused; answers why it was.
    pub(super) fn refused(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let done = self.command("trueline", arguments)?.output()?;
        ensure!(done.status.code() == Some(1), "`trueline {}` was not refused", arguments.join(" "));
        Ok(String::from_utf8_lossy(&done.stderr).trim().to_owned())
    }

    /// Runs `trueline` as Ada and reads the JSON that it prints.
    pub(super) fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let done = self.command("trueline", arguments)?.arg("--json").stderr(Stdio::inherit()).output()?;
        ensure!(done.status.success(), "`trueline {}` ended with {}", arguments.join(" "), done.status);
        Ok(serde_json::from_slice(&done.stdout)?)
    }

    /// What the server tells Ada at a path of its REST API.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = ureq::get(format!("{}{path}", self.url()));
        let request = request.header("authorization", format!("Bearer {}", self.admin));
        let text = request.call().context(path.to_owned())?.body_mut().read_to_string()?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Runs the repository's own programs.
    pub(super) fn own(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        shell::run(&mut self.command(program, arguments)?)
    }

    /// Stays until the server ends.
    pub(super) fn wait(mut self) -> anyhow::Result<()> {
        self.server.child.wait()?;
        Ok(())
    }

    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        stop(&mut self.server)
    }
}

/// Asks until there is something.
pub(super) fn until<T>(
    limit: Duration,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = ask()? {
            return Ok(found);
        }
        ensure!(began.elapsed() < limit, "nothing had come of it after {} s", limit.as_secs());
        std::thread::sleep(Duration::from_millis(300));
    }
}
