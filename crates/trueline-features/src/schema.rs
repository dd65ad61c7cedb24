//! The features domain's tables. Online rows are not among them: they lie in a store of their own.

use trueline_db::{Migration, Module};

/// The features domain's part of the schema.
pub const MODULE: Module = Module {
    name: "features",
    migrations: &[Migration {
        version: 1,
        sql: "
CREATE TABLE feature_entities (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    join_key TEXT NOT NULL,
    description TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);
CREATE TABLE feature_views (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    spec TEXT NOT NULL,
    join_keys TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, name, version)
);
CREATE TABLE feature_materialisations (
    project TEXT NOT NULL,
    task TEXT NOT NULL,
    view TEXT NOT NULL,
    version BIGINT NOT NULL,
    dataset TEXT NOT NULL,
    dataset_number BIGINT NOT NULL,
    start_us BIGINT,
    end_us BIGINT,
    rows_read BIGINT NOT NULL,
    rows_written BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, task)
);
CREATE INDEX feature_materialisations_by_view ON feature_materialisations (project, view, at_ms);
",
    }],
};
