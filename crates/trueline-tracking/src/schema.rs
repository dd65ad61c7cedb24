//! The tables of tracking.

use trueline_db::{Migration, Module};

/// Tables of points, whose digest an event records when a series is sealed (rule 2).
pub(crate) const POINTS: &[&str] =
    &["metric_points", "latest_metrics", "logged_model_metrics", "metric_chunks"];

/// Tracking's part of the schema.
pub const MODULE: Module = Module {
    name: "tracking",
    migrations: &[Migration {
        version: 1,
        sql: "
CREATE TABLE experiments (
    project TEXT NOT NULL,
    id BIGINT NOT NULL,
    name TEXT NOT NULL,
    artifact_location TEXT NOT NULL,
    lifecycle TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, id),
    UNIQUE (project, name)
);
CREATE TABLE experiment_tags (
    project TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (project, experiment, key)
);
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    name TEXT NOT NULL,
    claimed_user TEXT NOT NULL,
    created_by TEXT NOT NULL,
    status TEXT NOT NULL,
    start_time BIGINT,
    end_time BIGINT,
    artifact_uri TEXT NOT NULL,
    lifecycle TEXT NOT NULL,
    deleted_at_ms BIGINT
);
CREATE INDEX runs_started ON runs (project, experiment, lifecycle, start_time);
CREATE TABLE params (
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
);
CREATE INDEX params_key ON params (key, run);
CREATE TABLE tags (
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
);
CREATE INDEX tags_key ON tags (key, run);
CREATE TABLE metric_points (
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    step BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    is_nan BIGINT NOT NULL,
    chunk BIGINT NOT NULL,
    PRIMARY KEY (run, key, step, at_ms, value, is_nan)
);
CREATE TABLE latest_metrics (
    run TEXT NOT NULL,
    key TEXT NOT NULL,
    step BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    is_nan BIGINT NOT NULL,
    PRIMARY KEY (run, key)
);
CREATE INDEX latest_metrics_value ON latest_metrics (key, is_nan, value, run);
CREATE TABLE datasets (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    source_type TEXT NOT NULL,
    source TEXT NOT NULL,
    schema TEXT,
    profile TEXT,
    UNIQUE (project, experiment, name, digest)
);
CREATE TABLE run_inputs (
    run TEXT NOT NULL,
    dataset TEXT NOT NULL,
    context TEXT,
    tags TEXT NOT NULL,
    PRIMARY KEY (run, dataset)
);
CREATE INDEX run_inputs_dataset ON run_inputs (dataset);
CREATE TABLE run_models (
    run TEXT NOT NULL,
    direction TEXT NOT NULL,
    model TEXT NOT NULL,
    step BIGINT NOT NULL,
    PRIMARY KEY (run, direction, model)
);
CREATE TABLE logged_models (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    experiment BIGINT NOT NULL,
    name TEXT NOT NULL,
    model_type TEXT,
    source_run TEXT,
    artifact_uri TEXT NOT NULL,
    status TEXT NOT NULL,
    lifecycle TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL
);
CREATE INDEX logged_models_newest ON logged_models (project, experiment, created_at_ms);
CREATE TABLE logged_model_params (
    model TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, key)
);
CREATE TABLE logged_model_tags (
    model TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, key)
);
CREATE TABLE logged_model_metrics (
    model TEXT NOT NULL,
    key TEXT NOT NULL,
    step BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    is_nan BIGINT NOT NULL,
    run TEXT NOT NULL,
    dataset_name TEXT,
    dataset_digest TEXT,
    chunk BIGINT NOT NULL,
    PRIMARY KEY (model, key, step, at_ms, value, is_nan, run)
);
CREATE TABLE metric_chunks (
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    chunk BIGINT NOT NULL,
    points BIGINT NOT NULL,
    PRIMARY KEY (kind, owner)
);
CREATE INDEX metric_chunks_open ON metric_chunks (kind, owner) WHERE points > 0;
CREATE TABLE artifacts (
    project TEXT NOT NULL,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, path)
);
CREATE TABLE run_captures (
    run TEXT PRIMARY KEY,
    body TEXT NOT NULL
);
CREATE TABLE run_reproductions (
    project TEXT NOT NULL,
    id TEXT NOT NULL,
    run TEXT NOT NULL,
    again TEXT,
    verdict TEXT NOT NULL,
    body TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, id)
);
CREATE INDEX run_reproductions_of_run ON run_reproductions (project, run);
",
    }],
};
