//! `trueline plan` and `trueline apply`: every kind of thing that a repository declares is made, kept and changed, and a mistake
//! anywhere leaves nothing half done.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server, text};
use serde_json::{Value, json};

const FEATURES: &str = "
entities:
  - { name: airport, join_key: origin }
  - { name: tailnum }
views:
  - { name: weather, dataset: weather, entities: [airport], timestamp: time, ttl: 2h, features: [temp] }
  - { name: planes, dataset: planes, entities: [tailnum], features: [seats] }
";
const POLICY: &str = "
gates:
  - { name: auc, kind: metric, metric: auc, must_be: at_least, bound: 0.7 }
approvals: { required: 2 }
";
const DECLARED: &str = "
features: features.yaml
models:
  - { name: flight-delay, policy: gates/policy.yaml }
  - { name: other-model }
endpoints:
  - { name: delays, log: required }
monitors:
  - name: delays
    endpoint: delays
    lateness: 1h
    label_wait: 2d
    reference: training
    quality: [{ metric: auc, enter: 0.66, exit: 0.68 }]
    webhooks: ['https://hooks.example/secret']
pipelines:
  - name: retrain
    steps: [{ name: train, command: 'true' }]
    triggers: [{ name: drift, kind: alert, monitor: delays }]
";

struct Repository {
    server: Server,
    folder: tempfile::TempDir,
}

impl Repository {
    fn new(on: On) -> Self {
        let repository = Self { server: Server::start(on), folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(repository.folder.path().join("gates")).unwrap();
        repository.write("features.yaml", FEATURES);
        repository.write("gates/policy.yaml", POLICY);
        repository.write("trueline.yaml", DECLARED);
        repository
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    fn run(&self, command: &str) -> std::process::Output {
        let file = self.folder.path().join("trueline.yaml");
        self.server.cli(&[command, "-f", file.to_str().unwrap(), "--json"])
    }

    /// Kind, name and what becomes of each thing that is not as declared.
    fn changes(&self, command: &str) -> Vec<String> {
        let done = self.run(command);
        assert!(done.status.success(), "{}", text(&done.stderr));
        let told: Value = serde_json::from_slice(&done.stdout).unwrap();
        let word = |c: &Value, f: &str| c[f].as_str().unwrap().to_owned();
        let line = |c: &Value| format!("{} {} {}", word(c, "act"), word(c, "kind"), word(c, "name"));
        let all = told["changes"].as_array().unwrap().iter().map(line);
        all.filter(|line| !line.starts_with("keep")).collect()
    }

    fn refused(&self) -> String {
        let done = self.run("apply");
        assert_eq!(done.status.code(), Some(1), "{}", text(&done.stdout));
        text(&done.stderr)
    }

    fn events(&self) -> usize {
        let (_, events) = self.server.get("/api/v1/ledger/events?limit=500");
        events["events"].as_array().unwrap().len()
    }
}

fn all_that_is_declared_is_made_once(on: On) {
    let repository = Repository::new(on);
    let all = [
        "create entity airport",
        "create entity tailnum",
        "create feature view weather",
        "create feature view planes",
        "create model flight-delay",
        "create release policy flight-delay",
        "create model other-model",
        "create endpoint delays",
        "create monitor delays",
        "create pipeline retrain",
    ];
    assert_eq!(repository.changes("plan"), all);
    assert_eq!(repository.changes("apply"), all, "a plan has made nothing");
    let server = &repository.server;
    let (_, policy) = server.get("/api/v1/models/flight-delay/policy");
    assert_eq!(policy["policy"]["approvals"]["required"], 2, "{policy}");
    let (_, monitor) = server.get("/api/v1/monitors/delays");
    let spec = &monitor["spec"];
    assert_eq!(
        [&spec["window_ms"], &spec["lateness_ms"], &spec["label_wait_ms"], &spec["reference"]],
        [&json!(604_800_000), &json!(3_600_000), &json!(172_800_000), &json!("training")]
    );
    assert!(!monitor.to_string().contains("secret"), "{monitor}");

    let before = repository.events();
    assert_eq!(repository.changes("apply"), [""; 0]);
    assert_eq!(repository.events(), before, "what is as declared is left alone");

    repository.write("features.yaml", &FEATURES.replace("ttl: 2h", "ttl: 3h"));
    repository.write("gates/policy.yaml", &POLICY.replace("0.7", "0.8"));
    repository.write("trueline.yaml", &DECLARED.replace("/secret", "/other").replace("'true'", "'false'"));
    let some = [
        "change feature view weather",
        "change release policy flight-delay",
        "change monitor delays",
        "change pipeline retrain",
    ];
    assert_eq!(repository.changes("apply"), some);
    assert_eq!(repository.changes("apply"), [""; 0]);
    assert_eq!(server.get("/api/v1/feature-views/weather").1["reference"], "weather@2");
}

#[test]
fn all_that_is_declared_is_made_once_on_sqlite() {
    all_that_is_declared_is_made_once(On::Sqlite);
}

#[test]
fn all_that_is_declared_is_made_once_on_postgresql() {
    all_that_is_declared_is_made_once(On::Postgres);
}

#[test]
fn a_mistake_anywhere_leaves_everything_as_it_was() {
    let repository = Repository::new(On::Sqlite);
    let before = repository.events();
    let broken = |name: &str, content: &str, whole: &str, says: &str| {
        repository.write(name, content);
        let told = repository.refused();
        assert!(told.contains(says), "{says}: {told}");
        assert_eq!(repository.events(), before, "{says}");
        repository.write(name, whole);
    };
    broken("gates/policy.yaml", "gates: [{ name: x, kind: vibes }]", POLICY, "is no policy");
    broken("features.yaml", "views: [{ name: x }]", FEATURES, "features.yaml can't be read");
    let file = |from: &str, to: &str| DECLARED.replace(from, to);
    broken("trueline.yaml", &file("gates/", "nowhere/"), DECLARED, "can't read");
    broken("trueline.yaml", &file("exit: 0.68", "exit: 0.6"), DECLARED, "monitor `delays`: quality");
    broken("trueline.yaml", &file("other-model", "flight-delay"), DECLARED, "two models are called");
    broken("trueline.yaml", &file("other-model", "other/model"), DECLARED, "cannot contain '/'");
    broken("trueline.yaml", &file("name: delays, log", "name: De lays, log"), DECLARED, "`De lays`");
    broken(
        "gates/policy.yaml",
        &POLICY.replace("required: 2", "required: 200"),
        POLICY,
        "at most 20 approvals",
    );
    broken("trueline.yaml", &file("1h", "1w"), DECLARED, "`1w` is no span of time");

    // What can't be changed is told before anything else is.
    repository.changes("apply");
    let before = repository.events();
    let other_window = file("lateness: 1h", "window: 1d").replace("'true'", "'false'");
    repository.write("trueline.yaml", &other_window);
    assert!(repository.refused().contains("neither can be changed"));
    repository.write("trueline.yaml", DECLARED);
    repository.write("features.yaml", &FEATURES.replace("join_key: origin", "join_key: place"));
    assert!(repository.refused().contains("entity `airport` has the key"));
    assert_eq!(repository.events(), before);
}
