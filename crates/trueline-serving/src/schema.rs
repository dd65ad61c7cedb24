//! The tables of serving's control plane, and what the ledger keeps of the prediction log.

use trueline_db::{Migration, Module};

/// Serving's part of the schema.
pub const MODULE: Module = Module {
    name: "serving",
    migrations: &[Migration {
        version: 1,
        sql: "
CREATE TABLE endpoints (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    log_mode TEXT NOT NULL,
    sticky_header TEXT,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);
CREATE TABLE endpoint_routes (
    project TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    generation BIGINT NOT NULL,
    change TEXT NOT NULL,
    variants TEXT NOT NULL,
    reason TEXT NOT NULL,
    rolled_back BIGINT NOT NULL,
    changed_by TEXT NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, endpoint, generation)
);
CREATE TABLE prediction_segments (
    project TEXT NOT NULL,
    stream TEXT NOT NULL,
    number BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (project, stream, number)
);
",
    }],
};
