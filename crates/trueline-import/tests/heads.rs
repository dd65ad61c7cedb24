//! A database of every schema of MLflow's from 2.22 on comes in. The shapes are facts of its migrations: tables and columns
//! that came, and the head that goes with them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use rusqlite::Connection;
use std::path::Path;
use trueline_blobs::Blobs;
use trueline_db::{Config, Db, Durability, Limits};
use trueline_identity::{Caller, Identity, Policy};
use trueline_import::{Leaves, Report, Target, mlflow};
use trueline_ledger::{Ledger, ProjectId, Sources};
use trueline_registry::Registry;
use trueline_traces::{IssueSeverity, IssueStatus, TraceState, Traces};
use trueline_tracking::{MetricQuery, RunId, Tracking};

/// What a schema has beyond that of 2.22.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Shape {
    /// Nothing.
    Two,
    /// Logged models, and steps of inputs.
    Models,
    /// Spans, assessments, links, evaluation datasets and scorers.
    Traces,
    /// Workspaces.
    Workspaces,
    /// Columns for what was metadata of traces, and issues.
    Columns,
}

const HEADS: [(&str, Shape); 10] = [
    ("0584bdc529eb", Shape::Two),
    ("bda7b8c39065", Shape::Models),
    ("71994744cf8e", Shape::Traces),
    ("bf29a5ff90ea", Shape::Traces),
    ("d3e4f5a6b7c8", Shape::Traces),
    ("1b5f0d9ad7c1", Shape::Workspaces),
    ("da6fb0208061", Shape::Workspaces),
    ("b7e4c1a90f23", Shape::Workspaces),
    ("dc11669786a5", Shape::Columns),
    ("f4a9b2c7d1e6", Shape::Columns),
];

const TABLES: &str = "
CREATE TABLE alembic_version (version_num VARCHAR(32));
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name VARCHAR, artifact_location VARCHAR,
    lifecycle_stage VARCHAR, creation_time BIGINT, last_update_time BIGINT {workspace});
CREATE TABLE experiment_tags (key VARCHAR, value VARCHAR, experiment_id INTEGER);
CREATE TABLE runs (run_uuid VARCHAR PRIMARY KEY, name VARCHAR, source_type VARCHAR, source_name VARCHAR,
    entry_point_name VARCHAR, user_id VARCHAR, status VARCHAR, start_time BIGINT, end_time BIGINT, source_version VARCHAR,
    lifecycle_stage VARCHAR, artifact_uri VARCHAR, experiment_id INTEGER, deleted_time BIGINT);
CREATE TABLE params (key VARCHAR, value VARCHAR, run_uuid VARCHAR);
CREATE TABLE tags (key VARCHAR, value VARCHAR, run_uuid VARCHAR);
CREATE TABLE metrics (key VARCHAR, value FLOAT, timestamp BIGINT, run_uuid VARCHAR, step BIGINT, is_nan BOOLEAN);
CREATE TABLE datasets (dataset_uuid VARCHAR, experiment_id INTEGER, name VARCHAR, digest VARCHAR,
    dataset_source_type VARCHAR, dataset_source TEXT, dataset_schema TEXT, dataset_profile TEXT);
CREATE TABLE inputs (input_uuid VARCHAR, source_type VARCHAR, source_id VARCHAR, destination_type VARCHAR,
    destination_id VARCHAR {step});
CREATE TABLE input_tags (input_uuid VARCHAR, name VARCHAR, value VARCHAR);
CREATE TABLE registered_models (name VARCHAR, creation_time BIGINT, last_updated_time BIGINT, description VARCHAR
    {workspace});
CREATE TABLE registered_model_tags (key VARCHAR, value VARCHAR, name VARCHAR {workspace});
CREATE TABLE model_versions (name VARCHAR, version INTEGER, creation_time BIGINT, last_updated_time BIGINT,
    description VARCHAR, user_id VARCHAR, current_stage VARCHAR, source VARCHAR, run_id VARCHAR, status VARCHAR,
    status_message VARCHAR, run_link VARCHAR, storage_location VARCHAR {workspace});
CREATE TABLE model_version_tags (key VARCHAR, value VARCHAR, name VARCHAR, version INTEGER {workspace});
CREATE TABLE registered_model_aliases (alias VARCHAR, version INTEGER, name VARCHAR {workspace});
CREATE TABLE trace_info (request_id VARCHAR, experiment_id INTEGER, timestamp_ms BIGINT, execution_time_ms BIGINT,
    status VARCHAR);
CREATE TABLE trace_tags (key VARCHAR, value VARCHAR, request_id VARCHAR);
CREATE TABLE trace_request_metadata (key VARCHAR, value VARCHAR, request_id VARCHAR);
INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time)
    VALUES (0, 'Default', 's3://b/0', 'active', 5, 6), (7, 'seven', 's3://b/7', 'active', 7, 8),
           (8, 'gone', 's3://b/8', 'deleted', 9, 10);
INSERT INTO runs VALUES ('r1', 'one', 'LOCAL', '', '', 'ann', 'FINISHED', 100, 200, '', 'active', 's3://b/7/r1', 7, NULL),
                        ('r2', NULL, 'LOCAL', '', '', NULL, 'KILLED', NULL, NULL, '', 'deleted', NULL, 8, 300);
INSERT INTO params VALUES ('lr', '0.1', 'r1');
INSERT INTO tags VALUES ('mlflow.runName', 'two', 'r2'), ('none', NULL, 'r1');
INSERT INTO metrics VALUES ('m', 0.0, 1, 'r1', 0, 1), ('m', 1.7976931348623157e308, 2, 'r1', 1, 0), ('m', 3, 2, 'r1', 1, 0);
INSERT INTO datasets VALUES ('d', 7, 'flights', 'abc', 'local', '{}', NULL, NULL);
INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id)
    VALUES ('i', 'DATASET', 'd', 'RUN', 'r1');
INSERT INTO input_tags VALUES ('i', 'mlflow.data.context', 'training');
INSERT INTO registered_models (name, creation_time, last_updated_time, description) VALUES ('fraud', 11, 12, NULL);
INSERT INTO model_versions (name, version, creation_time, current_stage, source, run_id, status)
    VALUES ('fraud', 1, 13, 'Production', 's3://b/m', 'r1', 'READY'), ('fraud', 2, 14, 'Deleted_Internal', '', '', 'READY');
INSERT INTO registered_model_aliases (alias, version, name) VALUES ('champion', 1, 'fraud');
INSERT INTO trace_info VALUES ('tr-1', 7, 1000, 5, 'OK'), ('tr-2', 8, 2000, NULL, 'IN_PROGRESS');
INSERT INTO trace_tags VALUES ('env', 'prod', 'tr-1'), ('mlflow.traceName', 'two', 'tr-2');
INSERT INTO trace_request_metadata VALUES ('mlflow.sourceRun', 'r1', 'tr-1');
";

const MODELS: &str = "
CREATE TABLE logged_models (model_id VARCHAR, experiment_id INTEGER, name VARCHAR, artifact_location VARCHAR,
    creation_timestamp_ms BIGINT, last_updated_timestamp_ms BIGINT, status INTEGER, lifecycle_stage VARCHAR,
    model_type VARCHAR, source_run_id VARCHAR, status_message VARCHAR);
CREATE TABLE logged_model_params (model_id VARCHAR, experiment_id INTEGER, param_key VARCHAR, param_value TEXT);
CREATE TABLE logged_model_tags (model_id VARCHAR, experiment_id INTEGER, tag_key VARCHAR, tag_value TEXT);
CREATE TABLE logged_model_metrics (model_id VARCHAR, metric_name VARCHAR, metric_timestamp_ms BIGINT, metric_step BIGINT,
    metric_value FLOAT, experiment_id INTEGER, run_id VARCHAR, dataset_uuid VARCHAR, dataset_name VARCHAR,
    dataset_digest VARCHAR);
INSERT INTO logged_models VALUES ('m-1', 7, 'clf', 's3://b/7/m', 15, 16, 2, 'active', 'tree', 'r1', NULL);
INSERT INTO logged_model_params VALUES ('m-1', 7, 'depth', '3');
INSERT INTO logged_model_metrics VALUES ('m-1', 'auc', 17, 4, 0.75, 7, 'r1', 'd', 'flights', 'abc');
INSERT INTO inputs VALUES ('o', 'RUN_OUTPUT', 'r1', 'MODEL_OUTPUT', 'm-1', 4);
";

const TRACES: &str = r#"
ALTER TABLE trace_info ADD COLUMN client_request_id VARCHAR;
ALTER TABLE trace_info ADD COLUMN request_preview VARCHAR;
ALTER TABLE trace_info ADD COLUMN response_preview VARCHAR;
UPDATE trace_info SET client_request_id = 'c-1', request_preview = 'why' WHERE request_id = 'tr-1';
CREATE TABLE spans (trace_id VARCHAR, experiment_id INTEGER, span_id VARCHAR, start_time_unix_nano BIGINT, content TEXT);
INSERT INTO spans VALUES ('tr-1', 7, '0202020202020202', 1, '{"trace_id": "AQEBAQEBAQEBAQEBAQEBAQ==",
    "span_id": "AgICAgICAgI=", "parent_span_id": null, "name": "ask", "start_time_unix_nano": 1, "end_time_unix_nano": 2,
    "events": [], "status": {"code": "STATUS_CODE_OK", "message": ""}, "attributes": {}, "links": []}');
CREATE TABLE assessments (assessment_id VARCHAR, trace_id VARCHAR, name VARCHAR, assessment_type VARCHAR, value TEXT,
    error TEXT, created_timestamp BIGINT, last_updated_timestamp BIGINT, source_type VARCHAR, source_id VARCHAR,
    run_id VARCHAR, span_id VARCHAR, rationale TEXT, overrides VARCHAR, valid BOOLEAN, assessment_metadata TEXT);
INSERT INTO assessments VALUES ('a-1', 'tr-1', 'good', 'feedback', '0.5', NULL, 3, 4, 'HUMAN', 'ann', NULL, NULL, 'so',
    NULL, 0, '{"k": "v"}');
CREATE TABLE entity_associations (association_id VARCHAR, source_type VARCHAR, source_id VARCHAR,
    destination_type VARCHAR, destination_id VARCHAR, created_time BIGINT);
INSERT INTO entity_associations VALUES ('1', 'trace', 'tr-1', 'run', 'r1', 0), ('2', 'evaluation_dataset', 'd-1',
    'experiment', '7', 0);
CREATE TABLE scorers (experiment_id INTEGER, scorer_name VARCHAR, scorer_id VARCHAR);
CREATE TABLE scorer_versions (scorer_id VARCHAR, scorer_version INTEGER, serialized_scorer TEXT, creation_time BIGINT);
INSERT INTO scorers VALUES (7, 'kind', 's-1'), (7, 'own code', 's-2');
INSERT INTO scorer_versions VALUES ('s-1', 1, '{}', 5), ('s-1', 3, '{"v": 3}', 6), ('s-2', 1, '{"call_source": "x"}', 7);
CREATE TABLE evaluation_datasets (dataset_id VARCHAR, name VARCHAR, schema TEXT, profile TEXT, digest VARCHAR,
    created_time BIGINT, last_update_time BIGINT, created_by VARCHAR, last_updated_by VARCHAR {workspace});
CREATE TABLE evaluation_dataset_tags (dataset_id VARCHAR, key VARCHAR, value VARCHAR);
CREATE TABLE evaluation_dataset_records (dataset_record_id VARCHAR, dataset_id VARCHAR, inputs JSON, expectations JSON,
    tags JSON, source JSON, source_id VARCHAR, source_type VARCHAR, created_time BIGINT, last_update_time BIGINT,
    created_by VARCHAR, last_updated_by VARCHAR, input_hash VARCHAR);
INSERT INTO evaluation_datasets (dataset_id, name, digest, created_time, last_update_time)
    VALUES ('d-1', 'questions', 'abc', 8, 9);
INSERT INTO evaluation_dataset_tags VALUES ('d-1', 'k', 'v');
INSERT INTO evaluation_dataset_records (dataset_record_id, dataset_id, inputs, expectations, created_time, last_update_time)
    VALUES ('dr-1', 'd-1', '{"q": 1}', 'null', 10, 11), ('dr-2', 'd-1', '{"q": 2}', '{"a": 3}', 10, 11);
"#;

const COLUMNS: &str = r#"
ALTER TABLE trace_info ADD COLUMN trace_name VARCHAR;
ALTER TABLE trace_info ADD COLUMN session_id VARCHAR;
ALTER TABLE trace_info ADD COLUMN input_tokens BIGINT;
CREATE TABLE issues (issue_id VARCHAR, experiment_id INTEGER, name VARCHAR, description TEXT, status VARCHAR,
    severity VARCHAR, root_causes TEXT, source_run_id VARCHAR, categories TEXT, created_timestamp BIGINT,
    last_updated_timestamp BIGINT, created_by VARCHAR);
INSERT INTO issues VALUES ('iss-1', 7, 'slow', 'very', 'resolved', 'low', '["a", "b"]', 'r1', NULL, 5, 6, 'ann'),
    ('iss-2', 7, 'odd', 'quite', 'made up', NULL, NULL, NULL, NULL, 5, 6, NULL);
UPDATE trace_info SET trace_name = 'one', session_id = 's', input_tokens = 12 WHERE request_id = 'tr-1';
"#;

fn source(path: &Path, head: &str, shape: Shape) {
    let workspace = if shape >= Shape::Workspaces { ", workspace VARCHAR DEFAULT 'default'" } else { "" };
    let step = if shape >= Shape::Models { ", step BIGINT DEFAULT 0" } else { "" };
    let tables = TABLES.replace("{workspace}", workspace).replace("{step}", step);
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(&tables).unwrap();
    if shape >= Shape::Models {
        connection.execute_batch(MODELS).unwrap();
    }
    if shape >= Shape::Traces {
        connection.execute_batch(&TRACES.replace("{workspace}", workspace)).unwrap();
    }
    if shape >= Shape::Columns {
        connection.execute_batch(COLUMNS).unwrap();
    }
    connection.execute("INSERT INTO alembic_version VALUES (?1)", [head]).unwrap();
}

/// A place to import into.
struct Place {
    runtime: tokio::runtime::Runtime,
    tracking: Tracking,
    registry: Registry,
    traces: Traces,
    policy: Policy,
    project: ProjectId,
}

impl Place {
    fn new(folder: &Path) -> Self {
        let limits = Limits { readers: 1, ..Limits::default() };
        let config =
            Config::Sqlite { path: folder.join("trueline.db"), durability: Durability::Full, limits };
        let modules = [
            trueline_ledger::MODULE,
            trueline_identity::MODULE,
            trueline_tracking::MODULE,
            trueline_traces::MODULE,
            trueline_registry::MODULE,
        ];
        let ledger = Ledger::new(Db::open(&config, &modules).unwrap(), Sources::system());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let identity = Identity::new(ledger.clone());
        runtime.block_on(identity.ensure_default_project()).unwrap();
        let project = runtime.block_on(identity.project("default")).unwrap().id;
        let blobs = Blobs::local(&folder.join("blobs")).unwrap();
        let tracking = Tracking::new(ledger.clone(), blobs);
        let policy = Policy::built_in().unwrap();
        let traces = Traces::new(ledger.clone());
        Self { runtime, tracking, registry: Registry::new(ledger), traces, policy, project }
    }

    fn leave<A: trueline_identity::Action>(&self) -> trueline_identity::Authorized<A> {
        self.policy.authorize(&Caller::local(None), &self.project).unwrap()
    }

    fn import(&self, path: &Path, options: &mlflow::Options) -> Result<Report, trueline_import::ImportError> {
        let leaves = Leaves { read: self.leave(), write: self.leave(), register: self.leave() };
        let target = Target {
            tracking: self.tracking.clone(),
            registry: self.registry.clone(),
            traces: self.traces.clone(),
            leaves,
        };
        let store = mlflow::Store::parse(path.to_str().unwrap())?;
        mlflow::import(&store, options, target, self.runtime.handle().clone(), Box::new(|_| {}))
    }
}

fn check_traces(place: &Place, shape: Shape) {
    let (read, wait) = (place.leave(), &place.runtime);
    let gone = wait.block_on(place.traces.info(&read, "tr-2".into())).unwrap();
    assert_eq!((gone.experiment, gone.tags["mlflow.traceName"].as_str(), gone.took_ms), (8, "two", None));
    let info = wait.block_on(place.traces.info(&read, "tr-1".into())).unwrap();
    assert_eq!((info.started_ms, info.took_ms, info.state), (1000, Some(5), TraceState::Ok));
    assert_eq!((info.tags["env"].as_str(), info.metadata["mlflow.sourceRun"].as_str()), ("prod", "r1"));
    assert_eq!(info.tags["mlflow.artifactLocation"], "mlflow-artifacts:/7/traces/tr-1/artifacts");
    if shape < Shape::Traces {
        return;
    }
    assert_eq!(
        (info.client_request_id.as_deref(), info.request_preview.as_deref()),
        (Some("c-1"), Some("why"))
    );
    let trace = wait.block_on(place.traces.trace(&read, "tr-1".into(), false)).unwrap();
    assert_eq!(trace.spans[0].read().unwrap().name, "ask");
    let assessment = &info.assessments[0];
    assert_eq!((assessment.id.as_str(), assessment.valid, assessment.created_at_ms), ("a-1", false, 3));
    assert_eq!(assessment.metadata["k"], "v");
    let dataset = wait.block_on(place.traces.dataset(&read, "d-1".into())).unwrap();
    assert_eq!((dataset.digest.as_str(), dataset.tags["k"].as_str()), ("abc", "v"));
    let records = wait.block_on(place.traces.records(&read, "d-1".into(), 10, None)).unwrap().items;
    let expected: Vec<_> = records.iter().map(|r| (r.id.as_str(), r.expectations.is_some())).collect();
    assert_eq!(expected, [("dr-1", false), ("dr-2", true)]);
    let scorer = wait.block_on(place.traces.scorer(&read, 7, "kind".into(), None)).unwrap();
    assert_eq!((scorer.id.as_str(), scorer.version, scorer.body.as_str()), ("s-1", 3, "{\"v\": 3}"));
    if shape >= Shape::Columns {
        assert_eq!(info.tags["mlflow.traceName"], "one");
        assert_eq!(info.metadata["mlflow.trace.session"], "s");
        assert!(info.metadata["mlflow.trace.tokenUsage"].contains("\"input_tokens\": 12"), "{info:?}");
        let issue = wait.block_on(place.traces.issue(&read, "iss-1".into())).unwrap();
        assert_eq!((issue.experiment, issue.created_at_ms, issue.updated_at_ms), (7, 5, 6));
        assert_eq!(
            (issue.told.status, issue.told.severity),
            (IssueStatus::Resolved, Some(IssueSeverity::Low))
        );
        assert_eq!(issue.told.root_causes, ["a", "b"]);
        assert_eq!(
            (issue.told.source_run.as_deref(), issue.told.created_by.as_deref()),
            (Some("r1"), Some("ann"))
        );
    }
}

#[test]
fn every_schema_from_2_22_on_comes_in() {
    for (head, shape) in HEADS {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mlflow.db");
        source(&file, head, shape);
        let place = Place::new(folder.path());
        let report = place.import(&file, &mlflow::Options::default()).unwrap();
        assert!(report.source.contains(&format!("schema {head}, MLflow")), "{}", report.source);
        let models = u64::from(shape >= Shape::Models);
        let came = (report.experiments.new, report.runs.new, report.points, report.logged_models.new);
        assert_eq!(came, (2, 2, 3, models), "{head}");
        assert_eq!((report.registered_models.new, report.versions), (1, 2), "{head}");
        let missed: Vec<(&str, u64)> = report.not_taken.iter().map(|m| (m.what.as_str(), m.count)).collect();
        let judged = shape >= Shape::Traces;
        let custom = judged.then_some(("versions of scorers", 1));
        let has_issues = shape >= Shape::Columns;
        let odd = has_issues.then_some(("issues", 1));
        let folders = ("folders of artifacts", 1 + models);
        let expected: Vec<_> = [folders].into_iter().chain(odd).chain(custom).collect();
        assert_eq!(missed, expected, "{head}");
        assert_eq!(report.issues.new, u64::from(has_issues), "{head}");
        let counts =
            [report.traces.new, report.spans, report.assessments, report.records, report.scorers.new];
        assert_eq!(counts, if judged { [2, 1, 1, 2, 2] } else { [2, 0, 0, 0, 0] }, "{head}");
        check_traces(&place, shape);

        let (read, wait) = (place.leave(), &place.runtime);
        let run = wait.block_on(place.tracking.run(&read, &RunId::new("r1"))).unwrap();
        assert_eq!((run.run.experiment.0, run.run.artifact_uri.as_str()), (7, "s3://b/7/r1"));
        assert_eq!(run.dataset_inputs[0].tags[0].value, "training");
        assert_eq!(run.model_outputs.len() as u64, models);
        assert_eq!((run.metrics[0].point.step, run.metrics[0].point.value), (1, f64::MAX));
        let all = MetricQuery::default();
        let points = place.tracking.metric_history(&read, &run.run.id, "m".into(), all);
        let points = wait.block_on(points).unwrap();
        assert!(points[0].value.is_nan());
        assert_eq!(points.iter().map(|p| p.value).skip(1).collect::<Vec<_>>(), [3.0, f64::MAX]);
        let gone = wait.block_on(place.tracking.run(&read, &RunId::new("r2"))).unwrap().run.clone();
        assert_eq!((gone.name.as_str(), gone.lifecycle.as_str()), ("two", "deleted"));
        let champion = wait.block_on(place.registry.version_by_alias(&read, "fraud", "champion")).unwrap();
        assert_eq!((champion.key.version, champion.stage.as_str()), (1, "Production"));
        if shape >= Shape::Models {
            let model = wait.block_on(place.tracking.logged_model(&read, "m-1")).unwrap();
            assert_eq!((model.params[0].value.as_str(), model.metrics[0].1.metric.point.value), ("3", 0.75));
        }

        let again = place.import(&file, &mlflow::Options::default()).unwrap();
        assert_eq!((again.experiments.new, again.runs.new, again.versions), (0, 0, 0), "{head}");
        assert_eq!((again.experiments.known, again.runs.known, again.registered_models.known), (3, 2, 1));
        assert_eq!((again.traces.new, again.traces.known, again.records, again.scorers.new), (0, 2, 0, 0));
    }
}

#[test]
fn an_id_that_is_taken_and_a_name_that_is_taken_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one.db"), folder.path().join("other.db"));
    source(&one, HEADS[0].0, Shape::Two);
    source(&other, HEADS[8].0, Shape::Workspaces);
    let changes = Connection::open(&other).unwrap();
    changes
        .execute_batch(
            "UPDATE experiments SET name = 'another seven', creation_time = 70 WHERE experiment_id = 7;
             UPDATE runs SET run_uuid = 'x' || run_uuid; UPDATE params SET run_uuid = 'x' || run_uuid;
             UPDATE registered_models SET creation_time = 99",
        )
        .unwrap();
    let place = Place::new(folder.path());
    place.import(&one, &mlflow::Options::default()).unwrap();
    let report = place.import(&other, &mlflow::Options::default()).unwrap();
    assert_eq!(report.renumbered, [(7, 9)]);
    assert!(report.not_taken.iter().any(|m| m.why.contains("another model `fraud`") && m.count == 1));
    let read = place.leave();
    let moved = place.runtime.block_on(place.tracking.run(&read, &RunId::new("xr1"))).unwrap();
    assert_eq!(moved.run.experiment.0, 9);
    assert_eq!(moved.params.len(), 1);
}

#[test]
fn workspaces_come_in_one_by_one_and_others_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mlflow.db");
    source(&file, HEADS[5].0, Shape::Workspaces);
    let changes = Connection::open(&file).unwrap();
    changes.execute("UPDATE experiments SET workspace = 'lab' WHERE experiment_id = 7", []).unwrap();
    let place = Place::new(folder.path());
    let report = place.import(&file, &mlflow::Options::default()).unwrap();
    assert_eq!((report.experiments.new, report.runs.new), (1, 1));
    assert!(report.not_taken.iter().any(|m| m.what == "experiments" && m.why.contains("--workspace lab")));
    let lab = mlflow::Options { workspace: Some("lab".into()), ..mlflow::Options::default() };
    let report = place.import(&file, &lab).unwrap();
    assert_eq!((report.experiments.new, report.runs.new, report.registered_models.new), (1, 1, 0));
    let nowhere = mlflow::Options { workspace: Some("x".into()), ..mlflow::Options::default() };
    let refused = place.import(&file, &nowhere).unwrap_err().to_string();
    assert!(refused.contains("no workspace `x`"), "{refused}");
}

#[test]
fn a_database_that_is_not_mlflows_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.db");
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    let place = Place::new(folder.path());
    let refused = place.import(&file, &mlflow::Options::default()).unwrap_err().to_string();
    assert!(refused.contains("no tables of MLflow"), "{refused}");
}
