//! The table of tasks.

use trueline_db::{Migration, Module};

/// The tasks' part of the schema.
pub const MODULE: Module = Module {
    name: "tasks",
    migrations: &[Migration {
        version: 1,
        sql: "
CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    run_after_ms BIGINT NOT NULL,
    lease_until_ms BIGINT,
    worker TEXT,
    result TEXT,
    created_at_ms BIGINT NOT NULL,
    finished_at_ms BIGINT
);
CREATE INDEX tasks_waiting ON tasks (run_after_ms) WHERE state IN ('queued', 'running');
CREATE INDEX tasks_newest ON tasks (project, created_at_ms);
",
    }],
};
