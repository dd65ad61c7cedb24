//! Gates and approvals through the public door, on both databases: a version passes what its model's policy asks for,
//! or no protected alias takes it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::users::{admin_of, as_user, token_of};
use common::{BINARY, On, Server, python, sqlite, text, wait_until};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

const BOTH: [On; 2] = [On::Sqlite, On::Postgres];
/// A real model of XGBoost: two numbers in, three classes out.
const MODEL: &[u8] = include_bytes!("../../trueline-trees/tests/fixtures/dart.ubj");
const MLMODEL: &str = r#"flavors:
  xgboost:
    data: model.ubj
    model_class: xgboost.core.Booster
saved_input_example_info:
  serving_input_path: serving_input_example.json
signature:
  inputs: '[{"type": "double", "name": "amount", "required": true}, {"type": "long", "name": "n", "required": true}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]'
  params: null
"#;
const EXAMPLE: &str = r#"{"dataframe_split": {"columns": ["amount", "n"], "data": [[1.5, 2]]}}"#;

/// A server with a team: `ada` is its admin, `carl` makes versions and may review, `rita` and `sam` review, `cora` only
/// contributes.
struct Team {
    server: Server,
    tokens: Vec<(&'static str, String)>,
}

impl Team {
    fn on(on: On) -> Self {
        let server = Server::start(on);
        let ada = admin_of(&server);
        let mut team = Self { server, tokens: vec![("ada", ada)] };
        let people = [
            ("carl", vec!["contributor", "reviewer"]),
            ("rita", vec!["reviewer"]),
            ("sam", vec!["reviewer"]),
            ("cora", vec!["contributor"]),
        ];
        for (name, roles) in people {
            let roles: Vec<Value> =
                roles.iter().map(|r| json!({ "role": r, "project": "default" })).collect();
            team.done("ada", "POST", "/api/v1/users", json!({ "name": name, "roles": roles }));
            let token = token_of(&team.server, name, Some(team.token("ada")));
            team.tokens.push((name, token));
        }
        team.done("carl", "POST", "/api/2.0/mlflow/registered-models/create", json!({ "name": "delays" }));
        team
    }

    fn token(&self, who: &str) -> &str {
        self.tokens.iter().find(|(name, _)| *name == who).map(|(_, token)| token.as_str()).unwrap()
    }

    fn call(&self, who: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        as_user(&self.server, self.token(who), method, path, body)
    }

    /// A call that must succeed.
    fn done(&self, who: &str, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(who, method, path, body);
        assert!((200..300).contains(&status), "{who} {method} {path}: {status} {answer}");
        answer
    }

    fn cli(&self, who: &str, args: &[&str]) -> Output {
        let mut command = Command::new(BINARY);
        command.args(args).env("TRUELINE_URL", &self.server.url).env("TRUELINE_TOKEN", self.token(who));
        command.output().unwrap()
    }

    fn declare(&self, policy: Value) -> Value {
        self.done("ada", "PUT", "/api/v1/models/delays/policy", policy)
    }

    /// Carl trains, evaluates on `data` with this AUC, logs the model and registers it; the version's number.
    fn register(&self, auc: f64, data: &str) -> i64 {
        let body = json!({ "experiment_id": "0", "start_time": 1 });
        let made = self.done("carl", "POST", "/api/2.0/mlflow/runs/create", body);
        let run = made["run"]["info"]["run_id"].as_str().unwrap().to_owned();
        let metric = json!({ "key": "auc", "value": auc, "timestamp": 1, "step": 0 });
        let batch = json!({ "run_id": run, "metrics": [metric] });
        self.done("carl", "POST", "/api/2.0/mlflow/runs/log-batch", batch);
        let dataset =
            json!({ "name": data, "digest": format!("{data}-1"), "source_type": "local", "source": "{}" });
        let input =
            json!({ "dataset": dataset, "tags": [{ "key": "mlflow.data.context", "value": "evaluation" }] });
        let inputs = json!({ "run_id": run, "datasets": [input] });
        self.done("carl", "POST", "/api/2.0/mlflow/runs/log-inputs", inputs);
        let files = [
            ("MLmodel", MLMODEL.as_bytes()),
            ("model.ubj", MODEL),
            ("serving_input_example.json", EXAMPLE.as_bytes()),
        ];
        let bearer = format!("Bearer {}", self.token("carl"));
        for (name, bytes) in files {
            let path = format!("/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/model/{name}");
            let (status, _) =
                self.server.call("PUT", &path, Some(bytes.to_vec()), &[("authorization", &bearer)]);
            assert_eq!(status, 200);
        }
        let source = format!("mlflow-artifacts:/0/{run}/artifacts/model");
        let body = json!({ "name": "delays", "source": source, "run_id": run });
        let made = self.done("carl", "POST", "/api/2.0/mlflow/model-versions/create", body);
        made["model_version"]["version"].as_str().unwrap().parse().unwrap()
    }

    fn path(version: i64, part: &str) -> String {
        format!("/api/v1/models/delays/versions/{version}/{part}")
    }

    fn judge(&self, version: i64) -> Value {
        self.done("carl", "POST", &Self::path(version, "gate-runs"), json!({}))
    }

    fn decide(&self, who: &str, version: i64, decision: &str) -> (u16, Value) {
        let body = json!({ "decision": decision, "comment": format!("{who} has looked") });
        self.call(who, "POST", &Self::path(version, "approvals"), body)
    }

    fn state(&self, version: i64) -> Value {
        self.done("rita", "GET", &Self::path(version, "release"), json!({}))
    }

    /// Carl has the endpoint answer by the version.
    fn deploy(&self, version: i64) -> (u16, Value) {
        let body = json!({ "variants": [format!("delays/{version}")] });
        self.call("carl", "POST", "/api/v1/endpoints/delays/routes", body)
    }

    /// Carl points the alias at the version: status and message.
    fn set_alias(&self, alias: &str, version: i64) -> (u16, String) {
        let body = json!({ "name": "delays", "alias": alias, "version": version.to_string() });
        let (status, answer) = self.call("carl", "POST", "/api/2.0/mlflow/registered-models/alias", body);
        (status, answer["message"].as_str().unwrap_or_default().to_owned())
    }

    /// What the server finds when it checks files, rows and state.
    fn verification(&self) -> Value {
        let task = self.done("ada", "POST", "/api/v1/ledger/verifications", json!({}))["task"].clone();
        let path = format!("/api/v1/tasks/{}", task.as_str().unwrap());
        let mut found = Value::Null;
        wait_until("the ledger is verified", || {
            found = self.done("ada", "GET", &path, json!({}));
            found["state"] == "done"
        });
        found["result"].clone()
    }
}

fn policy() -> Value {
    json!({
        "gates": [
            { "name": "auc", "kind": "metric", "metric": "auc", "must_be": "at_least", "bound": 0.7 },
            {
                "name": "no worse", "kind": "champion_difference", "metric": "auc", "max_drop": 0.01,
                "context": "evaluation",
            },
            { "name": "schema", "kind": "schema_match" },
            { "name": "fast", "kind": "latency", "bound_ms": 250.0, "requests": 50 },
        ],
        "approvals": { "required": 2 },
    })
}

fn outcome<'v>(run: &'v Value, gate: &str) -> &'v Value {
    run["results"].as_array().unwrap().iter().find(|r| r["gate"] == gate).unwrap()
}

#[test]
fn a_protected_alias_takes_a_version_after_its_gates_and_two_reviewers() {
    for on in BOTH {
        let team = Team::on(on);
        assert_eq!(team.call("cora", "PUT", "/api/v1/models/delays/policy", policy()).0, 403);
        team.declare(policy());
        let version = team.register(0.8, "april");

        assert_eq!(team.set_alias("challenger", version).0, 200, "what is not protected takes any version");
        let endpoint = json!({ "name": "delays" });
        team.done("carl", "POST", "/api/v1/endpoints", endpoint);
        let (status, told) = team.deploy(version);
        assert_eq!((status, &told["code"]), (409, &json!("not-released")), "{told}");
        assert!(
            told["detail"].as_str().unwrap().starts_with("an endpoint takes only a released version"),
            "{told}"
        );
        let (status, told) = team.set_alias("champion", version);
        assert_eq!(status, 403);
        assert!(
            told.contains("gate `auc` was not judged yet") && told.contains("0 of 2 approvals"),
            "{told}"
        );
        assert!(told.contains("`trueline gate run delays/1`"), "{told}");
        let (status, told) = team.decide("rita", version, "approved");
        assert_eq!(
            (status, &told["code"]),
            (409, &json!("state")),
            "there is nothing to decide on yet: {told}"
        );

        let judged = team.cli("carl", &["gate", "run", "delays/1"]);
        assert!(judged.status.success(), "{}{}", text(&judged.stdout), text(&judged.stderr));
        assert!(
            text(&judged.stdout).contains("auc is 0.8; it must be at least 0.7"),
            "{}",
            text(&judged.stdout)
        );
        let runs = team.done("rita", "GET", &Team::path(version, "gate-runs"), json!({}));
        let fast = outcome(&runs["gate_runs"][0], "fast");
        assert!(fast["value"].as_f64().is_some_and(|ms| ms > 0.0 && ms <= 250.0), "{fast}");

        let (status, told) = team.decide("carl", version, "approved");
        assert_eq!(status, 409, "{told}");
        assert!(told["detail"].as_str().unwrap().contains("nobody decides on their own work"), "{told}");
        assert_eq!(team.decide("cora", version, "approved").0, 403, "who does not review does not approve");
        assert_eq!(team.decide("ada", version, "approved").0, 403, "nor does the admin");

        let approved = team.cli("rita", &["approve", "delays/1", "--comment", "slices look right"]);
        assert!(approved.status.success(), "{}", text(&approved.stderr));
        assert_eq!(team.decide("rita", version, "approved").0, 201, "saying it twice is one approval");
        let (status, told) = team.set_alias("champion", version);
        assert_eq!(status, 403);
        assert!(told.contains("it has 1 of 2 approvals"), "{told}");
        let in_anothers_name = json!({ "decision": "approved", "approver": "user:sam" });
        assert_eq!(team.call("rita", "POST", &Team::path(version, "approvals"), in_anothers_name).0, 400);
        assert_eq!(team.decide("sam", version, "approved").0, 201);
        assert_eq!(team.state(version)["releasable"], true);
        assert_eq!(team.set_alias("champion", version).0, 200);
        assert_eq!(team.state(version)["releasable"], true, "the champion stays released");
        let (status, told) = team.deploy(version);
        assert!((200..300).contains(&status), "{told}");

        let (_, events) = team.call("ada", "GET", "/api/v1/ledger/events?resource_kind=version", json!({}));
        let actions: Vec<&str> =
            events["events"].as_array().unwrap().iter().filter_map(|e| e["action"].as_str()).collect();
        assert_eq!(
            actions,
            [
                "version.approved",
                "version.approved",
                "version.approved",
                "version.judged",
                "version.registered"
            ]
        );
        let newest = &events["events"][0];
        assert_eq!(newest["actor"], "user:sam");
        assert_eq!(newest["payload"]["manifest_digest"], team.state(version)["manifest_digest"]);

        assert_eq!(team.verification()["ok"], true, "{on:?}");
        team.server.sql("UPDATE approvals SET approver = 'user:mallory' WHERE approver = 'user:sam'");
        let found = team.verification();
        assert_eq!(found["ok"], false, "{on:?}");
        assert!(
            found["finding"].as_str().unwrap().contains("approval default: delays/1 by user:mallory"),
            "{found}"
        );
    }
}

#[test]
fn who_started_the_run_is_an_author_even_when_somebody_else_registers_without_naming_it() {
    let team = Team::on(On::Sqlite);
    team.declare(json!({ "approvals": { "required": 1 } }));
    team.register(0.8, "april");
    let path = "/api/2.0/mlflow/model-versions/get?name=delays&version=1";
    let first = team.done("carl", "GET", path, json!({}));
    let source = first["model_version"]["source"].clone();
    for source in [source, json!("models:/delays/1")] {
        let body = json!({ "name": "delays", "source": source });
        let made = team.done("cora", "POST", "/api/2.0/mlflow/model-versions/create", body);
        let version = made["model_version"]["version"].as_str().unwrap().parse().unwrap();
        let (status, told) = team.decide("carl", version, "approved");
        assert_eq!(status, 409, "{told}");
        assert!(told["detail"].as_str().unwrap().contains("made what it was registered from"), "{told}");
        assert_eq!(team.decide("rita", version, "approved").0, 201);
    }
}

#[test]
fn the_local_caller_does_everything_but_approve() {
    let server = Server::start(On::Sqlite);
    server.ok("/api/2.0/mlflow/registered-models/create", json!({ "name": "delays" }));
    let (status, _) = server.call("PUT", "/api/v1/models/delays/policy", Some(b"{}".to_vec()), &[]);
    assert_eq!(status, 200);
    server.call(
        "PUT",
        "/api/2.0/mlflow-artifacts/artifacts/0/x/artifacts/m/MLmodel",
        Some(b"flavors: {}".to_vec()),
        &[],
    );
    let body = json!({ "name": "delays", "source": "mlflow-artifacts:/0/x/artifacts/m" });
    server.ok("/api/2.0/mlflow/model-versions/create", body);
    server.ok(&Team::path(1, "gate-runs"), json!({}));
    let (status, told) = server.post(&Team::path(1, "approvals"), json!({ "decision": "approved" }));
    assert_eq!((status, &told["code"]), (403, &json!("denied")));
    assert!(told["detail"].as_str().unwrap().contains("a token"), "{told}");
}

#[test]
fn a_changed_policy_asks_everybody_again() {
    for on in BOTH {
        let team = Team::on(on);
        let declared = team.declare(policy());
        let version = team.register(0.8, "april");
        team.judge(version);
        assert_eq!(team.decide("rita", version, "approved").0, 201);
        assert_eq!(team.decide("sam", version, "approved").0, 201);
        assert_eq!(team.declare(policy())["digest"], declared["digest"]);
        assert_eq!(team.state(version)["releasable"], true, "the same policy again changes nothing");

        let mut stricter = policy();
        stricter["gates"][0]["bound"] = json!(0.75);
        team.declare(stricter);
        let state = team.state(version);
        assert_eq!((&state["releasable"], &state["approved"]), (&json!(false), &json!(0)), "{on:?}");
        let states: Vec<&str> =
            state["gates"].as_array().unwrap().iter().filter_map(|g| g["state"].as_str()).collect();
        assert_eq!(states, ["stale", "passed", "passed", "passed"], "only the changed gate is judged again");
        let (status, told) = team.set_alias("champion", version);
        assert_eq!(status, 403);
        assert!(told.contains("that of rita does not count: the policy was changed since"), "{told}");
        let (status, _) = team.decide("rita", version, "approved");
        assert_eq!(status, 409, "nobody decides on results of another policy");
        team.judge(version);
        assert_eq!(team.decide("rita", version, "approved").0, 201);
        assert_eq!(team.decide("sam", version, "approved").0, 201);
        assert_eq!(team.set_alias("champion", version).0, 200);
    }
}

#[test]
fn a_candidate_is_compared_with_the_champion_on_the_same_data_alone() {
    let team = Team::on(On::Sqlite);
    let champion = team.register(0.8, "april");
    assert_eq!(team.set_alias("champion", champion).0, 200, "without a policy every alias takes any version");
    let mut alone = policy();
    alone["approvals"]["required"] = json!(0);
    team.declare(alone);
    let judged = |auc: f64, data: &str| {
        let version = team.register(auc, data);
        (version, outcome(&team.judge(version), "no worse").clone())
    };
    let (better, gate) = judged(0.81, "april");
    assert_eq!((&gate["outcome"], &gate["champion"]["version"]), (&json!("passed"), &json!(1)), "{gate}");
    let (worse, gate) = judged(0.75, "april");
    assert_eq!(gate["outcome"], "failed");
    assert!((gate["value"].as_f64().unwrap() + 0.05).abs() < 1e-9, "{gate}");
    let (elsewhere, gate) = judged(0.99, "may");
    assert_eq!(gate["outcome"], "undecided", "{gate}");
    assert!(gate["reason"].as_str().unwrap().contains("has not read april@april-1"), "{gate}");
    for refused in [worse, elsewhere] {
        assert_eq!(team.set_alias("champion", refused).0, 403);
    }
    let late = team.register(0.9, "april");
    team.judge(late);
    assert_eq!(team.set_alias("champion", better).0, 200);
    let (status, told) = team.set_alias("champion", late);
    assert_eq!(status, 403, "another champion is another comparison");
    assert!(told.contains("the champion was version 1 then and is version 2 now"), "{told}");
    let failed = team.cli("carl", &["gate", "run", &format!("delays/{worse}")]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("1 of 4 gates did not pass"), "{}", text(&failed.stderr));
}

#[test]
fn a_rejection_holds_until_it_is_taken_back() {
    let team = Team::on(On::Sqlite);
    team.declare(json!({ "approvals": { "required": 1 }, "gates": [
        { "name": "instant", "kind": "latency", "bound_ms": 0.000_001, "requests": 5 },
    ] }));
    let version = team.register(0.8, "april");
    let slow = team.judge(version);
    assert_eq!(outcome(&slow, "instant")["outcome"], "failed", "{slow}");
    team.declare(json!({ "approvals": { "required": 1 } }));
    assert_eq!(
        team.decide("rita", version, "approved").0,
        201,
        "without gates there is nothing to judge first"
    );
    assert!(team.cli("sam", &["reject", "delays/1", "--comment", "April has gaps"]).status.success());
    let (status, told) = team.set_alias("Production", version);
    assert_eq!(status, 403);
    assert!(told.contains("sam rejected it (April has gaps)"), "{told}");
    let stage = json!({ "name": "delays", "version": "1", "stage": "Production" });
    let path = "/api/2.0/mlflow/model-versions/transition-stage";
    assert_eq!(team.call("carl", "POST", path, stage.clone()).0, 403, "a stage is no way around");
    assert!(team.cli("sam", &["approve", "delays/1", "--withdraw"]).status.success());
    assert_eq!(team.call("sam", "DELETE", &Team::path(version, "approvals"), json!({})).0, 404);
    assert_eq!(team.call("carl", "POST", path, stage).0, 200);

    let key = team.done("ada", "GET", "/api/v1/ledger", json!({}))["key"].as_str().unwrap().to_owned();
    let stopped = team.server.stop();
    let verify = || {
        let mut command = Command::new(BINARY);
        command.args(["ledger", "verify", "--state", "--key", &key, "--data-dir"]).arg(&stopped.data_dir);
        command.output().unwrap()
    };
    assert!(verify().status.success(), "{}", text(&verify().stderr));
    sqlite(&stopped.data_dir, "UPDATE approvals SET decision = 'rejected'");
    let told = verify();
    assert_eq!(told.status.code(), Some(1));
    assert!(text(&told.stderr).contains("approval default: delays/1 by user:rita"), "{}", text(&told.stderr));
}

#[test]
fn an_approval_is_bound_to_the_frozen_files() {
    for on in BOTH {
        let team = Team::on(on);
        team.declare(json!({ "approvals": { "required": 1 } }));
        let version = team.register(0.8, "april");
        assert_eq!(team.decide("rita", version, "approved").0, 201);
        assert_eq!(team.state(version)["releasable"], true);
        let other = team.register(0.9, "april");
        assert_eq!(
            team.state(other)["approved"],
            0,
            "another version is another matter, though its files are the same"
        );
        team.server.sql("UPDATE model_versions SET manifest_digest = 'other' WHERE version = 1");
        let (status, told) = team.set_alias("champion", version);
        assert_eq!(status, 403, "{on:?}");
        assert!(told.contains("it is about other files than the version has"), "{told}");
    }
}

#[test]
fn the_unmodified_mlflow_client_is_told_what_is_missing() {
    for on in BOTH {
        let team = Team::on(on);
        team.declare(policy());
        let version = team.register(0.8, "april");
        let script = |expected: &str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests");
            let done = Command::new(python())
                .arg(folder.join("mlflow_release.py"))
                .args([&team.server.url, "delays", &version.to_string(), expected])
                .env("MLFLOW_TRACKING_TOKEN", team.token("carl"))
                .current_dir(&folder)
                .output()
                .unwrap();
            assert!(done.status.success(), "{expected}: {}{}", text(&done.stdout), text(&done.stderr));
        };
        script("refused");
        team.judge(version);
        for reviewer in ["rita", "sam"] {
            assert_eq!(team.decide(reviewer, version, "approved").0, 201);
        }
        script("moved");
    }
}

#[test]
fn a_reviewer_approves_on_the_page_and_an_author_can_not() {
    let team = Team::on(On::Sqlite);
    team.declare(policy());
    let version = team.register(0.8, "april");
    let page = format!("/p/default/models/delays/versions/{version}");
    let cookie = |who: &str| format!("trueline_token={}", team.token(who));
    let see = |who: &str, path: &str| {
        let (status, body) = team.server.call_bytes("GET", path, None, &[("cookie", &cookie(who))]);
        assert_eq!(status, 200, "{path}");
        text(&body)
    };
    let send = |who: &str, path: &str, form: &str, origin: &str| {
        let cookie = cookie(who);
        let kind = "application/x-www-form-urlencoded";
        let headers = [("cookie", cookie.as_str()), ("content-type", kind), ("origin", origin)];
        team.server.call_bytes("POST", path, Some(form.as_bytes().to_vec()), &headers).0
    };
    let own = team.server.url.clone();
    assert!(see("rita", "/p/default/models/delays").contains("auc is at least 0.7"));
    assert!(see("rita", &page).contains("Not run"));
    assert_eq!(send("carl", &format!("{page}/gate-runs"), "", &own), 200, "and back to the page");
    assert!(see("rita", &page).contains("auc is 0.8; it must be at least 0.7"));
    assert!(see("rita", &page).contains(">Approve</button>"));
    let waits = |who: &str| see(who, "/p/default").contains("Approve or reject version 1 of delays");
    assert!(waits("rita") && !waits("carl") && !waits("cora"));
    assert!(
        !see("carl", &page).contains(">Approve</button>") && see("carl", &page).contains("You are an author")
    );
    let decide = format!("{page}/approvals");
    assert_eq!(send("rita", &decide, "decision=approved", "http://elsewhere.example"), 403);
    assert_eq!(send("carl", &decide, "decision=approved&comment=mine", &own), 409);
    assert_eq!(team.state(version)["approved"], 0);
    assert_eq!(send("rita", &decide, "decision=approved&comment=slices+look+right", &own), 200);
    assert!(!waits("rita") && waits("sam"));
    assert!(
        see("sam", &page).contains("slices look right") && see("sam", &page).contains("1 of 2 approvals")
    );
    assert_eq!(send("rita", &decide, "decision=withdrawn&comment=", &own), 200);
    assert_eq!(team.state(version)["approved"], 0);
}
