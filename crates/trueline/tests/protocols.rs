//! The Open Inference Protocol and KServe's first one, by their unmodified clients and by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::models::Models;
use common::users::admin_of;
use common::{On, Server, text, wait_until};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// A server whose endpoint `delays` is answered by version 1 of the model `binary`.
fn with_endpoint() -> Server {
    let server = Server::start(On::Sqlite);
    Models::saved().register(&server, "binary", "delays");
    server.ok("/api/v1/endpoints", json!({ "name": "delays" }));
    let route = json!({ "variants": ["delays/1"], "reason": "test" });
    server.ok("/api/v1/endpoints/delays/routes", route);
    server
}

#[test]
fn the_clients_of_triton_and_kserve_are_answered() {
    let clients = std::env::var("TRUELINE_SERVING_PYTHON")
        .expect("TRUELINE_SERVING_PYTHON is not set: run the tests with `cargo xtask test`");
    let server = with_endpoint();
    let expected = Models::saved().expected("binary");
    let told = json!({
        "columns": expected.columns, "rows": expected.rows, "predictions": expected.predictions,
    });
    let file = server.data_dir.join("expected.json");
    std::fs::write(&file, told.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests/protocol_clients.py");
    for client in ["triton", "kserve"] {
        let mut run = Command::new(&clients);
        run.arg(&script).args([client, &server.url, "delays"]).arg(&file);
        let done = run.output().expect("Python runs");
        assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
    }
}

/// schemathesis makes requests of the document that the server serves, and holds each answer to it.
#[test]
fn answers_are_what_the_openapi_document_says() {
    let clients = std::env::var("TRUELINE_SERVING_PYTHON")
        .expect("TRUELINE_SERVING_PYTHON is not set: run the tests with `cargo xtask test`");
    let server = with_endpoint();
    let below = server.get("/projects/default/v2/docs/dataplane.json");
    assert_eq!(server.get("/v2/docs/dataplane.json"), below, "it is there below a project, too");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tests/protocol_document.py");
    let mut run = Command::new(&clients);
    run.arg(&script).args([&server.url, "delays"]).arg(&server.data_dir);
    let done = run.output().expect("Python runs");
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
}

/// A program on a page, as one copies it.
fn snippet(page: &str, id: &str) -> String {
    let from =
        page.split_once(&format!("id=\"snippet-{id}\"")).unwrap_or_else(|| panic!("no {id} in {page}")).1;
    let code = from.split_once("<code>").unwrap().1.split_once("</code>").unwrap().0;
    let marks = [("&#34;", "\""), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&#38;", "&")];
    marks.iter().fold(code.to_owned(), |text, (mark, sign)| text.replace(mark, sign))
}

/// Runs a program with a token in the environment; what it prints.
fn printed(program: &str, flag: &str, text_of_it: &str, token: &str) -> String {
    let done = Command::new(program).args([flag, text_of_it]).env("TRUELINE_TOKEN", token).output().unwrap();
    assert!(done.status.success(), "{text_of_it}\n{}", text(&done.stderr));
    text(&done.stdout)
}

#[test]
fn what_an_endpoints_page_says_to_copy_runs_as_it_stands() {
    let clients = std::env::var("TRUELINE_SERVING_PYTHON")
        .expect("TRUELINE_SERVING_PYTHON is not set: run the tests with `cargo xtask test`");
    let server = with_endpoint();
    let Value::Array(all) = Models::saved().expected("binary").predictions else { panic!("a list") };
    // The form is filled with the first rows of the example, which the model was saved with.
    let expected = json!(all[..3]);
    for secured in [false, true] {
        let token = if secured { admin_of(&server) } else { String::new() };
        let bearer = format!("Bearer {token}");
        let headers = if secured { vec![("authorization", bearer.as_str())] } else { vec![] };
        let body = one_row().to_string();
        wait_until("the token is known", || {
            server.call_bytes("POST", "/v2/models/delays/infer", Some(body.clone().into_bytes()), &headers).0
                == 200
        });
        let (status, page) = server.call_bytes("GET", "/p/default/endpoints/delays", None, &headers);
        let page = text(&page);
        assert_eq!(status, 200, "{page}");
        assert!(page.contains("with the example that delays/1 was logged with"), "{page}");
        let answer: Value =
            serde_json::from_str(&printed("bash", "-c", &snippet(&page, "curl"), &token)).unwrap();
        assert_eq!(answer["predictions"], expected, "curl: {answer}");
        for id in ["python", "oip-http", "oip-grpc"] {
            let told = printed(&clients, "-c", &snippet(&page, id), &token);
            assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), expected, "{id}");
        }
    }
}

fn tensor(name: &str, data: Value) -> Value {
    json!({ "name": name, "shape": [1], "datatype": "FP64", "data": data })
}

fn one_row() -> Value {
    json!({ "id": "7", "inputs": [tensor("hour", json!([7.5])), tensor("distance", json!([300.0])), tensor("day", json!([2.0]))] })
}

#[test]
fn the_protocol_says_what_is_wrong() {
    let server = with_endpoint();
    let infer = "/v2/models/delays/infer";
    let (status, answer) = server.post(infer, one_row());
    assert_eq!(
        (status, &answer["id"], &answer["model_version"]),
        (200, &json!("7"), &json!("1")),
        "{answer}"
    );
    let cases = [
        (infer, json!({ "inputs": [] }), 400, "no inputs"),
        (infer, json!({ "inputs": [tensor("hour", json!([1.0]))] }), 400, "Model is missing inputs"),
        (
            infer,
            json!({ "inputs": [tensor("hour", json!(["x"]))] }),
            400,
            "input `hour`: its data does not fit",
        ),
        (
            infer,
            json!({ "inputs": [tensor("hour", json!([1.0])), tensor("distance", json!([1.0, 2.0]))] }),
            400,
            "input `distance`: a shape of [1] does not hold 2 values",
        ),
        ("/v2/models/nowhere/infer", one_row(), 404, "nowhere"),
        ("/v2/models/delays/versions/8/infer", one_row(), 404, "version 8 does not answer"),
        ("/v2/models/delays/versions/one/infer", one_row(), 404, "there is no version `one`"),
        ("/v1/models/delays:explain", json!({ "instances": [[1.0, 2.0, 3.0]] }), 501, "no explainer"),
        ("/v1/models/delays", json!({}), 404, "delays:predict"),
        ("/v1/models/delays:predict", json!({ "rows": [] }), 400, "exactly one of the input fields"),
    ];
    for (path, body, expected, said) in cases {
        let (status, answer) = server.post(path, body);
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(status == expected && error.contains(said), "{path}: {status} {answer}");
    }
    let (status, answer) = server.call("POST", infer, Some(b"{".to_vec()), &[]);
    assert_eq!(status, 400, "{answer}");
    let bad_length = [("inference-header-content-length", "many")];
    let (status, answer) = server.call("POST", infer, Some(b"{}".to_vec()), &bad_length);
    assert_eq!(status, 400, "{answer}");
    for path in ["/v2/models/nowhere", "/v2/models/nowhere/ready", "/v1/models/nowhere"] {
        assert_eq!(server.get(path).0, 404, "{path}");
    }
    for path in ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/delays/ready", "/v1/models/delays"]
    {
        assert_eq!(server.call("HEAD", path, None, &[]).0, 200, "{path}");
    }
    assert_eq!(server.get("/v1/models"), (200, json!({ "models": ["delays"] })));
}

#[test]
fn an_event_is_answered_with_an_event() {
    let server = with_endpoint();
    let body = json!({ "instances": [[7.5, 300.0, 2.0]] }).to_string().into_bytes();
    let headers = [("ce-specversion", "1.0"), ("ce-id", "42"), ("ce-type", "x"), ("ce-source", "y")];
    let (status, answer, told) =
        server.call_with_headers("POST", "/v1/models/delays:predict", Some(body), &headers);
    assert_eq!(status, 200, "{}", text(&answer));
    assert_eq!(told["ce-type"], "io.kserve.inference.response");
    assert_eq!(told["ce-source"], "io.kserve.inference.delays");
    assert_eq!(told["ce-id"].len(), 32, "the prediction's id");
}

#[test]
fn a_token_opens_its_own_projects_models_alone() {
    let server = with_endpoint();
    let admin = admin_of(&server);
    wait_until("who has no token is turned away", || {
        server.post("/v2/models/delays/infer", one_row()).0 == 401
    });
    assert_eq!(server.post("/v2/repository/index", json!({})), (200, json!([])));
    let bearer = format!("Bearer {admin}");
    let body = || Some(one_row().to_string().into_bytes());
    for path in ["/v2/models/delays/infer", "/projects/default/v2/models/delays/infer"] {
        let (status, answer) = server.call("POST", path, body(), &[("authorization", &bearer)]);
        assert_eq!(status, 200, "{path}: {answer}");
    }
    let (status, _) =
        server.call("POST", "/projects/other/v2/models/delays/infer", body(), &[("authorization", &bearer)]);
    assert_eq!(status, 404);
}
