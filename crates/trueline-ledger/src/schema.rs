//! The ledger's tables.

use trueline_db::{Migration, Module};

/// The ledger's part of the schema.
pub const MODULE: Module = Module {
    name: "ledger",
    migrations: &[Migration { version: 1, sql: V1 }, Migration { version: 2, sql: V2 }],
};

const V1: &str = "
CREATE TABLE ledger_events (
    seq {serial},
    id TEXT NOT NULL UNIQUE,
    idx BIGINT UNIQUE,
    project TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    resource_kind TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    entry BYTEA NOT NULL
);
CREATE INDEX ledger_events_unsequenced ON ledger_events (seq) WHERE idx IS NULL;
CREATE INDEX ledger_events_project ON ledger_events (project, seq);
CREATE INDEX ledger_events_resource ON ledger_events (project, resource_kind, resource_id, seq);
CREATE TABLE ledger_payloads (
    event_id TEXT PRIMARY KEY,
    salt BYTEA NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE ledger_head (one BIGINT PRIMARY KEY, size BIGINT NOT NULL);
INSERT INTO ledger_head (one, size) VALUES (1, 0);
CREATE TABLE ledger_cursors (name TEXT PRIMARY KEY, idx BIGINT NOT NULL);
CREATE TABLE ledger_heartbeats (name TEXT PRIMARY KEY, at_ms BIGINT NOT NULL);
CREATE TABLE ledger_verifications (
    id TEXT PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    size BIGINT NOT NULL,
    ok BIGINT NOT NULL,
    finding TEXT
);
CREATE TABLE lineage_edges (
    project TEXT NOT NULL,
    from_kind TEXT NOT NULL,
    from_id TEXT NOT NULL,
    relation TEXT NOT NULL,
    to_kind TEXT NOT NULL,
    to_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (project, from_kind, from_id, relation, to_kind, to_id)
);
CREATE INDEX lineage_edges_to ON lineage_edges (project, to_kind, to_id);
";

/// Events of a thing are found by who may read those of all projects, too.
const V2: &str = "
CREATE INDEX ledger_events_of_resource ON ledger_events (resource_kind, resource_id, seq);
DROP INDEX ledger_events_resource;
";
