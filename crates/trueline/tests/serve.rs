//! `trueline serve`: one model in a container, as MLflow, SageMaker, Vertex AI and Azure ML ask it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::container::Container;
use common::models::Models;
use common::{BINARY, On, Server, python, text};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use trueline_s3server::S3Server;

fn folder(name: &str) -> String {
    Models::saved().folder(name).to_string_lossy().into_owned()
}

#[test]
fn a_folder_is_served_as_mlflow_and_sagemaker_ask_for_it() {
    let expected = Models::saved().expected("binary");
    let container = Container::start(&[&folder("binary"), "--name", "delays"], &[]);
    for (form, body) in expected.requests() {
        let (status, answer) = container.ask("/invocations", &body);
        assert_eq!((status, &answer["predictions"]), (200, &expected.predictions), "{form}");
    }
    let (_, card, _) = container.call("GET", "/v2/models/delays", None, &[]).unwrap();
    assert_eq!(card["inputs"][0], json!({ "name": "hour", "datatype": "FP64", "shape": [-1] }));
    for path in ["/health", "/ping", "/version", "/v2/health/ready", "/metrics", "/ready/serving"] {
        for method in ["GET", "HEAD"] {
            assert_eq!(container.call(method, path, None, &[]).unwrap().0, 200, "{method} {path}");
        }
    }
    assert_eq!(container.call("GET", "/version", None, &[]).unwrap().1, json!("3.17.2"));
    assert_eq!(container.call("GET", "/api/v1/projects", None, &[]).unwrap().0, 404, "no control plane");
    let (status, _) = container.ask("/score", &json!({}));
    assert_eq!(status, 404, "no Azure");
}

#[test]
fn a_folder_of_a_bucket_is_served() {
    let objects = tempfile::tempdir().unwrap();
    let s3 = S3Server::start(objects.path()).unwrap();
    s3.make_bucket("team").unwrap();
    let place = objects.path().join("team/models/binary");
    std::fs::create_dir_all(&place).unwrap();
    for file in std::fs::read_dir(folder("binary")).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), place.join(file.file_name())).unwrap();
    }
    let variables = s3.variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let expected = Models::saved().expected("binary");
    let container = Container::start(&["s3://team/models/binary"], &variables);
    let (status, answer) = container.ask("/invocations", &expected.requests()[0].1);
    assert_eq!((status, &answer["predictions"]), (200, &expected.predictions));

    for (uri, told) in [("s3://team/models/none", "nothing lies at"), ("s3://other/x", "other")] {
        let mut command = Command::new(BINARY);
        let ended = command.args(["serve", uri, "--port", "0"]).envs(variables.iter().copied()).output();
        let ended = ended.unwrap();
        assert!(!ended.status.success() && text(&ended.stderr).contains(told), "{}", text(&ended.stderr));
    }
}

#[test]
fn a_model_that_does_not_answer_what_was_recorded_of_its_example_is_never_ready() {
    let saved = folder("binary");
    let example = std::fs::read_to_string(format!("{saved}/serving_input_example.json")).unwrap();
    // As MLflow writes it, with a word for missing values that JSON does not have.
    let asked = Container::start(&[&saved], &[]).call("POST", "/invocations", Some(example), &[]);
    let mut predictions = asked.unwrap().1["predictions"].clone();

    let copy = tempfile::tempdir().unwrap();
    common::copy_tree(saved.as_ref(), copy.path());
    let copied = copy.path().to_string_lossy().into_owned();
    let mlmodel = std::fs::read_to_string(copy.path().join("MLmodel")).unwrap();
    let plain: Vec<&str> = mlmodel.lines().filter(|line| !line.starts_with("metadata:")).collect();
    let record = |predictions: &serde_json::Value| {
        let metadata = format!("metadata:\n  trueline.example_output: '{predictions}'\n");
        std::fs::write(copy.path().join("MLmodel"), format!("{}\n{metadata}", plain.join("\n"))).unwrap();
    };
    record(&predictions);
    drop(Container::start(&[&copied], &[]));
    predictions[0] = json!(predictions[0].as_f64().unwrap() + 0.01);
    record(&predictions);
    let ended = Command::new(BINARY).args(["serve", &copied, "--port", "0"]).output().unwrap();
    let told = text(&ended.stderr);
    assert!(!ended.status.success() && told.contains("row 0: it answers"), "{told}");
}

/// Models `a` and `b` where SageMaker puts them, of which each is a copy of `binary`, and `c`, which is another.
fn many() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, saved) in [("a", "binary"), ("b", "binary"), ("c", "binary-other")] {
        let place = root.path().join(name).join("model");
        std::fs::create_dir_all(&place).unwrap();
        common::copy_tree(folder(saved).as_ref(), &place);
    }
    root
}

fn loads(container: &Container, root: &Path, name: &str) -> u16 {
    let url = root.join(name).join("model");
    container.ask("/models", &json!({ "model_name": name, "url": url })).0
}

fn status(container: &Container, method: &str, path: &str) -> u16 {
    container.call(method, path, None, &[]).unwrap().0
}

#[test]
fn models_are_loaded_and_unloaded_by_name_as_sagemaker_asks_for_it() {
    let root = many();
    let at = root.path();
    let container = Container::start(&["--multi-model", &at.to_string_lossy()], &[]);
    assert_eq!(container.call("GET", "/models", None, &[]).unwrap().1, json!({ "models": [] }));
    assert_eq!(["a", "c", "a"].map(|name| loads(&container, at, name)), [200, 200, 409]);

    let url = |name: &str| at.join(name).join("model");
    let told = |name: &str| json!({ "modelName": name, "modelUrl": url(name) });
    assert_eq!(container.call("GET", "/models/c", None, &[]).unwrap().1, told("c"));
    let (_, page, _) = container.call("GET", "/models?limit=1", None, &[]).unwrap();
    assert_eq!(page["models"], json!([told("a")]));
    let next = format!("/models?limit=1&next_page_token={}", page["nextPageToken"].as_str().unwrap());
    let (_, page, _) = container.call("GET", &next, None, &[]).unwrap();
    assert_eq!(page, json!({ "models": [told("c")] }));

    for (name, saved) in [("a", "binary"), ("c", "binary-other")] {
        let expected = Models::saved().expected(saved);
        for (form, body) in expected.requests() {
            let (status, answer) = container.ask(&format!("/models/{name}/invoke"), &body);
            assert_eq!((status, &answer["predictions"]), (200, &expected.predictions), "{form}");
        }
    }
    assert_eq!(status(&container, "DELETE", "/models/a"), 200);
    let gone = [("GET", "/models/a"), ("DELETE", "/models/a"), ("DELETE", "/models/nobody")];
    assert!(gone.iter().all(|(method, path)| status(&container, method, path) == 404));
    assert_eq!(container.ask("/models/a/invoke", &json!({ "instances": [[1.0]] })).0, 404);
    assert_eq!(loads(&container, at, "a"), 200);

    let (status, why) = container.ask("/models", &json!({ "model_name": "x", "url": folder("binary") }));
    assert_eq!(status, 400, "a model that lies elsewhere: {why}");
    let (status, why) = container.ask("/models", &json!({ "model_name": "x", "url": at.join("a") }));
    assert!(status == 400 && why["message"].as_str().unwrap().contains("MLmodel"), "{why}");
    std::fs::write(at.join("b/model/model.ubj"), "no model").unwrap();
    assert_eq!([loads(&container, at, "b"), loads(&container, at, "b")], [500, 500], "its name stays free");
}

#[test]
fn a_model_that_does_not_fit_is_refused_until_another_was_unloaded() {
    let root = many();
    let (at, below) = (root.path(), root.path().to_string_lossy().into_owned());
    let sagemaker = Container::start(&[], &[("SAGEMAKER_MULTI_MODEL", "true")]);
    assert_eq!(sagemaker.call("GET", "/models", None, &[]).unwrap().1, json!({ "models": [] }));
    let roomy = Container::start(&["--multi-model", &below], &[]);
    assert_eq!(loads(&roomy, at, "a"), 200);
    let metrics = roomy.call("GET", "/metrics", None, &[]).unwrap().1;
    let bytes =
        metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix("trueline_models_loaded_bytes "));
    let bytes: u64 = bytes.unwrap().parse().unwrap();

    let memory = (bytes * 3 / 2).to_string();
    let tight = Container::start(&["--multi-model", &below, "--model-memory", &memory], &[]);
    assert_eq!(["a", "b"].map(|name| loads(&tight, at, name)), [200, 507]);
    assert_eq!([status(&tight, "GET", "/models/a"), status(&tight, "GET", "/models/b")], [200, 404]);
    assert_eq!(status(&tight, "DELETE", "/models/a"), 200);
    assert_eq!(["b", "a"].map(|name| loads(&tight, at, name)), [200, 507]);
}

#[test]
fn the_scoring_client_of_mlflow_is_answered() {
    let container = Container::start(&[&folder("binary")], &[]);
    let script = "import sys, json, pandas as pd\n\
        from mlflow.pyfunc.scoring_server.client import ScoringServerClient\n\
        client = ScoringServerClient('127.0.0.1', int(sys.argv[1]))\n\
        client.wait_server_ready(timeout=5, scoring_server_proc=None)\n\
        print(client.get_version())\n\
        told = json.load(open(sys.argv[2]))\n\
        frame = pd.DataFrame(told['rows'], columns=told['columns'])\n\
        got = client.invoke(frame).get_predictions()\n\
        assert got[0].tolist() == told['predictions'], got\n\
        assert client.invoke(told['rows']).get_predictions()[0].tolist() == told['predictions']\n";
    let expected = Models::saved().expected("binary");
    let file = tempfile::NamedTempFile::new().unwrap();
    let told =
        json!({ "columns": expected.columns, "rows": expected.rows, "predictions": expected.predictions });
    std::fs::write(file.path(), told.to_string()).unwrap();
    let port = container.port.to_string();
    let done = Command::new(python()).args(["-c", script, &port]).arg(file.path()).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
}

#[test]
fn vertex_says_in_the_environment_where_it_asks() {
    let expected = Models::saved().expected("binary");
    let predict = "/v1/endpoints/7/deployedModels/8:predict";
    let container = Container::start(
        &[&folder("binary")],
        &[("AIP_HTTP_PORT", "1"), ("AIP_HEALTH_ROUTE", "/well"), ("AIP_PREDICT_ROUTE", predict)],
    );
    assert_eq!(container.call("GET", "/well", None, &[]).unwrap().0, 200);
    let (status, answer) = container.ask(predict, &json!({ "instances": expected.rows, "parameters": {} }));
    assert_eq!((status, answer), (200, json!({ "predictions": expected.predictions })));
    let (status, answer) = container.ask(predict, &json!({ "instances": [[1]] }));
    assert_eq!(status, 400, "{answer}");
}

#[test]
fn azure_is_answered_with_bare_predictions_and_its_headers() {
    let expected = Models::saved().expected("binary");
    let container = Container::start(&[], &[("AZUREML_MODEL_DIR", &folder("binary"))]);
    assert_eq!(container.call("GET", "/", None, &[]).unwrap().1, json!("Healthy"));
    let body = json!({ "input_data": { "columns": expected.columns, "data": expected.rows } });
    let ids = [("x-ms-client-request-id", "mine"), ("x-request-id", "its")];
    let (status, answer, told) = container.call("POST", "/score", Some(body.to_string()), &ids).unwrap();
    assert_eq!((status, &answer), (200, &expected.predictions));
    assert_eq!((told["x-ms-client-request-id"].as_str(), told["x-request-id"].as_str()), ("mine", "its"));
    assert!(told["x-ms-run-fn-exec-ms"].parse::<f64>().is_ok());
    let (status, answer) = container.ask("/score", &json!({ "input_data": [["far", 1, 2]] }));
    assert!(status == 400 && answer["message"].as_str().unwrap().contains("Column 'hour'"), "{answer}");
    let long = "x".repeat(101);
    let asked =
        container.call("POST", "/score", Some(body.to_string()), &[("x-ms-client-request-id", &long)]);
    assert_eq!(asked.unwrap().0, 431);
    let (status, swagger, _) = container.call("GET", "/swagger.json", None, &[]).unwrap();
    assert_eq!((status, &swagger["swagger"]), (200, &json!("2.0")));
    assert_eq!(container.call("OPTIONS", "/score", None, &[]).unwrap().0, 200);
    assert_eq!(container.call("GET", "/score", None, &[]).unwrap().0, 400);
}

#[test]
fn a_version_of_a_server_is_fetched_by_number_and_by_alias() {
    let server = Server::start(On::Sqlite);
    Models::saved().register(&server, "binary", "delays");
    let alias = json!({ "name": "delays", "alias": "prod", "version": "1" });
    server.ok("/api/2.0/mlflow/registered-models/alias", alias);
    let expected = Models::saved().expected("binary");
    let (_, body) = expected.requests().remove(0);
    for uri in ["models:/delays/1", "models:/delays@prod"] {
        let container = Container::start(&[uri, "--url", &server.url], &[]);
        let (status, answer) = container.ask("/invocations", &body);
        assert_eq!((status, &answer["predictions"]), (200, &expected.predictions), "{uri}");
    }
}

#[test]
fn what_cannot_be_served_ends_with_a_reason() {
    let empty = tempfile::tempdir().unwrap();
    let broken = tempfile::tempdir().unwrap();
    for (path, bytes) in Models::saved().damaged("binary", |bytes| bytes.truncate(bytes.len() / 2)) {
        std::fs::write(broken.path().join(path), bytes).unwrap();
    }
    let folder = |dir: &tempfile::TempDir| dir.path().to_string_lossy().into_owned();
    for (model, expected) in [
        (folder(&empty), "there is no file `MLmodel` here"),
        (folder(&broken), "can't be served"),
        ("gs://bucket/model".to_owned(), "not read from gs://"),
        ("models:/delays".to_owned(), "models:/name/version"),
    ] {
        let mut child = Command::new(BINARY)
            .args(["serve", &model, "--port", "0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let told: Vec<String> = lines.map_while(Result::ok).collect();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{told:?}");
        assert!(told.iter().any(|line| line.contains(expected)), "{model}: {told:?}");
    }
}
