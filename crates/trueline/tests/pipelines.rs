//! Pipelines through the binary: what `trueline apply` declares runs in order and at once, is skipped when nothing changed,
//! is tried again, ended in time, taken up or fenced after a crash, and started by triggers.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server, text, wait_until};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    fn new(declaration: &str) -> Self {
        let project = Self { folder: tempfile::tempdir().expect("a folder") };
        project.write("trueline.yaml", declaration);
        project
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path().join(name), content).expect("a file");
    }

    fn file(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }

    fn apply(&self, server: &Server) -> Value {
        let done = server.cli(&["apply", "-f", &self.file("trueline.yaml"), "--json"]);
        assert!(done.status.success(), "{}", text(&done.stderr));
        serde_json::from_slice(&done.stdout).expect("JSON")
    }
}

fn start(server: &Server, pipeline: &str) -> String {
    let run = server.ok(&format!("/api/v1/pipelines/{pipeline}/runs"), json!({}));
    run["id"].as_str().expect("an id").to_owned()
}

fn run(server: &Server, id: &str) -> Value {
    server.get(&format!("/api/v1/pipeline-runs/{id}")).1
}

fn ended(server: &Server, id: &str) -> Value {
    wait_until("the run has ended", || run(server, id)["state"] != "running");
    run(server, id)
}

fn step<'a>(run: &'a Value, name: &str) -> &'a Value {
    let steps = run["steps"].as_array().expect("steps");
    steps.iter().find(|s| s["step"] == name).unwrap_or_else(|| panic!("no step {name}: {run}"))
}

fn states(run: &Value) -> Vec<String> {
    let steps = run["steps"].as_array().expect("steps");
    steps.iter().map(|s| format!("{} {}", s["step"], s["state"]).replace('"', "")).collect()
}

fn log(server: &Server, run: &str, step: &str) -> String {
    let done = server.cli(&["pipeline", "logs", run, step, "--follow"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    text(&done.stdout)
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

const CHAIN: &str = "
endpoints:
  - {name: late-flights, log: required, sticky_header: X-Flight}
pipelines:
  - name: chain
    params: {word: hello}
    steps:
      - {name: prepare, command: 'sh prepare.sh ${word}', inputs: [in.txt], outputs: [data/a.txt]}
      - {name: left, command: 'cat data/a.txt > left.txt; echo left $MLFLOW_RUN_ID', inputs: [data], outputs: [left.txt]}
      - {name: right, command: 'cat data/a.txt in.txt > right.txt', inputs: [data, in.txt], outputs: [right.txt]}
      - {name: join, command: 'cat left.txt right.txt | tee all.txt', inputs: [left.txt, right.txt], outputs: [all.txt]}
";

fn chain() -> Project {
    let project = Project::new(CHAIN);
    project.write("in.txt", "in\n");
    project.write("prepare.sh", "mkdir -p data; { echo $1; cat in.txt; } > data/a.txt; echo prepared\n");
    project
}

fn a_pipeline_is_applied_run_and_skipped(on: On) {
    let server = Server::start(on);
    let project = chain();
    let plan = server.cli(&["plan", "-f", &project.file("trueline.yaml"), "--json"]);
    let plan: Value = serde_json::from_slice(&plan.stdout).expect("JSON");
    assert_eq!((&plan["changed"], &plan["would_change"]), (&json!(0), &json!(2)), "{plan}");
    assert_eq!(project.apply(&server)["changed"], 2);
    let before = server.get("/api/v1/ledger/events?limit=1").1["events"][0]["id"].clone();
    assert_eq!(project.apply(&server)["changed"], 0);
    assert_eq!(server.get("/api/v1/ledger/events?limit=1").1["events"][0]["id"], before, "no event either");

    let first = ended(&server, &start(&server, "chain"));
    assert_eq!(
        states(&first),
        ["prepare succeeded", "left succeeded", "right succeeded", "join succeeded"],
        "{first}"
    );
    let id = first["id"].as_str().expect("an id");
    assert_eq!(log(&server, id, "join"), "hello\nin\nhello\nin\nin\n");
    let left = &step(&first, "left")["attempts"][0];
    let mlflow = left["run"].as_str().expect("a run");
    assert_eq!(log(&server, id, "left"), format!("left {mlflow}\n"));
    let status = server.get(&format!("/api/2.0/mlflow/runs/get?run_id={mlflow}")).1;
    assert_eq!(status["run"]["info"]["status"], "FINISHED");
    let capture = server.get(&format!("/api/v1/runs/{mlflow}/capture")).1;
    assert!(capture["inputs"]["data/a.txt"].is_string(), "{capture}");
    assert!(!project.path().join("all.txt").exists(), "steps run in a copy");

    for (path, shown) in [
        ("pipelines".to_owned(), "chain"),
        ("pipelines/chain".to_owned(), "after left, right"),
        (format!("pipeline-runs/{id}"), "prepared"),
    ] {
        let (status, page) = server.call_bytes("GET", &format!("/p/default/{path}"), None, &[]);
        assert!(status == 200 && text(&page).contains(shown), "{path}: {status} {}", text(&page));
    }

    let second = ended(&server, &start(&server, "chain"));
    assert!(states(&second).iter().all(|s| s.ends_with("skipped")), "{second}");
    assert_eq!(step(&second, "join")["same_as"], json!(id));

    project.write("in.txt", "other\n");
    let third = ended(&server, &start(&server, "chain"));
    assert!(states(&third).iter().all(|s| s.ends_with("succeeded")), "{third}");
    project.write("in.txt", "in\n");
    let back = ended(&server, &start(&server, "chain"));
    assert!(states(&back).iter().all(|s| s.ends_with("skipped")), "{back}");
    project.write("prepare.sh", "mkdir -p data; { echo $1; cat in.txt; } > data/a.txt; echo prepared anew\n");
    let fourth = ended(&server, &start(&server, "chain"));
    assert_eq!(
        states(&fourth),
        ["prepare succeeded", "left skipped", "right skipped", "join skipped"],
        "what the script made is the same: {fourth}"
    );
    let other = server.cli(&["pipeline", "run", "chain", "--param", "word=bye", "--wait"]);
    assert!(other.status.success(), "{}", text(&other.stderr));
    let unknown = server.cli(&["pipeline", "run", "chain", "--param", "wort=bye"]);
    assert!(text(&unknown.stderr).contains("no param `wort`"), "{}", text(&unknown.stderr));
}

#[test]
fn a_pipeline_is_applied_run_and_skipped_on_sqlite() {
    a_pipeline_is_applied_run_and_skipped(On::Sqlite);
}

#[test]
fn a_pipeline_is_applied_run_and_skipped_on_postgresql() {
    a_pipeline_is_applied_run_and_skipped(On::Postgres);
}

#[test]
fn steps_that_do_not_wait_for_each_other_run_at_once() {
    let server = Server::start(On::Sqlite);
    // Each waits for a sign of the other, which one after the other would never see.
    let meet = "n=0; touch $HERE/$TRUELINE_STEP; until [ -e $HERE/a ] && [ -e $HERE/b ]; do sleep 0.02; done";
    let project = Project::new("");
    let here = project.path().display().to_string();
    project.write(
        "trueline.yaml",
        &json!({ "pipelines": [{ "name": "meet", "steps": [
            { "name": "a", "command": meet, "environment": { "HERE": here }, "timeout": "15s" },
            { "name": "b", "command": meet, "environment": { "HERE": here }, "timeout": "15s" },
        ] }] })
        .to_string(),
    );
    project.apply(&server);
    let done = ended(&server, &start(&server, "meet"));
    assert_eq!(states(&done), ["a succeeded", "b succeeded"], "{done}");
}

#[test]
fn a_failure_is_tried_again_and_stops_those_that_wait_for_it() {
    let server = Server::start(On::Sqlite);
    let project = Project::new(
        "
pipelines:
  - name: hard
    steps:
      - {name: flaky, command: 'echo try $TRUELINE_ATTEMPT_NUMBER; test $TRUELINE_ATTEMPT_NUMBER = 2', retries: 2, retry_wait: 1ms}
      - {name: broken, command: 'echo broken; exit 3', needs: [flaky], retries: 1, retry_wait: 1ms}
      - {name: liar, command: 'echo nothing made', outputs: [made.txt]}
      - {name: after, command: 'echo never', needs: [broken]}
      - {name: beyond, command: 'echo never', needs: [after]}
",
    );
    project.apply(&server);
    let done = ended(&server, &start(&server, "hard"));
    assert_eq!(done["state"], "failed");
    assert_eq!(
        states(&done),
        ["flaky succeeded", "broken failed", "liar failed", "after cancelled", "beyond cancelled"],
        "{done}"
    );
    let attempts = |name: &str| step(&done, name)["attempts"].as_array().map_or(0, Vec::len);
    assert_eq!((attempts("flaky"), attempts("broken"), attempts("after")), (2, 2, 0));
    assert_eq!(step(&done, "broken")["attempts"][1]["exit_code"], 3);
    assert!(step(&done, "liar")["error"].as_str().is_some_and(|e| e.contains("did not make")), "{done}");
    assert!(step(&done, "after")["error"].as_str().is_some_and(|e| e.contains("`broken` failed")), "{done}");
    assert_eq!(log(&server, done["id"].as_str().expect("an id"), "flaky"), "try 2\n");
}

#[test]
fn a_timeout_ends_grandchildren_too() {
    let server = Server::start(On::Sqlite);
    let project = Project::new("");
    project.write(
        "trueline.yaml",
        &json!({ "pipelines": [{ "name": "slow", "steps": [{ "name": "sleep", "timeout": "2s", "command":
            "setsid sh -c 'trap \"\" TERM; echo $$; sleep 1000' & trap '' TERM; sleep 1000" }] }] })
        .to_string(),
    );
    project.apply(&server);
    let done = ended(&server, &start(&server, "slow"));
    assert_eq!(states(&done), ["sleep timed_out"], "{done}");
    let pid = log(&server, done["id"].as_str().expect("an id"), "sleep");
    assert!(pid.trim().parse::<u32>().is_ok(), "{pid}");
    assert!(!is_alive(&pid), "a grandchild lives on as {pid}");
}

#[test]
fn a_cancelled_run_ends_its_processes() {
    let server = Server::start(On::Sqlite);
    let project = Project::new(
        "
pipelines:
  - name: long
    steps:
      - {name: sleep, command: 'echo $$; sleep 1000'}
      - {name: after, command: 'echo never', needs: [sleep]}
",
    );
    project.apply(&server);
    let id = start(&server, "long");
    let path = format!("/api/v1/pipeline-runs/{id}/steps/sleep/log");
    wait_until("it says its pid", || server.get(&path).1["text"].as_str().is_some_and(|t| t.ends_with('\n')));
    let pid = server.get(&path).1["text"].as_str().expect("text").to_owned();
    assert!(is_alive(&pid));
    let done = server.cli(&["pipeline", "cancel", &id, "--reason", "no need"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    wait_until("its process has ended", || !is_alive(&pid));
    let run = run(&server, &id);
    assert_eq!(
        (&run["state"], states(&run)),
        (&json!("cancelled"), vec!["sleep cancelled".to_owned(), "after cancelled".to_owned()])
    );
    assert!(!server.cli(&["pipeline", "cancel", &id]).status.success(), "it has ended already");
}

/// A pipeline whose step says its pid and waits for a file.
fn waiting(server: &Server) -> (Project, String, String) {
    let project = Project::new("");
    let go = project.path().join("go").display().to_string();
    project.write(
        "trueline.yaml",
        &json!({ "pipelines": [{ "name": "wait", "steps": [
            { "name": "first", "command": "echo $$; until [ -e $GO ]; do sleep 0.02; done; echo done > made.txt; echo end",
              "environment": { "GO": go }, "outputs": ["made.txt"] },
            { "name": "second", "command": "cat made.txt", "inputs": ["made.txt"] },
        ] }] })
        .to_string(),
    );
    project.apply(server);
    let id = start(server, "wait");
    let path = format!("/api/v1/pipeline-runs/{id}/steps/first/log");
    wait_until("it says its pid", || server.get(&path).1["text"].as_str().is_some_and(|t| t.ends_with('\n')));
    let pid = server.get(&path).1["text"].as_str().expect("text").trim().to_owned();
    (project, id, pid)
}

#[test]
fn a_step_outlives_its_server_and_is_adopted() {
    let server = Server::start(On::Sqlite);
    let (project, id, pid) = waiting(&server);
    let server = server.kill_and_restart();
    assert!(is_alive(&pid), "the step went on");
    project.write("go", "");
    let done = ended(&server, &id);
    assert_eq!(states(&done), ["first succeeded", "second succeeded"], "{done}");
    assert_eq!(step(&done, "first")["attempts"].as_array().map_or(0, Vec::len), 1, "{done}");
    assert_eq!(log(&server, &id, "first"), format!("{pid}\nend\n"));
    assert_eq!(log(&server, &id, "second"), "done\n");
}

#[test]
fn a_step_that_ended_while_its_server_was_gone_is_accepted() {
    let server = Server::start(On::Sqlite);
    let (project, id, pid) = waiting(&server);
    let stopped = server.stop();
    assert!(is_alive(&pid), "a server that stops leaves its steps to the next one");
    project.write("go", "");
    wait_until("the step has ended", || !is_alive(&pid));
    let server = Server::start_in(&stopped.data_dir, None);
    let done = ended(&server, &id);
    assert_eq!(states(&done), ["first succeeded", "second succeeded"], "{done}");
    assert_eq!(step(&done, "first")["attempts"].as_array().map_or(0, Vec::len), 1, "{done}");
}

#[test]
fn a_step_that_died_with_its_server_is_fenced_and_run_again() {
    let server = Server::start(On::Sqlite);
    let (project, id, pid) = waiting(&server);
    let (keeper, _) = keeper_of(&server);
    let data_dir = server.data_dir.clone();
    // Server and keeper die at once; what the keeper had started lives on without anybody.
    let killed =
        Command::new("kill").args(["-9", &server.pid().to_string(), &keeper]).status().expect("kill");
    assert!(killed.success());
    assert!(data_dir.join("pipelines").exists());
    let server = server.kill_and_restart();
    wait_until("what was left of it has ended", || !is_alive(&pid));
    project.write("go", "");
    let done = ended(&server, &id);
    assert_eq!(states(&done), ["first succeeded", "second succeeded"], "{done}");
    let attempts = step(&done, "first")["attempts"].as_array().expect("attempts").clone();
    assert_eq!(attempts.len(), 2, "{done}");
    assert_eq!((&attempts[0]["state"], &attempts[1]["state"]), (&json!("fenced"), &json!("succeeded")));
    let lost = attempts[0]["run"].as_str().expect("a run");
    let status = server.get(&format!("/api/2.0/mlflow/runs/get?run_id={lost}")).1;
    assert_eq!(status["run"]["info"]["status"], "KILLED");
}

/// The pid of the keeper of the only attempt of a server, and the attempt's folder.
fn keeper_of(server: &Server) -> (String, std::path::PathBuf) {
    let attempts = server.data_dir.join("pipelines/attempts");
    let folder = std::fs::read_dir(attempts).expect("attempts").flatten().next().expect("an attempt").path();
    let claim = std::fs::read(folder.join("claim")).expect("a claim");
    let claim: Value = serde_json::from_slice(&claim).expect("JSON");
    (claim["keeper"]["pid"].to_string(), folder)
}

#[test]
fn a_trigger_starts_a_pipeline_once_and_then_cools_down() {
    let server = Server::start(On::Sqlite);
    let project = Project::new(
        "
pipelines:
  - name: welcome
    params: {name: nobody}
    steps:
      - {name: greet, command: 'echo ${name}; echo $TRUELINE_TRIGGER_EVENT'}
    triggers:
      - {name: made, kind: event, action: experiment.created, cooldown: 1h, params: {name: /name}}
      - {name: drift, kind: alert, monitor: psi, cooldown: 7d, clock: event}
",
    );
    // What happened before the pipeline was declared starts nothing.
    server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "before" }));
    project.apply(&server);
    server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "ours" }));
    let runs =
        || server.get("/api/v1/pipelines/welcome/runs").1["runs"].as_array().cloned().unwrap_or_default();
    wait_until("the trigger has started a run", || !runs().is_empty());
    let id = runs()[0]["id"].as_str().expect("an id").to_owned();
    let done = ended(&server, &id);
    assert_eq!(done["reason"]["kind"], "trigger");
    assert_eq!(
        (&done["reason"]["trigger"], &done["reason"]["action"]),
        (&json!("made"), &json!("experiment.created"))
    );
    assert_eq!(done["created_by"], "system:pipelines");
    let event = done["reason"]["event"].as_str().expect("an event");
    let cause = server.get(&format!("/api/v1/ledger/events/{event}")).1;
    assert_eq!(cause["payload"]["name"], "ours", "{cause}");
    assert_eq!(log(&server, &id, "greet"), format!("ours\n{event}\n"));

    server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "theirs" }));
    let fired = || {
        let events = server.get("/api/v1/ledger/events?action=pipeline.trigger.fired").1;
        let events = events["events"].as_array().cloned().unwrap_or_default();
        events
            .iter()
            .map(|e| e["payload"]["outcome"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    wait_until("the second event was seen", || fired().contains(&"cooling_down".to_owned()));
    assert_eq!(runs().len(), 1, "the cooldown holds");
    let server = server.kill_and_restart();
    server.settle();
    let runs = server.get("/api/v1/pipelines/welcome/runs").1;
    assert_eq!(runs["runs"].as_array().map_or(0, Vec::len), 1, "events are not answered twice: {runs}");
}

#[test]
fn a_trigger_waits_for_the_run_that_it_has_started() {
    let server = Server::start(On::Sqlite);
    let project = Project::new(
        "
pipelines:
  - name: slow
    params: {go: ''}
    steps:
      - {name: wait, command: 'until [ -e ${go} ]; do sleep 0.05; done', cache: false}
    triggers:
      - {name: made, kind: event, action: experiment.created, cooldown: 0s}
",
    );
    let go = project.file("go");
    let declared = std::fs::read_to_string(project.file("trueline.yaml")).expect("the declaration");
    project.write("trueline.yaml", &declared.replace("go: ''", &format!("go: '{go}'")));
    project.apply(&server);
    let runs = || server.get("/api/v1/pipelines/slow/runs").1["runs"].as_array().cloned().unwrap_or_default();
    let outcomes = || {
        let events = server.get("/api/v1/ledger/events?action=pipeline.trigger.fired").1;
        let events = events["events"].as_array().cloned().unwrap_or_default();
        events.iter().map(|e| e["payload"]["outcome"].clone()).collect::<Vec<_>>()
    };
    server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "first" }));
    wait_until("the trigger has started a run", || runs().len() == 1);
    server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "second" }));
    wait_until("the second event was seen", || outcomes().contains(&json!("busy")));
    assert_eq!(runs().len(), 1);

    project.write("go", "");
    ended(&server, runs()[0]["id"].as_str().expect("an id"));
    server.ok("/api/2.0/mlflow/experiments/create", json!({ "name": "third" }));
    wait_until("the trigger starts again", || runs().len() == 2);
}

#[test]
fn a_declaration_that_breaks_a_rule_changes_nothing() {
    let server = Server::start(On::Sqlite);
    let project = Project::new(
        "
endpoints: [{name: fine}]
pipelines:
  - name: round
    steps:
      - {name: a, command: x, needs: [b]}
      - {name: b, command: x, needs: [a]}
",
    );
    let refused = server.cli(&["apply", "-f", &project.file("trueline.yaml")]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("a → b → a"), "{}", text(&refused.stderr));
    assert_eq!(server.get("/api/v1/endpoints").1["endpoints"], json!([]));
    let elsewhere = server.call(
        "PUT",
        "/api/v1/pipelines/p",
        Some(json!({ "directory": "/nowhere", "declaration": { "name": "p", "steps": [{ "name": "a", "command": "x" }] } }).to_string().into_bytes()),
        &[],
    );
    assert_eq!(elsewhere.0, 400, "{}", elsewhere.1);
}
