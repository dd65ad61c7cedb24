//! `trueline serve`: one model in a container, as MLflow, SageMaker, Vertex AI and Azure ML ask it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::container::Container;
use common::models::Models;
use common::{BINARY, On, Server, python, text};
use serde_json::json;
use std::io::{BufRead, BufReader};
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
