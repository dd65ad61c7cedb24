//! The tables of traces, evaluation datasets, scorers and issues.

use trueline_db::{Migration, Module};

/// The domain's part of the schema.
///
/// A pair (tag or metadata) repeats its trace's experiment and time, so that a search for one value reads an index in the
/// order of the answer; texts that an index holds are cut, since PostgreSQL limits the rows of one.
pub const MODULE: Module = Module {
    name: "traces",
    migrations: &[Migration { version: 1, sql: V1 }, Migration { version: 2, sql: V2 }],
};

const V1: &str = "
CREATE TABLE traces (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    started_ms BIGINT NOT NULL,
    took_ms BIGINT,
    state TEXT NOT NULL,
    name TEXT,
    session TEXT,
    client_request_id TEXT,
    request_preview TEXT,
    response_preview TEXT,
    artifact_location TEXT NOT NULL,
    spans_location TEXT,
    finalized BIGINT NOT NULL,
    input_tokens BIGINT,
    output_tokens BIGINT,
    total_tokens BIGINT,
    cache_read_input_tokens BIGINT,
    cache_creation_input_tokens BIGINT,
    cache_creation_input_tokens_above_1hr BIGINT,
    input_cost DOUBLE PRECISION,
    output_cost DOUBLE PRECISION,
    total_cost DOUBLE PRECISION,
    PRIMARY KEY (project, id)
);
CREATE INDEX traces_newest ON traces (project, experiment, started_ms DESC, id);
CREATE INDEX traces_state ON traces (project, experiment, state, started_ms DESC, id);
CREATE INDEX traces_name ON traces (project, experiment, substr(name, 1, 200), started_ms DESC, id);
CREATE INDEX traces_session ON traces (project, experiment, session, started_ms DESC, id);
CREATE TABLE trace_pairs (
    project TEXT NOT NULL,
    trace TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    started_ms BIGINT NOT NULL,
    PRIMARY KEY (project, trace, kind, key)
);
CREATE INDEX trace_pairs_value
    ON trace_pairs (project, experiment, kind, key, substr(value, 1, 200), started_ms DESC, trace);
CREATE TABLE trace_links (
    project TEXT NOT NULL,
    trace TEXT NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    PRIMARY KEY (project, trace, kind, target)
);
CREATE INDEX trace_links_target ON trace_links (project, kind, target, trace);
CREATE TABLE spans (
    project TEXT NOT NULL,
    trace TEXT NOT NULL,
    id TEXT NOT NULL,
    parent TEXT,
    experiment BIGINT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT,
    status TEXT NOT NULL,
    started_ns BIGINT NOT NULL,
    ended_ns BIGINT,
    input_cost DOUBLE PRECISION,
    output_cost DOUBLE PRECISION,
    total_cost DOUBLE PRECISION,
    model TEXT,
    provider TEXT,
    content TEXT NOT NULL,
    PRIMARY KEY (project, trace, id)
);
CREATE INDEX spans_started ON spans (project, experiment, started_ns);
CREATE TABLE assessments (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    trace TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    trace_started_ms BIGINT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    error TEXT,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    source_type TEXT NOT NULL,
    source_id TEXT,
    span TEXT,
    rationale TEXT,
    overrides TEXT,
    valid BIGINT NOT NULL,
    metadata TEXT,
    of_session BIGINT NOT NULL,
    number DOUBLE PRECISION,
    is_number BIGINT NOT NULL,
    PRIMARY KEY (project, id)
);
CREATE INDEX assessments_trace ON assessments (project, trace, created_at_ms);
CREATE INDEX assessments_named ON assessments (project, kind, name, experiment, trace_started_ms DESC, trace);
CREATE INDEX assessments_started ON assessments (project, experiment, trace_started_ms);
CREATE TABLE evaluation_datasets (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    schema TEXT,
    profile TEXT,
    digest TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    created_by TEXT,
    updated_by TEXT,
    PRIMARY KEY (project, id)
);
CREATE INDEX evaluation_datasets_newest ON evaluation_datasets (project, created_at_ms);
CREATE INDEX evaluation_datasets_name ON evaluation_datasets (project, name);
CREATE TABLE evaluation_dataset_tags (
    project TEXT NOT NULL,
    dataset TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (project, dataset, key)
);
CREATE TABLE evaluation_dataset_experiments (
    project TEXT NOT NULL,
    dataset TEXT NOT NULL,
    experiment TEXT NOT NULL,
    PRIMARY KEY (project, dataset, experiment)
);
CREATE INDEX evaluation_dataset_experiments_of ON evaluation_dataset_experiments (project, experiment, dataset);
CREATE TABLE evaluation_records (
    project TEXT NOT NULL,
    dataset TEXT NOT NULL,
    id TEXT NOT NULL,
    input_hash TEXT NOT NULL,
    inputs TEXT NOT NULL,
    outputs TEXT,
    expectations TEXT,
    tags TEXT,
    source TEXT,
    source_id TEXT,
    source_type TEXT,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    created_by TEXT,
    updated_by TEXT,
    PRIMARY KEY (project, dataset, id),
    UNIQUE (project, dataset, input_hash)
);
CREATE INDEX evaluation_records_page ON evaluation_records (project, dataset, created_at_ms, id);
CREATE TABLE scorers (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (project, id),
    UNIQUE (project, experiment, name)
);
CREATE TABLE scorer_versions (
    project TEXT NOT NULL,
    scorer TEXT NOT NULL,
    version BIGINT NOT NULL,
    body TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, scorer, version)
);
CREATE TABLE scorer_sampling (
    project TEXT NOT NULL,
    scorer TEXT NOT NULL,
    id TEXT NOT NULL,
    sample_rate DOUBLE PRECISION NOT NULL,
    filter TEXT,
    PRIMARY KEY (project, scorer)
);
";

/// A severity is a number, so that the worst are the first of an index; -1 is none.
const V2: &str = "
CREATE TABLE issues (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    status TEXT NOT NULL,
    severity BIGINT NOT NULL,
    root_causes TEXT,
    categories TEXT,
    source_run TEXT,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    created_by TEXT,
    PRIMARY KEY (project, id)
);
CREATE INDEX issues_worst ON issues (project, experiment, severity DESC, created_at_ms DESC, id DESC);
";
