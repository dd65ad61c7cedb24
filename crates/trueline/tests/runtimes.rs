//! Models of every flavour answer what MLflow's own scoring server answers, by whichever runtime.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::container::Container;
use common::{Server, models, python, text, wait_until};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

fn made_by(python: &str, script: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests").join(script);
    let mut run = Command::new(python);
    run.arg(script).arg(folder.path()).env("MLFLOW_DISABLE_TELEMETRY", "true");
    let done = run.output().expect("Python runs");
    assert!(done.status.success(), "{}", text(&done.stderr));
    (folder, text(&done.stdout).trim().to_owned())
}

struct Case {
    body: Value,
    status: u16,
    predictions: Value,
    trained: Value,
}

fn cases(folder: &Path, name: &str) -> Vec<Case> {
    let told = std::fs::read(folder.join(format!("{name}.cases.json"))).unwrap();
    let told: Vec<Value> = serde_json::from_slice(&told).unwrap();
    let case = |told: &Value| Case {
        body: told["body"].clone(),
        status: u16::try_from(told["status"].as_u64().unwrap()).unwrap(),
        predictions: told["predictions"].clone(),
        trained: told["trained"].clone(),
    };
    told.iter().map(case).collect()
}

#[test]
fn every_flavour_answers_what_mlflow_answers() {
    let (folder, _) = made_by(&python(), "runtime_models.py");
    for (name, platform) in [
        ("lightgbm", "lightgbm_trueline"),
        ("lightgbm-classes", "lightgbm_trueline"),
        ("xgboost-regressor", "xgboost_trueline"),
        ("xgboost-two", "xgboost_trueline"),
        ("xgboost-three", "xgboost_trueline"),
        ("xgboost-itself", "xgboost_trueline"),
        ("xgboost-labels", "xgboost_trueline"),
        ("xgboost-forest", "xgboost_trueline"),
        ("xgboost-sklearn", "mlflow_python"),
        ("lightgbm-wrapper", "mlflow_python"),
        ("pipeline", "mlflow_python"),
        ("array", "mlflow_python"),
        ("function", "mlflow_python"),
    ] {
        let model = folder.path().join(name).to_string_lossy().into_owned();
        let container = Container::start(&[&model, "--python-workers", &python()], &[]);
        let (_, card, _) = container.call("GET", "/v2/models/model", None, &[]).unwrap();
        assert_eq!(card["platform"], platform, "{name}");
        for case in cases(folder.path(), name) {
            let (status, answer) = container.ask("/invocations", &case.body);
            assert_eq!(status, case.status, "{name}: {} gave {answer}", case.body);
            if status == 200 {
                assert_eq!(answer["predictions"], case.predictions, "{name}: {}", case.body);
            }
        }
    }
}

/// Models that tell what they were given: in which form, of which types, with which params.
#[test]
fn models_of_python_are_given_what_mlflow_gives_them() {
    let (folder, _) = made_by(&python(), "scoring_models.py");
    for name in ["untold", "chat", "places", "texts", "words", "halves"] {
        let model = folder.path().join(name).to_string_lossy().into_owned();
        let container = Container::start(&[&model, "--python-workers", &python()], &[]);
        let told = std::fs::read(folder.path().join(format!("{name}.cases.json"))).unwrap();
        for case in serde_json::from_slice::<Vec<Value>>(&told).unwrap() {
            let (status, answer) = container.ask("/invocations", &case["body"]);
            assert_eq!(json!(status), case["status"], "{name}: {} gave {answer}", case["body"]);
            if case["traced"] == true {
                let trace = answer["stack_trace"].as_str().unwrap();
                assert!(trace.contains("ValueError: as it was asked to"), "{name}: {answer}");
            }
            match &case["answer"]["predictions"] {
                Value::Null if status == 200 => {
                    assert_eq!(answer, case["answer"], "{name}: {}", case["body"]);
                }
                Value::Null => assert_eq!(answer["error_code"], "BAD_REQUEST", "{name}: {}", case["body"]),
                expected => assert_eq!(&answer["predictions"], expected, "{name}: {}", case["body"]),
            }
        }
    }
}

#[test]
fn what_a_model_raises_is_told_as_each_wire_has_it() {
    let (folder, _) = made_by(&python(), "scoring_models.py");
    let (model, interpreter) = (folder.path().join("untold"), python());
    let model = model.to_string_lossy().into_owned();
    let body = json!({ "dataframe_records": [{ "raise": 1 }] });
    let azure = [("AZUREML_MODEL_DIR", model.as_str())];
    let container = Container::start(&["--python-workers", &interpreter], &azure);
    let (status, answer, told) = container.call("POST", "/score", Some(body.to_string()), &[]).unwrap();
    assert!(status == 500 && told["x-ms-run-function-failed"] == "true", "{status} {answer}");
    let (status, answer) = container.ask("/v1/models/model:predict", &body);
    assert!(status == 500 && answer.get("stack_trace").is_none(), "{status} {answer}");
    let flags = [model.as_str(), "--python-workers", &interpreter, "--hide-values"];
    let (status, answer) = Container::start(&flags, &[]).ask("/invocations", &body);
    assert!(status == 400 && answer["stack_trace"] == "", "{status} {answer}");
    assert!(!answer.to_string().contains("as it was asked to"), "{answer}");
    let document = json!({ "prompt": "hello" });
    let container = Container::start(&[&model, "--python-workers", &interpreter], &[]);
    let asked = container.call("POST", "/invocations", Some(document.to_string()), &[]);
    let (status, answer, told) = asked.unwrap();
    assert!(status == 200 && told["x-trueline-prediction-ids"].len() == 32, "{answer} {told:?}");
}

#[test]
fn answers_beyond_what_was_declared_are_no_answers_and_errors_can_keep_values_to_themselves() {
    let (folder, _) = made_by(&python(), "runtime_models.py");
    let model = folder.path().join("array");
    let told = std::fs::read_to_string(model.join("MLmodel")).unwrap();
    assert!(!told.contains("metadata:"));
    let declared = format!("{told}metadata:\n  trueline.predictions:\n    max: 100\n    finite: true\n");
    // The example that was logged with it must pass, too.
    std::fs::write(model.join("MLmodel"), declared.replace("serving_input_path", "unused")).unwrap();
    let (path, interpreter) = (model.to_string_lossy().into_owned(), python());
    let container = Container::start(&[&path, "--python-workers", &interpreter, "--hide-values"], &[]);
    let (status, answer) = container.ask("/invocations", &json!({ "inputs": [[40.0, 50.0]] }));
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = container.ask("/invocations", &json!({ "inputs": [[60.0, 50.0]] }));
    let message = answer["message"].as_str().unwrap();
    assert!(status == 500 && message.contains("and … to 100 is declared"), "{answer}");
    let (status, answer) = container.ask("/invocations", &json!({ "inputs": [["secret", 1.0]] }));
    let message = answer["message"].as_str().unwrap();
    assert!(status == 400 && message.contains("got text") && !message.contains("secret"), "{answer}");
}

/// Whether two answers have the same words and whole numbers, and floats that are as near as binary32 has them.
fn is_near(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_near(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| is_near(a, b)))
        }
        (Value::Number(x), Value::Number(y)) if x.is_f64() || y.is_f64() => {
            let (x, y) = (x.as_f64().unwrap(), y.as_f64().unwrap());
            (x - y).abs() <= 1e-6 + 1e-5 * y.abs()
        }
        _ => a == b,
    }
}

#[test]
fn onnx_models_answer_what_their_library_answers() {
    let clients = std::env::var("TRUELINE_SERVING_PYTHON")
        .expect("TRUELINE_SERVING_PYTHON is not set: run the tests with `cargo xtask test`");
    let (folder, library) = made_by(&clients, "onnx_models.py");
    let kinds = ["forest", "boosting", "histogram"];
    let trees = kinds.iter().flat_map(|kind| ["two", "three", "number"].map(|what| format!("{kind}-{what}")));
    for name in trees.chain(["network".to_owned()]) {
        let name = name.as_str();
        let model = folder.path().join(name).to_string_lossy().into_owned();
        let container = Container::start(&[&model, "--onnxruntime", &library], &[]);
        for case in cases(folder.path(), name) {
            let (status, answer) = container.ask("/invocations", &case.body);
            assert_eq!(
                (status, &answer["predictions"]),
                (case.status, &case.predictions),
                "{name}: {answer}"
            );
            // Of forests and boosting, what the model answered that was exported.
            assert!(case.trained.is_null() == (name == "network"), "{name}");
            assert!(
                case.trained.is_null() || is_near(&answer["predictions"], &case.trained),
                "{name}: {answer}"
            );
        }
        let (status, answer) = container.ask("/invocations", &json!({ "inputs": [["x", "y"]] }));
        assert_eq!(status, 400, "{answer}");
    }
}

#[test]
fn a_python_model_is_deployed_answers_over_a_restart_and_its_worker_is_replaced_when_it_dies() {
    let (folder, _) = made_by(&python(), "runtime_models.py");
    let interpreter = python();
    let flags = ["--python-workers", interpreter.as_str()];
    let server = Server::start_with_flags(&flags);
    models::register_files(&server, &models::files_below(&folder.path().join("pipeline")), "pipeline");
    server.ok("/api/v1/endpoints", json!({ "name": "delays" }));
    server.ok("/api/v1/endpoints/delays/routes", json!({ "variants": ["pipeline/1"], "reason": "test" }));
    let case = cases(folder.path(), "pipeline").remove(0);
    let ask = |server: &Server| server.post("/endpoints/delays/invocations", case.body.clone());
    let (status, answer) = ask(&server);
    assert_eq!((status, &answer["predictions"]), (200, &case.predictions), "{answer}");
    let id = answer["prediction_ids"][0].as_str().unwrap();
    let path = format!("/api/v1/predictions/{id}");
    wait_until("the prediction is in the log", || server.get(&path).0 == 200);
    let (_, logged) = server.get(&path);
    assert_eq!(logged["prediction"]["output"], case.predictions[0], "{logged}");

    let worker = children(server.pid()).into_iter().find(|pid| command(*pid).contains("worker")).unwrap();
    let _ = Command::new("kill").args(["-9", &worker.to_string()]).status();
    wait_until("another worker answers", || ask(&server).0 == 200);
}

/// What the two models take that are asked in turn, in a memory that has room for one of them.
fn in_turn(server: &Server, models: [(&str, &Case); 2]) -> [u64; 2] {
    let variant =
        |name: &str| server.get(&format!("/api/v1/endpoints/{name}")).1["live"]["variants"][0].clone();
    let ask = |(name, case): (&str, &Case)| {
        let (status, answer) = server.post(&format!("/endpoints/{name}/invocations"), case.body.clone());
        assert_eq!((status, &answer["predictions"]), (200, &case.predictions), "{name}: {answer}");
    };
    for _ in 0..2 {
        for (asked, other) in [(models[0], models[1]), (models[1], models[0])] {
            ask(asked);
            assert_eq!(variant(asked.0)["loaded"], true, "{}", asked.0);
            wait_until("the other one made room", || variant(other.0)["loaded"] == false);
        }
    }
    models.map(|(name, _)| variant(name)["heap_bytes"].as_u64().unwrap())
}

#[test]
fn onnx_and_python_models_are_loaded_when_asked_and_make_room_for_each_other() {
    let clients = std::env::var("TRUELINE_SERVING_PYTHON").expect("an environment with ONNX");
    let (onnx, library) = made_by(&clients, "onnx_models.py");
    let (pickled, _) = made_by(&python(), "runtime_models.py");
    let interpreter = python();
    let server = Server::start_with_flags(&[
        "--python-workers",
        &interpreter,
        "--onnxruntime",
        &library,
        "--model-memory",
        "1MiB",
    ]);
    for (name, folder) in [("network", onnx.path()), ("pipeline", pickled.path())] {
        models::register_files(&server, &models::files_below(&folder.join(name)), name);
        server.ok("/api/v1/endpoints", json!({ "name": name }));
        let version = format!("{name}/1");
        server.ok(&format!("/api/v1/endpoints/{name}/routes"), json!({ "variants": [version] }));
    }
    let workers = || {
        let of_python = |pid: &u32| command(*pid).contains("worker");
        children(server.pid()).into_iter().filter(of_python).collect::<Vec<u32>>()
    };
    let network = cases(onnx.path(), "network").remove(0);
    let pipeline = cases(pickled.path(), "pipeline").remove(0);
    let [session, worker] = in_turn(&server, [("network", &network), ("pipeline", &pipeline)]);
    let file = std::fs::metadata(onnx.path().join("network/model.onnx")).unwrap().len();
    assert!(session >= file, "{session} bytes of a model whose file has {file}");
    // An interpreter with its libraries: what the system says of its processes, within what they share and what came since.
    let resident: u64 = workers().iter().map(|pid| proportional(*pid)).sum();
    assert!(worker > resident / 2 && worker < resident * 2, "{worker} bytes of {resident}");
    assert!(worker > 30 << 20, "{worker} bytes");

    let (status, answer) = server.post("/endpoints/network/invocations", network.body.clone());
    assert_eq!((status, &answer["predictions"]), (200, &network.predictions), "{answer}");
    wait_until("the worker has ended", || workers().is_empty());
}

/// What a process takes of memory, its share of what several have, in bytes.
fn proportional(pid: u32) -> u64 {
    let told = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = told.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

/// The processes that a process started.
fn children(of: u32) -> Vec<u32> {
    let told = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    let mut all: Vec<u32> = told.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    // Each thread has its own.
    for entry in std::fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten() {
        let told = std::fs::read_to_string(entry.path().join("children")).unwrap_or_default();
        all.extend(told.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    all
}

fn command(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// A model that takes as many seconds as its input says.
const NAPS: &str = "
import sys, time, mlflow
class Naps(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        time.sleep(float(model_input.iloc[0, 0]))
        return model_input.iloc[:, 0].tolist()
mlflow.pyfunc.save_model(sys.argv[1], python_model=Naps())
";

#[test]
fn a_caller_says_how_long_it_waits() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("naps").to_string_lossy().into_owned();
    let saved = Command::new(python()).args(["-c", NAPS, &model]).output().unwrap();
    assert!(saved.status.success(), "{}", text(&saved.stderr));
    let container = Container::start(&[&model, "--python-workers", &python()], &[]);
    let ask = |seconds: f64, headers: &[(&str, &str)]| {
        let body = json!({ "dataframe_split": { "columns": ["seconds"], "data": [[seconds]] } });
        let (status, answer, _) =
            container.call("POST", "/invocations", Some(body.to_string()), headers).unwrap();
        (status, answer)
    };
    assert_eq!(ask(0.0, &[("x-trueline-timeout-ms", "60000")]).0, 200);
    for header in ["x-trueline-timeout-ms", "x-envoy-expected-rq-timeout-ms"] {
        let (status, told) = ask(1.0, &[(header, "50")]);
        assert_eq!((status, &told["error_code"]), (504, &json!("DEADLINE_EXCEEDED")), "{told}");
    }
    assert_eq!(ask(0.0, &[("x-trueline-timeout-ms", "soon")]).0, 400);
    assert_eq!(ask(0.0, &[]).1["predictions"], json!([0.0]), "it goes on");
    let (_, metrics, _) = container.call("GET", "/metrics", None, &[]).unwrap();
    let late =
        |line: &&str| line.starts_with("trueline_prediction_errors_total") && line.contains("\"timed_out\"");
    let late = metrics.as_str().unwrap().lines().find(late).unwrap();
    assert!(late.ends_with("} 2"), "{late}");
}
