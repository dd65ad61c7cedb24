//! Imports and many writers, through the domain's own door.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;
use trueline_db::{Config, Db, Durability, Limits};
use trueline_identity::{Action, Authorized, Caller, Policy, ReadProject, WriteTracking};
use trueline_ledger::{Ledger, ProjectId, Sources};
use trueline_search::mlflow::{Kind, parse_filter};
use trueline_traces::{
    Assessment, AssessmentSource, Home, Imported, Judgement, NewSpan, NewTrace, Pairs, SpanStatus,
    TraceSearch, TraceState, Traces, Value, WholeTrace,
};

struct World {
    traces: Traces,
    policy: Policy,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.db");
        let config = Config::Sqlite { path, durability: Durability::Full, limits: Limits::default() };
        let modules = [trueline_ledger::MODULE, trueline_identity::MODULE, trueline_traces::MODULE];
        let db = Db::open(&config, &modules).unwrap();
        let traces = Traces::new(Ledger::new(db, Sources::system()));
        Self { traces, policy: Policy::built_in().unwrap(), _folder: folder }
    }

    fn leave<A: Action>(&self) -> Authorized<A> {
        self.policy.authorize(&Caller::local(None), &ProjectId::default_project()).unwrap()
    }

    async fn found(&self, filter: &str) -> Vec<String> {
        let asked = TraceSearch {
            experiments: vec![1],
            filter: parse_filter(Kind::Traces, filter).unwrap(),
            order_by: Vec::new(),
            offset: 0,
            limit: 1000,
        };
        let page = self.traces.search(&self.leave::<ReadProject>(), asked).await.unwrap();
        page.items.into_iter().map(|trace| trace.id).collect()
    }
}

fn home() -> Home {
    Home { experiment: 1, artifact_location: "mlflow-artifacts:/1".to_owned() }
}

fn pairs(list: &[(&str, &str)]) -> Pairs {
    list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The JSON that MLflow's own server keeps of a span.
const SPAN: &str = r#"{"trace_id": "AQEBAQEBAQEBAQEBAQEBAQ==", "span_id": "AgICAgICAgI=", "parent_span_id": null,
    "name": "ask", "start_time_unix_nano": 1700000000000000000, "end_time_unix_nano": 1700000001000000000, "events": [],
    "status": {"code": "STATUS_CODE_OK", "message": null},
    "attributes": {"mlflow.spanType": "\"LLM\"", "mlflow.llm.cost": "{\"total_cost\": 0.5}"}, "links": []}"#;

fn whole() -> WholeTrace {
    let id = format!("tr-{}", "01".repeat(16));
    let assessment = Assessment {
        id: "a-1".to_owned(),
        trace: id.clone(),
        name: "good".to_owned(),
        judgement: Judgement::Feedback { value: true.into(), error: None },
        source: AssessmentSource { kind: "HUMAN".to_owned(), id: None },
        span: None,
        rationale: None,
        metadata: Pairs::new(),
        overrides: None,
        valid: false,
        created_at_ms: 5,
        updated_at_ms: 6,
    };
    let told = NewTrace {
        id,
        started_ms: 1_700_000_000_000,
        took_ms: Some(1000),
        state: TraceState::Error,
        metadata: pairs(&[("mlflow.trace.session", "s"), ("version", "1")]),
        tags: pairs(&[("mlflow.traceName", "n"), ("env", "prod")]),
        ..NewTrace::default()
    };
    WholeTrace {
        home: home(),
        told,
        artifact_location: None,
        finalized: true,
        assessments: vec![assessment],
        spans: vec![SPAN.to_owned(), "{\"context\": {}}".to_owned()],
        runs: vec!["r".to_owned()],
        prompts: vec!["p/1".to_owned()],
    }
}

#[tokio::test]
async fn an_import_keeps_what_was_and_can_be_repeated() {
    let world = World::new();
    let leave = world.leave::<WriteTracking>();
    let expected = Imported { traces: 1, spans: 1, assessments: 1, unread: 1, refused: Vec::new() };
    for _ in 0..2 {
        assert_eq!(world.traces.import(&leave, "mlflow.db", vec![whole()]).await.unwrap(), expected);
    }
    let id = whole().told.id;
    for filter in [
        "status = 'ERROR' AND name = 'n'",
        "tags.env = 'prod'",
        "metadata.`mlflow.trace.session` = 's'",
        "run_id = 'r'",
        "prompt = 'p/1'",
        "span.type = 'LLM' AND span.name = 'ask' AND span.status = 'OK'",
    ] {
        assert_eq!(world.found(filter).await, std::slice::from_ref(&id), "{filter}");
    }
    assert!(world.found("feedback.good = 'true'").await.is_empty(), "another has taken its place");
    let info = world.traces.info(&world.leave(), id.clone()).await.unwrap();
    assert_eq!((info.took_ms, info.assessments[0].created_at_ms), (Some(1000), 5));
    assert_eq!(info.assessments.len(), 1);
    let trace = world.traces.trace(&world.leave(), id, false).await.unwrap();
    assert_eq!(trace.spans[0].content, SPAN);
}

#[tokio::test]
async fn a_trace_that_cant_be_is_left_out_and_told_of() {
    let world = World::new();
    let mut bad = whole();
    bad.told.tags.insert("mlflow.traceName".to_owned(), "n".repeat(5000));
    bad.told.id = "tr-bad".to_owned();
    let done = world.traces.import(&world.leave(), "mlflow.db", vec![bad, whole()]).await.unwrap();
    assert_eq!((done.traces, done.refused.len()), (1, 1));
    assert!(done.refused[0].1.contains("Trace name"), "{:?}", done.refused);
    let asked = vec!["tr-bad".to_owned(), whole().told.id];
    let known = world.traces.known_traces(&world.leave(), asked).await.unwrap();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), [whole().told.id]);
}

fn span(trace: u8, id: u8) -> NewSpan {
    let usage = Value::Map(vec![("input_tokens".to_owned(), Value::Int(1))]);
    NewSpan {
        trace: [trace; 16],
        id: [id; 8],
        parent: (id > 1).then_some([1; 8]),
        name: "s".to_owned(),
        started_ns: i64::from(id) * 1_000_000_000,
        ended_ns: Some(i64::from(id) * 1_000_000_000 + 5),
        status: SpanStatus::Ok,
        attributes: if id > 1 { vec![("mlflow.chat.tokenUsage".to_owned(), usage)] } else { Vec::new() },
        ..NewSpan::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_of_one_trace_lose_nothing() {
    let world = World::new();
    let writers: Vec<_> = (1..=40)
        .map(|id| {
            let (traces, leave) = (world.traces.clone(), world.leave::<WriteTracking>());
            tokio::spawn(async move { traces.log_spans(&leave, home(), &[span(7, id)], None).await })
        })
        .collect();
    for writer in writers {
        tokio::time::timeout(Duration::from_secs(30), writer).await.unwrap().unwrap().unwrap();
    }
    let id = span(7, 1).trace_id();
    let trace = world.traces.trace(&world.leave(), id, false).await.unwrap();
    assert_eq!(trace.spans.len(), 40);
    assert_eq!((trace.info.started_ms, trace.info.took_ms), (1000, Some(39_000)));
    assert_eq!(trace.info.state, TraceState::Ok);
    let tokens = &trace.info.metadata["mlflow.trace.tokenUsage"];
    assert_eq!(tokens, r#"{"input_tokens": 39, "output_tokens": 0, "total_tokens": 0}"#);
}
