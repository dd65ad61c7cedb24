//! The tables of pipelines.

use trueline_db::{Migration, Module};

/// The pipelines' part of the schema.
pub const MODULE: Module = Module {
    name: "pipelines",
    migrations: &[Migration {
        version: 1,
        sql: "
CREATE TABLE pipelines (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    directory TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);
CREATE TABLE pipeline_versions (
    project TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    version TEXT NOT NULL,
    body TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, pipeline, version)
);
CREATE TABLE pipeline_runs (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    version TEXT NOT NULL,
    directory TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    params TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    finished_at_ms BIGINT
);
CREATE INDEX pipeline_runs_newest ON pipeline_runs (project, pipeline, created_at_ms);
CREATE TABLE step_runs (
    pipeline_run TEXT NOT NULL,
    step TEXT NOT NULL,
    state TEXT NOT NULL,
    cache_key TEXT,
    outputs TEXT,
    same_as TEXT,
    error TEXT,
    retries_left BIGINT NOT NULL,
    fences_left BIGINT NOT NULL,
    started_at_ms BIGINT,
    finished_at_ms BIGINT,
    PRIMARY KEY (pipeline_run, step)
);
CREATE TABLE step_attempts (
    id TEXT PRIMARY KEY,
    pipeline_run TEXT NOT NULL,
    step TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    state TEXT NOT NULL,
    task TEXT NOT NULL,
    worker TEXT,
    run TEXT,
    exit_code BIGINT,
    error TEXT,
    log TEXT,
    log_bytes BIGINT,
    cpu_ms BIGINT,
    peak_rss_bytes BIGINT,
    started_at_ms BIGINT,
    finished_at_ms BIGINT
);
CREATE UNIQUE INDEX step_attempts_of_step ON step_attempts (pipeline_run, step, attempt);
CREATE TABLE step_cache (
    project TEXT NOT NULL,
    cache_key TEXT NOT NULL,
    outputs TEXT NOT NULL,
    pipeline_run TEXT NOT NULL,
    run TEXT,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, cache_key)
);
CREATE TABLE trigger_firings (
    project TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    trigger_name TEXT NOT NULL,
    event TEXT NOT NULL,
    outcome TEXT NOT NULL,
    pipeline_run TEXT,
    event_time_ms BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, pipeline, trigger_name, event)
);
",
    }],
};
