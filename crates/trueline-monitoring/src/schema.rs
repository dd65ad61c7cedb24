//! The tables of monitoring.
//!
//! `monitor_progress` and `monitor_windows` are written without events: they can be counted again from the prediction log.

use trueline_db::{Migration, Module};

/// Monitoring's part of the schema.
pub const MODULE: Module = Module {
    name: "monitoring",
    migrations: &[Migration {
        version: 1,
        sql: "
CREATE TABLE monitors (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    spec TEXT NOT NULL,
    reference TEXT,
    reference_at BIGINT,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX monitors_by_name ON monitors (project, name);
CREATE TABLE monitor_training (
    monitor TEXT NOT NULL,
    variant TEXT NOT NULL,
    data TEXT NOT NULL,
    set_at_ms BIGINT NOT NULL,
    PRIMARY KEY (monitor, variant)
);
CREATE TABLE monitor_progress (
    monitor TEXT PRIMARY KEY,
    revision BIGINT NOT NULL,
    progress TEXT NOT NULL
);
CREATE TABLE monitor_windows (
    monitor TEXT NOT NULL,
    start_ms BIGINT NOT NULL,
    variant TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (monitor, start_ms, variant)
);
CREATE TABLE monitor_verdicts (
    monitor TEXT NOT NULL,
    start_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    verdict TEXT NOT NULL,
    closed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (monitor, kind, start_ms)
);
CREATE TABLE alerts (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    monitor TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    subject TEXT NOT NULL,
    state TEXT NOT NULL,
    breaches BIGINT NOT NULL,
    value DOUBLE PRECISION,
    enter_at DOUBLE PRECISION NOT NULL,
    exit_at DOUBLE PRECISION NOT NULL,
    first_window_ms BIGINT NOT NULL,
    last_window_ms BIGINT NOT NULL,
    opened_at_ms BIGINT NOT NULL,
    fired_at_ms BIGINT,
    resolved_at_ms BIGINT,
    incident TEXT,
    compared_with TEXT
);
CREATE UNIQUE INDEX alerts_open ON alerts (monitor, subject) WHERE state IN ('pending', 'firing');
CREATE INDEX alerts_newest ON alerts (project, opened_at_ms);
CREATE INDEX alerts_of_incident ON alerts (incident);
CREATE TABLE incidents (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    state TEXT NOT NULL,
    opened_at_ms BIGINT NOT NULL,
    resolved_at_ms BIGINT,
    resolved_by TEXT
);
CREATE UNIQUE INDEX incidents_open ON incidents (project, endpoint) WHERE state = 'open';
CREATE INDEX incidents_newest ON incidents (project, opened_at_ms);
CREATE TABLE incident_entries (
    incident TEXT NOT NULL,
    id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (incident, id)
);
",
    }],
};
