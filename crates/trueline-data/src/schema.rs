//! The data domain's tables.

use trueline_db::{Migration, Module};

/// The data domain's part of the schema.
pub const MODULE: Module = Module {
    name: "data",
    migrations: &[Migration {
        version: 1,
        sql: "
CREATE TABLE dataset_versions (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    number BIGINT NOT NULL,
    id TEXT NOT NULL,
    rows BIGINT NOT NULL,
    size BIGINT NOT NULL,
    manifest TEXT NOT NULL,
    file_names TEXT NOT NULL,
    profile TEXT NOT NULL,
    states TEXT NOT NULL,
    recipe TEXT,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, name, number),
    UNIQUE (project, name, id)
);
",
    }],
};
