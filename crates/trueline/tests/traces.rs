//! Traces through the public door: OpenTelemetry's export, what is worked out from spans, and what the ledger says of them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{On, Server, text, verify};
use serde_json::{Value, json};

const EXPORT: &str = "/v1/traces";
const INFO: &str = "/api/3.0/mlflow/traces";

fn span(trace: u8, id: u8, parent: Option<u8>, attributes: Value) -> Value {
    json!({
        "traceId": format!("{trace:032x}"), "spanId": format!("{id:016x}"),
        "parentSpanId": parent.map(|id| format!("{id:016x}")), "name": format!("span {id}"),
        "startTimeUnixNano": (u64::from(id) * 1_000_000_000).to_string(),
        "endTimeUnixNano": (u64::from(id) * 1_000_000_000 + 500_000_000).to_string(),
        "attributes": attributes, "status": { "code": 1 },
    })
}

fn usage(input: u32, output: u32) -> Value {
    let told = json!({ "input_tokens": input, "output_tokens": output, "total_tokens": input + output });
    json!([{ "key": "mlflow.chat.tokenUsage", "value": { "stringValue": told.to_string() } }])
}

fn request(resource: &Value, spans: &[Value]) -> Value {
    json!({ "resourceSpans": [{ "resource": { "attributes": resource }, "scopeSpans": [{ "spans": spans }] }] })
}

fn export(server: &Server, prefix: &str, body: &Value, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers);
    server.call("POST", &format!("{prefix}{EXPORT}"), Some(body.to_string().into_bytes()), &all)
}

fn keep(server: &Server, spans: &[Value]) {
    let (status, told) = export(server, "", &request(&json!([]), spans), &[("x-mlflow-experiment-id", "0")]);
    assert_eq!(status, 200, "{told}");
}

fn info(server: &Server, trace: u8) -> Value {
    let (status, told) = server.get(&format!("{INFO}/tr-{trace:032x}"));
    assert_eq!(status, 200, "{told}");
    told["trace"]["trace_info"].clone()
}

fn found(server: &Server, prefix: &str, filter: &str) -> Vec<String> {
    let asked = json!({
        "locations": [{ "type": "MLFLOW_EXPERIMENT", "mlflow_experiment": { "experiment_id": "0" } }],
        "filter": filter,
    });
    let told = server.ok(&format!("{prefix}{INFO}/search"), asked);
    let traces = told["traces"].as_array().cloned().unwrap_or_default();
    traces.iter().map(|trace| trace["trace_id"].as_str().unwrap().to_owned()).collect()
}

fn metadata(info: &Value, key: &str) -> Value {
    let text = info["trace_metadata"][key].as_str().unwrap_or("null");
    serde_json::from_str(text).unwrap()
}

/// Spans of one trace come in any order and in any number of requests; the trace says the same in the end.
fn spans_come_in_pieces(on: On) {
    let server = Server::start(on);
    keep(&server, &[span(1, 3, Some(2), usage(4, 1))]);
    let so_far = info(&server, 1);
    assert_eq!(so_far["state"], "IN_PROGRESS");
    assert_eq!(so_far["request_time"], "1970-01-01T00:00:03Z");
    assert_eq!(metadata(&so_far, "mlflow.trace.tokenUsage")["input_tokens"], 4);
    keep(&server, &[span(1, 4, Some(2), usage(6, 1))]);
    assert_eq!(metadata(&info(&server, 1), "mlflow.trace.tokenUsage")["input_tokens"], 10);
    // The parent tells of its children's tokens too: they are not counted again.
    let root = json!([{ "key": "mlflow.spanInputs", "value": { "stringValue": "\"hi\"" } }]);
    keep(&server, &[span(1, 2, Some(1), usage(11, 2)), span(1, 1, None, root)]);
    // What comes twice counts once.
    keep(&server, &[span(1, 3, Some(2), usage(4, 1))]);
    let whole = info(&server, 1);
    assert_eq!(metadata(&whole, "mlflow.trace.tokenUsage")["input_tokens"], 11);
    assert_eq!(whole["state"], "OK");
    assert_eq!(whole["request_time"], "1970-01-01T00:00:01Z");
    assert_eq!(whole["execution_duration"], "3.500s");
    assert_eq!(whole["request_preview"], "\"hi\"");
    let (_, trace) = server.get(&format!("{INFO}/get?trace_id=tr-{:032x}", 1));
    let spans = trace["trace"]["spans"].as_array().unwrap();
    let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["span 1", "span 2", "span 3", "span 4"]);
    assert_eq!(spans[0]["start_time_unix_nano"], 1_000_000_000);
    let link = export(
        &server,
        "",
        &request(&json!([]), &[span(2, 1, None, json!([]))]),
        &[("x-mlflow-experiment-id", "0"), ("x-mlflow-run-id", "run-1")],
    );
    assert_eq!(link.0, 200);
    assert_eq!(found(&server, "", "run_id = 'run-1'"), [format!("tr-{:032x}", 2)]);
    server.settle();
    let key = server.ledger_key();
    if matches!(on, On::Sqlite) {
        let stopped = server.stop();
        let done = verify(&stopped.data_dir, &key, &["--state"]);
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
}

#[test]
fn spans_come_in_pieces_on_sqlite() {
    spans_come_in_pieces(On::Sqlite);
}

#[test]
fn spans_come_in_pieces_on_postgres() {
    spans_come_in_pieces(On::Postgres);
}

#[test]
fn what_a_client_says_of_a_trace_stands_over_what_spans_say() {
    let server = Server::start(On::Sqlite);
    let trace = json!({ "trace": { "trace_info": {
        "trace_id": format!("tr-{:032x}", 1), "request_time": "2026-01-01T00:00:00.250Z", "execution_duration": "1.5s",
        "trace_location": { "mlflow_experiment": { "experiment_id": "0" } }, "state": "ERROR",
        "trace_metadata": { "mlflow.trace.tokenUsage": "{\"input_tokens\": 1}" }, "tags": { "mlflow.traceName": "n" },
    } } });
    server.ok(INFO, trace);
    keep(&server, &[span(1, 1, None, usage(50, 1))]);
    let kept = info(&server, 1);
    assert_eq!(kept["request_time"], "2026-01-01T00:00:00.250Z");
    assert_eq!(kept["execution_duration"], "1.500s");
    assert_eq!(kept["state"], "ERROR");
    assert_eq!(metadata(&kept, "mlflow.trace.tokenUsage"), json!({ "input_tokens": 1 }));
    assert_eq!(kept["tags"]["mlflow.trace.spansLocation"], "TRACKING_STORE");
    assert_eq!(found(&server, "", "name = 'n'").len(), 1);
}

#[test]
fn other_tracers_conventions_and_resources_are_understood() {
    let server = Server::start(On::Sqlite);
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let resource =
        json!([text("service.name", "gemini-cli"), text("host.name", "h1"), text("mlflow.x", "no")]);
    let attributes = json!([
        text("openinference.span.kind", "LLM"), text("input.value", "why"), text("llm.model_name", "m-1"),
        { "key": "llm.token_count.prompt", "value": { "intValue": "7" } },
        text("session.id", "s-1"), text("mlflow.traceTag.env", "prod"),
    ]);
    let body = request(&resource, &[span(1, 1, None, attributes)]);
    assert_eq!(export(&server, "", &body, &[("x-mlflow-experiment-id", "0")]).0, 200);
    let kept = info(&server, 1);
    assert_eq!(kept["tags"]["host.name"], "h1");
    assert_eq!(kept["tags"]["env"], "prod");
    assert_eq!(kept["tags"]["mlflow.x"], Value::Null);
    assert_eq!(kept["trace_metadata"]["mlflow.trace.session"], "s-1");
    assert_eq!(kept["request_preview"], "\"why\"");
    assert_eq!(metadata(&kept, "mlflow.trace.tokenUsage")["input_tokens"], 7);
    assert_eq!(
        found(&server, "", "span.type = 'LLM' AND span.attributes.`service.name` = 'gemini-cli'").len(),
        1
    );
}

#[test]
fn an_export_that_cannot_be_is_refused_whole() {
    let server = Server::start(On::Sqlite);
    let good = span(1, 1, None, json!([]));
    let experiment = ("x-mlflow-experiment-id", "0");
    let (status, told) = export(&server, "", &request(&json!([]), std::slice::from_ref(&good)), &[]);
    assert_eq!((status, told["detail"][0]["msg"].as_str()), (422, Some("Field required")));
    let mut headless = good.clone();
    headless["spanId"] = json!("");
    let (status, told) = export(&server, "", &request(&json!([]), &[good.clone(), headless]), &[experiment]);
    assert_eq!(status, 422, "{told}");
    let (status, _) = server.get(&format!("{INFO}/tr-{:032x}", 1));
    assert_eq!(status, 404, "the span that was right is not kept either");
    let (status, told) = export(&server, "", &json!({}), &[experiment]);
    let expected = json!({ "detail": "Invalid OpenTelemetry format - no spans found" });
    assert_eq!((status, told), (400, expected));
    let unknown = export(&server, "", &request(&json!([]), &[good]), &[("x-mlflow-experiment-id", "99")]);
    assert_eq!((unknown.0, unknown.1["error_code"].as_str()), (404, Some("RESOURCE_DOES_NOT_EXIST")));
}

#[test]
fn traces_with_equal_ids_in_two_projects_stay_apart() {
    let server = Server::start(On::Sqlite);
    let prefixes = ["alpha", "beta"].map(|project| {
        server.ok("/api/v1/projects", json!({ "name": project }));
        format!("/projects/{project}")
    });
    for (prefix, word) in prefixes.iter().zip(["a", "b"]) {
        let inputs = json!([{ "key": "mlflow.spanInputs", "value": { "stringValue": word } }]);
        let body = request(&json!([]), &[span(1, 1, None, inputs)]);
        let (status, told) = export(&server, prefix, &body, &[("x-mlflow-experiment-id", "0")]);
        assert_eq!(status, 200, "{told}");
    }
    let id = format!("tr-{:032x}", 1);
    server.ok(
        &format!("{}/api/2.0/mlflow/traces/link-to-run", prefixes[0]),
        json!({ "trace_ids": [id], "run_id": "r" }),
    );
    assert_eq!(
        found(&server, &prefixes[0], "trace.text LIKE '%\\\"a\\\"%' AND run_id = 'r'"),
        std::slice::from_ref(&id)
    );
    assert!(found(&server, &prefixes[1], "run_id = 'r'").is_empty());
    assert!(found(&server, &prefixes[1], "trace.text LIKE '%\\\"a\\\"%'").is_empty());
    let gone = json!({ "experiment_id": "0", "request_ids": [id] });
    server.ok(&format!("{}{INFO}/delete-traces", prefixes[0]), gone);
    assert!(found(&server, &prefixes[0], "").is_empty());
    assert_eq!(found(&server, &prefixes[1], ""), [id]);
}

#[test]
fn a_trace_of_mlflow_2_begins_ends_and_has_its_file_in_the_artifacts() {
    let server = Server::start(On::Sqlite);
    let begin = json!({ "experiment_id": "0", "timestamp_ms": 1000, "tags": [{ "key": "k", "value": "v" }] });
    let begun = server.ok("/api/2.0/mlflow/traces", begin)["trace_info"].clone();
    assert_eq!(
        (begun["status"].as_str(), begun["execution_time_ms"].as_i64()),
        (Some("IN_PROGRESS"), Some(0))
    );
    let id = begun["request_id"].as_str().unwrap();
    let end = json!({ "timestamp_ms": 3000, "status": "OK", "tags": [{ "key": "k", "value": "w" }] });
    let path = format!("/api/2.0/mlflow/traces/{id}");
    let headers = [("content-type", "application/json")];
    let (status, ended) = server.call("PATCH", &path, Some(end.to_string().into_bytes()), &headers);
    assert_eq!((status, ended["trace_info"]["execution_time_ms"].as_i64()), (200, Some(2000)));
    let file = format!("/ajax-api/2.0/mlflow/get-trace-artifact?request_id={id}");
    assert_eq!(server.get(&file).0, 404);
    let stored = format!("/api/2.0/mlflow-artifacts/artifacts/0/traces/{id}/artifacts/traces.json");
    server.call("PUT", &stored, Some(b"{\"spans\": []}".to_vec()), &[]);
    assert_eq!(server.get(&file), (200, json!({ "spans": [] })));
    let found = server.get("/api/2.0/mlflow/traces?experiment_ids=0&filter=tags.k%20%3D%20'w'").1;
    assert_eq!(found["traces"][0]["request_id"].as_str(), Some(id));
}
