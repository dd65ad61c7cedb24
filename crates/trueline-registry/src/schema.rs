//! The registry's tables.

use trueline_db::{Migration, Module};

/// The registry's part of the schema.
pub const MODULE: Module =
    Module { name: "registry", migrations: &[VERSIONS_AND_ALIASES, RELEASES, UNUSED_MANIFESTS] };

const VERSIONS_AND_ALIASES: Migration = Migration {
    version: 1,
    sql: "
CREATE TABLE registered_models (
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);
CREATE TABLE registered_model_tags (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (project, name, key)
);
CREATE TABLE model_versions (
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    description TEXT NOT NULL,
    source TEXT NOT NULL,
    run_id TEXT,
    run_link TEXT,
    model_id TEXT,
    stage TEXT NOT NULL,
    lifecycle TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    manifest_digest TEXT,
    PRIMARY KEY (project, name, version)
);
CREATE INDEX model_versions_run ON model_versions (project, run_id);
CREATE INDEX model_versions_model ON model_versions (project, model_id);
CREATE TABLE model_version_tags (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (project, name, version, key)
);
CREATE TABLE model_aliases (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    alias TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (project, name, alias)
);
CREATE TABLE version_manifests (
    project TEXT NOT NULL,
    digest TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (project, digest)
);
",
};

const RELEASES: Migration = Migration {
    version: 2,
    sql: "
CREATE TABLE release_policies (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    digest TEXT NOT NULL,
    declared_by TEXT NOT NULL,
    declared_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, name)
);
CREATE TABLE gate_runs (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    run BIGINT NOT NULL,
    manifest_digest TEXT NOT NULL,
    policy_digest TEXT NOT NULL,
    evidence_digest TEXT NOT NULL,
    results TEXT NOT NULL,
    judged_by TEXT NOT NULL,
    judged_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, name, version, run)
);
CREATE TABLE approvals (
    project TEXT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    approver TEXT NOT NULL,
    decision TEXT NOT NULL,
    manifest_digest TEXT NOT NULL,
    policy_digest TEXT NOT NULL,
    evidence_digest TEXT,
    comment TEXT NOT NULL,
    decided_at_ms BIGINT NOT NULL,
    PRIMARY KEY (project, name, version, approver)
);
",
};

/// A manifest that no version has any more is kept for a while.
const UNUSED_MANIFESTS: Migration = Migration {
    version: 3,
    sql: "
ALTER TABLE version_manifests ADD COLUMN unused_since_ms BIGINT;
CREATE INDEX model_versions_manifest ON model_versions (project, manifest_digest);
",
};
